//! The items that a table holds already: from an export to S3 or, if that was asked for by name, by a Scan.
//!
//! Chunks are what the pipeline's snapshot resumes by: one for each data file of an export, in the order of their
//! names, and one at the end, which is read alone after all others were acknowledged; or one for each segment of a
//! Scan. Rows take the number zero of their generation, below every row of the stream, which is read from a time
//! before the export's: so whatever happened to an item later wins, in whichever order the two arrive. What the
//! last chunk is for, `docs/adr/022-deletes-during-a-long-load.md` tells.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use aws_sdk_dynamodb::types::AttributeValue;
use tokio::sync::Mutex;

use super::catalog::Catalog;
use super::columns;
use super::item::{Item, ItemError, from_tables};
use super::layout::Shape;
use super::rows::Images;
use crate::clock::Clock;
use crate::config::{DynamodbSource, FirstLoad};
use crate::event::{Bound, Change, Chunk, Op, Ordinal, RowChanges, RowRef, TableLayout, TxnStart};
use crate::source::{BoxFuture, ChunkRead, ChunkRows, Estimate, SourceError};

mod error;
mod export;
mod files;
mod manifest;
mod objects;
mod scan;
mod unpack;

pub use error::{LoadError, Refusal};
use export::{Exports, Finished, Span, Wanted};
use files::{Changes, Files};
use manifest::DataFile;
use objects::Objects;
use scan::{Pages, Scans};

const DESCRIBE_TABLE: &str = "dynamodb:DescribeTable";

/// An export of changes spans at most so long, and so long a load may take before its last chunk has something to
/// do: half of what BigQuery remembers deletes for. Seconds.
const WINDOW: i64 = 86_400;

/// How point-in-time recovery is turned on.
pub(super) fn recovery_cure(table: &str) -> String {
    format!(
        "aws dynamodb update-continuous-backups --table-name {table} --point-in-time-recovery-specification \
         PointInTimeRecoveryEnabled=true; or write first_load: scan, or first_load: none"
    )
}

/// Makes rows of one table's items.
#[derive(Debug, Clone)]
struct Packer {
    shape: Shape,
    /// Where columns are asked for that the rows lack.
    catalog: Catalog,
    /// Whether any are.
    outgrown: bool,
}

impl Packer {
    fn new(layout: &TableLayout, catalog: Catalog) -> Result<Packer, LoadError> {
        let shape = Shape::of(Arc::new(layout.clone()));
        let shape = shape.ok_or_else(|| LoadError::Layout(layout.table.clone()))?;
        let outgrown = false;
        Ok(Packer {
            shape,
            catalog,
            outgrown,
        })
    }

    fn images(&self) -> Images {
        Images::new(&self.shape)
    }

    /// Adds an item. One that the columns have no room for asks for more: no row of it, or after it, is to be written
    /// before they are there.
    fn item(&mut self, images: &mut Images, item: &Item) -> Result<RowRef, ItemError> {
        if self.shape.is_of_attributes() && !columns::has_room(&self.shape, item) {
            self.catalog.room(&self.shape.layout.table, [item]);
            self.outgrown = true;
        }
        images.item(item)
    }

    fn outgrown(&self) -> LoadError {
        LoadError::Outgrown(self.shape.layout.table.clone())
    }

    /// Items that the table held, as rows below every row of the stream. `at`: when it held them, Unix seconds.
    fn copied(&self, images: Images, rows: Vec<RowRef>, (low, at): (TxnStart, i64)) -> RowChanges {
        let change = |after| Change {
            op: Op::Insert { after },
            ordinal: Ordinal(0),
        };
        RowChanges {
            layout: Arc::clone(&self.shape.layout),
            images: images.share(),
            txn: low,
            committed_micros: at.saturating_mul(1_000_000),
            changes: rows.into_iter().map(change).collect(),
            snapshot: true,
        }
    }

