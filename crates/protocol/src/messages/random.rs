//! Random messages from a seed, for tests here and in conformance.

use bytes::Bytes;

use crate::codec::{Message, RawTaggedField};
use crate::string::KafkaString;
use crate::uuid::Uuid;

/// A structure that can be filled at random.
pub trait RandomStructure: Sized {
    /// Fills every field that the version has; the others keep their defaults.
    fn random(random: &mut Random, version: i16) -> Self;
}

/// A message that can be filled at random: every one.
pub trait RandomMessage: Message + RandomStructure {}

impl<T: Message + RandomStructure> RandomMessage for T {}

/// A source of random values (splitmix64); the same seed gives the same values.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
    depth: u32,
}

macro_rules! number {
    ($($name:ident -> $type:ty;)*) => {
        $(
            /// A number, often an extreme one.
            pub fn $name(&mut self) -> $type {
                match self.below(6) {
                    0 => <$type>::MIN,
                    1 => <$type>::MAX,
                    2 => <$type>::from(self.bool()),
                    _ => {
                        let bytes = self.next().to_le_bytes();
                        let mut exact = [0; size_of::<$type>()];
                        exact.copy_from_slice(&bytes[..size_of::<$type>()]);
                        <$type>::from_le_bytes(exact)
                    }
                }
            }
        )*
    };
}

impl Random {
    /// A source with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            depth: 0,
        }
    }

    /// The next 64 bits.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, so it is no iterator"
    )]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = limit as u64;
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    number! {
        i8 -> i8;
        i16 -> i16;
        u16 -> u16;
        i32 -> i32;
        u32 -> u32;
        i64 -> i64;
    }

    /// A truth value.
    pub fn bool(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    /// A number that is finite, so that it equals itself.
    pub fn f64(&mut self) -> f64 {
        f64::from(self.i32()) / 256.0
    }

    /// A UUID.
    pub fn uuid(&mut self) -> Uuid {
        if self.one_in(8) {
            Uuid::ZERO
        } else {
            Uuid::from_halves(self.next(), self.next())
        }
    }

    /// Text, now and then empty or too long for a length of one byte.
    pub fn string(&mut self) -> KafkaString {
        const PIECES: [&str; 8] = ["a", "Z", "0", "-", ".", "é", "日", "🦀"];
        let length = self.length();
        let text: String = (0..length)
            .map(|_| PIECES[self.below(PIECES.len())])
            .collect();
        text.into()
    }

    /// Bytes, now and then none or too many for a length of one byte.
    pub fn bytes(&mut self) -> Bytes {
        let length = self.length();
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn length(&mut self) -> usize {
        match self.below(16) {
            0 => 0,
            1 => 60 + self.below(100),
            _ => 1 + self.below(8),
        }
    }

    /// A short array; the deeper, the shorter.
    pub fn array<T>(&mut self, element: impl Fn(&mut Self) -> T) -> Vec<T> {
        let limit = if self.depth < 2 { 4 } else { 3 };
        let length = self.below(limit);
        self.depth += 1;
        let array = (0..length).map(|_| element(self)).collect();
        self.depth -= 1;
        array
    }

    /// Tagged fields that no release knows.
    pub fn unknown_tagged_fields(&mut self) -> Vec<RawTaggedField> {
        if !self.one_in(8) {
            return Vec::new();
        }
        vec![
            RawTaggedField {
                tag: 5_000,
                data: self.bytes(),
            },
            RawTaggedField {
                tag: 70_000,
                data: self.bytes(),
            },
        ]
    }
}
