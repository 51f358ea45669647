//! How findings name users and tables.

use super::Facts;
use crate::event::TableId;
use crate::source::mysql::quoting::quoted_account;

/// Names shown of a long list.
const SHOWN: usize = 20;

/// Tables by name.
pub(super) fn names<'a>(tables: impl Iterator<Item = &'a TableId>) -> String {
    let names: Vec<String> = tables.map(TableId::to_string).collect();
    shortened(&names)
}

/// The first of many.
pub(super) fn shortened(names: &[String]) -> String {
    let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// The patterns that leave tables out, as the configuration has them.
pub(super) fn excluded(tables: &[&TableId]) -> String {
    let patterns: Vec<String> = tables.iter().map(|table| format!("\"!{table}\"")).collect();
    patterns.join(", ")
}

/// The connected user, as statements name it.
pub(super) fn account(facts: &Facts) -> String {
    quoted_account(&facts.grants.account).unwrap_or_else(|| "the replicator's user".to_owned())
}
