//! From the file's shape to a [`Config`]: pure, and every mistake is noted before it gives up. A key of
//! the public shape that is not built yet is refused by name, never accepted and ignored.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use super::changes;
use super::error::Mistakes;
use super::raw::{
    InOrder, MysqlAuth, OnPositionLost, RawConfig, RawMode, RawMysql, RawSnapshot, RawSnapshotMode,
    RawSource, RawTable, RawTls, RawTlsMode,
};
use super::template::Template;
use super::{
    BucketKind, CheckpointPlace, Config, Login, MysqlSource, Overrides, Secret, Snapshot, SnapshotMode,
    SourceConfig, TableMode, TablePatterns, Tls, TlsMode, Values, duration, dynamodb, target, url,
};

/// What the rules need beside the values: how each was written, and where mistakes go.
pub(super) struct Rules<'a> {
    pub(super) templates: &'a BTreeMap<String, Template>,
    pub(super) mistakes: &'a mut Mistakes,
}

impl Rules<'_> {
    /// A value as it may be quoted: as it was written, so that nothing that was put in is shown; a URL
    /// with a login is not shown at all.
    pub(super) fn quote(&self, key: &str, value: &str) -> String {
        let written = self.templates.get(key).map_or(value, Template::written);
        if written.contains("://") && written.contains('@') {
            return "the URL with a login".to_owned();
        }
        format!("{written:?}")
    }

    /// A required value; a missing one is noted.
    pub(super) fn require<T>(&mut self, key: &str, value: Option<T>, cure: &str) -> Option<T> {
        if value.is_none() {
            self.mistakes.missing(key, cure);
        }
        value
    }

    /// How much is read at the same time: 1 to 64, 4 unless set.
    pub(super) fn parallelism(&mut self, key: &str, value: Option<u64>, cure: &str) -> Option<usize> {
        let number = usize::try_from(value.unwrap_or(4))
            .ok()
            .filter(|number| (1..=64).contains(number));
        if number.is_none() {
            self.mistakes.add(key, "is not a number from 1 to 64", cure);
        }
        number
    }

    /// A text that has to be of a form; what is not is noted, quoted as it was written.
    pub(super) fn formed(
        &mut self,
        key: &str,
        text: String,
        form: impl FnOnce(&str) -> bool,
        (what, cure): (&str, &str),
    ) -> Option<String> {
        if form(&text) {
            return Some(text);
        }
        let shown = self.quote(key, &text);
        self.mistakes.add(key, format!("{shown} is not {what}"), cure);
        None
    }

    /// A name in the small alphabet that is safe in file names, labels and identifiers.
    fn name(&mut self, key: &str, value: Option<String>) -> Option<String> {
        let cure = "write 1 to 40 of the characters a-z, 0-9, _ and -";
        let name = self.require(key, value, cure)?;
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > 40 || !name.chars().all(legal) {
            let shown = self.quote(key, &name);
            self.mistakes.add(key, format!("{shown} is not a name"), cure);
            return None;
        }
        Some(name)
    }
}

/// Judges a file; `None` only if at least one mistake was noted.
pub(super) fn validate(raw: RawConfig, rules: &mut Rules<'_>) -> Option<Config> {
    let pipeline = rules.name("pipeline", raw.pipeline);
    let source = sources(raw.sources, rules);
    let sink = rules.require("sink", raw.sink, "write sink: with bigquery: below it");
    let sink = sink.and_then(|sink| {
        let bigquery = rules.require(
            "sink.bigquery",
            sink.bigquery,
            "write bigquery: with project: below it",
        );
        target::bigquery(bigquery?, rules)
    });
    let tables = overrides(
        raw.tables,
        matches!(source, Some(SourceConfig::Dynamodb(_))),
        rules,
    );
    let schema_changes = changes::read(raw.schema_changes.unwrap_or_default(), rules);
    let checkpoint = checkpoint(raw.checkpoint, rules);
    let http = http(raw.http, rules);
    if raw.notify.is_some_and(|notices| !notices.is_empty()) {
        rules.mistakes.not_built(
            "notify",
            "sending notices",
            "remove it and alert on /readyz and /metrics",
        );
    }
    Some(Config {
        pipeline: pipeline?,
        source: source?,
        sink: sink?,
        values: raw.values.unwrap_or_default().over(Values::default()),
        schema_changes,
        tables,
        checkpoint: checkpoint?,
        http: http?,
    })
}

