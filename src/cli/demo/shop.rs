//! The demo's source: a small shop whose tables have the column types that are easy to get wrong.

use std::fmt::Write as _;

use fastrand::Rng;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::error::DemoError;
use crate::event::{Column, ColumnName, ColumnType, TableId, TableLayout};

/// The schema, and so the data set.
pub(super) const SCHEMA: &str = "shop";
/// The table whose one row shows how far the target is behind.
pub(super) const PULSE: &str = "pulse";

pub(super) const CUSTOMERS: u64 = 8_000;
pub(super) const PRODUCTS: u64 = 2_000;
pub(super) const ORDERS: u64 = 15_000;
/// Order lines of each order that is there from the beginning.
pub(super) const LINES: u64 = 2;
const ROWS_PER_INSERT: u64 = 1_000;

pub(super) const TABLES: usize = 5;
/// Data of the tables before anything moves.
pub(super) const SEEDED_ROWS: u64 = CUSTOMERS + PRODUCTS + ORDERS * (1 + LINES) + 1;

const DDL: [&str; 7] = [
    "CREATE DATABASE shop CHARACTER SET utf8mb4",
    "CREATE TABLE shop.customers (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        email VARCHAR(120) NOT NULL,
        name VARCHAR(80) CHARACTER SET latin1 NOT NULL,
        country CHAR(2) NOT NULL,
        is_member BIT(1) NOT NULL,
        born DATE NULL,
        balance DECIMAL(12,2) NOT NULL,
        joined TIMESTAMP(6) NOT NULL,
        token BINARY(8) NULL)",
    "CREATE TABLE shop.products (
        sku VARCHAR(24) COLLATE utf8mb4_0900_as_cs NOT NULL PRIMARY KEY,
        title VARCHAR(120) NOT NULL,
        price DECIMAL(10,2) NOT NULL,
        weight FLOAT NULL,
        rating DOUBLE NULL,
        tags SET('new','sale','eco') NOT NULL,
        ships_in TIME NOT NULL)",
    "CREATE TABLE shop.orders (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        customer_id BIGINT UNSIGNED NOT NULL,
        status ENUM('new','paid','shipped','returned') NOT NULL,
        total DECIMAL(14,4) NOT NULL,
        placed DATETIME(6) NOT NULL,
        details JSON NULL,
        note TEXT NULL)",
    "CREATE TABLE shop.order_items (
        order_id BIGINT NOT NULL,
        line SMALLINT UNSIGNED NOT NULL,
        sku VARCHAR(24) NOT NULL,
        quantity INT NOT NULL,
        unit_price DECIMAL(10,2) NOT NULL,
        PRIMARY KEY (order_id, line))",
    "CREATE TABLE shop.pulse (id TINYINT NOT NULL PRIMARY KEY, tick BIGINT NOT NULL)",
    "INSERT INTO shop.pulse VALUES (1, 0)",
];

/// Creates the tables and fills them.
pub(super) async fn create(conn: &mut Conn) -> Result<(), DemoError> {
    for statement in DDL {
        conn.query_drop(statement).await?;
    }
    let mut rng = Rng::with_seed(1);
    fill(
        conn,
        "customers (email, name, country, is_member, born, balance, joined, token)",
        CUSTOMERS,
        |_| customer(&mut rng),
    )
    .await?;
    let mut rng = Rng::with_seed(2);
    fill(conn, "products", PRODUCTS, |id| product(&mut rng, &sku(id))).await?;
    let mut rng = Rng::with_seed(3);
    let columns = "orders (customer_id, status, total, placed, details, note)";
    fill(conn, columns, ORDERS, |_| order(&mut rng)).await?;
    let mut rng = Rng::with_seed(4);
    fill(conn, "order_items", ORDERS * LINES, |row| {
        item(&mut rng, (row - 1) / LINES + 1, (row - 1) % LINES + 1)
    })
    .await
}

async fn fill(
    conn: &mut Conn,
    into: &str,
    rows: u64,
    mut row: impl FnMut(u64) -> String,
) -> Result<(), DemoError> {
    let mut next = 1;
    while next <= rows {
        let end = (next + ROWS_PER_INSERT).min(rows + 1);
        let values: Vec<String> = (next..end).map(&mut row).collect();
        conn.query_drop(format!("INSERT INTO shop.{into} VALUES {}", values.join(",")))
            .await?;
        next = end;
    }
    Ok(())
}

/// The name of a product; those with other names came to be by a change of key.
pub(super) fn sku(id: u64) -> String {
    format!("SKU-{id:05}")
}

/// A row of `customers` without its id, as SQL.
pub(super) fn customer(rng: &mut Rng) -> String {
    let number = rng.u32(..);
    let name = pick(
        rng,
        &["Zoë Müller", "José Peña", "Ann O''Neil", "Søren Ñandú", "Bob"],
    );
    let country = pick(rng, &["de", "es", "ie", "jp", "us"]);
    let born = match rng.u8(..4) {
        0 => "NULL".to_owned(),
        _ => format!(
            "'{}-{:02}-{:02}'",
            rng.u16(1940..2008),
            rng.u8(1..=12),
            rng.u8(1..=28)
        ),
    };
    let token = match rng.u8(..3) {
        0 => "NULL".to_owned(),
        // BINARY(8) is padded with zeros, which the binlog leaves out.
        _ => format!("X'{:06X}00'", rng.u32(..0x0100_0000)),
    };
    format!(
        "('customer{number}@example.com','{name}','{country}',b'{}',{born},{},NOW(6) - INTERVAL {} SECOND,{token})",
        u8::from(rng.bool()),
        cents(rng, 500_000),
        rng.u32(..100_000_000),
    )
}

