//! Watches that what is not copied yet is not purged at the source first. A log that is gone costs a copy of
//! every table; half a retention of warning costs nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::fault::chain;
use crate::source::{Retention, Source};
use crate::status::Status;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(60);
/// Looks after which the log says the same again: an hour.
const REMIND: u32 = 60;

/// How near the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Danger {
    None,
    /// Half of the retention is used, or older log than this was purged already.
    Near,
    /// Four fifths are.
    Close,
}

/// Watches until it is dropped, or until the source says that it has nothing to watch.
pub(super) async fn watch(source: Arc<dyn Source>, status: Arc<Status>, clock: Clock) {
    let (mut said, mut looks) = (Danger::None, 0);
    loop {
        match source.retention().await {
            Ok(None) => return,
            Ok(Some(retention)) => {
                status.retention(retention.kept);
                let view = status.view(&clock);
                let lag = view.appended_lag_ms.and_then(|lag| u64::try_from(lag).ok());
                let lag = Duration::from_millis(lag.unwrap_or(0));
                let danger = judge(&retention, lag, status.safe_file());
                if danger != said || looks >= REMIND {
                    say(danger, said, &retention, lag);
                    (said, looks) = (danger, 0);
                }
                looks += 1;
            }
            // The reader meets it too, and says so.
            Err(error) => tracing::debug!(error = chain(&*error), "retention not read"),
        }
        clock.sleep(PERIOD).await;
    }
}

/// Judges by the time that passed since the position's last commit, and by the files that are left.
fn judge(retention: &Retention, lag: Duration, file: Option<u64>) -> Danger {
    let by_age = match retention.kept {
        Some(kept) if lag >= kept.mul_f64(0.8) => Danger::Close,
        Some(kept) if lag >= kept.mul_f64(0.5) => Danger::Near,
        Some(_) | None => Danger::None,
    };
    let by_file = match (retention.files, file) {
        // The next purge takes the oldest file. One that is still written to is never taken.
        (Some((oldest, newest)), Some(file)) if oldest > 1 && file <= oldest && file < newest => Danger::Near,
        _ => Danger::None,
    };
    by_age.max(by_file)
}

fn say(danger: Danger, said: Danger, retention: &Retention, lag: Duration) {
    let (lag_s, kept_s) = (lag.as_secs(), retention.kept.map(|kept| kept.as_secs()));
    let cure = "see why copying is behind; until then keep the log longer: binlog_expire_logs_seconds, or on Amazon RDS and Aurora CALL mysql.rds_set_configuration('binlog retention hours', 168)";
    match danger {
        Danger::Close => tracing::error!(
            lag_s,
            kept_s,
            cure,
            "the source purges its log soon, with changes that are not copied"
        ),
        Danger::Near => tracing::warn!(
            lag_s,
            kept_s,
            cure,
            "copying is behind by a large part of the time that the source keeps its log, or reads the oldest file that is left"
        ),
        Danger::None if said > Danger::None => tracing::info!(
            lag_s,
            kept_s,
            "copying is far from the end of the source's log again"
        ),
        Danger::None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn kept(hours: u32) -> Retention {
        Retention {
            kept: Some(HOUR * hours),
            files: Some((1, 9)),
        }
    }

    #[test]
    fn half_of_the_time_is_near_and_four_fifths_are_close() {
        for (minutes, danger) in [
            (0, Danger::None),
            (299, Danger::None),
            (300, Danger::Near),
            (479, Danger::Near),
            (480, Danger::Close),
            (9999, Danger::Close),
        ] {
            assert_eq!(
                judge(&kept(10), Duration::from_secs(minutes * 60), Some(1)),
                danger,
                "{minutes}"
            );
        }
    }

    #[test]
    fn the_oldest_file_is_near_the_end_once_older_ones_were_purged() {
        let files = |oldest, newest| Retention {
            kept: None,
            files: Some((oldest, newest)),
        };
        for (oldest, newest, file, danger) in [
            (1, 5, Some(1), Danger::None),
            (3, 5, Some(3), Danger::Near),
            (3, 5, Some(2), Danger::Near),
            (3, 5, Some(4), Danger::None),
            (3, 3, Some(3), Danger::None),
            (3, 5, None, Danger::None),
        ] {
            assert_eq!(
                judge(&files(oldest, newest), HOUR, file),
                danger,
                "{oldest} {newest} {file:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn more_lag_is_never_less_danger(hours in 1u32..5000, one in 0u64..40_000_000, two in 0u64..40_000_000) {
            let (less, more) = (one.min(two), one.max(two));
            let at = |seconds| judge(&kept(hours), Duration::from_secs(seconds), None);
            prop_assert!(at(less) <= at(more));
        }
    }
}
