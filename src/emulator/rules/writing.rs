//! Rules of AppendRows: calls, rows, changes and their order.

use super::Standing::{Assumed, Documented, Measured};
use super::{Rule, rule};

const BEAM: &str = "https://github.com/apache/beam";
const BQRS: &str = "https://github.com/abdolence/bigquery-rs/blob/master/docs/src/schema-management.md";
const CDC: &str = "https://docs.cloud.google.com/bigquery/docs/change-data-capture";
const CUT: &str = "https://github.com/googleapis/python-bigquery-storage/issues/717";
const ETLV: &str = "https://github.com/supabase/etl";
const IDLE: &str = "https://github.com/googleapis/nodejs-bigquery-storage/issues/427";
const PROTO: &str =
    "https://github.com/googleapis/googleapis/blob/master/google/cloud/bigquery/storage/v1/storage.proto";
const SCHEMAS: &str = "https://docs.cloud.google.com/bigquery/docs/schemas";
const SUPA: &str = "https://github.com/supabase/etl/pull/912";
const TYPES: &str = "https://docs.cloud.google.com/bigquery/docs/supported-data-types";
const WAPI: &str = "https://docs.cloud.google.com/bigquery/docs/write-api";

pub(super) const RULES: &[Rule] = &[
    rule(
        "request-size",
        "A request of 20,000,000 bytes or more is refused with INVALID_ARGUMENT, and the call ends.",
        Documented,
        PROTO,
    ),
    rule(
        "first-request",
        "The first request of a call names its stream and has the writer schema.",
        Documented,
        PROTO,
    ),
    rule(
        "multiplexing",
        "A request that changes table or schema names the stream and has the schema; once a call had several, every request names its stream.",
        Documented,
        PROTO,
    ),
    rule(
        "offset-refused",
        "An offset on a default stream is refused.",
        Documented,
        PROTO,
    ),
    rule(
        "arrow-refused",
        "Changes are taken in protobuf form only; here all rows in Arrow form are refused, with UNIMPLEMENTED.",
        Documented,
        CDC,
    ),
    rule(
        "stream-names",
        "A stream that does not exist is NOT_FOUND.",
        Documented,
        PROTO,
    ),
    rule(
        "table-not-found",
        "A table that does not exist is NOT_FOUND, with TABLE_NOT_FOUND in the details.",
        Documented,
        PROTO,
    ),
    rule(
        "routing-header",
        "Outside the US multi-region a call of AppendRows without the header `x-goog-request-params` with its stream or place ends with PERMISSION_DENIED; the real service lets some through.",
        Measured,
        SUPA,
    ),
    rule(
        "routing-get-stream",
        "GetWriteStream needs the same header with `name`.",
        Assumed,
        "",
    ),
    rule(
        "get-write-stream",
        "GetWriteStream gives a default stream with the columns that a new connection sees.",
        Documented,
        PROTO,
    ),
    rule(
        "idle",
        "A connection without requests for 600 seconds ends with ABORTED.",
        Measured,
        IDLE,
    ),
    rule(
        "answers-in-order",
        "Answers come in the order of the requests of their connection.",
        Documented,
        PROTO,
    ),
    rule(
        "order-across-connections",
        "Nothing is promised about the order of requests of different connections.",
        Assumed,
        "",
    ),
    rule(
        "quota-in-band",
        "RESOURCE_EXHAUSTED in an answer leaves the connection usable, and lasts.",
        Measured,
        BEAM,
    ),
    rule(
        "answer-lost",
        "A request may be carried out though its answer never comes.",
        Documented,
        WAPI,
    ),
    rule(
        "row-errors",
        "One row that cannot be taken keeps the whole request out; the answer lists bad rows by their places in it.",
        Documented,
        PROTO,
    ),
    rule(
        "row-errors-cut",
        "The list of bad rows may be cut.",
        Measured,
        CUT,
    ),
    rule(
        "extra-fields",
        "A writer schema with more fields than the table has columns is refused in the answer, with SCHEMA_MISMATCH_EXTRA_FIELDS.",
        Documented,
        PROTO,
    ),
    rule(
        "form-mismatch",
        "A field whose protobuf type the column does not take ends the call.",
        Measured,
        BQRS,
    ),
    rule(
        "accepted-forms",
        "Columns take the protobuf types of the documented table, and no others.",
        Documented,
        TYPES,
    ),
    rule(
        "absent-is-null",
        "Rows are proto2 messages: an absent field is NULL, a present zero is a zero.",
        Documented,
        PROTO,
    ),
    rule(
        "column-case",
        "Fields and columns meet whatever the case of their names.",
        Documented,
        SCHEMAS,
    ),
    rule(
        "column-annotation",
        "The annotation `column_name` of a field names its column, above the field’s own name.",
        Documented,
        SCHEMAS,
    ),
    rule(
        "missing-required",
        "A REQUIRED column without a value is an error of its row.",
        Documented,
        PROTO,
    ),
    rule(
        "updated-schema",
        "An open connection is told once of changed columns, in an answer.",
        Documented,
        PROTO,
    ),
    rule(
        "plain-rows",
        "Rows without a change type are appended, and queries see them at once.",
        Documented,
        WAPI,
    ),
    rule(
        "change-types",
        "`_CHANGE_TYPE` is UPSERT or DELETE.",
        Documented,
        CDC,
    ),
    rule(
        "change-mixing",
        "Changes and plain rows do not share a connection.",
        Documented,
        CDC,
    ),
    rule(
        "change-needs-key",
        "Changes need a table with a primary key.",
        Documented,
        CDC,
    ),
    rule(
        "change-columns",
        "Changes need a table of at most 2,000 columns.",
        Documented,
        CDC,
    ),
    rule(
        "key-has-value",
        "A change has a value in every key column.",
        Assumed,
        "",
    ),
    rule(
        "sequence-form",
        "`_CHANGE_SEQUENCE_NUMBER` has 1 to 4 sections of 1 to 16 hexadecimal digits, apart by `/`.",
        Documented,
        CDC,
    ),
    rule(
        "sequence-order",
        "Of two changes of a key the one with the larger number wins, whatever came first; sections compare from the left as unsigned numbers.",
        Documented,
        CDC,
    ),
    rule(
        "sequence-equal",
        "Of two changes with equal numbers the one that was taken last wins.",
        Documented,
        CDC,
    ),
    rule(
        "sequence-sections",
        "A number that is the beginning of another is the smaller one.",
        Assumed,
        "",
    ),
    rule(
        "sequence-absent",
        "A change without a number ranks below all with one; among themselves the last wins. Google calls a mixture unpredictable, so they are counted.",
        Assumed,
        "",
    ),
    rule(
        "upsert-whole-row",
        "An UPSERT replaces the whole row; columns that it leaves out become NULL.",
        Measured,
        ETLV,
    ),
    rule("delete-key-only", "A DELETE needs the key alone.", Measured, ETLV),
    rule(
        "deletion-two-days",
        "A deletion is remembered for two days; an older change that comes later than that brings the row back.",
        Documented,
        CDC,
    ),
    rule(
        "partition-window",
        "Streaming reaches partitions from 10 years ago to 1 year ahead; other values are errors of their rows.",
        Documented,
        WAPI,
    ),
];
