//! The block that is being filled: its rows' bytes, and which of them a later one of their key replaces.

use std::collections::HashMap;
use std::ops::Range;

use super::{Cut, Origin, Part, ROWS_FIELD, offset};
use crate::event::OrderKey;
use crate::sink::bigquery::encode::{RowEncoder, put_bytes};
use crate::sink::bigquery::letter::Refusal;
use crate::sink::bigquery::misfit::Misfits;
use crate::sink::bigquery::plan::Target;

/// One row of the block that is being filled.
#[derive(Debug)]
struct Entry {
    /// Its bytes in the body, tag and length included.
    body: Range<usize>,
    /// Its key in `Filling::keys`.
    key: Range<usize>,
    order: OrderKey,
    origin: Origin,
    misfits: Misfits,
    /// A later change of the key is in the block.
    superseded: bool,
    /// An earlier entry whose key has the same hash.
    same_hash: Option<usize>,
    refused: Option<Box<Refusal>>,
}

/// The block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Filling {
    pub(super) body: Vec<u8>,
    keys: Vec<u8>,
    entries: Vec<Entry>,
    /// Key hash to its last entry; the others follow by `same_hash`, so equal hashes cost a comparison and nothing else.
    heads: HashMap<u64, usize, foldhash::fast::RandomState>,
    pub(super) changes: u64,
    pub(super) image_bytes: usize,
}

impl Filling {
    /// How many rows there are, those that are replaced or refused included.
    pub(super) fn rows(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn with_room(rows: usize) -> Filling {
        let mut filling = Filling::default();
        filling.entries.reserve(rows);
        filling.heads.reserve(rows);
        filling
    }

    pub(super) fn add(
        &mut self,
        encoder: &RowEncoder,
        hash: Option<u64>,
        order: OrderKey,
        mut origin: Origin,
        (encoded, misfits): (Result<(), Refusal>, Misfits),
    ) {
        let index = self.entries.len();
        let (superseded, same_hash) = match hash {
            Some(hash) => self.link(index, hash, order, (&encoder.key, &mut origin.stale)),
            None => (false, None),
        };
        let (body, key) = (self.body.len(), self.keys.len());
        let refused = encoded.err().map(Box::new);
        if refused.is_none() {
            put_bytes(&mut self.body, ROWS_FIELD, &encoder.row);
        }
        self.keys.extend_from_slice(&encoder.key);
        self.entries.push(Entry {
            body: body..self.body.len(),
            key: key..self.keys.len(),
            order,
            origin,
            misfits,
            superseded,
            same_hash,
            refused,
        });
    }

    /// Takes the last rows out again; of a block whose rows do not supersede each other.
    pub(super) fn forget_from(&mut self, first: usize) {
        if let Some(entry) = self.entries.get(first) {
            self.body.truncate(entry.body.start);
            self.keys.truncate(entry.key.start);
        }
        self.entries.truncate(first);
    }

    /// Enters a row of this key as the last one: whether it is superseded at birth, and what follows it in the
    /// chain. The row that stays is stale, should it be refused, because another of its key came before it.
    fn link(
        &mut self,
        index: usize,
        hash: u64,
        order: OrderKey,
        (key, stale): (&[u8], &mut bool),
    ) -> (bool, Option<usize>) {
        let head = self.heads.insert(hash, index);
        let mut next = head;
        while let Some((at, entry)) = next.and_then(|at| Some((at, self.entries.get_mut(at)?))) {
            next = entry.same_hash;
            if entry.superseded || self.keys.get(entry.key.clone()) != Some(key) {
                continue;
            }
            if entry.order > order {
                // The older row came later: the newer one keeps its place.
                entry.origin.stale = true;
                self.heads.extend(head.map(|head| (hash, head)));
                return (true, None);
            }
            entry.superseded = true;
            *stale = true;
            // A key that changes often must not make the chain long.
            return (false, if Some(at) == head { next } else { head });
        }
        (false, head)
    }

    pub(super) fn finish(self, target: &Target) -> Cut {
        let packed = self.entries.iter().any(|entry| entry.superseded);
        let mut body = Vec::with_capacity(if packed { self.body.len() } else { 0 });
        let mut origins = Vec::with_capacity(self.entries.len());
        let mut refused = Vec::new();
        for entry in self.entries {
            if entry.superseded {
                continue;
            }
            let meters = &target.destination.meters;
            meters.misfits(&entry.misfits, &target.values);
            if let Some(refusal) = entry.refused {
                refused.push((entry.origin, *refusal));
                continue;
            }
            let mut end = entry.body.end;
            if packed {
                body.extend_from_slice(self.body.get(entry.body).unwrap_or_default());
                end = body.len();
            }
            origins.push(Origin {
                end: offset(end),
                ..entry.origin
            });
        }
        let body = if packed { body } else { self.body };
        Cut {
            part: Part::new(body, origins),
            refused,
            changes: self.changes,
            image_bytes: self.image_bytes,
        }
    }
}
