//! Reading many items, and what tables are set to besides their items.

use serde_json::{Value, json};

use super::errors::{Answer, Refusal, text, within};
use super::expressions::{Words, key_condition};
use super::items::refuse_others;
use super::shards::SECOND;
use super::tables::{Place, State, seconds};
use super::value::{Item, item, size};

/// The most that one page holds.
const PAGE_BYTES: usize = 1024 * 1024;

impl State {
    pub(crate) fn scan(&self, input: &Value) -> Answer {
        refuse_others(input)?;
        let total = within(input, "TotalSegments", (1, 1_000_000, 1))?;
        let segment = within(input, "Segment", (0, 999_999, 0))?;
        if segment >= total {
            return Err(Refusal::validation(
                "The Segment parameter is zero-based and must be less than parameter TotalSegments",
            ));
        }
        if input["TotalSegments"].is_null() != input["Segment"].is_null() {
            return Err(Refusal::validation(
                "The TotalSegments parameter is required but was not present in the request when Segment parameter is present",
            ));
        }
        let table = self.table(text(input, "TableName")?)?;
        let (segment, total) = (wide(segment), wide(total));
        let places = table.items.iter();
        let found: Vec<(&Place, &Item)> = places
            .filter(|(place, _)| (u128::from(place.0) * total) >> 64 == segment)
            .collect();
        self.page(input, &found, true)
    }

    pub(crate) fn query(&self, input: &Value) -> Answer {
        refuse_others(input)?;
        let table = self.table(text(input, "TableName")?)?;
        let expression = text(input, "KeyConditionExpression")?;
        let words = Words::of(input);
        let names: Vec<String> = table.keys.iter().map(|part| part.name.clone()).collect();
        let mut found = Vec::new();
        for (place, item) in &table.items {
            if key_condition(item, &names, expression, &words)? {
                found.push((place, item));
            }
        }
        let forward = input["ScanIndexForward"].as_bool() != Some(false);
        if !forward {
            found.reverse();
        }
        self.page(input, &found, forward)
    }

    fn page(&self, input: &Value, found: &[(&Place, &Item)], forward: bool) -> Answer {
        let table = self.table(text(input, "TableName")?)?;
        let limit = within(input, "Limit", (1, usize::MAX, usize::MAX))?;
        let start = &input["ExclusiveStartKey"];
        let after = if start.is_null() {
            None
        } else {
            let place = table.place(&item(start)?);
            Some(place.map_err(|_| Refusal::validation("The provided starting key is invalid"))?)
        };
        let mut left = found.iter().filter(|(place, _)| match &after {
            Some(after) if forward => *place > after,
            Some(after) => *place < after,
            None => true,
        });
        let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
        while items.len() < limit && bytes < PAGE_BYTES {
            let Some((_, item)) = left.next() else {
                last = None;
                break;
            };
            bytes += size(item);
            last = Some(*item);
            items.push(*item);
        }
        let mut answer = json!({"Count": items.len(), "ScannedCount": items.len()});
        if input["Select"].as_str() != Some("COUNT") {
            answer["Items"] = json!(items);
        }
        // A page that was cut says so even when nothing follows.
        if let Some(last) = last {
            answer["LastEvaluatedKey"] = json!(table.keys_of(last));
        }
        Ok(answer)
    }

    pub(crate) fn describe_backups(&self, input: &Value) -> Answer {
        let name = text(input, "TableName")?;
        let table = self.table(name).map_err(|_| no_table(name))?;
        let mut recovery = json!({"PointInTimeRecoveryStatus": "DISABLED"});
        if let Some(earliest) = table.earliest(self.now) {
            recovery = json!({
                "PointInTimeRecoveryStatus": "ENABLED",
                "RecoveryPeriodInDays": table.recovery_days,
                "EarliestRestorableDateTime": seconds(earliest),
                "LatestRestorableDateTime": seconds(self.now - 300 * SECOND),
            });
        }
        Ok(json!({"ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": recovery,
        }}))
    }

    pub(crate) fn update_backups(&mut self, input: &Value) -> Answer {
        let name = text(input, "TableName")?.to_owned();
        let wanted = &input["PointInTimeRecoverySpecification"];
        let on = wanted["PointInTimeRecoveryEnabled"]
            .as_bool()
            .ok_or_else(|| Refusal::validation("PointInTimeRecoveryEnabled must not be null"))?;
        let days = within(wanted, "RecoveryPeriodInDays", (1, 35, 35))?;
        let now = self.now;
        self.table(&name).map_err(|_| no_table(&name))?;
        if let Some(table) = self.tables.get_mut(&name) {
            table.recovery = on.then(|| table.recovery.unwrap_or(now));
            table.recovery_days = u64::try_from(days).unwrap_or(35);
        }
        self.describe_backups(input)
    }

    pub(crate) fn describe_expiry(&self, input: &Value) -> Answer {
        let table = self.table(text(input, "TableName")?)?;
        let mut shown = json!({"TimeToLiveStatus": "DISABLED"});
        if let Some(attribute) = &table.expiry {
            shown = json!({"TimeToLiveStatus": "ENABLED", "AttributeName": attribute});
        }
        Ok(json!({"TimeToLiveDescription": shown}))
    }

    pub(crate) fn update_expiry(&mut self, input: &Value) -> Answer {
        let name = text(input, "TableName")?.to_owned();
        let wanted = &input["TimeToLiveSpecification"];
        let attribute = text(wanted, "AttributeName")?.to_owned();
        let on = wanted["Enabled"].as_bool() == Some(true);
        self.table(&name)?;
        if let Some(table) = self.tables.get_mut(&name) {
            if table.expiry.is_some() == on {
                let state = if on { "enabled" } else { "disabled" };
                return Err(Refusal::validation(format!("TimeToLive is already {state}")));
            }
            table.expiry = on.then_some(attribute);
        }
        Ok(json!({"TimeToLiveSpecification": wanted}))
    }
}

fn no_table(name: &str) -> Refusal {
    Refusal::service("TableNotFoundException", format!("Table not found: {name}"))
}

fn wide(number: usize) -> u128 {
    u128::try_from(number).unwrap_or_default()
}
