//! Crash points. Built with the feature `failpoints`, the process kills itself (SIGKILL, no
//! destructors, no flush) at the point that `REPLICATOR_FAILPOINT` names, so that a test proves what
//! a power cut there leaves behind. Without the feature [`hit`] is nothing.

/// An append request has been written to the connection, its answer not yet read.
pub const APPEND_SENT: &str = "append-sent";
/// Every request of a flush is acknowledged, the frontier not yet moved.
pub const FLUSH_ACKNOWLEDGED: &str = "flush-acknowledged";
/// The frontier moved, the checkpoint not yet written.
pub const CHECKPOINT_BEFORE_WRITE: &str = "checkpoint-before-write";
/// The new checkpoint file is written and synced, not yet renamed over the old one.
pub const CHECKPOINT_BEFORE_RENAME: &str = "checkpoint-before-rename";
/// A table's low watermark is taken, not yet durable.
pub const WATERMARK_TAKEN: &str = "watermark-taken";
/// A table's low watermark is durable, no row read yet.
pub const WATERMARK_DURABLE: &str = "watermark-durable";
/// A snapshot chunk is acknowledged, not yet marked as done.
pub const CHUNK_ACKNOWLEDGED: &str = "chunk-acknowledged";
/// A table's last chunk is done, "snapshot done" not yet durable.
pub const SNAPSHOT_BEFORE_DONE: &str = "snapshot-before-done";
/// The target table is created, not yet noted in the checkpoint.
pub const TABLE_CREATED: &str = "table-created";

/// A change of a target's columns is durably intended, not begun.
pub const CHANGE_INTENDED: &str = "change-intended";
/// A target's columns are changed, that it is done not yet noted.
pub const CHANGE_MADE: &str = "change-made";
/// Rows that are gone are deleted from a target, that it is done not yet noted.
pub const SWEPT: &str = "swept";

/// Every failpoint that a first copy and its stream meet, in the order a row meets them.
pub const ALL: &[&str] = &[
    TABLE_CREATED,
    WATERMARK_TAKEN,
    WATERMARK_DURABLE,
    APPEND_SENT,
    CHUNK_ACKNOWLEDGED,
    SNAPSHOT_BEFORE_DONE,
    FLUSH_ACKNOWLEDGED,
    CHECKPOINT_BEFORE_WRITE,
    CHECKPOINT_BEFORE_RENAME,
];

/// Dies here if the environment asks for this point (`NAME` or `NAME:N` for the N-th time it is met).
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static ASKED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static MET: AtomicU64 = AtomicU64::new(0);
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's switch, not configuration; absent from release builds"
    )]
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("REPLICATOR_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((wanted, count)) = asked
        && wanted == name
        && MET.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        let pid = std::process::id().to_string();
        // kill(1) and not abort(): no core, no destructor, the same as a lost machine.
        let _killed = std::process::Command::new("kill").args(["-9", &pid]).status();
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// Nothing: the feature `failpoints` is off.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_name: &str) {}
