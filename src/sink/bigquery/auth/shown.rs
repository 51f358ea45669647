//! Errors of credentials as they may be shown. A token service's answer, or a file that was not understood,
//! may hold a token, and the libraries quote both.

use serde_json::Value;

/// No name or address that an operator needs has a part as long as the shortest token.
const LONGEST: usize = 64;

/// What the library says at every level of an error, and what is not so: credentials are made anew.
const NOISE: [&str; 5] = [
    " and future attempts will not succeed",
    " but future attempts may succeed",
    "cannot create the authentication headers ",
    "Request to fetch the token failed. Subsequent calls with this credential will also fail.",
    "Fetching the token resulted in transient errors. Subsequent calls with this credential might succeed.",
];

/// An error with its causes, without what was quoted, but for the fields of an answer that say what is wrong.
pub(super) fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let mut part = without_quotation(&cause.to_string());
        for noise in NOISE {
            part = part.replace(noise, "");
        }
        if !text.contains(part.trim()) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(part.trim());
        }
        next = cause.source();
    }
    masked(&text)
}

/// A message whose answer, from `body=<` or `{` to the last `>` or `}`, is cut to what it says.
fn without_quotation(message: &str) -> String {
    let Some(start) = [message.find("body=<"), message.find('{')]
        .into_iter()
        .flatten()
        .min()
    else {
        return message.to_owned();
    };
    let (before, quoted) = message.split_at_checked(start).unwrap_or((message, ""));
    let end = quoted.rfind(['>', '}']).map_or(quoted.len(), |last| last + 1);
    let (quoted, after) = quoted.split_at_checked(end).unwrap_or((quoted, ""));
    let body = quoted
        .strip_prefix("body=<")
        .map_or(quoted, |it| it.trim_end_matches('>'));
    let said = said(body).unwrap_or_else(|| "an answer that is not shown".to_owned());
    format!("{before}{said}{after}")
}

/// What an answer says: OAuth's fields (<https://datatracker.ietf.org/doc/html/rfc6749#section-5.2>) or those of
/// Google's APIs (<https://google.aip.dev/193>).
fn said(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    let fields = ["/error", "/error_description", "/error/status", "/error/message"];
    let said: Vec<&str> = fields
        .into_iter()
        .filter_map(|field| body.pointer(field)?.as_str())
        .collect();
    (!said.is_empty()).then(|| said.join(": "))
}

/// Puts `***` in place of what is as long as a token.
fn masked(text: &str) -> String {
    let of_token = |c: char| c.is_ascii_alphanumeric() || "-_.~+%=".contains(c);
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = if of_token(first) {
            rest.find(|c| !of_token(c))
        } else {
            rest.find(of_token)
        };
        let (run, after) = rest
            .split_at_checked(end.unwrap_or(rest.len()))
            .unwrap_or((rest, ""));
        kept.push_str(if of_token(first) && run.len() >= LONGEST {
            "***"
        } else {
            run
        });
        rest = after;
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failure {
        text: String,
        source: Option<Box<Failure>>,
    }

    fn failure(texts: &[&str]) -> Failure {
        let (first, rest) = texts.split_first().unwrap();
        Failure {
            text: (*first).to_owned(),
            source: (!rest.is_empty()).then(|| Box::new(failure(rest))),
        }
    }

    #[test]
    fn what_an_answer_says_is_kept_and_what_else_it_holds_is_not() {
        let oauth = r#"failed, body=<{"error":"invalid_grant","error_description":"stale","token":"t0k3n"}>"#;
        let google =
            r#"a [403] error: {"error":{"status":"PERMISSION_DENIED","message":"no","token":"t0k3n"}}"#;
        let file = r#"cannot read `id_token`, body=<{"access_token":"t0k3n"}>"#;
        let page = "failed, body=<<html>t0k3n</html>> at last";
        for (texts, expected) in [
            (
                &["outer", oauth, "400 for url (https://sts.example/v1/token)"][..],
                "outer: failed, invalid_grant: stale: 400 for url (https://sts.example/v1/token)",
            ),
            (
                &[&format!("outer {google}"), google],
                "outer a [403] error: PERMISSION_DENIED: no",
            ),
            (&[file], "cannot read `id_token`, an answer that is not shown"),
            (&[page], "failed, an answer that is not shown at last"),
            (&["plain", "plain cause"], "plain: plain cause"),
            (
                &[
                    "cannot create the authentication headers no and future attempts will not succeed",
                    "no",
                    "why",
                ],
                "no: why",
            ),
        ] {
            assert_eq!(shown(&failure(texts)), expected);
        }
    }

    #[test]
    fn names_are_shown_and_tokens_are_not() {
        let name = "replicator@a-project-of-thirty-characters.iam.gserviceaccount.com at \
                    //iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q";
        assert_eq!(masked(name), name);
        let token = "a".repeat(LONGEST);
        assert_eq!(masked(&format!("of <{token}> and {token}")), "of <***> and ***");
    }

    proptest! {
        #[test]
        fn no_message_is_too_strange_and_no_token_passes(before in ".*", after in ".*", token in "[A-Za-z0-9_.-]{64,200}") {
            let text = shown(&failure(&[&format!("{before} {token} {after}")]));
            prop_assert!(!text.contains(&token), "{}", text);
        }
    }
}
