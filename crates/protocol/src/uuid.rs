//! Kafka's UUID: sixteen bytes, shown as url-safe base64 without padding.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TEXT_LENGTH: usize = 22;

/// Sixteen bytes that identify a topic, a log directory, a cluster member or a client instance.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// No identity: what an absent topic id or directory id is on the wire.
    pub const ZERO: Self = Self([0; 16]);
    /// Reserved: the id of the metadata topic, `__cluster_metadata`.
    pub const ONE: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// A UUID from its two halves, as Java holds it.
    #[must_use]
    pub fn from_halves(most_significant: u64, least_significant: u64) -> Self {
        Self(((u128::from(most_significant) << 64) | u128::from(least_significant)).to_be_bytes())
    }

    /// The upper and the lower eight bytes as big-endian numbers.
    #[must_use]
    pub fn halves(self) -> (u64, u64) {
        let all = u128::from_be_bytes(self.0);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "each half is taken by itself"
        )]
        ((all >> 64) as u64, all as u64)
    }

    /// A version 4 UUID made of random bytes.
    #[must_use]
    pub fn from_random_bytes(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// Whether this is [`Uuid::ZERO`].
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(TEXT_LENGTH);
        for chunk in self.0.chunks(3) {
            let mut group = 0u32;
            for position in 0..3 {
                group = (group << 8) | u32::from(chunk.get(position).copied().unwrap_or(0));
            }
            for position in 0..=chunk.len() {
                let index = (group >> (18 - 6 * position)) & 0x3f;
                text.push(char::from(ALPHABET[index as usize]));
            }
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a UUID in Kafka's form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a UUID: 22 characters of url-safe base64 were expected")]
pub struct ParseUuidError(String);

impl FromStr for Uuid {
    type Err = ParseUuidError;

    /// Like Apache Kafka, takes padding at the end, and bits beyond the sixteenth byte are dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseUuidError(text.to_owned());
        let digits = text.trim_end_matches('=').as_bytes();
        if digits.len() != TEXT_LENGTH {
            return Err(error());
        }
        let mut bytes = [0; 16];
        for (group, chunk) in digits.chunks(4).enumerate() {
            let mut value = 0u32;
            for position in 0..4 {
                let digit = match chunk.get(position) {
                    Some(byte) => ALPHABET.iter().position(|c| c == byte).ok_or_else(error)?,
                    None => 0,
                };
                #[expect(clippy::cast_possible_truncation, reason = "an index below 64")]
                let digit = digit as u32;
                value = (value << 6) | digit;
            }
            let target = &mut bytes[group * 3..(group * 3 + 3).min(16)];
            let length = target.len();
            target.copy_from_slice(&value.to_be_bytes()[1..=length]);
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_url_safe_base64_without_padding() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::ONE.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
    }

    #[test]
    fn text_parses_back() {
        let mut bytes = [0; 16];
        for seed in 0..=255u8 {
            for (byte, place) in bytes.iter_mut().zip(0u8..) {
                *byte = seed.wrapping_mul(31).wrapping_add(place.wrapping_mul(17));
            }
            let uuid = Uuid(bytes);
            assert_eq!(uuid.to_string().parse(), Ok(uuid));
        }
        assert!("short".parse::<Uuid>().is_err());
        assert!("AAAAAAAAAAAAAAAAAAAA A".parse::<Uuid>().is_err());
    }

    #[test]
    fn halves_join_again() {
        let uuid = Uuid::from_halves(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        assert_eq!(
            uuid.halves(),
            (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210)
        );
    }
}
