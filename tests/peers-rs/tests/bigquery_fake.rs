//! The sink writes rows of every type to the fake BigQuery of the crate `bigquery`, whose decoder was
//! written by others from the same documents, and the values that it understands are compared.

use std::sync::Arc;

use bigquery::testing::BigQueryFake;
use bigquery::{BigQueryChangeType, BigQueryDatasetId, BigQueryTableId};
use replicator::clock::Clock;
use replicator::config::{self, Config};
use replicator::event::{
    BinlogCoord, CellVisitor, Change, CivilDate, CivilDateTime, Column, ColumnName, ColumnType, Epoch, Op,
    Ordinal, RowChanges, RowError, RowImages, RowRef, TableId, TableLayout, TxnStart, Unrepresentable, Value,
};
use replicator::sink::bigquery::BigQuery;
use replicator::sink::{Batch, Sink};
use serde::Deserialize;

const SHOP: BigQueryDatasetId = BigQueryDatasetId::from_static("shop");
const TYPES: BigQueryTableId = BigQueryTableId::from_static("types");

/// A row as the fake understood it.
#[derive(Debug, PartialEq, Deserialize)]
struct Understood {
    id: i64,
    hex_key: String,
    flag: Option<bool>,
    big: Option<String>,
    price: Option<String>,
    wide: Option<String>,
    huge: Option<String>,
    float: Option<f64>,
    double: Option<f64>,
    text: Option<String>,
    bytes: Option<Vec<u8>>,
    json: Option<String>,
    day: Option<String>,
    civil: Option<String>,
    instant: Option<i64>,
    span: Option<String>,
    #[serde(rename = "_replicator_commit_time")]
    commit_time: Option<i64>,
}

const KINDS: [(&str, ColumnType); 16] = [
    ("id", ColumnType::Int64),
    ("hex_key", ColumnType::Bytes),
    ("flag", ColumnType::Bool),
    ("big", ColumnType::UInt64),
    (
        "price",
        ColumnType::Decimal {
            precision: 10,
            scale: 2,
        },
    ),
    (
        "wide",
        ColumnType::Decimal {
            precision: 65,
            scale: 30,
        },
    ),
    (
        "huge",
        ColumnType::Decimal {
            precision: 65,
            scale: 0,
        },
    ),
    ("float", ColumnType::Float32),
    ("double", ColumnType::Float64),
    ("text", ColumnType::Text),
    ("bytes", ColumnType::Bytes),
    ("json", ColumnType::Json),
    ("day", ColumnType::Date),
    ("civil", ColumnType::DateTime),
    ("instant", ColumnType::Timestamp),
    ("span", ColumnType::Time),
];

#[derive(Debug)]
struct Rows(Vec<Vec<Value<'static>>>);

impl RowImages for Rows {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let cells = &self.0[usize::try_from(row.at).unwrap()];
        cells
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| visitor.cell(index, *value))
    }

    fn bytes(&self) -> usize {
        1
    }
}

fn date(year: u16, month: u8, day: u8) -> CivilDate {
    CivilDate { year, month, day }
}

fn full() -> Vec<Value<'static>> {
    vec![
        Value::Int(-9_223_372_036_854_775_808),
        Value::Bytes(&[0, 0xFF]),
        Value::Bool(true),
        Value::UInt(u64::MAX),
        Value::Decimal {
            unscaled: -12_345,
            scale: 2,
        },
        Value::DecimalText("-12345678901234567890123456789012345.000000000000000000000000000001"),
        Value::DecimalText("99999999999999999999999999999999999999999999999999999999999999999"),
        Value::Float(0.1),
        Value::Double(-2.5e-300),
        Value::Text("größe 😀"),
        Value::Bytes(&[1, 0, 0x80]),
        Value::Json("{\"a\": [1, null, 18446744073709551615]}"),
        Value::Date(date(1, 1, 1)),
        Value::DateTime(CivilDateTime {
            date: date(9999, 12, 31),
            hour: 23,
            minute: 59,
            second: 59,
            micros: 999_999,
        }),
        Value::Timestamp(-1),
        Value::Time(-3_020_399_999_999),
    ]
}

/// A key with nothing beside it.
fn bare() -> Vec<Value<'static>> {
    let mut cells = vec![Value::Null; KINDS.len()];
    cells[0] = Value::Int(0);
    cells[1] = Value::Bytes(&[]);
    cells[12] = Value::Date(date(0, 0, 0));
    cells[14] = Value::Unrepresentable(Unrepresentable::ZeroTimestamp);
    cells
}

fn config(project: &str, url: &str) -> Config {
    let text = format!(
        "pipeline: peers\nsources:\n  - name: shop\n    mysql: {{ url: 'mysql://u@localhost', tables: ['shop.*'] }}\n\
         sink:\n  bigquery:\n    project: {project}\n    max_staleness: '0'\n    auth: none\n    \
         endpoints: {{ rest: '{url}', write: '{url}' }}\ncheckpoint: file:///nowhere\n"
    );
    config::parse(&text, &|_| None).unwrap()
}

