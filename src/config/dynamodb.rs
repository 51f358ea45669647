//! DynamoDB tables as a source: the part of the configuration that says which tables of which region are followed,
//! and how the items that they hold already are read.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use super::promoted::{self, Promoted, RawPromoted};
use super::target::{SERVER, is_server};
use super::validate::Rules;

const KEY: &str = "sources[0].dynamodb";

/// Tables of one account and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamodbSource {
    /// The source's name in the configuration; `{schema}` and `{source}` of its tables.
    pub name: String,
    /// AWS region, such as `ap-northeast-1`.
    pub region: String,
    /// Names of the tables, each once.
    pub tables: Vec<String>,
    /// What targets hold of an item.
    pub layout: Layout,
    /// By table, the paths whose values have columns of their own beside the whole item, in the order of those.
    pub promoted: BTreeMap<String, Vec<Promoted>>,
    /// How the items are read that the tables hold already.
    pub first_load: FirstLoad,
    /// Data files of an export, or segments of a Scan, that are read at the same time; 1…64.
    pub parallelism: usize,
    /// The role that is assumed with what the default chain of credentials finds.
    pub role: Option<Role>,
    /// Where all calls to AWS go, S3's too, without a slash at the end; `None`: the region's own endpoints.
    pub endpoint: Option<String>,
    /// Whether a table is copied again by itself if changes of it may be lost; else nothing is copied any more.
    pub reload: bool,
}

/// What a target holds of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// The key attributes as columns, the whole item as JSON, and what is at promoted paths.
    Document,
    /// Each top-level attribute as a column, from when it is first seen.
    Columns,
}

/// How the items are read that a table holds already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstLoad {
    /// From an export to S3, which reads none of the table's capacity.
    Export(ExportPlace),
    /// By a Scan, which does.
    Scan(ScanLimits),
    /// Not at all: only changes from now on are written.
    None,
}

/// Where exports are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPlace {
    /// The bucket, in the source's region.
    pub bucket: String,
    /// The folder in it, without slashes around it; empty for none.
    pub prefix: String,
}

/// What a Scan may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// Read capacity units a second, of all segments of all tables together; at least 1.
    pub read_units_per_second: u32,
}

/// A role of AWS's that is assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The role's ARN.
    pub arn: String,
    /// The external id that its trust policy asks for.
    pub external_id: Option<String>,
}

/// DynamoDB tables of one account and region.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Dynamodb")]
pub(super) struct RawDynamodb {
    /// The region, such as `ap-northeast-1`.
    #[schemars(required)]
    region: Option<String>,
    /// Names of tables, without wildcards. Each needs a stream with NEW_AND_OLD_IMAGES or NEW_IMAGE.
    #[schemars(required, with = "Vec<String>")]
    tables: Option<Vec<Option<String>>>,
    /// What the target holds: `document` unless set.
    layout: Option<Layout>,
    /// With `layout: document`, by table: paths into its items (`address.city`, `items[0].sku`) whose values get columns
    /// of their own, each with its type: STRING, INT64, NUMERIC, BIGNUMERIC, FLOAT64, BOOL, BYTES, DATE, TIMESTAMP or
    /// JSON.
    promote: Option<RawPromoted>,
    /// How the items are read that the tables hold already: `export` unless set.
    first_load: Option<RawFirstLoad>,
    /// With `first_load: export`, the S3 bucket that exports are written to.
    export_bucket: Option<String>,
    /// The folder in the bucket: letters, digits, `-`, `_`, `.` and single `/` between; `replicator` unless set.
    export_prefix: Option<String>,
    /// With `first_load: scan`, read capacity units a second that all Scans together may take; 100 unless set.
    scan_read_units_per_second: Option<u64>,
    /// Data files of an export or segments of a Scan that are read at the same time, 1 to 64; 4 unless set.
    parallelism: Option<u64>,
    /// ARN of a role to assume with what the AWS SDK's default chain of credentials finds.
    role_arn: Option<String>,
    /// With `role_arn`, the external id that the role's trust policy asks for.
    external_id: Option<String>,
    /// Where all calls to AWS go, S3's too, such as `http://127.0.0.1:8000`: for local servers.
    endpoint: Option<String>,
    /// What follows when a stream no longer continues what was read of it: `stop` unless set.
    on_position_lost: Option<OnStreamLost>,
}

