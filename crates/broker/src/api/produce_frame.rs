//! A produce request as it lies in its frame: names and numbers are read, records stay where they are.

use std::ops::Range;

use ottla_protocol::Uuid;

/// Why a frame is no produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProduceFrameError {
    #[error("the request ends too early")]
    Truncated,
    #[error("a length makes no sense")]
    InvalidLength,
    #[error("a string is not UTF-8")]
    InvalidString,
}

/// A topic of a produce request: by name up to version 12, by id from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicFrame {
    pub(super) name: Range<usize>,
    pub(super) id: Uuid,
    pub(super) partitions: Vec<PartitionFrame>,
}

/// A partition's records; no range if they are null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartitionFrame {
    pub(super) index: i32,
    pub(super) records: Option<Range<usize>>,
}

/// A produce request without its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProduceFrame {
    pub(super) transactional_id: Option<Range<usize>>,
    pub(super) acks: i16,
    pub(super) timeout_ms: i32,
    pub(super) topics: Vec<TopicFrame>,
}

impl ProduceFrame {
    /// Reads the body of a produce request of this version.
    pub(super) fn parse(body: &[u8], version: i16) -> Result<ProduceFrame, ProduceFrameError> {
        let mut reader = FrameReader {
            body,
            position: 0,
            flexible: version >= 9,
        };
        let transactional_id = reader.string()?;
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let topics = reader.array(|reader| reader.topic(version))?;
        reader.tagged_fields()?;
        Ok(ProduceFrame {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }
}

struct FrameReader<'a> {
    body: &'a [u8],
    position: usize,
    flexible: bool,
}

impl FrameReader<'_> {
    fn take(&mut self, length: usize) -> Result<Range<usize>, ProduceFrameError> {
        let end = self
            .position
            .checked_add(length)
            .filter(|end| *end <= self.body.len())
            .ok_or(ProduceFrameError::Truncated)?;
        let range = self.position..end;
        self.position = end;
        Ok(range)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ProduceFrameError> {
        let range = self.take(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.body[range]);
        Ok(bytes)
    }

    fn i16(&mut self) -> Result<i16, ProduceFrameError> {
        self.bytes().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, ProduceFrameError> {
        self.bytes().map(i32::from_be_bytes)
    }

    fn unsigned_varint(&mut self) -> Result<usize, ProduceFrameError> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.bytes()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_| ProduceFrameError::InvalidLength);
            }
        }
        Err(ProduceFrameError::InvalidLength)
    }

    fn compact_length(&mut self) -> Result<Option<usize>, ProduceFrameError> {
        Ok(self.unsigned_varint()?.checked_sub(1))
    }

    fn length(&mut self) -> Result<Option<usize>, ProduceFrameError> {
        if self.flexible {
            return self.compact_length();
        }
        match self.i32()? {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| ProduceFrameError::InvalidLength),
        }
    }

    fn string(&mut self) -> Result<Option<Range<usize>>, ProduceFrameError> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            match self.i16()? {
                -1 => None,
                length => {
                    Some(usize::try_from(length).map_err(|_| ProduceFrameError::InvalidLength)?)
                }
            }
        };
        let Some(length) = length else {
            return Ok(None);
        };
        let range = self.take(length)?;
        match std::str::from_utf8(&self.body[range.clone()]) {
            Ok(_) => Ok(Some(range)),
            Err(_) => Err(ProduceFrameError::InvalidString),
        }
    }

    fn array<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, ProduceFrameError>,
    ) -> Result<Vec<T>, ProduceFrameError> {
        let length = self.length()?.ok_or(ProduceFrameError::InvalidLength)?;
        let mut elements = Vec::with_capacity(length.min(16));
        for _ in 0..length {
            elements.push(read(self)?);
        }
        Ok(elements)
    }

    fn topic(&mut self, version: i16) -> Result<TopicFrame, ProduceFrameError> {
        let (name, id) = if version >= 13 {
            (0..0, Uuid(self.bytes()?))
        } else {
            let name = self.string()?.ok_or(ProduceFrameError::InvalidLength)?;
            (name, Uuid::ZERO)
        };
        let partitions = self.array(Self::partition)?;
        self.tagged_fields()?;
        Ok(TopicFrame {
            name,
            id,
            partitions,
        })
    }

    fn partition(&mut self) -> Result<PartitionFrame, ProduceFrameError> {
        let index = self.i32()?;
        let records = match self.length()? {
            Some(length) => Some(self.take(length)?),
            None => None,
        };
        self.tagged_fields()?;
        Ok(PartitionFrame { index, records })
    }

    fn tagged_fields(&mut self) -> Result<(), ProduceFrameError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let size = self.unsigned_varint()?;
            self.take(size)?;
        }
        Ok(())
    }
}
