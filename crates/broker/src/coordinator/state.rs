//! What the runtime asks of a coordinator's state, whichever coordinator it is.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator::group::RequestToken;
use ottla_coordinator::{Decision, Now};
use ottla_protocol::ErrorCode;
use ottla_protocol::compression::Compression;
use ottla_protocol::ids::LeaderEpoch;

use crate::metadata_publisher::PublishedMetadata;
use crate::metrics::{CoordinatorMetrics, RuntimeMetrics};
use crate::node::Node;

/// What the state decides.
pub(crate) type Decided<C, R> =
    Decision<<C as CoordinatorState>::Record, <C as CoordinatorState>::Released, R>;

/// A record as the log takes it.
pub(crate) struct LogRecord {
    pub(crate) timestamp: i64,
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
}

/// A coordinator's partition, under a leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) partition: i32,
    pub(crate) leader_epoch: LeaderEpoch,
}

/// The state of one partition of a coordinator's topic: decided on and replayed, never anything else.
pub(crate) trait CoordinatorState: Send + Sized + 'static {
    /// What its decisions and its runtime obey.
    type Settings: CoordinatorSettings;
    /// What its log is made of.
    type Record: Send;
    /// What decisions release besides the response to who asked.
    type Released: Send + 'static;

    /// The topic that holds the state.
    const TOPIC: &'static str;
    /// What the state is of, in a sentence of the operator's log.
    const SUBJECT: &'static str;

    /// The state of a partition without records.
    fn empty(settings: &Self::Settings) -> Self;

    /// A record of the log.
    ///
    /// # Errors
    /// If it is not a record of this release. Apache Kafka passes over types that it does not know; here the partition is
    /// not served then: whatever such a record says, to decide without it would be to decide wrongly.
    fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Self::Record, String>;

    /// The record for the log.
    fn encode(record: &Self::Record, now: Now) -> Result<LogRecord, String>;

    /// What is measured of the coordinators of this kind.
    fn measures(metrics: &CoordinatorMetrics) -> &Arc<RuntimeMetrics>;

    /// Hands on what it has counted since it was asked last.
    fn report(&mut self, _: &CoordinatorMetrics) {}

    /// Takes note of the metadata that the next decision is made under.
    fn observe(&mut self, _: &PublishedMetadata) {}

    /// Takes a record into the state; `producer_id` is that of its batch if that is transactional.
    fn replay(&mut self, now: Now, offset: i64, producer_id: Option<i64>, record: &Self::Record);

    /// Takes the end of a producer's transaction into the state.
    fn replay_end_transaction(&mut self, producer_id: i64, committed: bool);

    /// Every record has been replayed; what must be done now is released.
    fn loaded(&mut self, now: Now) -> Vec<Self::Released>;

    /// When [`CoordinatorState::handle_timeout`] is to be called, in monotonic milliseconds.
    fn next_deadline(&self) -> Option<i64>;

    /// Does one thing whose time has come.
    fn handle_timeout(&mut self, now: Now) -> Option<Decided<Self, ()>>;

    /// Another broker leads: the last word to requests that wait.
    fn unload(self) -> Vec<Self::Released>;

    /// The request that waits for what is released, if one does.
    fn token(released: &Self::Released) -> Option<RequestToken>;

    /// Does what was released and no request waits for.
    fn carry_out(node: &Arc<Node>, place: Place, released: Self::Released);
}

/// The settings of a coordinator's runtime.
pub(crate) trait CoordinatorSettings: fmt::Debug + Send + Sync + 'static {
    /// How long a response waits for its records to be committed.
    fn commit_timeout_ms(&self) -> i64;
    /// How the records are compressed.
    fn compression(&self) -> Compression;
    /// How much of the log is read at a time.
    fn load_bytes(&self) -> u64;
}

/// Takes what is released to a request that waited, or why nothing will be.
pub(crate) type Waiter<C> =
    Box<dyn FnOnce(Result<<C as CoordinatorState>::Released, ErrorCode>) + Send>;
