//! The set of GTIDs that opens a file. Own parser: the driver's library makes room for as many members as the bytes
//! announce, and ends the process where that is more than there is
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Previous__gtids__event.html>).

use super::raw::Fields;
use crate::event::{GtidSet, GtidSource, Interval};

/// Longest tag, characters.
const TAG: usize = 32;

/// Reads the body of a PREVIOUS_GTIDS event; `None` for bytes that no server wrote.
pub(super) fn parse(body: &[u8]) -> Option<GtidSet> {
    let mut fields = Fields(body);
    let head = fields.uint(8)?;
    // The first byte and the last say whether sources have tags; between them the sources are counted.
    let tagged = head >> 56 != 0;
    let count = if tagged { head << 8 >> 16 } else { head };
    let mut set = GtidSet::default();
    for _ in 0..count {
        let uuid = fields.take(16)?.try_into().ok()?;
        let source = GtidSource {
            uuid: u128::from_be_bytes(uuid),
            tag: if tagged {
                tag(&mut fields)?.into()
            } else {
                "".into()
            },
        };
        for _ in 0..fields.uint(8)? {
            let (start, end) = (fields.uint(8)?, fields.uint(8)?);
            if start == 0 || end <= start {
                return None;
            }
            set.insert_all(&source, Interval { start, end });
        }
    }
    Some(set)
}

/// A tag behind its length, which is below 64 and so in one byte, doubled.
fn tag<'a>(fields: &mut Fields<'a>) -> Option<&'a str> {
    let doubled = usize::try_from(fields.uint(1)?).ok()?;
    let text = std::str::from_utf8(fields.take(doubled / 2)?).ok()?;
    let is_tag = doubled % 2 == 0
        && text.len() <= TAG
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_tag.then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// UUID, tag, and intervals.
    type Member = (u128, String, Vec<(u64, u64)>);

    /// A set as servers write it; tags are empty where `tagged` is false.
    fn body(members: &[Member], tagged: bool) -> Vec<u8> {
        let count = u64::try_from(members.len()).unwrap();
        let head = if tagged { 1 << 56 | count << 8 | 1 } else { count };
        let mut body = head.to_le_bytes().to_vec();
        for (uuid, tag, intervals) in members {
            body.extend(uuid.to_be_bytes());
            if tagged {
                body.push(u8::try_from(tag.len() * 2).unwrap());
                body.extend(tag.bytes());
            }
            body.extend(u64::try_from(intervals.len()).unwrap().to_le_bytes());
            for (start, end) in intervals {
                body.extend([start.to_le_bytes(), end.to_le_bytes()].concat());
            }
        }
        body
    }

    proptest! {
        #[test]
        fn a_set_comes_back(
            members in proptest::collection::vec(
                (any::<u128>(), "[a-z_][a-z0-9_]{0,31}", proptest::collection::vec((1_u64..1 << 40, 1_u64..9), 1..4)),
                0..4,
            ),
            tagged: bool,
        ) {
            let members: Vec<Member> = members
                .into_iter()
                .map(|(uuid, tag, ranges)| {
                    let intervals = ranges.into_iter().map(|(start, length)| (start, start + length)).collect();
                    (uuid, if tagged { tag } else { String::new() }, intervals)
                })
                .collect();
            let mut expected = GtidSet::default();
            for (uuid, tag, intervals) in &members {
                let source = GtidSource { uuid: *uuid, tag: tag.as_str().into() };
                for (start, end) in intervals {
                    expected.insert_all(&source, Interval { start: *start, end: *end });
                }
            }
            let bytes = body(&members, tagged);
            prop_assert_eq!(parse(&bytes), Some(expected));
            for end in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..end]), None);
            }
        }
    }

    #[test]
    fn a_count_is_no_promise() {
        assert_eq!(parse(&(u64::MAX >> 8).to_le_bytes()), None);
        let none = body(&[(1, String::new(), vec![])], false);
        let mut huge = none;
        huge.truncate(24);
        huge.extend(u64::MAX.to_le_bytes());
        assert_eq!(parse(&huge), None);
        assert_eq!(parse(&body(&[(1, String::new(), vec![(0, 5)])], false)), None);
        assert_eq!(parse(&body(&[(1, String::new(), vec![(5, 5)])], false)), None);
        assert_eq!(parse(&body(&[(1, "1a".to_owned(), vec![(1, 5)])], true)), None);
    }
}
