//! The four operations on streams.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::errors::{Answer, Refusal, text, within};
use super::faults::{Fault, expired, trimmed};
use super::shards::{SECOND, Shard, Stream};
use super::tables::{State, seconds};

/// How long an iterator can be used.
const ITERATOR: i64 = 15 * 60 * SECOND;
/// The most that a page of records holds.
const PAGE_BYTES: usize = 1024 * 1024;
/// How many may read one shard at the same time.
const READERS: usize = 2;

/// What an iterator says.
struct Iterator {
    stream: String,
    shard: String,
    position: usize,
    issued: i64,
}

impl Iterator {
    fn write(&self) -> String {
        let said = json!([self.shard, self.position, self.issued]).to_string();
        let sealed = format!("{}{said}", seal(&self.stream, &said));
        format!("{}|1|{}", self.stream, URL_SAFE_NO_PAD.encode(sealed))
    }

    fn read(text: &str) -> Option<Iterator> {
        let (stream, sealed) = text.split_once("|1|")?;
        let sealed = String::from_utf8(URL_SAFE_NO_PAD.decode(sealed).ok()?).ok()?;
        let (seal_of, said) = sealed.split_at_checked(8)?;
        if seal_of != seal(stream, said) {
            return None;
        }
        let said: Value = serde_json::from_str(said).ok()?;
        Some(Iterator {
            stream: stream.to_owned(),
            shard: said[0].as_str()?.to_owned(),
            position: usize::try_from(said[1].as_u64()?).ok()?,
            issued: said[2].as_i64()?,
        })
    }
}

