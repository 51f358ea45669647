//! Table maps and row images: which decoder reads a rows event, and what becomes of one that none can.

use std::sync::Arc;

use bytes::Bytes;

use super::assemble::{Assembler, Mapped, Out, Target};
use super::error::StreamError;
use super::raw::{self, RawEvent};
use crate::event::{Break, BreakCause, Item, TableId, TxnStart};
use crate::source::mysql::compressed::EventPart;
use crate::source::mysql::decoder::Decoder;
use crate::source::mysql::rows::{RowsAt, RowsError, RowsKind, decode_rows, split_images};
use crate::source::mysql::table_map::{TableMap, TableMapHead};

impl Assembler {
    pub(super) fn table_map(&mut self, event: &RawEvent) -> Result<(), StreamError> {
        self.open_txn(event)?;
        let mut fields = raw::Fields(&event.body);
        let id = fields
            .uint(6)
            .ok_or_else(|| self.malformed(event.kind, "too short"))?;
        if self.maps.get(&id).is_some_and(|mapped| mapped.map == fields.0) {
            return Ok(());
        }
        let map = event.body.slice_ref(fields.0);
        let head = TableMapHead::parse(&event.body)
            .map_err(|error| self.malformed(event.kind, error.to_string()))?;
        let table = TableId::new(head.schema, head.table);
        let target = match self.by_table.get(&table) {
            Some(known) if known.map == map => known.target.clone(),
            _ => self.resolve(&table, &event.body),
        };
        if !matches!(target, Target::Ignored) {
            self.by_table.insert(
                table,
                Mapped {
                    map: map.clone(),
                    target: target.clone(),
                },
            );
        }
        self.maps.insert(id, Mapped { map, target });
        Ok(())
    }

    fn resolve(&self, table: &TableId, body: &Bytes) -> Target {
        if !self.patterns.matches(table) {
            return Target::Ignored;
        }
        let unknown = |reason: String| Target::Unclear(table.clone(), BreakCause::LayoutUnknown(reason));
        let mut map = match TableMap::parse(body, self.dialect.flavour) {
            Ok(map) => map,
            Err(error) => return unknown(error.to_string()),
        };
        let known = self.catalog.get(table);
        if known.is_some_and(|catalog| !catalog.is_keyed()) {
            // Where there is no primary key, the server calls the first unique one of NOT NULL columns by that name.
            for column in &mut map.columns {
                column.key = None;
            }
        }
        let decoder = match known {
            catalog if map.has_full => Decoder::from_table_map(&map, catalog),
            Some(catalog) => Decoder::from_table_map_and_catalog(&map, catalog),
            None => {
                return unknown("it is not in the catalog, and binlog_row_metadata is not FULL".to_owned());
            }
        };
        match decoder {
            Ok(decoder) => Target::Captured(Arc::new(decoder)),
            Err(error) => unknown(error.to_string()),
        }
    }

    pub(super) fn rows(&mut self, event: &RawEvent, out: &mut Vec<Out>) -> Result<(), StreamError> {
        /// Ends a statement's rows and frees its maps.
        const DUMMY_TABLE: u64 = 0x00ff_ffff;
        let id = raw::Fields(&event.body)
            .uint(6)
            .ok_or_else(|| self.malformed(event.kind, "too short"))?;
        let Some(mapped) = self.maps.get(&id) else {
            if id == DUMMY_TABLE {
                return Ok(());
            }
            return Err(self.malformed(event.kind, format!("its table id {id} was never described")));
        };
        let target = mapped.target.clone();
        let images = self.images(event)?;
        let committed = i64::from(event.timestamp) * 1_000_000;
        let txn = self.open_txn(event)?;
        let at = RowsAt {
            txn: txn.start,
            first_ordinal: txn.next_ordinal,
            committed_micros: txn.committed_micros.unwrap_or(committed),
        };
        txn.next_ordinal += images;
        let start = txn.start;
        let decoder = match target {
            Target::Ignored => return Ok(()),
            Target::Captured(decoder) => decoder,
            Target::Unclear(table, cause) => {
                self.break_at((table, cause), start, out);
                return Ok(());
            }
        };
        if !txn.touched.contains(&decoder.layout().table) {
            txn.touched.insert(decoder.layout().table.clone());
        }
        let table = &decoder.layout().table;
        let (kind, body) = self.plain(event)?;
        match decode_rows(&decoder, kind, body, at) {
            Ok((changes, _next)) => self.tell(Item::Rows(changes), out),
            Err(error) => {
                let cause = match error {
                    RowsError::PartialImage { .. } => BreakCause::PartialImage,
                    // The bytes do not fit what the log said about the table.
                    RowsError::Malformed { .. } => BreakCause::LayoutUnknown(error.to_string()),
                    RowsError::Head | RowsError::TooLong => {
                        return Err(self.malformed(event.kind, format!("table {table}: {error}")));
                    }
                };
                self.break_at((table.clone(), cause), start, out);
            }
        }
        Ok(())
    }

