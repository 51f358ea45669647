//! Every parser of bytes that come from outside, each behind one function of bytes. Whatever the bytes are, none of
//! them panics, and what it makes of them keeps a few promises. `fuzz/` runs them with bytes of its choice, the tests with
//! its corpus, cut off everywhere and changed at random. Not part of a build for users.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::compressed::{EventPart, inflate_value};
use super::ddl::{self, Statement};
use super::decimal;
use super::decoder::Decoder;
use super::dump::Messages;
use super::jsonb;
use super::lexer::Dialect;
use super::query_event::QueryEvent;
use super::rows::{RowsAt, RowsKind, decode_rows};
use super::server::Flavour;
use super::stream::assemble::{Assembler, Out};
use super::stream::{raw::kind, take};
use super::table_map::TableMap;
use crate::config::{self, TablePatterns};
use crate::event::{
    BinlogCoord, CellVisitor, Epoch, GtidSet, Item, Op, RowChanges, RowError, RowRef, TxnStart, Value, Xid,
};

/// A parser, by the name of its corpus. Gives `None` for bytes that it refuses.
pub type Target = (&'static str, fn(&[u8]) -> Option<()>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("compressed", compressed),
    ("config", configuration),
    ("ddl", statement),
    ("decimal", decimals),
    ("differences", differences),
    ("events", events),
    ("gtid_set", gtid_sets),
    ("jsonb", document),
    ("payload", payload),
    ("query", query),
    ("rows", rows),
    ("table_map", table_map),
];

/// Bytes of an event's header.
const HEADER: usize = 19;

fn flavour(byte: u8) -> Flavour {
    match byte & 0x80 {
        0 => Flavour::Mysql,
        _ => Flavour::MariaDb,
    }
}

fn dialect(byte: u8) -> Dialect {
    Dialect {
        flavour: flavour(byte),
        version: 80_406,
        ansi_quotes: byte & 1 != 0,
        no_backslash_escapes: byte & 2 != 0,
        fold_names: byte & 4 != 0,
    }
}

/// A length of two bytes, so many bytes, and what follows.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}

/// A log: a byte of options, then events one behind the other, of tables of a schema `s`.
fn events(bytes: &[u8]) -> Option<()> {
    let (options, mut rest) = bytes.split_first()?;
    let patterns = TablePatterns::parse(&["s.*"]).ok()?;
    let known = (Vec::new(), Vec::new());
    let mut assembler = Assembler::new(Epoch(1), patterns, dialect(*options), known, GtidSet::default());
    let mut messages = Messages::default();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let size = rest.get(9..13)?.iter().rev();
        let size = size.fold(0, |size, byte| size << 8 | usize::from(*byte));
        let (whole, after) = rest.split_at_checked(size.max(1))?;
        rest = after;
        let mut next = Some(messages.event(Bytes::copy_from_slice(whole)).ok()?);
        while let Some(event) = next {
            take(&mut assembler, &event, &mut out).ok()?;
            for one in out.drain(..) {
                if let Out::Item(Item::Rows(changes)) = one {
                    visit(&changes);
                }
            }
            next = messages.inside().ok()?;
        }
    }
    Some(())
}

/// A compressed transaction: the body of its event.
fn payload(bytes: &[u8]) -> Option<()> {
    let mut whole = vec![0; HEADER];
    whole.extend_from_slice(bytes);
    let size = u32::try_from(whole.len()).ok()?.to_le_bytes();
    let (header, _body) = whole.split_first_chunk_mut::<HEADER>()?;
    header[4] = kind::TRANSACTION_PAYLOAD;
    header[9..13].copy_from_slice(&size);
    let mut messages = Messages::default();
    messages.event(whole.into()).ok()?;
    while messages.inside().ok()?.is_some() {}
    Some(())
}

/// A byte that says which, then the part of an event that MariaDB compressed, or a value of a compressed column.
fn compressed(bytes: &[u8]) -> Option<()> {
    let (which, bytes) = bytes.split_first()?;
    let mut out = Vec::new();
    if which & 1 == 0 {
        return inflate_value(bytes, &mut out);
    }
    let part = EventPart::parse(bytes)?;
    part.inflate(&mut out)?;
    assert_eq!(u64::try_from(out.len()).ok(), Some(part.size));
    Some(())
}

/// The body of a TABLE_MAP event, behind a byte of options.
fn table_map(bytes: &[u8]) -> Option<()> {
    let (options, body) = bytes.split_first()?;
    let body = Bytes::copy_from_slice(body);
    let map = TableMap::parse(&body, flavour(*options)).ok()?;
    assert!(map.same_as(&body));
    let decoder = Decoder::from_table_map(&map, None).ok()?;
    assert_eq!(decoder.layout().columns.len(), map.column_count());
    Some(())
}

