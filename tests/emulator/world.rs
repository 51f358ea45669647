//! The sink itself before the emulator, both by one clock that the tests turn.

use std::sync::Arc;
use std::time::Duration;

use replicator::clock::Clock;
use replicator::config;
use replicator::emulator::{Options, Profile};
use replicator::event::{
    BinlogCoord, CellVisitor, Change, Column, ColumnName, ColumnType, Epoch, Op, Ordinal, RowChanges,
    RowError, RowImages, RowRef, TableId, TableLayout, TxnStart, Value,
};
use replicator::fault::Fault;
use replicator::sink::bigquery::BigQuery;
use replicator::sink::{Batch, Pending, Prepared, Sink, SinkError};
use serde_json::Value as Json;

use crate::client::Emulator;

/// Rows by index.
#[derive(Debug)]
struct Images(Vec<Vec<Value<'static>>>);

impl RowImages for Images {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let row = &self.0[usize::try_from(row.at).expect("an index")];
        row.iter()
            .enumerate()
            .try_for_each(|(column, value)| visitor.cell(column, *value))
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// The sink, its emulator, and the clock that both have.
pub(crate) struct World {
    pub(crate) emulator: Emulator,
    pub(crate) sink: BigQuery,
    /// How far the clock is turned at a time.
    step: Duration,
}

impl World {
    pub(crate) async fn start() -> World {
        World::with_staleness("0").await
    }

    pub(crate) async fn with_staleness(staleness: &str) -> World {
        let emulator = Emulator::start().await;
        let write = emulator.running.write_url();
        let sink = sink(&emulator, &write, staleness);
        let step = Duration::from_millis(500);
        World { emulator, sink, step }
    }

    /// An emulator that has every delay, whose data set `d` is far from the US.
    pub(crate) async fn strict() -> Emulator {
        let options = Options {
            profile: Profile::STRICT,
            ..Options::local(Clock::manual())
        };
        let emulator = Emulator::of(options).await;
        emulator
            .run(&["CREATE SCHEMA d OPTIONS (location = 'asia-northeast1')"])
            .await;
        emulator
    }

    /// A sink before `emulator` that finds the Storage Write API at `write`.
    pub(crate) fn before(emulator: Emulator, write: &str, step: Duration) -> World {
        let sink = sink(&emulator, write, "0");
        World { emulator, sink, step }
    }

    /// Drives `future` while the clock runs: metadata takes its time to spread.
    pub(crate) async fn passing<T>(&self, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        let real = Clock::real();
        let deadline = real.now() + Duration::from_secs(120);
        loop {
            tokio::select! {
                biased;
                done = &mut future => return done,
                () = real.sleep(Duration::from_millis(1)) => {}
            }
            assert!(real.now() < deadline, "no end in time");
            self.emulator.clock.advance(self.step);
        }
    }

    pub(crate) async fn prepare(&self, layout: &TableLayout) -> Result<Prepared, SinkError> {
        self.passing(self.sink.prepare(layout)).await
    }

    /// Prepares as the pipeline does: again while that may help.
    pub(crate) async fn prepare_surely(&self, layout: &TableLayout) -> Prepared {
        loop {
            match self.prepare(layout).await {
                Ok(prepared) => return prepared,
                Err(error) if matches!(error.fault(), Fault::Transient { .. }) => {}
                Err(error) => panic!("{}", replicator::fault::chain(&*error)),
            }
        }
    }

    /// Writes rows as inserts; gives how many were put aside.
    pub(crate) async fn write(&self, layout: &Arc<TableLayout>, rows: Vec<Vec<Value<'static>>>) -> u64 {
        let changes = (0..rows.len()).map(|at| Op::Insert { after: row_ref(at) });
        let txn = TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord::file_start(1),
        };
        let piece = changes_of(layout, txn, changes.collect(), Arc::new(Images(rows)));
        let written = self.passing(self.settled(batch(piece))).await;
        written.map_err(|error| error.to_string()).expect("the rows")
    }

    /// Hands a batch over and waits for its proof; gives how many rows were put aside.
    pub(crate) async fn settled(&self, batch: Batch) -> Result<u64, SinkError> {
        let pending: Pending = self.sink.write(batch).await?;
        Ok(pending.await?.dead_letters)
    }

    /// The fields of the one table of a dataset, and the table's name.
    pub(crate) async fn only_table(&self, dataset: &str) -> (String, Vec<Json>) {
        let (_, tables) = self
            .emulator
            .call("GET", &format!("/datasets/{dataset}/tables"), None)
            .await;
        assert_eq!(tables["tables"].as_array().map(Vec::len), Some(1), "{tables}");
        let id = tables["tables"][0]["tableReference"]["tableId"].as_str();
        let id = id.expect("a name").to_owned();
        let path = format!("/datasets/{dataset}/tables/{id}");
        let (status, table) = self.emulator.call("GET", &path, None).await;
        assert_eq!(status, 200, "{table}");
        let fields = table["schema"]["fields"].as_array();
        (id, fields.expect("fields").clone())
    }
}

fn sink(emulator: &Emulator, write: &str, staleness: &str) -> BigQuery {
    let text = format!(
        "pipeline: edges\nsources:\n  - name: s\n    mysql: {{ url: 'mysql://r@localhost', tables: ['*.*'] }}\n\
             sink:\n  bigquery:\n    project: p\n    auth: none\n    max_staleness: '{staleness}'\n    \
             endpoints: {{ rest: '{}', write: '{write}' }}\ncheckpoint: file:///nowhere\n",
        emulator.running.rest_url(),
    );
    let config = config::parse(&text, &|_| None).expect("a configuration");
    BigQuery::new(&config, emulator.clock.clone()).expect("a sink")
}

/// The image of a row by its index.
pub(crate) fn row_ref(at: usize) -> RowRef {
    RowRef {
        at: u32::try_from(at).expect("few rows"),
        len: 100,
    }
}

/// Changes of one transaction, numbered from 1.
pub(crate) fn changes_of(
    layout: &Arc<TableLayout>,
    txn: TxnStart,
    ops: Vec<Op>,
    images: Arc<dyn RowImages>,
) -> RowChanges {
    let changes = ops.into_iter().zip(1..).map(|(op, ordinal)| Change {
        op,
        ordinal: Ordinal(ordinal),
    });
    RowChanges {
        layout: Arc::clone(layout),
        changes: changes.collect(),
        images,
        txn,
        committed_micros: 0,
        snapshot: false,
    }
}

/// A batch of one piece.
pub(crate) fn batch(piece: RowChanges) -> Batch {
    Batch {
        layout: Arc::clone(&piece.layout),
        pieces: vec![piece],
    }
}

/// A table whose first column is its key.
pub(crate) fn layout(table: TableId, columns: &[(&str, ColumnType)]) -> Arc<TableLayout> {
    let columns = columns.iter().enumerate().map(|(at, (name, kind))| Column {
        name: ColumnName::new(*name),
        kind: *kind,
        declared: format!("{kind:?}"),
        nullable: at > 0,
        key: (at == 0).then_some(0),
    });
    Arc::new(TableLayout {
        table,
        columns: columns.collect(),
    })
}
