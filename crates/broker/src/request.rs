//! A request on its way through the node: whose it is, what it asks, and how it is answered.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_log::FileRegion;
use ottla_protocol::api_key::ApiKey;
use ottla_protocol::frame::encode_response;
use ottla_protocol::frame::response::ResponseFrame;
use ottla_protocol::messages::Response;
use ottla_protocol::{ErrorCode, KafkaString};
use parking_lot::Mutex;

use crate::metrics::Metrics;

/// A connection as the request handlers see it.
#[derive(Debug)]
pub struct ConnectionContext {
    /// Number of the connection, unique in the life of the node.
    pub id: u64,
    /// Name of the listener that took it in.
    pub listener: KafkaString,
    /// Whether the listener is the controller's.
    pub is_controller_listener: bool,
    /// Whether a broker has handed on what its client asked.
    pub is_forwarded: bool,
    /// The other end, if it is a socket.
    pub peer: Option<SocketAddr>,
    client_id: Mutex<KafkaString>,
    software: Mutex<(KafkaString, KafkaString)>,
}

static CONNECTION_ID: AtomicU64 = AtomicU64::new(1);

impl ConnectionContext {
    /// A connection that `listener` took in from `peer`.
    #[must_use]
    pub fn new(
        listener: KafkaString,
        is_controller_listener: bool,
        peer: Option<SocketAddr>,
    ) -> ConnectionContext {
        ConnectionContext {
            id: CONNECTION_ID.fetch_add(1, Ordering::Relaxed),
            listener,
            is_controller_listener,
            is_forwarded: false,
            peer,
            client_id: Mutex::new(KafkaString::from("")),
            software: Mutex::new((KafkaString::from(""), KafkaString::from(""))),
        }
    }

    /// A client's connection to a broker that hands on its request to this controller.
    pub(crate) fn forwarded(listener: KafkaString, client: Option<SocketAddr>) -> Self {
        ConnectionContext {
            is_forwarded: true,
            ..ConnectionContext::new(listener, true, client)
        }
    }

    /// The host of the other end, as Kafka prints it in group descriptions.
    #[must_use]
    pub fn client_host(&self) -> String {
        self.peer
            .map_or_else(|| "/unknown".to_owned(), |peer| format!("/{}", peer.ip()))
    }

    /// Name and version of the client's software, as ApiVersions told.
    #[must_use]
    pub fn software(&self) -> (KafkaString, KafkaString) {
        self.software.lock().clone()
    }

    pub(crate) fn set_software(&self, name: KafkaString, version: KafkaString) {
        *self.software.lock() = (name, version);
    }

    /// The client id as a string of its own, made anew only when it differs from the last request's.
    fn intern_client_id(&self, client_id: &str) -> KafkaString {
        let mut last = self.client_id.lock();
        if &**last != client_id {
            *last = KafkaString::from(client_id.to_owned());
        }
        last.clone()
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Reply {
    /// This goes back.
    Response(ResponseFrame<FileRegion>),
    /// Nothing goes back: a produce with acks=0.
    Nothing,
    /// The connection closes.
    Close,
}

/// Takes the one reply to a request.
///
/// Dropping it unanswered closes the connection.
pub trait Respond: Send {
    /// Gives the reply.
    fn respond(self: Box<Self>, reply: Reply);
}

impl<F: FnOnce(Reply) + Send> Respond for F {
    fn respond(self: Box<Self>, reply: Reply) {
        self(reply);
    }
}

/// A one-shot way back to whoever asked.
pub type Responder = Box<dyn Respond>;

/// The fields that stand before every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Which API, as it came.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself; empty if it does not say.
    pub client_id: KafkaString,
}

/// Walks over the bytes of a request header.
struct HeadReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> HeadReader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(length)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn unsigned_varint(&mut self) -> Option<usize> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).ok();
            }
        }
        None
    }

    fn nullable_string(&mut self) -> Option<&'a str> {
        let length = self.i16()?;
        if length < 0 {
            return Some("");
        }
        std::str::from_utf8(self.take(usize::try_from(length).ok()?)?).ok()
    }

    fn skip_tagged_fields(&mut self) -> Option<()> {
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let size = self.unsigned_varint()?;
            self.take(size)?;
        }
        Some(())
    }
}