/// A rows event: a byte of its type, the body of a table map behind its length, the body of the rows event.
fn rows(bytes: &[u8]) -> Option<()> {
    let (options, rest) = bytes.split_first()?;
    let (map, body) = split(rest)?;
    let map = TableMap::parse(&Bytes::copy_from_slice(map), flavour(*options)).ok()?;
    let decoder = Arc::new(Decoder::from_table_map(&map, None).ok()?);
    let at = RowsAt {
        txn: TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord::file_start(1),
        },
        first_ordinal: 1,
        committed_micros: 0,
    };
    let (kind, length) = (RowsKind::of(options & 0x7f)?, body.len());
    let (changes, next) = decode_rows(&decoder, kind, Bytes::copy_from_slice(body), at).ok()?;
    assert!(usize::try_from(next).is_ok_and(|next| next <= length + 1));
    visit(&changes);
    Some(())
}

/// Walks every row; numbers rise.
fn visit(changes: &RowChanges) {
    let mut last = None;
    for change in &changes.changes {
        assert!(last < Some(change.ordinal.0), "numbers rise");
        last = Some(change.ordinal.0);
        let rows: &[RowRef] = match &change.op {
            Op::Insert { after } => &[*after],
            Op::Delete { before } => &[*before],
            Op::Update { before, after, .. } => &[*before, *after],
        };
        for row in rows {
            let mut cells = Cells { next: 0 };
            if changes.images.visit(*row, &mut cells).is_ok() {
                assert_eq!(cells.next, changes.layout.columns.len());
            }
        }
    }
}

struct Cells {
    next: usize,
}

impl CellVisitor for Cells {
    fn cell(&mut self, column: usize, value: Value<'_>) -> Result<(), RowError> {
        assert_eq!(column, self.next, "cells come in order");
        self.next += 1;
        if let Value::Json(text) = value {
            is_json(text);
        }
        Ok(())
    }
}

/// The text is JSON, or nested deeper than its reader goes.
fn is_json(text: &str) {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        assert!(error.to_string().contains("recursion"), "{error}: {text}");
    }
}

/// A document in binary JSON.
fn document(bytes: &[u8]) -> Option<()> {
    let mut out = String::new();
    jsonb::write_text(bytes, &mut out).ok()?;
    is_json(&out);
    Some(())
}

/// A document behind its length, and differences from it.
fn differences(bytes: &[u8]) -> Option<()> {
    let (document, differences) = split(bytes)?;
    let mut out = String::new();
    jsonb::diff::apply(document, differences, &mut out).ok()?;
    is_json(&out);
    Some(())
}

/// Precision less one, scale, and a number of those; then text of one.
fn decimals(bytes: &[u8]) -> Option<()> {
    let ([precision, scale], rest) = bytes.split_first_chunk::<2>()?;
    let precision = precision % 81 + 1;
    let scale = scale % (precision + 1);
    let width = usize::from(decimal::width(precision, scale));
    let (number, rest) = rest.split_at_checked(width)?;
    let text = std::str::from_utf8(rest).ok()?;
    let _unscaled = decimal::unscaled_text(text, scale);
    let (mut normal, mut again) = (String::new(), String::new());
    if decimal::normal_text(text, &mut normal).is_some() {
        assert!(decimal::normal_text(&normal, &mut again).is_some() && again == normal);
    }
    let mut shown = String::new();
    decimal::text(number, precision, scale, &mut shown)?;
    if precision <= decimal::I128_DIGITS {
        let unscaled = decimal::unscaled(number, precision, scale);
        assert_eq!(decimal::unscaled_text(&shown, scale), unscaled, "{shown}");
    }
    Some(())
}

/// Two sets, a `|` between them.
fn gtid_sets(bytes: &[u8]) -> Option<()> {
    let (one, other) = std::str::from_utf8(bytes).ok()?.split_once('|')?;
    let (one, other) = (one.parse::<GtidSet>().ok()?, other.parse::<GtidSet>().ok()?);
    assert_eq!(one.to_string().parse::<GtidSet>().as_ref(), Ok(&one));
    let mut both = one.clone();
    both.union(&other);
    assert!(one.is_subset(&both) && other.is_subset(&both));
    let mut rest = both.subtract(&other);
    assert!(rest.is_subset(&one) && rest.intersect(&other).is_empty());
    rest.union(&other);
    assert_eq!(rest, both);
    Some(())
}

/// The body of a Query event, behind a byte of options.
fn query(bytes: &[u8]) -> Option<()> {
    let (options, body) = bytes.split_first()?;
    let query = QueryEvent::parse(&Bytes::copy_from_slice(body)).ok()?;
    let dialect = dialect(*options).with_sql_mode(query.sql_mode);
    let _statement = ddl::classify(&query.text()?, &query.schema, dialect);
    Some(())
}

/// A statement's text, behind a byte of options.
fn statement(bytes: &[u8]) -> Option<()> {
    let (options, text) = bytes.split_first()?;
    let text = String::from_utf8_lossy(text);
    let _xid = Xid::parse(&text);
    let statement = ddl::classify(&text, "s", dialect(*options));
    (statement != Statement::Unrecognised).then_some(())
}

/// A configuration.
fn configuration(bytes: &[u8]) -> Option<()> {
    let text = std::str::from_utf8(bytes).ok()?;
    // What files there are on the machine is not the text's.
    if text.contains("{file:") {
        return None;
    }
    config::parse(text, &|_| None).ok().map(|_| ())
}

#[cfg(test)]
mod tests;
