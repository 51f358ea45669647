//! AWS: the services that give keys to a process, and what Google would learn from a signed question.

use std::collections::{HashMap, HashSet};

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use ring::{digest, hmac};
use serde_json::{Value, json};

use crate::fakes::Asked;

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/replicator";

/// What the pod or the container shows to get its keys.
pub(crate) const CONTAINER_TOKEN: &str = "c0ntainer-authorization-t0ken";
const INSTANCE_TOKEN: &str = "1nstance-metadata-t0ken";

/// Keys by who has them: every secret follows from the name.
pub(crate) fn secret(id: &str) -> String {
    format!("{id}/{}", "s3cr3t+Key".repeat(3))
}

/// The token that belongs to keys which end.
pub(crate) fn session(id: &str) -> String {
    format!("IQoJ{id}{}", "S3ssion".repeat(20))
}

/// Ids of the keys that the fakes give out, and who has them.
pub(crate) const HOLDERS: [(&str, &str); 5] = [
    ("AKIAENVIRONMENT", "the environment"),
    ("ASIAWEBIDENTITY", "the web identity"),
    ("ASIAPODIDENTITY", "the pod"),
    ("ASIACONTAINER", "the container"),
    ("ASIAINSTANCE", "the instance"),
];

fn keys(id: &str) -> Value {
    json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
        "AccessKeyId": id, "SecretAccessKey": secret(id), "Token": session(id),
        "Expiration": "2099-01-01T00:00:00Z",
    })
}

/// `AssumeRoleWithWebIdentity` of AWS's token service.
pub(crate) fn assume(asked: &Asked, valid: &HashSet<String>) -> Option<Response> {
    let form = asked.form();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if asked.method != Method::POST || field("Action") != "AssumeRoleWithWebIdentity" {
        return None;
    }
    if field("RoleArn") != ROLE || !valid.contains(field("WebIdentityToken")) {
        let text = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code>\
                    <Message>it is not accepted</Message></Error></ErrorResponse>";
        return Some((StatusCode::BAD_REQUEST, text).into_response());
    }
    let id = "ASIAWEBIDENTITY";
    let text = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
         <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>\
         <Arn>{ROLE}/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        secret(id),
        session(id)
    );
    Some(text.into_response())
}

/// The endpoints of pods, containers and instances.
pub(crate) fn credentials(asked: &Asked) -> Option<Response> {
    let path = asked.uri.path();
    if let Some(id) = [("/pod", "ASIAPODIDENTITY"), ("/container", "ASIACONTAINER")]
        .into_iter()
        .find_map(|(known, id)| (known == path).then_some(id))
    {
        if asked.header("authorization") != Some(CONTAINER_TOKEN) {
            return Some(StatusCode::UNAUTHORIZED.into_response());
        }
        return Some(keys(id).to_string().into_response());
    }
    let lifetime = "x-aws-ec2-metadata-token-ttl-seconds";
    if path == "/latest/api/token" {
        let seconds = asked.header(lifetime)?.to_owned();
        return (asked.method == Method::PUT)
            .then(|| ([(lifetime, seconds)], INSTANCE_TOKEN).into_response());
    }
    let item = path.strip_prefix("/latest/meta-data/")?;
    if asked.header("x-aws-ec2-metadata-token") != Some(INSTANCE_TOKEN) {
        return Some(StatusCode::UNAUTHORIZED.into_response());
    }
    match item {
        "placement/region" => Some("eu-west-1".into_response()),
        "iam/security-credentials/" => Some("replicator".into_response()),
        "iam/security-credentials/replicator" => Some(keys("ASIAINSTANCE").to_string().into_response()),
        _ => None,
    }
}

/// Whose question it is, if it is signed with the keys of one who is known and means Google's provider
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).
pub(crate) fn asker(subject: &str, audience: &str) -> Result<String, String> {
    let question: Value = serde_json::from_str(&decoded(subject)).map_err(|error| error.to_string())?;
    let url = question["url"].as_str().ok_or("no address")?;
    let query = "Action=GetCallerIdentity&Version=2011-06-15";
    let host = "sts.eu-west-1.amazonaws.com";
    if url != format!("https://{host}?{query}") || question["method"] != "POST" {
        return Err(format!("the question is {url}"));
    }
    let headers: HashMap<String, String> = question["headers"]
        .as_array()
        .ok_or("no headers")?
        .iter()
        .filter_map(|header| {
            let name = header["key"].as_str()?.to_ascii_lowercase();
            Some((name, header["value"].as_str()?.to_owned()))
        })
        .collect();
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let authorization = header("authorization");
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(name)?;
        Some(rest.split([',', ' ']).next().unwrap_or(rest))
    };
    let credential = part("Credential=").ok_or("no credential")?;
    let signed = part("SignedHeaders=").ok_or("no signed headers")?;
    let (id, scope) = credential.split_once('/').ok_or("no scope")?;
    let who = HOLDERS
        .into_iter()
        .find_map(|(known, who)| (known == id).then_some(who))
        .ok_or("nobody's keys")?;
    if header("host") != host
        || header("x-goog-cloud-target-resource") != audience
        || header("x-amz-security-token") != session(id)
        || !signed
            .split(';')
            .any(|name| name == "x-goog-cloud-target-resource")
    {
        return Err("a header is wrong".to_owned());
    }
    let listed: String = signed
        .split(';')
        .map(|name| format!("{name}:{}\n", header(name).trim()))
        .collect();
    let canonical = format!("POST\n/\n{query}\n{listed}\n{signed}\n{}", hash(b""));
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        header("x-amz-date"),
        hash(canonical.as_bytes())
    );
    let key = scope
        .split('/')
        .fold(format!("AWS4{}", secret(id)).into_bytes(), |key, step| {
            mac(&key, step.as_bytes())
        });
    if scope.split('/').skip(1).collect::<Vec<_>>() != ["eu-west-1", "sts", "aws4_request"] {
        return Err(format!("the scope is {scope}"));
    }
    if part("Signature=") != Some(&hex(&mac(&key, text.as_bytes()))) {
        return Err("the signature is wrong".to_owned());
    }
    Ok(who.to_owned())
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
        .as_ref()
        .to_vec()
}

fn hash(text: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, text).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Undoes percent-encoding.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or_default(), rest.next().unwrap_or_default()];
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                u8::from_str_radix(digits, 16).unwrap_or_default()
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
