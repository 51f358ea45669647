//! Logs of servers that cannot be had for a test, written byte by byte from the documented formats, and what is read of them.

use std::fmt::Write as _;

use bytes::Bytes;

use super::super::catalog::{CatalogColumn, CatalogTable};
use super::super::dump::Messages;
use super::super::lexer::Dialect;
use super::super::server::Flavour;
use super::assemble::{Assembler, Out};
use super::take;
use crate::config::TablePatterns;
use crate::event::{
    CellVisitor, ColumnName, Epoch, GlobalId, GtidSet, Item, Op, RowChanges, RowError, RowRef, TableId, Value,
};

/// The events of a log: below each heading bytes in hex, behind each `#` what they are.
fn events(text: &str) -> Vec<Bytes> {
    let mut events: Vec<Vec<u8>> = Vec::new();
    for line in text.lines() {
        if line.starts_with("##") {
            events.push(Vec::new());
            continue;
        }
        let bytes = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace();
        if let Some(event) = events.last_mut() {
            event.extend(bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
        }
    }
    events.into_iter().map(Bytes::from).collect()
}

/// Cells as text.
struct Cells(String);

impl CellVisitor for Cells {
    fn cell(&mut self, _: usize, value: Value<'_>) -> Result<(), RowError> {
        let comma = if self.0.is_empty() { "" } else { ", " };
        write!(self.0, "{comma}{value:?}").unwrap();
        Ok(())
    }
}

fn row(changes: &RowChanges, row: RowRef) -> String {
    let mut cells = Cells(String::new());
    changes.images.visit(row, &mut cells).unwrap();
    cells.0
}

fn told(item: Item, into: &mut String) {
    match item {
        Item::Rows(changes) => {
            for change in &changes.changes {
                let (table, ordinal) = (&changes.layout.table, change.ordinal.0);
                match &change.op {
                    Op::Insert { after } => writeln!(into, "{table} {ordinal} + {}", row(&changes, *after)),
                    Op::Delete { before } => writeln!(into, "{table} {ordinal} - {}", row(&changes, *before)),
                    Op::Update { before, after, .. } => {
                        let (before, after) = (row(&changes, *before), row(&changes, *after));
                        writeln!(into, "{table} {ordinal} - {before}\n{table} {ordinal} + {after}")
                    }
                }
                .unwrap();
            }
        }
        Item::Commit(point) => {
            let at = point.next.coord;
            write!(into, "commit {}:{}", at.file, at.offset).unwrap();
            for said in [
                point.gtid.map(|gtid| match gtid {
                    GlobalId::Gtid(gtid) => gtid.to_string(),
                    GlobalId::Domain(gtid) => format!("{gtid:?}"),
                }),
                point.committed_micros.map(|micros| micros.to_string()),
                point.executed.map(|executed| executed.to_string()),
            ] {
                write!(into, " {}", said.as_deref().unwrap_or("-")).unwrap();
            }
            into.push('\n');
        }
        Item::Break(found) => writeln!(into, "{found:?}").unwrap(),
        Item::Ddl(found) => writeln!(into, "{found:?}").unwrap(),
    }
}

/// What a log means, a line each.
fn read(text: &str, version: u32, catalog: Vec<CatalogTable>) -> String {
    let patterns = TablePatterns::parse(&["shop.*"]).unwrap();
    let dialect = Dialect {
        flavour: Flavour::Mysql,
        version,
        ansi_quotes: false,
        no_backslash_escapes: false,
        fold_names: false,
    };
    let known = (catalog, Vec::new());
    let mut assembler = Assembler::new(Epoch(1), patterns, dialect, known, GtidSet::default());
    let (mut messages, mut told_all, mut out) = (Messages::default(), String::new(), Vec::new());
    for event in events(text) {
        let event = messages.event(event).unwrap();
        take(&mut assembler, &event, &mut out).unwrap();
        for out in out.drain(..) {
            match out {
                Out::Item(item) => told(item, &mut told_all),
                Out::Altered(_) | Out::Replay(_) => told_all.push_str("not expected\n"),
            }
        }
    }
    told_all
}

fn table(name: &str, columns: &[(&str, &str, Option<&str>)]) -> CatalogTable {
    let column = |(index, (name, column_type, charset)): (usize, &(&str, &str, Option<&str>))| {
        let word = |letter: char| !letter.is_ascii_alphabetic();
        CatalogColumn {
            name: ColumnName::new(*name),
            column_type: (*column_type).to_owned(),
            data_type: column_type.split(word).next().unwrap().to_owned(),
            charset: charset.map(str::to_owned),
            collation: charset.map(|charset| format!("{charset}_general_ci")),
            nullable: index > 0,
            key: (index == 0).then_some(0),
            generated: false,
            invisible: false,
        }
    };
    CatalogTable {
        id: TableId::new("shop", name),
        columns: columns.iter().enumerate().map(column).collect(),
    }
}

#[test]
fn mysql_5_7() {
    let types = table(
        "types",
        &[
            ("id", "int(10) unsigned", None),
            ("tiny", "tinyint(4)", None),
            ("name", "varchar(20)", Some("utf8")),
            ("code", "char(4)", Some("latin1")),
            ("price", "decimal(10,2)", None),
            ("at", "datetime(3)", None),
            ("seen", "timestamp", None),
            ("lasts", "time(3)", None),
            ("day", "date", None),
            ("year", "year(4)", None),
            ("ratio", "double", None),
            ("share", "float", None),
            ("doc", "json", None),
            ("data", "blob", None),
            ("bits", "bit(10)", None),
            ("kind", "enum('a','b')", Some("latin1")),
            ("tags", "set('x','y','z')", Some("latin1")),
            ("text", "text", Some("utf8")),
        ],
    );
    let read = read(include_str!("golden/mysql_5_7.txt"), 50_744, vec![types]);
    assert_eq!(read, include_str!("golden/mysql_5_7.read"));
}

#[test]
fn aurora_2_without_gtids() {
    let pairs = table(
        "pairs",
        &[
            ("id", "bigint(20)", None),
            ("note", "varchar(20)", Some("utf8mb4")),
        ],
    );
    let read = read(include_str!("golden/aurora_2.txt"), 50_712, vec![pairs]);
    assert_eq!(read, include_str!("golden/aurora_2.read"));
}

#[test]
fn mysql_8_0_and_aurora_3() {
    let read = read(include_str!("golden/mysql_8_0.txt"), 80_035, Vec::new());
    assert_eq!(read, include_str!("golden/mysql_8_0.read"));
}

/// A log that is cut short anywhere is an error or less of the same, and never a panic.
#[test]
fn a_log_that_is_cut_off_anywhere_does_not_panic() {
    for text in [
        include_str!("golden/mysql_5_7.txt"),
        include_str!("golden/aurora_2.txt"),
        include_str!("golden/mysql_8_0.txt"),
    ] {
        for event in events(text) {
            for end in 0..event.len() {
                let cut = Messages::default().event(event.slice(..end));
                assert!(cut.is_err(), "its size is in its header");
            }
        }
    }
}
