//! Tables and what they hold; every write's way into the log and the stream.

use std::collections::BTreeMap;

use fastrand::Rng;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::errors::{Answer, Refusal, text, within};
use super::exports::Exports;
use super::faults::Faults;
use super::shards::{HOUR, SECOND, Stream};
use super::value::{Item, size, sort_form, typed};

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "us-east-1";

/// Where an item lies: the hash of its partition key, that key, its sort key.
pub(crate) type Place = (u64, String, String);

#[derive(Debug, Clone)]
pub(crate) struct KeyPart {
    pub(crate) name: String,
    pub(crate) kind: String,
}

/// A write, as point-in-time recovery keeps it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) at: i64,
    pub(crate) place: Place,
    pub(crate) keys: Item,
    pub(crate) old: Option<Item>,
    pub(crate) new: Option<Item>,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    created: i64,
    pub(crate) keys: Vec<KeyPart>,
    pub(crate) items: BTreeMap<Place, Item>,
    pub(crate) log: Vec<Change>,
    /// Since when point-in-time recovery is on.
    pub(crate) recovery: Option<i64>,
    pub(crate) recovery_days: u64,
    pub(crate) expiry: Option<String>,
    stream: Option<String>,
    definitions: Value,
    schema: Value,
}

/// Everything the server knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: i64,
    pub(crate) rng: Rng,
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) faults: Faults,
    pub(crate) exports: Exports,
    /// Buckets and their objects.
    pub(crate) buckets: BTreeMap<String, BTreeMap<String, super::s3::Object>>,
    /// How many shards a new stream has, and how many files an export at least.
    pub(crate) partitions: u64,
    /// Calls of `GetRecords` that a shard answers within a second; without it there is no bound.
    pub(crate) reads_per_second: Option<usize>,
    pub(crate) recent_reads: Vec<(i64, String)>,
    pub(crate) transactions: BTreeMap<String, (i64, Value)>,
}

impl State {
    pub(crate) fn table(&self, name: &str) -> Result<&Table, Refusal> {
        let name = name.rsplit(":table/").next().unwrap_or(name);
        self.tables
            .get(name)
            .ok_or_else(|| Refusal::service("ResourceNotFoundException", "Requested resource not found"))
    }

    /// Puts an item in its place, or takes it away: a change, unless nothing changes.
    pub(crate) fn write(&mut self, name: &str, place: Place, new: Option<Item>, expired: bool) {
        let table = self.tables.get_mut(name).expect("the table was found before");
        let old = match new.clone() {
            Some(item) => table.items.insert(place.clone(), item),
            None => table.items.remove(&place),
        };
        if old == new {
            return;
        }
        let keys = table.keys_of(new.as_ref().or(old.as_ref()).expect("one of them is there"));
        if let Some(arn) = &table.stream
            && let Some(stream) = self.streams.iter_mut().find(|stream| stream.arn == *arn)
        {
            let (at, view) = (self.now, stream.view.clone());
            stream.append(place.0, at, &mut self.rng, |number| {
                record(&view, number, at, &keys, (old.as_ref(), new.as_ref()), expired)
            });
        }
        table.log.push(Change {
            at: self.now,
            place,
            keys,
            old,
            new,
        });
    }

    /// What time does.
    pub(crate) fn tick(&mut self, now: i64) {
        self.now = now;
        for stream in &mut self.streams {
            if stream.disabled.is_none() {
                stream.tick(now, &mut self.rng);
            }
        }
        let kept = super::shards::KEPT;
        self.streams
            .retain(|stream| stream.disabled.is_none_or(|disabled| disabled + kept > now));
        self.expire();
        self.finish_exports();
    }

    /// Items whose time has come go; those of more than five years ago stay.
    fn expire(&mut self) {
        let seconds = self.now / SECOND;
        let mut due = Vec::new();
        for table in self.tables.values() {
            let Some(attribute) = &table.expiry else { continue };
            for (place, item) in &table.items {
                let until = item.get(attribute).and_then(|value| value["N"].as_str());
                let until = until.and_then(|until| until.split('.').next()?.parse::<i64>().ok());
                if until.is_some_and(|until| until <= seconds && until > seconds - 5 * 365 * 86_400) {
                    due.push((table.name.clone(), place.clone()));
                }
            }
        }
        for (name, place) in due {
            self.write(&name, place, None, true);
        }
    }

