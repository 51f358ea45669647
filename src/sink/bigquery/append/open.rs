//! Opens a stream: connects, finds a token, names the table it is for in the header that routes the
//! call to the table's region (<https://cloud.google.com/bigquery/docs/write-api>).

use std::pin::Pin;

use futures_util::{Stream, StreamExt, TryFutureExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::super::auth::address;
use super::super::wire::{AppendCodec, Frame};
use super::Link;
use crate::fault::{Classify, Fault, chain};
use crate::proto::storage::AppendRowsResponse;
use crate::proto::storage::append_rows_response::Response;

/// The method, as the path of a call.
const METHOD: &str = "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows";

/// A stream's answers, in the order of its requests; what keeps it from being opened is its end.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<AppendRowsResponse, Status>> + Send>>;

/// Opens a stream that sends `frames`, the first of them to the write stream `name`. Servers may answer only
/// once there is a request, so nothing waits for the opening by itself.
pub(super) fn open(link: &Link, name: &str, frames: mpsc::Receiver<Frame>) -> Answers {
    let (link, name) = (link.clone(), name.to_owned());
    let opening = async move {
        let mut client = tonic::client::Grpc::new(link.server.channel());
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(chain(&error)))?;
        let bearer = link.tokens.bearer().await.map_err(|error| {
            let code = match error.fault() {
                Fault::Transient { .. } => Code::Unavailable,
                Fault::Table(_) | Fault::Fatal => Code::Unauthenticated,
            };
            Status::new(code, chain(&error))
        })?;
        let generation = bearer.generation;
        let tokens = link.tokens;
        // A token that was refused is not used again.
        let judge = move |code: Code| {
            if code == Code::Unauthenticated {
                tokens.refused(generation);
            }
        };
        let mut request = tonic::Request::new(ReceiverStream::new(frames));
        address(request.metadata_mut(), "write_stream", &name, bearer);
        let path = http::uri::PathAndQuery::from_static(METHOD);
        let response = client
            .streaming(request, path, AppendCodec)
            .await
            .inspect_err(|status| judge(status.code()))?;
        Ok(response.into_inner().inspect(move |answer| match answer {
            Err(status) => judge(status.code()),
            Ok(AppendRowsResponse {
                response: Some(Response::Error(error)),
                ..
            }) => judge(Code::from_i32(error.code)),
            Ok(_) => {}
        }))
    };
    Box::pin(opening.try_flatten_stream())
}
