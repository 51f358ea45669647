//! The lines of a compressed data file as it arrives, checked at its end against what the manifest says of it. What
//! is held is bounded whatever the bytes are: a file is never taken as a whole, and a line has a longest.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use md5::{Digest, Md5};

use super::manifest::{DataFile, Md5Sum};

/// Bytes that are handed to the decompressor at a time. Deflate makes at most 1,032 times as many of them.
pub(super) const SLICE: usize = 8 * 1024;

/// The longest line: an item has 400 KB, of which names of types, escapes and base64 make less than ten times as many.
const LINE: usize = 16 * 1024 * 1024;

/// Why a data file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Not compressed as it should be, or cut.
    #[error("it cannot be decompressed")]
    Compression(#[source] io::Error),
    /// Not lines of items.
    #[error("line {0} is longer than any item can be")]
    Line(u64),
    /// Others than were written.
    #[error("its checksum is not the manifest's")]
    Checksum,
    /// More or fewer than were written.
    #[error("it holds {found} items, and the manifest says {said}")]
    Count {
        /// Lines of the file.
        found: u64,
        /// What the manifest says.
        said: u64,
    },
}

/// Takes a data file apart.
#[derive(Debug)]
pub(super) struct Unpacker {
    decoder: MultiGzDecoder<Vec<u8>>,
    digest: Md5,
    /// Bytes of the file so far.
    taken: u64,
    /// Bytes of the decompressed text that were handed out as lines.
    used: usize,
    /// How far that text was searched for the end of a line.
    searched: usize,
    lines: u64,
}

impl Unpacker {
    /// One for a file of which nothing was read yet.
    pub(super) fn new() -> Unpacker {
        Unpacker {
            decoder: MultiGzDecoder::new(Vec::new()),
            digest: Md5::new(),
            taken: 0,
            used: 0,
            searched: 0,
            lines: 0,
        }
    }

