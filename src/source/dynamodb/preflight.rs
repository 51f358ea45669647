//! Judges, before anything is written, whether tables can be read and followed: every finding at once, each with its
//! cure. Nothing is changed: what only a change would show (whether an export may be asked for, and whether it may
//! write to its bucket) shows when the first one is.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    BillingMode, PointInTimeRecoveryStatus, ReturnConsumedCapacity, StreamViewType, TableDescription,
    TableStatus,
};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;

use super::load::{LoadError, Loader, Refusal, recovery_cure};
use crate::config::{DynamodbSource, FirstLoad};
use crate::event::{LogPosition, TableId};
use crate::fault::{Classify, chain};
use crate::source::{Finding, Severity};

/// Looks at everything that matters to a pipeline.
///
/// # Errors
/// AWS cannot be asked at all: it cannot be reached, or there are no credentials that it knows.
pub async fn look(
    source: &DynamodbSource,
    aws: &SdkConfig,
    loader: &Loader,
) -> Result<Vec<Finding>, LoadError> {
    let look = Look {
        source,
        tables: aws_sdk_dynamodb::Client::new(aws),
        streams: aws_sdk_dynamodbstreams::Client::new(aws),
    };
    let mut findings = Vec::new();
    for table in &source.tables {
        look.table(table, &mut findings).await?;
    }
    if let FirstLoad::Export(place) = &source.first_load {
        let subject = format!("bucket {}", place.bucket);
        match loader.reach().await {
            Ok(()) => findings.push(well(&subject, "can be listed")),
            Err(error) => findings.push(refused(&subject, error)?),
        }
    }
    Ok(findings)
}

/// Whether the streams that were read are still there.
///
/// # Errors
/// AWS cannot be asked at all.
pub async fn place(
    source: &DynamodbSource,
    aws: &SdkConfig,
    position: &LogPosition,
) -> Result<Finding, LoadError> {
    let subject = "position";
    let client = aws_sdk_dynamodb::Client::new(aws);
    for table in &source.tables {
        let id = TableId::new(source.name.as_str(), table.as_str());
        let Some(place) = position.streams.iter().find(|place| place.table == id) else {
            continue;
        };
        let call = client.describe_table().table_name(table).send().await;
        let latest = match call {
            Ok(answer) => answer.table.and_then(|table| table.latest_stream_arn),
            Err(error) => return refused(subject, LoadError::call("dynamodb:DescribeTable", table, error)),
        };
        if latest.as_deref() != Some(&*place.arn) {
            let cure = "with on_position_lost: resnapshot the table is copied again; otherwise start anew with \
                        another checkpoint and empty targets";
            let text = format!("the stream of {table} that was read is not the table's any more");
            return Ok(finding(Severity::Warning, subject, text, cure));
        }
    }
    Ok(well(subject, "is in streams that are there"))
}

struct Look<'a> {
    source: &'a DynamodbSource,
    tables: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
}

fn finding(severity: Severity, subject: &str, text: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding {
        severity,
        subject: subject.to_owned(),
        text: text.into(),
        cure: cure.into(),
    }
}

fn well(subject: &str, text: &str) -> Finding {
    finding(Severity::Ok, subject, text, "")
}

/// What a call was refused with, as a finding.
///
/// # Errors
/// Every other call would end like this one.
fn refused(subject: &str, error: LoadError) -> Result<Finding, LoadError> {
    if let LoadError::Call {
        refusal: Refusal::Busy | Refusal::Credentials,
        ..
    } = error
    {
        return Err(error);
    }
    let cure = error.hint().unwrap_or_default();
    Ok(finding(Severity::Error, subject, chain(&error), cure))
}

