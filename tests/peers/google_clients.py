"""Works a BigQuery at the given addresses through Google's own clients, and fails at the first surprise.

Usage: google_clients.py REST_URL WRITE_HOST_AND_PORT
"""

import datetime
import decimal
import json
import sys
import urllib.request

import grpc
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types, writer
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcTransport,
)
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROJECT = "peers"
FIELDS = descriptor_pb2.FieldDescriptorProto
COLUMNS = [
    ("id", FIELDS.TYPE_INT64),
    ("name", FIELDS.TYPE_STRING),
    ("price", FIELDS.TYPE_STRING),
    ("seen", FIELDS.TYPE_INT64),
    ("born", FIELDS.TYPE_INT32),
    ("data", FIELDS.TYPE_BYTES),
    ("_CHANGE_TYPE", FIELDS.TYPE_STRING),
    ("_CHANGE_SEQUENCE_NUMBER", FIELDS.TYPE_STRING),
]


def message_class(columns):
    """A message type with one optional field per column, as a user's compiled .proto would be."""
    file = descriptor_pb2.FileDescriptorProto(name="peer.proto", package="peer", syntax="proto2")
    message = file.message_type.add(name="Row")
    for number, (name, kind) in enumerate(columns, 1):
        message.field.add(name=name, number=number, type=kind, label=FIELDS.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("peer.Row"))


def expect(found, wanted):
    if found != wanted:
        sys.exit(f"expected {wanted!r}\nfound    {found!r}")


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    sys.exit(f"expected {kind.__name__}, nothing was raised")


def wait(rest, seconds):
    """Turns the clock of the service, which only the local one can do."""
    body = json.dumps({"seconds": seconds}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"{rest}/emulator/clock/advance", data=body, timeout=30).close()


class Appender:
    """One connection to a table's default stream."""

    def __init__(self, client, table, row_class):
        name = f"projects/{PROJECT}/datasets/shop/tables/{table}/streams/_default"
        descriptor = descriptor_pb2.DescriptorProto()
        row_class.DESCRIPTOR.CopyToProto(descriptor)
        template = types.AppendRowsRequest(write_stream=name)
        template.proto_rows = types.AppendRowsRequest.ProtoData(
            writer_schema=types.ProtoSchema(proto_descriptor=descriptor)
        )
        self.name = name
        self.row_class = row_class
        self.stream = writer.AppendRowsStream(client, template)

    def send(self, *rows):
        data = types.ProtoRows(
            serialized_rows=[self.row_class(**row).SerializeToString() for row in rows]
        )
        request = types.AppendRowsRequest(write_stream=self.name)
        request.proto_rows = types.AppendRowsRequest.ProtoData(rows=data)
        return self.stream.send(request).result(timeout=30)


def make_table(client):
    dataset = bigquery.Dataset(f"{PROJECT}.shop")
    dataset.location = "asia-northeast1"
    client.create_dataset(dataset)
    client.create_dataset(dataset, exists_ok=True)
    refused(exceptions.Conflict, lambda: client.create_dataset(dataset))
    client.query(
        """CREATE TABLE shop.items (
             id INT64 NOT NULL, name STRING, price NUMERIC, seen TIMESTAMP, born DATE, data BYTES,
             PRIMARY KEY (id) NOT ENFORCED)
           CLUSTER BY id OPTIONS(max_staleness = INTERVAL 10 MINUTE)""",
        location="asia-northeast1",
    ).result()
    table = client.get_table("shop.items")
    expect([field.field_type for field in table.schema][:4], ["INTEGER", "STRING", "NUMERIC", "TIMESTAMP"])
    expect(table.table_constraints.primary_key.columns, ["id"])
    expect(table.clustering_fields, ["id"])
    expect([one.table_id for one in client.list_tables("shop")], ["items"])


