//! BigQuery as a target: rows by their primary key, or changes one by one, through the Storage Write API's
//! default streams.
//!
//! Order of reading: `types` (which type a column becomes), `name`, `apart` (whose a name is), `plan` (a table's target),
//! `encode` with `numeric`, `text`, `json`, `misfit` (a row to bytes), `block` (a batch to requests), `wire` (a
//! request to bytes), `delivery` (what is sent and how it ends), `append` (one connection) with `status`
//! (what an answer means), `pool` with `load` (which connection), `watch` (how long that takes), `settle` with
//! `letter` and `letters` (what becomes of rows that are refused), `tables` with `rest` and `query` (target
//! tables), `evolve` (changes of their columns), `sweep` (rows that are gone) with `visible`, `view` (what is shown of a
//! table of changes), `staleness` (what it is chosen from), `auth` (tokens), `connect` (proxies), `meters`; `access` for
//! who examines the service.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Batch, BoxFuture, Durable, Pending, Prepared, Sink, SinkError};
use crate::clock::Clock;
use crate::config::{Config, TableMode};
use crate::event::{ColumnType, ReadAt, TableId, TableLayout, TxnStart};
use crate::schema::{Evolution, Fit, KeptChange, Projection, SchemaChange};
use crate::status::Status;
use crate::task::{self, Task};

mod access;
mod apart;
mod append;
mod auth;
mod block;
mod connect;
mod delivery;
mod descriptor;
mod encode;
mod error;
mod evolve;
#[cfg(test)]
mod fixture;
mod foresee;
mod history;
mod json;
mod letter;
mod letters;
mod load;
mod meters;
mod misfit;
mod name;
mod numeric;
mod own;
mod plan;
mod pool;
mod query;
mod rest;
mod settle;
mod shown;
mod staleness;
mod status;
mod sweep;
mod tables;
mod text;
mod types;
mod view;
mod visible;
mod waits;
mod watch;
mod wire;

pub use access::{Access, Refused};
pub use error::{Error, RowAt, Waited};
pub use name::{column as column_name, dataset as dataset_name, quoted as quoted_name, table as table_name};
pub use staleness::Extent;

use apart::Owners;
use append::Link;
use auth::Tokens;
use block::{BatchEncoder, Block, Cut, Part};
use connect::Server;
use delivery::Mode;
use history::History;
use letters::DeadLetters;
use plan::{Place, Target};
use pool::{Limits, Pool};
use query::Jobs;
use rest::Rest;
use settle::{Courier, Sent, Shipment};
use tables::Tables;
use view::Showing;

/// Bytes of rows that are queued or in flight, at most: encoded ones, and the images behind them, which stay
/// until it is known whether a row has to be put aside.
const ROOM_BYTES: u32 = 128 << 20;

/// Requests of one batch that were sent and whose answers nobody has looked at, at most.
const UNSETTLED: usize = 64;

/// Images above this many bytes are encoded on a thread for blocking work.
const INLINE_BYTES: usize = 256 << 10;

/// A batch on its way, until its end.
type Delivered = BoxFuture<'static, Result<Durable, Error>>;

/// BigQuery.
#[derive(Debug)]
pub struct BigQuery {
    config: Config,
    targets: Mutex<Targets>,
    tables: Arc<Tables>,
    courier: Arc<Courier>,
    history: History,
    room: Arc<Semaphore>,
    watching: Option<Task<()>>,
}

/// What is known about tables.
#[derive(Debug, Default)]
struct Targets {
    /// By layout: a log that is read again has older ones.
    of: HashMap<TableId, Vec<Arc<Target>>>,
    /// Where columns go, by layout; a layout that is not here goes to columns of its own names.
    projections: HashMap<TableId, Vec<Projection>>,
    /// Whose each target is.
    owners: Owners,
}

