//! A transaction that the server compressed: its events are inflated one at a time, so that it takes the memory of the
//! largest of them and not of all, whatever it was compressed from
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Transaction__payload__event.html>).

use std::fmt;
use std::io::{self, Cursor, Read};

use bytes::Bytes;
use zstd::stream::read::Decoder;

use super::event::{Event, HEADER, announced};
use crate::source::mysql::stream::raw::kind;

/// The logarithm of the window that an inflation may need: 128 MB, the most that the format recommends to admit.
const WINDOW: u32 = 27;

/// Fields before the payload.
mod field {
    pub(super) const END: u64 = 0;
    pub(super) const SIZE: u64 = 1;
    pub(super) const COMPRESSION: u64 = 2;
    pub(super) const UNCOMPRESSED_SIZE: u64 = 3;
}

/// Ways to compress.
mod compression {
    pub(super) const ZSTD: u64 = 0;
    pub(super) const NONE: u64 = 255;
}

/// The events in a compressed transaction.
pub(super) struct Payload {
    inner: Box<dyn Read + Send>,
    /// Bytes that are still announced.
    left: u64,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// What the fields before a payload say.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    compression: u64,
    uncompressed: u64,
    /// Where the payload begins.
    begin: usize,
}

/// The size that the events of a compressed transaction have together; `None` if its body does not say.
pub(crate) fn uncompressed_size(body: &[u8]) -> Option<u64> {
    fields(body).map(|found| found.uncompressed)
}

fn fields(body: &[u8]) -> Option<Announced> {
    let mut rest = body;
    let (mut size, mut way, mut uncompressed) = (None, compression::NONE, None);
    loop {
        let what = number(&mut rest)?;
        if what == field::END {
            break;
        }
        let len = usize::try_from(number(&mut rest)?).ok()?;
        let (mut value, after) = rest.split_at_checked(len)?;
        rest = after;
        match what {
            field::SIZE => size = Some(number(&mut value)?),
            field::COMPRESSION => way = number(&mut value)?,
            field::UNCOMPRESSED_SIZE => uncompressed = Some(number(&mut value)?),
            // Of later versions.
            _ => {}
        }
    }
    let there = u64::try_from(rest.len()).ok()?;
    (size == Some(there)).then_some(Announced {
        compression: way,
        uncompressed: uncompressed.unwrap_or(there),
        begin: body.len() - rest.len(),
    })
}

/// A number of the protocol: one byte, or a mark and two, three or eight bytes.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let (first, after) = rest.split_first()?;
    let len = match first {
        0..=250 => 0,
        252 => 2,
        253 => 3,
        254 => 8,
        _ => return None,
    };
    let (bytes, after) = after.split_at_checked(len)?;
    *rest = after;
    if len == 0 {
        return Some(u64::from(*first));
    }
    let mut wide = [0; 8];
    wide.get_mut(..len)?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(wide))
}

impl Payload {
    /// # Errors
    /// The body does not say how to inflate it, or in a way that is not known.
    pub(super) fn open(body: Bytes) -> io::Result<Payload> {
        let Announced {
            compression,
            uncompressed,
            begin,
        } = fields(&body).ok_or_else(|| invalid("the fields before a payload do not parse"))?;
        let payload = Cursor::new(body.slice(begin..));
        let inner: Box<dyn Read + Send> = match compression {
            compression::ZSTD => {
                let mut decoder = Decoder::new(payload)?;
                decoder.window_log_max(WINDOW)?;
                Box::new(decoder)
            }
            compression::NONE => Box::new(payload),
            _ => return Err(invalid("a payload is compressed in a way that is not known")),
        };
        Ok(Payload {
            inner,
            left: uncompressed,
        })
    }