    pub(crate) fn create_table(&mut self, input: &Value) -> Answer {
        let name = text(input, "TableName")?.to_owned();
        let legal = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
        if !(3..=255).contains(&name.len()) || !name.chars().all(legal) {
            return Err(Refusal::validation(format!(
                "1 validation error detected: Value '{name}' at 'tableName' failed to satisfy constraint: \
                 Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
            )));
        }
        let keys = key_parts(input)?;
        if self.tables.contains_key(&name) {
            let message = format!("Table already exists: {name}");
            return Err(Refusal::service("ResourceInUseException", message));
        }
        let table = Table {
            id: format!("{:032x}", self.rng.u128(..)),
            arn: format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"),
            created: self.now,
            keys,
            items: BTreeMap::new(),
            log: Vec::new(),
            recovery: None,
            recovery_days: 35,
            expiry: None,
            stream: None,
            definitions: input["AttributeDefinitions"].clone(),
            schema: input["KeySchema"].clone(),
            name: name.clone(),
        };
        self.tables.insert(name.clone(), table);
        if input["StreamSpecification"]["StreamEnabled"].as_bool() == Some(true) {
            self.enable_stream(&name, &input["StreamSpecification"])?;
        }
        Ok(json!({"TableDescription": self.describe(&name, "CREATING")?}))
    }

    pub(crate) fn describe_table(&self, input: &Value) -> Answer {
        Ok(json!({"Table": self.describe(text(input, "TableName")?, "ACTIVE")?}))
    }

    fn describe(&self, name: &str, status: &str) -> Answer {
        let table = self.table(name).map_err(|_| Refusal::no_table(name))?;
        let bytes: usize = table.items.values().map(size).sum();
        let mut shown = json!({
            "TableName": table.name,
            "TableId": table.id,
            "TableArn": table.arn,
            "TableStatus": status,
            "CreationDateTime": seconds(table.created),
            "AttributeDefinitions": table.definitions,
            "KeySchema": table.schema,
            "ItemCount": table.items.len(),
            "TableSizeBytes": bytes,
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
            "ProvisionedThroughput": {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
            "DeletionProtectionEnabled": false,
        });
        let latest = self
            .streams
            .iter()
            .rev()
            .find(|stream| stream.table == table.name);
        if let Some(stream) = latest {
            shown["LatestStreamArn"] = json!(stream.arn);
            shown["LatestStreamLabel"] = json!(stream.label);
            if stream.disabled.is_none() {
                shown["StreamSpecification"] = json!({"StreamEnabled": true, "StreamViewType": stream.view});
            }
        }
        Ok(shown)
    }

    pub(crate) fn update_table(&mut self, input: &Value) -> Answer {
        let name = text(input, "TableName")?.to_owned();
        self.table(&name).map_err(|_| Refusal::no_table(&name))?;
        let wanted = &input["StreamSpecification"];
        match wanted["StreamEnabled"].as_bool() {
            Some(true) => self.enable_stream(&name, wanted)?,
            Some(false) => self.disable_stream(&name)?,
            None => {}
        }
        Ok(json!({"TableDescription": self.describe(&name, "UPDATING")?}))
    }

    fn enable_stream(&mut self, name: &str, wanted: &Value) -> Result<(), Refusal> {
        let view = wanted["StreamViewType"].as_str().unwrap_or_default().to_owned();
        if !["NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES", "KEYS_ONLY"].contains(&view.as_str()) {
            return Err(Refusal::validation(
                "One or more parameter values were invalid: StreamViewType is required",
            ));
        }
        let (now, partitions) = (self.now, self.partitions);
        let table = self.tables.get_mut(name).ok_or_else(|| Refusal::no_table(name))?;
        if table.stream.is_some() {
            return Err(Refusal::validation(format!(
                "Table already has an enabled stream: TableName: {name}"
            )));
        }
        // A label is a time; one that was given before is never given again.
        let label = timestamp(now + i64::try_from(self.streams.len()).unwrap_or(0) * 1_000);
        let arn = format!("{}/stream/{label}", table.arn);
        table.stream = Some(arn.clone());
        let mut stream = Stream {
            arn,
            label,
            table: name.to_owned(),
            view,
            created: now,
            disabled: None,
            key_schema: table.schema.clone(),
            shards: Vec::new(),
            hide_children: 0,
        };
        stream.open(partitions, now, &mut self.rng);
        self.streams.push(stream);
        Ok(())
    }

    fn disable_stream(&mut self, name: &str) -> Result<(), Refusal> {
        let table = self.tables.get_mut(name).ok_or_else(|| Refusal::no_table(name))?;
        let Some(arn) = table.stream.take() else {
            return Err(Refusal::validation(format!(
                "Table is already disabled for streams: TableName: {name}"
            )));
        };
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.arn == arn) {
            stream.disable(self.now);
        }
        Ok(())
    }

