//! Writing and reading items one by one, in batches and in transactions.

use serde_json::{Value, json};

use super::errors::{Answer, Refusal, text};
use super::expressions::{Words, condition, update};
use super::shards::SECOND;
use super::tables::{Place, State};
use super::value::{Item, item, size};

/// A write that was looked at and not yet done.
struct Planned {
    table: String,
    place: Place,
    old: Option<Item>,
    /// What is there afterwards.
    new: Option<Item>,
    /// Whether the condition held.
    held: bool,
    /// Whether it is only a condition.
    check: bool,
    /// Attributes that an update named.
    named: Vec<String>,
}

/// Members of calls that this server does not serve, so that none is passed over in silence.
const OLD_STYLE: [&str; 8] = [
    "Expected",
    "AttributeUpdates",
    "AttributesToGet",
    "KeyConditions",
    "QueryFilter",
    "ScanFilter",
    "FilterExpression",
    "ProjectionExpression",
];

pub(crate) fn refuse_others(input: &Value) -> Result<(), Refusal> {
    match OLD_STYLE.iter().find(|name| !input[**name].is_null()) {
        Some(name) => Err(Refusal::validation(format!("{name} is not served here"))),
        None => Ok(()),
    }
}

impl State {
    /// A key as it was given, complete and without anything else.
    fn key(&self, table: &str, given: &Value) -> Result<(Place, Item), Refusal> {
        let table = self.table(table)?;
        let key = item(given)?;
        let wrong = || Refusal::validation("The provided key element does not match the schema");
        if key.len() != table.keys.len() || table.keys_of(&key).len() != key.len() {
            return Err(wrong());
        }
        let typed = table
            .keys
            .iter()
            .all(|part| key[&part.name].get(&part.kind).is_some());
        if !typed {
            return Err(wrong());
        }
        Ok((table.place(&key)?, key))
    }

    fn plan(&self, verb: &str, input: &Value) -> Result<Planned, Refusal> {
        refuse_others(input)?;
        let table = text(input, "TableName")?;
        let words = Words::of(input);
        let (place, key) = if verb == "Put" {
            let given = item(&input["Item"])?;
            (self.table(table)?.place(&given)?, given)
        } else {
            self.key(table, &input["Key"])?
        };
        let found = self.table(table)?;
        let old = found.items.get(&place).cloned();
        let held = match input["ConditionExpression"].as_str() {
            Some(expression) => condition(old.as_ref(), expression, &words)?,
            None => true,
        };
        let mut named = Vec::new();
        let new = match verb {
            "Put" => Some(key),
            "Delete" => None,
            "Update" => {
                let mut changed = old.clone().unwrap_or(key);
                if let Some(expression) = input["UpdateExpression"].as_str() {
                    named = update(&mut changed, expression, &words)?;
                }
                if let Some(part) = found.keys.iter().find(|part| named.contains(&part.name)) {
                    return Err(Refusal::validation(format!(
                        "One or more parameter values were invalid: Cannot update attribute {}. \
                         This attribute is part of the key",
                        part.name
                    )));
                }
                if size(&changed) > 400 * 1024 {
                    return Err(Refusal::validation(
                        "Item size to update has exceeded the maximum allowed size",
                    ));
                }
                Some(changed)
            }
            _ => old.clone(),
        };
        Ok(Planned {
            table: found.name.clone(),
            place,
            old,
            new,
            held,
            check: verb == "ConditionCheck",
            named,
        })
    }

    fn perform(&mut self, planned: &Planned) {
        if !planned.check {
            self.write(&planned.table, planned.place.clone(), planned.new.clone(), false);
        }
    }

    /// `PutItem`, `DeleteItem` and `UpdateItem`.
    pub(crate) fn one(&mut self, verb: &str, input: &Value) -> Answer {
        let planned = self.plan(verb, input)?;
        let wanted = input["ReturnValues"].as_str().unwrap_or("NONE");
        let known: &[&str] = match verb {
            "Update" => &["NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"],
            _ => &["NONE", "ALL_OLD"],
        };
        if !known.contains(&wanted) {
            return Err(Refusal::validation("Return values set to invalid value"));
        }
        if !planned.held {
            let message = "The conditional request failed";
            return Err(Refusal::service("ConditionalCheckFailedException", message));
        }
        self.perform(&planned);
        let image = match wanted {
            "ALL_OLD" | "UPDATED_OLD" => planned.old,
            "ALL_NEW" | "UPDATED_NEW" => planned.new,
            _ => None,
        };
        let image = image.map(|mut image| {
            if wanted.starts_with("UPDATED") {
                image.retain(|name, _| planned.named.contains(name));
            }
            image
        });
        Ok(match image {
            Some(image) if !image.is_empty() => json!({"Attributes": image}),
            Some(_) | None => json!({}),
        })
    }

