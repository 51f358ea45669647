//! Exports to S3: asked for, under way, done; and the files that they leave.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html>

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::errors::{Answer, Refusal, text, within};
use super::s3::Object;
use super::shards::{HOUR, SECOND};
use super::tables::{Place, State, seconds, timestamp};
use super::value::Item;

/// How long a token stands for its export.
const TOKEN: i64 = 8 * HOUR;

/// Which part of the table's life an export shows.
#[derive(Debug, Clone, PartialEq)]
enum Span {
    /// The table as it was at a moment.
    Full { at: i64 },
    /// What changed from a moment on, up to another.
    Changes { from: i64, to: i64, old_images: bool },
}

#[derive(Debug)]
struct Export {
    id: String,
    arn: String,
    table_arn: String,
    table_id: String,
    span: Span,
    bucket: String,
    prefix: Option<String>,
    token: String,
    asked: Value,
    started: i64,
    due: i64,
    ended: Option<i64>,
    failure: Option<(String, String)>,
    /// The lines of each file, made when the export begins: nothing that comes later shows in them.
    files: Vec<Vec<Value>>,
    manifest: String,
}

/// All exports, and how the next ones go.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    known: Vec<Export>,
    /// How long an export takes, in microseconds.
    pub(crate) duration: i64,
    /// How the next export ends, if not well.
    pub(crate) failure: Option<(String, String)>,
}

impl State {
    pub(crate) fn start_export(&mut self, input: &Value) -> Answer {
        let (arn, bucket) = (
            text(input, "TableArn")?.to_owned(),
            text(input, "S3Bucket")?.to_owned(),
        );
        let now = self.now;
        let token = match input["ClientToken"].as_str() {
            Some(token) => token.to_owned(),
            None => format!("{:032x}", self.rng.u128(..)),
        };
        let before = self
            .exports
            .known
            .iter()
            .find(|export| export.token == token && export.started + TOKEN > now);
        if let Some(before) = before {
            if before.asked != *input {
                let message = "An export with this ClientToken and other parameters exists";
                return Err(Refusal::service("ExportConflictException", message));
            }
            return Ok(json!({"ExportDescription": before.describe()}));
        }
        let (table_id, span, files) = self.exported(&arn, input)?;
        let id = format!("{:014}-{:08x}", now / 1_000, self.rng.u32(..));
        let export = Export {
            arn: format!("{arn}/export/{id}"),
            table_arn: arn,
            table_id,
            span,
            bucket,
            prefix: input["S3Prefix"].as_str().map(str::to_owned),
            token,
            asked: input.clone(),
            started: now,
            due: now + self.exports.duration,
            ended: None,
            failure: self.exports.failure.take(),
            files,
            manifest: String::new(),
            id,
        };
        let answer = json!({"ExportDescription": export.describe()});
        if let Some(objects) = self.buckets.get_mut(&export.bucket) {
            objects.insert(
                format!("{}_started", export.folder()),
                Object::new(Vec::new(), now),
            );
        }
        self.exports.known.push(export);
        Ok(answer)
    }

    /// What an export shows: the table's id, the span of time, the lines of each file.
    fn exported(&self, arn: &str, input: &Value) -> Result<(String, Span, Vec<Vec<Value>>), Refusal> {
        let now = self.now;
        let table = self.tables.values().find(|table| table.arn == arn);
        let table = table
            .ok_or_else(|| Refusal::service("TableNotFoundException", format!("Table not found: {arn}")))?;
        let Some(earliest) = table.earliest(now) else {
            let message = format!("Point in time recovery is not enabled for table '{}'", table.name);
            return Err(Refusal::service(
                "PointInTimeRecoveryUnavailableException",
                message,
            ));
        };
        if !matches!(input["ExportFormat"].as_str(), None | Some("DYNAMODB_JSON")) {
            return Err(Refusal::validation("only DYNAMODB_JSON is served here"));
        }
        let span = span(input, now)?;
        let (first, last) = match span {
            Span::Full { at } => (at, at),
            Span::Changes { from, to, .. } => (from, to),
        };
        // Whole seconds are what a client can name; the one in which recovery was enabled counts.
        if first < earliest - earliest % SECOND || last > now {
            let message = "The specified ExportTime is outside of the point in time recovery window";
            return Err(Refusal::service("InvalidExportTimeException", message));
        }
        let mut files: Vec<Vec<Value>> = Vec::new();
        let parts = self.partitions;
        files.resize_with(usize::try_from(parts).unwrap_or(1), Vec::new);
        for (place, line) in table.export_lines(&span) {
            let part = (u128::from(place.0) * u128::from(parts)) >> 64;
            files[usize::try_from(part).unwrap_or(0)].push(line);
        }
        Ok((table.id.clone(), span, files))
    }

