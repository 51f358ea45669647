//! Reading bytes that come from outside: every read is checked, none copies.

/// The bytes ended before the value did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes end before the value does")]
pub(crate) struct Truncated;

/// A position in borrowed bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes }
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    /// Six bytes, little-endian: a table id.
    pub(crate) fn u48(&mut self) -> Result<u64, Truncated> {
        let [a, b, c, d, e, f] = self.array::<6>()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// A length-encoded integer
    /// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>); the
    /// NULL and error markers (251, 255) are no integers.
    pub(crate) fn lenenc(&mut self) -> Result<u64, Truncated> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            252 => Ok(u64::from(self.u16()?)),
            253 => {
                let [a, b, c] = self.array::<3>()?;
                Ok(u64::from(u32::from_le_bytes([a, b, c, 0])))
            }
            254 => self.array().map(u64::from_le_bytes),
            251 | 255 => Err(Truncated),
        }
    }

    /// A length-encoded integer that counts things in memory.
    pub(crate) fn lenenc_size(&mut self) -> Result<usize, Truncated> {
        usize::try_from(self.lenenc()?).map_err(|_| Truncated)
    }

    /// Bytes behind their length-encoded length.
    pub(crate) fn lenenc_bytes(&mut self) -> Result<&'a [u8], Truncated> {
        let length = self.lenenc_size()?;
        self.take(length)
    }
}

/// A big-endian number of at most eight bytes.
pub(crate) fn be_uint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// A little-endian number of at most eight bytes.
pub(crate) fn le_uint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_width() {
        for (bytes, expected) in [
            (&[250][..], 250),
            (&[252, 0xfb, 0], 251),
            (&[253, 1, 0, 1], 65_537),
            (&[254, 0, 0, 0, 0, 1, 0, 0, 0], 1 << 32),
        ] {
            let mut cursor = Cursor::new(bytes);
            assert_eq!(cursor.lenenc(), Ok(expected));
            assert!(cursor.is_empty());
            for end in 0..bytes.len() {
                assert_eq!(Cursor::new(&bytes[..end]).lenenc(), Err(Truncated));
            }
        }
        assert_eq!(Cursor::new(&[251]).lenenc(), Err(Truncated));
        assert_eq!(Cursor::new(&[255]).lenenc(), Err(Truncated));
    }

    #[test]
    fn numbers_of_odd_widths() {
        assert_eq!(be_uint(&[1, 2, 3]), 0x01_02_03);
        assert_eq!(le_uint(&[1, 2, 3]), 0x03_02_01);
        assert_eq!(Cursor::new(&[1, 0, 0, 0, 0, 2]).u48(), Ok(0x0200_0000_0001));
    }
}
