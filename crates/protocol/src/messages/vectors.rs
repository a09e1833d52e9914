//! Files of messages as bytes, exchanged with Apache Kafka's own classes: one entry after another,
//! each the message's name (two bytes of length, then UTF-8), its version (two bytes), the number
//! of bytes (four), and the bytes. In a file of crossings each entry is followed by the same
//! message in another version, without bytes where Apache Kafka refuses to write it.

use bytes::Bytes;

use super::every::{AnyMessage, RecodeError, every_message};
use super::random::Random;
use crate::codec::{DecodeError, EncodeError, Reader, Writer};
use crate::string::KafkaString;

/// A message as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Kafka's name of the message.
    pub name: KafkaString,
    /// The version it is in.
    pub version: i16,
    /// The bytes, unless the message can't be written in this version.
    pub bytes: Option<Bytes>,
}

impl Vector {
    /// The messages of a file.
    pub fn read_all(file: Bytes) -> Result<Vec<Self>, DecodeError> {
        let mut reader = Reader::new(file);
        let mut vectors = Vec::new();
        while reader.remaining() > 0 {
            vectors.push(Self {
                name: reader.read_string(false)?.unwrap_or_default(),
                version: reader.read_i16()?,
                bytes: reader.read_bytes(false)?,
            });
        }
        Ok(vectors)
    }

    /// The file of random messages, so many of every version.
    pub fn random_file(seed: u64, rounds: usize) -> Result<Bytes, EncodeError> {
        let mut random = Random::new(seed);
        let mut writer = Writer::new();
        for message in every_message() {
            for version in message.versions.iter() {
                for _ in 0..rounds {
                    let bytes = (message.random)(&mut random, version)?;
                    writer.write_string(false, Some(message.name))?;
                    writer.write_i16(version);
                    writer.write_bytes(false, Some(&bytes))?;
                }
            }
        }
        Ok(writer.into_bytes())
    }

    /// What is wrong with the bytes, if anything: they must be a message that is written in the
    /// same bytes again.
    #[must_use]
    pub fn difference(&self) -> Option<String> {
        self.difference_to(self)
    }

    /// What is wrong, if anything: this message must be written in the version of the other in
    /// the bytes of the other, or refused if that has none.
    #[must_use]
    pub fn difference_to(&self, other: &Self) -> Option<String> {
        let subject = format!(
            "{} version {} as {}",
            self.name, self.version, other.version
        );
        let message: AnyMessage = match every_message().into_iter().find(|m| self.name == m.name) {
            Some(message) => message,
            None => return Some(format!("{} is unknown", self.name)),
        };
        let bytes = self.bytes.clone().unwrap_or_default();
        match (
            (message.cross)(bytes, self.version, other.version),
            &other.bytes,
        ) {
            (Ok(written), Some(expected)) if written == expected => None,
            (Err(RecodeError::Encode(_)), None) => None,
            (outcome, expected) => Some(format!(
                "{subject}: {:?} gives {outcome:?}, Apache Kafka {expected:?}",
                self.bytes
            )),
        }
    }
}