    pub(crate) fn delete_table(&mut self, input: &Value) -> Answer {
        let name = text(input, "TableName")?.to_owned();
        let shown = self.describe(&name, "DELETING")?;
        if self.table(&name)?.stream.is_some() {
            self.disable_stream(&name)?;
        }
        self.tables.remove(&name);
        Ok(json!({"TableDescription": shown}))
    }

    pub(crate) fn list_tables(&self, input: &Value) -> Answer {
        let limit = within(input, "Limit", (1, 100, 100))?;
        let after = input["ExclusiveStartTableName"].as_str().unwrap_or_default();
        let mut names: Vec<&String> = self.tables.keys().filter(|name| name.as_str() > after).collect();
        let more = names.len() > limit;
        names.truncate(limit);
        let mut answer = json!({"TableNames": names});
        if more {
            answer["LastEvaluatedTableName"] = json!(names.last());
        }
        Ok(answer)
    }
}

impl Table {
    pub(crate) fn keys_of(&self, item: &Item) -> Item {
        let parts = self.keys.iter();
        parts
            .filter_map(|part| Some((part.name.clone(), item.get(&part.name)?.clone())))
            .collect()
    }

    /// Where an item with these key attributes lies.
    pub(crate) fn place(&self, item: &Item) -> Result<Place, Refusal> {
        let mut forms = Vec::new();
        for part in &self.keys {
            let value = item.get(&part.name).ok_or_else(|| {
                Refusal::validation(format!(
                    "One or more parameter values were invalid: Missing the key {} in the item",
                    part.name
                ))
            })?;
            let Some((kind, scalar)) = typed(value).filter(|(kind, _)| *kind == part.kind) else {
                let actual = value.as_object().and_then(|typed| typed.keys().next());
                return Err(Refusal::validation(format!(
                    "One or more parameter values were invalid: Type mismatch for key {} expected: {} actual: {}",
                    part.name,
                    part.kind,
                    actual.map_or("", String::as_str)
                )));
            };
            if scalar.is_empty() {
                return Err(Refusal::validation(format!(
                    "One or more parameter values are not valid. The AttributeValue for a key attribute \
                     cannot contain an empty {} value. Key: {}",
                    if kind == "B" { "binary" } else { "string" },
                    part.name
                )));
            }
            let limit = if forms.is_empty() { 2048 } else { 1024 };
            if kind != "N" && scalar.len() > limit {
                return Err(Refusal::validation(format!(
                    "One or more parameter values were invalid: Size of {} has exceeded the maximum size limit of {limit} bytes",
                    if forms.is_empty() { "hashkey" } else { "rangekey" }
                )));
            }
            forms.push(sort_form(kind, scalar));
        }
        let mut forms = forms.into_iter();
        let first = forms.next().unwrap_or_default();
        Ok((hash(&first), first, forms.next().unwrap_or_default()))
    }