/// What follows when a stream no longer continues what was read of it.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnStreamLost {
    /// Nothing is copied any more; the process lives and says so.
    Stop,
    /// The stream's table is copied again, and rows that are gone are removed.
    Resnapshot,
}

/// How the items are read that a table holds already.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FirstLoad")]
enum RawFirstLoad {
    /// From an export to S3; needs point-in-time recovery, takes no read capacity.
    Export,
    /// By a Scan, which takes read capacity of the table.
    Scan,
    /// Not at all: only changes from now on are written.
    None,
}

/// Judges `sources[0].dynamodb`.
pub(super) fn source(
    name: Option<String>,
    mut raw: RawDynamodb,
    rules: &mut Rules<'_>,
) -> Option<DynamodbSource> {
    let region = region(raw.region.take(), rules);
    let tables = tables(raw.tables.take(), rules);
    let followed = tables.as_deref().unwrap_or_default();
    let promoted = promoted::promoted(&format!("{KEY}.promote"), raw.promote.take(), followed, rules);
    let layout = raw.layout.unwrap_or(Layout::Document);
    let idle = layout == Layout::Columns && promoted.as_ref().is_some_and(|paths| !paths.is_empty());
    if idle {
        let cure = "remove it: every top-level attribute has a column; or write layout: document";
        rules.mistakes.add(
            &format!("{KEY}.promote"),
            "says nothing with layout: columns",
            cure,
        );
    }
    let first_load = first_load(&raw, rules);
    let parallelism = rules.parallelism(
        &format!("{KEY}.parallelism"),
        raw.parallelism,
        "write how many files or segments may be read at the same time; 4 is usual",
    );
    let reload = raw.on_position_lost == Some(OnStreamLost::Resnapshot);
    let role = role(raw.role_arn, raw.external_id, rules);
    let endpoint = match raw.endpoint {
        None => Some(None),
        Some(text) => rules
            .formed(&format!("{KEY}.endpoint"), text, is_server, SERVER)
            .map(|text| Some(text.trim_end_matches('/').to_owned())),
    };
    Some(DynamodbSource {
        name: name?,
        region: region?,
        tables: tables?,
        layout,
        promoted: promoted?,
        first_load: first_load?,
        parallelism: parallelism?,
        role: role?,
        endpoint: endpoint?,
        reload,
    })
}

fn region(raw: Option<String>, rules: &mut Rules<'_>) -> Option<String> {
    let key = format!("{KEY}.region");
    let cure = "write the region of the tables, such as ap-northeast-1";
    let text = rules.require(&key, raw, cure)?;
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let form = |text: &str| !text.is_empty() && text.chars().all(legal);
    rules.formed(&key, text, form, ("a region", cure))
}

/// 3 to 255 of `a-z`, `A-Z`, `0-9`, `_`, `-` and `.`
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>).
fn is_table(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (3..=255).contains(&text.len()) && text.chars().all(legal)
}

fn tables(raw: Option<Vec<Option<String>>>, rules: &mut Rules<'_>) -> Option<Vec<String>> {
    let key = format!("{KEY}.tables");
    let cure = "write a list of names, such as [sessions, carts]";
    let list = rules.require(&key, raw, cure)?;
    if list.is_empty() {
        rules.mistakes.add(&key, "names no table", cure);
        return None;
    }
    let whole = list.len();
    let (mut good, mut seen) = (Vec::new(), BTreeSet::new());
    for (number, name) in list.into_iter().enumerate() {
        // What could not be read was told already.
        let Some(name) = name else { continue };
        let key = format!("{key}[{number}]");
        let wrong = (
            "the name of a table",
            "write 3 to 255 of a-z, A-Z, 0-9, _, - and .; name every table, there are no wildcards",
        );
        let Some(name) = rules.formed(&key, name, is_table, wrong) else {
            continue;
        };
        if seen.insert(name.clone()) {
            good.push(name);
        } else {
            rules.mistakes.add(&key, "is named twice", "remove it");
        }
    }
    (good.len() == whole).then_some(good)
}

