//! Sees a batch through. What BigQuery refuses is taken apart until the rows at fault stand alone;
//! those are put aside as dead letters, the rest is sent again. A batch is done when each of its rows
//! is acknowledged or its letter is. How many rows a table may lose this way is bounded: a target
//! that takes none of them is no fault of the rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::block::{Origin, Part};
use super::delivery::Outcome;
use super::error::Error;
use super::letter::{Letter, Refusal};
use super::letters::{DeadLetters, LETTERS};
use super::plan::Target;
use super::pool::Pool;
use crate::event::TableId;
use crate::sink::Batch;
use crate::task;

/// Rows of a table that may be refused one after the other while none is taken.
const IN_A_ROW: u64 = 100;

/// Rows of a table that may be refused in all, beside one for each [`TAKEN_FOR_ONE`] that are taken.
const IN_ALL: u64 = 1_000;

/// So many rows that are taken make up for one that is refused.
const TAKEN_FOR_ONE: u64 = 100;

/// How many rows of a table may still be put aside.
#[derive(Debug, Default)]
struct Allowance {
    /// Refused rows that nothing has made up for, in parts of [`TAKEN_FOR_ONE`].
    owed: u64,
    /// Rows refused since the last one that was taken.
    in_a_row: u64,
}

impl Allowance {
    /// Notes rows that were put aside; says whether these are too many in all.
    fn put_aside(&mut self, rows: u64) -> bool {
        self.owed += rows * TAKEN_FOR_ONE;
        self.owed > IN_ALL * TAKEN_FOR_ONE
    }

    /// Notes how a request ended; says whether too many in a row were refused.
    fn ended(&mut self, taken: u64, refused: u64) -> bool {
        self.owed = self.owed.saturating_sub(taken);
        self.in_a_row = if taken > 0 { 0 } else { self.in_a_row + refused };
        self.in_a_row >= IN_A_ROW
    }
}

/// What all batches have in common.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) pool: Pool,
    letters: DeadLetters,
    allowances: Mutex<HashMap<TableId, Allowance>>,
}

impl Courier {
    pub(super) fn new(pool: Pool, letters: DeadLetters) -> Courier {
        Courier {
            pool,
            letters,
            allowances: Mutex::default(),
        }
    }

    fn allowance<T>(&self, table: &TableId, act: impl FnOnce(&mut Allowance) -> T) -> T {
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        act(allowances.entry(table.clone()).or_default())
    }
}

/// A request that was sent, and the rows that could not be sent with it.
#[derive(Debug)]
pub(super) struct Sent {
    /// Where the request's rows come from, in its order.
    pub(super) origins: Vec<Origin>,
    /// `None` if there was no row to send.
    pub(super) answer: Option<oneshot::Receiver<Outcome>>,
    /// Rows that cannot be sent.
    pub(super) refused: Vec<(Origin, Refusal)>,
}

/// Rows of a batch that were put aside.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// How many.
    pub(super) rows: u64,
    /// Where the last one is and why, without a value.
    pub(super) last: Option<String>,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Shipment {
    pub(super) courier: Arc<Courier>,
    pub(super) target: Arc<Target>,
    pub(super) batch: Arc<Batch>,
}

impl Shipment {
    /// Waits until every row of the requests is in the target or put aside.
    ///
    /// # Errors
    /// [`Error::TooManyRefused`], [`Error::DeadLetter`], or what ended the deliveries.
    pub(super) async fn settle_all(self, mut requests: mpsc::Receiver<Sent>) -> Result<Aside, Error> {
        let mut aside = Aside::default();
        while let Some(sent) = requests.recv().await {
            self.settle(sent, &mut aside).await?;
        }
        Ok(aside)
    }

    async fn settle(&self, sent: Sent, aside: &mut Aside) -> Result<(), Error> {
        let before = aside.rows;
        let taken = match sent.answer {
            Some(answer) => self.see_through(sent.origins, answer, aside).await?,
            None => 0,
        };
        self.put_aside(sent.refused, aside).await?;
        let refused = aside.rows - before;
        let table = &self.target.layout.table;
        if self
            .courier
            .allowance(table, |allowance| allowance.ended(taken, refused))
        {
            return Err(self.too_many(aside));
        }
        Ok(())
    }

