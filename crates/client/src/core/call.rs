//! Requests as the core keeps them until a connection can take them, and their frames.

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::messages::{Request, RequestHeader, ResponseHeader};
use ottla_protocol::{ApiKey, KafkaString, Message, Reader, Writer};

use crate::Error;

/// Names one request of a client, for as long as the client lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A request of any kind, whose version is chosen when it is sent.
pub trait Call: std::fmt::Debug + Send {
    /// What is asked.
    fn api_key(&self) -> ApiKey;

    /// The lowest and highest version that this crate speaks.
    fn versions(&self) -> (i16, i16);

    /// The highest version that means what the request says.
    fn version_max(&self) -> i16 {
        i16::MAX
    }

    /// Whether the broker answers at all.
    fn expects_response(&self) -> bool {
        true
    }

    /// Puts the request's body into the writer.
    fn encode_body(&self, writer: &mut Writer, version: i16) -> Result<(), Error>;

    /// The body's size, if it is cheap to say.
    fn size_hint(&self) -> usize {
        256
    }
}

impl<R: Request + Send> Call for R {
    fn api_key(&self) -> ApiKey {
        R::API_KEY
    }

    fn versions(&self) -> (i16, i16) {
        let versions = R::API_KEY.enabled_versions(false);
        (versions.min, versions.max)
    }

    fn encode_body(&self, writer: &mut Writer, version: i16) -> Result<(), Error> {
        self.encode(writer, version).map_err(Error::from)
    }
}

/// A request that must not be sent above a version, since it says less than newer ones can.
#[derive(Clone, Debug)]
pub struct AtMost<R> {
    /// The request.
    pub request: R,
    /// The highest version.
    pub version_max: i16,
}

impl<R: Request + Send> Call for AtMost<R> {
    fn api_key(&self) -> ApiKey {
        R::API_KEY
    }

    fn versions(&self) -> (i16, i16) {
        self.request.versions()
    }

    fn version_max(&self) -> i16 {
        self.version_max
    }

    fn encode_body(&self, writer: &mut Writer, version: i16) -> Result<(), Error> {
        self.request.encode(writer, version).map_err(Error::from)
    }
}

/// An answer, not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawResponse {
    /// The broker that answered.
    pub broker: i32,
    /// The version of request and answer.
    pub version: i16,
    /// The body after the header.
    pub body: Bytes,
}

impl RawResponse {
    /// The answer as a message.
    pub fn decode<M: Message>(self) -> Result<M, Error> {
        let mut reader = Reader::new(self.body);
        M::decode(&mut reader, self.version).map_err(Error::from)
    }
}

/// A whole frame, its size first.
pub(crate) fn encode_request(
    call: &dyn Call,
    version: i16,
    correlation_id: i32,
    client_id: &KafkaString,
) -> Result<Bytes, Error> {
    let api_key = call.api_key();
    let mut buffer = BytesMut::with_capacity(call.size_hint() + 64);
    buffer.put_i32(0);
    let mut writer = Writer::over(buffer);
    let header = RequestHeader {
        request_api_key: api_key.code(),
        request_api_version: version,
        correlation_id,
        client_id: Some(client_id.clone()),
        ..RequestHeader::default()
    };
    header.encode(&mut writer, api_key.request_header_version(version))?;
    call.encode_body(&mut writer, version)?;
    let mut frame = writer.into_inner();
    let size = i32::try_from(frame.len() - 4)
        .map_err(|_| Error::Protocol("a request is larger than 2 GiB".into()))?;
    if let Some(place) = frame.get_mut(..4) {
        place.copy_from_slice(&size.to_be_bytes());
    }
    Ok(frame.freeze())
}

/// The correlation id of an answer, and what follows the header.
pub(crate) fn decode_response_header(
    frame: Bytes,
    api_key: ApiKey,
    version: i16,
) -> Result<(i32, Bytes), Error> {
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, api_key.response_header_version(version))?;
    Ok((header.correlation_id, reader.into_rest()))
}