    /// Items that went while a load took long, as deletes above every row of the load and below every row of the
    /// stream. `at`: a time by which they were gone, Unix seconds.
    fn gone(&self, images: Images, rows: Vec<RowRef>, (low, at): (TxnStart, i64)) -> RowChanges {
        let change = |before| Change {
            op: Op::Delete { before },
            // The first place after the load's rows, which have none.
            ordinal: Ordinal(1),
        };
        RowChanges {
            changes: rows.into_iter().map(change).collect(),
            snapshot: false,
            ..self.copied(images, Vec::new(), (low, at))
        }
    }
}

/// Reads what tables hold already.
#[derive(Debug)]
pub struct Loader {
    catalog: Catalog,
    client: Client,
    clock: Clock,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Export {
        exports: Exports,
        objects: Objects,
        /// The full exports that were found done, by table and generation.
        done: Mutex<BTreeMap<(String, u64), Arc<Export>>>,
    },
    Scan(Arc<Scans>),
    None,
}

/// An export with the list of its files.
#[derive(Debug)]
struct Export {
    finished: Finished,
    files: Vec<DataFile>,
}

/// A table as AWS describes it.
#[derive(Debug, Clone)]
struct Described {
    arn: String,
    size: Estimate,
    /// When its stream was turned on, Unix seconds.
    streaming_since: Option<i64>,
}

impl Loader {
    /// One for a source's tables; `pipeline` names the exports.
    ///
    /// # Errors
    /// The settings make no client of the bucket.
    pub fn new(
        source: &DynamodbSource,
        pipeline: &str,
        aws: &SdkConfig,
        clock: Clock,
    ) -> Result<Loader, LoadError> {
        let client = Client::new(aws);
        let kind = match &source.first_load {
            FirstLoad::Export(place) => Kind::Export {
                exports: Exports {
                    client: client.clone(),
                    place: place.clone(),
                    pipeline: pipeline.to_owned(),
                    clock: clock.clone(),
                },
                objects: Objects::new(source, &place.bucket, aws, clock.clone())?,
                done: Mutex::default(),
            },
            FirstLoad::Scan(limits) => Kind::Scan(Arc::new(Scans::new(
                client.clone(),
                *limits,
                source.parallelism,
                clock.clone(),
            ))),
            FirstLoad::None => Kind::None,
        };
        let catalog = Catalog::default();
        Ok(Loader {
            catalog,
            client,
            clock,
            kind,
        })
    }

    /// The same, asking for columns where others do.
    pub(super) fn growing(self, catalog: Catalog) -> Loader {
        Loader { catalog, ..self }
    }

    /// The size of a table, as AWS counts it every six hours.
    ///
    /// # Errors
    /// The table cannot be described.
    pub async fn estimate(&self, table: &str) -> Result<Estimate, LoadError> {
        Ok(self.describe(table).await?.size)
    }

    /// Whether the bucket that exports are written to can be read.
    ///
    /// # Errors
    /// It cannot.
    pub async fn reach(&self) -> Result<(), LoadError> {
        match &self.kind {
            Kind::Export { exports, objects, .. } => objects.reach(&exports.place.prefix).await,
            Kind::Scan(_) | Kind::None => Ok(()),
        }
    }

    /// The chunk after `after` of a load with the watermark `low`, whose epoch is the generation: Unix seconds of a
    /// time at or after the one from which the stream is read.
    ///
    /// # Errors
    /// There is no export, or its manifest cannot be used.
    pub async fn plan(&self, table: &str, low: TxnStart, after: Option<&Bound>) -> Result<Chunk, LoadError> {
        match &self.kind {
            Kind::Export { .. } => {
                let export = self.export(table, low, after).await?;
                let next = match after {
                    None => export.files.first(),
                    Some(bound) => {
                        let key = file_of(bound)?;
                        let next = export.files.partition_point(|file| file.key.as_str() <= key);
                        export.files.get(next)
                    }
                };
                Ok(Chunk {
                    lower: after.cloned(),
                    upper: next.map(|file| Bound(vec![file.key.clone()])),
                })
            }
            Kind::Scan(scans) => {
                let size = match after {
                    None => self.estimate(table).await?,
                    Some(_) => Estimate::default(),
                };
                scans.plan(after, size)
            }
            Kind::None => Ok(Chunk {
                lower: None,
                upper: None,
            }),
        }
    }

