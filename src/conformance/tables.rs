//! Tables as they are made, changed and looked at.

use std::sync::Arc;
use std::time::Duration;

use super::rows::{Row, layout};
use super::world::World;
use super::{Done, Trouble};
use crate::event::{ColumnType, TableLayout, Value};

#[derive(Debug, Clone, Copy)]
pub(super) enum Case {
    Key,
    Staleness,
    Watermark,
    Stream,
    AddedColumn,
    FlexibleName,
}

pub(super) async fn run(case: Case, world: &mut World) -> Done {
    match case {
        Case::Key => key(world).await,
        Case::Staleness => staleness(world).await,
        Case::Watermark => watermark(world).await,
        Case::Stream => stream(world).await,
        Case::AddedColumn => added_column(world).await,
        Case::FlexibleName => flexible_name(world).await,
    }
}

const COLUMNS: &[(&str, ColumnType)] = &[("id", ColumnType::Int64), ("name", ColumnType::Text)];

/// A condition that picks a table's rows of a view.
fn of(layout: &TableLayout) -> String {
    format!("table_name = '{}'", layout.table.name())
}

async fn key(world: &mut World) -> Done {
    let layout = world.table("key", COLUMNS).await?;
    let sql = format!(
        "SELECT column_name FROM {} WHERE {} ORDER BY ordinal_position",
        world.schema("KEY_COLUMN_USAGE"),
        of(&layout)
    );
    world.shows(&sql, &[&[Some("id")]]).await?;
    let sql = format!(
        "SELECT constraint_type, enforced FROM {} WHERE {}",
        world.schema("TABLE_CONSTRAINTS"),
        of(&layout)
    );
    world.shows(&sql, &[&[Some("PRIMARY KEY"), Some("NO")]]).await?;
    Ok(None)
}

async fn staleness(world: &mut World) -> Done {
    world.stale(Duration::from_secs(600))?;
    let layout = world.table("stale", COLUMNS).await?;
    let sql = format!(
        "SELECT option_value FROM {} WHERE {} AND option_name = 'max_staleness'",
        world.schema("TABLE_OPTIONS"),
        of(&layout)
    );
    world.shows(&sql, &[&[Some("0-0 0 0:10:0")]]).await?;
    Ok(None)
}

async fn watermark(world: &mut World) -> Done {
    let layout = world.table("watermark", COLUMNS).await?;
    let row = vec![Value::Int(1), Value::Text("a")];
    world.write(&layout, 4, vec![Row::Put(row)]).await?;
    let sql = format!(
        "SELECT upsert_stream_apply_watermark FROM {} WHERE {}",
        world.schema("TABLES"),
        of(&layout)
    );
    match world.query(&sql).await?.as_slice() {
        [row] => Ok(Some(format!("the first watermark: {:?}", row.first()))),
        rows => Err(Trouble::Differs(format!("{} rows for one table", rows.len()))),
    }
}

async fn stream(world: &mut World) -> Done {
    let layout = world.table("stream", COLUMNS).await?;
    let found = world.access.write_stream(&world.stream(&layout)).await;
    let found = found.map_err(|status| Trouble::Differs(status.to_string()))?;
    let fields = found.table_schema.map(|schema| schema.fields).unwrap_or_default();
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    if names.starts_with(&["id", "name"]) {
        return Ok(Some(format!("the location is {}", found.location)));
    }
    Err(Trouble::Differs(format!("it shows the columns {names:?}")))
}

async fn added_column(world: &mut World) -> Done {
    let before = world.table("added", COLUMNS).await?;
    let row = vec![Value::Int(1), Value::Text("a")];
    world.write(&before, 4, vec![Row::Put(row)]).await?;
    let table = world.sql(&before);
    world
        .query(&format!("ALTER TABLE {table} ADD COLUMN more INT64"))
        .await?;
    let mut columns = COLUMNS.to_vec();
    columns.push(("more", ColumnType::Int64));
    let after = layout(before.table.name(), &columns);
    let began = world.now();
    let aside = loop {
        world.renew()?;
        match add(world, &after).await {
            Ok(aside) => break aside,
            Err(Trouble::Failed { text, .. }) => world.again(began, &text).await?,
            Err(other) => return Err(other),
        }
    };
    if aside > 0 {
        return Err(Trouble::Differs("the row was put aside".to_owned()));
    }
    let took = world.now().saturating_duration_since(began);
    let sql = format!("SELECT id, more FROM {table} ORDER BY id");
    world
        .shows(&sql, &[&[Some("1"), None], &[Some("2"), Some("7")]])
        .await?;
    Ok(Some(format!("after {} s", took.as_secs())))
}

async fn add(world: &World, layout: &Arc<TableLayout>) -> Result<u64, Trouble> {
    let row = vec![Value::Int(2), Value::Text("b"), Value::Int(7)];
    world.write(layout, 100, vec![Row::Put(row)]).await
}

async fn flexible_name(world: &mut World) -> Done {
    let columns = [
        ("schlüssel", ColumnType::Int64),
        ("größe & 注文", ColumnType::Text),
    ];
    let layout = world.table("flexible", &columns).await?;
    let row = vec![Value::Int(1), Value::Text("a")];
    world.write(&layout, 4, vec![Row::Put(row)]).await?;
    let sql = format!("SELECT `schlüssel`, `größe & 注文` FROM {}", world.sql(&layout));
    world.shows(&sql, &[&[Some("1"), Some("a")]]).await?;
    Ok(None)
}
