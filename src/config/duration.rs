//! Durations as text: `90s`, `15m`, `1h`, `2d`, `0`.

use std::time::Duration;

use super::validate::Rules;

/// Reads a duration; nothing if the text is not one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let unit = text.chars().next_back()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    count.checked_mul(seconds).map(Duration::from_secs)
}

/// The duration that a key has; anything else is a mistake.
pub(super) fn above_zero(key: &str, text: &str, rules: &mut Rules<'_>) -> Option<Duration> {
    let read = parse(text).filter(|duration| !duration.is_zero());
    if read.is_none() {
        let shown = rules.quote(key, text);
        let cure = "write a whole number and s, m, h or d, such as 30s";
        let what = format!("{shown} is no duration above zero");
        rules.mistakes.add(key, what, cure);
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("1h", Some(3600)),
            ("2d", Some(172_800)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("m", None),
            ("15", None),
            ("+1m", None),
            ("-1m", None),
            ("1.5h", None),
            ("1 h", None),
            ("1é", None),
            ("99999999999999999999d", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(parse(text).map(|it| it.as_secs()), seconds, "{text}");
        }
    }
}
