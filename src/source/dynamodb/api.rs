//! What is asked of DynamoDB: a table's description, a stream's shards, and the records of a shard. A trait, so that
//! the readers can be driven by a stream that a test makes up; [`Aws`] is the real one. An answer's items are taken
//! apart at once: the SDK's own types are several times as large.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::KeyType;
use aws_sdk_dynamodbstreams::config::http::HttpResponse;
use aws_sdk_dynamodbstreams::config::timeout::TimeoutConfig;
use aws_sdk_dynamodbstreams::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodbstreams::types::{
    AttributeValue, OperationType, Record as SdkRecord, Shard, ShardIteratorType, StreamDescription,
    StreamStatus,
};

use super::item::{Item, ItemError, from_streams};
use super::layout::{KeyAttribute, KeyKind};
use super::lineage::Listed;
use crate::event::{SequenceNumber, ShardId};
use crate::fault::{Classify, Fault, chain};
use crate::source::BoxFuture;

/// How long one attempt of a call may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Pages of one listing, at most: 100 shards each.
const PAGES: usize = 1_000;

/// A call that failed, or whose answer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{action} of {subject} failed: {text}")]
pub struct CallError {
    /// The call, as IAM names it, such as `dynamodb:GetRecords`.
    pub action: &'static str,
    /// The table, stream or shard.
    pub subject: String,
    /// What may be done about it.
    pub refusal: Refusal,
    /// What was said.
    pub text: String,
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was called too often.
    Throttled,
    /// The iterator is older than 15 minutes.
    Expired,
    /// What was asked for is older than what is kept.
    Trimmed,
    /// There is no such table, stream or shard.
    Missing,
    /// The identity may not.
    Denied,
    /// There are no credentials, or AWS does not know them.
    Credentials,
    /// AWS could not be asked, or could not answer.
    Busy,
    /// Anything else, an answer without what it is documented to have included.
    Other,
}

impl Classify for CallError {
    fn fault(&self) -> Fault {
        match self.refusal {
            Refusal::Throttled | Refusal::Busy | Refusal::Expired => Fault::RETRY,
            Refusal::Trimmed | Refusal::Missing | Refusal::Denied | Refusal::Credentials | Refusal::Other => {
                Fault::Fatal
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self.refusal {
            Refusal::Denied => format!(
                "allow {} on {} to the identity that the credentials are of; docs/operations.md has the policy",
                self.action, self.subject
            ),
            Refusal::Credentials => {
                "see that the environment, the profile, the container or the instance gives \
                                     credentials of AWS; docs/operations.md has the ways"
                    .to_owned()
            }
            Refusal::Missing => format!(
                "see that {} is in the configured region and account, or take its table out of the source's tables",
                self.subject
            ),
            Refusal::Other => "report this with the text; nothing of the answer was copied".to_owned(),
            Refusal::Throttled | Refusal::Busy | Refusal::Expired | Refusal::Trimmed => return None,
        })
    }
}

/// What is in a stream's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// The item after the change, and perhaps the one before.
    New,
    /// Neither, or only the one before: its name.
    Other(String),
}

/// A table's stream, the last one that was turned on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestStream {
    /// Its ARN.
    pub arn: String,
    /// Whether it is on.
    pub on: bool,
    /// What is in its records.
    pub view: View,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Its key, partition key first.
    pub key: Vec<KeyAttribute>,
    /// Its stream; `None` if it never had one.
    pub stream: Option<LatestStream>,
    /// Items, as they were counted within the last six hours.
    pub items: u64,
    /// Bytes, as they were counted then.
    pub bytes: u64,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Whether it is on: one that is off gets no records and no shards any more.
    pub on: bool,
    /// All of its shards.
    pub shards: Vec<Listed>,
}

/// What happened to an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It is there, new or with other attributes.
    Put {
        /// Whether it was not there before.
        new: bool,
        /// The item.
        item: Item,
    },
    /// It is gone.
    Removed {
        /// The item as it was, if the stream says.
        item: Option<Item>,
        /// Whether its time to live ended.
        expired: bool,
    },
}