fn sources(raw: Option<Vec<Option<RawSource>>>, rules: &mut Rules<'_>) -> Option<SourceConfig> {
    let list = rules.require("sources", raw, "write sources: with one entry")?;
    if list.len() > 1 {
        rules.mistakes.not_built(
            "sources[1]",
            "a second source",
            "keep one source here and run another replicator with a configuration of its own for the other",
        );
    }
    let Some(first) = list.into_iter().next() else {
        rules.mistakes.add(
            "sources",
            "is empty",
            "write one entry with name: and mysql: or dynamodb:",
        );
        return None;
    };
    let source = first?;
    let name = rules.name("sources[0].name", source.name);
    match (source.mysql, source.dynamodb) {
        (Some(mysql), None) => mysql_source(name, mysql, rules).map(SourceConfig::Mysql),
        (None, Some(tables)) => dynamodb::source(name, tables, rules).map(SourceConfig::Dynamodb),
        (Some(mysql), Some(tables)) => {
            rules.mistakes.add(
                "sources[0]",
                "is of two kinds",
                "keep mysql: or dynamodb:, and run another replicator with a configuration of its own for the other",
            );
            // What is wrong below either is told as well.
            mysql_source(name.clone(), mysql, rules);
            dynamodb::source(name, tables, rules);
            None
        }
        (None, None) => {
            rules.mistakes.missing(
                "sources[0].mysql",
                "write mysql: with url: and tables: below it, or dynamodb: with region: and tables:",
            );
            None
        }
    }
}

fn mysql_source(name: Option<String>, raw: RawMysql, rules: &mut Rules<'_>) -> Option<MysqlSource> {
    let key = "sources[0].mysql.url";
    let url = rules.require(key, raw.url, "write mysql://user:password@host:port");
    let url = url.and_then(|_| {
        let template = rules.templates.get(key)?;
        url::parse(template, key, rules.mistakes)
    });
    let copied_when_lost = raw.on_position_lost == Some(OnPositionLost::Resnapshot);
    let tls = tls(raw.tls.unwrap_or_default(), rules);
    let login = url.as_ref().map(|url| url.password.clone());
    let login = match raw.auth {
        None | Some(MysqlAuth::Password) => login.map(Login::Password),
        Some(MysqlAuth::RdsIam) => token(login.as_ref(), tls.as_ref(), rules.mistakes),
    };
    let tables = patterns(raw.tables, rules);
    let snapshot = snapshot(&raw.snapshot.unwrap_or_default(), rules);
    if copied_when_lost
        && snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.mode == SnapshotMode::Never)
    {
        rules.mistakes.add(
            "sources[0].mysql.on_position_lost",
            "is resnapshot, and snapshot.mode is never",
            "set snapshot.mode to initial, or on_position_lost to stop",
        );
    }
    let server_id = match raw.server_id.map(u32::try_from) {
        None => Some(None),
        Some(Ok(id)) if id > 0 => Some(Some(id)),
        Some(_) => {
            rules.mistakes.add(
                "sources[0].mysql.server_id",
                "is not a number from 1 to 4294967295",
                "write one that no other replica of the server has, or remove it",
            );
            None
        }
    };
    let url = url?;
    Some(MysqlSource {
        name: name?,
        host: url.host,
        port: url.port,
        user: url.user,
        login: login?,
        tls: tls?,
        tables: tables?,
        snapshot: snapshot?,
        server_id: server_id?,
        copied_when_lost,
    })
}

/// A token is as good as a password for a quarter of an hour, so it goes to nobody who is not known.
fn token(password: Option<&Secret>, tls: Option<&Tls>, mistakes: &mut Mistakes) -> Option<Login> {
    if password.is_some_and(|password| !password.is_empty()) {
        mistakes.add(
            "sources[0].mysql.url",
            "holds a password, and auth is rds_iam",
            "remove the password: a token is made for each connection",
        );
    }
    if tls.is_some_and(|tls| matches!(tls.mode, TlsMode::Disabled | TlsMode::Required)) {
        mistakes.add(
            "sources[0].mysql.tls.mode",
            "does not verify the server, and auth is rds_iam, which sends it a token in clear",
            "set verify_identity, with ca: the file of RDS's certificate authorities \
             (https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem)",
        );
    }
    Some(Login::RdsIam)
}