    pub(crate) fn get_item(&self, input: &Value) -> Answer {
        refuse_others(input)?;
        let table = text(input, "TableName")?;
        let (place, _) = self.key(table, &input["Key"])?;
        Ok(match self.table(table)?.items.get(&place) {
            Some(item) => json!({"Item": item}),
            None => json!({}),
        })
    }

    pub(crate) fn batch_get(&self, input: &Value) -> Answer {
        let mut answers = json!({});
        let mut asked = 0;
        for (table, request) in input["RequestItems"].as_object().into_iter().flatten() {
            refuse_others(request)?;
            let mut found = Vec::new();
            let mut places = Vec::new();
            for key in request["Keys"].as_array().into_iter().flatten() {
                let (place, _) = self.key(table, key)?;
                asked += 1;
                found.extend(self.table(table)?.items.get(&place).cloned());
                if places.contains(&place) {
                    return Err(Refusal::validation(
                        "Provided list of item keys contains duplicates",
                    ));
                }
                places.push(place);
            }
            answers[table] = json!(found);
        }
        if !(1..=100).contains(&asked) {
            return Err(Refusal::validation(
                "Too many items requested for the BatchGetItem call",
            ));
        }
        Ok(json!({"Responses": answers, "UnprocessedKeys": {}}))
    }

    pub(crate) fn batch_write(&mut self, input: &Value) -> Answer {
        let mut planned: Vec<Planned> = Vec::new();
        for (table, requests) in input["RequestItems"].as_object().into_iter().flatten() {
            for request in requests.as_array().into_iter().flatten() {
                let mut one = json!({"TableName": table});
                let verb = if request["PutRequest"].is_null() {
                    one["Key"] = request["DeleteRequest"]["Key"].clone();
                    "Delete"
                } else {
                    one["Item"] = request["PutRequest"]["Item"].clone();
                    "Put"
                };
                let plan = self.plan(verb, &one)?;
                if twice(&planned, &plan) {
                    return Err(Refusal::validation(
                        "Provided list of item keys contains duplicates",
                    ));
                }
                planned.push(plan);
            }
        }
        if !(1..=25).contains(&planned.len()) {
            return Err(Refusal::validation(
                "1 validation error detected: Value at 'requestItems' failed to satisfy constraint: \
                 Member must have length less than or equal to 25",
            ));
        }
        for plan in &planned {
            self.perform(plan);
        }
        Ok(json!({"UnprocessedItems": {}}))
    }

    pub(crate) fn transact_write(&mut self, input: &Value) -> Answer {
        let token = input["ClientRequestToken"].as_str().map(str::to_owned);
        let now = self.now;
        self.transactions
            .retain(|_, (since, _)| *since + 600 * SECOND > now);
        if let Some((_, before)) = token.as_ref().and_then(|token| self.transactions.get(token)) {
            if before != &input["TransactItems"] {
                return Err(Refusal::service(
                    "IdempotentParameterMismatchException",
                    "Idempotent parameter mismatch",
                ));
            }
            return Ok(json!({}));
        }
        let mut planned: Vec<Planned> = Vec::new();
        for request in input["TransactItems"].as_array().into_iter().flatten() {
            let Some((verb, one)) = request.as_object().and_then(|request| request.iter().next()) else {
                return Err(Refusal::validation(
                    "Invalid Request: TransactWriteRequest should contain an action",
                ));
            };
            let plan = self.plan(verb, one)?;
            if twice(&planned, &plan) {
                return Err(Refusal::validation(
                    "Transaction request cannot include multiple operations on one item",
                ));
            }
            planned.push(plan);
        }
        if !(1..=100).contains(&planned.len()) {
            return Err(Refusal::validation(
                "1 validation error detected: Value at 'transactItems' failed to satisfy constraint: \
                 Member must have length less than or equal to 100",
            ));
        }
        if planned.iter().any(|plan| !plan.held) {
            let reasons = planned.iter().map(|plan| {
                if plan.held {
                    json!({"Code": "None"})
                } else {
                    json!({"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"})
                }
            });
            return Err(Refusal::cancelled(reasons.collect()));
        }
        for plan in &planned {
            self.perform(plan);
        }
        if let Some(token) = token {
            self.transactions
                .insert(token, (now, input["TransactItems"].clone()));
        }
        Ok(json!({}))
    }
}

fn twice(planned: &[Planned], plan: &Planned) -> bool {
    planned
        .iter()
        .any(|before| before.table == plan.table && before.place == plan.place)
}