    /// Begins to read a chunk that [`Loader::plan`] gave.
    ///
    /// # Errors
    /// As [`Loader::plan`], and where the checkpoint's chunk is none of this load's.
    pub async fn read(self: &Arc<Loader>, read: &ChunkRead) -> Result<Box<dyn ChunkRows>, LoadError> {
        let packer = Packer::new(&read.layout, self.catalog.clone())?;
        let (table, chunk) = (read.layout.table.name(), &read.chunk);
        match &self.kind {
            Kind::Export { objects, .. } => {
                let bound = chunk.upper.as_ref().or(chunk.lower.as_ref());
                let export = self.export(table, read.low, bound).await?;
                let at = export.finished.at;
                let Some(upper) = &chunk.upper else {
                    let now = self.clock.unix_micros() / 1_000_000;
                    let windows = windows(at, now).collect();
                    return Ok(Box::new(Changes::new(
                        Arc::clone(self),
                        packer,
                        read.low,
                        windows,
                    )));
                };
                let key = file_of(upper)?;
                let file = export.files.iter().find(|file| file.key == key);
                let file = file.ok_or_else(|| LoadError::Chunk(key.to_owned()))?;
                let at = (read.low, at);
                Ok(Box::new(Files::new(objects.clone(), file.clone(), packer, at)))
            }
            Kind::Scan(scans) => {
                let size = self.estimate(table).await?;
                Ok(Box::new(Scanned {
                    pages: scans.read(table, chunk, size)?,
                    packer,
                    low: read.low,
                    clock: self.clock.clone(),
                }))
            }
            Kind::None => Ok(Box::new(Nothing)),
        }
    }

    /// The full export of a generation, done, and its files; `begun` is of one of them.
    async fn export(
        &self,
        table: &str,
        low: TxnStart,
        begun: Option<&Bound>,
    ) -> Result<Arc<Export>, LoadError> {
        let Kind::Export { exports, done, .. } = &self.kind else {
            return Err(LoadError::Chunk(table.to_owned()));
        };
        let generation = low.epoch.0;
        let id = (table.to_owned(), generation);
        if let Some(found) = done.lock().await.get(&id) {
            return Ok(Arc::clone(found));
        }
        let described = self.describe(table).await?;
        let begins = i64::try_from(generation).unwrap_or(i64::MAX);
        let wanted = Wanted {
            table,
            arn: &described.arn,
            generation,
            // The stream tells what happened since it was turned on; by AWS's clock that may be after ours.
            span: Span::Full {
                at: begins.max(described.streaming_since.unwrap_or(begins)),
            },
        };
        let begun = begun
            .map(|bound| file_of(bound).and_then(export_of))
            .transpose()?;
        let finished = exports.finished(&wanted, begun).await?;
        let files = self.files(&finished).await?;
        let export = Arc::new(Export { finished, files });
        done.lock().await.insert(id, Arc::clone(&export));
        Ok(export)
    }

    /// The files of an export of what changed in a time.
    async fn changes(
        &self,
        table: &str,
        low: TxnStart,
        (from, to): (i64, i64),
    ) -> Result<(Objects, Vec<DataFile>), LoadError> {
        let Kind::Export { exports, objects, .. } = &self.kind else {
            return Err(LoadError::Chunk(table.to_owned()));
        };
        let described = self.describe(table).await?;
        let wanted = Wanted {
            table,
            arn: &described.arn,
            generation: low.epoch.0,
            span: Span::Changes { from, to },
        };
        let finished = exports.finished(&wanted, None).await?;
        Ok((objects.clone(), self.files(&finished).await?))
    }

    /// Reads the manifest of an export.
    async fn files(&self, export: &Finished) -> Result<Vec<DataFile>, LoadError> {
        let Kind::Export { objects, .. } = &self.kind else {
            return Ok(Vec::new());
        };
        let folder = format!("{}/AWSDynamoDB/{}", export.prefix, export.id);
        let key = format!("{folder}/manifest-summary.json");
        let refused = |key: &str, source| LoadError::Manifest {
            key: key.to_owned(),
            source,
        };
        let bytes = objects.manifest(&key).await?;
        let summary = manifest::read_summary(&bytes, &export.prefix).map_err(|error| refused(&key, error))?;
        let bytes = objects.manifest(&summary.files_key).await?;
        manifest::read_files(&bytes, &export.prefix, &summary)
            .map_err(|error| refused(&summary.files_key, error))
    }

