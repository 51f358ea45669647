//! Gathers changes into flushes. Pure: what goes out when is decided by counts of bytes and by the
//! caller's clock. A flush holds one batch for each (table, layout), in the order of their first rows,
//! and the commit points that lie among its rows.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::{CommitPoint, RowChanges, TableId, TableLayout};
use crate::sink::Batch;

/// What goes out together.
#[derive(Debug, Default)]
pub struct Flush {
    /// Batches; of one table with several layouts, in log order.
    pub batches: Vec<Batch>,
    /// Commit points among and after the rows.
    pub points: Vec<CommitPoint>,
    /// Source rows in the batches.
    pub rows: u64,
    /// Bytes of their images.
    pub bytes: usize,
}

/// Gathers the next flush.
#[derive(Debug, Default)]
pub struct Batcher {
    flush: Flush,
    /// Index in `flush.batches` of each table's last batch.
    last: HashMap<TableId, usize, foldhash::fast::RandomState>,
}

impl Batcher {
    /// Adds changes of one table, which come after everything added before.
    pub fn rows(&mut self, changes: RowChanges, bytes: usize) {
        self.flush.rows += u64::try_from(changes.changes.len()).unwrap_or(u64::MAX);
        self.flush.bytes += bytes;
        let batches = &mut self.flush.batches;
        if let Some(batch) = self
            .last
            .get(changes.table())
            .and_then(|index| batches.get_mut(*index))
            && same_layout(&batch.layout, &changes.layout)
        {
            batch.pieces.push(changes);
            return;
        }
        self.last.insert(changes.table().clone(), batches.len());
        batches.push(Batch {
            layout: Arc::clone(&changes.layout),
            pieces: vec![changes],
        });
    }

    /// Adds a commit point.
    pub fn commit(&mut self, point: CommitPoint) {
        // A point that ends no transaction only moves the one before: nothing of it is lost.
        let moves = point.committed_micros.is_none();
        match self.flush.points.last_mut() {
            Some(last) if moves => {
                let mut xa = std::mem::take(&mut last.xa);
                xa.extend(point.xa);
                let mut streams = std::mem::take(&mut last.streams);
                streams.extend(point.streams);
                *last = CommitPoint {
                    gtid: last.gtid.take(),
                    last_event: last.last_event.take(),
                    committed_micros: last.committed_micros,
                    executed: point.executed.or_else(|| last.executed.take()),
                    xa,
                    streams,
                    ..point
                };
            }
            _ => self.flush.points.push(point),
        }
    }

    /// Forgets the rows of a table that is not followed any more.
    pub fn discard(&mut self, table: &TableId) {
        self.flush.batches.retain(|batch| batch.table() != table);
        self.last.clear();
        for (index, batch) in self.flush.batches.iter().enumerate() {
            self.last.insert(batch.table().clone(), index);
        }
    }

    /// Whether rows of a table are gathered.
    pub fn holds(&self, table: &TableId) -> bool {
        self.last.contains_key(table)
    }

    /// Bytes of the images gathered.
    pub fn bytes(&self) -> usize {
        self.flush.bytes
    }

    /// Whether there is nothing to send and no position to move.
    pub fn is_empty(&self) -> bool {
        self.flush.batches.is_empty() && self.flush.points.is_empty()
    }

    /// Whether there are rows to send.
    pub fn has_rows(&self) -> bool {
        !self.flush.batches.is_empty()
    }

    /// Takes what was gathered.
    pub fn take(&mut self) -> Flush {
        self.last.clear();
        std::mem::take(&mut self.flush)
    }
}