    /// Exports whose time has come end, well or not.
    pub(crate) fn finish_exports(&mut self) {
        let now = self.now;
        for export in &mut self.exports.known {
            if export.ended.is_some() || export.due > now {
                continue;
            }
            export.ended = Some(export.due);
            if export.failure.is_some() {
                continue;
            }
            match self.buckets.get_mut(&export.bucket) {
                Some(objects) => export.leave(objects),
                None => {
                    let message = "The specified bucket does not exist".to_owned();
                    export.failure = Some(("S3NoSuchBucket".to_owned(), message));
                }
            }
        }
    }

    pub(crate) fn describe_export(&self, input: &Value) -> Answer {
        let arn = text(input, "ExportArn")?;
        let export = self.exports.known.iter().find(|export| export.arn == arn);
        let export = export
            .ok_or_else(|| Refusal::service("ExportNotFoundException", format!("Export not found: {arn}")))?;
        Ok(json!({"ExportDescription": export.describe()}))
    }

    pub(crate) fn list_exports(&self, input: &Value) -> Answer {
        let limit = within(input, "MaxResults", (1, 25, 25))?;
        let table = input["TableArn"].as_str();
        let after = input["NextToken"].as_str().unwrap_or_default();
        let mut found: Vec<&Export> = self
            .exports
            .known
            .iter()
            .filter(|export| table.is_none_or(|table| export.table_arn == table))
            .filter(|export| export.arn.as_str() > after)
            .collect();
        found.sort_by(|one, other| one.arn.cmp(&other.arn));
        let more = found.len() > limit;
        found.truncate(limit);
        let shown = found.iter().map(|export| {
            json!({"ExportArn": export.arn, "ExportStatus": export.status(), "ExportType": export.kind()})
        });
        let mut answer = json!({"ExportSummaries": shown.collect::<Vec<Value>>()});
        if more {
            answer["NextToken"] = json!(found.last().map(|export| &export.arn));
        }
        Ok(answer)
    }
}

/// Times come in seconds.
fn micros(value: &Value) -> Option<i64> {
    if let Some(whole) = value.as_i64() {
        return Some(whole * SECOND);
    }
    let given = std::time::Duration::try_from_secs_f64(value.as_f64()?).ok()?;
    i64::try_from(given.as_micros()).ok()
}

fn span(input: &Value, now: i64) -> Result<Span, Refusal> {
    match input["ExportType"].as_str() {
        None | Some("FULL_EXPORT") => Ok(Span::Full {
            at: micros(&input["ExportTime"]).unwrap_or(now),
        }),
        Some("INCREMENTAL_EXPORT") => {
            let wanted = &input["IncrementalExportSpecification"];
            let from = micros(&wanted["ExportFromTime"]);
            let from = from.ok_or_else(|| Refusal::validation("ExportFromTime must be given"))?;
            let to = micros(&wanted["ExportToTime"]).unwrap_or(now);
            if !(HOUR / 4..=24 * HOUR).contains(&(to - from)) {
                return Err(Refusal::validation(
                    "The difference between export period start time and end time must be \
                     at least 15 minutes and at most 24 hours",
                ));
            }
            Ok(Span::Changes {
                from,
                to,
                old_images: wanted["ExportViewType"].as_str() != Some("NEW_IMAGE"),
            })
        }
        Some(_) => Err(Refusal::validation("ExportType is not known")),
    }
}

impl super::tables::Table {
    fn export_lines(&self, span: &Span) -> Vec<(Place, Value)> {
        match *span {
            Span::Full { at } => {
                let items = self.at(at).into_iter();
                items
                    .map(|(place, item)| (place, json!({"Item": item})))
                    .collect()
            }
            Span::Changes { from, to, old_images } => {
                let (before, after) = (self.at(from), self.at(to));
                let mut last: BTreeMap<&Place, (i64, &Item)> = BTreeMap::new();
                for change in self.log.iter().filter(|change| (from..to).contains(&change.at)) {
                    last.insert(&change.place, (change.at, &change.keys));
                }
                let lines = last.into_iter().map(|(place, (at, keys))| {
                    let mut line = json!({
                        "Metadata": {"WriteTimestampMicros": {"N": at.to_string()}},
                        "Keys": keys,
                    });
                    if let Some(new) = after.get(place) {
                        line["NewImage"] = json!(new);
                    }
                    if let Some(old) = before.get(place).filter(|_| old_images) {
                        line["OldImage"] = json!(old);
                    }
                    (place.clone(), line)
                });
                lines.collect()
            }
        }
    }
}