/// Where a parsed header ends, and what it says.
pub(crate) struct ParsedHead {
    pub(crate) head: RequestHead,
    pub(crate) api_key: Option<ApiKey>,
    pub(crate) body_start: usize,
}

/// Reads a request's header; `None` if it is not one.
///
/// A version that Kafka does not know leaves the rest of the header unread: its form is unknown too.
pub(crate) fn parse_head(connection: &ConnectionContext, frame: &[u8]) -> Option<ParsedHead> {
    let mut reader = HeadReader {
        bytes: frame,
        position: 0,
    };
    let key = reader.i16()?;
    let api_version = reader.i16()?;
    let correlation_id = reader.i32()?;
    let api_key = ApiKey::from_code(key);
    let mut client_id = "";
    if let Some(api_key) = api_key {
        client_id = reader.nullable_string()?;
        if api_key.request_header_version(api_version) >= 2 {
            reader.skip_tagged_fields()?;
        }
    }
    Some(ParsedHead {
        head: RequestHead {
            api_key: key,
            api_version,
            correlation_id,
            client_id: connection.intern_client_id(client_id),
        },
        api_key,
        body_start: reader.position,
    })
}

/// A request that has been recognised, and its way back.
pub struct RequestContext {
    /// Whose it is.
    pub connection: Arc<ConnectionContext>,
    /// What stood before it.
    pub head: RequestHead,
    /// Which API.
    pub api_key: ApiKey,
    /// When it came, in monotonic milliseconds.
    pub received_ms: i64,
    metrics: Arc<Metrics>,
    responder: Responder,
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("head", &self.head)
            .field("api_key", &self.api_key)
            .finish_non_exhaustive()
    }
}

impl RequestContext {
    pub(crate) fn new(
        connection: Arc<ConnectionContext>,
        head: RequestHead,
        api_key: ApiKey,
        (received_ms, metrics): (i64, Arc<Metrics>),
        responder: Responder,
    ) -> RequestContext {
        RequestContext {
            connection,
            head,
            api_key,
            received_ms,
            metrics,
            responder,
        }
    }

    /// The version that the client speaks and wants to hear.
    #[must_use]
    pub fn version(&self) -> i16 {
        self.head.api_version
    }

    /// Answers with a message.
    pub fn respond<M: Response>(self, response: &M) {
        let version = self.head.api_version;
        self.respond_at(response, version);
    }

    /// Answers with a message in another version than the request's.
    pub fn respond_at<M: Response>(self, response: &M, version: i16) {
        response.visit_error_codes(&mut |code| self.count_error(ErrorCode(code)));
        match encode_response(response, version, self.head.correlation_id) {
            Ok(bytes) => self.respond_frame(ResponseFrame::from(bytes)),
            Err(error) => {
                tracing::error!(api = %M::NAME, version, %error, "a response could not be encoded");
                self.close();
            }
        }
    }

    /// Counts an error code of a response that is encoded elsewhere.
    pub(crate) fn count_error(&self, error: ErrorCode) {
        self.metrics.request(self.api_key).record_error(error);
    }

    /// Answers with a frame that is already encoded, header included; its error codes were counted.
    pub fn respond_frame(self, frame: ResponseFrame<FileRegion>) {
        self.responder.respond(Reply::Response(frame));
    }

    /// Answers nothing.
    pub fn respond_nothing(self) {
        self.responder.respond(Reply::Nothing);
    }

    /// Closes the connection.
    pub fn close(self) {
        self.responder.respond(Reply::Close);
    }
}