/// A row of `products`, as SQL.
pub(super) fn product(rng: &mut Rng, sku: &str) -> String {
    let title = pick(rng, &["Tee 🫖", "Lamp", "Stuhl", "椅子", "Mug \\\"XL\\\""]);
    let tags = pick(rng, &["", "new", "sale,eco", "new,sale,eco"]);
    format!(
        "('{sku}','{title} {}',{},{},{:e},'{tags}','{}:{:02}:00')",
        rng.u16(..),
        cents(rng, 90_000),
        rng.f32() * 40.0,
        rng.f64() * 5.0,
        rng.u16(..400),
        rng.u8(..60)
    )
}

/// A row of `orders` without its id, as SQL.
pub(super) fn order(rng: &mut Rng) -> String {
    let status = pick(rng, &["new", "paid", "shipped"]);
    let details = match rng.u8(..5) {
        0 => "NULL".to_owned(),
        _ => details(rng),
    };
    let note = pick(rng, &["NULL", "''", "'leave at the door'", "'Grüße 👋'"]);
    format!(
        "({},'{status}',{}{:02},NOW(6) - INTERVAL {} SECOND,{details},{note})",
        rng.u64(1..=CUSTOMERS),
        cents(rng, 80_000),
        rng.u8(..100),
        rng.u32(..10_000_000),
    )
}

/// A JSON document, as SQL.
pub(super) fn details(rng: &mut Rng) -> String {
    let mut text = format!(
        "'{{\"gift\":{},\"ratio\":{},\"big\":{},\"coupons\":[",
        rng.bool(),
        f64::from(rng.u32(..1_000_000)) / 1000.0,
        rng.u64(..)
    );
    for index in 0..rng.u8(..4) {
        let comma = if index == 0 { "" } else { "," };
        let written = write!(text, "{comma}\"C{}\"", rng.u16(..));
        debug_assert!(written.is_ok(), "a string takes all text");
    }
    text.push_str("],\"address\":{\"city\":\"Köln\",\"zip\":null}}'");
    text
}

/// A row of `order_items`, as SQL.
pub(super) fn item(rng: &mut Rng, order: u64, line: u64) -> String {
    let (sku, quantity) = (sku(rng.u64(1..=PRODUCTS)), rng.u8(1..9));
    format!("({order},{line},'{sku}',{quantity},{})", cents(rng, 90_000))
}

fn cents(rng: &mut Rng, below: u32) -> String {
    let amount = rng.u32(1..below);
    format!("{}.{:02}", amount / 100, amount % 100)
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    rng.choice(from).copied().unwrap_or_default()
}

/// The tables as the demo expects the source to describe them. Written out, and not read from the
/// source, so that the comparison at the end leans on nothing that it checks.
pub(super) fn layouts() -> Vec<TableLayout> {
    use ColumnType::{
        Bool, Bytes, Date, DateTime, Decimal, Float32, Float64, Int64, Json, Text, Time, Timestamp, UInt64,
    };
    let money = |precision, scale| Decimal { precision, scale };
    vec![
        layout(
            "customers",
            1,
            &[
                ("id", UInt64),
                ("email", Text),
                ("name", Text),
                ("country", Text),
                ("is_member", Bool),
                ("born", Date),
                ("balance", money(12, 2)),
                ("joined", Timestamp),
                ("token", Bytes),
            ],
        ),
        layout(
            "order_items",
            2,
            &[
                ("order_id", Int64),
                ("line", Int64),
                ("sku", Text),
                ("quantity", Int64),
                ("unit_price", money(10, 2)),
            ],
        ),
        layout(
            "orders",
            1,
            &[
                ("id", Int64),
                ("customer_id", UInt64),
                ("status", Text),
                ("total", money(14, 4)),
                ("placed", DateTime),
                ("details", Json),
                ("note", Text),
            ],
        ),
        layout(
            "products",
            1,
            &[
                ("sku", Text),
                ("title", Text),
                ("price", money(10, 2)),
                ("weight", Float32),
                ("rating", Float64),
                ("tags", Text),
                ("ships_in", Time),
            ],
        ),
        layout(PULSE, 1, &[("id", Int64), ("tick", Int64)]),
    ]
}

/// A layout whose first `keys` columns are the key.
fn layout(name: &str, keys: u16, columns: &[(&str, ColumnType)]) -> TableLayout {
    let column = |(index, (name, kind)): (u16, &(&str, ColumnType))| Column {
        name: ColumnName::new(*name),
        kind: *kind,
        declared: String::new(),
        nullable: index >= keys,
        key: (index < keys).then_some(index),
    };
    TableLayout {
        table: TableId::new(SCHEMA, name),
        columns: (0..).zip(columns).map(column).collect(),
    }
}
