//! What the service must refuse, and how.

use bytes::Bytes;
use prost::Message as _;

use super::rows::{CHANGES, Row, change, request};
use super::world::World;
use super::{Done, Trouble};
use crate::event::{ColumnType, TableLayout, Value};
use crate::proto::STORAGE_ERROR_URL;
use crate::proto::descriptor::field_descriptor_proto::Type;
use crate::proto::storage::append_rows_response::Response;
use crate::proto::storage::storage_error::StorageErrorCode;
use crate::proto::storage::{AppendRowsResponse, StorageError};

#[derive(Debug, Clone, Copy)]
pub(super) enum Case {
    Row,
    UnknownField,
    Size,
    Route,
    Dml,
    Rename,
    Bytes,
}

pub(super) async fn run(case: Case, world: &mut World) -> Done {
    let columns = [("id", ColumnType::Int64), ("name", ColumnType::Text)];
    let layout = world.table("refused", &columns).await?;
    match case {
        Case::Row => row(world, &layout).await,
        Case::UnknownField => unknown_field(world, &layout).await,
        Case::Size => size(world, &layout).await,
        Case::Route => route(world, &layout).await,
        Case::Dml | Case::Rename | Case::Bytes => {
            let cells = vec![Value::Int(1), Value::Text("a")];
            world.write(&layout, 4, vec![Row::Put(cells)]).await?;
            statement(case, world, &layout).await
        }
    }
}

fn ended(status: &tonic::Status) -> Trouble {
    Trouble::Differs(format!("the connection ended: {status}"))
}

/// A number that is none, between two good rows.
async fn row(world: &mut World, layout: &TableLayout) -> Done {
    let stream = world.stream(layout);
    let rows = vec![
        change(1, Some("a"), "1"),
        change(2, Some("b"), "no number"),
        change(3, Some("c"), "1"),
    ];
    let answers = world
        .access
        .append(vec![request(&stream, CHANGES, rows)], Some(&stream))
        .await;
    let answers = answers.map_err(|status| ended(&status))?;
    let errors: Vec<_> = answers.iter().flat_map(|answer| &answer.row_errors).collect();
    let [error] = errors.as_slice() else {
        return Err(Trouble::Differs(format!(
            "{} rows are named: {answers:?}",
            errors.len()
        )));
    };
    if error.index != 1 {
        return Err(Trouble::Differs(format!(
            "row {} is named, not row 1",
            error.index
        )));
    }
    let said = error.message.clone();
    world
        .shows(
            &format!("SELECT COUNT(*) FROM {}", world.sql(layout)),
            &[&[Some("0")]],
        )
        .await?;
    Ok(Some(said))
}

async fn unknown_field(world: &World, layout: &TableLayout) -> Done {
    let stream = world.stream(layout);
    let fields = [
        ("id", Type::Int64),
        ("name", Type::String),
        ("no_such_column", Type::String),
    ];
    let mut one = Vec::new();
    prost::encoding::int64::encode(1, &1, &mut one);
    prost::encoding::string::encode(3, &"a".to_owned(), &mut one);
    let requests = vec![request(&stream, &fields, vec![one.into()])];
    let (code, said) = match world.access.append(requests, Some(&stream)).await {
        Ok(answers) => answers.iter().find_map(of_answer).unwrap_or_default(),
        Err(status) => (of_details(status.details()), status.message().to_owned()),
    };
    if code == i32::from(StorageErrorCode::SchemaMismatchExtraFields) {
        return Ok(Some(said));
    }
    Err(Trouble::Differs(format!("StorageError code {code}: {said}")))
}

/// The code among the details of an answer's error, and its text.
fn of_answer(answer: &AppendRowsResponse) -> Option<(i32, String)> {
    let Some(Response::Error(error)) = &answer.response else {
        return None;
    };
    Some((of_details(&error.encode_to_vec()), error.message.clone()))
}

