//! Why bytes are no message, and why a message has no bytes.

/// The bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end within a value.
    #[error("{needed} bytes were expected where {remaining} remain")]
    UnexpectedEnd {
        /// The bytes that the value takes.
        needed: usize,
        /// The bytes that are there.
        remaining: usize,
    },
    /// A length is negative or greater than allowed.
    #[error("invalid length {length} of {of}")]
    InvalidLength {
        /// What has the length.
        of: &'static str,
        /// The length on the wire.
        length: i64,
    },
    /// A variable-length number goes on after its last possible byte.
    #[error("a variable-length number is longer than {bytes_max} bytes")]
    VarintTooLong {
        /// The most bytes that it may have.
        bytes_max: usize,
    },
    /// A field that must have a value is null.
    #[error("field {field} is null")]
    UnexpectedNull {
        /// The field, after its structure.
        field: &'static str,
    },
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// The message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A tagged field stands in a version that does not have it.
    #[error("tag {tag} of {structure} is not valid in version {version}")]
    InvalidTag {
        /// The structure that holds the field.
        structure: &'static str,
        /// The tag.
        tag: u32,
        /// The version of the message.
        version: i16,
    },
    /// A tagged field is shorter or longer than its size says.
    #[error("tag {tag} has size {size}, its value took {taken} bytes")]
    TaggedFieldSize {
        /// The tag.
        tag: u32,
        /// The size on the wire.
        size: usize,
        /// The bytes that the value took.
        taken: usize,
    },
    /// Bytes follow where the message should end.
    #[error("{count} bytes follow the end of the message")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A record's frame version is not one that is known.
    #[error("unsupported frame version {0}")]
    UnsupportedFrameVersion(u32),
    /// No record or key has this type.
    #[error("unknown record type {0}")]
    UnknownRecordType(i32),
    /// No API has this key.
    #[error("unknown API key {0}")]
    UnknownApiKey(i16),
}

/// The message can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A value is longer than its length field can say.
    #[error("{of} of length {length} is too long")]
    TooLong {
        /// What is too long.
        of: &'static str,
        /// Its length.
        length: usize,
    },
    /// A field is set that the version does not have, and that may not be passed over.
    #[error("field {field} is set, but version {version} does not have it")]
    FieldNotInVersion {
        /// The field, after its structure.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null in a version that does not allow it.
    #[error("field {field} is null, which version {version} does not allow")]
    NullNotAllowed {
        /// The field, after its structure.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Unknown tagged fields are set, but the version has none.
    #[error("{structure} has tagged fields, but version {version} does not have any")]
    TagsNotInVersion {
        /// The structure that holds them.
        structure: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Unknown tagged fields are out of order, repeated, or use the tag of a known one.
    #[error("unknown tagged field {tag} is out of order or known")]
    TagOutOfOrder {
        /// The tag.
        tag: u32,
    },
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// The message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}
