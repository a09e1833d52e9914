use super::RecordError;

/// Reads the fields of records from a slice, never beyond its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

/// Why a field cannot be read. It is small, since it is checked at every field of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The slice ends within the field.
    Ends,
    /// A variable-length integer has more bytes than any has.
    LongVarint,
}

impl From<Fault> for RecordError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Ends => Self::InvalidRecord("it ends within a field"),
            Fault::LongVarint => Self::InvalidRecord("a variable-length integer does not end"),
        }
    }
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::Ends)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Fault::Ends)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        let (&byte, rest) = self.rest.split_first().ok_or(Fault::Ends)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn i8(&mut self) -> Result<i8, Fault> {
        Ok(self.byte()?.cast_signed())
    }

    #[inline]
    pub(super) fn i16(&mut self) -> Result<i16, Fault> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn i32(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn i64(&mut self) -> Result<i64, Fault> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A zigzag variable-length integer of at most five bytes.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<i32, Fault> {
        let first = self.byte()?;
        let mut value = u32::from(first & 0x7f);
        if first & 0x80 != 0 {
            value |= self.more_of_varint()?;
        }
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    fn more_of_varint(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for shift in [7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::LongVarint)
    }

    /// A zigzag variable-length integer of at most ten bytes.
    #[inline]
    pub(super) fn varlong(&mut self) -> Result<i64, Fault> {
        let first = self.byte()?;
        let mut value = u64::from(first & 0x7f);
        if first & 0x80 != 0 {
            value |= self.more_of_varlong()?;
        }
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    fn more_of_varlong(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in [7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::LongVarint)
    }

    /// Bytes preceded by their length as a varint; `None` for a negative length.
    #[inline]
    pub(super) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        match usize::try_from(self.varint()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }
}
