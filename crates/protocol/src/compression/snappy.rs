//! Snappy as the Java library frames it: a header, then blocks, each preceded by its length.
//!
//! Other clients write a single raw Snappy block without any framing; both are read.

use super::{Codec, CompressionError};

/// Eight bytes that open the framing, then its version and the oldest compatible version.
const HEADER: [u8; 16] = [
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];
const MAGIC_BYTES: usize = 8;
const BLOCK_BYTES: usize = 32 << 10;
/// No Snappy element makes more than 64 bytes of 3.
const EXPANSION_MAX: usize = 22;

#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    framed: bool,
}

fn corrupt(reason: &'static str) -> CompressionError {
    CompressionError::corrupt(Codec::Snappy, reason)
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        let framed = input.get(..MAGIC_BYTES) == HEADER.get(..MAGIC_BYTES);
        Self {
            rest: input,
            framed,
        }
    }

    /// The next raw block; headers in between, as concatenated streams have them, are passed over.
    fn next_block(&mut self) -> Result<Option<&'a [u8]>, CompressionError> {
        if !self.framed {
            let block = std::mem::take(&mut self.rest);
            return Ok((!block.is_empty()).then_some(block));
        }
        while self.rest.get(..MAGIC_BYTES) == HEADER.get(..MAGIC_BYTES) {
            self.rest = match self.rest.split_at_checked(HEADER.len()) {
                Some((_, rest)) => rest,
                None => {
                    return Err(CompressionError::Truncated {
                        codec: Codec::Snappy,
                    });
                }
            };
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let truncated = CompressionError::Truncated {
            codec: Codec::Snappy,
        };
        let Some((length, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(truncated);
        };
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| corrupt("negative block length"))?;
        let Some((block, rest)) = rest.split_at_checked(length) else {
            return Err(truncated);
        };
        self.rest = rest;
        Ok(Some(block))
    }

    pub(super) fn read_into(
        &mut self,
        output: &mut Vec<u8>,
        room: usize,
    ) -> Result<(), CompressionError> {
        let before = output.len();
        while output.len() == before {
            let Some(block) = self.next_block()? else {
                return Ok(());
            };
            let length = snap::raw::decompress_len(block).map_err(|_| corrupt("invalid length"))?;
            if length > block.len().saturating_mul(EXPANSION_MAX) {
                return Err(corrupt("a block claims more than it can hold"));
            }
            if length >= room {
                // What is appended only shows that there is too much.
                output.resize(before + room, 0);
                return Ok(());
            }
            output.resize(before + length, 0);
            let target = output.get_mut(before..).unwrap_or_default();
            let written = snap::raw::Decoder::new().decompress(block, target);
            if written != Ok(length) {
                return Err(corrupt("invalid block"));
            }
        }
        Ok(())
    }
}

pub(super) fn compress(
    encoder: &mut snap::raw::Encoder,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let failed = |reason| CompressionError::Failed {
        codec: Codec::Snappy,
        reason,
    };
    output.extend_from_slice(&HEADER);
    for block in input.chunks(BLOCK_BYTES) {
        let at = output.len();
        let start = at + 4;
        output.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let target = output.get_mut(start..).unwrap_or_default();
        let length = encoder
            .compress(block, target)
            .map_err(|_| failed("invalid block"))?;
        output.truncate(start + length);
        let prefix = i32::try_from(length)
            .map_err(|_| failed("block too long"))?
            .to_be_bytes();
        if let Some(slot) = output.get_mut(at..start) {
            slot.copy_from_slice(&prefix);
        }
    }
    Ok(())
}
