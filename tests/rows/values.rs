//! One wide table of all types: insert, update and delete, each image against the server's own words.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use replicator::event::{
    BinlogCoord, CellVisitor, Chunk, ColumnType, Epoch, Op, ReadAt, RowChanges, RowError, RowRef, TableId,
    TableLayout, TxnStart, Unrepresentable, Value,
};
use replicator::source::mysql::chunks::{BatchLimits, read_chunk};
use replicator::source::mysql::{
    Decoder, LayoutError, RowsAt, catalog::CatalogTable, decode_rows, snapshot_changes,
};

use crate::columns::{self, Spec};
use crate::server::{Flavour, RowsEvent, Server, catalog};

const ROWS: usize = 40;

/// A row's cells in the words of the oracle; `None`: NULL.
pub(crate) type Cells = Vec<Option<String>>;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02X}").unwrap();
        text
    })
}

fn point(negative: bool, micros: u64) -> String {
    let sign = if negative { "-" } else { "" };
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The words in which the oracle's expressions below state a value.
pub(crate) fn say(value: Value<'_>) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(is) => u8::from(is).to_string(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Decimal { unscaled, scale } => {
            let scale = usize::from(scale);
            let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if unscaled < 0 { "-" } else { "" };
            let dot = if scale > 0 { "." } else { "" };
            format!("{sign}{whole}{dot}{fraction}")
        }
        Value::DecimalText(text) => text.to_owned(),
        Value::Float(number) => format!("{:?}", f64::from(number)),
        Value::Double(number) => format!("{number:?}"),
        Value::Text(text) => hex(text.as_bytes()),
        Value::Bytes(bytes) => hex(bytes),
        Value::Json(text) => text.to_owned(),
        Value::Date(date) => format!("{:04}-{:02}-{:02}", date.year, date.month, date.day),
        Value::DateTime(at) => {
            let (date, fraction) = (at.date, at.micros);
            let date = format!("{:04}-{:02}-{:02}", date.year, date.month, date.day);
            format!(
                "{date} {:02}:{:02}:{:02}.{fraction:06}",
                at.hour, at.minute, at.second
            )
        }
        Value::Timestamp(micros) => point(micros < 0, micros.unsigned_abs()),
        Value::Time(micros) => {
            let seconds = micros.unsigned_abs() / 1_000_000;
            let sign = if micros < 0 { "-" } else { "" };
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let fraction = micros.unsigned_abs() % 1_000_000;
            format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{fraction:06}")
        }
        Value::Unrepresentable(Unrepresentable::ZeroTimestamp) => point(false, 0),
        Value::Unrepresentable(Unrepresentable::InvalidText(bytes)) => format!("invalid {}", hex(bytes)),
        Value::Unrepresentable(Unrepresentable::SharedText(text)) => {
            format!("shared {}", hex(text.as_bytes()))
        }
        Value::Unrepresentable(Unrepresentable::OtherType) => "of another type".to_owned(),
    })
}

/// The SQL expression by which the server states a column.
fn oracle(kind: ColumnType, declared: &str, name: &str) -> String {
    match kind {
        ColumnType::Bool | ColumnType::Int64 | ColumnType::UInt64 => format!("{name}+0"),
        ColumnType::Decimal { .. } => format!("TRIM(LEADING '0' FROM CAST({name} AS CHAR))"),
        ColumnType::Float32 | ColumnType::Float64 => format!("CAST({name} AS DOUBLE)"),
        ColumnType::Text if ["uuid", "inet4", "inet6"].contains(&declared) => {
            format!("HEX(CAST({name} AS CHAR CHARACTER SET utf8mb4))")
        }
        ColumnType::Text => format!("HEX(CONVERT({name} USING utf8mb4))"),
        ColumnType::Bytes
            if !declared.contains("binary") && !declared.contains("blob") && declared != "vector(3)" =>
        {
            format!("SUBSTR(HEX({name}), 9)")
        }
        ColumnType::Bytes => format!("HEX({name})"),
        ColumnType::Json | ColumnType::Date => format!("CAST({name} AS CHAR)"),
        ColumnType::DateTime => format!("DATE_FORMAT({name}, '%Y-%m-%d %H:%i:%s.%f')"),
        ColumnType::Timestamp => format!("CAST(UNIX_TIMESTAMP({name}) AS DECIMAL(20,6))"),
        ColumnType::Time => format!("CAST({name} AS CHAR)"),
    }
}