fn first_load(raw: &RawDynamodb, rules: &mut Rules<'_>) -> Option<FirstLoad> {
    let kind = raw.first_load.unwrap_or(RawFirstLoad::Export);
    let place = export_place(raw, kind, rules);
    let limits = scan_limits(raw, kind, rules);
    match kind {
        RawFirstLoad::Export => place.map(FirstLoad::Export),
        RawFirstLoad::Scan => limits.map(FirstLoad::Scan),
        RawFirstLoad::None => Some(FirstLoad::None),
    }
}

/// Notes what is given for a kind of first load that is not asked for.
fn idle(name: &str, wanted: &str, rules: &mut Rules<'_>) {
    rules.mistakes.add(
        &format!("{KEY}.{name}"),
        format!("says nothing without first_load: {wanted}"),
        format!("remove it, or write first_load: {wanted}"),
    );
}

fn export_place(raw: &RawDynamodb, kind: RawFirstLoad, rules: &mut Rules<'_>) -> Option<ExportPlace> {
    if kind != RawFirstLoad::Export {
        for (name, given) in [
            ("export_bucket", &raw.export_bucket),
            ("export_prefix", &raw.export_prefix),
        ] {
            if given.is_some() {
                idle(name, "export", rules);
            }
        }
        return None;
    }
    let key = format!("{KEY}.export_bucket");
    let cure = "write the name of an S3 bucket that exports may be written to; without one, first_load: scan reads \
                the table itself, and first_load: none leaves out what it holds already";
    let bucket = rules.require(&key, raw.export_bucket.clone(), cure);
    let bucket = bucket.and_then(|text| {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let form = |text: &str| (3..=63).contains(&text.len()) && text.chars().all(legal);
        let wrong = (
            "the name of a bucket",
            "write its name alone: 3 to 63 of a-z, 0-9, - and .; no s3://",
        );
        rules.formed(&key, text, form, wrong)
    });
    let prefix = raw
        .export_prefix
        .clone()
        .unwrap_or_else(|| "replicator".to_owned());
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let part = |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.chars().all(legal);
    let form = |text: &str| text.is_empty() || (text.len() <= 512 && text.split('/').all(part));
    let wrong = (
        "a folder of a bucket",
        "write letters, digits, -, _ and . with single slashes between, none around; or \"\" for none",
    );
    let prefix = rules.formed(&format!("{KEY}.export_prefix"), prefix, form, wrong);
    Some(ExportPlace {
        bucket: bucket?,
        prefix: prefix?,
    })
}

fn scan_limits(raw: &RawDynamodb, kind: RawFirstLoad, rules: &mut Rules<'_>) -> Option<ScanLimits> {
    let name = "scan_read_units_per_second";
    if kind != RawFirstLoad::Scan {
        if raw.scan_read_units_per_second.is_some() {
            idle(name, "scan", rules);
        }
        return None;
    }
    match u32::try_from(raw.scan_read_units_per_second.unwrap_or(100)) {
        Ok(read_units_per_second) if read_units_per_second > 0 => Some(ScanLimits {
            read_units_per_second,
        }),
        Ok(_) | Err(_) => {
            rules.mistakes.add(
                &format!("{KEY}.{name}"),
                "is not a number from 1 to 4294967295",
                "write what the table can spare; a unit reads 4 KB a second",
            );
            None
        }
    }
}

fn role(arn: Option<String>, external_id: Option<String>, rules: &mut Rules<'_>) -> Option<Option<Role>> {
    let Some(arn) = arn else {
        if external_id.is_none() {
            return Some(None);
        }
        rules.mistakes.add(
            &format!("{KEY}.external_id"),
            "says nothing without role_arn",
            "write role_arn: the role's ARN, or remove it",
        );
        return None;
    };
    let form = |text: &str| {
        text.starts_with("arn:") && text.contains(":role/") && !text.contains(char::is_whitespace)
    };
    let wrong = (
        "the ARN of a role",
        "write it such as arn:aws:iam::123456789012:role/replicator",
    );
    let arn = rules.formed(&format!("{KEY}.role_arn"), arn, form, wrong)?;
    Some(Some(Role { arn, external_id }))
}

#[cfg(test)]
mod tests;
