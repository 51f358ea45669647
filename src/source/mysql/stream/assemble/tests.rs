use super::*;
use crate::event::{Gtid, LogPosition};
use crate::source::mysql::server::Flavour;
use bytes::Bytes;
use proptest::prelude::*;

mod mariadb;

const GIB: u64 = 1 << 30;

/// Writes a log and follows it, as a reader would.
struct Log {
    assembler: Assembler,
    /// The real end, 64 bit.
    end: u64,
    position: LogPosition,
    starts: Vec<TxnStart>,
    number: u64,
}

fn gtid(number: u64) -> Gtid {
    Gtid {
        source: crate::event::GtidSource {
            uuid: 7,
            tag: Arc::from(""),
        },
        number,
    }
}

impl Log {
    fn new(gtids: Option<GtidSet>) -> Log {
        let dialect = Dialect {
            flavour: Flavour::Mysql,
            version: 90_700,
            ansi_quotes: false,
            no_backslash_escapes: false,
            fold_names: false,
        };
        let patterns = TablePatterns::parse(&["*.*"]).unwrap();
        let purged: GtidSet = "00000000-0000-0000-0000-000000000009:1-3".parse().unwrap();
        let mut log = Log {
            assembler: Assembler::new(Epoch(1), patterns, dialect, (Vec::new(), Vec::new()), purged),
            end: 4,
            position: LogPosition {
                server: Arc::from("s"),
                file_name: Arc::from(""),
                file_born: 0,
                next: TxnStart {
                    epoch: Epoch(1),
                    coord: BinlogCoord::file_start(0),
                },
                gtids,
                domains: None,
                last_event: None,
                prepared: Vec::new(),
                streams: Vec::new(),
            },
            starts: Vec::new(),
            number: 0,
        };
        log.file(999_999, None);
        log
    }

    /// An event of `size` bytes, whose header has 32 bits for its end.
    fn event(&mut self, kind: u8, size: u64, change: impl FnOnce(&mut RawEvent)) {
        self.end += size;
        let low = u32::try_from(self.end & u64::from(u32::MAX)).unwrap();
        let mut event = RawEvent {
            kind,
            timestamp: 100,
            size: u32::try_from(size).unwrap(),
            end: low,
            flags: 0,
            body: Bytes::from_static(&[4, 0]),
            crc: low,
            gtid: None,
            previous: None,
            payload: None,
        };
        change(&mut event);
        let mut out = Vec::new();
        self.assembler.event(&event, &mut out).unwrap();
        if let Some(txn) = &self.assembler.txn
            && self.starts.last() != Some(&txn.start)
        {
            self.starts.push(txn.start);
        }
        for out in out {
            if let Out::Item(Item::Commit(point)) = out {
                self.position.pass(&point);
            }
        }
    }

    /// Begins a file: what names it is in no file itself.
    fn file(&mut self, number: u64, previous: Option<GtidSet>) {
        let body = [&4_u64.to_le_bytes()[..], format!("b.{number:06}").as_bytes()].concat();
        self.end = 4;
        let rotate = RawEvent {
            kind: kind::ROTATE,
            timestamp: 0,
            size: 40,
            end: 0,
            flags: FLAG_ARTIFICIAL,
            body: body.into(),
            crc: 0,
            gtid: None,
            previous: None,
            payload: None,
        };
        self.assembler.event(&rotate, &mut Vec::new()).unwrap();
        self.event(kind::FORMAT_DESCRIPTION, 120, |_| {});
        if let Some(set) = previous {
            self.event(kind::PREVIOUS_GTIDS, 40, |event| event.previous = Some(set));
        }
    }