def changes(client, write_client, rest):
    appender = Appender(write_client, "items", message_class(COLUMNS))
    upsert = {"_CHANGE_TYPE": "UPSERT"}
    seen = datetime.datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=datetime.timezone.utc)
    micros = (seen - datetime.datetime.fromtimestamp(0, datetime.timezone.utc)) // datetime.timedelta(microseconds=1)
    whole = {"name": "a", "price": "1.50", "seen": micros, "born": 19_782, "data": b"\xff"}
    answer = appender.send(
        {"id": 1, **whole, **upsert, "_CHANGE_SEQUENCE_NUMBER": "1/2"},
        {"id": 1, "name": "old", **upsert, "_CHANGE_SEQUENCE_NUMBER": "1/1"},
        {"id": 2, "name": "b", **upsert, "_CHANGE_SEQUENCE_NUMBER": "1/1"},
        {"id": 3, "name": "c", **upsert, "_CHANGE_SEQUENCE_NUMBER": "1/1"},
    )
    expect(answer.write_stream, appender.name)
    appender.send({"id": 2, "_CHANGE_TYPE": "DELETE", "_CHANGE_SEQUENCE_NUMBER": "1/3"})
    appender.stream.close()
    expect(list(client.query("SELECT id FROM shop.items").result()), [])
    wait(rest, 600)
    appender = Appender(write_client, "items", message_class(COLUMNS))
    rows = [tuple(row.values()) for row in client.list_rows("shop.items")]
    first = (1, "a", decimal.Decimal("1.5"), seen, datetime.date(2024, 2, 29), b"\xff")
    expect(sorted(rows), [first, (3, "c", None, None, None, None)])
    config = bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter("name", "STRING", "a")]
    )
    sql = "SELECT id, price, seen FROM shop.items WHERE name = @name"
    for find in (client.query(sql, job_config=config).result(), client.query_and_wait(sql, job_config=config)):
        expect([tuple(row.values()) for row in find], [(1, decimal.Decimal("1.5"), seen)])
    error = refused(
        exceptions.InvalidArgument,
        lambda: appender.send(
            {"id": 4, **upsert, "_CHANGE_SEQUENCE_NUMBER": "1"},
            {"id": 5, **upsert, "_CHANGE_SEQUENCE_NUMBER": "xyz"},
        ),
    )
    expect("row_errors" in str(error), True)
    expect(next(iter(client.query("SELECT COUNT(*) FROM shop.items").result()))[0], 2)
    appender.stream.close()


def other_errors(client, write_client):
    refused(exceptions.NotFound, lambda: client.get_table("shop.none"))
    refused(exceptions.NotFound, lambda: client.query("SELECT 1 FROM shop.none").result())
    refused(exceptions.BadRequest, lambda: client.query("SELECT nothing FROM shop.items").result())
    refused(exceptions.BadRequest, lambda: client.delete_dataset("shop"))
    name = f"projects/{PROJECT}/datasets/shop/tables/items/streams/_default"
    request = types.GetWriteStreamRequest(name=name, view=types.WriteStreamView.FULL)
    stream = write_client.get_write_stream(request=request)
    expect(stream.location, "asia-northeast1")
    expect([field.name for field in stream.table_schema.fields][:2], ["id", "name"])
    missing = types.GetWriteStreamRequest(name=name.replace("items", "none"))
    refused(exceptions.NotFound, lambda: write_client.get_write_stream(request=missing))


def rows_of(client, sql):
    return [tuple(row.values()) for row in client.query(sql).result()]


