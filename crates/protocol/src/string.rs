//! Text that shares the buffer it was read from.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

/// UTF-8 text over [`Bytes`]: cloning it copies no character.
///
/// Text read from a frame keeps that frame's buffer alive. Where it outlives the request,
/// [`KafkaString::detached`] gives a copy that does not.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KafkaString(ByteString);

impl KafkaString {
    /// Empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self(ByteString::new())
    }

    /// Text that points at a constant.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// Takes bytes as text; like Java, puts U+FFFD where they are not UTF-8.
    #[must_use]
    pub fn from_bytes_lossy(bytes: &Bytes) -> Self {
        match ByteString::try_from(bytes.clone()) {
            Ok(text) => Self(text),
            Err(_) => Self::from(String::from_utf8_lossy(bytes).into_owned()),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes of the text, sharing its buffer.
    #[must_use]
    pub fn as_bytes_shared(&self) -> Bytes {
        self.0.as_bytes().clone()
    }

    /// A copy in a buffer of its own, that keeps no frame alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self::from(self.as_str())
    }
}

impl Deref for KafkaString {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for KafkaString {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for KafkaString {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Borrow<str> for KafkaString {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for KafkaString {
    fn from(text: &str) -> Self {
        Self(ByteString::from(text))
    }
}

impl From<String> for KafkaString {
    fn from(text: String) -> Self {
        Self(ByteString::from(text))
    }
}

impl From<&String> for KafkaString {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<KafkaString> for String {
    fn from(text: KafkaString) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for KafkaString {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for KafkaString {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<KafkaString> for str {
    fn eq(&self, other: &KafkaString) -> bool {
        self == other.as_str()
    }
}

impl PartialEq<KafkaString> for &str {
    fn eq(&self, other: &KafkaString) -> bool {
        *self == other.as_str()
    }
}

impl PartialEq<String> for KafkaString {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Display for KafkaString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for KafkaString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        let text = KafkaString::from_bytes_lossy(&Bytes::from_static(b"a\xffb"));
        assert_eq!(text, "a\u{fffd}b");
    }

    #[test]
    fn a_clone_shares_the_buffer_and_a_detached_copy_does_not() {
        let text = KafkaString::from("topic".to_owned());
        assert_eq!(text.clone().as_ptr(), text.as_ptr());
        assert_ne!(text.detached().as_ptr(), text.as_ptr());
    }
}
