use std::io::{Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Codec, CompressionError};

const PIECE_BYTES: u64 = 32 << 10;

pub(super) struct Reader<'a> {
    decoder: MultiGzDecoder<&'a [u8]>,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("gzip::Reader").finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            decoder: MultiGzDecoder::new(input),
        }
    }

    pub(super) fn read_into(
        &mut self,
        output: &mut Vec<u8>,
        room: usize,
    ) -> Result<(), CompressionError> {
        let piece = u64::try_from(room).unwrap_or(u64::MAX).min(PIECE_BYTES);
        match (&mut self.decoder).take(piece).read_to_end(output) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(CompressionError::Truncated { codec: Codec::Gzip })
            }
            Err(_) => Err(CompressionError::corrupt(Codec::Gzip, "invalid stream")),
        }
    }
}

pub(super) fn compress(
    level: i32,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    // -1 is zlib's own default.
    let level = u32::try_from(level).map_or(flate2::Compression::default(), |level| {
        flate2::Compression::new(level.min(9))
    });
    let mut encoder = GzEncoder::new(output, level);
    encoder
        .write_all(input)
        .and_then(|()| encoder.try_finish())
        .map_err(|_| CompressionError::Failed {
            codec: Codec::Gzip,
            reason: "write failed",
        })
}
