//! MariaDB's global transaction identifiers, `domain-server-number`. Within a domain transactions have one
//! order, so a place in all of a server's logs is one identifier for each domain: the last of it
//! (<https://mariadb.com/kb/en/gtid/>). A server that holds that one holds all before it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::gtid::{Gtid, GtidParseError, GtidSet};

/// One transaction's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DomainGtid {
    /// The replication domain.
    pub domain: u32,
    /// `server_id` of where it began.
    pub server: u32,
    /// Its number in the domain.
    pub number: u64,
}

/// The last transaction of each domain: `0-1-100,1-2-50`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainPosition(BTreeMap<u32, DomainGtid>);

/// What a server's log has held, ever: for each domain and server the last transaction (`gtid_binlog_state`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainState(BTreeMap<(u32, u32), u64>);

/// Transactions that a server must have executed, in its own terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Seen {
    /// MySQL's.
    Gtids(GtidSet),
    /// MariaDB's.
    Domains(DomainPosition),
}

/// A transaction's identifier, in its server's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlobalId {
    /// MySQL's.
    Gtid(Gtid),
    /// MariaDB's.
    Domain(DomainGtid),
}

impl TryFrom<String> for Seen {
    type Error = String;

    fn try_from(text: String) -> Result<Seen, String> {
        // Each of MySQL's has a colon.
        if text.contains(':') || text.is_empty() {
            return text
                .parse()
                .map(Seen::Gtids)
                .map_err(|error: GtidParseError| error.to_string());
        }
        text.parse()
            .map(Seen::Domains)
            .map_err(|error: DomainParseError| error.to_string())
    }
}

impl From<Seen> for String {
    fn from(seen: Seen) -> String {
        match seen {
            Seen::Gtids(set) => set.to_string(),
            Seen::Domains(position) => position.to_string(),
        }
    }
}

/// Text that is no list of MariaDB's identifiers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a MariaDB GTID: {0:?}")]
pub struct DomainParseError(String);

impl FromStr for DomainGtid {
    type Err = DomainParseError;

    fn from_str(text: &str) -> Result<DomainGtid, DomainParseError> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        parse(&parts).ok_or_else(|| DomainParseError(text.to_owned()))
    }
}

fn parse(parts: &[&str]) -> Option<DomainGtid> {
    let [domain, server, number] = parts else {
        return None;
    };
    Some(DomainGtid {
        domain: domain.parse().ok()?,
        server: server.parse().ok()?,
        number: number.parse().ok()?,
    })
}

impl fmt::Display for DomainGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.number)
    }
}

fn list(text: &str) -> impl Iterator<Item = Result<DomainGtid, DomainParseError>> {
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .map(str::parse)
}

impl FromStr for DomainPosition {
    type Err = DomainParseError;

    fn from_str(text: &str) -> Result<DomainPosition, DomainParseError> {
        let mut position = DomainPosition::default();
        for gtid in list(text) {
            position.pass(gtid?);
        }
        Ok(position)
    }
}

impl fmt::Display for DomainPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.0.values().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for DomainPosition {
    type Error = DomainParseError;

    fn try_from(text: String) -> Result<DomainPosition, DomainParseError> {
        text.parse()
    }
}

impl From<DomainPosition> for String {
    fn from(position: DomainPosition) -> String {
        position.to_string()
    }
}

impl DomainPosition {
    /// Moves past a transaction: the next of its domain, whatever its number.
    pub fn pass(&mut self, gtid: DomainGtid) {
        self.0.insert(gtid.domain, gtid);
    }

    /// The place in a domain.
    pub fn of(&self, domain: u32) -> Option<&DomainGtid> {
        self.0.get(&domain)
    }

    /// Those of its transactions for which `held` does not hold.
    #[must_use]
    pub fn without(&self, held: impl Fn(&DomainGtid) -> bool) -> DomainPosition {
        let missing = self.0.values().filter(|gtid| !held(gtid));
        DomainPosition(missing.map(|gtid| (gtid.domain, *gtid)).collect())
    }

    /// Whether it has no domain.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is at or after a transaction in that one's domain.
    pub fn reaches(&self, gtid: &DomainGtid) -> bool {
        self.of(gtid.domain)
            .is_some_and(|last| last.number >= gtid.number)
    }
}

impl FromStr for DomainState {
    type Err = DomainParseError;

    fn from_str(text: &str) -> Result<DomainState, DomainParseError> {
        let mut state = DomainState::default();
        for gtid in list(text) {
            let gtid = gtid?;
            let last = state.0.entry((gtid.domain, gtid.server)).or_default();
            *last = gtid.number.max(*last);
        }
        Ok(state)
    }
}

impl DomainState {
    /// Whether the transaction was written to this log, ever.
    pub fn holds(&self, gtid: &DomainGtid) -> bool {
        let last = self.0.get(&(gtid.domain, gtid.server));
        last.is_some_and(|last| gtid.number <= *last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_position_is_the_last_of_each_domain() {
        let mut position: DomainPosition = " 1-2-50,0-1-100 ".parse().unwrap();
        assert_eq!(position.to_string(), "0-1-100,1-2-50");
        position.pass("0-7-3".parse().unwrap());
        assert_eq!(position.to_string(), "0-7-3,1-2-50");
        assert_eq!("".parse::<DomainPosition>().unwrap(), DomainPosition::default());
        for bad in ["0-1", "0-1-2-3", "a-1-2", "0-1-2,x", "4294967296-1-1", "0--1"] {
            assert!(bad.parse::<DomainPosition>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_that_lacks_a_transaction_is_told() {
        let state: DomainState = "0-1-100,0-2-90,1-2-50".parse().unwrap();
        let ours: DomainPosition = "0-2-91,1-2-50,2-1-1".parse().unwrap();
        let missing = ours.without(|gtid| state.holds(gtid));
        assert_eq!(missing.to_string(), "0-2-91,2-1-1");
    }

    /// A checkpoint keeps either kind as text, and each is read back as itself.
    #[test]
    fn what_was_seen_is_text() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
        for seen in [
            Seen::Gtids(uuid.parse().unwrap()),
            Seen::Gtids(GtidSet::default()),
            Seen::Domains("0-1-100,1-2-50".parse().unwrap()),
            // As many digits as a UUID has.
            Seen::Domains("4294967295-4294967295-184467440737".parse().unwrap()),
        ] {
            let text = serde_json::to_string(&seen).unwrap();
            assert_eq!(serde_json::from_str::<Seen>(&text).unwrap(), seen, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_reads_back(gtids in proptest::collection::vec(any::<(u32, u32, u64)>(), 0..5)) {
            let mut position = DomainPosition::default();
            for (domain, server, number) in gtids {
                position.pass(DomainGtid { domain, server, number });
            }
            prop_assert_eq!(position.to_string().parse::<DomainPosition>().unwrap(), position);
        }
    }
}