    /// The next event; `None` after the last.
    ///
    /// # Errors
    /// The payload is not what it was announced to be.
    pub(super) fn next(&mut self) -> io::Result<Option<Event>> {
        if self.left == 0 {
            let more = self.inner.read(&mut [0])?;
            return match more {
                0 => Ok(None),
                _ => Err(invalid("a payload is longer than announced")),
            };
        }
        let mut header = [0; HEADER];
        self.inner.read_exact(&mut header)?;
        let size = announced(&header).ok_or_else(|| invalid("an event in a payload has no size"))?;
        let bytes = u64::try_from(size).unwrap_or(u64::MAX);
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| invalid("an event in a payload is longer than the payload"))?;
        let mut whole = header.to_vec();
        let body = bytes.saturating_sub(u64::try_from(HEADER).unwrap_or_default());
        // Room grows with what comes: the size is only a promise.
        (&mut self.inner).take(body).read_to_end(&mut whole)?;
        let event = Event::parse(whole.into(), false);
        match event {
            Some(event) if event.kind() != kind::TRANSACTION_PAYLOAD => Ok(Some(event)),
            Some(_) => Err(invalid("a payload is in a payload")),
            None => Err(invalid("an event in a payload is not whole")),
        }
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(HEADER + body.len()).unwrap();
        let mut bytes = vec![0, 0, 0, 0, kind::QUERY, 0, 0, 0, 0];
        bytes.extend(size.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(body);
        bytes
    }

    /// A payload's body; `announced`: the size of what is inside.
    fn body(way: u64, payload: &[u8], announced: u64) -> Bytes {
        let mut bytes = match way {
            compression::NONE => vec![2, 3, 252, 255, 0],
            way => vec![2, 1, u8::try_from(way).unwrap()],
        };
        bytes.extend([3, 9, 254]);
        bytes.extend(announced.to_le_bytes());
        bytes.extend([1, 9, 254]);
        bytes.extend(u64::try_from(payload.len()).unwrap().to_le_bytes());
        bytes.push(0);
        bytes.extend(payload);
        bytes.into()
    }

    fn all(body: Bytes) -> io::Result<Vec<Vec<u8>>> {
        let mut payload = Payload::open(body)?;
        let mut found = Vec::new();
        while let Some(event) = payload.next()? {
            found.push(event.body().to_vec());
        }
        Ok(found)
    }

    fn inside() -> (Vec<u8>, u64) {
        let inside = [event(b"one"), event(&[7; 5000]), event(b"")].concat();
        let len = u64::try_from(inside.len()).unwrap();
        (inside, len)
    }

    #[test]
    fn every_event_comes_out_of_it() {
        let (inside, len) = inside();
        let compressed = zstd::encode_all(&inside[..], 3).unwrap();
        for body in [body(0, &compressed, len), body(255, &inside, len)] {
            assert_eq!(uncompressed_size(&body), Some(len));
            assert_eq!(all(body).unwrap(), [b"one".to_vec(), vec![7; 5000], Vec::new()]);
        }
    }

    #[test]
    fn what_was_not_announced_is_refused() {
        let (inside, len) = inside();
        let compressed = zstd::encode_all(&inside[..], 3).unwrap();
        for announced in [len - 1, len + 1, 1, u64::MAX] {
            assert!(all(body(0, &compressed, announced)).is_err(), "{announced}");
        }
        assert!(all(body(7, &inside, len)).is_err());
        assert!(all(body(0, b"no zstd at all", len)).is_err());
        let nested = {
            let mut nested = event(b"x");
            nested[4] = kind::TRANSACTION_PAYLOAD;
            nested
        };
        assert!(all(body(255, &nested, 20)).is_err());
    }

    #[test]
    fn cut_anywhere_it_is_refused() {
        let (inside, len) = inside();
        let whole = body(0, &zstd::encode_all(&inside[..], 3).unwrap(), len);
        for end in 0..whole.len() {
            assert!(all(whole.slice(..end)).is_err(), "{end}");
        }
    }

    /// A gigabyte of zeros in a few kilobytes costs what one event of it costs.
    #[test]
    fn a_bomb_is_inflated_event_by_event() {
        let one = event(&vec![0; 1 << 20]);
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        for _ in 0..1024 {
            io::Write::write_all(&mut encoder, &one).unwrap();
        }
        let compressed = encoder.finish().unwrap();
        assert!(compressed.len() < 1 << 20);
        let len = 1024 * u64::try_from(one.len()).unwrap();
        let mut payload = Payload::open(body(0, &compressed, len)).unwrap();
        let mut count = 0;
        while let Some(event) = payload.next().unwrap() {
            assert_eq!(event.body().len(), 1 << 20);
            count += 1;
        }
        assert_eq!(count, 1024);
    }
}
