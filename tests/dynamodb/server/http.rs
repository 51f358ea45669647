//! The wire: who may speak, which operation is meant, and the form of the answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use replicator::clock::Clock;
use serde_json::Value;

use super::errors::{Answer, Refusal};
use super::faults::Fault;
use super::s3;
use super::tables::{REGION, State};

/// What every request sees.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) clock: Clock,
}

impl Service {
    /// The state, up to date.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tick(self.clock.unix_micros());
        state
    }
}

const BODY_BYTES: usize = 16 * 1024 * 1024;

/// Answers every request.
pub(crate) async fn answer(Shared(service): Shared<Service>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES).await else {
        return refused(&Refusal::protocol(
            "SerializationException",
            "The request is too large",
        ));
    };
    let target = head
        .headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    let Some(target) = target else {
        if let Err(refusal) = signed(&head.headers, "s3") {
            let status = StatusCode::FORBIDDEN;
            return s3::refusal(status, "AccessDenied", refusal.message(), head.uri.path());
        }
        let mut state = service.state();
        return s3::serve(&mut state, &head.method, &head.uri, &head.headers, body);
    };
    if let Err(refusal) = signed(&head.headers, "dynamodb") {
        return refused(&refusal);
    }
    let kind = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let Some((version, operation)) = target.split_once('.') else {
        return refused(&unknown());
    };
    let Ok(input) = serde_json::from_slice::<Value>(&body) else {
        return refused(&Refusal::protocol(
            "SerializationException",
            "Start of structure or map expected",
        ));
    };
    if kind != Some("application/x-amz-json-1.0") || !input.is_object() {
        return refused(&unknown());
    }
    operate(&service, version, operation, &input).await
}

async fn operate(service: &Service, version: &str, operation: &str, input: &Value) -> Response {
    let fault = {
        let mut state = service.state();
        let state = &mut *state;
        state.faults.call(operation, &mut state.rng)
    };
    if let Some(refusal) = fault.as_ref().and_then(Fault::refusal) {
        return refused(&refusal);
    }
    let reading = if operation == "GetRecords" {
        let begun = service.state().begin_read(input);
        match begun {
            Ok(reading) => Some(reading),
            Err(refusal) => return refused(&refusal),
        }
    } else {
        None
    };
    let _reading = reading.map(|of| Reading { service, of });
    if let Some(Fault::Slow(seconds)) = fault {
        service.clock.sleep(std::time::Duration::from_secs(seconds)).await;
    }
    let given = {
        let mut state = service.state();
        let empty = fault == Some(Fault::EmptyPage);
        match version {
            "DynamoDB_20120810" => table_operation(&mut state, operation, input),
            "DynamoDBStreams_20120810" => stream_operation(&mut state, operation, input, empty),
            _ => Err(unknown()),
        }
    };
    match given {
        Ok(given) if fault == Some(Fault::Cut) => cut(&given),
        Ok(given) => shown(StatusCode::OK, &given),
        Err(refusal) => refused(&refusal),
    }
}

/// A read that is under way, over when it is dropped: also when the client goes.
struct Reading<'a> {
    service: &'a Service,
    of: (String, String),
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.service.state().end_read(&self.of);
    }
}

fn unknown() -> Refusal {
    Refusal::protocol("UnknownOperationException", "")
}

fn table_operation(state: &mut State, operation: &str, input: &Value) -> Answer {
    match operation {
        "CreateTable" => state.create_table(input),
        "DescribeTable" => state.describe_table(input),
        "UpdateTable" => state.update_table(input),
        "DeleteTable" => state.delete_table(input),
        "ListTables" => state.list_tables(input),
        "PutItem" => state.one("Put", input),
        "DeleteItem" => state.one("Delete", input),
        "UpdateItem" => state.one("Update", input),
        "GetItem" => state.get_item(input),
        "BatchGetItem" => state.batch_get(input),
        "BatchWriteItem" => state.batch_write(input),
        "TransactWriteItems" => state.transact_write(input),
        "Query" => state.query(input),
        "Scan" => state.scan(input),
        "DescribeContinuousBackups" => state.describe_backups(input),
        "UpdateContinuousBackups" => state.update_backups(input),
        "DescribeTimeToLive" => state.describe_expiry(input),
        "UpdateTimeToLive" => state.update_expiry(input),
        "ExportTableToPointInTime" => state.start_export(input),
        "DescribeExport" => state.describe_export(input),
        "ListExports" => state.list_exports(input),
        _ => Err(unknown()),
    }
}

fn stream_operation(state: &mut State, operation: &str, input: &Value, empty: bool) -> Answer {
    match operation {
        "ListStreams" => state.list_streams(input),
        "DescribeStream" => state.describe_stream(input),
        "GetShardIterator" => state.shard_iterator(input),
        "GetRecords" => state.get_records(input, empty),
        _ => Err(unknown()),
    }
}

/// Whether a request is signed in form: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
fn signed(headers: &HeaderMap, service: &str) -> Result<(), Refusal> {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(authorization) = said("authorization") else {
        return Err(Refusal::protocol(
            "MissingAuthenticationTokenException",
            "Request is missing Authentication Token",
        ));
    };
    let incomplete = |what: &str| {
        let message = format!("Authorization header requires '{what}'. Authorization={authorization}");
        Refusal::protocol("IncompleteSignatureException", message)
    };
    let rest = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or_else(|| incomplete("AWS4-HMAC-SHA256"))?;
    let part = |name: &str| {
        let mut parts = rest.split(',').map(str::trim);
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    let credential = part("Credential").ok_or_else(|| incomplete("Credential"))?;
    let names = part("SignedHeaders").ok_or_else(|| incomplete("SignedHeaders"))?;
    let signature = part("Signature").ok_or_else(|| incomplete("Signature"))?;
    let date = said("x-amz-date").ok_or_else(|| incomplete("X-Amz-Date"))?;
    let mut names = names.split(';');
    let covers = ["host", "x-amz-date"]
        .iter()
        .all(|name| names.any(|signed| signed == *name));
    let day = date.split('T').next().unwrap_or_default();
    let scope: Vec<&str> = credential.split('/').collect();
    let scoped = matches!(scope.as_slice(), [id, date, region, of, "aws4_request"]
        if !id.is_empty() && *date == day && *region == REGION && *of == service);
    let hex = signature.len() == 64 && signature.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !(covers && scoped && hex) {
        return Err(Refusal::protocol(
            "InvalidSignatureException",
            "Credential should be scoped to a valid region and service, and cover the request",
        ));
    }
    Ok(())
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    shown(status, &refusal.body())
}

fn shown(status: StatusCode, given: &Value) -> Response {
    let text = given.to_string();
    let sum = crc32fast::hash(text.as_bytes());
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
        .header("x-amz-crc32", sum)
        .header("x-amzn-requestid", format!("{sum:08X}KQNSO5AEMVJF66Q9ASUAAJG"))
        .body(Body::from(text))
        .expect("a response")
}

/// Half an answer, and then the connection ends.
fn cut(given: &Value) -> Response {
    let text = given.to_string();
    let half = text.len() / 2;
    let parts = [
        Ok(Bytes::from(text.into_bytes()).slice(..half)),
        Err(std::io::Error::other("cut")),
    ];
    Response::builder()
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
        .body(Body::from_stream(stream::iter(parts)))
        .expect("a response")
}