impl Look<'_> {
    async fn table(&self, table: &str, findings: &mut Vec<Finding>) -> Result<(), LoadError> {
        let subject = format!("table {table}");
        let call = self.tables.describe_table().table_name(table).send().await;
        let described = match call {
            Ok(answer) => answer
                .table
                .unwrap_or_else(|| TableDescription::builder().build()),
            Err(error) => {
                let error = LoadError::call("dynamodb:DescribeTable", table, error);
                findings.push(refused(&subject, error)?);
                return Ok(());
            }
        };
        findings.push(state(&subject, described.table_status.as_ref()));
        let stream = judge_stream(table, &described);
        let streams = stream.severity == Severity::Ok;
        findings.push(stream);
        if let (true, Some(arn)) = (streams, &described.latest_stream_arn) {
            self.stream(table, arn, findings).await?;
        }
        match &self.source.first_load {
            FirstLoad::Export(_) => self.exports(table, &described, findings).await,
            FirstLoad::Scan(limits) => {
                findings.extend(judge_rate(&subject, &described, limits.read_units_per_second));
                self.scan(table, findings).await
            }
            FirstLoad::None => Ok(()),
        }
    }

    /// Whether the stream may be read, call by call.
    async fn stream(&self, table: &str, arn: &str, findings: &mut Vec<Finding>) -> Result<(), LoadError> {
        let subject = format!("stream of {table}");
        let fail = |error| refused(&subject, error);
        let call = self
            .streams
            .describe_stream()
            .stream_arn(arn)
            .limit(1)
            .send()
            .await;
        let described = match call {
            Ok(answer) => answer.stream_description,
            Err(error) => {
                findings.push(fail(LoadError::call("dynamodb:DescribeStream", table, error))?);
                return Ok(());
            }
        };
        let shard = described
            .and_then(|stream| stream.shards)
            .and_then(|shards| shards.into_iter().next()?.shard_id);
        // A stream that was just turned on has none yet.
        let Some(shard) = shard else {
            findings.push(well(&subject, "can be described"));
            return Ok(());
        };
        let call = self
            .streams
            .get_shard_iterator()
            .stream_arn(arn)
            .shard_id(shard)
            .shard_iterator_type(ShardIteratorType::TrimHorizon)
            .send()
            .await;
        let iterator = match call {
            Ok(answer) => answer.shard_iterator.unwrap_or_default(),
            Err(error) => {
                findings.push(fail(LoadError::call("dynamodb:GetShardIterator", table, error))?);
                return Ok(());
            }
        };
        let call = self
            .streams
            .get_records()
            .shard_iterator(iterator)
            .limit(1)
            .send()
            .await;
        findings.push(match call {
            Ok(_) => well(&subject, "can be read"),
            // Whoever may not read is told so before the iterator is looked at.
            Err(error) if aged(error.code()) => well(&subject, "can be read"),
            Err(error) => fail(LoadError::call("dynamodb:GetRecords", table, error))?,
        });
        Ok(())
    }

    /// Whether a table can be exported, as far as can be seen without doing it.
    async fn exports(
        &self,
        table: &str,
        described: &TableDescription,
        findings: &mut Vec<Finding>,
    ) -> Result<(), LoadError> {
        let subject = format!("point-in-time recovery of {table}");
        let call = self
            .tables
            .describe_continuous_backups()
            .table_name(table)
            .send()
            .await;
        findings.push(match call {
            Ok(answer) => {
                let status = answer
                    .continuous_backups_description
                    .and_then(|backups| backups.point_in_time_recovery_description)
                    .and_then(|recovery| recovery.point_in_time_recovery_status);
                if status == Some(PointInTimeRecoveryStatus::Enabled) {
                    well(&subject, "is on")
                } else {
                    let text = "is off, and a table is exported from what it keeps";
                    finding(Severity::Error, &subject, text, recovery_cure(table))
                }
            }
            Err(error) => {
                let error = LoadError::call("dynamodb:DescribeContinuousBackups", table, error);
                refused(&subject, error)?
            }
        });
        let subject = format!("exports of {table}");
        let call = self
            .tables
            .list_exports()
            .set_table_arn(described.table_arn.clone())
            .max_results(1)
            .send()
            .await;
        findings.push(match call {
            Ok(_) => well(&subject, "can be listed"),
            Err(error) => refused(&subject, LoadError::call("dynamodb:ListExports", table, error))?,
        });
        Ok(())
    }

    /// Whether a table may be scanned: reads one item.
    async fn scan(&self, table: &str, findings: &mut Vec<Finding>) -> Result<(), LoadError> {
        let subject = format!("Scan of {table}");
        let call = self
            .tables
            .scan()
            .table_name(table)
            .limit(1)
            .return_consumed_capacity(ReturnConsumedCapacity::None)
            .send()
            .await;
        findings.push(match call {
            Ok(_) => well(&subject, "is allowed"),
            Err(error) => refused(&subject, LoadError::call("dynamodb:Scan", table, error))?,
        });
        Ok(())
    }
}

/// Whether a read was refused because of what time did to its iterator: the reader takes another one.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html#API_streams_GetRecords_Errors>
fn aged(code: Option<&str>) -> bool {
    matches!(
        code,
        Some("ExpiredIteratorException" | "TrimmedDataAccessException")
    )
}

fn state(subject: &str, status: Option<&TableStatus>) -> Finding {
    match status {
        Some(TableStatus::Active | TableStatus::Updating) => well(subject, "is there"),
        other => {
            let status = other.map_or("unknown", TableStatus::as_str);
            let cure = "wait until it is ACTIVE";
            finding(
                Severity::Error,
                subject,
                format!("is in the state {status}"),
                cure,
            )
        }
    }
}

