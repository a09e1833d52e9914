//! One connection to a broker: which request an answer belongs to, and which versions both speak.
//!
//! A connection begins with ApiVersions. A broker that knows only older versions of it says so in
//! an answer of version 0, and is asked again at the version that it names.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ottla_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::{ApiKey, ErrorCode, KafkaString, Message};

use super::call::{Call, RequestId, decode_response_header, encode_request};
use crate::Error;

/// The newest ApiVersions that is asked for first.
const API_VERSIONS_VERSION: i16 = 4;

/// A request on its way.
#[derive(Debug)]
pub(crate) struct InFlight {
    correlation_id: i32,
    pub(crate) api_key: ApiKey,
    pub(crate) api_version: i16,
    /// The request, or none for the connection's own ApiVersions.
    pub(crate) request: Option<RequestId>,
    pub(crate) deadline_ms: i64,
}

/// What a received frame means.
#[derive(Debug)]
pub(crate) enum Received {
    /// The connection is ready for requests.
    Ready,
    /// Another ApiVersions has to be sent.
    Again(Bytes),
    /// A request's answer, after its header.
    Answer { in_flight: InFlight, body: Bytes },
}

/// The versions that a broker offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerVersions {
    ranges: BTreeMap<i16, (i16, i16)>,
}

impl BrokerVersions {
    /// Lowest and highest versions by the number of their API.
    pub(crate) fn new(ranges: impl Iterator<Item = (i16, (i16, i16))>) -> Self {
        Self {
            ranges: ranges.collect(),
        }
    }

    /// Lowest and highest versions by the number of their API, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (i16, (i16, i16))> {
        self.ranges.iter().map(|(api, range)| (*api, *range))
    }

    /// The newest version that both sides speak, not above `version_max`.
    #[must_use]
    pub fn choose(&self, api_key: ApiKey, own: (i16, i16), version_max: i16) -> Option<i16> {
        let (min, max) = *self.ranges.get(&api_key.code())?;
        let version = max.min(own.1).min(version_max);
        (version >= min && version >= own.0).then_some(version)
    }

    /// The range of one API.
    #[must_use]
    pub fn range(&self, api_key: ApiKey) -> Option<(i16, i16)> {
        self.ranges.get(&api_key.code()).copied()
    }
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    client_id: KafkaString,
    correlation_id: i32,
    in_flight: VecDeque<InFlight>,
    versions: Option<BrokerVersions>,
    api_versions_version: i16,
}

impl Connection {
    pub(crate) fn new(client_id: KafkaString) -> Self {
        Self {
            client_id,
            correlation_id: 0,
            in_flight: VecDeque::new(),
            versions: None,
            api_versions_version: API_VERSIONS_VERSION,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.versions.is_some()
    }

    pub(crate) fn versions(&self) -> Option<&BrokerVersions> {
        self.versions.as_ref()
    }

    pub(crate) fn in_flight_count(&self) -> usize {
        self.in_flight.len()
    }

    /// When the oldest request is given up.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.in_flight
            .iter()
            .map(|in_flight| in_flight.deadline_ms)
            .min()
    }

    /// The frame that opens the conversation.
    pub(crate) fn open(&mut self, deadline_ms: i64) -> Result<Bytes, Error> {
        let request = ApiVersionsRequest {
            client_software_name: KafkaString::from_static("ottla-client"),
            client_software_version: KafkaString::from_static(env!("CARGO_PKG_VERSION")),
            ..ApiVersionsRequest::default()
        };
        self.encode(None, &request, self.api_versions_version, deadline_ms)
    }

    /// The frame of a request.
    pub(crate) fn send(
        &mut self,
        id: RequestId,
        call: &dyn Call,
        deadline_ms: i64,
    ) -> Result<Bytes, Error> {
        let api_key = call.api_key();
        let version = self
            .versions
            .as_ref()
            .and_then(|versions| versions.choose(api_key, call.versions(), call.version_max()))
            .ok_or(Error::UnsupportedVersion {
                api: api_key.name(),
            })?;
        self.encode(Some(id), call, version, deadline_ms)
    }

    fn encode(
        &mut self,
        request: Option<RequestId>,
        call: &dyn Call,
        api_version: i16,
        deadline_ms: i64,
    ) -> Result<Bytes, Error> {
        let correlation_id = self.correlation_id;
        let frame = encode_request(call, api_version, correlation_id, &self.client_id)?;
        self.correlation_id = self.correlation_id.wrapping_add(1).max(0);
        if call.expects_response() {
            let api_key = call.api_key();
            self.in_flight.push_back(InFlight {
                correlation_id,
                api_key,
                api_version,
                request,
                deadline_ms,
            });
        }
        Ok(frame)
    }

    /// Takes a frame from the broker, without its size.
    pub(crate) fn received(&mut self, frame: Bytes) -> Result<Received, Error> {
        let in_flight = self
            .in_flight
            .pop_front()
            .ok_or_else(|| Error::Protocol("an answer came to no request".into()))?;
        let (correlation_id, body) =
            decode_response_header(frame, in_flight.api_key, in_flight.api_version)?;
        if correlation_id != in_flight.correlation_id {
            return Err(Error::Protocol(format!(
                "answer {correlation_id} came to request {}",
                in_flight.correlation_id
            )));
        }
        if in_flight.request.is_some() {
            return Ok(Received::Answer { in_flight, body });
        }
        self.api_versions_received(&in_flight, body)
    }

    fn api_versions_received(
        &mut self,
        in_flight: &InFlight,
        body: Bytes,
    ) -> Result<Received, Error> {
        let unsupported = body.starts_with(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes());
        let version = if unsupported {
            0
        } else {
            in_flight.api_version
        };
        let response = ApiVersionsResponse::from_bytes(body, version)?;
        let offered = response.api_keys.iter();
        let versions = BrokerVersions::new(
            offered.map(|api| (api.api_key, (api.min_version, api.max_version))),
        );
        if unsupported && self.api_versions_version > 0 {
            let offered = versions
                .range(ApiKey::ApiVersions)
                .map_or(0, |range| range.1);
            self.api_versions_version = offered.clamp(0, self.api_versions_version - 1);
            return self.open(in_flight.deadline_ms).map(Received::Again);
        }
        ErrorCode(response.error_code)
            .into_result()
            .map_err(Error::Broker)?;
        self.versions = Some(versions);
        Ok(Received::Ready)
    }

    /// Gives back every request that waits for an answer.
    pub(crate) fn take_in_flight(&mut self) -> VecDeque<InFlight> {
        std::mem::take(&mut self.in_flight)
    }
}
