//! One event as it came off the wire: its header's fields, its body, its sum
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html>).

use bytes::Bytes;

use crate::source::mysql::stream::raw::{Fields, kind};

/// Bytes of a header.
pub(crate) const HEADER: usize = 19;

/// Bytes of a sum.
const SUM: usize = 4;

/// The header's flag of a file that is being written, which no sum counts in: it is cleared when the file is closed.
const IN_USE: u8 = 0x1;

/// Where the flags lie in the header.
const FLAGS: usize = 17;

/// An event: header, body and, where there is one, sum.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    whole: Bytes,
    header: Header,
    summed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    timestamp: u32,
    kind: u8,
    server: u32,
    size: u32,
    end: u32,
    flags: u16,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        let mut fields = Fields(bytes);
        let mut next = |bytes| fields.uint(bytes);
        let (timestamp, kind, server, size, end, flags) =
            (next(4)?, next(1)?, next(4)?, next(4)?, next(4)?, next(2)?);
        Some(Header {
            timestamp: u32::try_from(timestamp).ok()?,
            kind: u8::try_from(kind).ok()?,
            server: u32::try_from(server).ok()?,
            size: u32::try_from(size).ok()?,
            end: u32::try_from(end).ok()?,
            flags: u16::try_from(flags).ok()?,
        })
    }
}

/// The largest event: servers admit no larger packet.
const LARGEST: usize = 1 << 30;

/// The size that an event's header announces; `None` if that is less than the header itself, or more than any event has.
pub(super) fn announced(header: &[u8; HEADER]) -> Option<usize> {
    let size = usize::try_from(Header::parse(header)?.size).ok()?;
    (HEADER..=LARGEST).contains(&size).then_some(size)
}

impl Event {
    /// The event that a message is; `sums` says whether the log has sums. `None` if it is not whole.
    pub(super) fn parse(whole: Bytes, sums: bool) -> Option<Event> {
        let header = Header::parse(whole.get(..HEADER)?)?;
        if usize::try_from(header.size) != Ok(whole.len()) {
            return None;
        }
        let summed = match header.kind {
            kind::FORMAT_DESCRIPTION => algorithm(&whole)? == CRC32,
            _ => sums,
        };
        (whole.len() >= HEADER + if summed { SUM } else { 0 }).then_some(Event {
            whole,
            header,
            summed,
        })
    }

    /// Type.
    pub(crate) fn kind(&self) -> u8 {
        self.header.kind
    }

    /// Unix seconds.
    pub(crate) fn timestamp(&self) -> u32 {
        self.header.timestamp
    }

    /// The server that it began at.
    pub(crate) fn server(&self) -> u32 {
        self.header.server
    }

    /// Bytes with header and sum.
    pub(crate) fn size(&self) -> u32 {
        self.header.size
    }

    /// Where the next event begins, modulo 2^32.
    pub(crate) fn end(&self) -> u32 {
        self.header.end
    }

    /// Header flags.
    pub(crate) fn flags(&self) -> u16 {
        self.header.flags
    }

    /// The header's bytes.
    pub(crate) fn header(&self) -> &[u8] {
        self.whole.get(..HEADER).unwrap_or_default()
    }

    /// The body without the sum.
    pub(crate) fn body(&self) -> Bytes {
        let end = self.whole.len() - if self.summed { SUM } else { 0 };
        self.whole.slice(HEADER..end)
    }

    /// Whether a sum came with it.
    pub(crate) fn summed(&self) -> bool {
        self.summed
    }

    /// The sum that came with it.
    pub(crate) fn sum(&self) -> Option<u32> {
        let (_, sum) = self.whole.split_last_chunk::<SUM>()?;
        self.summed.then(|| u32::from_le_bytes(*sum))
    }

    /// The sum of header and body.
    pub(crate) fn crc(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let mut header = self.whole.first_chunk::<HEADER>().copied().unwrap_or_default();
        if let Some(low) = header.get_mut(FLAGS) {
            *low &= !IN_USE;
        }
        hasher.update(&header);
        hasher.update(&self.body());
        hasher.finalize()
    }
}

/// The algorithm of sums that says CRC32.
const CRC32: u8 = 1;

/// The algorithm that a FORMAT_DESCRIPTION event names, in front of room for its own sum: every server that can be read has
/// that (MySQL since 5.6.1, MariaDB since 5.3).
pub(super) fn algorithm(format_description: &[u8]) -> Option<u8> {
    let (rest, _sum) = format_description.split_last_chunk::<SUM>()?;
    (rest.len() > HEADER).then_some(*rest.last()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event of a kind with this body and, if asked for, its sum.
    fn event(kind: u8, flags: u16, body: &[u8], summed: bool) -> Vec<u8> {
        let size = HEADER + body.len() + if summed { SUM } else { 0 };
        let mut bytes = 7u32.to_le_bytes().to_vec();
        bytes.push(kind);
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(u32::try_from(size).unwrap().to_le_bytes());
        bytes.extend(99u32.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(body);
        if summed {
            let mut counted = bytes.clone();
            counted[FLAGS] &= !IN_USE;
            bytes.extend(crc32fast::hash(&counted).to_le_bytes());
        }
        bytes
    }

    fn parsed(bytes: &[u8], sums: bool) -> Option<Event> {
        Event::parse(Bytes::copy_from_slice(bytes), sums)
    }

    #[test]
    fn an_event_is_taken_apart() {
        for summed in [false, true] {
            let found = parsed(&event(kind::QUERY, 0x80, b"body", summed), summed).unwrap();
            assert_eq!(
                (found.kind(), found.timestamp(), found.end()),
                (kind::QUERY, 7, 99)
            );
            assert_eq!((found.flags(), &found.body()[..]), (0x80, &b"body"[..]));
            assert_eq!(found.sum(), summed.then(|| found.crc()));
        }
    }

    #[test]
    fn a_file_in_use_has_the_sum_of_a_closed_one() {
        let found = parsed(&event(kind::FORMAT_DESCRIPTION, 1, b"....\x01", true), false).unwrap();
        assert!(found.summed());
        assert_eq!(found.sum(), Some(found.crc()));
        let without = parsed(&event(kind::FORMAT_DESCRIPTION, 1, b"....\0....", false), true).unwrap();
        assert!(!without.summed());
    }

    #[test]
    fn what_is_not_whole_is_none() {
        let whole = event(kind::QUERY, 0, b"body", true);
        for len in 0..whole.len() {
            assert!(parsed(&whole[..len], true).is_none(), "{len}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(parsed(&longer, true).is_none());
        assert!(parsed(&event(kind::QUERY, 0, b"abc", false), true).is_none());
        assert!(parsed(&event(kind::FORMAT_DESCRIPTION, 0, b"abc", false), true).is_none());
    }
}
