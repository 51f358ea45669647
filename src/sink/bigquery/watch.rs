//! Watches over all connections: how long the oldest delivery waits for BigQuery's answer. Deliveries
//! are repeated for as long as it takes, so an outage must be told by somebody else than they.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::load::{Load, Oldest};
use super::meters;
use crate::clock::Clock;
use crate::status::Status;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(5);

/// A delivery that waits longer is told of, and the sink shows no life until it is answered.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often the same is told.
const REMINDER: Duration = Duration::from_secs(60);

/// The loads of all connections.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Clock,
    loads: Mutex<Vec<Arc<Load>>>,
}

impl Watch {
    pub(super) fn new(clock: Clock) -> Watch {
        Watch {
            clock,
            loads: Mutex::default(),
        }
    }

    /// Watches over one connection more.
    pub(super) fn add(&self, load: Arc<Load>) {
        self.loads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(load);
    }

    fn oldest(&self) -> Option<Oldest> {
        let loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads
            .iter()
            .filter_map(|load| load.oldest())
            .min_by_key(|oldest| oldest.since)
    }

    /// Reports for as long as it is not dropped.
    pub(super) async fn run(self: Arc<Watch>, status: Arc<Status>) {
        let mut told = None;
        loop {
            self.look(&status, &mut told);
            self.clock.sleep(EVERY).await;
        }
    }

    /// Shows the age of the oldest delivery; `told` is when it was last said that it is too high.
    fn look(&self, status: &Status, told: &mut Option<Instant>) {
        let now = self.clock.now();
        let oldest = self.oldest();
        let age = oldest.as_ref().map_or(Duration::ZERO, |oldest| {
            now.saturating_duration_since(oldest.since)
        });
        meters::oldest_unacknowledged(age);
        let Some(oldest) = oldest.filter(|_| age > PATIENCE) else {
            if told.take().is_some() {
                tracing::info!("BigQuery acknowledges again");
            }
            status.sink.beat(&self.clock);
            return;
        };
        if told.is_none_or(|at| now.saturating_duration_since(at) >= REMINDER) {
            *told = Some(now);
            tracing::error!(
                table = %oldest.table,
                seconds = age.as_secs(),
                "BigQuery does not acknowledge: rows wait, none is lost; not ready until it does"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::event::TableId;

    #[test]
    fn the_sink_shows_life_until_a_delivery_waits_too_long_and_again_after_its_answer() {
        let clock = Clock::manual();
        let (watch, status) = (Watch::new(clock.clone()), Status::default());
        let (quick, slow) = (Arc::new(Load::default()), Arc::new(Load::default()));
        watch.add(Arc::clone(&quick));
        watch.add(Arc::clone(&slow));
        let recorder = PrometheusBuilder::new().build_recorder();
        let silence = |told: &mut Option<Instant>| {
            metrics::with_local_recorder(&recorder, || watch.look(&status, told));
            status.sink.silence(&clock).map(|micros| micros / 1_000_000)
        };
        let mut told = None;
        assert_eq!(silence(&mut told), Some(0));
        slow.set_oldest(Some(Oldest {
            table: TableId::new("shop", "orders"),
            since: clock.now(),
        }));
        clock.advance(PATIENCE);
        quick.set_oldest(Some(Oldest {
            table: TableId::new("shop", "customers"),
            since: clock.now(),
        }));
        assert_eq!((silence(&mut told), told), (Some(0), None));
        clock.advance(Duration::from_secs(61));
        assert_eq!((silence(&mut told), told), (Some(61), Some(clock.now())));
        let metrics = recorder.handle().render();
        assert!(
            metrics.contains("replicator_sink_oldest_unacknowledged_seconds 361"),
            "{metrics}"
        );
        let view = status.view(&clock);
        assert!(
            view.problems
                .contains(&"sink has been silent for 61 s".to_owned()),
            "{:?}",
            view.problems
        );
        slow.set_oldest(None);
        assert_eq!((silence(&mut told), told), (Some(0), None));
    }
}
