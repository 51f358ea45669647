use bytes::Bytes;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::TablePatterns;
use crate::event::{BinlogCoord, Epoch, Op, OrderKey};
use crate::source::mysql::lexer::Dialect;
use crate::source::mysql::server::Flavour;

/// A log that is written and read at the same time.
struct Log {
    reader: Assembler,
    end: u32,
    out: Vec<Out>,
}

const TIME: u32 = 1_700_000_000;

fn reader() -> Assembler {
    let patterns = TablePatterns::parse(&["s.*"]).unwrap();
    let dialect = Dialect {
        flavour: Flavour::Mysql,
        version: 90704,
        ansi_quotes: false,
        no_backslash_escapes: false,
        fold_names: false,
    };
    let known = vec![TableId::new("s", "t"), TableId::new("s", "u")];
    Assembler::new(
        Epoch(9),
        patterns,
        dialect,
        (Vec::new(), known),
        crate::event::GtidSet::default(),
    )
}

impl Log {
    fn new(reader: Assembler) -> Log {
        let mut log = Log {
            reader,
            end: 0,
            out: Vec::new(),
        };
        let name = [&4_u64.to_le_bytes()[..], b"log.000007"].concat();
        log.event(kind::ROTATE, &name);
        log.end = 4;
        log.out.clear();
        log
    }

    fn event(&mut self, kind: u8, body: &[u8]) {
        let size = u32::try_from(body.len()).unwrap() + 23;
        self.end += size;
        let flags = if kind == kind::ROTATE { 0x20 } else { 0 };
        let event = RawEvent {
            kind,
            timestamp: TIME,
            size,
            end: self.end,
            flags,
            body: Bytes::copy_from_slice(body),
            crc: 1,
            gtid: (kind == kind::ANONYMOUS_GTID).then_some((None, 0)),
            previous: None,
            payload: None,
        };
        self.reader.event(&event, &mut self.out).unwrap();
    }

    /// Begins a transaction, and says where.
    fn begin(&mut self) -> TxnStart {
        let start = TxnStart {
            epoch: Epoch(9),
            coord: BinlogCoord {
                file: 7,
                offset: u64::from(self.end),
            },
        };
        self.event(kind::ANONYMOUS_GTID, &[]);
        start
    }

    fn query(&mut self, text: &str) {
        let mut body = vec![0; 13];
        body.push(0);
        body.extend(text.as_bytes());
        self.event(kind::QUERY, &body);
    }

    /// Inserts a row of one number into a table of the schema.
    fn insert(&mut self, schema: &str, id: i32) {
        let mut map = vec![1, 0, 0, 0, 0, 0, 0, 0, 1];
        map.extend(schema.as_bytes());
        map.extend([0, 1, b't', 0, 1, 3, 0, 0]);
        // Signedness, the column's name, the key.
        map.extend([1, 1, 0, 4, 3, 2, b'i', b'd', 8, 1, 0]);
        self.event(kind::TABLE_MAP, &map);
        let mut rows = vec![1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0];
        rows.extend(id.to_le_bytes());
        self.event(kind::WRITE_ROWS, &rows);
    }

    fn prepare(&mut self, name: &[u8], one_phase: u8, rows: impl FnOnce(&mut Log)) -> TxnStart {
        let start = self.begin();
        let xid = Xid::new(name, b"", 1);
        self.query(&format!("XA START {xid}"));
        rows(self);
        self.query(&format!("XA END {xid}"));
        let length = u8::try_from(name.len()).unwrap();
        let mut body = vec![one_phase, 1, 0, 0, 0, length, 0, 0, 0, 0, 0, 0, 0];
        body.extend(name);
        self.event(kind::XA_PREPARE, &body);
        start
    }

    fn decide(&mut self, verb: &str, name: &[u8]) -> TxnStart {
        let start = self.begin();
        self.query(&format!("XA {verb} {}", Xid::new(name, b"", 1)));
        start
    }

