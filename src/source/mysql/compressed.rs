//! MariaDB's two compressed forms: the statement or the row images of an event (`log_bin_compress`) and the
//! value of a column declared `COMPRESSED`. Both announce the size of what is inside; nothing is kept
//! beyond it, and what comes out shorter or longer is damage
//! (<https://mariadb.com/kb/en/compressing-events-to-reduce-size-of-the-binary-log/>,
//! <https://mariadb.com/kb/en/storage-engine-independent-column-compression/>).

use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};

/// What an event or a value may become: the servers themselves admit no larger packet.
const LARGEST: u64 = 1 << 30;

/// The compressed part of an event: one byte `100` and the length of a length (1…4), the size of what
/// is inside, big-endian, then a zlib stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventPart<'a> {
    /// Bytes that are inside.
    pub(crate) size: u64,
    stream: &'a [u8],
}

impl<'a> EventPart<'a> {
    /// Reads what a part announces.
    pub(crate) fn parse(part: &'a [u8]) -> Option<EventPart<'a>> {
        let (head, rest) = part.split_first()?;
        if head & 0xe0 != 0x80 {
            return None;
        }
        let (size, stream) = size(rest, head & 0x07)?;
        Some(EventPart { size, stream })
    }

    /// Appends what is inside; `None` if it is not of the announced size.
    pub(crate) fn inflate(self, into: &mut Vec<u8>) -> Option<()> {
        exactly(ZlibDecoder::new(self.stream), self.size, into)
    }
}

/// Replaces `into` by the value of a compressed column: nothing for the empty value; else one byte (method
/// in the high half: 0 as it is, 8 zlib; then a bit for a stream without zlib's head, and the length
/// of a length), the size, big-endian, and the stream.
pub(crate) fn inflate_value(cell: &[u8], into: &mut Vec<u8>) -> Option<()> {
    const ZLIB: u8 = 8;
    const RAW: u8 = 8;
    into.clear();
    let Some((head, rest)) = cell.split_first() else {
        return Some(());
    };
    match head >> 4 {
        0 => {
            into.extend_from_slice(rest);
            Some(())
        }
        ZLIB => {
            let (size, stream) = size(rest, head & 0x07)?;
            match head & RAW {
                0 => exactly(ZlibDecoder::new(stream), size, into),
                _ => exactly(DeflateDecoder::new(stream), size, into),
            }
        }
        _ => None,
    }
}

/// A big-endian size of `bytes` bytes, and what follows.
fn size(from: &[u8], bytes: u8) -> Option<(u64, &[u8])> {
    let (size, rest) = from.split_at_checked(usize::from(bytes))?;
    let known = (1..=4).contains(&bytes);
    let size = size.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    (known && size <= LARGEST).then_some((size, rest))
}

fn exactly(stream: impl Read, size: u64, into: &mut Vec<u8>) -> Option<()> {
    // One byte more than announced is enough to know that it is too long.
    let read = stream.take(size + 1).read_to_end(into).ok()?;
    (u64::try_from(read).ok()? == size).then_some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn part(size: u32, bytes: &[u8]) -> Vec<u8> {
        [&[0x84][..], &size.to_be_bytes(), &zlib(bytes)].concat()
    }

    /// As MariaDB 10.11 wrote them: 150 times `a`, `x`, nothing.
    #[test]
    fn values_of_a_server() {
        let mut value = Vec::new();
        let packed = [0x89, 0x96, 0x4b, 0x4c, 0x1c, 0x8c, 0x00, 0x00];
        inflate_value(&packed, &mut value).unwrap();
        assert_eq!(value, [b'a'; 150]);
        inflate_value(b"\0x", &mut value).unwrap();
        assert_eq!(value, b"x");
        inflate_value(b"", &mut value).unwrap();
        assert_eq!(value, b"");
        assert_eq!(inflate_value(&packed[..7], &mut value), None, "cut");
        assert_eq!(inflate_value(&[0x70, 1, 2], &mut value), None, "unknown method");
        assert_eq!(
            inflate_value(&[0x8d, 1, 2, 3, 4, 5, 6], &mut value),
            None,
            "size of 5 bytes"
        );
    }

    #[test]
    fn a_part_of_another_size_than_announced_is_damage() {
        let text = [b'r'; 1000];
        for (size, right) in [(1000, true), (999, false), (1001, false)] {
            let mut out = b"head".to_vec();
            let bytes = part(size, &text);
            let inflated = EventPart::parse(&bytes).unwrap().inflate(&mut out);
            assert_eq!(inflated.is_some(), right, "{size}");
            assert!(out.len() <= 4 + usize::try_from(size).unwrap() + 1);
        }
        assert!(
            EventPart::parse(&part(1 << 31, b"")).is_none(),
            "larger than any event"
        );
        assert!(EventPart::parse(&[0x04, 0, 0, 0, 1]).is_none(), "no mark");
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            let size = u32::try_from(bytes.len()).unwrap();
            EventPart::parse(&part(size, &bytes)).unwrap().inflate(&mut out).unwrap();
            prop_assert_eq!(&out, &bytes);
            let mut raw = DeflateEncoder::new(vec![0x8a, 0, 0], Compression::default());
            raw.write_all(&bytes).unwrap();
            let mut cell = raw.finish().unwrap();
            cell[1..3].copy_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
            inflate_value(&cell, &mut out).unwrap();
            prop_assert_eq!(&out, &bytes);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut out = Vec::new();
            let _value = inflate_value(&bytes, &mut out);
            if let Some(part) = EventPart::parse(&bytes) {
                let _inflated = part.inflate(&mut out);
            }
        }
    }
}
