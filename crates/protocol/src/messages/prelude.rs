//! What the generated modules use.

#![allow(unused_imports, reason = "no module uses all of it")]

pub(crate) use std::fmt;

pub(crate) use bytes::Bytes;

#[cfg(any(test, feature = "testing"))]
pub(crate) use super::random::{Random, RandomStructure};
pub(crate) use super::{Record, Request, Response};
pub(crate) use crate::api_key::ApiKey;
pub(crate) use crate::codec::{
    DecodeError, EncodeError, Message, RawTaggedField, Reader, Structure, VersionRange, Writer,
};
pub(crate) use crate::string::KafkaString;
pub(crate) use crate::uuid::Uuid;

/// Stands for a secret where a message is shown.
pub(crate) struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

pub(crate) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::UnexpectedNull { field })
}

pub(crate) fn required_unless<T>(
    value: Option<T>,
    null_allowed: bool,
    field: &'static str,
) -> Result<Option<T>, DecodeError> {
    match value {
        None if !null_allowed => Err(DecodeError::UnexpectedNull { field }),
        value => Ok(value),
    }
}

pub(crate) fn invalid_tag(structure: &'static str, tag: u32, version: i16) -> DecodeError {
    DecodeError::InvalidTag {
        structure,
        tag,
        version,
    }
}

pub(crate) fn allow_null(
    is_null: bool,
    null_allowed: bool,
    field: &'static str,
    version: i16,
) -> Result<(), EncodeError> {
    if is_null && !null_allowed {
        return Err(EncodeError::NullNotAllowed { field, version });
    }
    Ok(())
}

pub(crate) fn tags_not_in_version(structure: &'static str, version: i16) -> EncodeError {
    EncodeError::TagsNotInVersion { structure, version }
}
