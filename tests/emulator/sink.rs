//! The sink itself against the emulator: hostile names and the first and last value of every type, from the
//! source's cells to what a query shows.

use std::time::Duration;

use replicator::event::{CivilDate, CivilDateTime, ColumnType, TableId, Unrepresentable, Value};
use replicator::fault::Fault;
use replicator::sink::bigquery::table_name;
use replicator::sink::{Prepared, Sink};

use crate::client::{Row, Schema};
use crate::world::{World, layout};

/// Names that BigQuery takes stay, others are spelled anew; each keeps its values, and its own name where it
/// was changed; no name says anything in SQL but itself.
#[tokio::test]
async fn names_of_any_kind_name_their_own_column() {
    let world = World::start().await;
    let hostile = [
        "größe & gewicht",
        "2nd",
        "注文-番号",
        "& % = + : ' < > # |",
        "a`b",
        "a\\b",
        "x`; DROP TABLE d.v; --",
        "a.b",
        "a/b",
        "a_b",
        "_PARTITIONTIME",
        "_change_type",
        "_replicator_commit_time",
        "_replicator_column_2",
        "price ($)",
        "\u{301}accent",
    ];
    let mut columns = vec![("schlüssel", ColumnType::Text)];
    columns.extend(hostile.map(|name| (name, ColumnType::Text)));
    let table = TableId::new("größe", "order-items 2`; DROP TABLE x");
    let layout = layout(table, &columns);
    let prepared = world.prepare(&layout).await.map_err(|error| error.to_string());
    assert_eq!(prepared, Ok(Prepared::Created));
    let row = std::iter::once("key").chain(hostile).map(Value::Text).collect();
    assert_eq!(world.write(&layout, vec![row]).await, 0);

    let (_, datasets) = world.emulator.call("GET", "/datasets", None).await;
    let dataset = datasets["datasets"][0]["datasetReference"]["datasetId"].as_str();
    let dataset = dataset.expect("a dataset");
    assert!(dataset.starts_with("gr_e_"), "{dataset}");
    let (table, fields) = world.only_table(dataset).await;
    assert!(table.starts_with("order_items_2_DROP_TABLE_x_"), "{table}");
    for (source, field) in hostile.iter().zip(&fields[1..]) {
        let name = field["name"].as_str().expect("a name");
        let told = field["description"].as_str();
        let expected = (name != *source).then(|| format!("source column: {source}"));
        assert_eq!(told, expected.as_deref());
        let sql = format!("SELECT `{name}` FROM `p.{dataset}.{table}`");
        let rows = world.emulator.query(&sql).await;
        assert_eq!(rows, Ok(vec![vec![Some((*source).to_owned())]]), "{sql}");
    }
    let kept: Vec<&str> = fields.iter().filter_map(|field| field["name"].as_str()).collect();
    assert_eq!(
        kept[..5],
        ["schlüssel", hostile[0], hostile[1], hostile[2], hostile[3]]
    );
    assert_eq!(world.prepare(&layout).await.ok(), Some(Prepared::NotEmpty));
}

/// The cure that a misfit names is a statement that cures it, whatever the names are.
#[tokio::test]
async fn the_statement_that_a_misfit_names_cures_it() {
    let world = World::start().await;
    let table = TableId::new("d", "größe 1");
    let columns = [
        ("id", ColumnType::Int64),
        ("a & b", ColumnType::Text),
        ("x`y", ColumnType::Json),
    ];
    let narrow = layout(table.clone(), &columns[..1]);
    assert_eq!(world.prepare(&narrow).await.ok(), Some(Prepared::Created));
    let wide = layout(table, &columns);
    let error = world
        .prepare(&wide)
        .await
        .expect_err("two columns are missing")
        .to_string();
    let cures: Vec<&str> = error
        .split("(ALTER")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(statement, _)| statement))
        .collect();
    assert_eq!(cures.len(), 2, "{error}");
    for cure in cures {
        world.emulator.run(&[&format!("ALTER{cure}")]).await;
        world.emulator.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(world.prepare(&wide).await.ok(), Some(Prepared::Empty));
}

const DECIMAL: ColumnType = ColumnType::Decimal {
    precision: 38,
    scale: 9,
};
const WIDE: ColumnType = ColumnType::Decimal {
    precision: 65,
    scale: 30,
};

