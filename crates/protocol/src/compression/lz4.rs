//! LZ4 frames as Apache Kafka writes them: independent blocks of 64 KiB, no checksum of content.
//!
//! Read is what Apache Kafka's own reader takes: independent blocks of any size that the format
//! knows, optionally with block checksums, a content size and a content checksum (which is passed
//! over). Frames of message format v0 may have a wrong header checksum, which old clients
//! computed over too much: [`Reader::lenient`] does not look at it.

use super::{Codec, CompressionError};

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const FLAG_VERSION: u8 = 0b0100_0000;
const FLAG_VERSION_MASK: u8 = 0b1100_0000;
const FLAG_BLOCKS_INDEPENDENT: u8 = 0b0010_0000;
const FLAG_BLOCK_CHECKSUM: u8 = 0b0001_0000;
const FLAG_CONTENT_SIZE: u8 = 0b0000_1000;
const FLAGS_RESERVED: u8 = 0b0000_0011;
const BLOCK_MAXIMUM_64_KIB: u8 = 4;
const BLOCK_BYTES: usize = 64 << 10;
const STORED: u32 = 1 << 31;
/// No LZ4 sequence makes more than 255 bytes of one, but for the few of its start.
const EXPANSION_MAX: usize = 256;

fn corrupt(reason: &'static str) -> CompressionError {
    CompressionError::corrupt(Codec::Lz4, reason)
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    let [_, second, ..] = twox_hash::XxHash32::oneshot(0, descriptor).to_le_bytes();
    second
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    block_bytes_max: usize,
    block_checksum: bool,
}

#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    frame: Option<Frame>,
    finished: bool,
    check_header: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            rest: input,
            frame: None,
            finished: false,
            check_header: true,
        }
    }

    /// A reader that takes any checksum of the frame's header.
    pub(super) fn lenient(input: &'a [u8]) -> Self {
        Self {
            check_header: false,
            ..Self::new(input)
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CompressionError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(CompressionError::Truncated { codec: Codec::Lz4 }),
        }
    }

    fn word(&mut self) -> Result<u32, CompressionError> {
        let mut word = [0; 4];
        word.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(word))
    }

    fn read_header(&mut self) -> Result<Frame, CompressionError> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err(corrupt("invalid magic bytes"));
        }
        let descriptor = self.rest;
        let (flags, block) = match self.take(2)? {
            &[flags, block] => (flags, block),
            _ => return Err(corrupt("invalid frame descriptor")),
        };
        if flags & FLAG_VERSION_MASK != FLAG_VERSION || flags & FLAGS_RESERVED != 0 {
            return Err(corrupt("unknown version or flags"));
        }
        if flags & FLAG_BLOCKS_INDEPENDENT == 0 {
            return Err(corrupt("dependent blocks are not supported"));
        }
        let block_bytes_max = match block >> 4 {
            size @ 4..=7 if block & 0b1111 == 0 => 1_usize << (2 * size + 8),
            _ => return Err(corrupt("invalid maximum block size")),
        };
        if flags & FLAG_CONTENT_SIZE != 0 {
            self.take(8)?;
        }
        let covered = descriptor.len() - self.rest.len();
        let expected = header_checksum(descriptor.get(..covered).unwrap_or_default());
        if self.take(1)? != [expected] && self.check_header {
            return Err(corrupt("frame descriptor checksum mismatch"));
        }
        Ok(Frame {
            block_bytes_max,
            block_checksum: flags & FLAG_BLOCK_CHECKSUM != 0,
        })
    }

    pub(super) fn read_into(
        &mut self,
        output: &mut Vec<u8>,
        room: usize,
    ) -> Result<(), CompressionError> {
        if self.finished {
            return Ok(());
        }
        let frame = match self.frame {
            Some(frame) => frame,
            None => self.read_header()?,
        };
        self.frame = Some(frame);
        let before = output.len();
        while output.len() == before {
            let word = self.word()?;
            let length = usize::try_from(word & !STORED).unwrap_or(usize::MAX);
            if length == 0 {
                self.finished = true;
                return Ok(());
            }
            if length > frame.block_bytes_max {
                return Err(corrupt("a block is longer than the frame's maximum"));
            }
            let block = self.take(length)?;
            if frame.block_checksum && self.word()? != twox_hash::XxHash32::oneshot(0, block) {
                return Err(corrupt("block checksum mismatch"));
            }
            if word & STORED != 0 {
                output.extend_from_slice(block.get(..room).unwrap_or(block));
            } else {
                decompress_block(block, frame.block_bytes_max, output, room)?;
            }
        }
        Ok(())
    }
}

fn decompress_block(
    block: &[u8],
    block_bytes_max: usize,
    output: &mut Vec<u8>,
    room: usize,
) -> Result<(), CompressionError> {
    let before = output.len();
    let capacity = block_bytes_max.min(block.len().saturating_mul(EXPANSION_MAX));
    output.resize(before + capacity.min(room), 0);
    let target = output.get_mut(before..).unwrap_or_default();
    match lz4_flex::block::decompress_into(block, target) {
        Ok(length) => {
            output.truncate(before + length);
            Ok(())
        }
        // All of the room is taken, which tells the caller that the limit is exceeded.
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room < capacity => Ok(()),
        Err(_) => Err(corrupt("invalid block")),
    }
}

pub(super) fn compress(input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressionError> {
    let failed = |reason| CompressionError::Failed {
        codec: Codec::Lz4,
        reason,
    };
    let descriptor = [
        FLAG_VERSION | FLAG_BLOCKS_INDEPENDENT,
        BLOCK_MAXIMUM_64_KIB << 4,
    ];
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&descriptor);
    output.push(header_checksum(&descriptor));
    for block in input.chunks(BLOCK_BYTES) {
        let at = output.len();
        let start = at + 4;
        output.resize(
            start + lz4_flex::block::get_maximum_output_size(block.len()),
            0,
        );
        let target = output.get_mut(start..).unwrap_or_default();
        let length = lz4_flex::block::compress_into(block, target)
            .map_err(|_| failed("no room for a block"))?;
        output.truncate(start + length);
        let mut word = u32::try_from(length).map_err(|_| failed("block too long"))?;
        if length >= block.len() {
            output.truncate(start);
            output.extend_from_slice(block);
            word = STORED | u32::try_from(block.len()).map_err(|_| failed("block too long"))?;
        }
        if let Some(slot) = output.get_mut(at..start) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
    }
    output.extend_from_slice(&[0; 4]);
    Ok(())
}