    fn images(&self, event: &RawEvent) -> Result<u64, StreamError> {
        let (kind, compressed) = self.rows_kind(event)?;
        let (_head, images) =
            split_images(kind, &event.body).map_err(|error| self.malformed(event.kind, error.to_string()))?;
        if compressed {
            return Ok(self.images_part(event, images)?.size);
        }
        u64::try_from(images.len()).map_err(|_| self.malformed(event.kind, "too long"))
    }

    /// What a rows event does, and whether MariaDB compressed its images.
    fn rows_kind(&self, event: &RawEvent) -> Result<(RowsKind, bool), StreamError> {
        let plain = raw::uncompressed_rows(event.kind);
        let kind = RowsKind::of(plain.unwrap_or(event.kind));
        let kind = kind.ok_or_else(|| self.malformed(event.kind, "no rows event"))?;
        Ok((kind, plain.is_some()))
    }

    /// A rows event's body as it would be without compression. Only captured tables pay for it: others
    /// are counted by the size that the event announces.
    fn plain(&self, event: &RawEvent) -> Result<(RowsKind, Bytes), StreamError> {
        let (kind, compressed) = self.rows_kind(event)?;
        if !compressed {
            return Ok((kind, event.body.clone()));
        }
        let (head, images) =
            split_images(kind, &event.body).map_err(|error| self.malformed(event.kind, error.to_string()))?;
        let mut body = head.to_vec();
        self.images_part(event, images)?
            .inflate(&mut body)
            .ok_or_else(|| self.malformed(event.kind, "its rows cannot be inflated"))?;
        Ok((kind, body.into()))
    }

    fn images_part<'a>(&self, event: &RawEvent, images: &'a [u8]) -> Result<EventPart<'a>, StreamError> {
        EventPart::parse(images).ok_or_else(|| self.malformed(event.kind, "its rows cannot be inflated"))
    }

    pub(super) fn partial_rows(&mut self, event: &RawEvent, out: &mut Vec<Out>) -> Result<(), StreamError> {
        let id = raw::Fields(&event.body)
            .uint(6)
            .ok_or_else(|| self.malformed(event.kind, "too short"))?;
        let target = self.maps.get(&id).map(|mapped| mapped.target.clone());
        let images = self.images(event)?;
        let txn = self.open_txn(event)?;
        txn.next_ordinal += images;
        let at = txn.start;
        let table = match target {
            Some(Target::Captured(decoder)) => decoder.layout().table.clone(),
            Some(Target::Unclear(table, _)) => table,
            Some(Target::Ignored) => return Ok(()),
            None => return Err(self.malformed(event.kind, format!("its table id {id} was never described"))),
        };
        self.break_at((table, BreakCause::PartialImage), at, out);
        Ok(())
    }

    pub(super) fn break_at(
        &mut self,
        (table, cause): (TableId, BreakCause),
        at: TxnStart,
        out: &mut Vec<Out>,
    ) {
        self.tell(Item::Break(Break { table, cause, at }), out);
    }
}
