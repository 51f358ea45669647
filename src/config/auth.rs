//! The rules of how the target's API is authenticated to.

use serde_json::Value;

use super::raw::{RawAuth, RawBigquery};
use super::secret::Secret;
use super::template::{Piece, Template};
use super::validate::Rules;
use super::{Auth, Impersonation};

const AUTH: &str = "sink.bigquery.auth";
const CREDENTIALS: &str = "sink.bigquery.credentials";
const IMPERSONATE: &str = "sink.bigquery.impersonate";
const DELEGATES: &str = "sink.bigquery.impersonate_delegates";

/// Judges `auth` and `credentials`.
pub(super) fn auth(raw: &RawBigquery, rules: &mut Rules<'_>) -> Option<Auth> {
    let kind = raw.auth.unwrap_or(RawAuth::Adc);
    let key = raw.credentials.as_deref();
    match kind {
        RawAuth::ServiceAccount => {
            let key = rules.require(
                CREDENTIALS,
                key,
                "write ${file:/absolute/path/of/the/key.json}, or set auth: adc",
            )?;
            service_account(key, rules)
        }
        RawAuth::Adc | RawAuth::None if key.is_some() => {
            rules.mistakes.add(
                CREDENTIALS,
                "is given, but auth is not service_account",
                "set auth: service_account, or remove it; other files of credentials are named in the \
                 environment variable GOOGLE_APPLICATION_CREDENTIALS, with auth: adc",
            );
            None
        }
        RawAuth::Adc => Some(Auth::Adc),
        RawAuth::None => Some(Auth::None),
    }
}

/// The key of a service account. What it holds is never shown.
fn service_account(text: &str, rules: &mut Rules<'_>) -> Option<Auth> {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let Some(Value::Object(fields)) = parsed else {
        rules.mistakes.add(
            CREDENTIALS,
            "is not the JSON of a service account's key",
            "write ${file:/absolute/path/of/the/key.json}, the file that gcloud iam service-accounts keys \
             create made",
        );
        return None;
    };
    let field = |name: &str| fields.get(name).and_then(Value::as_str);
    if field("type") != Some("service_account") {
        rules.mistakes.add(
            CREDENTIALS,
            "is JSON, but its \"type\" is not \"service_account\"",
            "set auth: adc and name the file in the environment variable GOOGLE_APPLICATION_CREDENTIALS",
        );
        return None;
    }
    let wanted = ["client_email", "private_key_id", "private_key", "project_id"];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|name| field(name).is_none_or(str::is_empty))
        .collect();
    if !missing.is_empty() {
        rules.mistakes.add(
            CREDENTIALS,
            format!("lacks {}", missing.join(", ")),
            "write the whole file that gcloud iam service-accounts keys create made",
        );
        return None;
    }
    let pieces = rules
        .templates
        .get(CREDENTIALS)
        .map(|it: &Template| it.pieces.as_slice());
    Some(Auth::ServiceAccount(match pieces {
        Some([Piece::File { path, .. }]) => Secret::file(path),
        _ => Secret::text(text),
    }))
}

/// Judges `impersonate` and `impersonate_delegates`. Outer `None`: a mistake was noted.
pub(super) fn impersonation(raw: &RawBigquery, rules: &mut Rules<'_>) -> Option<Option<Impersonation>> {
    let delegates = raw.impersonate_delegates.as_deref().unwrap_or_default();
    let Some(account) = &raw.impersonate else {
        if !delegates.is_empty() {
            rules.mistakes.add(
                DELEGATES,
                "is given, but no account is impersonated",
                "write the account in impersonate, or remove it",
            );
            return None;
        }
        return Some(None);
    };
    if raw.auth == Some(RawAuth::None) {
        rules.mistakes.add(
            IMPERSONATE,
            format!("is given, but {AUTH} is none"),
            "set auth: adc or auth: service_account, or remove it",
        );
        return None;
    }
    let account = email(IMPERSONATE, account, rules);
    let delegates: Vec<Option<String>> = delegates
        .iter()
        .enumerate()
        .filter_map(|(number, delegate)| Some((number, delegate.as_deref()?)))
        .map(|(number, delegate)| email(&format!("{DELEGATES}[{number}]"), delegate, rules))
        .collect();
    Some(Some(Impersonation {
        account: account?,
        delegates: delegates.into_iter().collect::<Option<_>>()?,
    }))
}

/// A service account's email address. It becomes part of a path, so nothing else may be in it.
fn email(key: &str, text: &str, rules: &mut Rules<'_>) -> Option<String> {
    let legal = |part: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        !part.is_empty() && part.chars().all(inner)
    };
    if text
        .split_once('@')
        .is_some_and(|(name, domain)| legal(name) && legal(domain) && domain.contains('.'))
    {
        return Some(text.to_owned());
    }
    let shown = rules.quote(key, text);
    rules.mistakes.add(
        key,
        format!("{shown} is not the email address of a service account"),
        "write one such as replicator@my-project.iam.gserviceaccount.com",
    );
    None
}
