//! How the service refuses: the kinds of errors with their namespaces, and the status of each.

use serde_json::{Value, json};

/// What a call gives.
pub(crate) type Answer = Result<Value, Refusal>;

/// An error as the wire shows it.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    kind: String,
    message: String,
    /// What `TransactionCanceledException` lists besides.
    reasons: Option<Box<Value>>,
}

const SERVICE: &str = "com.amazonaws.dynamodb.v20120810#";
const CORAL: &str = "com.amazon.coral.service#";

impl Refusal {
    fn new(status: u16, kind: String, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            kind,
            message: message.into(),
            reasons: None,
        }
    }

    /// An error that the service's own model declares, by name.
    pub(crate) fn service(name: &str, message: impl Into<String>) -> Refusal {
        let status = if name == "InternalServerError" { 500 } else { 400 };
        Refusal::new(status, format!("{SERVICE}{name}"), message)
    }

    /// An argument that is wrong.
    pub(crate) fn validation(message: impl Into<String>) -> Refusal {
        let kind = "com.amazon.coral.validate#ValidationException".to_owned();
        Refusal::new(400, kind, message)
    }

    /// An error of the protocol's layer, by name.
    pub(crate) fn protocol(name: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(400, format!("{CORAL}{name}"), message)
    }

    /// A call that came too fast.
    pub(crate) fn throttled() -> Refusal {
        let kind = "com.amazon.coral.availability#ThrottlingException".to_owned();
        Refusal::new(400, kind, "Rate exceeded")
    }

    pub(crate) fn no_table(name: &str) -> Refusal {
        let message = format!("Requested resource not found: Table: {name} not found");
        Refusal::service("ResourceNotFoundException", message)
    }

    pub(crate) fn cancelled(reasons: Vec<Value>) -> Refusal {
        let codes: Vec<&str> = reasons
            .iter()
            .map(|reason| reason["Code"].as_str().unwrap_or("None"))
            .collect();
        let message = format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            codes.join(", ")
        );
        let mut refusal = Refusal::service("TransactionCanceledException", message);
        refusal.reasons = Some(Box::new(Value::Array(reasons)));
        refusal
    }

    /// The last part of the kind.
    pub(crate) fn name(&self) -> &str {
        self.kind.rsplit('#').next().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({"__type": self.kind, "message": self.message});
        if let Some(reasons) = &self.reasons {
            body["CancellationReasons"] = reasons.as_ref().clone();
        }
        body
    }
}

/// A member that must be a string.
pub(crate) fn text<'a>(input: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    input[name].as_str().ok_or_else(|| {
        Refusal::validation(format!(
            "1 validation error detected: Value null at '{}' failed to satisfy constraint: \
             Member must not be null",
            small(name)
        ))
    })
}

/// A number between two bounds, or the default.
pub(crate) fn within(input: &Value, name: &str, bounds: (usize, usize, usize)) -> Result<usize, Refusal> {
    let (least, most, default) = bounds;
    if input[name].is_null() {
        return Ok(default);
    }
    let given = input[name].as_u64().and_then(|given| usize::try_from(given).ok());
    given
        .filter(|given| (least..=most).contains(given))
        .ok_or_else(|| {
            Refusal::validation(format!(
                "1 validation error detected: Value '{}' at '{}' failed to satisfy constraint: \
                 Member must have value between {least} and {most}",
                input[name],
                small(name)
            ))
        })
}

fn small(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}
