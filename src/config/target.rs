//! The rules of the target's part of the configuration.

use super::raw::{RawBigquery, RawEndpoints};
use super::validate::Rules;
use super::{Auth, BigQuerySink, Staleness, auth, duration, shape};

const KEY: &str = "sink.bigquery";
const BUDGET: &str = "sink.bigquery.apply_budget_per_month";
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
    let max_staleness = max_staleness(
        raw.max_staleness.map(|text| text.0),
        raw.apply_budget_per_month,
        rules,
    );
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

fn max_staleness(
    raw: Option<String>,
    raw_budget: Option<String>,
    rules: &mut Rules<'_>,
) -> Option<Staleness> {
    let key = "sink.bigquery.max_staleness";
    let budget = raw_budget.map(|text| budget(&text, rules));
    let text = raw.unwrap_or_else(|| "auto".to_owned());
    if text == "auto" {
        return match budget {
            None => Some(Staleness::Auto { budget_cents: None }),
            Some(budget_cents) => Some(Staleness::Auto {
                budget_cents: Some(budget_cents?),
            }),
        };
    }
    let read = duration::parse(&text);
    if read.is_none() {
        let shown = rules.quote(key, &text);
        rules.mistakes.add(
            key,
            format!("{shown} is neither auto nor a duration"),
            "write auto, or a whole number and s, m, h or d, such as 15m; or 0",
        );
    } else if budget.flatten().is_some() {
        rules.mistakes.add(
            BUDGET,
            "says nothing where max_staleness is set",
            "write max_staleness: auto, or remove it",
        );
    }
    read.map(Staleness::Fixed)
}

/// An amount of US dollars above zero, in hundredths.
fn budget(text: &str, rules: &mut Rules<'_>) -> Option<u64> {
    let shown = rules.quote(BUDGET, text);
    let (amount, currency) = text.split_once(' ').unwrap_or((text, ""));
    let cents = cents(amount);
    let foreign = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
    if cents.is_some() && foreign && currency != "USD" {
        rules.mistakes.add(
            BUDGET,
            format!("{shown} is not in US dollars"),
            "write it in US dollars, such as 50 USD: the list prices that it is held against are",
        );
        return None;
    }
    match cents {
        Some(cents) if cents > 0 && currency == "USD" => Some(cents),
        _ => {
            rules.mistakes.add(
                BUDGET,
                format!("{shown} is not an amount of money above zero"),
                "write an amount and USD, such as 50 USD",
            );
            None
        }
    }
}

/// `50`, `50.5` or `50.25`, in hundredths.
fn cents(amount: &str) -> Option<u64> {
    let (whole, part) = amount.split_once('.').unwrap_or((amount, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part: u64 = format!("{part:0<2}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(part)
}

/// What a server's address is called, and how it is written.
pub(super) const SERVER: (&str, &str) = (
    "the address of a server",
    "write http:// or https://, a host and, if need be, a port; no path",
);

/// Whether a text is a scheme, a host and perhaps a port.
pub(super) fn is_server(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .map(|rest| rest.trim_end_matches('/'));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
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
        let text = rules.formed(&key, text, is_server, SERVER)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_two_digits_of_cents_at_most() {
        for (text, expected) in [
            ("50", Some(5000)),
            ("0.05", Some(5)),
            ("1200.5", Some(120_050)),
            ("0.00", Some(0)),
            ("1.234", None),
            ("1.", None),
            (".5", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            ("1,000", None),
            ("99999999999999999999", None),
            ("184467440737095517", None),
        ] {
            assert_eq!(cents(text), expected, "{text}");
        }
    }
}
