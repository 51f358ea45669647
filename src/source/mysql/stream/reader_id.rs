//! The id under which the log is read. A server ends a reader when another one comes with the same id,
//! so one that was chosen here gives way to a new one, and one that the configuration names cannot.

use std::sync::atomic::{AtomicU32, Ordering};

/// The reader's `server_id` among a server's replicas.
#[derive(Debug)]
pub struct ReaderId {
    id: AtomicU32,
    chosen: bool,
}

impl ReaderId {
    /// The configured id, or one of our choice.
    pub fn new(configured: Option<u32>) -> ReaderId {
        ReaderId {
            id: AtomicU32::new(configured.unwrap_or_else(choose)),
            chosen: configured.is_none(),
        }
    }

    /// The id.
    pub fn get(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// An id for a second, short dump beside the reader's.
    pub fn probe(&self) -> u32 {
        match self.get() ^ 1 {
            0 => 2,
            id => id,
        }
    }

    /// Takes another id if this one was of our choice; returns whether it was.
    pub fn renew(&self) -> bool {
        if self.chosen {
            let old = self.get();
            let new = std::iter::repeat_with(choose).find(|new| *new != old);
            self.id.store(new.unwrap_or(old), Ordering::Relaxed);
        }
        self.chosen
    }
}

/// Any number that no other replica has; low ones are the ones people give.
fn choose() -> u32 {
    fastrand::u32(0x1000_0000..u32::MAX) & !1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_of_our_choice_gives_way() {
        let (configured, chosen) = (ReaderId::new(Some(7)), ReaderId::new(None));
        let before = chosen.get();
        assert!(!configured.renew() && chosen.renew());
        assert_eq!((configured.get(), configured.probe()), (7, 6));
        assert_ne!(chosen.get(), before);
        assert_eq!(ReaderId::new(Some(1)).probe(), 2);
    }
}
