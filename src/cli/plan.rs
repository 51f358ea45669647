//! `replicator plan`: what the next start, or the pipeline that runs, would do to the targets now, and by which policies.
//! Nothing is changed, neither at the source nor at the target nor in the checkpoint.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::origin::Origin;
use super::start::{failed, with_config};
use super::{Failure, Global};
use crate::checkpoint::{Checkpoint, Phase, Store, TableState};
use crate::clock::Clock;
use crate::config::{AddedDefault, Adding, Config};
use crate::event::{AlterSaid, TableId, TableLayout};
use crate::fault::{Fault, chain};
use crate::schema;
use crate::sink::bigquery::BigQuery;
use crate::sink::{Prepared, Sink};
use crate::source::Source;

/// Shows what would be done to the targets now; changes nothing.
///
/// Compares the source's tables with what the checkpoint knows of them and with the targets that are there, and prints the exact
/// statements. What a statement says beyond the columns that it leaves (a rename), only the log tells: here a renamed column
/// looks like one that went and one that came.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  replicator plan --config shop.yaml --json | jq '.tables[] | select(.action != \"nothing\")'"
)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is to be done with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// It stays out of the target, or cannot be followed.
    Refused,
    /// It is parked already.
    Parked,
    /// Its target is made, and it is copied.
    Create,
    /// Its target's columns are changed.
    Change,
    /// It is copied again as a whole.
    CopyAgain,
    /// It is not in the source any more.
    Gone,
    /// Nothing.
    Nothing,
}

impl Action {
    /// A sign before the table, and what is said of it.
    fn shown(self) -> (&'static str, &'static str) {
        match self {
            Action::Refused => ("!", "not followed"),
            Action::Parked => ("!", "parked"),
            Action::Create => ("+", "its target is made, and it is copied"),
            Action::Change => ("~", "its target is changed"),
            Action::CopyAgain => ("~", "it is copied again"),
            Action::Gone => ("-", "it is not in the source any more; its target is kept"),
            Action::Nothing => (" ", "nothing to do"),
        }
    }
}

/// A column that is not written.
#[derive(Debug, Serialize)]
struct Held {
    column: String,
    policy: &'static str,
}

/// A table's part of the plan.
#[derive(Debug, Serialize)]
struct Entry {
    table: String,
    target: String,
    action: Action,
    /// What would run at the target.
    statements: Vec<String>,
    /// Why rows that exist are read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_again: Option<String>,
    /// Columns that are held back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held: Vec<Held>,
    /// Why nothing can be done, with the cure.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Entry {
    fn new(table: &TableId, target: String, action: Action) -> Entry {
        Entry {
            table: table.to_string(),
            target,
            action,
            statements: Vec::new(),
            copied_again: None,
            held: Vec::new(),
            problem: None,
        }
    }

    fn refused(mut self, problem: String) -> Entry {
        self.action = Action::Refused;
        self.problem = Some(problem);
        self
    }
}

/// A policy.
#[derive(Debug, Serialize)]
struct Policy {
    name: &'static str,
    value: String,
    default: bool,
}

/// The whole.
#[derive(Debug, Serialize)]
struct Plan {
    pipeline: String,
    schema_changes: Vec<Policy>,
    tables: Vec<Entry>,
}

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<(), Failure> {
    with_config(global, |config| async move {
        let plan = make(&config, Clock::real()).await?;
        let text = if arguments.json {
            let json = serde_json::to_string_pretty(&plan);
            format!("{}\n", json.map_err(Failure::usage)?)
        } else {
            render(&plan)
        };
        std::io::stdout()
            .lock()
            .write_all(text.as_bytes())
            .map_err(|error| Failure::system("cannot write to standard output", &error))
    })
}

