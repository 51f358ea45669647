//! BigQuery as it is, for who examines it: calls, queries and appends by the client, the tokens and the way there
//! that the sink has, but nothing of its judgement. A refusal is an answer here.

use futures_util::TryStreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_stream::iter;
use tonic::{Code, Request, Status};

use super::auth::{Bearer, Tokens, address};
use super::connect::Server;
use super::error::Error;
use super::rest::{Call, Refusal, Rest};
use crate::clock::Clock;
use crate::config::Config;
use crate::fault::chain;
use crate::proto::storage::big_query_write_client::BigQueryWriteClient;
use crate::proto::storage::{
    AppendRowsRequest, AppendRowsResponse, GetWriteStreamRequest, WriteStream, WriteStreamView,
};

/// A way to the service.
#[derive(Debug)]
pub struct Access {
    rest: Rest,
    server: Server,
    tokens: Tokens,
    jobs_project: String,
    location: Option<String>,
}

/// A call that the service refused, as it said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// Google's reasons: `notFound`, `invalidQuery`, …
    pub reasons: Vec<String>,
    /// Status and message, for people.
    pub text: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused {
            status: refusal.status.as_u16(),
            reasons: refusal.reasons.clone(),
            text: Error::from(refusal).to_string(),
        }
    }
}

impl Access {
    /// The way that the configured sink takes. To be called within a runtime.
    ///
    /// # Errors
    /// [`Error::Client`] for endpoints that are none, [`Error::Token`] without credentials.
    pub fn new(config: &Config, clock: Clock) -> Result<Access, Error> {
        let sink = &config.sink;
        let tokens = Tokens::new(sink, clock.clone())?;
        Ok(Access {
            rest: Rest::new(&sink.rest, tokens.clone(), clock)?,
            server: Server::new(&sink.write)?,
            tokens,
            jobs_project: sink.jobs_project.clone(),
            location: sink.location.clone(),
        })
    }

    /// One call of the REST API; `path` is below `/bigquery/v2/`.
    ///
    /// # Errors
    /// Outer: there was no answer. Inner: it was a refusal.
    pub async fn call(
        &self,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Result<Result<Value, Refused>, Error> {
        let answer = self.rest.call(&Call { method, path, body }).await?;
        Ok(answer.map_err(Refused::from))
    }

    /// Runs a statement that may bill `max_bytes`; gives the first page of the answer to `jobs.query`, complete.
    ///
    /// # Errors
    /// Outer: there was no answer. Inner: it was a refusal.
    pub async fn query(&self, sql: &str, max_bytes: u64) -> Result<Result<Value, Refused>, Error> {
        let mut body = json!({
            "query": sql,
            "useLegacySql": false,
            "useQueryCache": false,
            "timeoutMs": 50_000,
            "maximumBytesBilled": max_bytes.to_string(),
            "requestId": format!("{:032x}", fastrand::u128(..)),
            "formatOptions": { "useInt64Timestamp": true },
            "labels": { "replicator": "conformance" },
        });
        if let (Some(location), Some(fields)) = (&self.location, body.as_object_mut()) {
            fields.insert("location".to_owned(), json!(location));
        }
        let path = format!("projects/{}/queries", self.jobs_project);
        let mut answer = self.call(Method::POST, path, Some(body)).await?;
        // A query of these small tables that takes minutes is not waited for.
        for _ in 0..5 {
            let Ok(page) = &answer else { break };
            let job = &page["jobReference"];
            let (false, Some(id)) = (page["jobComplete"] == true, job["jobId"].as_str()) else {
                break;
            };
            let place = job["location"].as_str().map(|place| format!("&location={place}"));
            let path = format!(
                "projects/{}/queries/{id}?timeoutMs=50000&formatOptions.useInt64Timestamp=true{}",
                self.jobs_project,
                place.unwrap_or_default()
            );
            answer = self.call(Method::GET, path, None).await?;
        }
        Ok(answer)
    }

    /// Appends on one connection of its own: every request, then every answer. Without `route` the call does not say
    /// where it goes.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn append(
        &self,
        requests: Vec<AppendRowsRequest>,
        route: Option<&str>,
    ) -> Result<Vec<AppendRowsResponse>, Status> {
        let asked = requests.len();
        let mut request = Request::new(iter(requests));
        let bearer = self.bearer().await?;
        match route {
            Some(stream) => address(request.metadata_mut(), "write_stream", stream, bearer),
            None => {
                address(request.metadata_mut(), "write_stream", "", bearer);
                request.metadata_mut().remove("x-goog-request-params");
            }
        }
        let answers = self.client().append_rows(request).await?.into_inner();
        let answers: Vec<AppendRowsResponse> = answers.try_collect().await?;
        if answers.len() < asked {
            let text = format!("{} answers to {asked} requests", answers.len());
            return Err(Status::cancelled(text));
        }
        Ok(answers)
    }

    /// A write stream with the schema of its table.
    ///
    /// # Errors
    /// The service's refusal.
    pub async fn write_stream(&self, name: &str) -> Result<WriteStream, Status> {
        let mut request = Request::new(GetWriteStreamRequest {
            name: name.to_owned(),
            view: WriteStreamView::Full.into(),
        });
        address(request.metadata_mut(), "name", name, self.bearer().await?);
        Ok(self.client().get_write_stream(request).await?.into_inner())
    }

    async fn bearer(&self) -> Result<Bearer, Status> {
        let bearer = self.tokens.bearer().await;
        bearer.map_err(|error| Status::new(Code::Unauthenticated, chain(&error)))
    }

    fn client(&self) -> BigQueryWriteClient<tonic::transport::Channel> {
        BigQueryWriteClient::new(self.server.channel()).max_encoding_message_size(usize::MAX)
    }
}
