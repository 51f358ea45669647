//! What the write API shows of a table: it may know a new one, or a changed one, later than the API that
//! made it.

use std::time::Duration;

use super::auth::address;
use super::delivery::Destination;
use super::error::Error;
use super::rest::delays;
use super::status::{Failure, Lasting, Streak, Verdict};
use super::tables::{SPREADING, Tables};
use crate::proto::storage::big_query_write_client::BigQueryWriteClient;
use crate::proto::storage::{GetWriteStreamRequest, WriteStream, WriteStreamView};

impl Tables {
    /// Waits until the write API knows a new table; a row that is sent earlier would be refused.
    pub(super) async fn wait_for_stream(&self, destination: &Destination) -> Result<(), Error> {
        let began = self.rest.clock().now();
        let mut waits = delays();
        let mut streak = Streak::default();
        loop {
            let Some(failure) = self.stream_known(destination).await? else {
                return Ok(());
            };
            let now = self.rest.clock().now();
            let waited = now.saturating_duration_since(began);
            let lasted = streak.meet(failure.code, now);
            let (limit, lasting) = match failure.verdict() {
                Verdict::Within(limit, lasting) => (limit, lasting),
                Verdict::Again | Verdict::Slower(_) => (SPREADING, Lasting::Unavailable),
                Verdict::Block | Verdict::Never => (Duration::ZERO, Lasting::Unavailable),
            };
            if lasted >= limit {
                return Err(lasting.error(destination, &failure, waited));
            }
            self.rest.clock().sleep(waits.next().unwrap_or(SPREADING)).await;
        }
    }

    async fn stream_known(&self, destination: &Destination) -> Result<Option<Failure>, Error> {
        Ok(self.stream(destination).await?.err())
    }

    /// The columns that the write API shows of a table; `None` if it does not say.
    pub(super) async fn stream_columns(
        &self,
        destination: &Destination,
    ) -> Result<Option<Vec<String>>, Error> {
        let schema = self.stream(destination).await?.ok().flatten();
        let schema = schema.and_then(|stream| stream.table_schema);
        Ok(schema.map(|schema| schema.fields.into_iter().map(|field| field.name).collect()))
    }

    /// A table's default stream, or why it is not to be had; `None` from a server that lacks the call.
    async fn stream(&self, destination: &Destination) -> Result<Result<Option<WriteStream>, Failure>, Error> {
        let mut client = BigQueryWriteClient::new(self.server.channel());
        let mut request = tonic::Request::new(GetWriteStreamRequest {
            name: destination.stream.clone(),
            view: WriteStreamView::Full.into(),
        });
        request.set_timeout(Duration::from_secs(30));
        let bearer = self.tokens.bearer().await?;
        address(request.metadata_mut(), "name", &destination.stream, bearer);
        match client.get_write_stream(request).await {
            Ok(stream) => Ok(Ok(Some(stream.into_inner()))),
            // Only Google is sure to have this call; without it the first append finds out.
            Err(status) if status.code() == tonic::Code::Unimplemented => Ok(Ok(None)),
            Err(status) => Ok(Err(Failure::of_call(&status))),
        }
    }
}
