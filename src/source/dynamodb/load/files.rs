//! Rows from the data files of exports: of a full one's items, and of those that an export of changes shows to be
//! gone.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::super::item::{Item, ItemError};
use super::error::LoadError;
use super::manifest::DataFile;
use super::objects::Objects;
use super::unpack::{SLICE, Unpacker};
use super::{Loader, Packer};
use crate::event::{RowChanges, RowRef, TxnStart};
use crate::source::{BoxFuture, ChunkRows, SourceError};

/// Items that are handed over together.
const ITEMS: usize = 1000;

/// Bytes of them.
const BYTES: usize = 4 * 1024 * 1024;

/// A line of a full export.
#[derive(Deserialize)]
struct FullLine {
    #[serde(rename = "Item")]
    item: Item,
}

/// A line of an export of changes: what an item is at the end of the time that the export spans.
#[derive(Deserialize)]
struct ChangeLine {
    #[serde(rename = "Keys")]
    keys: Item,
    /// Not there if the item is gone.
    #[serde(rename = "NewImage")]
    image: Option<IgnoredAny>,
}

/// Lines of one data file.
#[derive(Debug)]
struct Batch {
    key: String,
    /// The number of the first, from 1.
    first: u64,
    lines: Vec<Vec<u8>>,
}

impl Batch {
    /// Puts what each line holds into rows.
    fn rows<L: DeserializeOwned>(
        &self,
        mut row: impl FnMut(L) -> Result<Option<RowRef>, ItemError>,
    ) -> Result<Vec<RowRef>, LoadError> {
        let mut rows = Vec::with_capacity(self.lines.len());
        for (number, text) in (self.first..).zip(&self.lines) {
            let line = serde_json::from_slice(text).map_err(|error| LoadError::Line {
                key: self.key.clone(),
                line: number,
                column: error.column(),
            })?;
            rows.extend(row(line).map_err(|source| LoadError::Item {
                key: self.key.clone(),
                line: number,
                source,
            })?);
        }
        Ok(rows)
    }
}

/// The lines of data files, one file after the other, each held against the manifest at its end.
struct Lines {
    objects: Objects,
    waiting: VecDeque<DataFile>,
    open: Option<Open>,
}

/// A file that is being read.
struct Open {
    file: DataFile,
    pieces: BoxStream<'static, Result<Bytes, LoadError>>,
    /// What came and was not unpacked yet.
    piece: Bytes,
    unpacker: Unpacker,
    lines: u64,
    ended: bool,
}

impl Lines {
    fn new(objects: Objects, files: Vec<DataFile>) -> Lines {
        Lines {
            objects,
            waiting: files.into(),
            open: None,
        }
    }

    /// Some lines of one file; `None` after the last one's end.
    async fn next(&mut self) -> Result<Option<Batch>, LoadError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(file) = self.waiting.pop_front() else {
                    return Ok(None);
                };
                self.open = Some(Open {
                    pieces: self.objects.pieces(&file.key).await?,
                    file,
                    piece: Bytes::new(),
                    unpacker: Unpacker::new(),
                    lines: 0,
                    ended: false,
                });
                continue;
            };
            let batch = open.batch().await?;
            if !batch.lines.is_empty() {
                return Ok(Some(batch));
            }
            if let Some(open) = self.open.take() {
                let key = open.file.key.clone();
                open.unpacker
                    .verify(&open.file)
                    .map_err(|source| LoadError::File { key, source })?;
            }
        }
    }
}