    /// A transaction whose rows take `size` bytes.
    fn transaction(&mut self, size: u64, anonymous: bool) {
        self.number += 1;
        let id = (!anonymous).then(|| gtid(self.number));
        let kind = if anonymous {
            kind::ANONYMOUS_GTID
        } else {
            kind::GTID
        };
        self.event(kind, 80, |event| event.gtid = Some((id.map(GlobalId::Gtid), 5)));
        let mut left = size;
        while left > 0 {
            let part = left.min(GIB);
            self.event(kind::ROWS_QUERY, part, |_| {});
            left -= part;
        }
        self.event(kind::XID, 31, |_| {});
    }

    fn heartbeat(&mut self) {
        self.event(kind::HEARTBEAT, 0, |_| {});
    }
}

#[test]
fn a_file_of_seven_digits_comes_after_one_of_six() {
    let mut log = Log::new(None);
    log.transaction(10, true);
    let before = log.position.next;
    log.file(1_000_000, None);
    assert_eq!(&*log.position.file_name, "b.1000000");
    assert_eq!(log.position.next.coord, BinlogCoord::file_start(1_000_000));
    log.transaction(10, true);
    assert!(log.starts[1] > log.starts[0] && log.position.next > before);
}

#[test]
fn the_position_stays_below_4_gib_until_the_next_file_and_forgets_no_transaction() {
    let mut log = Log::new(Some(GtidSet::default()));
    log.transaction(100, false);
    let below = (log.position.next, log.position.last_event);
    // Two that were flushed together: the second begins beyond what 32 bits can say.
    log.transaction(5 * GIB, false);
    log.heartbeat();
    log.transaction(6 * GIB, false);
    log.heartbeat();
    assert_eq!(
        log.starts[2].coord.offset,
        log.starts[1].coord.offset + 80 + 5 * GIB + 31
    );
    assert_eq!((log.position.next, log.position.last_event), below);
    assert_eq!(
        log.position.gtids.as_ref().unwrap().to_string(),
        "00000000-0000-0000-0000-000000000007:1-3"
    );
    log.file(1_000_000, None);
    assert_eq!(log.position.next.coord, BinlogCoord::file_start(1_000_000));
    assert_eq!((log.position.last_event, log.position.file_born), (None, 100));
}

#[test]
fn a_file_that_was_passed_takes_no_part_of_the_position_back() {
    let mut log = Log::new(Some(GtidSet::default()));
    log.transaction(10, false);
    log.file(1_000_000, None);
    log.transaction(10, false);
    let before = log.position.clone();
    // A server that is asked by GTIDs may begin in an earlier file.
    log.file(999_999, None);
    assert_eq!(log.position, before);
}

#[test]
fn a_set_is_whole_only_while_every_transaction_has_a_gtid() {
    let mut log = Log::new(Some(GtidSet::default()));
    log.transaction(10, false);
    assert!(log.position.gtids.is_some());
    log.transaction(10, true);
    log.transaction(10, false);
    assert_eq!(log.position.gtids, None);
    // A file begins with the set of all before, and what was purged lies before in any case.
    log.file(
        1_000_000,
        Some("00000000-0000-0000-0000-000000000007:1:3".parse().unwrap()),
    );
    log.transaction(10, false);
    assert_eq!(
        log.position.gtids.as_ref().unwrap().to_string(),
        "00000000-0000-0000-0000-000000000007:1:3-4,00000000-0000-0000-0000-000000000009:1-3"
    );
}

proptest! {
    /// Wherever transactions begin, also many of 4 GiB on, they are numbered by their real places.
    #[test]
    fn places_are_real_whatever_32_bits_say(sizes in proptest::collection::vec(1u64..3 * GIB, 1..12)) {
        let mut log = Log::new(None);
        let mut real = Vec::new();
        for size in &sizes {
            real.push(log.end);
            log.transaction(*size, true);
            log.heartbeat();
            prop_assert!(log.position.next.coord.offset <= u64::from(u32::MAX));
        }
        let seen: Vec<u64> = log.starts.iter().map(|start| start.coord.offset).collect();
        prop_assert_eq!(seen, real);
    }
}
