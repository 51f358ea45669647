//! Attribute values: what is let in, in which form it is kept, how large it counts.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::errors::Refusal;

/// An item: attribute names and typed values.
pub(crate) type Item = Map<String, Value>;

/// The most an item may count.
const ITEM_BYTES: usize = 400 * 1024;
/// How deep lists and maps go.
const DEPTH: usize = 32;

/// An item in the form in which it is kept: numbers normalised, sets sorted.
pub(crate) fn item(given: &Value) -> Result<Item, Refusal> {
    let given = given
        .as_object()
        .ok_or_else(|| Refusal::protocol("SerializationException", "Expected a map of attributes"))?;
    let mut kept = Item::new();
    for (name, value) in given {
        kept.insert(name.clone(), attribute(value, 1)?);
    }
    if size(&kept) > ITEM_BYTES {
        return Err(Refusal::validation(
            "Item size has exceeded the maximum allowed size",
        ));
    }
    Ok(kept)
}

/// One value in the form in which it is kept.
pub(crate) fn attribute(given: &Value, depth: usize) -> Result<Value, Refusal> {
    if depth > DEPTH {
        return Err(Refusal::validation(
            "Nesting Levels have exceeded supported limits: Attributes have nested levels beyond supported limit",
        ));
    }
    let members = given
        .as_object()
        .ok_or_else(|| Refusal::protocol("SerializationException", "Expected a typed attribute value"))?;
    let mut members = members.iter();
    let Some((kind, value)) = members.next() else {
        return Err(Refusal::validation(
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        ));
    };
    if members.next().is_some() {
        return Err(Refusal::validation(
            "Supplied AttributeValue has more than one datatypes set, \
             must contain exactly one of the supported datatypes",
        ));
    }
    let kept = match kind.as_str() {
        "S" | "N" | "B" => json!(scalar(kind, value)?),
        "BOOL" => json!(value.as_bool().ok_or_else(wrong)?),
        "NULL" if value.as_bool() == Some(true) => json!(true),
        "NULL" => {
            return Err(Refusal::validation(
                "One or more parameter values were invalid: Null attribute value types must have the value of true",
            ));
        }
        "SS" | "NS" | "BS" => json!(set(kind, value)?),
        "L" => {
            let list = value.as_array().ok_or_else(wrong)?;
            let kept: Result<Vec<Value>, Refusal> =
                list.iter().map(|member| attribute(member, depth + 1)).collect();
            Value::Array(kept?)
        }
        "M" => {
            let mut kept = Item::new();
            for (name, member) in value.as_object().ok_or_else(wrong)? {
                kept.insert(name.clone(), attribute(member, depth + 1)?);
            }
            Value::Object(kept)
        }
        _ => {
            return Err(Refusal::validation(
                "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
            ));
        }
    };
    Ok(Value::Object(Map::from_iter([(kind.clone(), kept)])))
}

fn wrong() -> Refusal {
    Refusal::protocol("SerializationException", "Unexpected value type in payload")
}

fn scalar(kind: &str, value: &Value) -> Result<String, Refusal> {
    let text = value.as_str().ok_or_else(wrong)?;
    match kind {
        "N" => number(text),
        "B" => {
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| Refusal::protocol("SerializationException", "Invalid Base64"))?;
            Ok(STANDARD.encode(bytes))
        }
        _ => Ok(text.to_owned()),
    }
}

fn set(kind: &str, value: &Value) -> Result<Vec<String>, Refusal> {
    let members = value.as_array().ok_or_else(wrong)?;
    if members.is_empty() {
        let name = match kind {
            "SS" => "An string set  may not be empty",
            "NS" => "An number set  may not be empty",
            _ => "Binary sets should not be empty",
        };
        return Err(Refusal::validation(format!(
            "One or more parameter values were invalid: {name}"
        )));
    }
    let scalar_kind = kind.trim_end_matches('S');
    let scalar_kind = if scalar_kind.is_empty() { "S" } else { scalar_kind };
    let kept: Result<Vec<String>, Refusal> =
        members.iter().map(|member| scalar(scalar_kind, member)).collect();
    let mut kept = kept?;
    kept.sort_by_cached_key(|member| sort_form(scalar_kind, member));
    if kept.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refusal::validation(format!(
            "One or more parameter values were invalid: Input collection [{}] contains duplicates.",
            kept.join(", ")
        )));
    }
    Ok(kept)
}

/// A number taken apart: the sign, the power of ten of its first digit, its digits.
struct Parts {
    negative: bool,
    power: i64,
    digits: String,
}

