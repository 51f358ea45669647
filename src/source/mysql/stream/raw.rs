//! One binlog event as it came, and the few bodies that only the stream itself needs
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html>).

use std::sync::LazyLock;

use bytes::Bytes;
use mysql_common::binlog::BinlogCtx;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::FormatDescriptionEvent;
use mysql_common::io::ParseBuf;
use mysql_common::proto::MyDeserialize;

use crate::event::{DomainGtid, GlobalId, GtidSet};

/// Event types.
pub mod kind {
    /// A statement, BEGIN, COMMIT.
    pub const QUERY: u8 = 2;
    /// The server stopped.
    pub const STOP: u8 = 3;
    /// The log goes on in another file.
    pub const ROTATE: u8 = 4;
    /// Value of an AUTO_INCREMENT for a statement.
    pub const INTVAR: u8 = 5;
    /// Seed of RAND() for a statement.
    pub const RAND: u8 = 13;
    /// User variable for a statement.
    pub const USER_VAR: u8 = 14;
    /// Begin of a file.
    pub const FORMAT_DESCRIPTION: u8 = 15;
    /// Commit of a transaction.
    pub const XID: u8 = 16;
    /// A table's columns, before its rows.
    pub const TABLE_MAP: u8 = 19;
    /// Rows, first to last of the version 1 types.
    pub const WRITE_ROWS_V1: u8 = 23;
    /// Rows after an update, version 1.
    pub const UPDATE_ROWS_V1: u8 = 24;
    /// Deleted rows, version 1.
    pub const DELETE_ROWS_V1: u8 = 25;
    /// The server lost events.
    pub const INCIDENT: u8 = 26;
    /// Nothing new.
    pub const HEARTBEAT: u8 = 27;
    /// May be ignored.
    pub const IGNORABLE: u8 = 28;
    /// The statement behind the rows.
    pub const ROWS_QUERY: u8 = 29;
    /// Inserted rows.
    pub const WRITE_ROWS: u8 = 30;
    /// Rows before and after an update.
    pub const UPDATE_ROWS: u8 = 31;
    /// Deleted rows.
    pub const DELETE_ROWS: u8 = 32;
    /// Begin of a transaction with an identifier.
    pub const GTID: u8 = 33;
    /// Begin of a transaction without.
    pub const ANONYMOUS_GTID: u8 = 34;
    /// Sets at the begin of a file.
    pub const PREVIOUS_GTIDS: u8 = 35;
    /// Group replication.
    pub const TRANSACTION_CONTEXT: u8 = 36;
    /// Group replication.
    pub const VIEW_CHANGE: u8 = 37;
    /// End of a prepared XA transaction.
    pub const XA_PREPARE: u8 = 38;
    /// Updated rows with JSON differences.
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    /// A compressed transaction.
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    /// Nothing new, in files above 4 GiB.
    pub const HEARTBEAT_V2: u8 = 41;
    /// Begin of a transaction with a tagged identifier.
    pub const GTID_TAGGED: u8 = 42;
    /// MariaDB: the statement behind the rows.
    pub const MARIADB_ANNOTATE: u8 = 160;
    /// MariaDB: older files are not needed for recovery.
    pub const MARIADB_CHECKPOINT: u8 = 161;
    /// MariaDB: begin of a transaction.
    pub const MARIADB_GTID: u8 = 162;
    /// MariaDB: sets at the begin of a file.
    pub const MARIADB_GTID_LIST: u8 = 163;
    /// MariaDB: the file is encrypted at rest.
    pub const MARIADB_START_ENCRYPTION: u8 = 164;
    /// MariaDB: compressed statement.
    pub const MARIADB_QUERY_COMPRESSED: u8 = 165;
    /// MariaDB: compressed rows, the first of the six types.
    pub const MARIADB_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    /// MariaDB: the last of the compressed types.
    pub const MARIADB_DELETE_ROWS_COMPRESSED: u8 = 171;
}

/// A header flag: the event did not come from a file (fake ROTATE).
pub const FLAG_ARTIFICIAL: u16 = 0x20;
/// A header flag: a reader that does not know the event may skip it.
pub const FLAG_IGNORABLE: u16 = 0x80;

/// One event: header, body without checksum, and what the driver already parsed of it.
#[derive(Debug, Clone)]
pub struct RawEvent {
    /// Type, one of [`kind`].
    pub kind: u8,
    /// Unix seconds of the statement's begin.
    pub timestamp: u32,
    /// Size with header and checksum.
    pub size: u32,
    /// Where the next event begins, modulo 2^32; 0 for what is in no file.
    pub end: u32,
    /// Header flags.
    pub flags: u16,
    /// The body.
    pub body: Bytes,
    /// CRC32 of header and body.
    pub crc: u32,
    /// Of a GTID event: identifier (`None`: anonymous) and commit time in microseconds (0: not known).
    pub gtid: Option<(Option<GlobalId>, u64)>,
    /// Of the event that opens a file with them: GTIDs of all transactions in earlier files.
    pub previous: Option<GtidSet>,
    /// Of a compressed transaction: size of what is in it.
    pub payload: Option<u64>,
}

