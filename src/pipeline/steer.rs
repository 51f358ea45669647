//! What a person may ask of a pipeline that runs. The way leads to the task that reads the log: only there is it
//! known what of a table is under way.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::follow::OpenRequest;
use crate::event::TableId;
use crate::fault::{Classify, Fault};
use crate::schema::KeptChange;
use crate::sink::{Sink, SinkError};

/// Why a table is copied again that somebody wanted to be.
pub const ASKED: &str = "somebody asked for it";

/// Why a person's request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no pipeline to ask.
    #[error("the pipeline does not run")]
    NotRunning,
    /// The pipeline is stopping.
    #[error("the pipeline ended before it did it")]
    Ended,
    /// The pipeline copies nothing.
    #[error("the pipeline copies no tables: snapshot.mode is never")]
    NoCopies,
    /// The configuration leaves the table out.
    #[error("the configuration does not capture {0}")]
    NotCaptured(TableId),
    /// No such table was ever seen.
    #[error("no table {0} is known")]
    Unknown(String),
}

impl Classify for Refusal {
    fn fault(&self) -> Fault {
        match self {
            Refusal::NotRunning | Refusal::Ended => Fault::RETRY,
            Refusal::NoCopies | Refusal::NotCaptured(_) | Refusal::Unknown(_) => Fault::Fatal,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Refusal::NotRunning | Refusal::Ended => {
                "ask again once it runs; the log says why it does not".to_owned()
            }
            Refusal::NoCopies => "set sources[0].mysql.snapshot.mode to initial".to_owned(),
            Refusal::NotCaptured(_) => "add it to sources[0].mysql.tables".to_owned(),
            Refusal::Unknown(_) => {
                "write database.table as the status page does; new tables are copied by themselves".to_owned()
            }
        })
    }
}

/// What comes of a request.
pub type Answer = oneshot::Sender<Result<(), Refusal>>;

/// The way to a pipeline's tasks, while it runs.
#[derive(Debug)]
struct Way {
    requests: mpsc::Sender<OpenRequest>,
    copies: bool,
    sink: Arc<dyn Sink>,
}

/// Takes requests to the pipeline that runs, if one does.
#[derive(Debug, Default)]
pub struct Steering(Mutex<Option<Way>>);

impl Steering {
    /// A pipeline takes requests from here on.
    pub(super) fn begin(&self, requests: mpsc::Sender<OpenRequest>, copies: bool, sink: Arc<dyn Sink>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Way {
            requests,
            copies,
            sink,
        });
    }

    /// The latest changes of tables that the target has kept, newest first; `None`: no pipeline runs.
    ///
    /// # Errors
    /// The target cannot be asked.
    pub async fn schema_changes(&self, most: u32) -> Option<Result<Vec<KeptChange>, SinkError>> {
        let sink = {
            let way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&way.as_ref()?.sink)
        };
        Some(sink.kept_changes(most).await)
    }

    /// It takes no more.
    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Has a table copied again that is named as people write it: `database.table`.
    ///
    /// # Errors
    /// As [`Steering::resync`].
    pub async fn resync_named(&self, name: &str) -> Result<TableId, Refusal> {
        // A name may hold points itself; the pipeline knows which of the tables that it could be is one.
        let points = name.match_indices('.').map(|(at, _)| at);
        let mut refused = Refusal::Unknown(name.to_owned());
        for at in points {
            let (schema, table) = name.split_at(at);
            let table = TableId::new(schema, table.trim_start_matches('.'));
            match self.resync(table.clone()).await {
                Ok(()) => return Ok(table),
                Err(refusal @ (Refusal::Unknown(_) | Refusal::NotCaptured(_))) => refused = refusal,
                Err(refusal) => return Err(refusal),
            }
        }
        Err(refused)
    }

    /// Has a table copied again, as a whole, beside the stream: a parked one is followed again then, and rows that
    /// are gone from the source are deleted from the target. Returns once that is sure to happen, also after a crash.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn resync(&self, table: TableId) -> Result<(), Refusal> {
        let requests = {
            let way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match &*way {
                None => return Err(Refusal::NotRunning),
                Some(way) if !way.copies => return Err(Refusal::NoCopies),
                Some(way) => way.requests.clone(),
            }
        };
        let (reply, answer) = oneshot::channel();
        let asked = requests.send(OpenRequest::Resync { table, reply }).await;
        asked.map_err(|_| Refusal::Ended)?;
        answer.await.map_err(|_| Refusal::Ended)?
    }
}