    /// The items as they were before a moment.
    pub(crate) fn at(&self, moment: i64) -> BTreeMap<Place, Item> {
        let mut items = self.items.clone();
        for change in self.log.iter().rev().take_while(|change| change.at >= moment) {
            match change.old.clone() {
                Some(old) => items.insert(change.place.clone(), old),
                None => items.remove(&change.place),
            };
        }
        items
    }

    /// From when on the table can be restored.
    pub(crate) fn earliest(&self, now: i64) -> Option<i64> {
        let days = i64::try_from(self.recovery_days).unwrap_or(35);
        self.recovery.map(|since| since.max(now - days * 24 * HOUR))
    }
}

fn hash(text: &str) -> u64 {
    let digest = Md5::digest(text.as_bytes());
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

fn key_parts(input: &Value) -> Result<Vec<KeyPart>, Refusal> {
    let definitions = input["AttributeDefinitions"].as_array();
    let definitions = definitions.map_or(&[][..], Vec::as_slice);
    let schema = input["KeySchema"].as_array().map_or(&[][..], Vec::as_slice);
    let roles: Vec<&str> = schema
        .iter()
        .filter_map(|part| part["KeyType"].as_str())
        .collect();
    if roles != ["HASH"] && roles != ["HASH", "RANGE"] {
        return Err(Refusal::validation(
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
        ));
    }
    let mut parts = Vec::new();
    for part in schema {
        let name = part["AttributeName"].as_str().unwrap_or_default();
        let defined = definitions
            .iter()
            .find(|defined| defined["AttributeName"] == name);
        let kind = defined.and_then(|defined| defined["AttributeType"].as_str());
        let Some(kind) = kind.filter(|kind| ["S", "N", "B"].contains(kind)) else {
            return Err(Refusal::validation(
                "One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions",
            ));
        };
        parts.push(KeyPart {
            name: name.to_owned(),
            kind: kind.to_owned(),
        });
    }
    if definitions.len() != parts.len() {
        return Err(Refusal::validation(
            "One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match \
             number of attributes defined in AttributeDefinitions",
        ));
    }
    Ok(parts)
}

/// A record of the stream, and its size.
fn record(
    view: &str,
    number: &str,
    at: i64,
    keys: &Item,
    (old, new): (Option<&Item>, Option<&Item>),
    expired: bool,
) -> (Value, usize) {
    let event = match (old, new) {
        (None, _) => "INSERT",
        (Some(_), Some(_)) => "MODIFY",
        (Some(_), None) => "REMOVE",
    };
    let mut bytes = size(keys);
    let mut shown = json!({
        "ApproximateCreationDateTime": at / SECOND,
        "Keys": keys,
        "SequenceNumber": number,
        "StreamViewType": view,
    });
    let images = [("NewImage", new, "NEW"), ("OldImage", old, "OLD")];
    for (member, image, word) in images {
        if let Some(image) = image
            && (view == "NEW_AND_OLD_IMAGES" || view == format!("{word}_IMAGE"))
        {
            bytes += size(image);
            shown[member] = json!(image);
        }
    }
    shown["SizeBytes"] = json!(bytes);
    let mut record = json!({
        "eventID": format!("{:032x}", hash(number)),
        "eventName": event,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "dynamodb": shown,
    });
    if expired {
        record["userIdentity"] = json!({"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"});
    }
    (record, bytes)
}

/// Seconds since 1970 with their thousandths, as the JSON protocol writes a time.
pub(crate) fn seconds(micros: i64) -> f64 {
    let millis = i32::try_from(micros / 1_000 % 1_000).unwrap_or(0);
    let whole = i32::try_from(micros / SECOND).unwrap_or(i32::MAX);
    f64::from(whole) + f64::from(millis) / 1_000.0
}

/// `2026-01-01T00:00:00.000`.
pub(crate) fn timestamp(micros: i64) -> String {
    let seconds = micros.div_euclid(SECOND);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let part = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * part + 2) / 5 + 1;
    let month = if part < 10 { part + 3 } else { part - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60,
        micros.rem_euclid(SECOND) / 1_000
    )
}