fn seal(stream: &str, said: &str) -> String {
    let digest = Md5::digest(format!("{stream}{said}").as_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The order of a listing: by the id's hash, so that parents and children come in any order.
fn rank(id: &str) -> (u32, String) {
    (crc32fast::hash(id.as_bytes()), id.to_owned())
}

fn no_stream(arn: &str) -> Refusal {
    let message = format!("Requested resource not found: Stream: {arn} not found");
    Refusal::service("ResourceNotFoundException", message)
}

fn no_shard(arn: &str, shard: &str) -> Refusal {
    let message = format!("Requested resource not found: Shard: {shard} in Stream: {arn} not found");
    Refusal::service("ResourceNotFoundException", message)
}

impl State {
    fn stream(&mut self, input: &Value) -> Result<&mut Stream, Refusal> {
        let arn = text(input, "StreamArn")?;
        if !(37..=1024).contains(&arn.len()) {
            return Err(Refusal::validation(format!("Invalid StreamArn: {arn}")));
        }
        let found = self.streams.iter_mut().find(|stream| stream.arn == arn);
        found.ok_or_else(|| no_stream(arn))
    }

    pub(crate) fn list_streams(&self, input: &Value) -> Answer {
        let limit = within(input, "Limit", (1, 100, 100))?;
        let table = input["TableName"].as_str();
        let after = input["ExclusiveStartStreamArn"].as_str().unwrap_or_default();
        let mut found: Vec<&Stream> = self
            .streams
            .iter()
            .filter(|stream| table.is_none_or(|table| stream.table == table) && stream.arn.as_str() > after)
            .collect();
        found.sort_by(|one, other| one.arn.cmp(&other.arn));
        let more = found.len() > limit;
        found.truncate(limit);
        let shown = found.iter().map(
            |stream| json!({"StreamArn": stream.arn, "StreamLabel": stream.label, "TableName": stream.table}),
        );
        let mut answer = json!({"Streams": shown.collect::<Vec<Value>>()});
        if more {
            answer["LastEvaluatedStreamArn"] = json!(found.last().map(|stream| &stream.arn));
        }
        Ok(answer)
    }

    pub(crate) fn describe_stream(&mut self, input: &Value) -> Answer {
        let limit = within(input, "Limit", (1, 100, 100))?;
        let after = input["ExclusiveStartShardId"].as_str().map(rank);
        let filter = &input["ShardFilter"];
        let parent = filter["ShardId"].as_str().map(str::to_owned);
        if !filter.is_null() && (filter["Type"] != "CHILD_SHARDS" || parent.is_none()) {
            return Err(Refusal::validation(
                "ShardFilter needs the Type CHILD_SHARDS and a ShardId",
            ));
        }
        let stream = self.stream(input)?;
        let mut shards: Vec<&Shard> = stream
            .shards
            .iter()
            .filter(|shard| shard.hidden == 0)
            .filter(|shard| filter.is_null() || shard.parent == parent)
            .filter(|shard| after.as_ref().is_none_or(|after| rank(&shard.id) > *after))
            .collect();
        shards.sort_by_cached_key(|shard| rank(&shard.id));
        let more = shards.len() > limit;
        shards.truncate(limit);
        let mut shown = json!({
            "StreamArn": stream.arn,
            "StreamLabel": stream.label,
            "StreamStatus": if stream.disabled.is_some() { "DISABLED" } else { "ENABLED" },
            "StreamViewType": stream.view,
            "CreationRequestDateTime": seconds(stream.created),
            "TableName": stream.table,
            "KeySchema": stream.key_schema,
            "Shards": shards.iter().map(|shard| shard.describe()).collect::<Vec<Value>>(),
        });
        if more {
            shown["LastEvaluatedShardId"] = json!(shards.last().map(|shard| &shard.id));
        }
        if after.is_none() {
            for shard in &mut stream.shards {
                shard.hidden = shard.hidden.saturating_sub(1);
            }
        }
        Ok(json!({"StreamDescription": shown}))
    }

    pub(crate) fn shard_iterator(&mut self, input: &Value) -> Answer {
        let issued = self.now;
        let id = text(input, "ShardId")?;
        if !(28..=65).contains(&id.len()) {
            return Err(Refusal::validation(format!("Invalid ShardId: {id}")));
        }
        let kind = text(input, "ShardIteratorType")?;
        let stream = self.stream(input)?;
        let arn = stream.arn.clone();
        let shard = stream.shard(id).ok_or_else(|| no_shard(&arn, id))?;
        let number = input["SequenceNumber"].as_str();
        let position = match (kind, number) {
            ("TRIM_HORIZON", None) => shard.trimmed,
            ("LATEST", None) => shard.end(),
            ("AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER", Some(number)) => {
                if !shard.holds(number) {
                    return Err(Refusal::validation(format!(
                        "Invalid SequenceNumber: {number} is not of shard {id}"
                    )));
                }
                let after = kind == "AFTER_SEQUENCE_NUMBER";
                shard.position(number, after).ok_or_else(trimmed)?
            }
            _ => {
                return Err(Refusal::validation(
                    "ShardIteratorType and SequenceNumber do not go together",
                ));
            }
        };
        let iterator = Iterator {
            stream: arn,
            shard: id.to_owned(),
            position,
            issued,
        };
        Ok(json!({"ShardIterator": iterator.write()}))
    }

    /// Begins a read of records: refused when too many read the same shard.
    pub(crate) fn begin_read(&mut self, input: &Value) -> Result<(String, String), Refusal> {
        let now = self.now;
        let given = text(input, "ShardIterator")?;
        let iterator = Iterator::read(given).ok_or_else(|| Refusal::validation("Invalid ShardIterator"))?;
        self.faults.read(&iterator.shard);
        self.recent_reads.retain(|(at, _)| at + SECOND > now);
        let recent = self
            .recent_reads
            .iter()
            .filter(|(_, shard)| *shard == iterator.shard);
        let too_fast = self.reads_per_second.is_some_and(|most| recent.count() >= most);
        if self.reads_per_second.is_some() {
            self.recent_reads.push((now, iterator.shard.clone()));
        }
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.arn == iterator.stream);
        if let Some(shard) = stream.and_then(|stream| stream.shard(&iterator.shard)) {
            if shard.readers >= READERS || too_fast {
                return Err(Fault::LimitExceeded.refusal().unwrap_or_else(trimmed));
            }
            shard.readers += 1;
        }
        Ok((iterator.stream, iterator.shard))
    }

    pub(crate) fn end_read(&mut self, (stream, shard): &(String, String)) {
        let stream = self.streams.iter_mut().find(|found| found.arn == *stream);
        if let Some(shard) = stream.and_then(|stream| stream.shard(shard)) {
            shard.readers = shard.readers.saturating_sub(1);
        }
    }

    pub(crate) fn get_records(&mut self, input: &Value, empty: bool) -> Answer {
        let now = self.now;
        let limit = within(input, "Limit", (1, 1000, 1000))?;
        let given = text(input, "ShardIterator")?;
        let mut iterator =
            Iterator::read(given).ok_or_else(|| Refusal::validation("Invalid ShardIterator"))?;
        if iterator.issued + ITERATOR <= now {
            return Err(expired());
        }
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.arn == iterator.stream);
        let stream = stream.ok_or_else(|| no_stream(&iterator.stream))?;
        let shard = stream.shard(&iterator.shard).ok_or_else(trimmed)?;
        let Some(skip) = iterator.position.checked_sub(shard.trimmed) else {
            return Err(trimmed());
        };
        let (mut records, mut bytes) = (Vec::new(), 0);
        for record in shard.records.iter().skip(skip) {
            if empty || records.len() == limit || (bytes + record.size > PAGE_BYTES && !records.is_empty()) {
                break;
            }
            bytes += record.size;
            records.push(record.shown.clone());
        }
        iterator.position += records.len();
        iterator.issued = now;
        let mut answer = json!({"Records": records});
        if shard.closed.is_none() || iterator.position < shard.end() {
            answer["NextShardIterator"] = json!(iterator.write());
        }
        Ok(answer)
    }
}
