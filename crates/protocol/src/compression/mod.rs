//! The codecs of record batches.
//!
//! Decompression streams: [`Decompressor`] gives out one piece after the other and stops with an
//! error as soon as more comes out than its limit, so that a small batch cannot become a large
//! allocation. [`Workspace`] keeps what is costly to make anew for each batch (the contexts of
//! Zstandard, the tables of Snappy); a caller keeps one for each thread, or a pool of them.

mod decompressor;
mod error;
mod gzip;
mod lz4;
mod snappy;
mod workspace;
mod zstd;

#[cfg(test)]
mod tests;

pub use decompressor::Decompressor;
pub use error::CompressionError;
pub use workspace::Workspace;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy in the framing of the Java library.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// All codecs, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with the number that a batch's attributes hold.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The number of this codec.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The name that producers' settings use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of a name, as [`Codec::name`] gives it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The levels that this codec takes, smallest and largest; gzip takes -1 besides.
    #[must_use]
    pub const fn levels(self) -> (i32, i32) {
        match self {
            Self::None | Self::Snappy => (0, 0),
            Self::Gzip => (1, 9),
            Self::Lz4 => (1, 17),
            Self::Zstd => (-131_072, 22),
        }
    }

    /// The level that is used where none is set.
    #[must_use]
    pub const fn default_level(self) -> i32 {
        match self {
            Self::None | Self::Snappy => 0,
            Self::Gzip => -1,
            Self::Lz4 => 9,
            Self::Zstd => 3,
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A codec and how hard it is to try.
///
/// LZ4 levels are taken over and change nothing: the library has one compressor, the fast one, so
/// that what Apache Kafka's default of 9 makes a little smaller is made faster here. Every level's
/// output is readable by every client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compression {
    codec: Codec,
    level: i32,
}

impl Compression {
    /// No compression.
    pub const NONE: Self = Self {
        codec: Codec::None,
        level: 0,
    };

    /// The codec at its default level.
    #[must_use]
    pub const fn new(codec: Codec) -> Self {
        Self {
            codec,
            level: codec.default_level(),
        }
    }

    /// The codec at a level of its range.
    pub fn with_level(codec: Codec, level: i32) -> Result<Self, CompressionError> {
        let (smallest, largest) = codec.levels();
        if (smallest..=largest).contains(&level) || level == codec.default_level() {
            Ok(Self { codec, level })
        } else {
            Err(CompressionError::InvalidLevel { codec, level })
        }
    }

    /// The codec.
    #[must_use]
    pub const fn codec(self) -> Codec {
        self.codec
    }

    /// The level.
    #[must_use]
    pub const fn level(self) -> i32 {
        self.level
    }
}