/// What the driver's library wants to know of the log; nothing that is parsed here depends on it.
static FORMAT: LazyLock<FormatDescriptionEvent<'static>> =
    LazyLock::new(|| FormatDescriptionEvent::new(BinlogVersion::Version4));

impl RawEvent {
    /// What the driver's library makes of the body; `None` if it does not parse.
    pub(super) fn parsed<'a, T: MyDeserialize<'a, Ctx = BinlogCtx<'a>>>(&'a self) -> Option<T> {
        let size = usize::try_from(self.size).ok()?;
        let context = BinlogCtx::new(size, &FORMAT, self.kind);
        ParseBuf(&self.body).parse(context).ok()
    }
}

/// A reader of little-endian fields that cannot run over the end.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    /// An unsigned number of up to 8 bytes.
    pub fn uint(&mut self, bytes: usize) -> Option<u64> {
        let mut wide = [0; 8];
        wide.get_mut(..bytes)?.copy_from_slice(self.take(bytes)?);
        Some(u64::from_le_bytes(wide))
    }
}

/// Body of a ROTATE event: the position in the next file and its name.
pub fn rotate(body: &[u8]) -> Option<(u64, &str)> {
    let mut fields = Fields(body);
    let position = fields.uint(8)?;
    std::str::from_utf8(fields.0).ok().map(|name| (position, name))
}

/// The body without a checksum that was added before the server said that it adds checksums, as
/// MariaDB does to the first ROTATE of a stream; `header` is the event's 19 bytes.
pub fn without_unannounced_checksum(header: &[u8], body: &Bytes) -> Bytes {
    let Some((rest, sum)) = body.split_last_chunk::<4>() else {
        return body.clone();
    };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(rest);
    match hasher.finalize() == u32::from_le_bytes(*sum) {
        true => body.slice_ref(rest),
        false => body.clone(),
    }
}

/// The number that a log file's name ends in.
pub fn suffix(name: &str) -> Option<u64> {
    name.rsplit_once('.').and_then(|(_, digits)| {
        let plain = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    })
}

/// The type of the same rows event without MariaDB's compression; `None` where there is none to take off.
pub fn uncompressed_rows(compressed: u8) -> Option<u8> {
    const BY_TYPE: [u8; 6] = [
        kind::WRITE_ROWS_V1,
        kind::UPDATE_ROWS_V1,
        kind::DELETE_ROWS_V1,
        kind::WRITE_ROWS,
        kind::UPDATE_ROWS,
        kind::DELETE_ROWS,
    ];
    let index = compressed.checked_sub(kind::MARIADB_WRITE_ROWS_COMPRESSED_V1)?;
    BY_TYPE.get(usize::from(index)).copied()
}

/// A MariaDB GTID event: its number, its domain, and with the server of its header the identifier.
pub fn mariadb_gtid(server: u32, body: &[u8]) -> Option<GlobalId> {
    let mut fields = Fields(body);
    let number = fields.uint(8)?;
    let domain = u32::try_from(fields.uint(4)?).ok()?;
    Some(GlobalId::Domain(DomainGtid {
        domain,
        server,
        number,
    }))
}

/// What a MariaDB GTID event says of its group
/// (<https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol/gtid_event>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MariaDbGroup {
    /// Without BEGIN and COMMIT (DDL).
    pub standalone: bool,
    /// An XA transaction up to its preparation, XA START implied.
    pub prepared: bool,
}

/// Reads the flags of a MariaDB GTID event.
pub fn mariadb_group(body: &[u8]) -> Option<MariaDbGroup> {
    const FLAG_STANDALONE: u8 = 1;
    const FLAG_PREPARED_XA: u8 = 64;
    body.get(12).map(|flags| MariaDbGroup {
        standalone: flags & FLAG_STANDALONE != 0,
        prepared: flags & FLAG_PREPARED_XA != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotate_bodies_lose_a_checksum_that_was_not_announced() {
        let header = [7u8; 19];
        let plain = [&4u64.to_le_bytes()[..], b"mysql-bin.000001"].concat();
        assert_eq!(
            rotate(&without_unannounced_checksum(&header, &plain.clone().into())),
            Some((4, "mysql-bin.000001"))
        );
        let sum = crc32fast::hash(&[&header[..], &plain].concat());
        let summed = [&plain[..], &sum.to_le_bytes()].concat();
        assert_eq!(
            rotate(&without_unannounced_checksum(&header, &summed.into())),
            Some((4, "mysql-bin.000001"))
        );
        assert_eq!(rotate(b"short"), None);
    }

    #[test]
    fn suffixes_are_numbers_of_six_digits_or_more() {
        assert_eq!(suffix("binlog.000042"), Some(42));
        assert_eq!(suffix("a.b.1000000"), Some(1_000_000));
        assert_eq!(suffix("binlog.index"), None);
        assert_eq!(suffix("binlog"), None);
    }
}
