//! What becomes of upserts and deletes.

use super::rows::{CHANGES, Row, change, request};
use super::world::World;
use super::{Done, Trouble};
use crate::event::{ColumnType, Value};
use crate::proto::storage::append_rows_response::Response;

#[derive(Debug, Clone, Copy)]
pub(super) enum Case {
    Order,
    Sections,
    Equal,
    LateUpsert,
    KeyAlone,
    TwoTables,
}

/// A row's key, its name unless it is a delete, and its number.
type Step = (i64, Option<&'static str>, &'static str);

const COLUMNS: &[(&str, ColumnType)] = &[("id", ColumnType::Int64), ("name", ColumnType::Text)];

pub(super) async fn run(case: Case, world: &mut World) -> Done {
    match case {
        Case::Order => order(world).await,
        Case::Sections => {
            // Documented examples, and numbers that text would order otherwise.
            let steps: &[Step] = &[
                (1, Some("new"), "FFF/ABC"),
                (1, Some("old"), "FFF/B"),
                (2, Some("new"), "BA/FFFFFFFF"),
                (2, Some("newer"), "ABC"),
                (3, Some("new"), "10"),
                (3, Some("old"), "9"),
                (4, Some("new"), "FFFFFFFFFFFFFFFF/0/0/1"),
                (4, Some("old"), "7FFFFFFFFFFFFFFF/0/0/2"),
                (5, Some("new"), "FFF/ABC"),
                (5, Some("old"), "ABC"),
            ];
            let shown = [(1, "new"), (2, "newer"), (3, "new"), (4, "new"), (5, "new")];
            raw(world, steps, &shown).await
        }
        Case::Equal => {
            raw(
                world,
                &[(1, Some("first"), "5/0"), (1, Some("last"), "5/0")],
                &[(1, "last")],
            )
            .await
        }
        Case::LateUpsert => {
            let steps: &[Step] = &[
                (1, Some("a"), "1/0/0/1"),
                (1, None, "3/0/0/0"),
                (1, Some("late"), "2/0/0/1"),
                (2, Some("b"), "1/0/0/1"),
            ];
            raw(world, steps, &[(2, "b")]).await
        }
        Case::KeyAlone => key_alone(world).await,
        Case::TwoTables => two_tables(world).await,
    }
}

/// The sink's own numbers, batches in the wrong order.
async fn order(world: &mut World) -> Done {
    let layout = world.table("order", COLUMNS).await?;
    let put = |id, name| Row::Put(vec![Value::Int(id), Value::Text(name)]);
    let gone = |id| Row::Gone(vec![Value::Int(id), Value::Text("")]);
    world
        .write(&layout, 900, vec![put(1, "new"), put(2, "kept"), gone(3)])
        .await?;
    world
        .write(&layout, 100, vec![put(1, "old"), gone(2), put(3, "old")])
        .await?;
    world.write(&layout, 1_000, vec![put(4, "later")]).await?;
    shows(world, &layout, &[(1, "new"), (2, "kept"), (4, "later")]).await
}

/// One request for each step, so that each is ingested after the one before.
async fn raw(world: &mut World, steps: &[Step], shown: &[(i64, &str)]) -> Done {
    let layout = world.table("raw", COLUMNS).await?;
    let stream = world.stream(&layout);
    let requests = steps
        .iter()
        .map(|(id, name, number)| request(&stream, CHANGES, vec![change(*id, *name, number)]));
    taken(world, requests.collect(), &stream).await?;
    shows(world, &layout, shown).await
}

async fn taken(
    world: &World,
    requests: Vec<crate::proto::storage::AppendRowsRequest>,
    stream: &str,
) -> Result<(), Trouble> {
    let answers = world.access.append(requests, Some(stream)).await;
    let answers = answers.map_err(|status| Trouble::Differs(format!("the connection ended: {status}")))?;
    for answer in answers {
        let refused = match &answer.response {
            Some(Response::AppendResult(_)) if answer.row_errors.is_empty() => continue,
            Some(Response::Error(error)) => error.message.clone(),
            Some(Response::AppendResult(_)) | None => format!("{:?}", answer.row_errors),
        };
        return Err(Trouble::Differs(format!("a request was refused: {refused}")));
    }
    Ok(())
}

async fn shows(world: &mut World, layout: &crate::event::TableLayout, rows: &[(i64, &str)]) -> Done {
    let ids: Vec<String> = rows.iter().map(|(id, _)| id.to_string()).collect();
    let rows: Vec<[Option<&str>; 2]> = ids
        .iter()
        .zip(rows)
        .map(|(id, (_, name))| [Some(id.as_str()), Some(*name)])
        .collect();
    let rows: Vec<&[Option<&str>]> = rows.iter().map(<[_; 2]>::as_slice).collect();
    let sql = format!("SELECT id, name FROM {} ORDER BY id", world.sql(layout));
    world.shows(&sql, &rows).await?;
    Ok(None)
}

async fn key_alone(world: &mut World) -> Done {
    let layout = world.table("key", COLUMNS).await?;
    let put = |id| Row::Put(vec![Value::Int(id), Value::Text("a")]);
    world.write(&layout, 100, vec![put(1), put(2)]).await?;
    let stream = world.stream(&layout);
    let delete = request(&stream, CHANGES, vec![change(1, None, "2/0/0/0")]);
    taken(world, vec![delete], &stream).await?;
    shows(world, &layout, &[(2, "a")]).await
}

async fn two_tables(world: &mut World) -> Done {
    let first = world.table("first", COLUMNS).await?;
    let second = world.table("second", COLUMNS).await?;
    let (one, two) = (world.stream(&first), world.stream(&second));
    let requests = vec![
        request(&one, CHANGES, vec![change(1, Some("a"), "1")]),
        request(&two, CHANGES, vec![change(1, Some("b"), "1")]),
        request(&one, CHANGES, vec![change(2, Some("c"), "1")]),
    ];
    taken(world, requests, &one).await?;
    shows(world, &first, &[(1, "a"), (2, "c")]).await?;
    shows(world, &second, &[(1, "b")]).await
}
