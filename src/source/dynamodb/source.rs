//! DynamoDB tables of one account and region as the pipeline sees them: their streams are one log, and what they hold
//! already is read by [`super::load`].
//!
//! All rows carry the generation that the log was opened with. It stays as long as each stream goes on from where it
//! was; a table that joins, a stream that begins anew or a copy that must lie above what was read before begins
//! another one. A table that is to be copied is not read until its copy is planned: what would be read before would
//! be in nobody's hands, neither in the copy nor among the changes after it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use aws_config::SdkConfig;

use super::api::{Api, Aws, CallError, LatestStream, Refusal, StreamInfo, TableInfo, View};
use super::catalog::Catalog;
use super::columns;
use super::error::StreamError;
use super::layout::{self, KeyAttribute, Shape};
use super::lineage::Tree;
use super::load::{LoadError, Loader};
use super::reader::Followed;
use super::stream::{Findings, Parts, Streams, altered, point, start};
use crate::clock::Clock;
use crate::config::{DynamodbSource, FirstLoad, Layout};
use crate::event::{
    AlterSaid, Bound, Chunk, Ddl, DdlWhat, Epoch, Item, LogPosition, StreamPlace, StreamStep, TableId,
    TableLayout, TxnStart,
};
use crate::fault::boxed;
use crate::source::{
    BoxFuture, ChunkRead, ChunkRows, Estimate, Kept, Opened, Source, SourceError, Watermark,
};

/// What stands for the server in a position.
const SERVER: &str = "dynamodb";

/// Why a table is copied again whose columns the configuration changed.
const OTHER_COLUMNS: &str = "the configuration asks for other columns";

/// How far ahead of this machine's clock a generation is whose copy must have everything that was read before it:
/// copies are made as of the generation's time by AWS's clock, which may be ahead. Seconds.
const AHEAD: u64 = 60;

/// Tables of one account and region.
#[derive(Debug)]
pub struct Dynamodb {
    source: DynamodbSource,
    api: Arc<dyn Api>,
    loader: Arc<Loader>,
    clock: Clock,
    findings: Findings,
    catalog: Catalog,
}

/// A table with its stream, when the log is opened.
struct Table {
    id: TableId,
    info: TableInfo,
    latest: LatestStream,
}

/// How a table's stream is followed.
struct Begun {
    followed: Followed,
    /// Why its rows must be read again, if they must.
    reload: Option<String>,
    /// What is to be said of its columns before its rows.
    said: Option<AlterSaid>,
    /// Whether it needs numbers above all before.
    anew: bool,
}

impl Dynamodb {
    /// A source for configured tables; asks nobody yet. `pipeline` names its exports.
    ///
    /// # Errors
    /// The settings make no client of the bucket that exports are written to.
    pub fn new(
        source: DynamodbSource,
        pipeline: &str,
        aws: &SdkConfig,
        clock: Clock,
    ) -> Result<Dynamodb, LoadError> {
        let loader = Loader::new(&source, pipeline, aws, clock.clone())?;
        Ok(Dynamodb::with(source, Arc::new(Aws::new(aws)), loader, clock))
    }

    pub(super) fn with(source: DynamodbSource, api: Arc<dyn Api>, loader: Loader, clock: Clock) -> Dynamodb {
        let catalog = Catalog::default();
        Dynamodb {
            source,
            api,
            loader: Arc::new(loader.growing(catalog.clone())),
            clock,
            findings: Findings::new(),
            catalog,
        }
    }

    /// The columns of a table with this key, as the configuration asks for them before any item is seen.
    fn first(&self, id: TableId, key: &[KeyAttribute]) -> TableLayout {
        match self.source.layout {
            Layout::Document => {
                let promoted = self.source.promoted.get(id.name());
                layout::document(id, key, promoted.map_or(&[], Vec::as_slice))
            }
            Layout::Columns => columns::first(id, key),
        }
    }

    /// The same as they are by now.
    fn shape(&self, id: TableId, key: &[KeyAttribute]) -> Result<Shape, StreamError> {
        let none = StreamError::Key(id.clone());
        self.catalog.shape(self.first(id, key)).ok_or(none)
    }

    fn id(&self, name: &str) -> TableId {
        TableId::new(self.source.name.as_str(), name)
    }

    async fn table(&self, name: &str) -> Result<Table, StreamError> {
        let info = self.api.table(name).await?;
        let id = self.id(name);
        let Some(latest) = info.stream.clone() else {
            return Err(StreamError::Off(id));
        };
        if let View::Other(view) = &latest.view {
            let (table, view) = (id, view.clone());
            return Err(StreamError::View { table, view });
        }
        Ok(Table { id, info, latest })
    }