/// The code of the StorageError in an encoded status; 0 without one.
fn of_details(status: &[u8]) -> i32 {
    let status = crate::proto::rpc::Status::decode(status).unwrap_or_default();
    let mut details = status.details.iter();
    details
        .find(|detail| detail.type_url == STORAGE_ERROR_URL)
        .and_then(|detail| StorageError::decode(detail.value.as_slice()).ok())
        .map_or(0, |error| error.code)
}

/// 21 MB in small rows: what is too large is the request.
async fn size(world: &mut World, layout: &TableLayout) -> Done {
    let stream = world.stream(layout);
    let text = "x".repeat(1_000_000);
    let rows: Vec<Bytes> = (0..21).map(|id| change(id, Some(&text), "1")).collect();
    let requests = vec![request(&stream, CHANGES, rows)];
    let (code, said) = match world.access.append(requests, Some(&stream)).await {
        Ok(answers) => {
            let refused = answers.into_iter().find_map(|answer| match answer.response {
                Some(Response::Error(error)) => Some((error.code, error.message)),
                Some(Response::AppendResult(_)) | None => None,
            });
            refused.unwrap_or_else(|| (0, "the request was taken".to_owned()))
        }
        Err(status) => (
            i32::from(status.code()),
            format!("ends the connection: {}", status.message()),
        ),
    };
    if code != i32::from(tonic::Code::InvalidArgument) {
        return Err(Trouble::Differs(format!("code {code}: {said}")));
    }
    world
        .shows(
            &format!("SELECT COUNT(*) FROM {}", world.sql(layout)),
            &[&[Some("0")]],
        )
        .await?;
    Ok(Some(said))
}

/// Whatever happens is told: it depends on the place.
async fn route(world: &World, layout: &TableLayout) -> Done {
    let stream = world.stream(layout);
    let place = world.access.write_stream(&stream).await;
    let place = place.map_err(|status| ended(&status))?.location;
    let rows = vec![change(1, Some("a"), "1")];
    let seen = match world
        .access
        .append(vec![request(&stream, CHANGES, rows)], None)
        .await
    {
        Ok(answers) => match answers.iter().find_map(of_answer) {
            Some((_, said)) => format!("refused: {said}"),
            None => "taken".to_owned(),
        },
        Err(status) => format!("refused: {status}"),
    };
    Ok(Some(format!("in {place}: {seen}")))
}

async fn statement(case: Case, world: &mut World, layout: &TableLayout) -> Done {
    let table = world.sql(layout);
    let refused = match case {
        Case::Dml => {
            world
                .run(&format!("UPDATE {table} SET name = 'b' WHERE TRUE"))
                .await?
        }
        Case::Rename => {
            let name = layout.table.name();
            world
                .run(&format!("ALTER TABLE {table} RENAME TO `{name}_renamed`"))
                .await?
        }
        Case::Row | Case::UnknownField | Case::Size | Case::Route | Case::Bytes => {
            return bytes(world, &table).await;
        }
    };
    match refused {
        Err(refused) => Ok(Some(refused.text)),
        Ok(_) => {
            if matches!(case, Case::Rename) {
                world.also_made(&format!("{}_renamed", layout.table.name()));
            }
            Err(Trouble::Differs("it was carried out".to_owned()))
        }
    }
}

/// A bound of one byte.
async fn bytes(world: &mut World, table: &str) -> Done {
    match world.metered(&format!("SELECT * FROM {table}"), 1).await? {
        Err(refused)
            if refused
                .reasons
                .iter()
                .any(|one| one == "bytesBilledLimitExceeded") =>
        {
            Ok(None)
        }
        Err(refused) => Err(Trouble::Differs(refused.text)),
        Ok(answer) if answer.get("totalBytesProcessed").is_some_and(|read| read == "0") => {
            Ok(Some("nothing to bill".to_owned()))
        }
        Ok(_) => Err(Trouble::Differs("it was carried out".to_owned())),
    }
}