def evolve(client, write_client):
    """Creates a table, appends, adds a column, appends with it, reads everything back."""
    table = bigquery.Table(
        f"{PROJECT}.shop.events",
        schema=[
            bigquery.SchemaField("id", "INTEGER", mode="REQUIRED"),
            bigquery.SchemaField("name", "STRING"),
        ],
    )
    table.clustering_fields = ["id"]
    client.create_table(table)
    columns = [("id", FIELDS.TYPE_INT64), ("name", FIELDS.TYPE_STRING)]
    appender = Appender(write_client, "events", message_class(columns))
    appender.send({"id": 1, "name": "a"}, {"id": 2, "name": "b"})
    table = client.get_table("shop.events")
    table.schema = [*table.schema, bigquery.SchemaField("amount", "NUMERIC")]
    client.update_table(table, ["schema"])
    wider = message_class([*columns, ("amount", FIELDS.TYPE_STRING)])
    # The connection that was open does not know the column yet: its call goes on, the request is refused.
    descriptor = descriptor_pb2.DescriptorProto()
    wider.DESCRIPTOR.CopyToProto(descriptor)
    request = types.AppendRowsRequest(write_stream=appender.name)
    request.proto_rows = types.AppendRowsRequest.ProtoData(
        writer_schema=types.ProtoSchema(proto_descriptor=descriptor),
        rows=types.ProtoRows(serialized_rows=[wider(id=3, amount="1.5").SerializeToString()]),
    )
    error = refused(exceptions.InvalidArgument, lambda: appender.stream.send(request).result(timeout=30))
    expect("more fields" in str(error), True)
    appender.stream.close()
    appender = Appender(write_client, "events", wider)
    appender.send({"id": 3, "amount": "1.5"})
    appender.stream.close()
    found = rows_of(client, "SELECT id, name, amount FROM shop.events ORDER BY id")
    expect(found, [(1, "a", None), (2, "b", None), (3, None, decimal.Decimal("1.5"))])


def evolve_with_changes(client, write_client):
    """The same with upserts and deletes, in a table whose queries merge what is pending."""
    client.query(
        """CREATE TABLE shop.people (id INT64 NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED)
           CLUSTER BY id"""
    ).result()
    pseudo = [("_CHANGE_TYPE", FIELDS.TYPE_STRING), ("_CHANGE_SEQUENCE_NUMBER", FIELDS.TYPE_STRING)]
    columns = [("id", FIELDS.TYPE_INT64), ("name", FIELDS.TYPE_STRING)]
    upsert = {"_CHANGE_TYPE": "UPSERT"}
    appender = Appender(write_client, "people", message_class([*columns, *pseudo]))
    appender.send(
        {"id": 1, "name": "a", **upsert, "_CHANGE_SEQUENCE_NUMBER": "1"},
        {"id": 2, "name": "b", **upsert, "_CHANGE_SEQUENCE_NUMBER": "1"},
    )
    appender.stream.close()
    client.query("ALTER TABLE shop.people ADD COLUMN age INT64, ALTER COLUMN name SET OPTIONS(description='n')").result()
    wider = message_class([*columns, ("age", FIELDS.TYPE_INT64), *pseudo])
    appender = Appender(write_client, "people", wider)
    appender.send(
        {"id": 1, "name": "a", "age": 40, **upsert, "_CHANGE_SEQUENCE_NUMBER": "2"},
        {"id": 2, "_CHANGE_TYPE": "DELETE", "_CHANGE_SEQUENCE_NUMBER": "2"},
        {"id": 3, "age": 3, **upsert, "_CHANGE_SEQUENCE_NUMBER": "2"},
    )
    appender.stream.close()
    expect(rows_of(client, "SELECT id, name, age FROM shop.people ORDER BY id"), [(1, "a", 40), (3, None, 3)])
    error = refused(exceptions.BadRequest, lambda: client.query("DELETE FROM shop.people WHERE id = 1").result())
    expect("CDC" in str(error), True)
    for table in ("events", "people"):
        client.delete_table(f"shop.{table}")


def later_columns(client):
    table = client.get_table("shop.items")
    table.schema = [*table.schema, bigquery.SchemaField("late", "JSON")]
    expect(client.update_table(table, ["schema"]).schema[-1].name, "late")
    client.query("ALTER TABLE shop.items DROP COLUMN late").result()
    expect(len(client.get_table("shop.items").schema), 6)
    client.delete_table("shop.items")
    client.delete_dataset("shop")


def main(rest, write):
    client = bigquery.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=rest),
    )
    transport = BigQueryWriteGrpcTransport(channel=grpc.insecure_channel(write))
    write_client = BigQueryWriteClient(transport=transport)
    make_table(client)
    changes(client, write_client, rest)
    evolve(client, write_client)
    evolve_with_changes(client, write_client)
    other_errors(client, write_client)
    later_columns(client)
    print("ok")


main(*sys.argv[1:])