impl Export {
    fn kind(&self) -> &'static str {
        match self.span {
            Span::Full { .. } => "FULL_EXPORT",
            Span::Changes { .. } => "INCREMENTAL_EXPORT",
        }
    }

    fn status(&self) -> &'static str {
        match (self.ended, &self.failure) {
            (None, _) => "IN_PROGRESS",
            (Some(_), None) => "COMPLETED",
            (Some(_), Some(_)) => "FAILED",
        }
    }

    fn base(&self) -> String {
        match self.prefix.as_deref().map(|prefix| prefix.trim_end_matches('/')) {
            Some(prefix) if !prefix.is_empty() => format!("{prefix}/AWSDynamoDB/"),
            Some(_) | None => "AWSDynamoDB/".to_owned(),
        }
    }

    fn folder(&self) -> String {
        format!("{}{}/", self.base(), self.id)
    }

    fn items(&self) -> usize {
        self.files.iter().map(Vec::len).sum()
    }

    fn bytes(&self) -> usize {
        let lines = self.files.iter().flatten();
        lines.map(|line| line.to_string().len()).sum()
    }

    fn describe(&self) -> Value {
        let mut shown = json!({
            "ExportArn": self.arn,
            "ExportStatus": self.status(),
            "ExportType": self.kind(),
            "StartTime": seconds(self.started),
            "TableArn": self.table_arn,
            "TableId": self.table_id,
            "ClientToken": self.token,
            "S3Bucket": self.bucket,
            "S3SseAlgorithm": "AES256",
            "ExportFormat": "DYNAMODB_JSON",
        });
        if let Some(prefix) = &self.prefix {
            shown["S3Prefix"] = json!(prefix);
        }
        match self.span {
            Span::Full { at } => shown["ExportTime"] = json!(seconds(at)),
            Span::Changes { from, to, old_images } => {
                shown["IncrementalExportSpecification"] = json!({
                    "ExportFromTime": seconds(from),
                    "ExportToTime": seconds(to),
                    "ExportViewType": if old_images { "NEW_AND_OLD_IMAGES" } else { "NEW_IMAGE" },
                });
            }
        }
        if let Some(ended) = self.ended {
            shown["EndTime"] = json!(seconds(ended));
        }
        if let Some((code, message)) = self.failure.as_ref().filter(|_| self.ended.is_some()) {
            shown["FailureCode"] = json!(code);
            shown["FailureMessage"] = json!(message);
        } else if self.ended.is_some() {
            shown["ExportManifest"] = json!(self.manifest);
            shown["ItemCount"] = json!(self.items());
            shown["BilledSizeBytes"] = json!(self.bytes());
        }
        shown
    }

    /// Writes the files.
    fn leave(&mut self, objects: &mut BTreeMap<String, Object>) {
        let folder = self.folder();
        let now = self.ended.unwrap_or(self.due);
        let data = match self.span {
            Span::Full { .. } => format!("{folder}data/"),
            Span::Changes { .. } => format!("{}data/", self.base()),
        };
        let mut listed = String::new();
        for (part, lines) in self.files.iter().enumerate() {
            let packed = packed(lines);
            let name = Md5::digest(format!("{}{part}", self.id).as_bytes());
            let name: String = name.iter().take(13).map(|byte| format!("{byte:02x}")).collect();
            let key = format!("{data}{name}.json.gz");
            let md5 = md5_of(&packed);
            let object = Object::new(packed, now);
            let line = json!({
                "itemCount": lines.len(),
                "md5Checksum": md5,
                "etag": object.etag,
                "dataFileS3Key": key,
            });
            listed.push_str(&format!("{line}\n"));
            objects.insert(key, object);
        }
        let files_key = format!("{folder}manifest-files.json");
        let summary = self.summary(&files_key);
        self.manifest = format!("{folder}manifest-summary.json");
        for (key, text) in [(files_key, listed), (self.manifest.clone(), summary.to_string())] {
            let sum = md5_of(text.as_bytes());
            objects.insert(
                key.replace(".json", ".checksum"),
                Object::new(sum.into_bytes(), now),
            );
            objects.insert(key, Object::new(text.into_bytes(), now));
        }
    }

    fn summary(&self, files_key: &str) -> Value {
        let zulu = |micros| format!("{}Z", timestamp(micros));
        let mut summary = json!({
            "version": "2023-08-01",
            "exportArn": self.arn,
            "startTime": zulu(self.started),
            "endTime": zulu(self.ended.unwrap_or(self.due)),
            "tableArn": self.table_arn,
            "tableId": self.table_id,
            "exportTime": null,
            "s3Bucket": self.bucket,
            "s3Prefix": self.prefix,
            "s3SseAlgorithm": "AES256",
            "s3SseKmsKeyId": null,
            "manifestFilesS3Key": files_key,
            "billedSizeBytes": self.bytes(),
            "itemCount": self.items(),
            "outputFormat": "DYNAMODB_JSON",
            "exportType": self.kind(),
        });
        match self.span {
            Span::Full { at } => summary["exportTime"] = json!(zulu(at)),
            Span::Changes { from, to, old_images } => {
                summary["exportFromTime"] = json!(zulu(from));
                summary["exportToTime"] = json!(zulu(to));
                let view = if old_images {
                    "NEW_AND_OLD_IMAGES"
                } else {
                    "NEW_IMAGE"
                };
                summary["outputView"] = json!(view);
            }
        }
        summary
    }
}

fn packed(lines: &[Value]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    for line in lines {
        writeln!(packer, "{line}").expect("memory takes it");
    }
    packer.finish().expect("memory takes it")
}

fn md5_of(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}
