//! Cuts frames out of the bytes that a peer sends.

use bytes::{Buf, BytesMut};

/// Bytes in front of a frame that tell its size.
const SIZE_BYTES: usize = 4;
/// What a connection reserves before it knows better.
const READ_BYTES_MIN: usize = 16 * 1024;
/// Above this a buffer is given back while the peer is silent.
const RETAINED_BYTES_MAX: usize = 64 * 1024;

/// Why a peer's bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {size} bytes, where 0 to {max} are allowed")]
    Size { size: i32, max: usize },
}

/// The bytes of a connection that make no whole frame yet.
///
/// The buffer grows as bytes arrive, in proportion to what is there: a size that a peer claims reserves nothing.
#[derive(Debug)]
pub(super) struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

impl FrameReader {
    pub(super) fn new(frame_bytes_max: usize) -> FrameReader {
        FrameReader {
            buffer: BytesMut::new(),
            frame_bytes_max,
        }
    }

    /// The next whole frame, without its size.
    pub(super) fn next_frame(&mut self) -> Result<Option<BytesMut>, FrameError> {
        let Some(size) = self.frame_size()? else {
            return Ok(None);
        };
        if self.buffer.len() < SIZE_BYTES + size {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(SIZE_BYTES + size);
        frame.advance(SIZE_BYTES);
        Ok(Some(frame))
    }

    /// Room for the next bytes of the peer.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        let present = self.buffer.len();
        let wanted = match self.frame_size() {
            Ok(Some(size)) => SIZE_BYTES + size,
            _ => READ_BYTES_MIN,
        };
        let target = wanted.min((present * 2).max(READ_BYTES_MIN));
        let additional = target.saturating_sub(present).max(1);
        if self.buffer.capacity() - present < additional {
            self.buffer.reserve(additional);
        }
        &mut self.buffer
    }

    /// Whether the peer is in the middle of a frame.
    pub(super) fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether silence should give memory back.
    pub(super) fn retains_much(&self) -> bool {
        self.buffer.is_empty() && self.buffer.capacity() > RETAINED_BYTES_MAX
    }

    /// Gives the buffer back.
    pub(super) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    fn frame_size(&self) -> Result<Option<usize>, FrameError> {
        let Some(Ok(size)) = self.buffer.get(..SIZE_BYTES).map(<[u8; 4]>::try_from) else {
            return Ok(None);
        };
        let size = i32::from_be_bytes(size);
        match usize::try_from(size) {
            Ok(length) if length <= self.frame_bytes_max => Ok(Some(length)),
            _ => Err(FrameError::Size {
                size,
                max: self.frame_bytes_max,
            }),
        }
    }
}
