use super::{Codec, Compression, CompressionError, Decompressor, gzip, lz4, snappy, zstd};

/// What is reused from batch to batch: contexts of the codecs and a buffer for decompressed bytes.
///
/// Making a Zstandard context costs more than compressing a small batch with it.
#[derive(Default)]
pub struct Workspace {
    zstd_compressor: Option<zstd::Compressor>,
    zstd_decompressor: Option<zstd::Context>,
    snappy_encoder: Option<snap::raw::Encoder>,
    buffers: Vec<Vec<u8>>,
}

/// A buffer that grew beyond this is not kept.
const KEPT_BUFFER_BYTES_MAX: usize = 4 << 20;
/// More buffers than this are not kept.
const KEPT_BUFFERS_MAX: usize = 2;

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}

impl Workspace {
    /// A workspace that makes its contexts when they are first needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `input`, compressed, to `output`.
    pub fn compress(
        &mut self,
        compression: Compression,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        match compression.codec() {
            Codec::None => {
                output.extend_from_slice(input);
                Ok(())
            }
            Codec::Gzip => gzip::compress(compression.level(), input, output),
            Codec::Snappy => snappy::compress(
                self.snappy_encoder
                    .get_or_insert_with(snap::raw::Encoder::new),
                input,
                output,
            ),
            Codec::Lz4 => lz4::compress(input, output),
            Codec::Zstd => self.zstd_compressor.get_or_insert_default().compress(
                compression.level(),
                input,
                output,
            ),
        }
    }

    /// Appends all of `input`, decompressed, to `output`, unless that is more than `limit` bytes.
    pub fn decompress(
        &mut self,
        codec: Codec,
        input: &[u8],
        limit: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        let mut decompressor = self.decompressor(codec, input, limit);
        let outcome = loop {
            match decompressor.read_into(output) {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        self.take_back(decompressor);
        outcome
    }

    /// Starts to decompress `input`, of which no more than `limit` bytes may come.
    pub fn decompressor<'a>(
        &mut self,
        codec: Codec,
        input: &'a [u8],
        limit: usize,
    ) -> Decompressor<'a> {
        Decompressor::with_context(codec, input, limit, self.zstd_decompressor.take())
    }

    /// Keeps the context of a decompressor that is done for the next one.
    pub fn take_back(&mut self, decompressor: Decompressor<'_>) {
        if let Some(context) = decompressor.into_context() {
            self.zstd_decompressor = Some(context);
        }
    }

    /// An empty buffer, reused if there is one.
    #[must_use]
    pub fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next one who asks, unless it is unusually large.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BUFFER_BYTES_MAX && self.buffers.len() < KEPT_BUFFERS_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}
