//! Rows of the simulated database as a source hands them out.

use std::sync::Arc;

use replicator::event::*;
use replicator::source::*;

/// Two integers a row.
#[derive(Debug)]
pub(crate) struct Images(pub(crate) Vec<(i64, i64)>);

impl RowImages for Images {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let (key, value) = self.0[usize::try_from(row.at).unwrap()];
        visitor.cell(0, Value::Int(key))?;
        visitor.cell(1, Value::Int(value))
    }

    fn bytes(&self) -> usize {
        self.0.len() * 16
    }
}

/// A chunk's rows, a few at a time.
pub(crate) struct Reader {
    pub(crate) rows: Vec<(i64, i64)>,
    pub(crate) read: ChunkRead,
}

impl ChunkRows for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<RowChanges>, SourceError>> {
        Box::pin(async {
            if self.rows.is_empty() {
                return Ok(None);
            }
            let rows: Vec<(i64, i64)> = self.rows.drain(..self.rows.len().min(3)).collect();
            let count = u32::try_from(rows.len()).unwrap();
            let insert = |at: u32| Change {
                op: Op::Insert {
                    after: RowRef { at, len: 16 },
                },
                ordinal: Ordinal(0),
            };
            Ok(Some(RowChanges {
                layout: Arc::new(self.read.layout.clone()),
                images: Arc::new(Images(rows)),
                txn: self.read.low,
                committed_micros: 0,
                changes: (0..count).map(insert).collect(),
                snapshot: true,
            }))
        })
    }
}

pub(crate) fn bound(key: i64) -> Bound {
    Bound(vec![key.to_string()])
}

pub(crate) fn key_of(bound: &Bound) -> i64 {
    bound.0[0].parse().unwrap()
}
