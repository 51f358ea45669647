//! The rules of the target's part of the configuration.

use std::time::Duration;

use super::raw::{RawBigquery, RawEndpoints};
use super::validate::Rules;
use super::{Auth, BigQuerySink, auth, duration, shape};

const KEY: &str = "sink.bigquery";
const REST: &str = "https://bigquery.googleapis.com";
const WRITE: &str = "https://bigquerystorage.googleapis.com";

/// Judges `sink.bigquery`.
pub(super) fn bigquery(raw: RawBigquery, rules: &mut Rules<'_>) -> Option<BigQuerySink> {
    let auth = auth::auth(&raw, rules);
    let impersonate = auth::impersonation(&raw, rules);
    let project = rules.require(
        "sink.bigquery.project",
        raw.project,
        "write the id of the Google Cloud project",
    );
    let project = project.and_then(|id| project_id("project", id, rules));
    let jobs_project = match raw.jobs_project {
        Some(id) => project_id("jobs_project", id, rules),
        None => project.clone(),
    };
    let dataset = template("dataset", raw.dataset.as_deref().unwrap_or("{schema}"), rules);
    let table = template("table", raw.table.as_deref().unwrap_or("{table}"), rules);
    let location = location(raw.location, rules);
    let max_staleness = max_staleness(raw.max_staleness.map(|text| text.0), rules);
    if raw.apply_budget_per_month.is_some() {
        rules.mistakes.not_built(
            "sink.bigquery.apply_budget_per_month",
            "a budget for applying changes",
            "remove it and set max_staleness to a duration",
        );
    }
    let (rest, write) = endpoints(raw.endpoints.unwrap_or_default(), auth.as_ref(), rules);
    Some(BigQuerySink {
        project: project?,
        dataset: dataset?,
        table: table?,
        location: location?,
        jobs_project: jobs_project?,
        max_staleness: max_staleness?,
        auth: auth?,
        impersonate: impersonate?,
        rest: rest?,
        write: write?,
    })
}

/// A project's id, domain-scoped ones included; what Google does not know is for Google to say.
fn project_id(name: &str, id: String, rules: &mut Rules<'_>) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    if !id.is_empty() && id.chars().all(legal) {
        return Some(id);
    }
    let key = format!("{KEY}.{name}");
    let shown = rules.quote(&key, &id);
    rules.mistakes.add(
        &key,
        format!("{shown} is not the id of a project"),
        "write the project's id, not its name",
    );
    None
}

fn location(raw: Option<String>, rules: &mut Rules<'_>) -> Option<Option<String>> {
    let Some(text) = raw else { return Some(None) };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !text.is_empty() && text.chars().all(legal) {
        return Some(Some(text));
    }
    let key = "sink.bigquery.location";
    let shown = rules.quote(key, &text);
    rules.mistakes.add(
        key,
        format!("{shown} is not a location"),
        "write one such as EU or asia-northeast1, or remove it",
    );
    None
}

/// A naming template: literal text in the target's alphabet and known `{…}`.
fn template(name: &str, text: &str, rules: &mut Rules<'_>) -> Option<String> {
    let (key, of_table) = (format!("{KEY}.{name}"), name == "table");
    let known: &[&str] = if of_table {
        &["{schema}", "{table}", "{source}"]
    } else {
        &["{schema}", "{source}"]
    };
    let shown = rules.quote(&key, text);
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        literal.push_str(before);
        let Some((inner, tail)) = after.split_once('}') else {
            rules.mistakes.add(
                &key,
                format!("{shown} has a {{ without its }}"),
                format!("write one of: {}", known.join(", ")),
            );
            return None;
        };
        let placeholder = format!("{{{inner}}}");
        if !known.contains(&placeholder.as_str()) {
            rules.mistakes.add(
                &key,
                format!("{shown} has a placeholder that is not known here"),
                shape::nearest_or_all(&placeholder, known.iter().copied()),
            );
            return None;
        }
        rest = tail;
    }
    literal.push_str(rest);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || (of_table && c == '-');
    if text.is_empty() || !literal.chars().all(legal) {
        let alphabet = if of_table {
            "letters, digits, _ and -"
        } else {
            "letters, digits and _"
        };
        rules.mistakes.add(
            &key,
            format!("{shown} cannot be part of a name in BigQuery"),
            format!("write {alphabet} beside the placeholders {}", known.join(", ")),
        );
        return None;
    }
    if of_table && !text.contains("{table}") {
        rules.mistakes.add(
            &key,
            format!("{shown} gives all tables one name"),
            "write {table} in it",
        );
        return None;
    }
    Some(text.to_owned())
}

fn max_staleness(raw: Option<String>, rules: &mut Rules<'_>) -> Option<Duration> {
    let key = "sink.bigquery.max_staleness";
    let text = raw.unwrap_or_else(|| "15m".to_owned());
    if text == "auto" {
        rules.mistakes.not_built(
            key,
            "auto",
            "write a duration: 15m is usual; longer costs less, since each apply reads the whole table",
        );
        return None;
    }
    let read = duration::parse(&text);
    if read.is_none() {
        let shown = rules.quote(key, &text);
        rules.mistakes.add(
            key,
            format!("{shown} is not a duration"),
            "write a whole number and s, m, h or d, such as 15m; or 0",
        );
    }
    read
}

/// Where the APIs are. Tokens are sent only where TLS protects them, and no table is made at Google by
/// a configuration that means the emulator.
fn endpoints(
    raw: RawEndpoints,
    auth: Option<&Auth>,
    rules: &mut Rules<'_>,
) -> (Option<String>, Option<String>) {
    let mut one = |name: &str, given: Option<String>, usual: &str| {
        let key = format!("{KEY}.endpoints.{name}");
        let Some(text) = given else {
            if matches!(auth, Some(Auth::None)) {
                rules.mistakes.missing(
                    &key,
                    "auth: none is for the emulator: write its address, such as http://127.0.0.1:9050",
                );
                return None;
            }
            return Some(usual.to_owned());
        };
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .map(|rest| rest.trim_end_matches('/'));
        let shown = rules.quote(&key, &text);
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@', ' '])) {
            rules.mistakes.add(
                &key,
                format!("{shown} is not the address of a server"),
                "write http:// or https://, a host and, if need be, a port; no path",
            );
            return None;
        }
        if text.starts_with("http://") && matches!(auth, Some(Auth::Adc | Auth::ServiceAccount(_))) {
            rules.mistakes.add(
                &key,
                "would carry the access token without encryption",
                "write https://, or auth: none for the emulator",
            );
            return None;
        }
        Some(text.trim_end_matches('/').to_owned())
    };
    (one("rest", raw.rest, REST), one("write", raw.write, WRITE))
}
