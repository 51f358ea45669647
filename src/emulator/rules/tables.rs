//! Rules of tables: what queries see of changes, what tables may be and become.

use super::Standing::{Assumed, Documented, Measured};
use super::{Rule, rule};

const BQRS: &str = "https://github.com/abdolence/bigquery-rs/blob/master/docs/src/schema-management.md";
const CDC: &str = "https://docs.cloud.google.com/bigquery/docs/change-data-capture";
const CLUSTER: &str = "https://docs.cloud.google.com/bigquery/docs/clustered-tables";
const DDL: &str =
    "https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language";
const PART: &str = "https://docs.cloud.google.com/bigquery/docs/querying-partitioned-tables";
const PARTEXP: &str = "https://docs.cloud.google.com/bigquery/docs/managing-partitioned-tables";
const QUOTA: &str = "https://docs.cloud.google.com/bigquery/quotas";
const SCHEMAS: &str = "https://docs.cloud.google.com/bigquery/docs/schemas";
const TABLES: &str = "https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables";
const QUALIFY: &str =
    "https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#qualify_clause";
const TC: &str = "https://docs.cloud.google.com/bigquery/docs/information-schema-table-constraints";
const VIEWS: &str = "https://docs.cloud.google.com/bigquery/docs/views-intro";
const WINDOWS: &str =
    "https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/window-function-calls";

pub(super) const RULES: &[Rule] = &[
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
        "streaming-buffer",
        "What waits to be applied is the `streamingBuffer` of the table’s resource; `numRows` and `numBytes` leave it out.",
        Documented,
        TABLES,
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
        "A table has at most 10,000 columns; here 1,990.",
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
        "partition-expiration",
        "Days of a table partitioned by day go away when their time, counted from their beginning in UTC, is over.",
        Documented,
        PARTEXP,
    ),
    rule(
        "view-query",
        "A view is its query, run anew each time that it is read; `tables.get` shows it with the columns that it had when it was made.",
        Documented,
        VIEWS,
    ),
    rule(
        "view-replace",
        "`CREATE OR REPLACE VIEW` replaces a view and no table, `DROP VIEW` drops no table, and the other way round.",
        Documented,
        DDL,
    ),
    rule(
        "view-rows",
        "A view takes no appends, lists no rows and is not altered as a table.",
        Documented,
        VIEWS,
    ),
    rule(
        "view-levels",
        "Views are nested at most 16 levels deep.",
        Documented,
        QUOTA,
    ),
    rule(
        "qualify",
        "QUALIFY keeps rows by what a window function gave; WHERE knows no window functions.",
        Documented,
        QUALIFY,
    ),
    rule(
        "window-partition",
        "PARTITION BY of a window takes no FLOAT64 and no JSON.",
        Documented,
        WINDOWS,
    ),
];