async fn make(config: &Config, clock: Clock) -> Result<Plan, Failure> {
    let origin = Origin::new(config, clock.clone()).await?;
    let peeked = Store::peek(&config.checkpoint, &config.pipeline, clock.clone()).await;
    let checkpoint = peeked.map_err(|error| failed(&error))?;
    let sink = BigQuery::new(config, clock).map_err(|error| failed(&error))?;
    let layouts = origin.source().tables(&[]).await;
    let mut layouts: BTreeMap<TableId, TableLayout> = layouts
        .map_err(|error| failed(&*error))?
        .into_iter()
        .map(|layout| (layout.table.clone(), layout))
        .collect();
    let (mut tables, source) = (Vec::new(), origin.source());
    for state in checkpoint
        .iter()
        .flat_map(|checkpoint: &Checkpoint| checkpoint.tables.values())
    {
        let now = layouts.remove(&state.layout.table);
        tables.push(known((&*source, &sink), config, state, now).await?);
    }
    for layout in layouts.values() {
        tables.push(unknown(&sink, config, layout).await?);
    }
    tables.sort_by(|one, other| (one.action, &one.table).cmp(&(other.action, &other.table)));
    let policies = config.schema_changes.written().into_iter();
    Ok(Plan {
        pipeline: config.pipeline.clone(),
        schema_changes: policies
            .map(|(name, value, default)| Policy { name, value, default })
            .collect(),
        tables,
    })
}

/// A table that the checkpoint knows.
async fn known(
    ends: (&dyn Source, &BigQuery),
    config: &Config,
    state: &TableState,
    now: Option<TableLayout>,
) -> Result<Entry, Failure> {
    let entry = Entry::new(
        &state.layout.table,
        ends.1.target_of(&state.layout),
        Action::Nothing,
    );
    let Some(now) = now else {
        return Ok(Entry {
            action: Action::Gone,
            ..entry
        });
    };
    match &state.phase {
        Phase::Parked { cause, .. } => Ok(Entry {
            action: Action::Parked,
            problem: Some(cause.clone()),
            ..entry
        }),
        Phase::Dropped => {
            let cause = "it was dropped and is there again".to_owned();
            changed(ends, config, state, &now, (entry, Some(cause))).await
        }
        Phase::Reopening { cause, .. } | Phase::Refill { cause } => {
            changed(ends, config, state, &now, (entry, Some(cause.clone()))).await
        }
        Phase::Opening | Phase::Snapshot(_) | Phase::Streaming => {
            changed(ends, config, state, &now, (entry, None)).await
        }
    }
}

/// What a table's columns of today ask of its target.
async fn changed(
    (source, sink): (&dyn Source, &BigQuery),
    config: &Config,
    state: &TableState,
    now: &TableLayout,
    (mut entry, again): (Entry, Option<String>),
) -> Result<Entry, Failure> {
    let mut state = state.clone();
    if let Some(applying) = state.applying.take() {
        state.applied(*applying);
    }
    sink.project(&now.table, state.projections());
    let fits = |was, is, key| sink.fit(was, is, key);
    let (said, policies) = (AlterSaid::default(), &config.schema_changes);
    let mut before = state.projection();
    if again.is_some() {
        before = schema::let_in(&before, policies);
    }
    let planned = schema::plan(&state.target(), &before, now, &said, (policies, &fits));
    let planned = match planned {
        Ok(planned) => planned,
        Err(unfit) => {
            let cure = format!(
                "it will be parked; drop or rename its target table then, and run `replicator resync {}`",
                now.table
            );
            return Ok(entry.refused(format!("{unfit}; {cure}")));
        }
    };
    let foreseen = sink.foresee(&planned.projection, &planned.evolution).await;
    let Some(statements) = foreseen.map_err(|error| failed(&error))? else {
        return Ok(entry.refused("its target is gone: `replicator resync` makes a new one".to_owned()));
    };
    entry.action = match (
        &again,
        statements.is_empty() && planned.projection == state.projection(),
    ) {
        (Some(_), _) => Action::CopyAgain,
        (None, false) => Action::Change,
        (None, true) => Action::Nothing,
    };
    entry.statements = statements;
    entry.copied_again = again;
    if let (None, Some(reason)) = (&entry.copied_again, planned.refill) {
        if affordable(source, config, &now.table).await? {
            entry.copied_again = Some(reason);
        } else if planned.rekeyed {
            entry.statements.clear();
            return Ok(entry.refused(format!("its key changed: {reason}; it will be parked")));
        } else {
            entry.problem = Some(format!(
                "rows that exist keep what the target has, by added_default or resnapshot_limit: {reason}"
            ));
        }
    }
    entry.held = planned
        .held
        .iter()
        .filter_map(|(column, policy)| {
            let policy = match policy {
                Adding::Add => return None,
                Adding::Hold => "hold",
                Adding::Ignore => "ignore",
            };
            let column = column.to_string();
            Some(Held { column, policy })
        })
        .collect();
    Ok(entry)
}