/// A record of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub number: SequenceNumber,
    /// When it was written, Unix seconds.
    pub written: i64,
    /// The item's key.
    pub key: Item,
    /// What happened.
    pub happened: Happened,
}

impl Record {
    /// The item that was put, if one was.
    pub fn put(&self) -> Option<&Item> {
        match &self.happened {
            Happened::Put { item, .. } => Some(item),
            Happened::Removed { .. } => None,
        }
    }
}

/// What one read of a shard gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Records, in order; there may be none though more follow.
    pub records: Vec<Record>,
    /// Where to read on; `None` at the end of a closed shard.
    pub next: Option<String>,
}

/// What a call gives.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, CallError>>;

/// DynamoDB, as far as it is asked.
pub trait Api: fmt::Debug + Send + Sync {
    /// Describes a table.
    fn table<'a>(&'a self, name: &'a str) -> Answer<'a, TableInfo>;

    /// Lists a stream's shards: every page.
    fn stream<'a>(&'a self, arn: &'a str) -> Answer<'a, StreamInfo>;

    /// Where to read a shard after a record, or from its beginning.
    fn iterator<'a>(
        &'a self,
        arn: &'a str,
        shard: &'a ShardId,
        after: Option<&'a SequenceNumber>,
    ) -> Answer<'a, String>;

    /// Reads on. Each call is billed.
    fn records<'a>(&'a self, shard: &'a ShardId, iterator: String) -> Answer<'a, Page>;
}

/// The real one, through the SDK.
#[derive(Debug, Clone)]
pub struct Aws {
    tables: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
}

impl Aws {
    /// One for the region, endpoint and credentials of a configuration.
    pub fn new(aws: &SdkConfig) -> Aws {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT)
            .build();
        let tables = aws_sdk_dynamodb::config::Builder::from(aws).timeout_config(timeouts.clone());
        let streams = aws_sdk_dynamodbstreams::config::Builder::from(aws).timeout_config(timeouts);
        Aws {
            tables: aws_sdk_dynamodb::Client::from_conf(tables.build()),
            streams: aws_sdk_dynamodbstreams::Client::from_conf(streams.build()),
        }
    }

    async fn page(&self, arn: &str, after: Option<String>) -> Result<StreamDescription, CallError> {
        let call = self.streams.describe_stream().stream_arn(arn);
        let answer = call.set_exclusive_start_shard_id(after).send().await;
        let answer = answer.map_err(|error| failed(DESCRIBE_STREAM, arn, &error))?;
        let description = answer.stream_description;
        description.ok_or_else(|| lacking(DESCRIBE_STREAM, arn, "a description"))
    }
}

const DESCRIBE_TABLE: &str = "dynamodb:DescribeTable";
const DESCRIBE_STREAM: &str = "dynamodb:DescribeStream";
const ITERATOR: &str = "dynamodb:GetShardIterator";
const RECORDS: &str = "dynamodb:GetRecords";

fn failed<E>(action: &'static str, subject: &str, error: &SdkError<E, HttpResponse>) -> CallError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let refusal = match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            Refusal::Busy
        }
        SdkError::ConstructionFailure(_) => Refusal::Credentials,
        SdkError::ServiceError(_) | _ => {
            let status = error.raw_response().map(|response| response.status().as_u16());
            refusal(error.code().unwrap_or_default(), status.unwrap_or_default())
        }
    };
    CallError {
        action,
        subject: subject.to_owned(),
        refusal,
        text: chain(error),
    }
}

