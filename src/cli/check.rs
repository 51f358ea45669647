//! `replicator check`: everything that must be so before a start, all at once, with the cure for each.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};

use clap::Args;

use super::cost::{self, CostArguments};
use super::origin::Origin;
use super::start::{failed, with_config};
use super::{Failure, Global};
use crate::checkpoint::Store;
use crate::clock::Clock;
use crate::config::Config;
use crate::conformance;
use crate::fault::{Classify, chain};
use crate::sink::bigquery::{BigQuery, dataset_name, table_name};
use crate::sink::{Prepared, Sink};
use crate::source::{Finding, Severity, Source};

/// Checks source, target and permissions; changes nothing unless asked to probe.
///
/// Prints one line for each thing that was looked at, and what to do about those that are wrong.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  replicator check --config shop.yaml
  \
                           replicator check --config shop.yaml --cost")]
pub(super) struct Arguments {
    #[command(flatten)]
    cost: CostArguments,
    /// Also write, update, delete and read a row in each target data set, in a table of its own that is removed.
    #[arg(long)]
    probe: bool,
}

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<(), Failure> {
    with_config(global, |config| async move {
        let clock = Clock::real();
        let origin = Origin::new(&config, clock.clone()).await?;
        if arguments.cost.asked() {
            return cost::print(&arguments.cost, &origin, &config).await;
        }
        let (source, mut all) = (origin.source(), origin.findings().await?);
        all.extend(position(&origin, &config, clock.clone()).await?);
        if !all.iter().any(|finding| finding.severity == Severity::Error) {
            all.extend(target(&*source, &config, clock.clone()).await?);
            if arguments.probe {
                all.extend(probe(&*source, &config, clock).await?);
            }
        }
        print(&all)?;
        let wrong = all
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count();
        match wrong {
            0 => Ok(()),
            1 => Err(Failure::Failed {
                what: "1 thing is wrong".to_owned(),
                hint: None,
            }),
            _ => Err(Failure::Failed {
                what: format!("{wrong} things are wrong"),
                hint: None,
            }),
        }
    })
}

/// Whether the source still has what comes after the checkpoint, if there is one.
async fn position(origin: &Origin, config: &Config, clock: Clock) -> Result<Option<Finding>, Failure> {
    let found = Store::peek(&config.checkpoint, &config.pipeline, clock).await;
    let checkpoint = match found {
        Ok(Some(checkpoint)) => checkpoint,
        Ok(None) => return Ok(None),
        Err(error) => {
            return Ok(Some(Finding {
                severity: Severity::Error,
                subject: "checkpoint".to_owned(),
                text: chain(&error),
                cure: error.hint().unwrap_or_default(),
            }));
        }
    };
    Ok(Some(origin.place(&checkpoint.position).await?))
}

/// Whether each table's target can be reached and written to.
async fn target(source: &dyn Source, config: &Config, clock: Clock) -> Result<Vec<Finding>, Failure> {
    let sink = BigQuery::new(config, clock).map_err(|error| failed(&error))?;
    let mut findings = Vec::new();
    for layout in source.tables(&[]).await.map_err(|error| failed(&*error))? {
        let (dataset, table) = config.target(&layout.table);
        let subject = format!("target {}.{}", dataset_name(&dataset), table_name(&table));
        let finding = match sink.inspect(&layout).await {
            Ok(Prepared::NotEmpty) => Finding {
                severity: Severity::Ok,
                subject,
                text: "is there and holds rows".to_owned(),
                cure: String::new(),
            },
            Ok(Prepared::Absent | Prepared::Empty | Prepared::Created) => Finding {
                severity: Severity::Ok,
                subject,
                text: "can be reached".to_owned(),
                cure: String::new(),
            },
            Err(error) => Finding {
                severity: Severity::Error,
                subject,
                text: chain(&*error),
                cure: error.hint().unwrap_or_default(),
            },
        };
        findings.push(finding);
    }
    Ok(findings)
}

/// The way of one row in each data set that tables go to.
async fn probe(source: &dyn Source, config: &Config, clock: Clock) -> Result<Vec<Finding>, Failure> {
    let layouts = source.tables(&[]).await.map_err(|error| failed(&*error))?;
    let datasets: BTreeSet<String> = layouts
        .iter()
        .map(|layout| config.target(&layout.table).0)
        .collect();
    let mut findings = Vec::new();
    for dataset in datasets {
        for step in conformance::probe(config, &dataset, clock.clone()).await {
            let (severity, text, cure) = match step.failure {
                None => (Severity::Ok, step.step.to_owned(), String::new()),
                Some((text, cure)) => (Severity::Error, format!("cannot {}: {text}", step.step), cure),
            };
            findings.push(Finding {
                severity,
                subject: format!("probe of {dataset}"),
                text,
                cure,
            });
        }
    }
    Ok(findings)
}

fn print(findings: &[Finding]) -> Result<(), Failure> {
    let text = render(findings, std::io::stdout().is_terminal());
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::system("cannot write to standard output", &error))
}

fn render(findings: &[Finding], colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, code) = match finding.severity {
            Severity::Ok => ("ok     ", "32"),
            Severity::Warning => ("warning", "33"),
            Severity::Error => ("error  ", "1;31"),
        };
        let word = if colour {
            format!("\x1b[{code}m{word}\x1b[0m")
        } else {
            word.to_owned()
        };
        text.push_str(&format!("{word}  {}: {}\n", finding.subject, finding.text));
        if !finding.cure.is_empty() && finding.severity != Severity::Ok {
            text.push_str(&format!("         {}\n", finding.cure));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cures_stand_under_what_is_wrong() {
        let finding = |severity, cure: &str| Finding {
            severity,
            subject: "binlog_format".to_owned(),
            text: "is MIXED".to_owned(),
            cure: cure.to_owned(),
        };
        let text = render(
            &[
                finding(Severity::Ok, ""),
                finding(Severity::Error, "SET GLOBAL binlog_format = ROW"),
            ],
            false,
        );
        assert_eq!(
            text,
            "ok       binlog_format: is MIXED\nerror    binlog_format: is MIXED\n         SET GLOBAL binlog_format = ROW\n"
        );
    }
}
