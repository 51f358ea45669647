//! Rules of what is late, of jobs and of values.

use super::Standing::{Documented, Measured};
use super::{Rule, rule};

const BQRS: &str = "https://github.com/abdolence/bigquery-rs/blob/master/docs/src/schema-management.md";
const BQRST: &str = "https://github.com/abdolence/bigquery-rs/blob/master/docs/src/types.md";
const DTYPES: &str = "https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-types";
const ETLV: &str = "https://github.com/supabase/etl";
const PROTO: &str =
    "https://github.com/googleapis/googleapis/blob/master/google/cloud/bigquery/storage/v1/storage.proto";
const QUERY: &str = "https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query";
const TYPES: &str = "https://docs.cloud.google.com/bigquery/docs/supported-data-types";

pub(super) const RULES: &[Rule] = &[
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
        "bytes-billed",
        "A query that would bill more than its `maximumBytesBilled` fails with bytesBilledLimitExceeded.",
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
