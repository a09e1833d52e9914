//! Requests and responses as they travel: a size of four bytes, a header, a message.
//!
//! The header's version follows from the message's, see [`ApiKey::request_header_version`] and
//! [`ApiKey::response_header_version`].

pub mod produce_request;
pub mod response;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::api_key::ApiKey;
use crate::codec::{DecodeError, EncodeError, Message, Reader, Writer};
use crate::messages::{Request, RequestHeader, Response, ResponseHeader};

/// The bytes that the size in front of a frame takes.
pub const SIZE_LENGTH: usize = 4;

/// Takes the size in front of a frame; negative ones and those above `size_max` are errors.
pub fn frame_size(prefix: [u8; SIZE_LENGTH], size_max: usize) -> Result<usize, DecodeError> {
    let length = i32::from_be_bytes(prefix);
    let error = DecodeError::InvalidLength {
        of: "frame",
        length: i64::from(length),
    };
    match usize::try_from(length) {
        Ok(size) if size <= size_max => Ok(size),
        _ => Err(error),
    }
}

/// A request whose header was read, and whose message was not yet.
#[derive(Clone, Debug)]
pub struct RequestFrame {
    /// What it asks for.
    pub api_key: ApiKey,
    /// The header. Its version of the API may be one that does not exist.
    pub header: RequestHeader,
    /// Stands at the front of the message.
    pub body: Reader,
}

impl RequestFrame {
    /// Reads the header of a frame, which comes without its size.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let mut start = Reader::new(frame);
        let mut body = start.clone();
        let api_key = ApiKey::try_from(start.read_i16()?)?;
        let api_version = start.read_i16()?;
        let header_version = api_key.request_header_version(api_version);
        let header = RequestHeader::decode(&mut body, header_version)?;
        Ok(Self {
            api_key,
            header,
            body,
        })
    }

    /// The name that the client gave itself; empty if it gave none.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.header.client_id.as_deref().unwrap_or_default()
    }

    /// Reads the message.
    pub fn decode_body<R: Request>(&self) -> Result<R, DecodeError> {
        R::decode(&mut self.body.clone(), self.header.request_api_version)
    }
}

/// A request as a frame with its size.
pub fn encode_request<R: Request>(
    request: &R,
    api_version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Bytes, EncodeError> {
    let header = RequestHeader {
        request_api_key: R::API_KEY.code(),
        request_api_version: api_version,
        correlation_id,
        client_id: client_id.map(Into::into),
        ..RequestHeader::default()
    };
    encode(
        &header,
        R::API_KEY.request_header_version(api_version),
        request,
        api_version,
    )
}

/// A response as a frame with its size.
pub fn encode_response<R: Response>(
    response: &R,
    api_version: i16,
    correlation_id: i32,
) -> Result<Bytes, EncodeError> {
    let header = ResponseHeader {
        correlation_id,
        ..ResponseHeader::default()
    };
    encode(
        &header,
        R::API_KEY.response_header_version(api_version),
        response,
        api_version,
    )
}

fn encode(
    header: &impl Message,
    header_version: i16,
    message: &impl Message,
    version: i16,
) -> Result<Bytes, EncodeError> {
    let size = header.encoded_size(header_version)? + message.encoded_size(version)?;
    let mut writer = Writer::with_capacity(SIZE_LENGTH + size);
    let too_long = EncodeError::TooLong {
        of: "frame",
        length: size,
    };
    writer.write_i32(i32::try_from(size).map_err(|_| too_long)?);
    header.encode(&mut writer, header_version)?;
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// The correlation id of a response frame, which comes without its size.
pub fn response_correlation_id(frame: &Bytes) -> Result<i32, DecodeError> {
    Reader::new(frame.clone()).read_i32()
}

/// Reads a response of a version that the request asked for, and the correlation id with it.
pub fn decode_response<R: Response>(
    frame: Bytes,
    api_version: i16,
) -> Result<(i32, R), DecodeError> {
    let mut reader = Reader::new(frame);
    let header_version = R::API_KEY.response_header_version(api_version);
    let header = ResponseHeader::decode(&mut reader, header_version)?;
    let response = R::decode(&mut reader, api_version)?;
    Ok((header.correlation_id, response))
}
