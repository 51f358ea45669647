//! Events as MariaDB writes them, made by hand.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::super::*;
use crate::event::DomainGtid;
use crate::source::mysql::server::Flavour;

const MARIADB: Dialect = Dialect {
    flavour: Flavour::MariaDb,
    version: 101_119,
    ansi_quotes: false,
    no_backslash_escapes: false,
    fold_names: false,
};

fn assembler() -> Assembler {
    let patterns = TablePatterns::parse(&["s.*"]).unwrap();
    let mut assembler = Assembler::new(
        Epoch(1),
        patterns,
        MARIADB,
        (Vec::new(), Vec::new()),
        GtidSet::default(),
    );
    let rotate = [&4u64.to_le_bytes()[..], b"binlog.000007"].concat();
    let mut first = event(kind::ROTATE, &rotate, 0);
    first.flags = FLAG_ARTIFICIAL;
    assembler.event(&first, &mut Vec::new()).unwrap();
    assembler
}

fn event(kind: u8, body: &[u8], end: u32) -> RawEvent {
    RawEvent {
        kind,
        timestamp: 1,
        size: u32::try_from(body.len()).unwrap() + 23,
        end,
        flags: 0,
        body: Bytes::copy_from_slice(body),
        crc: 5,
        gtid: None,
        previous: None,
        payload: None,
    }
}

fn packed(head: &[u8], inside: &[u8]) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(inside).unwrap();
    let size = u8::try_from(inside.len()).unwrap();
    [head, &[0x81, size], &zlib.finish().unwrap()].concat()
}

/// `CREATE TABLE s.t (id INT PRIMARY KEY)`, with FULL metadata.
fn table_map() -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 1, b's', 0, 1, b't', 0, 1, 3, 0, 0];
    body.extend([1, 1, 0]);
    body.extend([4, 3, 2, b'i', b'd']);
    body.extend([8, 1, 0]);
    body
}

/// A query event's body up to its statement.
const QUERY: [u8; 15] = [7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b's', 0];

#[test]
fn an_unknown_event_is_named_unless_it_may_be_ignored() {
    let mut assembler = assembler();
    let mut unknown = event(199, b"", 400);
    let error = assembler.event(&unknown, &mut Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "binlog event at 000007:400 has the unknown type 199"
    );
    unknown.flags = FLAG_IGNORABLE;
    assembler.event(&unknown, &mut Vec::new()).unwrap();
}

#[test]
fn a_compressed_transaction_is_what_it_is_without_compression() {
    let gtid = GlobalId::Domain(DomainGtid {
        domain: 3,
        server: 8,
        number: 77,
    });
    let mut head = vec![9, 0, 0, 0, 0, 0, 1, 0, 1, 1];
    let images = [0xfe, 41, 0, 0, 0, 0xfe, 42, 0, 0, 0];
    let compressed = packed(&head, &images);
    head.extend(images);
    let (map, xid) = (table_map(), 5u64.to_le_bytes());
    let mut said = Vec::new();
    for (kind, rows) in [
        (kind::MARIADB_WRITE_ROWS_COMPRESSED_V1, &compressed),
        (kind::WRITE_ROWS_V1, &head),
    ] {
        let (mut assembler, mut out) = (assembler(), Vec::new());
        let body = [&77u64.to_le_bytes()[..], &3u32.to_le_bytes(), &[4]].concat();
        let mut begin = event(kind::MARIADB_GTID, &body, 300);
        begin.gtid = raw::mariadb_gtid(8, &body).map(|gtid| (Some(gtid), 0));
        for event in [
            begin,
            event(kind::MARIADB_ANNOTATE, b"INSERT", 320),
            event(kind::TABLE_MAP, &map, 400),
            event(kind, rows, 500),
            event(kind::XID, &xid, 600),
        ] {
            assembler.event(&event, &mut out).unwrap();
        }
        let [Out::Item(Item::Rows(rows)), Out::Item(Item::Commit(point))] = out.as_slice() else {
            panic!("{out:?}");
        };
        assert_eq!(point.gtid, Some(gtid.clone()));
        said.push(format!("{:?} {:?}", rows.changes, rows.txn));
    }
    assert_eq!(said[0], said[1]);
    // Cut, it is damage and nothing else.
    let (mut assembler, mut out) = (assembler(), Vec::new());
    assembler
        .event(&event(kind::TABLE_MAP, &map, 400), &mut out)
        .unwrap();
    let cut = &compressed[..compressed.len() - 1];
    let error = assembler.event(&event(kind::MARIADB_WRITE_ROWS_COMPRESSED_V1, cut, 500), &mut out);
    assert!(
        matches!(error, Err(StreamError::Malformed { kind: 166, .. })),
        "{error:?}"
    );
}

#[test]
fn a_compressed_statement_is_read() {
    let (mut assembler, mut out) = (assembler(), Vec::new());
    let body = packed(&QUERY, b"TRUNCATE TABLE t");
    assembler
        .event(&event(kind::MARIADB_QUERY_COMPRESSED, &body, 400), &mut out)
        .unwrap();
    assert!(format!("{out:?}").contains("TRUNCATE"), "{out:?}");
    let broken = event(kind::MARIADB_QUERY_COMPRESSED, &body[..body.len() - 3], 500);
    assert!(assembler.event(&broken, &mut out).is_err());
}