impl BigQuery {
    /// A client for the configured project; connects on the first use. To be called within a runtime.
    ///
    /// # Errors
    /// [`Error::Client`] for endpoints that are none, [`Error::Token`] without credentials.
    pub fn new(config: &Config, clock: Clock) -> Result<BigQuery, Error> {
        meters::describe();
        let sink = &config.sink;
        let tokens = Tokens::new(sink, clock.clone())?;
        let server = Server::new(&sink.write)?;
        let tables = Arc::new(Tables {
            rest: Rest::new(&sink.rest, tokens.clone(), clock.clone())?,
            jobs: Jobs {
                project: sink.jobs_project.clone(),
                location: sink.location.clone(),
                pipeline: config.pipeline.clone(),
            },
            server: server.clone(),
            tokens: tokens.clone(),
            location: sink.location.clone(),
            max_staleness: sink.max_staleness,
        });
        let link = Link {
            server,
            tokens,
            rest: tables.rest.clone(),
            trace_id: Bytes::from(format!("replicator:{}", config.pipeline)),
            clock,
        };
        let source = config.source.name().to_owned();
        let history = History::new(Arc::clone(&tables), config.pipeline.clone(), source.clone());
        let letters = DeadLetters::new(Arc::clone(&tables), config.pipeline.clone(), source);
        Ok(BigQuery {
            config: config.clone(),
            targets: Mutex::new(Targets::default()),
            tables,
            courier: Arc::new(Courier::new(Pool::new(link, Limits::default()), letters)),
            history,
            room: Arc::new(Semaphore::new(usize::try_from(ROOM_BYTES).unwrap_or(usize::MAX))),
            watching: None,
        })
    }

    /// Shows the sink's life in `status` from here on. To be called within a runtime.
    #[must_use]
    pub fn reporting_to(mut self, status: Arc<Status>) -> BigQuery {
        self.watching = Some(task::spawn("sink watch", self.courier.pool.watch().run(status)));
        self
    }

    /// Where a table's target is.
    fn place(&self, table: &TableId) -> Place {
        let (dataset, name) = self.config.target(table);
        Place {
            project: self.config.sink.project.clone(),
            dataset: name::dataset(&dataset),
            table: name::table(&name),
        }
    }

    /// A table's target with these columns.
    fn projected(&self, projection: &Projection) -> Result<Target, Error> {
        let layout = Arc::new(projection.layout.clone());
        let place = self.place(&layout.table);
        let mode = self.mode(&layout);
        Target::projected(layout, &projection.columns, (place, mode), self.config.values)
    }