    async fn stream(&self, arn: &str) -> Result<Option<StreamInfo>, CallError> {
        match self.api.stream(arn).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.refusal == Refusal::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to follow a table: from its place, or from the beginning of its stream.
    async fn begin(&self, table: Table, place: Option<&StreamPlace>) -> Result<Begun, StreamError> {
        let fresh = self.findings.with(|found| found.fresh.contains(&table.id));
        let Some(place) = place.filter(|_| !fresh) else {
            return self.anew(table, None).await;
        };
        let found = self.findings.with(|found| found.lost.get(&table.id).cloned());
        let before = self
            .catalog
            .differing(&self.first(table.id.clone(), &table.info.key));
        let why = match found {
            Some(why) => why,
            // What rows that exist have for a column that is new, nothing but reading them says.
            None if before.is_some() && self.source.first_load != FirstLoad::None => {
                tracing::warn!(table = %table.id, "the configuration asks for other columns: the table is copied again");
                return self.anew(table, Some(OTHER_COLUMNS.to_owned())).await;
            }
            None => match self.resume(&table, place).await? {
                Ok(begun) => {
                    let others = before.map(|before| others(&before, &begun.followed.shape.layout));
                    let said = others.or_else(|| self.catalog.untold(&begun.followed.table));
                    return Ok(Begun { said, ..begun });
                }
                Err(why) => why,
            },
        };
        if !self.source.reload {
            return Err(StreamError::Lost {
                table: table.id,
                why,
                reload: false,
            });
        }
        tracing::error!(table = %table.id, why, "changes may be lost: the table is copied again");
        self.anew(table, Some(why)).await
    }

    /// Goes on from a place; or why that cannot be.
    async fn resume(&self, table: &Table, place: &StreamPlace) -> Result<Result<Begun, String>, StreamError> {
        let Some(stream) = self.stream(&place.arn).await? else {
            return Ok(Err(format!("{} is gone", place.arn)));
        };
        let mut tree = Tree::resume(place.clone());
        if let Err(gap) = tree.listed(&stream.shards) {
            return Ok(Err(gap.to_string()));
        }
        Ok(Ok(self.followed(table, tree, None, false)?))
    }

    async fn anew(&self, table: Table, reload: Option<String>) -> Result<Begun, StreamError> {
        let arn = table.latest.arn.as_str();
        let stream = match self.stream(arn).await? {
            Some(stream) if table.latest.on => stream,
            Some(_) | None => return Err(StreamError::Off(table.id)),
        };
        let place = StreamPlace {
            table: table.id.clone(),
            arn: arn.into(),
            shards: std::collections::BTreeMap::new(),
        };
        let tree = Tree::begin(place, &stream.shards);
        self.followed(&table, tree, reload, true)
    }

    fn followed(
        &self,
        table: &Table,
        tree: Tree,
        reload: Option<String>,
        anew: bool,
    ) -> Result<Begun, StreamError> {
        let shape = self.shape(table.id.clone(), &table.info.key)?;
        Ok(Begun {
            followed: Followed::new(table.id.clone(), shape, tree, self.clock.now(), anew),
            reload,
            said: None,
            anew,
        })
    }

    async fn opened(&self, from: Option<LogPosition>, last: Epoch) -> Result<Opened, StreamError> {
        if let Some(other) = from.as_ref().filter(|from| &*from.server != SERVER) {
            return Err(StreamError::Foreign(other.to_string()));
        }
        let places = from.as_ref().map_or(&[][..], |from| &from.streams);
        let mut begun = Vec::new();
        for name in &self.source.tables {
            let table = self.table(name).await?;
            let place = places.iter().find(|place| place.table == table.id);
            begun.push(self.begin(table, place).await?);
        }
        let asked = self.findings.with(|found| std::mem::take(&mut found.anew));
        let mut generation = last;
        // An epoch that no position has: what rows were sent with it, is not known.
        let current = from.as_ref().is_some_and(|from| from.next.epoch == last);
        if asked || !current || begun.iter().any(|one| one.anew) {
            let copied = asked || begun.iter().any(|one| one.reload.is_some());
            let now = self.clock.unix_seconds() + if copied { AHEAD } else { 0 };
            generation = last.next(now);
            for one in &mut begun {
                one.followed.tree.new_generation();
            }
        }
        let (position, first) = self.position(from, generation, &begun);
        let followed = begun.into_iter().map(|one| one.followed).collect();
        self.findings.with(|found| {
            found.lost.clear();
            found.generation = generation;
            // Nobody plans a copy that is not made.
            if self.source.first_load == FirstLoad::None {
                found.fresh.clear();
            }
        });
        let parts = Parts {
            api: Arc::clone(&self.api),
            clock: self.clock.clone(),
            findings: self.findings.clone(),
            catalog: self.catalog.clone(),
            reload: self.source.reload,
            generation,
        };
        Ok(Opened {
            position,
            items: Box::new(Streams::new(parts, followed, first)),
        })
    }

    /// Where the log begins, and what it says first. A stream whose table must be copied again is where it was until
    /// that is said: a position must not pass it.
    fn position(
        &self,
        from: Option<LogPosition>,
        generation: Epoch,
        begun: &[Begun],
    ) -> (LogPosition, VecDeque<Item>) {
        let (mut first, mut steps, mut streams) = (VecDeque::new(), Vec::new(), Vec::new());
        let before = from.map(|from| from.streams).unwrap_or_default();
        for old in before.iter().filter(|old| !self.captures(&old.table)) {
            steps.push(StreamStep::Left(old.table.clone()));
        }
        for one in begun {
            let place = one.followed.tree.place();
            let old = before.iter().find(|old| old.table == place.table);
            if let (Some(why), Some(old)) = (&one.reload, old) {
                first.push_back(Item::Ddl(Ddl {
                    table: place.table.clone(),
                    what: DdlWhat::RowsChanged,
                    at: start(generation),
                    statement: why.as_str().into(),
                }));
                streams.push(old.clone());
            } else {
                streams.push(place.clone());
            }
            if let Some(said) = &one.said {
                let layout = &one.followed.shape.layout;
                first.push_back(altered(generation, layout, said.clone()));
            }
            if old != Some(place) {
                steps.push(StreamStep::At(place.clone()));
            }
        }
        first.push_back(point(generation, steps, None));
        let position = LogPosition {
            server: SERVER.into(),
            file_name: "".into(),
            file_born: 0,
            next: start(generation),
            gtids: None,
            domains: None,
            last_event: None,
            prepared: Vec::new(),
            streams,
        };
        (position, first)
    }

    /// The layout of a table that is opened with it; `None` if it is not there.
    async fn described(&self, name: &str) -> Result<Option<TableLayout>, StreamError> {
        let info = match self.api.table(name).await {
            Ok(info) => info,
            Err(error) if error.refusal == Refusal::Missing => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let shape = self.shape(self.id(name), &info.key)?;
        self.catalog.opened(&shape.layout.table);
        // What has come since it was looked at is told.
        Ok(Some(TableLayout::clone(&shape.layout)))
    }
}

/// What is said of columns that the configuration changed, where no row that exists is to have anything in those that are
/// new.
fn others(before: &TableLayout, layout: &TableLayout) -> AlterSaid {
    let new = layout
        .columns
        .iter()
        .filter(|column| before.column(&column.name).is_none());
    AlterSaid {
        added_empty: new.map(|column| column.name.as_str().to_owned()).collect(),
        columns: true,
        ..AlterSaid::default()
    }
}

impl Source for Dynamodb {
    fn resume(&self, kept: Vec<Kept>) {
        self.catalog.keep(kept);
    }

    fn tables<'a>(&'a self, known: &'a [TableId]) -> BoxFuture<'a, Result<Vec<TableLayout>, SourceError>> {
        Box::pin(async move {
            let mut new = Vec::new();
            for name in &self.source.tables {
                if known.contains(&self.id(name)) {
                    continue;
                }
                let info = self.api.table(name).await.map_err(boxed)?;
                let shape = self.shape(self.id(name), &info.key).map_err(boxed)?;
                new.push(TableLayout::clone(&shape.layout));
            }
            let tables: BTreeSet<TableId> = new.iter().map(|layout| layout.table.clone()).collect();
            self.findings.with(|found| {
                if self.source.first_load != FirstLoad::None {
                    let gates = tables.iter().map(|table| (table.clone(), None));
                    found.gates.extend(gates);
                }
                found.fresh.extend(tables);
            });
            Ok(new)
        })
    }

    fn layout<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Option<TableLayout>, SourceError>> {
        Box::pin(async move { self.described(table.name()).await.map_err(boxed) })
    }

    fn open(
        &self,
        from: Option<LogPosition>,
        last: Epoch,
        _known: Vec<TableId>,
    ) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(async move { self.opened(from, last).await.map_err(boxed) })
    }

    fn captures(&self, table: &TableId) -> bool {
        table.schema() == self.source.name && self.source.tables.iter().any(|name| name == table.name())
    }

    fn watermark<'a>(
        &'a self,
        _table: &'a TableId,
        floor: &'a LogPosition,
    ) -> BoxFuture<'a, Result<Watermark, SourceError>> {
        Box::pin(async move {
            Ok(Watermark {
                low: start(floor.next.epoch),
                seen: None,
            })
        })
    }

    fn plan<'a>(
        &'a self,
        layout: &'a TableLayout,
        low: TxnStart,
        after: Option<&'a Bound>,
    ) -> BoxFuture<'a, Result<Chunk, SourceError>> {
        Box::pin(async move {
            // The table flows from here on, so its stream may be read.
            self.findings.with(|found| {
                found.gates.remove(&layout.table);
                found.fresh.remove(&layout.table);
            });
            let table = layout.table.name();
            self.loader.plan(table, low, after).await.map_err(boxed)
        })
    }

    fn read(&self, read: ChunkRead) -> BoxFuture<'_, Result<Box<dyn ChunkRows>, SourceError>> {
        Box::pin(async move { self.loader.read(&read).await.map_err(boxed) })
    }

    fn ends_alone(&self) -> bool {
        true
    }

    fn renumber(&self, table: &TableId) -> Option<Epoch> {
        let until = self.clock.now() + super::stream::GATE;
        Some(self.findings.with(|found| {
            found.anew = true;
            found.gates.insert(table.clone(), Some(until));
            Epoch(found.generation.0.saturating_add(1))
        }))
    }

    fn estimate<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Estimate, SourceError>> {
        Box::pin(async move { self.loader.estimate(table.name()).await.map_err(boxed) })
    }
}

#[cfg(test)]
mod tests;
