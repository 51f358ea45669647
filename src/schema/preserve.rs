//! Whether a column that got another type still has the values it had. Where that cannot be told for
//! certain the answer is no, and the rows are read again.

use crate::event::{Column, ColumnType};

/// Whether every value that a column may have had is the same value under its new type.
pub(super) fn keeps_values(before: &Column, after: &Column) -> bool {
    if before.nullable && !after.nullable {
        // Without strict mode NULLs became zeros and empty strings.
        return false;
    }
    if before.declared == after.declared {
        return true;
    }
    match (before.kind, after.kind) {
        (ColumnType::Int64 | ColumnType::UInt64, ColumnType::Int64 | ColumnType::UInt64) => {
            integers(&before.declared, &after.declared)
        }
        (
            ColumnType::Decimal {
                precision: old,
                scale: old_scale,
            },
            ColumnType::Decimal { precision, scale },
        ) => {
            let whole = |precision: u8, scale: u8| precision.saturating_sub(scale);
            whole(old, old_scale) <= whole(precision, scale)
                && old_scale <= scale
                && unsigned(&before.declared) == unsigned(&after.declared)
        }
        (ColumnType::Text, ColumnType::Text) => texts(&before.declared, &after.declared),
        _ => false,
    }
}

fn unsigned(declared: &str) -> bool {
    declared.contains("unsigned")
}

/// Bits of an integer type, by its name.
fn bits(declared: &str) -> Option<u32> {
    let name: String = declared
        .chars()
        .take_while(|letter| letter.is_ascii_alphabetic())
        .collect();
    Some(match name.as_str() {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" => 32,
        "bigint" => 64,
        _ => return None,
    })
}

fn integers(before: &str, after: &str) -> bool {
    match (bits(before), bits(after)) {
        (Some(old), Some(new)) => match (unsigned(before), unsigned(after)) {
            (false, false) | (true, true) => old <= new,
            (true, false) => old < new,
            (false, true) => false,
        },
        _ => false,
    }
}

/// A text type's name, the number behind it and what follows: `varchar`, 20, ` latin1`.
fn parts(declared: &str) -> Option<(&str, u64, &str)> {
    let (name, rest) = declared.split_once('(')?;
    let (length, rest) = rest.split_once(')')?;
    Some((name, length.parse().ok()?, rest))
}

/// The same kind of text, at least as long, in the same character set or in one that holds every character.
fn texts(before: &str, after: &str) -> bool {
    let (Some((old, old_length, old_rest)), Some((new, length, rest))) = (parts(before), parts(after)) else {
        return false;
    };
    old == new && old == "varchar" && old_length <= length && (old_rest == rest || rest.contains("utf8mb4"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ColumnName;

    fn column(declared: &str, kind: ColumnType) -> Column {
        Column {
            name: ColumnName::new("c"),
            kind,
            declared: declared.to_owned(),
            nullable: true,
            key: None,
        }
    }

    #[test]
    fn integers_keep_their_values_where_the_new_range_holds_the_old_one() {
        for (before, after, keeps) in [
            ("int", "bigint", true),
            ("int(11)", "bigint(20)", true),
            ("int unsigned", "bigint", true),
            ("int unsigned", "bigint unsigned", true),
            ("bigint unsigned", "bigint", false),
            ("int", "int unsigned", false),
            ("bigint", "int", false),
            ("year", "int", false),
        ] {
            let (before, after) = (
                column(before, ColumnType::Int64),
                column(after, ColumnType::Int64),
            );
            assert_eq!(
                keeps_values(&before, &after),
                keeps,
                "{} {}",
                before.declared,
                after.declared
            );
        }
    }

    #[test]
    fn texts_and_decimals_keep_their_values_where_they_grow() {
        let text = |declared| column(declared, ColumnType::Text);
        assert!(keeps_values(
            &text("varchar(10) latin1"),
            &text("varchar(20) latin1")
        ));
        assert!(keeps_values(
            &text("varchar(10) latin1"),
            &text("varchar(10) utf8mb4")
        ));
        assert!(!keeps_values(
            &text("varchar(10) utf8mb4"),
            &text("varchar(10) latin1")
        ));
        assert!(!keeps_values(&text("varchar(20)"), &text("varchar(10)")));
        assert!(!keeps_values(&text("char(5)"), &text("char(9)")));
        let decimal = |precision, scale| column("decimal", ColumnType::Decimal { precision, scale });
        let declared = |mut column: Column, text: &str| {
            column.declared = text.to_owned();
            column
        };
        let old = declared(decimal(10, 2), "decimal(10,2)");
        assert!(keeps_values(&old, &declared(decimal(12, 4), "decimal(12,4)")));
        assert!(!keeps_values(&old, &declared(decimal(10, 4), "decimal(10,4)")));
        assert!(!keeps_values(&old, &declared(decimal(12, 1), "decimal(12,1)")));
    }

    #[test]
    fn a_column_that_must_not_be_null_any_more_may_have_lost_its_nulls() {
        let before = column("int", ColumnType::Int64);
        let after = Column {
            nullable: false,
            ..before.clone()
        };
        assert!(!keeps_values(&before, &after));
        assert!(keeps_values(&after, &before));
    }
}
