//! `OPTIONS(name = value, …)` of DDL statements.

use std::collections::BTreeMap;

use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::ddl_parser::{word, words};
use super::syntax;
use crate::emulator::civil;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::store::alter::OptionsPatch;

/// The options of a statement.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) location: Option<String>,
    pub(super) patch: OptionsPatch,
}

/// Reads the parenthesized list after OPTIONS.
pub(super) fn options(parser: &mut Parser<'_>) -> ApiResult<Options> {
    let mut options = Options::default();
    parser.expect_token(&Token::LParen).map_err(syntax)?;
    while !parser.consume_token(&Token::RParen) {
        let name = parser
            .parse_identifier()
            .map_err(syntax)?
            .value
            .to_ascii_lowercase();
        parser.expect_token(&Token::Eq).map_err(syntax)?;
        option(parser, &name, &mut options)?;
        if parser.peek_token().token != Token::RParen {
            parser.expect_token(&Token::Comma).map_err(syntax)?;
        }
    }
    Ok(options)
}

fn option(parser: &mut Parser<'_>, name: &str, options: &mut Options) -> ApiResult<()> {
    let is_null = words(parser, &["NULL"]);
    let patch = &mut options.patch;
    match name {
        "location" => options.location = Some(literal(parser)?),
        "description" if is_null => patch.description = Some(None),
        "description" => patch.description = Some(Some(literal(parser)?)),
        "friendly_name" if is_null => patch.friendly_name = Some(None),
        "friendly_name" => patch.friendly_name = Some(Some(literal(parser)?)),
        "labels" => patch.labels = Some(if is_null { BTreeMap::new() } else { labels(parser)? }),
        "max_staleness" if is_null => patch.max_staleness = Some(None),
        "max_staleness" => patch.max_staleness = Some(Some(interval(parser)?)),
        "require_partition_filter" if is_null => patch.require_partition_filter = Some(None),
        "require_partition_filter" => match word(parser).as_str() {
            "TRUE" => patch.require_partition_filter = Some(Some(true)),
            "FALSE" => patch.require_partition_filter = Some(Some(false)),
            _ => return Err(ApiError::query("require_partition_filter is true or false")),
        },
        "expiration_timestamp" if is_null => patch.expiration_ms = Some(None),
        "expiration_timestamp" => {
            words(parser, &["TIMESTAMP"]);
            let text = literal(parser)?;
            let micros = civil::parse_timestamp(&text);
            let micros = micros.ok_or_else(|| ApiError::query(format!("Invalid TIMESTAMP: {text}")))?;
            patch.expiration_ms = Some(Some(micros.div_euclid(1_000)));
        }
        other => return Err(ApiError::query(format!("Unknown option: {other}"))),
    }
    Ok(())
}

fn literal(parser: &mut Parser<'_>) -> ApiResult<String> {
    parser.parse_literal_string().map_err(syntax)
}

/// `[("key", "value"), …]`.
fn labels(parser: &mut Parser<'_>) -> ApiResult<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    parser.expect_token(&Token::LBracket).map_err(syntax)?;
    while !parser.consume_token(&Token::RBracket) {
        words(parser, &["STRUCT"]);
        parser.expect_token(&Token::LParen).map_err(syntax)?;
        let key = literal(parser)?;
        parser.expect_token(&Token::Comma).map_err(syntax)?;
        labels.insert(key, literal(parser)?);
        parser.expect_token(&Token::RParen).map_err(syntax)?;
        if parser.peek_token().token != Token::RBracket {
            parser.expect_token(&Token::Comma).map_err(syntax)?;
        }
    }
    Ok(labels)
}

/// `INTERVAL n UNIT` or `INTERVAL 'literal' UNIT TO UNIT`: the canonical text.
fn interval(parser: &mut Parser<'_>) -> ApiResult<String> {
    let bad = |text: &str| ApiError::query(format!("Invalid INTERVAL: {text}"));
    if !words(parser, &["INTERVAL"]) {
        return Err(ApiError::query("max_staleness must be an INTERVAL"));
    }
    let is_negative = parser.consume_token(&Token::Minus);
    let next = parser.next_token().token;
    let (Token::Number(text, _) | Token::SingleQuotedString(text) | Token::DoubleQuotedString(text)) = next
    else {
        return Err(bad(&next.to_string()));
    };
    let unit = word(parser);
    if words(parser, &["TO"]) {
        let last = word(parser);
        let whole = match (unit.as_str(), last.as_str()) {
            ("YEAR", "SECOND") => text.clone(),
            ("DAY", "SECOND") => format!("0-0 {text}"),
            ("HOUR", "SECOND") => format!("0-0 0 {text}"),
            ("HOUR", "MINUTE") => format!("0-0 0 {text}:0"),
            ("MINUTE", "SECOND") => format!("0-0 0 0:{text}"),
            _ => return Err(bad(&format!("{unit} TO {last}"))),
        };
        return civil::parse_interval(&whole).ok_or_else(|| bad(&text));
    }
    let count: i64 = text.parse().map_err(|_| bad(&text))?;
    let count = if is_negative { -count } else { count };
    let times = |factor: i64| count.checked_mul(factor).ok_or_else(|| bad(&text));
    let canonical = match unit.as_str() {
        "YEAR" => civil::interval_text(times(12)?, 0, 0),
        "QUARTER" => civil::interval_text(times(3)?, 0, 0),
        "MONTH" => civil::interval_text(count, 0, 0),
        "WEEK" => civil::interval_text(0, times(7)?, 0),
        "DAY" => civil::interval_text(0, count, 0),
        "HOUR" => civil::interval_text(0, 0, times(3_600_000_000)?),
        "MINUTE" => civil::interval_text(0, 0, times(60_000_000)?),
        "SECOND" => civil::interval_text(0, 0, times(1_000_000)?),
        _ => None,
    };
    canonical.ok_or_else(|| bad(&format!("{text} {unit}")))
}
