//! Why a server refuses to send its log, or ends sending it. It has one error code for every reason, so
//! only the text tells a purged log from a second reader with the same id. The texts are those of
//! MySQL 5.7 to 9.x (<https://github.com/mysql/mysql-server/blob/trunk/sql/rpl_binlog_sender.cc>) and of
//! MariaDB (<https://github.com/MariaDB/server/blob/main/sql/sql_repl.cc>).

/// "Could not read the binlog", whatever the reason.
pub const ER_BINLOG: u16 = 1236;

/// A reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Files that hold what comes next were purged, or are not there for another reason.
    Gone,
    /// The place lies beyond the end of its file.
    Beyond,
    /// The server lacks transactions that the reader has.
    Errant,
    /// `gtid_mode` is not ON, or there are transactions without a GTID where a reader goes by GTIDs.
    Mode,
    /// Another reader came with the same id.
    SameId,
    /// An event is larger than the server may send.
    TooLarge,
    /// An event is damaged.
    Damaged,
    /// The server is not set up to be read from.
    NoLog,
    /// Anything else, which may pass.
    Other,
}

/// Parts of the texts, in lower case. The first that fits decides.
const TEXTS: [(Refusal, &[&str]); 8] = [
    (Refusal::SameId, &["same server_uuid/server_id"]),
    (
        Refusal::TooLarge,
        &["max_allowed_packet", "log event entry exceeded"],
    ),
    (
        Refusal::Errant,
        &["more gtids than", "not in the master's binlog", "has diverged"],
    ),
    (
        Refusal::Gone,
        &[
            "purged",
            "could not find first log file",
            "could not open log file",
            "could not find next log",
            "could not find gtid state",
        ],
    ),
    (Refusal::Beyond, &["position > file size", "impossible position"]),
    (
        Refusal::Mode,
        &["auto_position", "anonymous transaction", "gtid_mode"],
    ),
    (
        Refusal::NoLog,
        &[
            "binary log is not open",
            "server_id was not set",
            "server id was not set",
        ],
    ),
    (
        Refusal::Damaged,
        &[
            "bogus data",
            "crc check",
            "did not pass",
            "corrupt",
            "truncated in the middle",
        ],
    ),
];

impl Refusal {
    /// The reason that a server's text gives.
    pub fn of(text: &str) -> Refusal {
        let text = text.to_lowercase();
        TEXTS
            .iter()
            .find(|(_, parts)| parts.iter().any(|part| text.contains(part)))
            .map_or(Refusal::Other, |(refusal, _)| *refusal)
    }

    /// Whether the log does not continue what was read, at this server and as it is now.
    pub fn loses_position(self) -> bool {
        match self {
            Refusal::Gone | Refusal::Beyond | Refusal::Errant | Refusal::Mode => true,
            Refusal::SameId | Refusal::TooLarge | Refusal::Damaged | Refusal::NoLog | Refusal::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: &[(&str, Refusal)] = &[
        (
            "Could not find first log file name in binary log index file",
            Refusal::Gone,
        ),
        (
            "Cannot replicate because the source purged required binary logs. Replicate the missing transactions from elsewhere, or provision a new replica from backup.",
            Refusal::Gone,
        ),
        (
            "The slave is connecting using CHANGE MASTER TO MASTER_AUTO_POSITION = 1, but the master has purged binary logs containing GTIDs that the slave requires.",
            Refusal::Gone,
        ),
        (
            "could not find next log; the first event 'binlog.000001' at 4",
            Refusal::Gone,
        ),
        (
            "Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and required binlog files have been purged.",
            Refusal::Gone,
        ),
        (
            "Client requested source to start replication from position > file size",
            Refusal::Beyond,
        ),
        (
            "Client requested master to start replication from impossible position; the first event 'a.000001' at 9999",
            Refusal::Beyond,
        ),
        (
            "Replica has more GTIDs than the source has, using the source's SERVER_UUID. This may indicate that the end of the binary log was truncated or that the last binary log file was lost",
            Refusal::Errant,
        ),
        (
            "Slave has more GTIDs than the master has, using the master's SERVER_UUID.",
            Refusal::Errant,
        ),
        (
            "Error: connecting slave requested to start from GTID 0-1-99, which is not in the master's binlog",
            Refusal::Errant,
        ),
        (
            "The replication sender thread cannot start in AUTO_POSITION mode: this server has GTID_MODE = OFF instead of ON.",
            Refusal::Mode,
        ),
        (
            "Cannot replicate anonymous transaction when AUTO_POSITION = 1, at file ./binlog.000001, position 154.",
            Refusal::Mode,
        ),
        (
            "A replica with the same server_uuid/server_id as this replica has connected to the source; the first event 'binlog.000002' at 4",
            Refusal::SameId,
        ),
        (
            "A slave with the same server_uuid/server_id as this slave has connected to the master",
            Refusal::SameId,
        ),
        (
            "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source; the first event 'b' at 4",
            Refusal::TooLarge,
        ),
        (
            "bogus data in log event; the first event 'binlog.000001' at 4, the last event read from './binlog.000001' at 124",
            Refusal::Damaged,
        ),
        (
            "binlog truncated in the middle of event; consider out of disk space on source",
            Refusal::Damaged,
        ),
        (
            "Event crc check failed! Most likely there is event corruption.",
            Refusal::Damaged,
        ),
        ("Binary log is not open", Refusal::NoLog),
        ("Misconfigured master - server_id was not set", Refusal::NoLog),
        ("memory allocation failed reading log event", Refusal::Other),
        ("", Refusal::Other),
    ];

    #[test]
    fn each_text_has_its_reason() {
        for (text, refusal) in KNOWN {
            assert_eq!(Refusal::of(text), *refusal, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_around_a_known_one_changes_nothing(before in "[ a-z0-9;'./]{0,20}", after in "[ a-z0-9;'./]{0,20}") {
            let text = format!("{before}Could Not Find First Log File name{after}");
            prop_assert_eq!(Refusal::of(&text), Refusal::Gone);
        }
    }
}
