//! Tokens that a service account signs itself (<https://google.aip.dev/auth/4111>).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use replicator::clock::Clock;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

pub(crate) const ACCOUNT: &str = "replicator@shop.iam.gserviceaccount.com";

/// A private key that opens nothing; its number.
const KEY: &str = include_str!("key.pem");
const KEY_ID: &str = "0123456789abcdef";

/// The public part of it.
const PUBLIC: &[u8] = include_bytes!("key.pub.der");

/// The file that `gcloud iam service-accounts keys create` makes.
pub(crate) fn key_file() -> Value {
    json!({
        "type": "service_account",
        "project_id": "shop",
        "private_key_id": KEY_ID,
        "private_key": KEY,
        "client_email": ACCOUNT,
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
}

/// Secrets of the key: a line of it is enough to know it by.
pub(crate) fn secrets() -> Vec<String> {
    KEY.lines()
        .filter(|line| !line.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

/// Whose token it is and for what, if it is signed with the key and valid now.
pub(crate) fn caller(token: &str, clock: &Clock) -> Option<(String, String)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC)
        .verify(signed.as_bytes(), &signature)
        .ok()?;
    let part =
        |text: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok() };
    let (head, claims) = signed.split_once('.')?;
    let (head, claims) = (part(head)?, part(claims)?);
    let now = clock.unix_seconds();
    let (from, until) = (claims["iat"].as_u64()?, claims["exp"].as_u64()?);
    let valid = head["alg"] == "RS256"
        && head["kid"] == KEY_ID
        && from <= now
        && now < until
        && until - from <= 3700
        && claims["sub"] == claims["iss"];
    valid.then_some((
        claims["iss"].as_str()?.to_owned(),
        claims["scope"].as_str()?.to_owned(),
    ))
}
