//! Answers of the Storage Write API: results, row errors, statuses with their details, schemas.

use prost::Message as _;
use tonic::{Code, Status};

use super::connection::{Pending, Spoil, table_of};
use crate::emulator::error::ApiError;
use crate::emulator::faults::{Script, StatusEffect};
use crate::emulator::schema::{Kind, Table, TableRef};
use crate::emulator::socket::Line;
use crate::emulator::store::append::{AppendError, Appended};
use crate::emulator::writer::BindError;
use crate::proto::storage::append_rows_response::{AppendResult, Response as Answer};
use crate::proto::storage::row_error::RowErrorCode;
use crate::proto::storage::storage_error::StorageErrorCode;
use crate::proto::storage::table_field_schema::{Mode, Type};
use crate::proto::storage::{AppendRowsResponse, RowError, StorageError, TableFieldSchema, TableSchema};
use crate::proto::{STORAGE_ERROR_URL, rpc};

/// What a scripted status is as the end of a call.
pub(super) fn ordered_status(effect: &StatusEffect, entity: &str) -> Status {
    let (code, message) = (effect.code(), effect.message());
    match effect.storage_error() {
        Some(storage) => status(code, storage, entity, &message),
        None => Status::new(code, message),
    }
}

/// Makes the answers of one connection.
pub(super) struct Answerer {
    pub(super) script: Script,
    /// The connection below the call, to be cut.
    pub(super) line: Option<Line>,
}

impl Answerer {
    /// Waits for the storage and makes the answer, or the status that ends the call.
    pub(super) async fn respond(&self, pending: Pending) -> Result<AppendRowsResponse, Status> {
        let (answer, stream, spoil) = match pending {
            Pending::Waiting {
                answer,
                stream,
                spoil,
            } => (answer, stream, spoil),
            Pending::Spoiled { stream, spoil } => return self.spoiled(spoil, stream).await,
            Pending::End(status) => return Err(status),
        };
        let appended = answer
            .await
            .map_err(|_| Status::unavailable("the emulator is stopping"))?;
        match (appended, spoil) {
            (Ok(_), Some(spoil)) => self.spoiled(spoil, stream).await,
            (Err(AppendError::Silence), _) => {
                self.script
                    .sleep_ms(self.script.profile().recreated_hang_ms)
                    .await;
                Err(Status::deadline_exceeded(format!(
                    "Deadline exceeded: the table is re-created. Entity: {stream}"
                )))
            }
            (appended, _) => answer_of(appended, stream),
        }
    }

    /// What a fault puts in the place of an answer.
    async fn spoiled(&self, spoil: Spoil, stream: String) -> Result<AppendRowsResponse, Status> {
        let effect = match spoil {
            Spoil::Status(effect) => effect,
            Spoil::Hang => return std::future::pending().await,
            // As a trailer this is the end of a call that went well.
            Spoil::End => return Err(Status::ok("")),
            Spoil::Cut => {
                if let Some(line) = &self.line {
                    line.cut();
                }
                return Err(Status::unavailable("the connection is cut"));
            }
        };
        if !effect.in_band {
            return Err(ordered_status(&effect, &stream));
        }
        let (code, message) = (effect.code(), effect.message());
        let error = match effect.storage_error() {
            Some(storage) => rpc_status(code, storage, &stream, &message),
            None => plain_status(code, message),
        };
        Ok(refusal(error, stream))
    }
}

fn plain_status(code: Code, message: String) -> rpc::Status {
    rpc::Status {
        code: i32::from(code),
        message,
        details: Vec::new(),
    }
}

fn refusal(error: rpc::Status, stream: String) -> AppendRowsResponse {
    AppendRowsResponse {
        response: Some(Answer::Error(error)),
        write_stream: stream,
        ..AppendRowsResponse::default()
    }
}

fn answer_of(appended: Result<Appended, AppendError>, stream: String) -> Result<AppendRowsResponse, Status> {
    match appended {
        Ok(appended) => Ok(response(appended, stream)),
        Err(AppendError::Bind(error @ BindError::ExtraFields(_))) => {
            let code = StorageErrorCode::SchemaMismatchExtraFields;
            let error = rpc_status(Code::InvalidArgument, code, &stream, &error.to_string());
            Ok(refusal(error, stream))
        }
        Err(AppendError::Bind(error)) => Err(Status::invalid_argument(format!("{error} Entity: {stream}"))),
        Err(AppendError::Silence) => Err(Status::deadline_exceeded(format!("Entity: {stream}"))),
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
        Answer::Error(plain_status(Code::InvalidArgument, text))
    };
    let row_errors = appended.row_errors.into_iter().take(appended.listed);
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
