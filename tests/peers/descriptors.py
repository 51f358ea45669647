"""Prints what Google's own client library knows of the Storage Write API, as JSON.

Messages and enumerations come from the descriptors of google-cloud-bigquery-storage, protobuf and
googleapis-common-protos; the calls from the stubs that the library's transport makes.
"""

import json

import grpc
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcTransport,
)
from google.protobuf import any_pb2, descriptor_pb2, duration_pb2, timestamp_pb2, wrappers_pb2
from google.rpc import error_details_pb2, status_pb2


def plain(name):
    """The library spells a field that is a word of Python with a trailing underscore."""
    return name.rstrip("_")


def field(message, one):
    oneof = None
    if one.HasField("oneof_index") and not one.proto3_optional:
        oneof = message.oneof_decl[one.oneof_index].name
    return {
        "number": one.number,
        "type": one.type,
        "label": one.label,
        "type_name": one.type_name.lstrip("."),
        "oneof": oneof,
    }


def add_enum(prefix, enum, found):
    found["enums"][f"{prefix}.{enum.name}"] = {value.name: value.number for value in enum.value}


def add_message(prefix, message, found):
    name = f"{prefix}.{message.name}"
    found["messages"][name] = {plain(one.name): field(message, one) for one in message.field}
    for nested in message.nested_type:
        add_message(name, nested, found)
    for enum in message.enum_type:
        add_enum(name, enum, found)


class Recorder(grpc.Channel):
    """A channel that notes which calls are made of it."""

    def __init__(self):
        self.calls = {}

    def note(self, kind, path, request_serializer, response_deserializer):
        self.calls[path] = {
            "kind": kind,
            "request": request_serializer.__self__.pb().DESCRIPTOR.full_name,
            "response": response_deserializer.__self__.pb().DESCRIPTOR.full_name,
        }
        return lambda *_, **__: None

    def unary_unary(self, path, request_serializer=None, response_deserializer=None, *_, **__):
        return self.note("unary", path, request_serializer, response_deserializer)

    def stream_stream(self, path, request_serializer=None, response_deserializer=None, *_, **__):
        return self.note("bidirectional", path, request_serializer, response_deserializer)

    def unary_stream(self, *_, **__):
        raise NotImplementedError

    def stream_unary(self, *_, **__):
        raise NotImplementedError

    def subscribe(self, *_, **__):
        raise NotImplementedError

    def unsubscribe(self, *_, **__):
        raise NotImplementedError

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def main():
    found = {"messages": {}, "enums": {}, "calls": {}}
    files = {
        one.name: one
        for one in (
            types.AppendRowsRequest.pb().DESCRIPTOR.file,
            types.ProtoSchema.pb().DESCRIPTOR.file,
            types.WriteStream.pb().DESCRIPTOR.file,
            types.TableSchema.pb().DESCRIPTOR.file,
            any_pb2.DESCRIPTOR,
            descriptor_pb2.DESCRIPTOR,
            duration_pb2.DESCRIPTOR,
            timestamp_pb2.DESCRIPTOR,
            wrappers_pb2.DESCRIPTOR,
            error_details_pb2.DESCRIPTOR,
            status_pb2.DESCRIPTOR,
        )
    }
    for one in files.values():
        file = descriptor_pb2.FileDescriptorProto()
        one.CopyToProto(file)
        for message in file.message_type:
            add_message(file.package, message, found)
        for enum in file.enum_type:
            add_enum(file.package, enum, found)
    recorder = Recorder()
    transport = BigQueryWriteGrpcTransport(channel=recorder)
    # Made again without the interceptor that logs, through which a stub is made only when it is called.
    transport._logged_channel = recorder
    transport._stubs.clear()
    for stub in ("append_rows", "get_write_stream"):
        getattr(transport, stub)
    found["calls"] = recorder.calls
    print(json.dumps(found, indent=1, sort_keys=True))


main()
