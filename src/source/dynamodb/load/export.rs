//! Exports of tables to S3: asked for once, found again after a restart, and waited for.
//!
//! What an export is asked with follows from the pipeline, the table, the generation and the time alone, so that a
//! process that was killed asks for the same one again and is given the one that runs: for eight hours by its client
//! token, after that by the folder that it writes to
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportTableToPointInTime.html>).

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::DateTime;
use aws_sdk_dynamodb::types::{
    ExportDescription, ExportFormat, ExportStatus, ExportType, ExportViewType, IncrementalExportSpecification,
};
use sha2::{Digest, Sha256};

use super::error::{LoadError, Refusal};
use crate::clock::Clock;
use crate::config::ExportPlace;

const REQUEST: &str = "dynamodb:ExportTableToPointInTime";
const LIST: &str = "dynamodb:ListExports";
const DESCRIBE: &str = "dynamodb:DescribeExport";

/// How often it is looked whether an export is done, at first and in the end.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long it is waited until AWS can export as of a time: it is minutes behind.
const LATELY: i64 = 3600;

/// How often that is tried.
const AGAIN: Duration = Duration::from_secs(20);

/// What of a table is exported. Times are Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// The items as of a time.
    Full {
        /// The earliest time that will do.
        at: i64,
    },
    /// What became of the items that were changed from a time on, and before another.
    Changes {
        /// Inclusive.
        from: i64,
        /// Exclusive; 15 minutes to 24 hours later.
        to: i64,
    },
}

impl Span {
    /// The latest time that it asks AWS for.
    fn end(self) -> i64 {
        match self {
            Span::Full { at } => at,
            Span::Changes { to, .. } => to,
        }
    }
}

/// An export that is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The table's name.
    pub(super) table: &'a str,
    /// Its ARN.
    pub(super) arn: &'a str,
    /// The generation that the rows are of.
    pub(super) generation: u64,
    /// What of it.
    pub(super) span: Span,
}

/// An export whose files are all there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finished {
    /// AWS's name of it: the last part of its ARN.
    pub(super) id: String,
    /// The folder that it was asked to write to.
    pub(super) prefix: String,
    /// The time as of which the items are, Unix seconds.
    pub(super) at: i64,
}

/// Exports of one pipeline to one bucket.
#[derive(Debug, Clone)]
pub(super) struct Exports {
    pub(super) client: Client,
    pub(super) place: ExportPlace,
    pub(super) pipeline: String,
    pub(super) clock: Clock,
}

/// What matters of a description.
#[derive(Debug, Clone)]
struct Found {
    arn: String,
    status: ExportStatus,
    at: Option<i64>,
    failure: (String, String),
}

impl Found {
    fn of(table: &str, described: Option<ExportDescription>) -> Result<Found, LoadError> {
        let lacking = |what| LoadError::Answer {
            action: DESCRIBE,
            table: table.to_owned(),
            what,
        };
        let described = described.ok_or_else(|| lacking("an export"))?;
        Ok(Found {
            arn: described.export_arn.ok_or_else(|| lacking("its ARN"))?,
            status: described.export_status.ok_or_else(|| lacking("its status"))?,
            at: described.export_time.map(|time| time.secs()),
            failure: (
                described.failure_code.unwrap_or_default(),
                described.failure_message.unwrap_or_default(),
            ),
        })
    }

    fn id(&self) -> &str {
        self.arn.rsplit_once('/').map_or(self.arn.as_str(), |(_, id)| id)
    }
}

impl Exports {
    /// The folder that an export is asked to write to, without slashes around it.
    pub(super) fn folder(&self, wanted: &Wanted<'_>) -> String {
        let own = format!("{}/{}/{}", self.pipeline, wanted.table, wanted.generation);
        let own = match wanted.span {
            Span::Full { .. } => own,
            Span::Changes { from, to } => format!("{own}/changes-{from}-{to}"),
        };
        match self.place.prefix.as_str() {
            "" => own,
            prefix => format!("{prefix}/{own}"),
        }
    }

    fn token(&self, wanted: &Wanted<'_>, attempt: usize) -> String {
        let whole = format!(
            "{}\n{}\n{}\n{}\n{attempt}",
            self.place.bucket,
            self.folder(wanted),
            wanted.arn,
            wanted.span.end()
        );
        let digest = Sha256::digest(whole.as_bytes());
        let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("replicator-{digits}")
    }

    /// Waits until an export is done, and asks for it unless that was done before. `begun` names the one of which
    /// files were read already.
    ///
    /// # Errors
    /// It failed, or cannot be asked for; or the one that was begun with is gone.
    pub(super) async fn finished(
        &self,
        wanted: &Wanted<'_>,
        begun: Option<&str>,
    ) -> Result<Finished, LoadError> {
        let mut export = self.running(wanted, begun).await?;
        let (mut wait, longest) = LOOK;
        loop {
            if export.status == ExportStatus::Completed {
                break;
            }
            if export.status != ExportStatus::InProgress {
                let (code, message) = export.failure;
                return Err(LoadError::Export {
                    table: wanted.table.to_owned(),
                    arn: export.arn,
                    code,
                    message,
                });
            }
            tracing::info!(
                table = wanted.table,
                export = export.id(),
                "waiting for the export"
            );
            self.clock.sleep(wait).await;
            wait = (wait * 2).min(longest);
            export = self.describe(wanted.table, &export.arn).await?.0;
        }
        let at = match wanted.span {
            Span::Full { .. } => export.at.ok_or_else(|| LoadError::Answer {
                action: DESCRIBE,
                table: wanted.table.to_owned(),
                what: "its time",
            })?,
            // An export of changes is of no one time: AWS may describe it without.
            Span::Changes { to, .. } => to,
        };
        tracing::info!(
            table = wanted.table,
            export = export.id(),
            at,
            "the export is done"
        );
        Ok(Finished {
            id: export.id().to_owned(),
            prefix: self.folder(wanted),
            at,
        })
    }