    /// Sends a request again and again, each time less of it, until nothing is left. Returns the rows taken.
    async fn see_through(
        &self,
        mut origins: Vec<Origin>,
        mut answer: oneshot::Receiver<Outcome>,
        aside: &mut Aside,
    ) -> Result<u64, Error> {
        let mut taken = 0;
        let mut alone = 0;
        let mut left: Vec<(Part, OwnedSemaphorePermit)> = Vec::new();
        loop {
            let outcome = answer.await.map_err(|_| Error::Stopped)?;
            match outcome {
                Outcome::Appended => taken += u64::try_from(origins.len()).unwrap_or(u64::MAX),
                Outcome::Failed(error) => return Err(error),
                Outcome::Rows { block, room, errors } => {
                    let part = Part { block, origins };
                    let mut named: BTreeMap<usize, String> = errors.into_iter().collect();
                    let rest = part.only(|index| !named.contains_key(&index));
                    let refused = part.origins.iter().enumerate().filter_map(|(index, origin)| {
                        Some((*origin, Refusal::Answer(named.remove(&index)?)))
                    });
                    self.put_aside(refused.collect(), aside).await?;
                    if rest.block.rows > 0 {
                        left.push((rest, room));
                    }
                }
                Outcome::Refused { block, room, message } => {
                    let part = Part { block, origins };
                    if let [origin] = part.origins.as_slice() {
                        alone += 1;
                        self.put_aside(vec![(*origin, Refusal::Answer(message))], aside)
                            .await?;
                        if taken == 0 && alone >= IN_A_ROW {
                            return Err(self.too_many(aside));
                        }
                    } else {
                        left.extend(halves(&part, room));
                    }
                }
            }
            let Some((part, room)) = left.pop() else {
                return Ok(taken);
            };
            origins = part.origins;
            let destination = &self.target.destination;
            answer = self.courier.pool.deliver(destination, part.block, room).await?;
        }
    }

    /// Writes dead letters for rows; they are safe when this returns.
    async fn put_aside(&self, refused: Vec<(Origin, Refusal)>, aside: &mut Aside) -> Result<(), Error> {
        let mut refused = refused.into_iter().peekable();
        while refused.peek().is_some() {
            let rows: Vec<(Origin, Refusal)> = refused.by_ref().take(LETTERS).collect();
            let (target, batch) = (Arc::clone(&self.target), Arc::clone(&self.batch));
            // A row may be as large as a server admits, and all of it is hashed.
            let rendered = task::blocking("dead letters", move || render(&target, &batch, &rows));
            let letters = rendered.join().await.map_err(|_| Error::Stopped)??;
            let courier = &self.courier;
            courier
                .letters
                .write(&courier.pool, &self.target, &letters)
                .await?;
            let rows = u64::try_from(letters.len()).unwrap_or(u64::MAX);
            aside.rows += rows;
            aside.last = letters.last().map(Letter::summary).or_else(|| aside.last.take());
            let table = &self.target.layout.table;
            if courier.allowance(table, |allowance| allowance.put_aside(rows)) {
                return Err(self.too_many(aside));
            }
        }
        Ok(())
    }

    fn too_many(&self, aside: &Aside) -> Error {
        Error::TooManyRefused {
            table: self.target.layout.table.clone(),
            last: aside.last.clone().unwrap_or_default(),
        }
    }
}

/// A part in two, each with its share of memory; the first half comes last, to be taken first.
fn halves(part: &Part, mut room: OwnedSemaphorePermit) -> impl Iterator<Item = (Part, OwnedSemaphorePermit)> {
    let half = part.origins.len() / 2;
    let (first, second) = (part.only(|index| index < half), part.only(|index| index >= half));
    let share = second.block.body.len().min(room.num_permits());
    let split = room.split(share).map(|share| (second, share));
    split.into_iter().chain([(first, room)])
}

fn render(target: &Target, batch: &Batch, rows: &[(Origin, Refusal)]) -> Result<Vec<Letter>, Error> {
    let table = &target.layout.table;
    let letter = |(origin, refusal): &(Origin, Refusal)| {
        let row = origin.refused(batch).ok_or_else(|| Error::Refused {
            table: table.clone(),
            target: target.destination.place.to_string(),
            status: "a row that is not in the batch".to_owned(),
        })?;
        Letter::of(target, row, refusal).map_err(|source| Error::Row {
            table: table.clone(),
            at: row.at,
            source,
        })
    };
    rows.iter().map(letter).collect()
}

#[cfg(test)]
mod tests;
