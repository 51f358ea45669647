//! `information_schema.COLUMNS.COLUMN_TYPE` → [`SqlType`]: a name, optionally `(…)`, then attributes.

use super::{GEOMETRIES, Labels, SqlType, TypeError};
use crate::source::mysql::address::Address;
use crate::source::mysql::charset::Charset;

/// Parses a declared type; `charset` is the column's `CHARACTER_SET_NAME`.
pub(crate) fn parse(column_type: &str, charset: Option<&str>) -> Result<SqlType, TypeError> {
    let unknown = || TypeError::Declared(column_type.to_owned());
    let (name, rest) = split_name(column_type);
    let (arguments, attributes) = split_arguments(rest).ok_or_else(unknown)?;
    // `/* mariadb-5.3 */`: another storage format than the type's own. `/*M!100301 COMPRESSED*/`, once
    // `/*!100301 COMPRESSED*/`, shows in the log, and a SELECT does not show it.
    if attributes.contains("/*") && !attributes.trim_end().ends_with("100301 COMPRESSED*/") {
        return Err(unknown());
    }
    if attributes.contains(" AS ROW ") {
        return Err(unknown());
    }
    if let Some(address) = Address::parse(column_type) {
        return Ok(SqlType::Address(address));
    }
    let words = || attributes.split_ascii_whitespace();
    let unsigned = words().any(|word| word == "unsigned" || word == "zerofill");
    if let Some(number) = number(name, arguments, unsigned) {
        return number.ok_or_else(unknown);
    }
    let digits = || fraction(arguments).ok_or_else(unknown);
    Ok(match name {
        "year" => SqlType::Year,
        "date" => SqlType::Date,
        "time" => SqlType::Time(digits()?),
        "datetime" => SqlType::DateTime(digits()?),
        "timestamp" => SqlType::Timestamp(digits()?),
        "json" => SqlType::Json,
        "vector" => SqlType::Vector(arguments.and_then(|text| text.parse().ok()).ok_or_else(unknown)?),
        "geomcollection" => SqlType::Geometry(7),
        "enum" | "set" => {
            let labels = arguments.and_then(labels).ok_or_else(unknown)?;
            let charset = known(charset)?;
            if name == "enum" {
                SqlType::Enum { labels, charset }
            } else {
                SqlType::Set { labels, charset }
            }
        }
        _ => match spatial(name) {
            Some(kind) => SqlType::Geometry(kind),
            None => string(name, arguments, charset)?.ok_or_else(unknown)?,
        },
    })
}

fn split_name(text: &str) -> (&str, &str) {
    let end = text
        .find(|letter: char| !letter.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// What stands between the parentheses, and what comes after them; `None` if they do not close. Labels
/// may hold parentheses, so quotes are followed.
fn split_arguments(rest: &str) -> Option<(Option<&str>, &str)> {
    let Some(inner) = rest.strip_prefix('(') else {
        return Some((None, rest));
    };
    let mut quoted = false;
    let mut escaped = false;
    for (at, letter) in inner.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '\'' => quoted = !quoted,
            ')' if !quoted => {
                let (arguments, close) = inner.split_at_checked(at)?;
                return Some((Some(arguments), close.strip_prefix(')')?));
            }
            _ => {}
        }
    }
    None
}

/// Numeric types; `None` for another name, `Some(None)` for arguments that do not fit.
#[expect(
    clippy::option_option,
    reason = "another type and a broken one are different answers"
)]
fn number(name: &str, arguments: Option<&str>, unsigned: bool) -> Option<Option<SqlType>> {
    let int = |bytes| Some(SqlType::Int { bytes, unsigned });
    Some(match name {
        "tinyint" => int(1),
        "smallint" => int(2),
        "mediumint" => int(3),
        "int" => int(4),
        "bigint" => int(8),
        "float" => Some(SqlType::Float { unsigned }),
        "double" => Some(SqlType::Double { unsigned }),
        "decimal" => arguments.and_then(|text| {
            let (precision, scale) = text.split_once(',')?;
            Some(SqlType::Decimal {
                precision: precision.trim().parse().ok()?,
                scale: scale.trim().parse().ok()?,
                unsigned,
            })
        }),
        "bit" => arguments.and_then(|text| text.parse().ok()).map(SqlType::Bit),
        _ => return None,
    })
}

fn fraction(arguments: Option<&str>) -> Option<u8> {
    arguments.map_or(Some(0), |text| text.parse().ok().filter(|digits| *digits <= 6))
}

fn spatial(name: &str) -> Option<u8> {
    let index = GEOMETRIES.iter().position(|known| *known == name)?;
    u8::try_from(index).ok()
}

fn known(charset: Option<&str>) -> Result<&'static Charset, TypeError> {
    let name = charset.unwrap_or("binary");
    Charset::by_name(name).ok_or_else(|| TypeError::Charset(name.to_owned()))
}

fn string(name: &str, arguments: Option<&str>, charset: Option<&str>) -> Result<Option<SqlType>, TypeError> {
    let length = || arguments.and_then(|text| text.parse().ok());
    let width = match name {
        "tinytext" | "tinyblob" => 1,
        "text" | "blob" => 2,
        "mediumtext" | "mediumblob" => 3,
        "longtext" | "longblob" => 4,
        _ => 0,
    };
    let charset = known(charset)?;
    Ok(match name {
        "char" => length().map(|length| SqlType::Char { length, charset }),
        "varchar" => length().map(|length| SqlType::VarChar { length, charset }),
        "binary" => length().map(SqlType::Binary),
        "varbinary" => length().map(SqlType::VarBinary),
        "tinytext" | "text" | "mediumtext" | "longtext" => Some(SqlType::Text { width, charset }),
        "tinyblob" | "blob" | "mediumblob" | "longblob" => Some(SqlType::Blob(width)),
        _ => None,
    })
}

/// `'a','b''c'`: quotes are doubled; NUL, line ends and the backslash are escaped by a backslash.
fn labels(text: &str) -> Option<Labels> {
    let mut labels: Vec<Box<str>> = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        if letters.next()? != '\'' {
            return None;
        }
        let mut label = String::new();
        loop {
            match letters.next()? {
                '\'' if letters.next_if_eq(&'\'').is_some() => label.push('\''),
                '\'' => break,
                '\\' => label.push(match letters.next()? {
                    '0' => '\0',
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                }),
                other => label.push(other),
            }
        }
        labels.push(label.into());
        match letters.next() {
            None => return Some(labels.into()),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}