fn tls(raw: RawTls, rules: &mut Rules<'_>) -> Option<Tls> {
    let key = "sources[0].mysql.tls.ca";
    let mode = match raw.mode.unwrap_or(RawTlsMode::VerifyIdentity) {
        RawTlsMode::Disabled => TlsMode::Disabled,
        RawTlsMode::Required => TlsMode::Required,
        RawTlsMode::VerifyCa => TlsMode::VerifyCa,
        RawTlsMode::VerifyIdentity => TlsMode::VerifyIdentity,
    };
    let ca = raw.ca.map(PathBuf::from);
    if let Some(path) = &ca {
        if matches!(mode, TlsMode::Disabled | TlsMode::Required) {
            rules.mistakes.add(
                key,
                "is given, but the mode verifies no certificate",
                "set tls.mode to verify_ca or verify_identity, or remove ca",
            );
            return None;
        }
        if !path.is_absolute() {
            rules
                .mistakes
                .add(key, "is not an absolute path", "write the path from the root /");
            return None;
        }
    }
    Some(Tls { mode, ca })
}

fn patterns(raw: Option<Vec<Option<String>>>, rules: &mut Rules<'_>) -> Option<TablePatterns> {
    let key = "sources[0].mysql.tables";
    let cure = "write a list such as [\"shop.*\", \"!shop.tmp_*\"]";
    let list = rules.require(key, raw, cure)?;
    let whole = list.iter().all(Option::is_some);
    let mut good = Vec::new();
    for (number, pattern) in list.into_iter().enumerate() {
        let Some(pattern) = pattern else { continue };
        match TablePatterns::check(&pattern) {
            Ok(()) => good.push(pattern),
            Err(error) => {
                let key = format!("{key}[{number}]");
                let shown = rules.quote(&key, &pattern);
                rules.mistakes.add(
                    &key,
                    format!("{shown} {}", error.reason),
                    "* stands for any text, ? for one character, a leading ! excludes",
                );
            }
        }
    }
    match TablePatterns::parse(&good) {
        Ok(patterns) => Some(patterns),
        // Whether the list includes a table can be told only if every entry could be read.
        Err(error) => {
            if whole && !rules.mistakes.0.iter().any(|one| one.key.starts_with(key)) {
                rules.mistakes.add(key, error.reason, cure);
            }
            None
        }
    }
}

fn snapshot(raw: &RawSnapshot, rules: &mut Rules<'_>) -> Option<Snapshot> {
    let mode = match raw.mode.unwrap_or(RawSnapshotMode::Initial) {
        RawSnapshotMode::Initial => Some(SnapshotMode::Initial),
        RawSnapshotMode::Never => Some(SnapshotMode::Never),
        RawSnapshotMode::WhenNeeded => {
            rules.mistakes.not_built(
                "sources[0].mysql.snapshot.mode",
                "when_needed",
                "write initial or never",
            );
            None
        }
    };
    let parallelism = rules.parallelism(
        "sources[0].mysql.snapshot.parallelism",
        raw.parallelism,
        "write how many chunks the source can bear to be read at the same time; 4 is usual",
    );
    let chunk_rows = raw.chunk_rows.unwrap_or(50_000);
    if chunk_rows == 0 {
        rules.mistakes.add(
            "sources[0].mysql.snapshot.chunk_rows",
            "is zero",
            "write at least 1; 50000 is usual",
        );
    }
    let max_rows_per_second = raw.max_rows_per_second.map(NonZeroU64::new);
    if max_rows_per_second == Some(None) {
        rules.mistakes.add(
            "sources[0].mysql.snapshot.max_rows_per_second",
            "is zero",
            "write how many rows the source can bear to be read in a second, or remove it: then there is no limit",
        );
    }
    let lag = raw.max_replica_lag.as_deref();
    let max_replica_lag =
        lag.and_then(|text| duration::above_zero("sources[0].mysql.snapshot.max_replica_lag", text, rules));
    Some(Snapshot {
        mode: mode?,
        parallelism: parallelism?,
        chunk_rows,
        max_rows_per_second: max_rows_per_second.flatten(),
        max_replica_lag,
    })
}

fn overrides(raw: Option<InOrder<RawTable>>, is_dynamodb: bool, rules: &mut Rules<'_>) -> Overrides {
    let mut overrides = Overrides::default();
    for (pattern, table) in raw.map(|pairs| pairs.0).unwrap_or_default() {
        let key = format!("tables.{pattern:?}");
        let mode = table_override(&key, &table, rules.mistakes);
        if is_dynamodb && mode == Some(TableMode::Append) {
            let cure = "remove it: targets of DynamoDB tables hold the items as they are";
            rules
                .mistakes
                .not_built(&format!("{key}.mode"), "append for DynamoDB", cure);
        }
        if let Err(error) = overrides.add(&pattern, mode) {
            let cure = "write schema.table; * stands for any text, ? for one character";
            rules.mistakes.add(&key, error.reason, cure);
        }
    }
    overrides
}

