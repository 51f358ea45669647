//! The short form, for who is about to start a pipeline: a row is written, changed and deleted in a table of its own in
//! each data set, read back each time, and the table removed. So every permission that a run needs is proven.

use super::Trouble;
use super::rows::Row;
use super::world::World;
use crate::clock::Clock;
use crate::config::{Config, Staleness};
use crate::event::{ColumnType, TableLayout, Value};
use crate::fault::Classify;
use crate::sink::bigquery::Error;

/// What the queries of a probe may bill, bytes; each of the four bills 10 MB at least.
const MAX_BYTES: u64 = 100 << 20;

/// A step and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// What was tried: `create a table`, …
    pub step: &'static str,
    /// Why it failed, and the cure.
    pub failure: Option<(String, String)>,
}

impl Probed {
    fn of(step: &'static str, done: Result<(), Trouble>) -> Probed {
        let failure = match done {
            Ok(()) => None,
            Err(Trouble::Failed { text, hint }) => {
                let of_step = || CURES.iter().find(|(name, _)| *name == step);
                let cure = hint.or_else(|| of_step().map(|(_, cure)| (*cure).to_owned()));
                Some((text, cure.unwrap_or_default()))
            }
            Err(Trouble::Differs(text)) => Some((
                text,
                "do not start a pipeline: BigQuery does not do what replication rests on; report it"
                    .to_owned(),
            )),
        };
        Probed { step, failure }
    }
}

const CREATE: &str = "create a table";
const WRITE: &str = "write a row and read it";
const UPDATE: &str = "update it and read it";
const DELETE: &str = "delete it and read that it is gone";
const REMOVE: &str = "remove the table";

/// What a step needs to be allowed.
const CURES: [(&str, &str); 5] = [
    (
        CREATE,
        "grant roles/bigquery.dataEditor on the data set (bigquery.tables.create)",
    ),
    (WRITE, READING),
    (UPDATE, READING),
    (DELETE, READING),
    (
        REMOVE,
        "grant bigquery.tables.delete on the data set, or let the table expire within a day",
    ),
];

const READING: &str = "grant roles/bigquery.dataEditor on the data set (bigquery.tables.updateData, bigquery.tables.getData) \
                       and roles/bigquery.jobUser on the project that jobs run in";

/// Goes the way of a row in `dataset`; ends at the first step that fails, but for the removal.
pub async fn probe(config: &Config, dataset: &str, clock: Clock) -> Vec<Probed> {
    let mut config = config.clone();
    // The rows are to be seen at once.
    config.sink.max_staleness = Staleness::Fixed(std::time::Duration::ZERO);
    let mut world = match World::new(&config, dataset, clock, MAX_BYTES) {
        Ok(world) => world,
        Err(error) => return vec![unreachable(&error)],
    };
    let columns = [("id", ColumnType::Int64), ("name", ColumnType::Text)];
    let made = match world.mind_dataset().await {
        Ok(()) => world.table("probe", &columns).await,
        Err(trouble) => Err(trouble),
    };
    let mut steps = Vec::new();
    match made {
        Err(trouble) => steps.push(Probed::of(CREATE, Err(trouble))),
        Ok(layout) => {
            steps.push(Probed::of(CREATE, Ok(())));
            way_of_a_row(&mut world, &layout, &mut steps).await;
        }
    }
    let created = steps.first().is_some_and(|step| step.failure.is_none());
    let left = world.clean().await;
    if created {
        let removed = left
            .into_iter()
            .next()
            .map_or(Ok(()), |text| Err(Trouble::failed(text)));
        steps.push(Probed::of(REMOVE, removed));
    }
    steps
}

fn unreachable(error: &Error) -> Probed {
    Probed {
        step: "reach BigQuery",
        failure: Some((crate::fault::chain(error), error.hint().unwrap_or_default())),
    }
}

/// A query's rows.
type Shown = &'static [&'static [Option<&'static str>]];

async fn way_of_a_row(world: &mut World, layout: &std::sync::Arc<TableLayout>, steps: &mut Vec<Probed>) {
    let cells = |name| vec![Value::Int(1), Value::Text(name)];
    let way: [(&'static str, Row, Shown); 3] = [
        (WRITE, Row::Put(cells("first")), &[&[Some("1"), Some("first")]]),
        (UPDATE, Row::Put(cells("second")), &[&[Some("1"), Some("second")]]),
        (DELETE, Row::Gone(cells("second")), &[]),
    ];
    let sql = format!("SELECT id, name FROM {}", world.sql(layout));
    for ((step, row, expected), offset) in way.into_iter().zip(1..) {
        let done = async {
            let aside = world.write(layout, offset * 100, vec![row]).await?;
            if aside > 0 {
                return Err(Trouble::Differs("the row was refused".to_owned()));
            }
            world.shows(&sql, expected).await
        };
        let probed = Probed::of(step, done.await);
        let failed = probed.failure.is_some();
        steps.push(probed);
        if failed {
            return;
        }
    }
}
