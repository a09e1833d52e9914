use zstd_safe::{
    CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name,
};

use super::{Codec, CompressionError};

const PIECE_BYTES: usize = 64 << 10;

/// A decompression context, reset for every batch.
pub(super) struct Context(DCtx<'static>);

impl Default for Context {
    fn default() -> Self {
        Self(DCtx::create())
    }
}

/// A compression context, reset for every batch.
pub(super) struct Compressor(CCtx<'static>);

impl Default for Compressor {
    fn default() -> Self {
        Self(CCtx::create())
    }
}

pub(super) struct Reader<'a> {
    context: Context,
    input: InBuffer<'a>,
    /// Whether the last frame is complete.
    frame_ended: bool,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("zstd::Reader").finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8], mut context: Context) -> Self {
        if context.0.reset(ResetDirective::SessionOnly).is_err() {
            context = Context::default();
        }
        Self {
            context,
            input: InBuffer::around(input),
            frame_ended: true,
        }
    }

    pub(super) fn into_context(self) -> Context {
        self.context
    }

    pub(super) fn read_into(
        &mut self,
        output: &mut Vec<u8>,
        room: usize,
    ) -> Result<(), CompressionError> {
        let all = self.input.src.len();
        if self.frame_ended && self.input.pos() == all {
            return Ok(());
        }
        let before = output.len();
        output.resize(before + room.min(PIECE_BYTES), 0);
        let mut target = OutBuffer::around(output.get_mut(before..).unwrap_or_default());
        let outcome = loop {
            let progress = (self.input.pos(), target.pos());
            match self
                .context
                .0
                .decompress_stream(&mut target, &mut self.input)
            {
                Ok(hint) => self.frame_ended = hint == 0,
                Err(code) => {
                    break Err(CompressionError::corrupt(Codec::Zstd, get_error_name(code)));
                }
            }
            if target.pos() == target.capacity() {
                break Ok(());
            }
            if self.input.pos() == all {
                let ended = self.frame_ended || target.pos() > 0;
                break ended
                    .then_some(())
                    .ok_or(CompressionError::Truncated { codec: Codec::Zstd });
            }
            if progress == (self.input.pos(), target.pos()) {
                break Err(CompressionError::corrupt(Codec::Zstd, "no progress"));
            }
        };
        let length = target.pos();
        output.truncate(before + length);
        outcome
    }
}

impl Compressor {
    pub(super) fn compress(
        &mut self,
        level: i32,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        let failed = |code| CompressionError::Failed {
            codec: Codec::Zstd,
            reason: get_error_name(code),
        };
        self.0
            .reset(ResetDirective::SessionAndParameters)
            .map_err(failed)?;
        self.0
            .set_parameter(CParameter::CompressionLevel(level))
            .map_err(failed)?;
        let before = output.len();
        output.resize(before + compress_bound(input.len()), 0);
        let target = output.get_mut(before..).unwrap_or_default();
        let length = self.0.compress2(target, input).map_err(failed)?;
        output.truncate(before + length);
        Ok(())
    }
}