fn parts(text: &str) -> Result<Parts, Refusal> {
    let none = || {
        let shown = format!("The parameter cannot be converted to a numeric value: {text}");
        Refusal::validation(if text.is_empty() {
            "The parameter cannot be converted to a numeric value".to_owned()
        } else {
            shown
        })
    };
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| none())?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(none());
    }
    let significant = digits.trim_start_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).map_err(|_| none())?;
    let whole = i64::try_from(whole.len()).map_err(|_| none())?;
    let digits = significant.trim_end_matches('0').to_owned();
    Ok(Parts {
        negative: negative && !digits.is_empty(),
        power: whole - zeros - 1 + i64::from(exponent),
        digits,
    })
}

/// A number in plain decimal digits without needless zeros; refused beyond 38 digits and the range.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>
pub(crate) fn number(text: &str) -> Result<String, Refusal> {
    let Parts {
        negative,
        power,
        digits,
    } = parts(text)?;
    if digits.is_empty() {
        return Ok("0".to_owned());
    }
    if digits.len() > 38 {
        return Err(Refusal::validation(
            "Attempting to store more than 38 significant digits in a Number",
        ));
    }
    if power > 125 {
        return Err(Refusal::validation(
            "Number overflow. Attempting to store a number with magnitude larger than supported range",
        ));
    }
    if power < -130 {
        return Err(Refusal::validation(
            "Number underflow. Attempting to store a number with magnitude smaller than supported range",
        ));
    }
    let sign = if negative { "-" } else { "" };
    let Ok(whole) = usize::try_from(power + 1) else {
        let zeros = usize::try_from(-power - 1).unwrap_or(0);
        return Ok(format!("{sign}0.{}{digits}", "0".repeat(zeros)));
    };
    if whole == 0 {
        return Ok(format!("{sign}0.{digits}"));
    }
    if digits.len() <= whole {
        return Ok(format!("{sign}{digits}{}", "0".repeat(whole - digits.len())));
    }
    let (before, after) = digits.split_at(whole);
    Ok(format!("{sign}{before}.{after}"))
}

/// A text that sorts as the scalar does.
pub(crate) fn sort_form(kind: &str, text: &str) -> String {
    match kind {
        "N" => number_form(text),
        "B" => STANDARD
            .decode(text)
            .unwrap_or_default()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        _ => text.to_owned(),
    }
}

fn number_form(text: &str) -> String {
    let Ok(parts) = parts(text) else {
        return text.to_owned();
    };
    if parts.digits.is_empty() {
        return "1".to_owned();
    }
    if !parts.negative {
        return format!("2{:04}{}", parts.power + 500, parts.digits);
    }
    let turned: String = parts
        .digits
        .bytes()
        .map(|digit| char::from(b'9' - digit + b'0'))
        .collect();
    format!("0{:04}{turned}~", 9_000 - parts.power)
}

/// The type and the text of a scalar.
pub(crate) fn typed(value: &Value) -> Option<(&str, &str)> {
    let (kind, value) = value.as_object()?.iter().next()?;
    Some((kind, value.as_str()?))
}

/// How two scalars of one type compare.
pub(crate) fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    let ((kind, one), (other_kind, other)) = (typed(one)?, typed(other)?);
    (kind == other_kind).then(|| sort_form(kind, one).cmp(&sort_form(kind, other)))
}

/// What an item counts: names and values.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
pub(crate) fn size(item: &Item) -> usize {
    item.iter()
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

fn value_size(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else {
        return 0;
    };
    let texts = || {
        let members = value.as_array().into_iter().flatten();
        members.filter_map(Value::as_str)
    };
    match kind.as_str() {
        "S" => value.as_str().map_or(0, str::len),
        "N" => value.as_str().map_or(0, number_size),
        "B" => value.as_str().map_or(0, |text| text.len() / 4 * 3),
        "SS" => texts().map(str::len).sum(),
        "NS" => texts().map(number_size).sum(),
        "BS" => texts().map(|text| text.len() / 4 * 3).sum(),
        "L" => {
            let members = value.as_array().into_iter().flatten();
            3 + members.map(|member| 1 + value_size(member)).sum::<usize>()
        }
        "M" => {
            let members = value.as_object().into_iter().flatten();
            3 + members
                .map(|(name, member)| 1 + name.len() + value_size(member))
                .sum::<usize>()
        }
        _ => 1,
    }
}

fn number_size(text: &str) -> usize {
    parts(text).map_or(0, |parts| {
        parts.digits.len().div_ceil(2) + 1 + usize::from(parts.negative)
    })
}