    async fn describe(&self, table: &str) -> Result<Described, LoadError> {
        let answer = self
            .client
            .describe_table()
            .table_name(table)
            .send()
            .await
            .map_err(|error| LoadError::call(DESCRIBE_TABLE, table, error))?;
        let lacking = |what| LoadError::Answer {
            action: DESCRIBE_TABLE,
            table: table.to_owned(),
            what,
        };
        let described = answer.table.ok_or_else(|| lacking("a table"))?;
        let count = |number: Option<i64>| u64::try_from(number.unwrap_or_default()).unwrap_or_default();
        Ok(Described {
            arn: described.table_arn.ok_or_else(|| lacking("its ARN"))?,
            size: Estimate {
                rows: count(described.item_count),
                bytes: count(described.table_size_bytes),
            },
            streaming_since: described.latest_stream_label.as_deref().and_then(labelled),
        })
    }
}

/// When a stream was turned on, in Unix seconds, rounded up: its label is the time without a zone, in UTC.
fn labelled(label: &str) -> Option<i64> {
    let time = DateTime::from_str(&format!("{label}Z"), DateTimeFormat::DateTime).ok()?;
    time.secs().checked_add(1)
}

/// Whole windows between an export's time and the present.
fn windows(at: i64, now: i64) -> impl Iterator<Item = (i64, i64)> {
    let whole = now.saturating_sub(at) / WINDOW;
    (0..whole).map(move |number| {
        let from = at.saturating_add(number * WINDOW);
        (from, from.saturating_add(WINDOW))
    })
}

fn file_of(bound: &Bound) -> Result<&str, LoadError> {
    match bound.0.as_slice() {
        [key] => Ok(key),
        others => Err(LoadError::Chunk(others.join(", "))),
    }
}

/// The export that a data file is of: `…/AWSDynamoDB/ID/data/…`.
fn export_of(key: &str) -> Result<&str, LoadError> {
    let id = key
        .rsplit_once("/data/")
        .and_then(|(folder, _)| folder.rsplit_once('/'));
    id.map(|(_, id)| id)
        .ok_or_else(|| LoadError::Chunk(key.to_owned()))
}

/// A segment of a Scan.
struct Scanned {
    pages: Pages,
    packer: Packer,
    low: TxnStart,
    clock: Clock,
}

impl Scanned {
    async fn rows(&mut self) -> Result<Option<RowChanges>, LoadError> {
        let Some(items) = self.pages.next().await? else {
            return Ok(None);
        };
        let (mut images, mut rows) = (self.packer.images(), Vec::with_capacity(items.len()));
        for item in items {
            rows.push(
                scanned(&mut self.packer, &mut images, item).map_err(|source| LoadError::Scanned {
                    table: self.packer.shape.layout.table.clone(),
                    source,
                })?,
            );
        }
        if self.packer.outgrown {
            return Err(self.packer.outgrown());
        }
        let now = self.clock.unix_micros() / 1_000_000;
        Ok(Some(self.packer.copied(images, rows, (self.low, now))))
    }
}

fn scanned(
    packer: &mut Packer,
    images: &mut Images,
    item: HashMap<String, AttributeValue>,
) -> Result<RowRef, ItemError> {
    let attribute =
        |(name, value): (String, AttributeValue)| from_tables(&name, value).map(|value| (name, value));
    let item: Item = item.into_iter().map(attribute).collect::<Result<_, _>>()?;
    packer.item(images, &item)
}

impl ChunkRows for Scanned {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<RowChanges>, SourceError>> {
        Box::pin(async move { self.rows().await.map_err(crate::fault::boxed) })
    }
}

/// A load of nothing.
struct Nothing;

impl ChunkRows for Nothing {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<RowChanges>, SourceError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

#[cfg(test)]
mod tests;
