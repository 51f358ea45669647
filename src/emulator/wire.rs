//! Reads protobuf's wire form without knowing the message: fields as they come, borrowed, and an error for
//! anything that is not well formed. Rows arrive as messages of types that only their sender knows.

/// One field's value as it lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the message ends within a field")]
    Short,
    #[error("a variable-length number is longer than 64 bits")]
    Varint,
    #[error("field number 0")]
    Number,
    #[error("a field of wire type {0}")]
    Type(u8),
}

/// The fields of a message, in order. Ends after an error.
#[derive(Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Fields<'a> {
        Fields(message)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// The next variable-length number.
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array::<1>()?;
            let part = u64::from(byte & 0x7F);
            if shift == 63 && part > 1 {
                return Err(WireError::Varint);
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }

    fn field(&mut self) -> Result<(u32, Raw<'a>), WireError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(WireError::Number)?;
        let raw = match tag & 7 {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(self.array()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Short)?;
                Raw::Bytes(self.take(length)?)
            }
            5 => Raw::Fixed32(self.array()?),
            other => return Err(WireError::Type(u8::try_from(other).unwrap_or(u8::MAX))),
        };
        Ok((number, raw))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Raw<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Raw<'_>)>, WireError> {
        Fields::new(bytes).collect()
    }

    #[test]
    fn every_wire_type() {
        let bytes = [
            0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1D, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8,
        ];
        assert_eq!(
            all(&bytes).unwrap(),
            [
                (1, Raw::Varint(150)),
                (2, Raw::Bytes(b"hi")),
                (3, Raw::Fixed32([1, 2, 3, 4])),
                (4, Raw::Fixed64([1, 2, 3, 4, 5, 6, 7, 8])),
            ]
        );
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        assert_eq!(all(&[0x08]), Err(WireError::Short));
        assert_eq!(all(&[0x12, 5, 1]), Err(WireError::Short));
        assert_eq!(all(&[0x00, 1]), Err(WireError::Number));
        assert_eq!(all(&[0x0B]), Err(WireError::Type(3)));
        assert_eq!(
            all(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]),
            Err(WireError::Varint)
        );
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let fields = Fields::new(&bytes).count();
            prop_assert!(fields <= bytes.len());
        }
    }
}