impl Open {
    /// The next lines; none after the last.
    async fn batch(&mut self) -> Result<Batch, LoadError> {
        let mut batch = Batch {
            key: self.file.key.clone(),
            first: self.lines + 1,
            lines: Vec::new(),
        };
        let mut bytes = 0_usize;
        let failed = |source| LoadError::File {
            key: self.file.key.clone(),
            source,
        };
        while batch.lines.len() < ITEMS && bytes < BYTES && !self.ended {
            let line = self.unpacker.line().map_err(failed)?.map(<[u8]>::to_vec);
            let line = match line {
                Some(line) => line,
                None if !self.piece.is_empty() => {
                    let slice = self.piece.split_to(SLICE.min(self.piece.len()));
                    self.unpacker.push(&slice).map_err(failed)?;
                    continue;
                }
                None => match self.pieces.next().await {
                    Some(piece) => {
                        self.piece = piece?;
                        continue;
                    }
                    None => {
                        self.ended = true;
                        match self.unpacker.rest().map_err(failed)? {
                            Some(line) => line.to_vec(),
                            None => break,
                        }
                    }
                },
            };
            bytes = bytes.saturating_add(line.len());
            batch.lines.push(line);
        }
        self.lines = self
            .lines
            .saturating_add(u64::try_from(batch.lines.len()).unwrap_or(u64::MAX));
        Ok(batch)
    }
}

/// The items of a data file of a full export.
pub(super) struct Files {
    lines: Lines,
    packer: Packer,
    /// The generation's zero, and the time as of which the items are, Unix seconds.
    at: (TxnStart, i64),
}

impl Files {
    pub(super) fn new(objects: Objects, file: DataFile, packer: Packer, at: (TxnStart, i64)) -> Files {
        Files {
            lines: Lines::new(objects, vec![file]),
            packer,
            at,
        }
    }

    async fn rows(&mut self) -> Result<Option<RowChanges>, LoadError> {
        while let Some(batch) = self.lines.next().await? {
            let mut images = self.packer.images();
            let packer = &mut self.packer;
            let rows = batch.rows(|line: FullLine| packer.item(&mut images, &line.item).map(Some))?;
            // The rest of the file is looked at for what else it needs.
            if !packer.outgrown {
                return Ok(Some(packer.copied(images, rows, self.at)));
            }
        }
        if self.packer.outgrown {
            Err(self.packer.outgrown())
        } else {
            Ok(None)
        }
    }
}

impl ChunkRows for Files {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<RowChanges>, SourceError>> {
        Box::pin(async move { self.rows().await.map_err(crate::fault::boxed) })
    }
}

/// What exports of changes show to be gone.
pub(super) struct Changes {
    loader: Arc<Loader>,
    packer: Packer,
    low: TxnStart,
    /// Times that are left, from and to, Unix seconds.
    windows: VecDeque<(i64, i64)>,
    /// The lines of one's files, and when it ends.
    open: Option<(Lines, i64)>,
}

impl Changes {
    pub(super) fn new(
        loader: Arc<Loader>,
        packer: Packer,
        low: TxnStart,
        windows: VecDeque<(i64, i64)>,
    ) -> Changes {
        Changes {
            loader,
            packer,
            low,
            windows,
            open: None,
        }
    }

    async fn rows(&mut self) -> Result<Option<RowChanges>, LoadError> {
        loop {
            let Some((lines, to)) = &mut self.open else {
                let Some(window) = self.windows.pop_front() else {
                    return Ok(None);
                };
                let table = self.packer.shape.layout.table.name();
                let (objects, files) = self.loader.changes(table, self.low, window).await?;
                self.open = Some((Lines::new(objects, files), window.1));
                continue;
            };
            let Some(batch) = lines.next().await? else {
                self.open = None;
                continue;
            };
            let mut images = self.packer.images();
            let rows = batch.rows(|line: ChangeLine| match line.image {
                None => images.key(&line.keys).map(Some),
                Some(_) => Ok(None),
            })?;
            if !rows.is_empty() {
                return Ok(Some(self.packer.gone(images, rows, (self.low, *to))));
            }
        }
    }
}

impl ChunkRows for Changes {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<RowChanges>, SourceError>> {
        Box::pin(async move { self.rows().await.map_err(crate::fault::boxed) })
    }
}