/// Brings the server's text into the one form of [`say`].
fn normal(kind: ColumnType, text: String) -> String {
    match kind {
        ColumnType::Float32 | ColumnType::Float64 => format!("{:?}", text.parse::<f64>().unwrap()),
        ColumnType::Decimal { .. } if text.is_empty() || text.starts_with('.') => format!("0{text}"),
        ColumnType::Time => {
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            format!("{whole}.{fraction:0<6}")
        }
        ColumnType::Bool
        | ColumnType::Int64
        | ColumnType::UInt64
        | ColumnType::Decimal { .. }
        | ColumnType::Text
        | ColumnType::Bytes
        | ColumnType::Json
        | ColumnType::Date
        | ColumnType::DateTime
        | ColumnType::Timestamp => text,
    }
}

async fn ask_oracle(conn: &mut Conn, layout: &TableLayout) -> BTreeMap<String, Cells> {
    let expressions: Vec<String> = layout
        .columns
        .iter()
        .map(|column| oracle(column.kind, &column.declared, column.name.as_str()))
        .collect();
    let sql = format!(
        "SELECT {} FROM {} ORDER BY id",
        expressions.join(", "),
        layout.table
    );
    let rows: Vec<Row> = conn.query(sql).await.unwrap();
    let rows = rows.into_iter().map(|row| {
        let cells: Cells = (0..row.len())
            .map(|at| {
                let text: Option<String> = row.get(at).unwrap();
                text.map(|text| normal(layout.columns[at].kind, text))
            })
            .collect();
        (cells[0].clone().unwrap(), cells)
    });
    rows.collect()
}

struct Said(Cells);

impl CellVisitor for Said {
    fn cell(&mut self, column: usize, value: Value<'_>) -> Result<(), RowError> {
        assert_eq!(column, self.0.len());
        self.0.push(say(value));
        Ok(())
    }
}

/// A row image's cells.
pub(crate) fn cells(changes: &RowChanges, row: RowRef) -> Cells {
    let mut said = Said(Vec::new());
    let walked = changes.images.visit(row, &mut said);
    assert_eq!(walked, Ok(()), "row {:?}", said.0.first());
    said.0
}

/// Any place of the log.
pub(crate) fn at(first_ordinal: u64) -> RowsAt {
    RowsAt {
        txn: TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord::file_start(1),
        },
        first_ordinal,
        committed_micros: 0,
    }
}

fn same(layout: &TableLayout, found: &[Option<String>], expected: &[Option<String>], from: &str) {
    for ((column, found), expected) in layout.columns.iter().zip(found).zip(expected) {
        let short = |text: &Option<String>| {
            text.as_ref()
                .map(|text| text.chars().take(300).collect::<String>())
        };
        assert!(
            found == expected,
            "{from}: {} {}: {:?} instead of {:?}",
            column.name,
            column.declared,
            short(found),
            short(expected)
        );
    }
    assert_eq!(found.len(), expected.len());
}

pub(crate) async fn fill(conn: &mut Conn, specs: &[Spec]) {
    let columns: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| {
            let null = if spec.declared.starts_with("timestamp") {
                " NULL"
            } else {
                ""
            };
            format!("c{index} {}{null}", spec.declared)
        })
        .collect();
    let sql = format!(
        "CREATE TABLE test.wide (id INT PRIMARY KEY, {}) DEFAULT CHARSET utf8mb4",
        columns.join(", ")
    );
    conn.query_drop(sql).await.unwrap();
    let filled: Vec<(usize, &Spec)> = specs
        .iter()
        .enumerate()
        .filter(|(_, spec)| !spec.values.is_empty())
        .collect();
    let names: Vec<String> = filled.iter().map(|(index, _)| format!("c{index}")).collect();
    for row in 0..=ROWS {
        let values: Vec<&str> = filled
            .iter()
            .map(|(_, spec)| {
                if row == ROWS {
                    "NULL"
                } else {
                    spec.values[row % spec.values.len()].as_str()
                }
            })
            .collect();
        let sql = format!(
            "INSERT INTO test.wide (id, {}) VALUES ({row}, {})",
            names.join(", "),
            values.join(", ")
        );
        conn.query_drop(sql).await.unwrap();
    }
}

/// A table's rows as a snapshot reads them.
pub(crate) async fn snapshot(conn: &mut Conn, catalog: &CatalogTable) -> RowChanges {
    let decoder = Arc::new(Decoder::from_catalog(catalog).unwrap());
    let whole = Chunk {
        lower: None,
        upper: None,
    };
    let mut rows = Vec::new();
    let mut read = read_chunk(conn, catalog, &whole, BatchLimits::default())
        .await
        .unwrap();
    while let Some(batch) = read.next_batch().await.unwrap() {
        rows.extend(batch);
    }
    let read = ReadAt {
        low: at(1).txn,
        began_micros: 5,
    };
    snapshot_changes(&decoder, rows, read, 1)
}