fn layout() -> Arc<TableLayout> {
    let columns = KINDS.iter().enumerate().map(|(index, (name, kind))| Column {
        name: ColumnName::new(*name),
        kind: *kind,
        declared: String::new(),
        nullable: index > 1,
        key: u16::try_from(index).ok().filter(|index| *index < 2),
    });
    Arc::new(TableLayout {
        table: TableId::new("shop", "types"),
        columns: columns.collect(),
    })
}

fn image(at: u32) -> RowRef {
    RowRef { at, len: 100 }
}

async fn fake_with_table() -> BigQueryFake {
    let fake = BigQueryFake::start().await.unwrap();
    fake.table(SHOP.table(TYPES), |columns| {
        columns.fields([
            columns.field("id").int64().required(),
            columns.field("hex_key").string().required(),
            columns.field("flag").bool(),
            columns.field("big").numeric(),
            columns.field("price").numeric(),
            columns.field("wide").bignumeric(),
            columns.field("huge").string(),
            columns.field("float").float64(),
            columns.field("double").float64(),
            columns.field("text").string(),
            columns.field("bytes").bytes(),
            columns.field("json").json(),
            columns.field("day").date(),
            columns.field("civil").datetime(),
            columns.field("instant").timestamp(),
            columns.field("span").interval(),
            columns.field("_replicator_commit_time").timestamp(),
        ])
    })
    .create()
    .unwrap();
    fake
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_understood_as_it_was_meant() {
    let fake = fake_with_table().await;
    let options = fake.db().options();
    let url = options.effective_bigquery_storage_api_url().to_string();
    let config = config(&options.google_project_id, url.trim_end_matches('/'));
    let sink = BigQuery::new(&config, Clock::real()).unwrap();
    let layout = layout();
    let ops = [
        Op::Insert { after: image(0) },
        Op::Insert { after: image(1) },
        Op::Delete { before: image(2) },
    ];
    let mut gone = full();
    gone[0] = Value::Int(7);
    let changes = RowChanges {
        layout: Arc::clone(&layout),
        images: Arc::new(Rows(vec![full(), bare(), gone])),
        txn: TxnStart {
            epoch: Epoch(1_700_000_000),
            coord: BinlogCoord { file: 3, offset: 4 },
        },
        committed_micros: 1_700_000_000_000_001,
        changes: ops
            .into_iter()
            .zip(1..)
            .map(|(op, ordinal)| Change {
                op,
                ordinal: Ordinal(ordinal),
            })
            .collect(),
        snapshot: false,
    };
    let pending = sink
        .write(Batch {
            layout,
            pieces: vec![changes],
        })
        .await
        .unwrap();
    assert_eq!(pending.await.unwrap().rows, 3);

    let mut changes = fake.changes::<Understood>(SHOP.table(TYPES)).unwrap().into_iter();
    let first = changes.next().unwrap();
    assert_eq!(first.change_type, BigQueryChangeType::Upsert);
    assert_eq!(first.sequence_number.unwrap().as_str(), "6553F100/3/4/3");
    let text = |text: &str| Some(text.to_owned());
    let expected = Understood {
        id: i64::MIN,
        hex_key: "00ff".to_owned(),
        flag: Some(true),
        big: text("18446744073709551615"),
        price: text("-123.45"),
        wide: text("-12345678901234567890123456789012345.000000000000000000000000000001"),
        huge: text(&"9".repeat(65)),
        float: Some(0.1),
        double: Some(-2.5e-300),
        text: text("größe 😀"),
        bytes: Some(vec![1, 0, 0x80]),
        json: text("{\"a\": [1, null, 18446744073709551615]}"),
        day: text("0001-01-01"),
        civil: text("9999-12-31T23:59:59.999999"),
        instant: Some(-1),
        span: text("0-0 0 -838:59:59.999999"),
        commit_time: Some(1_700_000_000_000_001),
    };
    assert_eq!(first.row, expected);

    let second = changes.next().unwrap();
    assert_eq!(second.change_type, BigQueryChangeType::Upsert);
    assert_eq!((second.row.id, second.row.hex_key.as_str()), (0, ""));
    assert_eq!(
        (second.row.day, second.row.instant, second.row.text),
        (None, None, None)
    );
    assert_eq!(second.row.commit_time, Some(1_700_000_000_000_001));

    let third = changes.next().unwrap();
    assert_eq!(third.change_type, BigQueryChangeType::Delete);
    assert_eq!(
        (third.row.id, third.row.hex_key.as_str(), third.row.text),
        (7, "00ff", None)
    );
    assert!(changes.next().is_none());
}