    /// The export that is done or under way; one is asked for if there is none.
    async fn running(&self, wanted: &Wanted<'_>, begun: Option<&str>) -> Result<Found, LoadError> {
        let mut found = self.find(wanted).await?;
        found.sort_by(|a, b| a.arn.cmp(&b.arn));
        if let Some(id) = begun {
            let same = found.into_iter().find(|export| export.id() == id);
            return same.ok_or_else(|| LoadError::Chunk(id.to_owned()));
        }
        let failed = found
            .iter()
            .filter(|export| export.status == ExportStatus::Failed)
            .count();
        let with = |status: ExportStatus| found.iter().find(|export| export.status == status);
        match with(ExportStatus::Completed).or_else(|| with(ExportStatus::InProgress)) {
            Some(export) => Ok(export.clone()),
            None => self.request(wanted, failed).await,
        }
    }

    /// The exports to the wanted one's folder which are not of too early a time.
    async fn find(&self, wanted: &Wanted<'_>) -> Result<Vec<Found>, LoadError> {
        let folder = self.folder(wanted);
        let mut pages = self
            .client
            .list_exports()
            .table_arn(wanted.arn)
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| LoadError::call(LIST, wanted.table, error))?;
            for summary in page.export_summaries.unwrap_or_default() {
                let Some(arn) = summary.export_arn.filter(|arn| may_be_of(arn, wanted.generation)) else {
                    continue;
                };
                let (export, place) = self.describe(wanted.table, &arn).await?;
                let early =
                    matches!(wanted.span, Span::Full { at } if export.at.is_some_and(|time| time < at));
                if place == (Some(self.place.bucket.clone()), Some(folder.clone())) && !early {
                    found.push(export);
                }
            }
        }
        Ok(found)
    }

    /// An export, and the bucket and folder that it writes to.
    async fn describe(
        &self,
        table: &str,
        arn: &str,
    ) -> Result<(Found, (Option<String>, Option<String>)), LoadError> {
        let answer = self
            .client
            .describe_export()
            .export_arn(arn)
            .send()
            .await
            .map_err(|error| LoadError::call(DESCRIBE, table, error))?;
        let mut described = answer.export_description;
        let place = described
            .as_mut()
            .map(|export| (export.s3_bucket.take(), export.s3_prefix.take()));
        Ok((Found::of(table, described)?, place.unwrap_or_default()))
    }

    /// Asks for an export, once AWS can make one of the time.
    async fn request(&self, wanted: &Wanted<'_>, attempt: usize) -> Result<Found, LoadError> {
        loop {
            let now = self.clock.unix_micros() / 1_000_000;
            let ahead = wanted.span.end() - now;
            if let Ok(ahead @ 1..) = u64::try_from(ahead) {
                self.clock.sleep(Duration::from_secs(ahead)).await;
            }
            let call = self
                .client
                .export_table_to_point_in_time()
                .table_arn(wanted.arn)
                .s3_bucket(&self.place.bucket)
                .s3_prefix(self.folder(wanted))
                .export_format(ExportFormat::DynamodbJson)
                .client_token(self.token(wanted, attempt));
            let call = match wanted.span {
                Span::Full { at } => call
                    .export_type(ExportType::FullExport)
                    .export_time(DateTime::from_secs(at)),
                Span::Changes { from, to } => call
                    .export_type(ExportType::IncrementalExport)
                    .incremental_export_specification(
                        IncrementalExportSpecification::builder()
                            .export_from_time(DateTime::from_secs(from))
                            .export_to_time(DateTime::from_secs(to))
                            .export_view_type(ExportViewType::NewImage)
                            .build(),
                    ),
            };
            let error = match call.send().await {
                Ok(answer) => {
                    tracing::info!(table = wanted.table, span = ?wanted.span, "asked for an export");
                    return Found::of(wanted.table, answer.export_description);
                }
                Err(error) => LoadError::call(REQUEST, wanted.table, error),
            };
            let early = matches!(
                error,
                LoadError::Call {
                    refusal: Refusal::Time,
                    ..
                }
            );
            if !early || now > wanted.span.end().saturating_add(LATELY) {
                return Err(error);
            }
            tracing::info!(
                table = wanted.table,
                "the table cannot be exported as of that time yet"
            );
            self.clock.sleep(AGAIN).await;
        }
    }
}

/// Whether an export may be one of a generation: its name begins with the milliseconds at which it was asked for.
/// A name that does not is looked at.
fn may_be_of(arn: &str, generation: u64) -> bool {
    const DAY: u64 = 86_400;
    let asked = arn
        .rsplit_once('/')
        .and_then(|(_, id)| id.split_once('-'))
        .and_then(|(millis, _)| millis.parse::<u64>().ok());
    asked.is_none_or(|millis| (millis / 1000).saturating_add(DAY) >= generation)
}