fn refusal(code: &str, status: u16) -> Refusal {
    match code {
        "ExpiredIteratorException" => Refusal::Expired,
        "TrimmedDataAccessException" => Refusal::Trimmed,
        "ResourceNotFoundException" => Refusal::Missing,
        "LimitExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded" => Refusal::Throttled,
        "AccessDeniedException" => Refusal::Denied,
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId" => Refusal::Credentials,
        // Temporary credentials end; the next ones are asked for by themselves.
        "ExpiredTokenException" | "ExpiredToken" => Refusal::Busy,
        _ if status >= 500 => Refusal::Busy,
        _ => Refusal::Other,
    }
}

fn lacking(action: &'static str, subject: &str, what: &str) -> CallError {
    unusable(action, subject, format!("the answer lacks {what}"))
}

fn unusable(action: &'static str, subject: &str, text: String) -> CallError {
    CallError {
        action,
        subject: subject.to_owned(),
        refusal: Refusal::Other,
        text,
    }
}

/// A record that no row can be made of.
pub(super) fn unreadable(shard: &ShardId, error: &ItemError) -> CallError {
    unusable(RECORDS, shard.as_str(), error.to_string())
}

impl Api for Aws {
    fn table<'a>(&'a self, name: &'a str) -> Answer<'a, TableInfo> {
        Box::pin(async move {
            let answer = self.tables.describe_table().table_name(name).send().await;
            let answer = answer.map_err(|error| failed(DESCRIBE_TABLE, name, &error))?;
            let table = answer
                .table
                .ok_or_else(|| lacking(DESCRIBE_TABLE, name, "a table"))?;
            let key = key(&table).ok_or_else(|| lacking(DESCRIBE_TABLE, name, "a key of known types"))?;
            let on = table.stream_specification.as_ref();
            let view = on.and_then(|stream| stream.stream_view_type.as_ref());
            let view = match view.map(|view| view.as_str()) {
                Some("NEW_AND_OLD_IMAGES" | "NEW_IMAGE") | None => View::New,
                Some(other) => View::Other(other.to_owned()),
            };
            let stream = table.latest_stream_arn.map(|arn| LatestStream {
                arn,
                on: on.is_some_and(|stream| stream.stream_enabled),
                view,
            });
            let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
            Ok(TableInfo {
                key,
                stream,
                items: count(table.item_count).unwrap_or(0),
                bytes: count(table.table_size_bytes).unwrap_or(0),
            })
        })
    }

    fn stream<'a>(&'a self, arn: &'a str) -> Answer<'a, StreamInfo> {
        Box::pin(async move {
            let (mut shards, mut after) = (Vec::new(), None);
            for _ in 0..PAGES {
                let page = self.page(arn, after.clone()).await?;
                for shard in page.shards.unwrap_or_default() {
                    shards.push(listed(arn, shard)?);
                }
                let next = page.last_evaluated_shard_id;
                if next.is_none() {
                    let on = match &page.stream_status {
                        Some(StreamStatus::Disabled | StreamStatus::Disabling) => false,
                        Some(_) | None => true,
                    };
                    return Ok(StreamInfo { on, shards });
                }
                if next == after {
                    break;
                }
                after = next;
            }
            Err(unusable(
                DESCRIBE_STREAM,
                arn,
                "the list of its shards has no end".to_owned(),
            ))
        })
    }

    fn iterator<'a>(
        &'a self,
        arn: &'a str,
        shard: &'a ShardId,
        after: Option<&'a SequenceNumber>,
    ) -> Answer<'a, String> {
        Box::pin(async move {
            let kind = match after {
                Some(_) => ShardIteratorType::AfterSequenceNumber,
                None => ShardIteratorType::TrimHorizon,
            };
            let answer = self
                .streams
                .get_shard_iterator()
                .stream_arn(arn)
                .shard_id(shard.as_str())
                .shard_iterator_type(kind)
                .set_sequence_number(after.map(|number| number.as_str().to_owned()))
                .send()
                .await
                .map_err(|error| failed(ITERATOR, shard.as_str(), &error))?;
            let iterator = answer.shard_iterator;
            iterator.ok_or_else(|| lacking(ITERATOR, shard.as_str(), "an iterator"))
        })
    }

    fn records<'a>(&'a self, shard: &'a ShardId, iterator: String) -> Answer<'a, Page> {
        Box::pin(async move {
            let call = self.streams.get_records().shard_iterator(iterator).limit(1000);
            let answer = call.send().await;
            let answer = answer.map_err(|error| failed(RECORDS, shard.as_str(), &error))?;
            let records = answer.records.unwrap_or_default();
            Ok(Page {
                records: records
                    .into_iter()
                    .map(|one| record(shard, one))
                    .collect::<Result<_, _>>()?,
                next: answer.next_shard_iterator,
            })
        })
    }
}