/// Refuses what is not built; gives the mode.
fn table_override(key: &str, table: &RawTable, mistakes: &mut Mistakes) -> Option<TableMode> {
    let without = "remove it: tables are copied with all columns, by the documented types";
    let mut refuse = |name: &str, given: bool, cure: &str| {
        if given {
            mistakes.not_built(&format!("{key}.{name}"), name, cure);
        }
    };
    let clustered = "remove it: targets are clustered by their key and not partitioned";
    refuse("partition_by", table.partition_by.is_some(), clustered);
    refuse("cluster_by", table.cluster_by.is_some(), clustered);
    refuse(
        "exclude",
        table.exclude.is_some(),
        "exclude the whole table in sources[0].mysql.tables, or remove it: every column is copied",
    );
    refuse(
        "hash",
        table.hash.is_some(),
        "exclude the whole table in sources[0].mysql.tables, or remove it: columns are copied as they are",
    );
    refuse("types", table.types.is_some(), without);
    refuse(
        "mode",
        matches!(table.mode, Some(RawMode::History)),
        "write append, which keeps every change, or upsert",
    );
    match table.mode? {
        RawMode::Upsert => Some(TableMode::Upsert),
        RawMode::Append => Some(TableMode::Append),
        RawMode::History => None,
    }
}

fn checkpoint(raw: Option<String>, rules: &mut Rules<'_>) -> Option<CheckpointPlace> {
    let (key, cure) = (
        "checkpoint",
        "write file:// and an absolute directory, such as file:///var/lib/replicator, or s3:// or gs://, a bucket and a folder",
    );
    let text = rules.require(key, raw, cure)?;
    if let Some(place) = checkpoint_place(&text) {
        return Some(place);
    }
    let shown = rules.quote(key, &text);
    let wrong = format!("{shown} is neither an absolute directory nor a bucket");
    rules.mistakes.add(key, wrong, cure);
    None
}

fn checkpoint_place(text: &str) -> Option<CheckpointPlace> {
    let (scheme, rest) = text.split_once("://")?;
    let kind = match scheme {
        "file" => {
            let directory = PathBuf::from(rest);
            return directory
                .is_absolute()
                .then_some(CheckpointPlace::Directory(directory));
        }
        "s3" => BucketKind::S3,
        "gs" => BucketKind::Gcs,
        _ => return None,
    };
    let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let folder = folder.trim_end_matches('/');
    let parts = || folder.split('/');
    let whole = folder.is_empty() || parts().all(|part| !part.is_empty() && part.chars().all(named));
    (!bucket.is_empty() && bucket.chars().all(named) && whole).then(|| CheckpointPlace::Bucket {
        kind,
        url: text.trim_end_matches('/').to_owned(),
        folder: folder.to_owned(),
    })
}

fn http(raw: Option<String>, rules: &mut Rules<'_>) -> Option<SocketAddr> {
    let text = raw.unwrap_or_else(|| "0.0.0.0:8080".to_owned());
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let shown = rules.quote("http", &text);
            rules.mistakes.add(
                "http",
                format!("{shown} is not an address and a port"),
                "write an IP address and a port, such as 127.0.0.1:8080",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_in_a_directory_or_in_a_bucket() {
        let bucket = |kind, url: &str, folder: &str| CheckpointPlace::Bucket {
            kind,
            url: url.to_owned(),
            folder: folder.to_owned(),
        };
        for (text, place) in [
            ("s3://b", bucket(BucketKind::S3, "s3://b", "")),
            ("s3://b/", bucket(BucketKind::S3, "s3://b", "")),
            ("gs://b.c/d/e/", bucket(BucketKind::Gcs, "gs://b.c/d/e", "d/e")),
            ("file:///d", CheckpointPlace::Directory(PathBuf::from("/d"))),
        ] {
            assert_eq!(checkpoint_place(text), Some(place), "{text}");
        }
        for text in [
            "s3://",
            "s3:///x",
            "s3://b//x",
            "s3://b/x?y=z",
            "file://d",
            "d",
            "az://b/x",
        ] {
            assert_eq!(checkpoint_place(text), None, "{text}");
        }
    }
}