    /// Takes the next bytes of the file, at most [`SLICE`] of them, once all lines so far were taken.
    ///
    /// # Errors
    /// [`UnpackError::Compression`].
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        self.digest.update(bytes);
        self.taken = self
            .taken
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let text = self.decoder.get_mut();
        text.drain(..self.used.min(text.len()));
        self.searched = self.searched.saturating_sub(self.used);
        self.used = 0;
        self.decoder.write_all(bytes).map_err(UnpackError::Compression)?;
        self.decoder.flush().map_err(UnpackError::Compression)
    }

    /// The next whole line, without its end.
    ///
    /// # Errors
    /// [`UnpackError::Line`].
    pub(super) fn line(&mut self) -> Result<Option<&[u8]>, UnpackError> {
        loop {
            let text = self.decoder.get_ref();
            let end = text
                .get(self.searched..)
                .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'));
            let end = match end {
                Some(end) => self.searched + end,
                None if text.len() - self.used.min(text.len()) > LINE => {
                    return Err(UnpackError::Line(self.lines + 1));
                }
                None => {
                    self.searched = text.len();
                    return Ok(None);
                }
            };
            let start = std::mem::replace(&mut self.used, end + 1);
            self.searched = end + 1;
            if end - start > LINE {
                return Err(UnpackError::Line(self.lines + 1));
            }
            if end > start {
                self.lines += 1;
                return Ok(self.decoder.get_ref().get(start..end));
            }
        }
    }

    /// Ends the file: the last line, if nothing ended it.
    ///
    /// # Errors
    /// [`UnpackError::Compression`] if the file is cut.
    pub(super) fn rest(&mut self) -> Result<Option<&[u8]>, UnpackError> {
        // A file of no bytes is how an empty partition is written.
        if self.taken > 0 {
            self.decoder.try_finish().map_err(UnpackError::Compression)?;
        }
        let text = self.decoder.get_ref();
        let start = std::mem::replace(&mut self.used, text.len());
        self.searched = text.len();
        let last = text.get(start..).filter(|line| !line.is_empty());
        self.lines += u64::from(last.is_some());
        Ok(last)
    }

    /// Holds what was read against the manifest, after [`Unpacker::rest`].
    ///
    /// # Errors
    /// [`UnpackError::Checksum`], [`UnpackError::Count`].
    pub(super) fn verify(self, file: &DataFile) -> Result<(), UnpackError> {
        let sum: Md5Sum = self.digest.finalize().into();
        if sum != file.md5 {
            return Err(UnpackError::Checksum);
        }
        if self.lines != file.items {
            return Err(UnpackError::Count {
                found: self.lines,
                said: file.items,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn described(bytes: &[u8], items: u64) -> DataFile {
        DataFile {
            key: "k".to_owned(),
            items,
            md5: Md5::digest(bytes).into(),
        }
    }

    /// All lines of a file that comes in pieces of a size.
    fn lines(bytes: &[u8], size: usize, file: &DataFile) -> Result<Vec<Vec<u8>>, UnpackError> {
        let (mut unpacker, mut lines) = (Unpacker::new(), Vec::new());
        for piece in bytes.chunks(size) {
            unpacker.push(piece)?;
            while let Some(line) = unpacker.line()? {
                lines.push(line.to_vec());
            }
        }
        lines.extend(unpacker.rest()?.map(<[u8]>::to_vec));
        unpacker.verify(file)?;
        Ok(lines)
    }

    #[test]
    fn files_of_several_members_and_none() {
        let mut bytes = packed(b"{\"a\":1}\n{\"b\"");
        bytes.extend(packed(b":2}\n\n{\"c\":3}"));
        for size in [1, 7, SLICE] {
            let read = lines(&bytes, size, &described(&bytes, 3)).unwrap();
            assert_eq!(read, [&b"{\"a\":1}"[..], b"{\"b\":2}", b"{\"c\":3}"]);
        }
        assert!(lines(b"", 1, &described(b"", 0)).unwrap().is_empty());
        let empty = packed(b"");
        assert!(lines(&empty, 3, &described(&empty, 0)).unwrap().is_empty());
    }

    #[test]
    fn what_is_not_as_the_manifest_says_is_told() {
        let bytes = packed(b"{}\n{}\n");
        assert!(matches!(
            lines(&bytes, 9, &described(&bytes, 3)),
            Err(UnpackError::Count { found: 2, said: 3 })
        ));
        assert!(matches!(
            lines(&bytes, 9, &described(b"other", 2)),
            Err(UnpackError::Checksum)
        ));
        assert!(matches!(
            lines(b"plain text\n", 9, &described(b"plain text\n", 1)),
            Err(UnpackError::Compression(_))
        ));
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_held() {
        let bytes = packed(&vec![b'x'; 8 * LINE]);
        assert!(matches!(
            lines(&bytes, SLICE, &described(&bytes, 1)),
            Err(UnpackError::Line(1))
        ));
    }

    proptest! {
        #[test]
        fn every_line_arrives_however_the_file_is_cut_up(
            texts in proptest::collection::vec("[a-z]{1,40}", 0..40), size in 1_usize..200, ended: bool,
        ) {
            let mut text = texts.join("\n");
            if ended && !text.is_empty() {
                text.push('\n');
            }
            let bytes = packed(text.as_bytes());
            let file = described(&bytes, u64::try_from(texts.len()).unwrap());
            let read = lines(&bytes, size, &file).unwrap();
            prop_assert_eq!(read, texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, gzip: bool) {
            let bytes = if gzip { [&[0x1f, 0x8b, 8][..], &bytes].concat() } else { bytes };
            let _any = lines(&bytes, 5, &described(&bytes, 0));
        }

        #[test]
        fn a_file_that_is_cut_is_never_taken_for_whole(cut in 0_usize..60) {
            let bytes = packed(b"{\"Item\":{\"a\":{\"S\":\"x\"}}}\n{\"Item\":{\"a\":{\"S\":\"y\"}}}\n");
            let kept = &bytes[..cut.min(bytes.len() - 1)];
            prop_assert!(lines(kept, 16, &described(kept, 2)).is_err());
        }
    }
}