fn key(table: &aws_sdk_dynamodb::types::TableDescription) -> Option<Vec<KeyAttribute>> {
    let types = table.attribute_definitions.as_ref()?;
    let schema = table.key_schema.as_ref()?;
    let of = |kind: KeyType| schema.iter().filter(move |element| element.key_type == kind);
    of(KeyType::Hash)
        .chain(of(KeyType::Range))
        .map(|element| {
            let name = &element.attribute_name;
            let declared = types.iter().find(|one| one.attribute_name == *name)?;
            Some(KeyAttribute {
                name: name.clone(),
                kind: KeyKind::of(declared.attribute_type.as_str())?,
            })
        })
        .collect::<Option<Vec<_>>>()
        .filter(|key| !key.is_empty())
}

fn listed(arn: &str, shard: Shard) -> Result<Listed, CallError> {
    let id = shard.shard_id;
    let range = shard.sequence_number_range;
    Ok(Listed {
        id: ShardId::new(id.ok_or_else(|| lacking(DESCRIBE_STREAM, arn, "a shard's name"))?),
        parent: shard.parent_shard_id.map(ShardId::new),
        closed: range.is_some_and(|range| range.ending_sequence_number.is_some()),
    })
}

fn record(shard: &ShardId, record: SdkRecord) -> Result<Record, CallError> {
    let lacks = |what: &str| lacking(RECORDS, shard.as_str(), what);
    let event = record.event_name.ok_or_else(|| lacks("a record's event"))?;
    let expired = record.user_identity.is_some_and(|identity| {
        identity.r#type.as_deref() == Some("Service")
            && identity.principal_id.as_deref() == Some("dynamodb.amazonaws.com")
    });
    let change = record.dynamodb.ok_or_else(|| lacks("a record's change"))?;
    let number = change
        .sequence_number
        .ok_or_else(|| lacks("a record's number"))?
        .parse::<SequenceNumber>()
        .map_err(|error| unusable(RECORDS, shard.as_str(), error.to_string()))?;
    let item = |attributes: HashMap<String, AttributeValue>| {
        item(attributes).map_err(|error| {
            let text = format!("record {number}: {error}");
            unusable(RECORDS, shard.as_str(), text)
        })
    };
    // By its name: types that the SDK does not know are told by it, too.
    let happened = match event.as_str() {
        "INSERT" | "MODIFY" => Happened::Put {
            new: event == OperationType::Insert,
            item: item(change.new_image.ok_or_else(|| lacks("a record's new image"))?)?,
        },
        "REMOVE" => Happened::Removed {
            item: change.old_image.map(item).transpose()?,
            expired,
        },
        other => {
            let text = format!("record {number} is a {other}, which is not known");
            return Err(unusable(RECORDS, shard.as_str(), text));
        }
    };
    Ok(Record {
        written: change
            .approximate_creation_date_time
            .map_or(0, |time| time.secs()),
        key: item(change.keys.ok_or_else(|| lacks("a record's key"))?)?,
        happened,
        number,
    })
}

fn item(attributes: HashMap<String, AttributeValue>) -> Result<Item, ItemError> {
    let one = |(name, value): (String, AttributeValue)| from_streams(&name, value).map(|value| (name, value));
    attributes.into_iter().map(one).collect()
}