fn same_layout(left: &Arc<TableLayout>, right: &Arc<TableLayout>) -> bool {
    Arc::ptr_eq(left, right) || left == right
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{
        BinlogCoord, CellVisitor, Change, DomainGtid, Epoch, GlobalId, LastEvent, Op, Ordinal, RowError,
        RowImages, RowRef, TxnStart,
    };

    #[derive(Debug)]
    struct NoImages;

    impl RowImages for NoImages {
        fn visit(&self, _row: RowRef, _visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
            Ok(())
        }

        fn bytes(&self) -> usize {
            0
        }
    }

    fn layout(table: u8, columns: u8) -> Arc<TableLayout> {
        let name = format!("t{table}");
        let column = |index: u8| crate::event::Column {
            name: crate::event::ColumnName::new(format!("c{index}")),
            kind: crate::event::ColumnType::Int64,
            declared: "int".to_owned(),
            nullable: true,
            key: None,
        };
        Arc::new(TableLayout {
            table: TableId::new("s", name),
            columns: (0..columns).map(column).collect(),
        })
    }

    fn changes(layout: Arc<TableLayout>, offset: u64) -> RowChanges {
        let txn = TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord { file: 1, offset },
        };
        let op = Op::Insert {
            after: RowRef { at: 0, len: 1 },
        };
        let changes = vec![Change {
            op,
            ordinal: Ordinal(1),
        }];
        RowChanges {
            layout,
            images: Arc::new(NoImages),
            txn,
            committed_micros: 0,
            changes,
            snapshot: false,
        }
    }

    fn point(offset: u64, gtid: Option<u64>) -> CommitPoint {
        let coord = BinlogCoord { file: 1, offset };
        CommitPoint {
            next: TxnStart {
                epoch: Epoch(1),
                coord,
            },
            file_name: "f".into(),
            gtid: gtid.map(|number| {
                GlobalId::Domain(DomainGtid {
                    domain: 0,
                    server: 1,
                    number,
                })
            }),
            file_born: 0,
            last_event: gtid.map(|_| LastEvent { start: coord, crc: 1 }),
            committed_micros: gtid.map(|_| 1),
            executed: None,
            xa: Vec::new(),
            streams: Vec::new(),
        }
    }

    proptest! {
        /// Every change comes out once; those of a table in the order they went in, with their layout.
        #[test]
        fn nothing_is_lost_or_reordered_within_a_table(input in proptest::collection::vec((0u8..4, 1u8..3), 0..60)) {
            let mut batcher = Batcher::default();
            for (offset, (table, columns)) in (0u64..).zip(&input) {
                batcher.rows(changes(layout(*table, *columns), offset), 1);
            }
            let flush = batcher.take();
            prop_assert!(batcher.is_empty());
            prop_assert_eq!(flush.rows, u64::try_from(input.len()).unwrap());
            for table in 0u8..4 {
                let name = layout(table, 1).table.clone();
                let out: Vec<(u64, usize)> = flush.batches.iter().filter(|batch| batch.table() == &name)
                    .flat_map(|batch| batch.pieces.iter().map(|piece| {
                        assert_eq!(batch.layout, piece.layout);
                        (piece.txn.coord.offset, piece.layout.columns.len())
                    })).collect();
                let expected: Vec<(u64, usize)> = (0u64..).zip(&input).filter(|(_, (t, _))| *t == table)
                    .map(|(offset, (_, columns))| (offset, usize::from(*columns))).collect();
                prop_assert_eq!(out, expected);
            }
        }
    }

    #[test]
    fn a_heartbeat_moves_the_last_point_and_loses_no_transaction() {
        let mut batcher = Batcher::default();
        batcher.commit(point(10, Some(1)));
        batcher.commit(point(20, Some(2)));
        batcher.commit(point(30, None));
        let points = batcher.take().points;
        assert_eq!(points.len(), 2);
        let last = points.last().unwrap();
        assert_eq!(last.next.coord.offset, 30);
        assert_eq!(last.gtid, point(0, Some(2)).gtid);
        assert_eq!(last.last_event.unwrap().start.offset, 20);
    }

    #[test]
    fn a_parked_tables_rows_are_forgotten_and_the_others_stay() {
        let mut batcher = Batcher::default();
        for table in [0, 1, 0, 2] {
            batcher.rows(changes(layout(table, 1), 5), 1);
        }
        batcher.discard(&layout(0, 1).table);
        batcher.rows(changes(layout(2, 1), 6), 1);
        let flush = batcher.take();
        let tables: Vec<(&str, usize)> = flush
            .batches
            .iter()
            .map(|batch| (batch.table().name(), batch.rows()))
            .collect();
        assert_eq!(tables, [("t1", 1), ("t2", 2)]);
    }
}