/// Whether a table's stream is on, with images that rows can be made of.
fn judge_stream(table: &str, described: &TableDescription) -> Finding {
    let subject = format!("stream of {table}");
    let on = format!(
        "aws dynamodb update-table --table-name {table} --stream-specification \
         StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
    );
    let stream = described
        .stream_specification
        .as_ref()
        .filter(|stream| stream.stream_enabled);
    let Some(stream) = stream else {
        return finding(Severity::Error, &subject, "is off", on);
    };
    match &stream.stream_view_type {
        Some(view @ (StreamViewType::NewAndOldImages | StreamViewType::NewImage)) => {
            well(&subject, &format!("has {view}"))
        }
        other => {
            let view = other.as_ref().map_or("unknown images", StreamViewType::as_str);
            let off = format!(
                "aws dynamodb update-table --table-name {table} --stream-specification StreamEnabled=false && \
                 aws dynamodb wait table-exists --table-name {table} && {on}; whoever reads the stream by its ARN has \
                 to be given the new one"
            );
            let text = format!("has {view}, of which no row can be made");
            finding(Severity::Error, &subject, text, off)
        }
    }
}

/// Whether a Scan would take what a table was provisioned with.
fn judge_rate(subject: &str, described: &TableDescription, rate: u32) -> Option<Finding> {
    let on_demand = described
        .billing_mode_summary
        .as_ref()
        .and_then(|summary| summary.billing_mode.as_ref())
        .is_some_and(|mode| *mode == BillingMode::PayPerRequest);
    let units = described.provisioned_throughput.as_ref()?.read_capacity_units?;
    (!on_demand && units > 0 && i64::from(rate) > units).then(|| {
        finding(
            Severity::Warning,
            subject,
            format!("has {units} read capacity units a second, and the Scan may take {rate}"),
            "write a smaller scan_read_units_per_second, so that others can read meanwhile",
        )
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{
        BillingModeSummary, ProvisionedThroughputDescription, StreamSpecification,
    };

    use super::*;

    fn stream(view: Option<StreamViewType>, enabled: bool) -> Finding {
        let specification = StreamSpecification::builder()
            .stream_enabled(enabled)
            .set_stream_view_type(view)
            .build()
            .unwrap();
        let described = TableDescription::builder()
            .stream_specification(specification)
            .build();
        judge_stream("carts", &described)
    }

    #[test]
    fn streams_without_the_new_item_are_refused_with_the_command() {
        for view in [StreamViewType::NewAndOldImages, StreamViewType::NewImage] {
            assert_eq!(stream(Some(view), true).severity, Severity::Ok);
        }
        let on = "aws dynamodb update-table --table-name carts --stream-specification \
                  StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES";
        for off in [
            stream(Some(StreamViewType::NewImage), false),
            judge_stream("carts", &TableDescription::builder().build()),
        ] {
            assert_eq!((off.severity, off.cure.as_str()), (Severity::Error, on));
        }
        for view in [StreamViewType::KeysOnly, StreamViewType::OldImage] {
            let found = stream(Some(view.clone()), true);
            assert_eq!(found.severity, Severity::Error);
            assert!(found.text.contains(view.as_str()));
            assert!(found.cure.contains("StreamEnabled=false") && found.cure.contains(on));
        }
    }

    #[test]
    fn a_scan_that_takes_all_a_table_has_is_warned_of() {
        let described = |units, mode: Option<BillingMode>| {
            TableDescription::builder()
                .provisioned_throughput(
                    ProvisionedThroughputDescription::builder()
                        .read_capacity_units(units)
                        .build(),
                )
                .set_billing_mode_summary(
                    mode.map(|mode| BillingModeSummary::builder().billing_mode(mode).build()),
                )
                .build()
        };
        assert!(judge_rate("t", &described(10, None), 10).is_none());
        assert!(judge_rate("t", &described(0, Some(BillingMode::PayPerRequest)), 100).is_none());
        let warned = judge_rate("t", &described(10, Some(BillingMode::Provisioned)), 11).unwrap();
        assert_eq!(warned.severity, Severity::Warning);
    }

    #[test]
    fn only_a_table_that_is_there_is_well() {
        assert_eq!(state("t", Some(&TableStatus::Active)).severity, Severity::Ok);
        for status in [None, Some(&TableStatus::Creating), Some(&TableStatus::Archived)] {
            assert_eq!(state("t", status).severity, Severity::Error);
        }
    }
}
