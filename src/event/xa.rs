//! Two-phase (XA) transactions as the log tells them: rows are written when the transaction is prepared,
//! and what becomes of them is told by a later entry, perhaps days and files away.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::position::TxnStart;
use super::table::TableId;

/// An XA transaction's identifier in the notation of the log's statements, `X'6162',X'',1`: global part,
/// branch, format; hexadecimal digits in lower case, so that equal identifiers are equal texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Xid(Arc<str>);

impl Xid {
    /// An identifier of its parts.
    pub fn new(global: &[u8], branch: &[u8], format: u32) -> Xid {
        Xid(format!("X'{}',X'{}',{format}", hex(global), hex(branch)).into())
    }

    /// Reads the notation, in either case and with white space between the parts.
    pub fn parse(text: &str) -> Option<Xid> {
        let mut parts = text.split(',').map(str::trim);
        let global = unhex(parts.next()?)?;
        let branch = unhex(parts.next()?)?;
        let format = parts.next()?.parse().ok()?;
        parts.next().is_none().then(|| Xid::new(&global, &branch, format))
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(['X', 'x'])?;
    let digits = digits.strip_prefix('\'')?.strip_suffix('\'')?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || digits.len() % 2 != 0 {
        return None;
    }
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// A prepared transaction whose end the log has not told yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Its identifier.
    pub xid: Xid,
    /// Where its rows begin in the log.
    pub at: TxnStart,
    /// When it was prepared, Unix seconds.
    pub since: u32,
    /// The captured tables that it wrote to.
    pub tables: Vec<TableId>,
}

/// What an entry of the log does to the prepared transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XaStep {
    /// One was prepared.
    Prepared(Prepared),
    /// One was committed or rolled back.
    Decided(Xid),
}

impl XaStep {
    /// Makes the step in a list of prepared transactions.
    pub fn apply(&self, prepared: &mut Vec<Prepared>) {
        let xid = match self {
            XaStep::Prepared(one) => &one.xid,
            XaStep::Decided(xid) => xid,
        };
        prepared.retain(|one| one.xid != *xid);
        if let XaStep::Prepared(one) = self {
            prepared.push(one.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::position::{BinlogCoord, Epoch};
    use super::*;

    #[test]
    fn one_identifier_has_one_notation() {
        let xid = Xid::new(b"ab", &[0xff], 1);
        assert_eq!(xid.to_string(), "X'6162',X'ff',1");
        assert_eq!(Xid::parse("X'6162',X'FF',1"), Some(xid.clone()));
        assert_eq!(Xid::parse(" x'6162', X'ff' , 1 "), Some(xid));
        assert_eq!(
            Xid::parse("X'',X'',4294967295"),
            Some(Xid::new(b"", b"", u32::MAX))
        );
        for wrong in [
            "",
            "X'6162'",
            "X'6162',X'ff'",
            "X'616',X'',1",
            "'a','b',1",
            "X'6162',X'',1,2",
            "X'zz',X'',1",
            "X'61é',X'',1",
        ] {
            assert_eq!(Xid::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn steps_keep_the_list_of_what_is_undecided() {
        let prepared = |xid: &Xid, offset| Prepared {
            xid: xid.clone(),
            at: TxnStart {
                epoch: Epoch(1),
                coord: BinlogCoord { file: 1, offset },
            },
            since: 7,
            tables: vec![TableId::new("s", "t")],
        };
        let (a, b) = (Xid::new(b"a", b"", 1), Xid::new(b"b", b"", 1));
        let mut list = Vec::new();
        for step in [
            XaStep::Prepared(prepared(&a, 1)),
            XaStep::Prepared(prepared(&b, 2)),
            // Read again.
            XaStep::Prepared(prepared(&a, 1)),
            XaStep::Decided(Xid::new(b"unknown", b"", 1)),
        ] {
            step.apply(&mut list);
        }
        assert_eq!(list, [prepared(&b, 2), prepared(&a, 1)]);
        XaStep::Decided(b).apply(&mut list);
        assert_eq!(list, [prepared(&a, 1)]);
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Prepared>>(&text).unwrap(), list);
    }
}
