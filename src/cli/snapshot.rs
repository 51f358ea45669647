//! `replicator snapshot`: the first copy of every table, with a progress bar on a terminal, then the end.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::sync::Mutex;

use super::start::{Until, Waiting, start, with_config};
use super::{Failure, Global};
use crate::clock::Clock;
use crate::status::{Status, TableProgress};
use crate::task;
use crate::telemetry;

/// Copies every table that is not copied yet, then ends.
///
/// `replicator run` goes on from the position that this leaves in the checkpoint. Stopped or killed, it
/// goes on with the chunks that are missing.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  replicator snapshot --config shop.yaml && replicator run --config shop.yaml\n  \
                       replicator snapshot --config shop.yaml --table shop.orders --table 'crm.*'"
)]
pub(super) struct Arguments {
    /// Copy these tables only: schema.table with * and ?; may be given again.
    ///
    /// Tables that are copied already stay followed, and copies that were begun are ended. The others are left to the
    /// next `replicator snapshot` or `run`.
    #[arg(long = "table", value_name = "PATTERN")]
    tables: Vec<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// How often the bars move.
const REFRESH: Duration = Duration::from_millis(200);

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<(), Failure> {
    let waiting = arguments.waiting;
    let until = Until::Copied {
        only: arguments.tables.clone(),
    };
    with_config(global, |config| async move {
        let drawing = OnceLock::new();
        let end = start(config, waiting, until, |status| {
            if std::io::stderr().is_terminal() {
                let bars = Arc::new(Mutex::new(Bars::new(status, Clock::real())));
                let task = task::spawn("progress", draw(Arc::clone(&bars)));
                let _first = drawing.set((bars, task));
            }
        })
        .await;
        if let Some((bars, task)) = drawing.into_inner() {
            drop(task);
            // What came after the last drawing.
            bars.lock().await.draw();
        }
        end
    })
}

/// Draws until the task is dropped.
async fn draw(bars: Arc<Mutex<Bars>>) {
    loop {
        let clock = {
            let mut bars = bars.lock().await;
            bars.draw();
            bars.clock.clone()
        };
        clock.sleep(REFRESH).await;
    }
}

/// One bar a table.
struct Bars {
    status: Arc<Status>,
    clock: Clock,
    drawn: BTreeMap<String, Bar>,
}

/// A table's bar.
struct Bar {
    bar: ProgressBar,
    /// When this process first saw the copy under way, and the rows by then.
    began: Option<(Instant, u64)>,
}

impl Bars {
    fn new(status: Arc<Status>, clock: Clock) -> Bars {
        Bars {
            status,
            clock,
            drawn: BTreeMap::new(),
        }
    }

    fn draw(&mut self) {
        for (table, view) in self.status.view(&self.clock).tables {
            let bar = self.drawn.entry(table).or_insert_with_key(|table| {
                let bar = ProgressBar::new(1).with_style(style(WAITING));
                Bar {
                    bar: telemetry::bars().add(bar.with_prefix(table.clone())),
                    began: None,
                }
            });
            bar.draw(&view.progress, view.dead_letters, self.clock.now());
        }
    }
}

const WAITING: &str = "{prefix:30!} {msg}";
const COPYING: &str = "{prefix:30!} {bar:24} {msg}";

fn style(template: &str) -> ProgressStyle {
    // The templates are ours and a unit test reads them; the plain style is no worse than none.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Bar {
    fn draw(&mut self, progress: &TableProgress, dead_letters: u64, now: Instant) {
        if self.bar.is_finished() {
            return;
        }
        match progress {
            TableProgress::Waiting | TableProgress::Reopening { .. } => self.bar.set_message("waiting"),
            TableProgress::Snapshot { estimate, rows, .. } => {
                let (began, before) = *self.began.get_or_insert((now, *rows));
                // An estimate may be too low; the bar must not claim the end before it.
                let all = (*estimate).max(*rows).max(1);
                self.bar.set_style(style(COPYING));
                self.bar.set_length(all);
                self.bar.set_position(*rows);
                let speed = speed(rows.saturating_sub(before), now.saturating_duration_since(began));
                self.bar.set_message(format!(
                    "{} of about {} rows{speed}",
                    HumanCount(*rows),
                    HumanCount(all)
                ));
            }
            TableProgress::Streaming { rows } => {
                self.bar.set_style(style(WAITING));
                let took = self.began.map(|(began, _)| now.saturating_duration_since(began));
                let took = took.map(|took| format!(" in {}", HumanDuration(took)));
                let took = took.unwrap_or_default();
                let mut message = format!("copied {} rows{took}", HumanCount(*rows));
                if dead_letters > 0 {
                    message += &format!("; {} put aside, see the log", HumanCount(dead_letters));
                }
                self.bar.finish_with_message(message);
            }
            TableProgress::Dropped => self.bar.set_message("dropped"),
            TableProgress::Parked { .. } => {
                self.bar.set_style(style(WAITING));
                self.bar.abandon_with_message("parked: see the log");
            }
        }
    }
}

/// Rows a second since the start, once there is anything to tell.
fn speed(rows: u64, took: Duration) -> String {
    match u64::try_from(took.as_millis()) {
        Ok(millis) if millis > 0 && rows > 0 => {
            format!(", {} a second", HumanCount(rows.saturating_mul(1000) / millis))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar() -> Bar {
        Bar {
            bar: ProgressBar::hidden(),
            began: None,
        }
    }

    #[test]
    fn the_templates_are_some() {
        for template in [WAITING, COPYING] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn a_bar_never_stands_at_its_end_before_it_is_there() {
        let (mut bar, began) = (bar(), Clock::real().now());
        let progress = |rows| TableProgress::Snapshot {
            estimate: 10,
            rows,
            chunks: 1,
        };
        bar.draw(&progress(50), 0, began);
        assert_eq!((bar.bar.position(), bar.bar.length()), (50, Some(50)));
        bar.draw(&progress(3_050), 0, began + Duration::from_secs(2));
        assert_eq!(bar.bar.message(), "3,050 of about 3,050 rows, 1,500 a second");
        let done = TableProgress::Streaming { rows: 4_000 };
        bar.draw(&done, 3, began + Duration::from_secs(3));
        assert!(bar.bar.is_finished());
        assert_eq!(
            bar.bar.message(),
            "copied 4,000 rows in 3 seconds; 3 put aside, see the log"
        );
    }

    #[test]
    fn a_table_that_waits_shows_no_bar() {
        let mut bar = bar();
        bar.draw(&TableProgress::Waiting, 0, Clock::real().now());
        assert_eq!(bar.bar.message(), "waiting");
    }
}
