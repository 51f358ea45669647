//! The rules themselves, in the order of a row's way: the call, the change, when it is seen, the table it goes
//! to, when writers see that change, jobs, values.

use super::Standing::{Assumed, Documented, Measured};
use super::{Rule, Standing};

const BEAM: &str = "https://github.com/apache/beam";
const BQRS: &str = "https://github.com/abdolence/bigquery-rs/blob/master/docs/src/schema-management.md";
const BQRST: &str = "https://github.com/abdolence/bigquery-rs/blob/master/docs/src/types.md";
const CDC: &str = "https://docs.cloud.google.com/bigquery/docs/change-data-capture";
const CLUSTER: &str = "https://docs.cloud.google.com/bigquery/docs/clustered-tables";
const CUT: &str = "https://github.com/googleapis/python-bigquery-storage/issues/717";
const DDL: &str =
    "https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language";
const DTYPES: &str = "https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-types";
const ETLV: &str = "https://github.com/supabase/etl";
const IDLE: &str = "https://github.com/googleapis/nodejs-bigquery-storage/issues/427";
const PART: &str = "https://docs.cloud.google.com/bigquery/docs/querying-partitioned-tables";
const PROTO: &str =
    "https://github.com/googleapis/googleapis/blob/master/google/cloud/bigquery/storage/v1/storage.proto";
const QUERY: &str = "https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query";
const QUOTA: &str = "https://docs.cloud.google.com/bigquery/quotas";
const SCHEMAS: &str = "https://docs.cloud.google.com/bigquery/docs/schemas";
const SUPA: &str = "https://github.com/supabase/etl/pull/912";
const TABLES: &str = "https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables";
const TC: &str = "https://docs.cloud.google.com/bigquery/docs/information-schema-table-constraints";
const TYPES: &str = "https://docs.cloud.google.com/bigquery/docs/supported-data-types";
const WAPI: &str = "https://docs.cloud.google.com/bigquery/docs/write-api";

const fn rule(id: &'static str, what: &'static str, standing: Standing, source: &'static str) -> Rule {
    Rule {
        id,
        what,
        standing,
        source,
    }
}