    /// The target of a table as its rows now are.
    fn target(&self, layout: &Arc<TableLayout>) -> Result<Arc<Target>, Error> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &layout.table;
        let known = targets.of.get(table).into_iter().flatten();
        if let Some(target) = known.into_iter().find(|target| target.serves(layout)) {
            return Ok(Arc::clone(target));
        }
        let place = self.place(table);
        let mode = self.mode(layout);
        targets.owners.admit(table, &place)?;
        if mode == Mode::Append {
            targets.owners.admit(table, &view::place(&place))?;
        }
        let projections = targets.projections.get(table).into_iter().flatten();
        // A table may have the same columns again, and other targets for them: then all rows that count were read again.
        let projection = projections.into_iter().rev().find(|one| one.layout == **layout);
        let target = Arc::new(match projection {
            Some(projection) => {
                let layout = Arc::clone(layout);
                Target::projected(layout, &projection.columns, (place, mode), self.config.values)?
            }
            None => Target::new(Arc::clone(layout), place, mode, self.config.values)?,
        });
        targets
            .of
            .entry(table.clone())
            .or_default()
            .push(Arc::clone(&target));
        Ok(target)
    }

    /// What the target of a table holds: what is configured, or what its key admits.
    fn mode(&self, layout: &TableLayout) -> Mode {
        match self.config.tables.mode(&layout.table) {
            Some(TableMode::Append) => Mode::Append,
            Some(TableMode::Upsert) => Mode::Cdc,
            None if layout.is_keyed() => Mode::Cdc,
            None => Mode::Append,
        }
    }

    /// Says what becomes of a table whose changes are added, and makes its view.
    async fn announce(&self, target: &Target) {
        if !target.is_log() {
            return;
        }
        let table = &target.layout.table;
        let view = view::place(&target.destination.place);
        if target.key.is_empty() {
            tracing::warn!(
                %table,
                %view,
                "table has no primary key: each of its changes is added to the target, at least once; the view shows each once"
            );
        } else {
            tracing::info!(%table, %view, "each change is added to the target; the view shows the latest rows");
        }
        self.tables.show_latest(target, Showing::AsItIs).await;
    }

    /// Adds rows of our own to a table of changes; they are durable when this returns.
    async fn note(&self, target: &Target, block: Block) -> Result<(), Error> {
        let room = self.make_room(block.body.len()).await?;
        own::append(&self.courier.pool, &target.destination, block, room).await
    }

    /// Makes the next rows of a table bring a destination of their own, which begins on a new stream: one that was
    /// open when the table was made anew loses rows.
    fn forget(&self, table: &TableId) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.of.remove(table);
    }

    async fn deliver(&self, batch: Batch) -> Result<Delivered, Error> {
        let target = self.target(&batch.layout)?;
        self.deliver_to(target, batch).await
    }

    async fn deliver_to(&self, target: Arc<Target>, batch: Batch) -> Result<Delivered, Error> {
        let batch = Arc::new(batch);
        let mut encoder = BatchEncoder::new(Arc::clone(&target), Arc::clone(&batch));
        let shipment = Shipment {
            courier: Arc::clone(&self.courier),
            target: Arc::clone(&target),
            batch,
        };
        let (sent, answers) = mpsc::channel(UNSETTLED);
        // A task, because what is refused comes back with its share of memory, for which others wait.
        let settled = task::spawn("settle", shipment.settle_all(answers));
        let (mut rows, mut bytes) = (0, 0);
        loop {
            let left = encoder.image_bytes_left();
            let mut room = self.make_room(left).await?;
            let next;
            (encoder, next) = encode(encoder, left).await?;
            let Some(cut) = next? else {
                break;
            };
            let Part { block, origins } = cut.part;
            let len = block.body.len();
            self.fit(&mut room, len + cut.image_bytes);
            rows += cut.changes;
            bytes += u64::try_from(len).unwrap_or(u64::MAX);
            let answer = if block.rows > 0 {
                Some(
                    self.courier
                        .pool
                        .deliver(&target.destination, block, room)
                        .await?,
                )
            } else {
                None
            };
            let refused = cut.refused;
            let one = Sent {
                origins,
                answer,
                refused,
            };
            if sent.send(one).await.is_err() {
                // It has failed, and says why.
                break;
            }
        }
        drop(sent);
        Ok(Box::pin(async move {
            let aside = settled.join().await.map_err(|_| Error::Stopped)??;
            let taken = rows.saturating_sub(aside.rows);
            Ok(Durable::proven(taken, bytes).beside(aside.rows, aside.last))
        }))
    }

    /// Waits for memory for the next block: an estimate, because its size is known only afterwards.
    async fn make_room(&self, image_bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let estimate = image_bytes
            .saturating_mul(2)
            .saturating_add(4096)
            .min(2 * wire::TARGET_BYTES);
        let permits = u32::try_from(estimate).unwrap_or(ROOM_BYTES);
        Arc::clone(&self.room)
            .acquire_many_owned(permits)
            .await
            .map_err(|_| Error::Stopped)
    }

    /// Makes the share what the block really takes. A block that came out larger takes what is free:
    /// waiting here, with a share in hand, could wait for itself.
    fn fit(&self, room: &mut OwnedSemaphorePermit, bytes: usize) {
        let held = room.num_permits();
        if held > bytes {
            drop(room.split(held - bytes));
            return;
        }
        let wanted = u32::try_from(bytes - held).unwrap_or(u32::MAX);
        if let Ok(more) = Arc::clone(&self.room).try_acquire_many_owned(wanted) {
            room.merge(more);
        }
    }
}

/// Encodes the next block, on this thread if it is small.
async fn encode(
    mut encoder: BatchEncoder,
    image_bytes: usize,
) -> Result<(BatchEncoder, Result<Option<Cut>, Error>), Error> {
    if image_bytes <= INLINE_BYTES {
        let next = encoder.next_block();
        return Ok((encoder, next));
    }
    task::blocking("encode", move || {
        let next = encoder.next_block();
        (encoder, next)
    })
    .join()
    .await
    .map_err(|_| Error::Stopped)
}

