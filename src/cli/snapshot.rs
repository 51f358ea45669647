//! `replicator snapshot`: the first copy of every table, with a progress bar on a terminal, then the end.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::start::{Ready, with_config};
use super::{Failure, Global};
use crate::clock::Clock;
use crate::status::{Status, TableProgress};
use crate::task::{self, Task};

/// Copies every table that is not copied yet, then ends.
///
/// `replicator run` goes on from the position that this leaves in the checkpoint. Stopped or killed, it
/// goes on with the chunks that are missing.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  replicator snapshot --config shop.yaml && replicator run --config shop.yaml"
)]
pub(super) struct Arguments {}

/// How often the bars move.
const REFRESH: Duration = Duration::from_millis(200);

pub(super) fn run(_: &Arguments, global: &Global) -> Result<(), Failure> {
    with_config(global, |config| async {
        let ready = Ready::new(config).await?;
        let _bars = std::io::stderr().is_terminal().then(|| show(ready.status()));
        ready.run(true).await
    })
}

/// Draws one bar a table until the task is dropped.
fn show(status: Arc<Status>) -> Task<()> {
    let clock = Clock::real();
    task::spawn("progress", async move {
        let bars = MultiProgress::new();
        let mut drawn: Vec<(String, ProgressBar)> = Vec::new();
        loop {
            for (table, view) in status.view(&clock).tables {
                let known = drawn.iter().position(|(name, _)| *name == table);
                let bar = match known.and_then(|index| drawn.get(index)) {
                    Some((_, bar)) => bar.clone(),
                    None => {
                        let bar =
                            bars.add(ProgressBar::new(0).with_style(style()).with_prefix(table.clone()));
                        drawn.push((table, bar.clone()));
                        bar
                    }
                };
                draw(&bar, &view.progress);
            }
            clock.sleep(REFRESH).await;
        }
    })
}

fn style() -> ProgressStyle {
    // The template is ours and a unit test draws it; the plain style is no worse than none.
    ProgressStyle::with_template(
        "{prefix:30!} {bar:30} {human_pos:>12}/{human_len} rows  {per_sec:>14}  {msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn draw(bar: &ProgressBar, progress: &TableProgress) {
    match progress {
        TableProgress::Waiting => bar.set_message("waiting"),
        TableProgress::Snapshot { estimate, rows, .. } => {
            // An estimate may be too low; the bar must not claim the end before it.
            bar.set_length((*estimate).max(*rows));
            bar.set_position(*rows);
            bar.set_message("");
        }
        TableProgress::Streaming => {
            bar.set_length(bar.position());
            bar.finish_with_message("copied");
        }
        TableProgress::Parked { .. } => bar.abandon_with_message("parked: see the log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        ProgressStyle::with_template(
            "{prefix:30!} {bar:30} {human_pos:>12}/{human_len} rows  {per_sec:>14}  {msg}",
        )
        .unwrap();
    }

    #[test]
    fn a_bar_never_stands_at_its_end_before_it_is_there() {
        let bar = ProgressBar::hidden();
        draw(
            &bar,
            &TableProgress::Snapshot {
                estimate: 10,
                rows: 50,
                chunks: 1,
            },
        );
        assert_eq!((bar.position(), bar.length()), (50, Some(50)));
        draw(&bar, &TableProgress::Streaming);
        assert!(bar.is_finished());
    }
}