const fn datetime(year: u16, month: u8, day: u8, at: (u8, u8, u8, u32)) -> Value<'static> {
    let (hour, minute, second, micros) = at;
    Value::DateTime(CivilDateTime {
        date: CivilDate { year, month, day },
        hour,
        minute,
        second,
        micros,
    })
}

const fn date(year: u16, month: u8, day: u8) -> Value<'static> {
    Value::Date(CivilDate { year, month, day })
}

/// Below 10²⁹ with nine digits after the point.
const MOST: i128 = 10i128.pow(38) - 1;

const fn decimal(unscaled: i128) -> Value<'static> {
    Value::Decimal { unscaled, scale: 9 }
}

/// A type, a value of it, and what a query shows.
const ENDS: &[(ColumnType, Value<'static>, Option<&str>)] = &[
    (
        ColumnType::Int64,
        Value::Int(i64::MIN),
        Some("-9223372036854775808"),
    ),
    (
        ColumnType::UInt64,
        Value::UInt(u64::MAX),
        Some("18446744073709551615"),
    ),
    (
        DECIMAL,
        decimal(MOST),
        Some("99999999999999999999999999999.999999999"),
    ),
    (
        DECIMAL,
        decimal(-MOST),
        Some("-99999999999999999999999999999.999999999"),
    ),
    (DECIMAL, decimal(-1), Some("-0.000000001")),
    (
        WIDE,
        Value::DecimalText("-99999999999999999999999999999999999.999999999999999999999999999999"),
        Some("-99999999999999999999999999999999999.999999999999999999999999999999"),
    ),
    (
        WIDE,
        Value::DecimalText("578960446186580977117854925043439539266.34992332820282019728792003956564819967"),
        Some("578960446186580977117854925043439539266.34992332820282019728792003956564819967"),
    ),
    (
        WIDE,
        Value::DecimalText("-578960446186580977117854925043439539266.34992332820282019728792003956564819968"),
        Some("-578960446186580977117854925043439539266.34992332820282019728792003956564819968"),
    ),
    (ColumnType::Date, date(1, 1, 1), Some("0001-01-01")),
    (ColumnType::Date, date(9999, 12, 31), Some("9999-12-31")),
    (ColumnType::Date, date(0, 0, 0), None),
    (ColumnType::Date, date(2000, 0, 10), None),
    (
        ColumnType::DateTime,
        datetime(1, 1, 1, (0, 0, 0, 0)),
        Some("0001-01-01T00:00:00"),
    ),
    (
        ColumnType::DateTime,
        datetime(9999, 12, 31, (23, 59, 59, 999_999)),
        Some("9999-12-31T23:59:59.999999"),
    ),
    (ColumnType::DateTime, datetime(0, 1, 1, (0, 0, 0, 0)), None),
    (
        ColumnType::Timestamp,
        Value::Timestamp(-62_135_596_800_000_000),
        Some("-62135596800000000"),
    ),
    (
        ColumnType::Timestamp,
        Value::Timestamp(253_402_300_799_999_999),
        Some("253402300799999999"),
    ),
    (
        ColumnType::Timestamp,
        Value::Unrepresentable(Unrepresentable::ZeroTimestamp),
        None,
    ),
    (
        ColumnType::Time,
        Value::Time(3_020_399_999_999),
        Some("0-0 0 838:59:59.999999"),
    ),
    (
        ColumnType::Time,
        Value::Time(-3_020_399_999_999),
        Some("0-0 0 -838:59:59.999999"),
    ),
    (ColumnType::Float64, Value::Double(-0.0), Some("-0.0")),
    (ColumnType::Float64, Value::Double(5e-324), Some("5e-324")),
    (
        ColumnType::Float64,
        Value::Double(f64::MAX),
        Some("1.7976931348623157e308"),
    ),
    (ColumnType::Float32, Value::Float(0.1), Some("0.1")),
    (ColumnType::Bytes, Value::Bytes(&[0, 0xFF]), Some("AP8=")),
    (ColumnType::Text, Value::Text(""), Some("")),
    (ColumnType::Json, Value::Json("null"), Some("null")),
    (
        ColumnType::Json,
        Value::Json("[18446744073709551615, 18446744073709551617, 0.12345678901234567891, 1e400, 1e20]"),
        Some("[18446744073709551615,\"18446744073709551617\",\"0.12345678901234567891\",\"1e400\",1e+20]"),
    ),
];

#[tokio::test]
async fn the_ends_of_every_type_arrive_as_they_are() {
    let world = World::start().await;
    for (at, (kind, value, expected)) in ENDS.iter().enumerate() {
        let table = format!("t{at}");
        let layout = layout(
            TableId::new("d", table.as_str()),
            &[("id", ColumnType::Int64), ("c", *kind)],
        );
        assert_eq!(world.prepare(&layout).await.ok(), Some(Prepared::Created));
        assert_eq!(
            world.write(&layout, vec![vec![Value::Int(1), *value]]).await,
            0,
            "{value:?}"
        );
        let rows = world.emulator.query(&format!("SELECT c FROM d.{table}")).await;
        assert_eq!(rows, Ok(vec![vec![expected.map(str::to_owned)]]), "{value:?}");
    }
}

/// What BigQuery would round or refuse is put aside, the rows beside it arrive.
#[tokio::test]
async fn a_number_past_the_end_is_put_aside() {
    let world = World::start().await;
    let layout = layout(TableId::new("d", "t"), &[("id", ColumnType::Int64), ("c", WIDE)]);
    assert_eq!(world.prepare(&layout).await.ok(), Some(Prepared::Created));
    let past = "578960446186580977117854925043439539266.34992332820282019728792003956564819968";
    let rows = [(1, "1.5"), (2, past), (3, "-0.00")];
    let rows = rows.map(|(id, text)| vec![Value::Int(id), Value::DecimalText(text)]);
    assert_eq!(world.write(&layout, rows.to_vec()).await, 1);
    let rows = world.emulator.query("SELECT id, c FROM d.t ORDER BY id").await;
    let row = |id: &str, c: &str| vec![Some(id.to_owned()), Some(c.to_owned())];
    assert_eq!(rows, Ok(vec![row("1", "1.5"), row("3", "0")]));
}

/// What was written is not taken for an empty table while no query sees it, nor once all of it was deleted.
#[tokio::test]
async fn a_table_that_was_written_to_is_not_empty() {
    let world = World::with_staleness("30d").await;
    let columns = [("id", ColumnType::Int64), ("name", ColumnType::Text)];
    let layout = layout(TableId::new("d", "t"), &columns);
    assert_eq!(world.prepare(&layout).await.ok(), Some(Prepared::Created));
    assert_eq!(world.prepare(&layout).await.ok(), Some(Prepared::Empty));
    let row = vec![Value::Int(1), Value::Text("a")];
    assert_eq!(world.write(&layout, vec![row]).await, 0);
    assert_eq!(world.emulator.query("SELECT id FROM d.t").await, Ok(Vec::new()));
    assert_eq!(world.prepare(&layout).await.ok(), Some(Prepared::NotEmpty));

    let mut connection = world.emulator.connect("t").await;
    let gone = vec![Row::delete(1, "1/1/FF/2")];
    let taken = connection.append("t", &Schema::changes(), gone).await;
    assert_eq!(taken.expect("taken"), [0_i64; 0]);
    world.emulator.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!(world.emulator.query("SELECT id FROM d.t").await, Ok(Vec::new()));
    assert_eq!(world.prepare(&layout).await.ok(), Some(Prepared::NotEmpty));
}

/// Tables that would share a target are all told before anything is made; the one that comes later is at fault alone.
#[tokio::test]
async fn tables_that_would_share_a_target_are_told() {
    let world = World::start().await;
    let spelled = ["a/b", "c.d"].map(table_name);
    let [first, second] = spelled.each_ref().map(String::as_str);
    let tables = ["a/b", first, "c.d", second, "well", "Well"].map(|name| TableId::new("d", name));
    let error = world.sink.tell_apart(&tables).await.expect_err("two pairs");
    let (text, hint) = (error.to_string(), error.hint().unwrap_or_default());
    assert_eq!(error.fault(), Fault::Fatal);
    for part in [format!("d.a/b and d.{first}"), format!("d.c.d and d.{second}")] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    assert!(
        !text.contains("ell") && hint.contains("{schema}"),
        "{text}; {hint}"
    );
    assert!(world.sink.tell_apart(&tables[3..]).await.is_ok());

    let [first, second] = [0, 1].map(|at: usize| layout(tables[at].clone(), &[("id", ColumnType::Int64)]));
    assert_eq!(world.prepare(&first).await.ok(), Some(Prepared::Created));
    let error = world.prepare(&second).await.expect_err("it is taken");
    assert_eq!(error.fault(), Fault::Table(tables[1].clone()));
    assert_eq!(world.prepare(&first).await.ok(), Some(Prepared::Empty));
}