impl Sink for BigQuery {
    fn tell_apart<'a>(&'a self, tables: &'a [TableId]) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move { Ok(self.all_apart(tables).await?) })
    }

    fn inspect<'a>(&'a self, layout: &'a TableLayout) -> BoxFuture<'a, Result<Prepared, SinkError>> {
        Box::pin(async move {
            let target = self.target(&Arc::new(layout.clone()))?;
            self.apart(&target).await?;
            Ok(self.tables.inspect(&target).await?)
        })
    }

    fn discard_unused<'a>(&'a self, layout: &'a TableLayout) -> BoxFuture<'a, Result<bool, SinkError>> {
        Box::pin(async move {
            let target = self.target(&Arc::new(layout.clone()))?;
            self.apart(&target).await?;
            Ok(self.tables.discard_unused(&target).await?)
        })
    }

    fn prepare<'a>(&'a self, layout: &'a TableLayout) -> BoxFuture<'a, Result<Prepared, SinkError>> {
        Box::pin(async move {
            let target = self.target(&Arc::new(layout.clone()))?;
            self.apart(&target).await?;
            let prepared = self.tables.prepare(&target).await?;
            // An empty one may be ours too, made by a call whose answer was lost.
            if matches!(prepared, Prepared::Created | Prepared::Empty) {
                self.forget(&layout.table);
            }
            self.announce(&target).await;
            Ok(prepared)
        })
    }

    fn fit(&self, was: ColumnType, is: ColumnType, key: bool) -> Fit {
        let target = |kind| types::Form::of(kind, key, &self.config.values).target();
        evolve::fit(target(was), target(is))
    }

    fn project(&self, table: &TableId, projections: Vec<Projection>) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.of.remove(table);
        targets.projections.insert(table.clone(), projections);
    }

    fn evolve<'a>(
        &'a self,
        projection: &'a Projection,
        evolution: &'a Evolution,
    ) -> BoxFuture<'a, Result<Vec<String>, SinkError>> {
        Box::pin(async move {
            let target = self.projected(projection)?;
            let values = &self.config.values;
            let statements = self.tables.evolve(&target, evolution, values).await?;
            if target.is_log() && !evolution.is_empty() {
                // Its text may be the same as before, and still its columns are those that the table had.
                self.tables.show_latest(&target, Showing::Anew).await;
            }
            Ok(statements)
        })
    }

    fn sweep<'a>(
        &'a self,
        projection: &'a Projection,
        at: TxnStart,
    ) -> BoxFuture<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            let target = self.projected(projection)?;
            if target.is_log() {
                let cleared = Block::cleared(&target, at, self.tables.rest.clock().unix_micros());
                self.note(&target, cleared).await?;
                return Ok(0);
            }
            Ok(self.sweep_target(&target, at).await?)
        })
    }

    fn seal<'a>(&'a self, layout: &'a Arc<TableLayout>, at: ReadAt) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let target = self.target(layout)?;
            Ok(self.note(&target, Block::seal(&target, at)).await?)
        })
    }

    fn keep_change<'a>(&'a self, change: &'a SchemaChange) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let place = self.place(&change.table);
            Ok(self.history.add(&self.courier.pool, &place, change).await?)
        })
    }

    fn kept_changes(&self, most: u32) -> BoxFuture<'_, Result<Vec<KeptChange>, SinkError>> {
        Box::pin(async move {
            let places = {
                let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
                targets.owners.places()
            };
            Ok(self.history.latest(places, most).await?)
        })
    }

    fn write(&self, batch: Batch) -> BoxFuture<'_, Result<Pending, SinkError>> {
        Box::pin(async move {
            let delivered = self.deliver(batch).await?;
            let pending: Pending = Box::pin(async move { Ok(delivered.await?) });
            Ok(pending)
        })
    }
}

impl From<Error> for SinkError {
    fn from(error: Error) -> SinkError {
        Box::new(error)
    }
}

#[cfg(test)]
mod tests;