/// All rules.
pub const RULES: &[Rule] = &[
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
    rule(
        "baseline-read",
        "Within `max_staleness` queries see the baseline, without what is pending.",
        Documented,
        CDC,
    ),
    rule(
        "apply-interval",
        "Pending changes are applied at least once in every `max_staleness`.",
        Documented,
        CDC,
    ),
    rule(
        "apply-bytes",
        "An apply job reads the whole baseline, whatever changed.",
        Documented,
        CDC,
    ),
    rule(
        "apply-watermark",
        "`INFORMATION_SCHEMA.TABLES.upsert_stream_apply_watermark` says up to when changes are applied.",
        Documented,
        CDC,
    ),
    rule(
        "apply-jobs-listed",
        "Apply jobs are among the project’s jobs, as `%cdc_background%` of Google’s own account.",
        Documented,
        CDC,
    ),
    rule(
        "no-changes-no-apply",
        "Where nothing is pending no job runs and the watermark stands.",
        Assumed,
        "",
    ),
    rule(
        "deletes-late",
        "A deletion is applied no sooner than other changes.",
        Documented,
        CDC,
    ),
    rule(
        "no-staleness-merges",
        "Without `max_staleness` every query merges what is pending as it runs, and pays for it.",
        Documented,
        CDC,
    ),
    rule(
        "late-apply-merges",
        "If the last apply job is longer ago than `max_staleness`, a query merges and sees everything.",
        Documented,
        CDC,
    ),
    rule(
        "merge-leaves-watermark",
        "A merge of a query does not move the watermark.",
        Documented,
        CDC,
    ),
    rule(
        "partition-filter-merges",
        "While queries merge, `require_partition_filter` is not supported.",
        Documented,
        CDC,
    ),
    rule(
        "key-sixteen",
        "A primary key has at most 16 columns.",
        Documented,
        CDC,
    ),
    rule(
        "key-types",
        "A primary key has no columns of type BYTES, FLOAT64, TIME, JSON or INTERVAL.",
        Documented,
        TC,
    ),
    rule(
        "cluster-four",
        "A table clusters by at most 4 columns.",
        Documented,
        CLUSTER,
    ),
    rule(
        "column-count",
        "A table has at most 10,000 columns.",
        Documented,
        QUOTA,
    ),
    rule(
        "reserved-names",
        "Column names do not begin with reserved prefixes such as `_CHANGE_TYPE`, in any case.",
        Documented,
        SCHEMAS,
    ),
    rule(
        "rename-table",
        "A table with a primary key is not renamed.",
        Documented,
        DDL,
    ),
    rule(
        "bound-columns",
        "Columns of the primary key, of the clustering and of the partitioning are neither dropped nor renamed.",
        Documented,
        DDL,
    ),
    rule(
        "swap-names",
        "All renames of a statement happen at once, so that two columns can swap names.",
        Documented,
        DDL,
    ),
    rule(
        "add-required",
        "A column that is added is not REQUIRED.",
        Documented,
        DDL,
    ),
    rule(
        "patch",
        "`tables.patch` adds columns, loosens modes and widens lengths; columns that it leaves out, and other types, are refused.",
        Documented,
        TABLES,
    ),
    rule(
        "widening",
        "A column’s type only widens: INT64 to NUMERIC to BIGNUMERIC, parameters to larger ones. INT64 to FLOAT64 is refused, as measured.",
        Measured,
        BQRS,
    ),
    rule(
        "dml-refused",
        "UPDATE, DELETE and MERGE of tables with changes are refused; here all DML is.",
        Documented,
        CDC,
    ),
    rule(
        "metadata-rate",
        "A table takes 5 changes of its metadata in 10 seconds, by SQL and REST together; then 403 `rateLimitExceeded`.",
        Documented,
        QUOTA,
    ),
    rule(
        "metadata-rate-partitioned",
        "A partitioned table takes 50.",
        Documented,
        QUOTA,
    ),
    rule(
        "partition-filter",
        "A table with `require_partition_filter` is read with a condition on its partitioning column only.",
        Documented,
        PART,
    ),
    rule(
        "columns-late-open",
        "A connection that was open sees changed columns after 7 seconds.",
        Measured,
        BQRS,
    ),
    rule(
        "columns-late-new",
        "A new connection sees changed columns after 1 second (strict profile).",
        Measured,
        BQRS,
    ),
    rule(
        "dropped-swallowed",
        "For 9 seconds an open connection’s values for a dropped or renamed column are acknowledged and lost; then they are refused.",
        Measured,
        BQRS,
    ),
    rule(
        "not-null-late",
        "After DROP NOT NULL an open connection goes on to refuse NULL; a new one does not.",
        Measured,
        BQRS,
    ),
    rule(
        "recreated-swallowed",
        "For 5 seconds after a table was made again, open connections get acknowledgements for rows that are lost.",
        Measured,
        BQRS,
    ),
    rule(
        "recreated-silent",
        "After that their requests are not answered, and end with DEADLINE_EXCEEDED after two minutes.",
        Measured,
        BQRS,
    ),
    rule(
        "recreated-unknown",
        "For two minutes new connections do not find a table that was made again (strict profile).",
        Measured,
        BQRS,
    ),
    rule(
        "job-pending",
        "A query may not be complete when it is first answered; it is asked for until it is (strict profile).",
        Documented,
        QUERY,
    ),
    rule(
        "request-id",
        "A query that is sent again with its `requestId` within 15 minutes finds the job of the first.",
        Documented,
        QUERY,
    ),
    rule(
        "numeric-range",
        "NUMERIC has 29 digits before the point; a larger number is an error of its row.",
        Documented,
        DTYPES,
    ),
    rule(
        "numeric-rounding",
        "Digits beyond the scale of NUMERIC or NUMERIC(P, S) are rounded, half away from zero.",
        Documented,
        DTYPES,
    ),
    rule(
        "bignumeric-rounding",
        "Digits beyond the 38th of BIGNUMERIC are rounded.",
        Measured,
        BQRST,
    ),
    rule(
        "json-numbers",
        "Integers in JSON beyond 64 bits become doubles, silently.",
        Measured,
        ETLV,
    ),
    rule(
        "json-normal",
        "JSON is stored without spaces, members by name.",
        Documented,
        DTYPES,
    ),
    rule(
        "bytes-from-string",
        "A string for a BYTES column is stored as its UTF-8, not decoded.",
        Measured,
        BQRST,
    ),
    rule(
        "packed-times",
        "TIME and DATETIME as integers are packed as Google’s CivilTimeEncoder does.",
        Documented,
        TYPES,
    ),
    rule(
        "value-ranges",
        "Dates and times lie between 0001-01-01 and 9999-12-31; others are errors of their rows.",
        Documented,
        DTYPES,
    ),
    rule(
        "lengths",
        "STRING(L) and BYTES(L) take no longer values.",
        Documented,
        DTYPES,
    ),
    rule(
        "strings-utf8",
        "Strings are UTF-8; others are errors of their rows.",
        Documented,
        PROTO,
    ),
];
