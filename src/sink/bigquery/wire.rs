//! The append request as bytes. Rows are encoded once, into the very form they are sent in; only the
//! few bytes before them are made for each sending, because table and schema are named only where
//! the connection needs it. So the size of a request is known exactly, and sending again costs nothing.

use bytes::{BufMut, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use super::delivery::Destination;
use crate::proto::storage::AppendRowsResponse;

/// What a request is filled up to.
pub(super) const TARGET_BYTES: usize = 8_000_000;

/// What a request never exceeds; BigQuery ends the whole connection over 20 MB.
const HARD_BYTES: usize = 19_000_000;

/// Room for tags, lengths and the trace id.
const FRAMING: usize = 512;

/// Field numbers of `AppendRowsRequest` and `ProtoData`.
const WRITE_STREAM: u32 = 1;
const PROTO_ROWS: u32 = 4;
const TRACE_ID: u32 = 6;
const WRITER_SCHEMA: u32 = 1;
const ROWS: u32 = 2;

/// The longest that the rows of one request may be, tags and lengths included.
pub(super) fn row_limit(destination: &Destination) -> usize {
    HARD_BYTES.saturating_sub(FRAMING + destination.stream.len() + destination.schema.len())
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The write stream's name.
    pub(super) stream: Bytes,
    /// A serialized `ProtoSchema`, where the connection needs it.
    pub(super) schema: Option<Bytes>,
    /// A serialized `ProtoRows`.
    pub(super) rows: Bytes,
    /// Who sends.
    pub(super) trace_id: Bytes,
}

impl Frame {
    fn write(&self, out: &mut impl BufMut) {
        let schema = self.schema.as_ref();
        let data_len =
            schema.map_or(0, |schema| field_len(WRITER_SCHEMA, schema)) + field_len(ROWS, &self.rows);
        put_field(out, WRITE_STREAM, &self.stream);
        encode_key(PROTO_ROWS, WireType::LengthDelimited, out);
        encode_varint(length(data_len), out);
        if let Some(schema) = schema {
            put_field(out, WRITER_SCHEMA, schema);
        }
        put_field(out, ROWS, &self.rows);
        put_field(out, TRACE_ID, &self.trace_id);
    }

    /// Size of the request in bytes.
    pub(super) fn len(&self) -> usize {
        let schema = self.schema.as_ref();
        let data_len =
            schema.map_or(0, |schema| field_len(WRITER_SCHEMA, schema)) + field_len(ROWS, &self.rows);
        field_len(WRITE_STREAM, &self.stream)
            + prost::encoding::key_len(PROTO_ROWS)
            + encoded_len_varint(length(data_len))
            + data_len
            + field_len(TRACE_ID, &self.trace_id)
    }
}

fn put_field(out: &mut impl BufMut, field: u32, value: &Bytes) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(length(value.len()), out);
    out.put_slice(value);
}

fn field_len(field: u32, value: &Bytes) -> usize {
    prost::encoding::key_len(field) + encoded_len_varint(length(value.len())) + value.len()
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Frames out, answers in.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AppendCodec;

impl Codec for AppendCodec {
    type Encode = Frame;
    type Decode = AppendRowsResponse;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<AppendRowsResponse>;

    fn encoder(&mut self) -> FrameEncoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> ProstDecoder<AppendRowsResponse> {
        ProstDecoder::default()
    }
}

/// Writes frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameEncoder;

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(frame.len());
        frame.write(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::proto::descriptor::DescriptorProto;
    use crate::proto::storage::append_rows_request::{ProtoData, Rows};
    use crate::proto::storage::{AppendRowsRequest, ProtoRows, ProtoSchema};

    proptest! {
        #[test]
        fn a_frame_is_the_request_that_the_protocol_describes(
            stream in "[a-z/_]{0,200}", trace in "[a-z:]{0,40}", with_schema: bool,
            rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        ) {
            let schema = ProtoSchema { proto_descriptor: Some(DescriptorProto { name: Some("row".into()), ..Default::default() }) };
            let rows = ProtoRows { serialized_rows: rows.into_iter().map(Bytes::from).collect() };
            let frame = Frame {
                stream: Bytes::from(stream.clone()),
                schema: with_schema.then(|| schema.encode_to_vec().into()),
                rows: rows.encode_to_vec().into(),
                trace_id: Bytes::from(trace.clone()),
            };
            let mut bytes = Vec::new();
            frame.write(&mut bytes);
            prop_assert_eq!(bytes.len(), frame.len());
            let request = AppendRowsRequest {
                write_stream: stream,
                rows: Some(Rows::ProtoRows(ProtoData { writer_schema: with_schema.then_some(schema), rows: Some(rows) })),
                trace_id: trace,
                ..Default::default()
            };
            prop_assert_eq!(AppendRowsRequest::decode(bytes.as_slice()).unwrap(), request);
        }
    }
}
