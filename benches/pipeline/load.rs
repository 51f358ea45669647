//! The table and its changes: an order table of 8 columns, one of them JSON, changed by transactions of
//! 100 rows.

use std::fmt::Write as _;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::Fail;

/// The table's name, with its schema.
pub(crate) const TABLE: &str = "shop.orders";

/// Rows in a transaction.
const TRANSACTION: u64 = 100;

const CREATE: &str = "CREATE TABLE shop.orders (
    id BIGINT NOT NULL PRIMARY KEY,
    customer_id INT UNSIGNED NOT NULL,
    status VARCHAR(16) NOT NULL,
    total DECIMAL(12, 2) NOT NULL,
    currency CHAR(3) NOT NULL,
    placed_at DATETIME(6) NOT NULL,
    note VARCHAR(200) NULL,
    detail JSON NOT NULL
) CHARACTER SET utf8mb4";

/// Creates the empty table.
pub(crate) async fn create(conn: &mut Conn) -> Result<(), Fail> {
    conn.query_drop("CREATE DATABASE shop CHARACTER SET utf8mb4")
        .await?;
    conn.query_drop(CREATE).await?;
    Ok(())
}

/// Writes about `changes` changes, two thirds inserts, then one third updates; (inserts, updates).
pub(crate) async fn fill(conn: &mut Conn, changes: u64) -> Result<(u64, u64), Fail> {
    let updates = changes / 3 / TRANSACTION * TRANSACTION;
    let inserts = updates * 2;
    let mut rng = fastrand::Rng::with_seed(7);
    for first in (0..inserts).step_by(usize::try_from(TRANSACTION)?) {
        conn.query_drop(insert(first, &mut rng)?).await?;
    }
    for first in (0..updates).step_by(usize::try_from(TRANSACTION)?) {
        let last = first + TRANSACTION - 1;
        conn.query_drop(format!(
            "UPDATE {TABLE} SET status = 'shipped', total = total + 1, \
             detail = JSON_SET(detail, '$.shipped', true) WHERE id BETWEEN {first} AND {last}"
        ))
        .await?;
    }
    Ok((inserts, updates))
}

fn insert(first: u64, rng: &mut fastrand::Rng) -> Result<String, Fail> {
    let mut sql = format!("INSERT INTO {TABLE} VALUES ");
    for id in first..first + TRANSACTION {
        let comma = if id == first { "" } else { "," };
        let (customer, cents, quantity) = (rng.u32(1..500_000), rng.u32(100..1_000_000), rng.u8(1..9));
        let (day, second, micros) = (rng.u8(1..29), rng.u8(0..60), rng.u32(0..1_000_000));
        let note = match rng.u8(0..3) {
            0 => "NULL".to_owned(),
            _ => format!("'leave it at the door, order {customer:x} ✓'"),
        };
        write!(
            sql,
            "{comma}({id},{customer},'paid',{}.{:02},'EUR','2026-03-{day:02} 10:20:{second:02}.{micros:06}',{note},\
             '{{\"items\":[{{\"sku\":\"A-{customer}\",\"quantity\":{quantity}}},{{\"sku\":\"B-{second}\",\"quantity\":1}}],\
             \"gift\":false,\"weight\":{}.5,\"source\":\"web\"}}')",
            cents / 100,
            cents % 100,
            cents % 40,
        )?;
    }
    Ok(sql)
}
