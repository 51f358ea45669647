//! The database as a source whose tables' last chunks have to be read alone: it fails a test in which one is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use replicator::event::*;
use replicator::source::*;

use crate::database::Database;

/// What tells whether a table's rows are being read.
type Reading = Arc<()>;

/// A source that counts who reads.
#[derive(Debug)]
pub(crate) struct Alone {
    database: Database,
    reading: Mutex<BTreeMap<TableId, Reading>>,
}

/// A chunk that is being read until its rows are acknowledged, when this is dropped.
struct Counted {
    rows: Box<dyn ChunkRows>,
    _reading: Reading,
}

impl ChunkRows for Counted {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<RowChanges>, SourceError>> {
        self.rows.next()
    }
}

impl Alone {
    pub(crate) fn new(database: Database) -> Alone {
        Alone {
            database,
            reading: Mutex::default(),
        }
    }
}

impl Source for Alone {
    fn tables<'a>(&'a self, known: &'a [TableId]) -> BoxFuture<'a, Result<Vec<TableLayout>, SourceError>> {
        self.database.tables(known)
    }

    fn layout<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Option<TableLayout>, SourceError>> {
        self.database.layout(table)
    }

    fn open(
        &self,
        from: Option<LogPosition>,
        last: Epoch,
        known: Vec<TableId>,
    ) -> BoxFuture<'_, Result<Opened, SourceError>> {
        self.database.open(from, last, known)
    }

    fn captures(&self, table: &TableId) -> bool {
        self.database.captures(table)
    }

    fn watermark<'a>(
        &'a self,
        table: &'a TableId,
        floor: &'a LogPosition,
    ) -> BoxFuture<'a, Result<Watermark, SourceError>> {
        self.database.watermark(table, floor)
    }

    fn plan<'a>(
        &'a self,
        layout: &'a TableLayout,
        low: TxnStart,
        after: Option<&'a Bound>,
    ) -> BoxFuture<'a, Result<Chunk, SourceError>> {
        self.database.plan(layout, low, after)
    }

    fn ends_alone(&self) -> bool {
        true
    }

    fn read(&self, read: ChunkRead) -> BoxFuture<'_, Result<Box<dyn ChunkRows>, SourceError>> {
        let reading = {
            let mut all = self.reading.lock().unwrap();
            Arc::clone(all.entry(read.layout.table.clone()).or_default())
        };
        // The table's own, and this one.
        let others = Arc::strong_count(&reading) - 2;
        assert!(
            read.chunk.upper.is_some() || others == 0,
            "the last chunk is read beside {others} others"
        );
        Box::pin(async move {
            let rows = self.database.read(read).await?;
            let counted: Box<dyn ChunkRows> = Box::new(Counted {
                rows,
                _reading: reading,
            });
            Ok(counted)
        })
    }

    fn estimate<'a>(&'a self, table: &'a TableId) -> BoxFuture<'a, Result<Estimate, SourceError>> {
        self.database.estimate(table)
    }
}