/// Whether a table is copied again by itself.
async fn affordable(source: &dyn Source, config: &Config, table: &TableId) -> Result<bool, Failure> {
    let policies = &config.schema_changes;
    if policies.added_default != AddedDefault::Resnapshot || !config.source.copies() {
        return Ok(false);
    }
    let size = source.estimate(table).await.map_err(|error| failed(&*error))?;
    Ok(size.bytes <= policies.resnapshot_limit)
}

/// A table that is new.
async fn unknown(sink: &BigQuery, config: &Config, layout: &TableLayout) -> Result<Entry, Failure> {
    let mut entry = Entry::new(&layout.table, sink.target_of(layout), Action::Create);
    if config.schema_changes.new_table != Adding::Add {
        let problem = "schema_changes.new_table keeps new tables from being copied";
        return Ok(entry.refused(problem.to_owned()));
    }
    let projection = schema::opening(layout, &config.schema_changes);
    let places = layout.columns.iter().zip(&projection.columns);
    let held = places.filter(|(_, place)| place.is_none());
    entry.held = held
        .map(|(column, _)| Held {
            column: column.name.to_string(),
            policy: "hold",
        })
        .collect();
    sink.project(&layout.table, vec![projection]);
    match sink.inspect(layout).await {
        Ok(Prepared::Absent | Prepared::Created) => match sink.foresee_creation(layout) {
            Ok(sql) => entry.statements.push(sql),
            Err(error) => return Ok(entry.refused(chain(&error))),
        },
        Ok(Prepared::Empty) => entry.copied_again = Some("its target is there and has no rows".to_owned()),
        Ok(Prepared::NotEmpty) => {
            let problem = "its target holds rows already, and nothing says which; drop the target table, or keep the checkpoint that \
                           goes with it";
            return Ok(entry.refused(problem.to_owned()));
        }
        Err(error) if matches!(error.fault(), Fault::Table(_)) => {
            let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            return Ok(entry.refused(format!("{}{hint}", chain(&*error))));
        }
        Err(error) => return Err(failed(&*error)),
    }
    Ok(entry)
}

fn render(plan: &Plan) -> String {
    let mut text = format!("pipeline {}\n\nschema_changes:\n", plan.pipeline);
    for policy in &plan.schema_changes {
        let default = if policy.default { "" } else { "  (configured)" };
        text.push_str(&format!("  {}: {}{default}\n", policy.name, policy.value));
    }
    text.push_str("\ntables:\n");
    let quiet = plan.tables.iter().filter(|entry| is_quiet(entry)).count();
    for entry in plan.tables.iter().filter(|entry| !is_quiet(entry)) {
        let (sign, said) = entry.action.shown();
        text.push_str(&format!("{sign} {} → {}: {said}\n", entry.table, entry.target));
        for line in entry.statements.iter().flat_map(|sql| sql.lines()) {
            text.push_str(&format!("    {line}\n"));
        }
        if let Some(why) = &entry.copied_again {
            text.push_str(&format!("    its rows are copied: {why}\n"));
        }
        for held in &entry.held {
            text.push_str(&format!(
                "    column {} is not written: {}\n",
                held.column, held.policy
            ));
        }
        if let Some(problem) = &entry.problem {
            text.push_str(&format!("    {problem}\n"));
        }
    }
    text.push_str(&match (quiet, plan.tables.len()) {
        (_, 0) => "  none matches the configured patterns\n".to_owned(),
        (0, _) => String::new(),
        (1, _) => "  1 table: nothing to do\n".to_owned(),
        (_, _) => format!("  {quiet} tables: nothing to do\n"),
    });
    text
}

/// Whether there is nothing to say of a table.
fn is_quiet(entry: &Entry) -> bool {
    entry.action == Action::Nothing && entry.held.is_empty()
}
