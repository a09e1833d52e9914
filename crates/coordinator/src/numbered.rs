//! How keys and values of all coordinators' records are laid out: a number, and a message after it.

use bytes::Bytes;
use ottla_protocol::{Message, Writer};

use crate::Error;

/// What most keys and values take, so that few are moved while they are written.
const USUAL_BYTES: usize = 128;

/// A number (the record's type before a key, its version before a value) and a message as bytes.
pub(crate) fn numbered(number: i16, message: &impl Message, version: i16) -> Result<Bytes, Error> {
    let mut writer = Writer::with_capacity(USUAL_BYTES);
    writer.write_i16(number);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}
