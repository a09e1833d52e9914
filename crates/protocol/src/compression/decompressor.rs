use super::{Codec, CompressionError, gzip, lz4, snappy, zstd};

/// Decompresses a slice piece by piece, up to a limit.
#[derive(Debug)]
pub struct Decompressor<'a> {
    source: Source<'a>,
    produced: usize,
    limit: usize,
}

#[derive(Debug)]
enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(Box<gzip::Reader<'a>>),
    Snappy(snappy::Reader<'a>),
    Lz4(lz4::Reader<'a>),
    Zstd(zstd::Reader<'a>),
}

/// How much of an uncompressed source is handed over at once.
const PLAIN_PIECE_BYTES: usize = 64 << 10;

impl<'a> Decompressor<'a> {
    /// Starts to decompress `input`, of which no more than `limit` bytes may come.
    #[must_use]
    pub fn new(codec: Codec, input: &'a [u8], limit: usize) -> Self {
        Self::with_context(codec, input, limit, None)
    }

    /// As [`Decompressor::new`] for message format v0, whose LZ4 frames have a wrong header checksum.
    #[must_use]
    pub fn for_message_format_v0(codec: Codec, input: &'a [u8], limit: usize) -> Self {
        match codec {
            Codec::Lz4 => Self {
                source: Source::Lz4(lz4::Reader::lenient(input)),
                produced: 0,
                limit,
            },
            _ => Self::new(codec, input, limit),
        }
    }

    pub(super) fn with_context(
        codec: Codec,
        input: &'a [u8],
        limit: usize,
        context: Option<zstd::Context>,
    ) -> Self {
        let source = match codec {
            Codec::None => Source::Plain(input),
            Codec::Gzip => Source::Gzip(Box::new(gzip::Reader::new(input))),
            Codec::Snappy => Source::Snappy(snappy::Reader::new(input)),
            Codec::Lz4 => Source::Lz4(lz4::Reader::new(input)),
            Codec::Zstd => Source::Zstd(zstd::Reader::new(input, context.unwrap_or_default())),
        };
        Self {
            source,
            produced: 0,
            limit,
        }
    }

    pub(super) fn into_context(self) -> Option<zstd::Context> {
        match self.source {
            Source::Zstd(reader) => Some(reader.into_context()),
            _ => None,
        }
    }

    /// Appends the next piece to `output` and says how long it is; 0 at the end.
    ///
    /// Fails once more than the limit has come out, having appended little beyond it at most.
    pub fn read_into(&mut self, output: &mut Vec<u8>) -> Result<usize, CompressionError> {
        let before = output.len();
        // One byte beyond the limit is room enough to see that the limit is exceeded.
        let room = (self.limit - self.produced).saturating_add(1);
        match &mut self.source {
            Source::Plain(rest) => {
                let (piece, later) = rest.split_at(rest.len().min(PLAIN_PIECE_BYTES).min(room));
                output.extend_from_slice(piece);
                *rest = later;
            }
            Source::Gzip(reader) => reader.read_into(output, room)?,
            Source::Snappy(reader) => reader.read_into(output, room)?,
            Source::Lz4(reader) => reader.read_into(output, room)?,
            Source::Zstd(reader) => reader.read_into(output, room)?,
        }
        let length = output.len() - before;
        if length >= room {
            return Err(CompressionError::LimitExceeded { limit: self.limit });
        }
        self.produced += length;
        Ok(length)
    }
}
