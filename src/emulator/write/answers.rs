//! Answers of the Storage Write API: results, row errors, statuses with their details, schemas.

use prost::Message as _;
use tonic::{Code, Status};

use super::{Pending, table_of};
use crate::emulator::error::ApiError;
use crate::emulator::schema::{Kind, Table, TableRef};
use crate::emulator::store::append::{AppendError, Appended};
use crate::emulator::writer::BindError;
use crate::proto::storage::append_rows_response::{AppendResult, Response as Answer};
use crate::proto::storage::row_error::RowErrorCode;
use crate::proto::storage::storage_error::StorageErrorCode;
use crate::proto::storage::table_field_schema::{Mode, Type};
use crate::proto::storage::{AppendRowsResponse, RowError, StorageError, TableFieldSchema, TableSchema};
use crate::proto::{STORAGE_ERROR_URL, rpc};

/// Row errors that one answer lists; more are cut.
const ROW_ERRORS: usize = 50;

/// Waits for the storage and makes the answer, or the status that ends the call.
pub(super) async fn respond(pending: Pending) -> Result<AppendRowsResponse, Status> {
    let (answer, stream) = match pending {
        Pending::Waiting { answer, stream } => (answer, stream),
        Pending::End(status) => return Err(status),
    };
    let appended = answer
        .await
        .map_err(|_| Status::unavailable("the emulator is stopping"))?;
    match appended {
        Ok(appended) => Ok(response(appended, stream)),
        Err(AppendError::Bind(error @ BindError::ExtraFields(_))) => {
            let code = StorageErrorCode::SchemaMismatchExtraFields;
            let error = rpc_status(Code::InvalidArgument, code, &stream, &error.to_string());
            Ok(AppendRowsResponse {
                response: Some(Answer::Error(error)),
                write_stream: stream,
                ..AppendRowsResponse::default()
            })
        }
        Err(AppendError::Bind(error)) => Err(Status::invalid_argument(format!("{error} Entity: {stream}"))),
        Err(AppendError::Api(error)) => Err(match table_of(&stream) {
            Ok(table) => api_status(&error, &table),
            Err(status) => status,
        }),
    }
}

fn response(appended: Appended, stream: String) -> AppendRowsResponse {
    let updated_schema = appended.updated.as_deref().map(table_schema);
    let answer = if appended.row_errors.is_empty() {
        Answer::AppendResult(AppendResult { offset: None })
    } else {
        let text = format!(
            "Errors found while processing rows. Please refer to the row_errors field for details. The list may not \
             be complete because of the size limitations. Entity: {stream}"
        );
        Answer::Error(rpc::Status {
            code: i32::from(Code::InvalidArgument),
            message: text,
            details: Vec::new(),
        })
    };
    let row_errors = appended.row_errors.into_iter().take(ROW_ERRORS);
    let row_errors = row_errors.map(|(index, message)| RowError {
        index: i64::try_from(index).unwrap_or(i64::MAX),
        code: RowErrorCode::FieldsError.into(),
        message,
    });
    AppendRowsResponse {
        response: Some(answer),
        updated_schema,
        row_errors: row_errors.collect(),
        write_stream: stream,
    }
}

fn rpc_status(code: Code, storage: StorageErrorCode, entity: &str, message: &str) -> rpc::Status {
    let detail = StorageError {
        code: storage.into(),
        entity: entity.to_owned(),
        error_message: message.to_owned(),
    };
    rpc::Status {
        code: i32::from(code),
        message: message.to_owned(),
        details: vec![prost_types::Any {
            type_url: STORAGE_ERROR_URL.to_owned(),
            value: detail.encode_to_vec(),
        }],
    }
}

/// A status that ends a call, with its details in the trailer.
pub(super) fn status(code: Code, storage: StorageErrorCode, entity: &str, message: &str) -> Status {
    let details = rpc_status(code, storage, entity, message).encode_to_vec();
    Status::with_details(code, message, details.into())
}

/// What a refusal of the storage is as a status.
pub(super) fn api_status(error: &ApiError, table: &TableRef) -> Status {
    let entity = format!(
        "projects/{}/datasets/{}/tables/{}",
        table.dataset.project, table.dataset.dataset, table.table
    );
    match error.code {
        404 => status(
            Code::NotFound,
            StorageErrorCode::TableNotFound,
            &entity,
            &format!("Requested entity was not found. Entity: {entity}"),
        ),
        500 => Status::internal(error.message.clone()),
        _ => Status::invalid_argument(error.message.clone()),
    }
}

/// A table's columns as the write API describes them.
pub(super) fn table_schema(table: &Table) -> TableSchema {
    let fields = table.fields.iter().map(|field| {
        let max_length = field.kind.max_length().unwrap_or(0);
        let digits = field.kind.digits();
        TableFieldSchema {
            name: field.name.clone(),
            r#type: wire_type(field.kind).into(),
            mode: if field.required {
                Mode::Required
            } else {
                Mode::Nullable
            }
            .into(),
            fields: Vec::new(),
            description: field.description.clone().unwrap_or_default(),
            max_length: i64::try_from(max_length).unwrap_or(i64::MAX),
            precision: digits.map_or(0, |digits| i64::from(digits.precision)),
            scale: digits.map_or(0, |digits| i64::from(digits.scale)),
            default_value_expression: String::new(),
        }
    });
    TableSchema {
        fields: fields.collect(),
    }
}

fn wire_type(kind: Kind) -> Type {
    match kind {
        Kind::Bool => Type::Bool,
        Kind::Int64 => Type::Int64,
        Kind::Float64 => Type::Double,
        Kind::Numeric(_) => Type::Numeric,
        Kind::BigNumeric(_) => Type::Bignumeric,
        Kind::String(_) => Type::String,
        Kind::Bytes(_) => Type::Bytes,
        Kind::Date => Type::Date,
        Kind::Time => Type::Time,
        Kind::DateTime => Type::Datetime,
        Kind::Timestamp => Type::Timestamp,
        Kind::Json => Type::Json,
        Kind::Interval => Type::Interval,
    }
}
