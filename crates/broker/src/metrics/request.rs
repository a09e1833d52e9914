//! Measures of one API.

use std::collections::BTreeMap;

use ottla_protocol::{ApiKey, ErrorCode};
use parking_lot::Mutex;

use super::distribution::Distribution;
use super::topic::Counter;

/// How long the parts of a request took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTimes {
    /// Handled on this node.
    pub local: u64,
    /// Waiting for something else: other replicas, more data, other members.
    pub remote: u64,
    /// Held back by a quota.
    pub throttle: u64,
    /// Sending the response.
    pub response_send: u64,
    /// From the first byte of the request to the last of the response.
    pub total: u64,
}

/// What is measured of one API (`RequestMetrics`).
#[derive(Debug)]
pub struct RequestMetrics {
    name: &'static str,
    by_version: Vec<Counter>,
    /// Responses without an error, which need no lock to be counted.
    without_error: Counter,
    by_error: Mutex<BTreeMap<ErrorCode, u64>>,
    bytes: Distribution,
    local: Distribution,
    remote: Distribution,
    throttle: Distribution,
    response_send: Distribution,
    total: Distribution,
}

impl RequestMetrics {
    pub(super) fn new(key: ApiKey, name: &'static str) -> Self {
        let versions = usize::try_from(key.valid_versions().max).unwrap_or_default() + 1;
        Self {
            name,
            by_version: (0..versions).map(|_| Counter::default()).collect(),
            without_error: Counter::default(),
            by_error: Mutex::default(),
            bytes: Distribution::default(),
            local: Distribution::default(),
            remote: Distribution::default(),
            throttle: Distribution::default(),
            response_send: Distribution::default(),
            total: Distribution::default(),
        }
    }

    /// Counts one request that has been answered.
    pub fn record(&self, version: i16, request_bytes: usize, times: RequestTimes) {
        if let Some(counter) = usize::try_from(version)
            .ok()
            .and_then(|version| self.by_version.get(version))
        {
            counter.add(1);
        }
        self.bytes.record(request_bytes as u64);
        self.local.record(times.local);
        self.remote.record(times.remote);
        self.throttle.record(times.throttle);
        self.response_send.record(times.response_send);
        self.total.record(times.total);
    }

    /// Counts an error code of a response; Kafka counts `NONE` too.
    pub fn record_error(&self, code: ErrorCode) {
        if code == ErrorCode::NONE {
            self.without_error.add(1);
        } else {
            *self.by_error.lock().entry(code).or_default() += 1;
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The number of requests by version.
    pub(super) fn versions(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.by_version
            .iter()
            .map(Counter::get)
            .enumerate()
            .filter(|(_, count)| *count > 0)
    }

    pub(super) fn errors(&self) -> BTreeMap<ErrorCode, u64> {
        let mut errors = self.by_error.lock().clone();
        let none = self.without_error.get();
        if none > 0 {
            errors.insert(ErrorCode::NONE, none);
        }
        errors
    }

    /// Each distribution with the last part of its name and what one unit of its values is in the shown unit.
    pub(super) fn distributions(&self) -> [(&'static str, f64, &Distribution); 6] {
        const MICROSECOND_IN_MS: f64 = 0.001;
        [
            ("requestbytes", 1.0, &self.bytes),
            ("localtimems", MICROSECOND_IN_MS, &self.local),
            ("remotetimems", MICROSECOND_IN_MS, &self.remote),
            ("throttletimems", MICROSECOND_IN_MS, &self.throttle),
            ("responsesendtimems", MICROSECOND_IN_MS, &self.response_send),
            ("totaltimems", MICROSECOND_IN_MS, &self.total),
        ]
    }

    pub(super) fn rotate(&self) {
        for (_, _, distribution) in self.distributions() {
            distribution.rotate();
        }
    }
}