async fn check_snapshot(conn: &mut Conn, catalog: &CatalogTable, oracle: &BTreeMap<String, Cells>) {
    let changes = snapshot(conn, catalog).await;
    assert_eq!(changes.changes.len(), oracle.len());
    assert!(changes.snapshot && changes.images.bytes() > 0);
    for change in &changes.changes {
        let Op::Insert { after } = change.op else {
            panic!("snapshot rows are inserts");
        };
        let found = cells(&changes, after);
        same(
            &changes.layout,
            &found,
            &oracle[found[0].as_ref().unwrap()],
            "snapshot",
        );
    }
}

/// Checks every image of a phase's events against the oracle of the same phase.
fn check_event(decoder: &Arc<Decoder>, event: &RowsEvent, known: &BTreeMap<String, Cells>) {
    let (changes, next) = decode_rows(decoder, event.kind, event.body.clone(), at(1)).unwrap();
    assert!(next > 1 && !changes.changes.is_empty());
    let expect = |cells: Cells, from: &str| {
        same(&changes.layout, &cells, &known[cells[0].as_ref().unwrap()], from);
    };
    for change in &changes.changes {
        match change.op {
            Op::Insert { after: row } => expect(cells(&changes, row), "insert"),
            Op::Delete { before: row } => expect(cells(&changes, row), "delete"),
            Op::Update {
                before: old,
                after: new,
                key_changed,
            } => {
                assert!(key_changed, "the update moves every key");
                expect(cells(&changes, old), "update, before");
                expect(cells(&changes, new), "update, after");
            }
        }
    }
}

/// All events in which the table is described, by each way to a layout.
fn check_layouts(event: &RowsEvent, catalog: &CatalogTable, full: bool) -> Arc<Decoder> {
    let selected = Decoder::from_catalog(catalog).unwrap();
    let both = Decoder::from_table_map_and_catalog(&event.map, catalog).unwrap();
    assert_eq!(event.map.has_full, full);
    assert_eq!(both.layout(), selected.layout());
    let logged = Decoder::from_table_map(&event.map, Some(catalog));
    if !full {
        assert!(matches!(logged.unwrap_err(), LayoutError::NotFull { .. }));
        return Arc::new(both);
    }
    let logged = logged.unwrap();
    for (found, expected) in logged.layout().columns.iter().zip(&selected.layout().columns) {
        assert_eq!(found, expected);
    }
    assert_eq!(logged, both, "the plans too");
    Arc::new(logged)
}

async fn every_value(flavour: Flavour, metadata: &str) {
    let server = Server::start(flavour);
    let mut conn = server.connect().await;
    conn.query_drop(format!("SET GLOBAL binlog_row_metadata = {metadata}"))
        .await
        .unwrap();
    conn = server.connect().await;
    conn.query_drop("CREATE DATABASE test").await.unwrap();
    let specs = columns::all(flavour);
    fill(&mut conn, &specs).await;
    let table = TableId::new("test", "wide");
    let catalog = catalog(&mut conn, &table).await;
    let decoder = Decoder::from_catalog(&catalog).unwrap();
    let inserted = ask_oracle(&mut conn, decoder.layout()).await;
    assert_eq!(inserted.len(), ROWS + 1);
    check_snapshot(&mut conn, &catalog, &inserted).await;
    conn.query_drop("UPDATE test.wide SET id = id + 1000")
        .await
        .unwrap();
    let updated = ask_oracle(&mut conn, decoder.layout()).await;
    conn.query_drop("DELETE FROM test.wide").await.unwrap();
    drop(conn);
    let log = server.log().await;
    let mut known = inserted.clone();
    known.extend(updated.clone());
    let mut kinds = std::collections::BTreeSet::new();
    for event in &log {
        assert_eq!(event.map.table, table);
        let decoder = check_layouts(event, &catalog, metadata == "FULL");
        check_event(&decoder, event, &known);
        kinds.insert(format!("{:?}", event.kind));
    }
    assert_eq!(kinds.len(), 3, "inserts, updates and deletes: {kinds:?}");
}

#[tokio::test]
async fn mysql_values_with_full_metadata() {
    every_value(Flavour::Mysql, "FULL").await;
}

#[tokio::test]
async fn mysql_values_with_minimal_metadata() {
    every_value(Flavour::Mysql, "MINIMAL").await;
}

#[tokio::test]
async fn mariadb_values_with_full_metadata() {
    every_value(Flavour::MariaDb, "FULL").await;
}

#[tokio::test]
async fn mariadb_values_with_minimal_metadata() {
    every_value(Flavour::MariaDb, "MINIMAL").await;
}

#[tokio::test]
async fn mariadb_values_without_metadata() {
    every_value(Flavour::MariaDb, "NO_LOG").await;
}
