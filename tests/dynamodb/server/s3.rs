//! What of S3's wire form exports and their readers need, path-style: buckets, objects, ranges, listings.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use md5::{Digest, Md5};

use super::tables::{State, timestamp};

/// An object's bytes and what is said about them.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
    modified: i64,
}

impl Object {
    pub(crate) fn new(bytes: Vec<u8>, modified: i64) -> Object {
        let digest = Md5::digest(&bytes);
        Object {
            etag: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            bytes: Bytes::from(bytes),
            modified,
        }
    }
}

type Objects = BTreeMap<String, Object>;

fn xml(status: StatusCode, text: String) -> Response {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}");
    let answer = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/xml");
    answer.body(Body::from(text)).expect("a response")
}

pub(crate) fn refusal(status: StatusCode, code: &str, message: &str, resource: &str) -> Response {
    let resource = escaped(resource);
    xml(
        status,
        format!(
            "<Error><Code>{code}</Code><Message>{message}</Message><Resource>{resource}</Resource>\
             <RequestId>4442587FB7D0A2F9</RequestId></Error>"
        ),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let code = if byte == b'%' {
            let pair: Vec<u8> = rest.by_ref().take(2).collect();
            std::str::from_utf8(&pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        } else {
            None
        };
        bytes.push(code.unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Answers one request.
pub(crate) fn serve(
    state: &mut State,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let path = decoded(uri.path());
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let query: BTreeMap<String, String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decoded(&value.replace('+', " "))))
        .collect();
    let operation = match (method, key) {
        (&Method::GET, "") => "ListObjectsV2",
        (&Method::GET, _) => "GetObject",
        (&Method::HEAD, _) => "HeadObject",
        _ => "PutObject",
    };
    let fault = state.faults.call(operation, &mut state.rng);
    if fault.is_some_and(|fault| fault.refusal().is_some()) {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return refusal(status, "SlowDown", "Please reduce your request rate.", path);
    }
    let now = state.now;
    if method == Method::PUT && key.is_empty() {
        state.buckets.entry(bucket.to_owned()).or_default();
        return xml(StatusCode::OK, String::new());
    }
    let Some(objects) = state.buckets.get_mut(bucket) else {
        let message = "The specified bucket does not exist";
        return refusal(StatusCode::NOT_FOUND, "NoSuchBucket", message, path);
    };
    match (method, key) {
        (&Method::GET, "") => list(objects, bucket, &query),
        (&Method::PUT, _) => {
            let object = Object::new(body.to_vec(), now);
            let answer = Response::builder().header(header::ETAG, format!("\"{}\"", object.etag));
            objects.insert(key.to_owned(), object);
            answer.body(Body::empty()).expect("a response")
        }
        (&Method::GET | &Method::HEAD, _) => object(objects.get(key), method, headers, path),
        _ => refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
            path,
        ),
    }
}

fn object(found: Option<&Object>, method: &Method, headers: &HeaderMap, path: &str) -> Response {
    let Some(object) = found else {
        let message = "The specified key does not exist.";
        return refusal(StatusCode::NOT_FOUND, "NoSuchKey", message, path);
    };
    let whole = object.bytes.len();
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let part = match range.map(|range| bounds(range, whole)) {
        Some(None) => {
            let message = "The requested range is not satisfiable";
            return refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message, path);
        }
        Some(Some(part)) => Some(part),
        None => None,
    };
    let (from, to) = part.unwrap_or((0, whole));
    let mut answer = Response::builder()
        .header(header::ETAG, format!("\"{}\"", object.etag))
        .header(header::LAST_MODIFIED, http_date(object.modified))
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_TYPE, "binary/octet-stream")
        .header(header::CONTENT_LENGTH, to - from);
    if part.is_some() {
        answer = answer
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {from}-{}/{whole}", to - 1));
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from(object.bytes.slice(from..to))
    };
    answer.body(body).expect("a response")
}

/// `bytes=a-b`, `bytes=a-` and `bytes=-n` as half-open bounds.
fn bounds(range: &str, whole: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => (from, (to + 1).min(whole)),
        (Ok(from), Err(_)) => (from, whole),
        (Err(_), Ok(last)) => (whole.saturating_sub(last), whole),
        (Err(_), Err(_)) => return None,
    };
    (from < to).then_some((from, to))
}

/// `Thu, 01 Jan 2026 00:00:00 GMT`.
fn http_date(micros: i64) -> String {
    let text = timestamp(micros);
    let mut parts = text.split(['-', 'T', '.']);
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (year, month, day, time) = (part(), part(), part(), part());
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let month = month.parse::<usize>().map_or("Jan", |month| months[month - 1]);
    let weekday = usize::try_from(micros / 86_400_000_000 % 7).unwrap_or(0);
    format!("{}, {day} {month} {year} {time} GMT", days[weekday])
}

fn list(objects: &Objects, bucket: &str, query: &BTreeMap<String, String>) -> Response {
    let said = |name: &str| query.get(name).map_or("", String::as_str);
    let (prefix, delimiter) = (said("prefix"), said("delimiter"));
    let after = said("continuation-token").max(said("start-after"));
    let limit: usize = said("max-keys").parse().unwrap_or(1000).min(1000);
    let (mut keys, mut folders) = (String::new(), Vec::new());
    let (mut count, mut last, mut more) = (0, "", false);
    for (key, object) in objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
        if key.as_str() <= after {
            continue;
        }
        let rest = key.strip_prefix(prefix).unwrap_or_default();
        let folder = (!delimiter.is_empty())
            .then(|| rest.split_once(delimiter))
            .flatten()
            .map(|(folder, _)| format!("{prefix}{folder}{delimiter}"));
        if folder.as_ref().is_some_and(|folder| folders.contains(folder)) {
            last = key;
            continue;
        }
        if count == limit {
            more = true;
            break;
        }
        (count, last) = (count + 1, key);
        match folder {
            Some(folder) => folders.push(folder),
            None => keys.push_str(&format!(
                "<Contents><Key>{}</Key><LastModified>{}Z</LastModified><ETag>&quot;{}&quot;</ETag>\
                 <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                escaped(key),
                timestamp(object.modified),
                object.etag,
                object.bytes.len()
            )),
        }
    }
    let folders: String = folders
        .iter()
        .map(|folder| {
            format!(
                "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
                escaped(folder)
            )
        })
        .collect();
    let token = if more {
        format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(last))
    } else {
        String::new()
    };
    xml(
        StatusCode::OK,
        format!(
            "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}</Name>\
             <Prefix>{}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{limit}</MaxKeys>\
             <IsTruncated>{more}</IsTruncated>{keys}{folders}{token}</ListBucketResult>",
            escaped(prefix)
        ),
    )
}
