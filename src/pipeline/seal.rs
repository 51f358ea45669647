//! Ends the copy of a table without a primary key: nothing but its place in the log tells which changes its rows hold,
//! so a read counts only once that place is passed in the log that it was read in.

use std::sync::Arc;

use super::snapshot::{Copying, Failed, sink_failed};
use crate::event::{ReadAt, TableLayout};
use crate::source::{ChunkRows, Reached};

impl Copying {
    /// Declares the read of a table, as it was opened `opening` times, whole once the log is read up to its place:
    /// `false` if the log became another one before that, whose rows would be told from those of the read by no number.
    ///
    /// # Errors
    /// The table was held or opened anew since, or what the target failed with.
    pub(super) async fn seal(
        &self,
        (layout, opening): (&Arc<TableLayout>, u64),
        at: ReadAt,
        rows: Box<dyn ChunkRows>,
    ) -> Result<bool, Failed> {
        let is_same = move |reached: &Reached| reached.next.epoch == at.low.epoch;
        let mut reached = self.shared.reached.subscribe();
        let passed = reached.wait_for(move |reached| !is_same(reached) || rows.is_passed(reached));
        let is_same = passed.await.is_ok_and(|reached| is_same(&reached));
        if !self.shared.routes.is_open(&layout.table, opening) {
            return Err(Failed::Parked);
        }
        if is_same {
            let sealed = self.sink.seal(layout, at).await;
            sealed.map_err(|error| sink_failed(&layout.table, error))?;
        }
        Ok(is_same)
    }
}