    fn take(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// The numbers of the rows that came, and the steps of the commit points.
    fn told(&mut self) -> (Vec<OrderKey>, Vec<XaStep>) {
        let (mut rows, mut steps) = (Vec::new(), Vec::new());
        for out in self.take() {
            match out {
                Out::Item(Item::Rows(changes)) => {
                    rows.extend(changes.changes.iter().map(|change| changes.upsert_order(change)));
                    assert!(matches!(changes.changes[0].op, Op::Insert { .. }));
                    assert_eq!(changes.committed_micros, i64::from(TIME) * 1_000_000);
                }
                Out::Item(Item::Commit(point)) => steps.extend(point.xa),
                other @ (Out::Item(_) | Out::Altered(..) | Out::Replay(_)) => panic!("{other:?}"),
            }
        }
        (rows, steps)
    }
}

fn number(at: TxnStart, ordinal: u64) -> OrderKey {
    OrderKey::upsert(at, crate::event::Ordinal(ordinal))
}

#[test]
fn rows_come_with_the_commit_and_bear_its_number() {
    let mut log = Log::new(reader());
    let start = log.prepare(b"a", 0, |log| {
        log.insert("s", 1);
        log.insert("x", 2);
        log.insert("s", 3);
    });
    let (rows, steps) = log.told();
    assert_eq!(rows, []);
    let prepared = Prepared {
        xid: Xid::new(b"a", b"", 1),
        at: start,
        since: TIME,
        tables: vec![TableId::new("s", "t")],
    };
    assert_eq!(steps, [XaStep::Prepared(prepared.clone())]);
    assert_eq!(log.reader.undecided().collect::<Vec<_>>(), [&prepared]);
    let at = log.decide("COMMIT", b"a");
    let (rows, steps) = log.told();
    // Five bytes a row; the one between, of a table that is not captured, counts.
    assert_eq!(rows, [number(at, 1), number(at, 11)]);
    assert_eq!(steps, [XaStep::Decided(prepared.xid)]);
    assert_eq!(log.reader.undecided().count(), 0);
    assert_eq!(log.reader.undecided.bytes, 0);
}

#[test]
fn one_phase_is_a_commit_in_its_own_place() {
    let mut log = Log::new(reader());
    let at = log.prepare(b"a", 1, |log| log.insert("s", 1));
    assert_eq!(log.told(), (vec![number(at, 1)], Vec::new()));
    assert_eq!(log.reader.undecided().count(), 0);
}

#[test]
fn many_rows_are_left_in_the_log() {
    let mut log = Log::new(reader());
    log.prepare(b"small", 0, |log| log.insert("s", 1));
    let start = log.prepare(b"large", 0, |log| (0..40_000).for_each(|id| log.insert("s", id)));
    log.take();
    assert!(log.reader.undecided.bytes < 1000, "only the small one is held");
    let at = log.decide("COMMIT", b"large");
    let out = log.take();
    let Some(Out::Replay(replay)) = out.first() else {
        panic!("{out:?}");
    };
    assert_eq!((replay.from, replay.at), (Some(start), at));
    assert_eq!(replay.tables, [TableId::new("s", "t")]);
    assert!(matches!(out[1], Out::Item(Item::Commit(_))));
    // Read again, rows come at once and bear the commit's number.
    let mut again = Log::new(log.reader.replaying(replay.clone()));
    again.prepare(b"large", 0, |log| log.insert("s", 0));
    assert_eq!(again.told().0, [number(at, 1)]);
    let at = log.decide("COMMIT", b"small");
    assert_eq!(log.told().0, [number(at, 1)]);
}

#[test]
fn what_was_prepared_before_is_looked_up() {
    let at = |epoch, offset| TxnStart {
        epoch: Epoch(epoch),
        coord: BinlogCoord { file: 5, offset },
    };
    let prepared = |name: &[u8], at| Prepared {
        xid: Xid::new(name, b"", 1),
        at,
        since: TIME,
        tables: vec![TableId::new("s", "u")],
    };
    let mut reader = reader();
    reader.resume(&[prepared(b"here", at(9, 77)), prepared(b"elsewhere", at(8, 99))]);
    let mut log = Log::new(reader);
    for (name, from, tables) in [
        (&b"here"[..], Some(at(9, 77)), 1),
        (b"elsewhere", None, 1),
        // Nobody knows what it wrote to.
        (b"unknown", None, 2),
    ] {
        log.decide("COMMIT", name);
        let out = log.take();
        let Some(Out::Replay(replay)) = out.first() else {
            panic!("{out:?}");
        };
        assert_eq!((replay.from, replay.tables.len()), (from, tables));
        assert_eq!(Assembler::lost(replay).len(), tables);
    }
    log.decide("ROLLBACK", b"unknown");
    assert_eq!(log.told().0, []);
}

#[test]
fn bodies_of_prepare_events() {
    // XA PREPARE 'early','branch',7.
    let body = b"\x00\x07\x00\x00\x00\x05\x00\x00\x00\x06\x00\x00\x00earlybranch";
    let xid = Xid::new(b"early", b"branch", 7);
    assert_eq!(prepare_body(body), Some((false, xid.clone())));
    assert_eq!(xid_of("XA COMMIT X'6561726c79',X'6272616e6368',7"), Some(xid));
    for end in 0..body.len() {
        assert_eq!(prepare_body(&body[..end]), None, "cut at {end}");
    }
    assert_eq!(xid_of("XA COMMIT"), None);
}

proptest! {
    #[test]
    fn any_order_delivers_what_is_committed_and_nothing_else(
        steps in proptest::collection::vec((0_u8..3, 0_u8..4), 0..40),
    ) {
        let mut log = Log::new(reader());
        let mut open = BTreeMap::new();
        for (step, name) in steps {
            let expected = match (step, open.remove(&name)) {
                (0, None) => {
                    log.prepare(&[name], 0, |log| (0..=name).for_each(|id| log.insert("s", id.into())));
                    open.insert(name, ());
                    Vec::new()
                }
                (1, Some(())) => {
                    let at = log.decide("COMMIT", &[name]);
                    (0..=u64::from(name)).map(|row| number(at, 1 + 5 * row)).collect()
                }
                (2, Some(())) => {
                    log.decide("ROLLBACK", &[name]);
                    Vec::new()
                }
                (_, known) => {
                    if known.is_some() {
                        open.insert(name, ());
                    }
                    let at = log.begin();
                    log.query("BEGIN");
                    log.insert("s", 1);
                    log.event(kind::XID, &[0; 8]);
                    vec![number(at, 1)]
                }
            };
            prop_assert_eq!(log.told().0, expected);
            prop_assert_eq!(log.reader.undecided().count(), open.len());
        }
    }

    #[test]
    fn any_bytes_are_a_prepare_event_or_not(body: Vec<u8>, text: String) {
        if let Some((_, xid)) = prepare_body(&body) {
            prop_assert_eq!(Xid::parse(&xid.to_string()), Some(xid));
        }
        drop(xid_of(&text));
    }
}
