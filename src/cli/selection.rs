//! `--table`: some of the captured tables. Those that the checkpoint knows stay captured whatever is asked for: their
//! changes would pass by unread, and nothing would say so later.

use std::collections::BTreeSet;

use super::Failure;
use super::start::failed;
use crate::config::{Config, SourceConfig, TablePatterns};
use crate::event::TableId;
use crate::source::Source;

/// Leaves of a configuration's tables those that match, and those that the checkpoint has.
///
/// # Errors
/// A pattern cannot be read, or the source is of a kind without patterns.
pub(super) fn narrow(config: &mut Config, only: &[String], known: BTreeSet<TableId>) -> Result<(), Failure> {
    match &mut config.source {
        SourceConfig::Mysql(source) => {
            let narrowed = source.tables.narrow(only, known);
            narrowed.map_err(|error| Failure::Failed {
                what: format!("--table: {error}"),
                hint: Some("write schema.table; * stands for any text, ? for one character".to_owned()),
            })
        }
        SourceConfig::Dynamodb(_) => Err(Failure::Failed {
            what: "--table is for MySQL and MariaDB".to_owned(),
            hint: Some("write the tables to load under sources[0].dynamodb.tables".to_owned()),
        }),
    }
}

/// Sees that each pattern means something, so that a name that is misspelt does not pass for a copy.
///
/// # Errors
/// One matches no captured table, or the source cannot be read.
pub(super) async fn all_are_met(source: &dyn Source, only: &[String]) -> Result<(), Failure> {
    if only.is_empty() {
        return Ok(());
    }
    let captured = source.tables(&[]).await.map_err(|error| failed(&*error))?;
    for text in only {
        let pattern = TablePatterns::parse(&[text]);
        let is_met = |pattern: &TablePatterns| captured.iter().any(|layout| pattern.matches(&layout.table));
        if !pattern.is_ok_and(|pattern| is_met(&pattern)) {
            return Err(Failure::Failed {
                what: format!("--table {text}: there is no captured table of this name"),
                hint: Some(
                    "check the spelling (names compare as written), and that sources[0].mysql.tables includes it"
                        .to_owned(),
                ),
            });
        }
    }
    Ok(())
}
