//! Follows one leader: fetches what it has of the partitions that follow it, and says what to do with their logs.
//!
//! A protocol machine: [`Fetcher::handle`] takes what has happened, [`Fetcher::poll`] says what to do next, and [`Fetcher::next_deadline`] when time alone will change that. One request at a time is on its way; each partition is asked for from where its log ends, never before what the last answer asked for is done.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::fetch_request::{
    FetchPartition, FetchTopic, ForgottenTopic, ReplicaState,
};
use ottla_protocol::messages::fetch_response::PartitionData;
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::fetch_session_client::{Asked, FetchSession, PartitionKey};
use super::follow::FetchPosition;

/// The timestamps that ListOffsets knows for the ends of a log.
const LATEST_TIMESTAMP: i64 = -1;
const EARLIEST_TIMESTAMP: i64 = -2;

/// How long to leave a partition alone whose leader has not heard yet that it leads: it is about to.
const METADATA_WAIT_MS: i64 = 50;

/// How a fetcher fetches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetcherSettings {
    pub(crate) replica_id: BrokerId,
    /// `replica.fetch.wait.max.ms`.
    pub(crate) wait_ms_max: i32,
    /// `replica.fetch.min.bytes`.
    pub(crate) bytes_min: i32,
    /// `replica.fetch.response.max.bytes`.
    pub(crate) response_bytes_max: i32,
    /// `replica.fetch.max.bytes`.
    pub(crate) partition_bytes_max: i32,
    /// `replica.fetch.backoff.ms`.
    pub(crate) backoff_ms: i64,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A partition follows the leader from now on, in this epoch.
    Follow {
        key: PartitionKey,
        topic: KafkaString,
        leader_epoch: LeaderEpoch,
    },
    /// A partition follows this leader no more.
    Unfollow(PartitionKey),
    /// A log is as it should be, and is to be fetched from here on. Nothing is fetched while that is not known.
    At {
        key: PartitionKey,
        leader_epoch: LeaderEpoch,
        position: FetchPosition,
    },
    /// An action could not be done, and may be later: the leader is asked again then.
    Unusable {
        key: PartitionKey,
        leader_epoch: LeaderEpoch,
    },
    /// A log has failed: its partition is not followed any more.
    Failed {
        key: PartitionKey,
        leader_epoch: LeaderEpoch,
    },
    /// The answer to the request that is on its way.
    Fetched(FetchResponse),
    /// The answer to the request that is on its way.
    Listed(ListOffsetsResponse),
    /// There is no answer: the leader cannot be reached.
    NoAnswer,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// Send this to the leader, and hand the answer back.
    Fetch(FetchRequest),
    /// Send this to the leader, and hand the answer back.
    ListOffsets(ListOffsetsRequest),
    /// Do these to partitions' logs, and hand [`Input::At`], [`Input::Unusable`] or [`Input::Failed`] back for each.
    Change(Vec<PartitionChange>),
}

/// What is to happen to the log of one partition, as long as it follows in this epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionChange {
    pub(crate) key: PartitionKey,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) change: LogChange,
}

/// What is to happen to a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogChange {
    /// Cut off what no epoch vouches for, and say where the log ends.
    Begin,
    /// Append what the leader sent for the fetch from `fetch_offset`.
    Append {
        fetch_offset: Offset,
        records: Bytes,
        high_watermark: Offset,
        log_start_offset: Offset,
    },
    /// Cut to what is common with the leader, whose records up to this epoch end there.
    TruncateToLeader { epoch: i32, end_offset: Offset },
    /// The leader has nothing at the end of the log: move into its bounds.
    MoveInto {
        start_offset: Offset,
        end_offset: Offset,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Something is done to the log.
    Changing,
    /// To be fetched.
    Fetching(FetchPosition),
    /// The leader has nothing there: it has to say where its log ends.
    AskingEnd(FetchPosition),
    /// And where it starts.
    AskingStart(FetchPosition, Offset),
}

#[derive(Debug)]
struct Followed {
    topic: KafkaString,
    leader_epoch: LeaderEpoch,
    state: State,
    /// Not asked for before this time.
    not_before_ms: i64,
}

/// The request that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnItsWay {
    Fetch,
    ListOffsets { timestamp: i64 },
}

/// Fetches from one leader.
#[derive(Debug)]
pub(crate) struct Fetcher {
    settings: FetcherSettings,
    broker_epoch: i64,
    partitions: BTreeMap<PartitionKey, Followed>,
    session: FetchSession,
    on_its_way: Option<OnItsWay>,
    /// After a leader that could not be reached nothing is sent before this time.
    not_before_ms: i64,
    changes: Vec<PartitionChange>,
    /// Not fetched for now.
    held_back: BTreeSet<PartitionKey>,
}

impl Fetcher {
    pub(crate) fn new(settings: FetcherSettings) -> Fetcher {
        Fetcher {
            settings,
            broker_epoch: -1,
            partitions: BTreeMap::new(),
            session: FetchSession::default(),
            on_its_way: None,
            not_before_ms: i64::MIN,
            changes: Vec::new(),
            held_back: BTreeSet::new(),
        }
    }

    /// The partitions that follow this leader.
    pub(crate) fn keys(&self) -> impl Iterator<Item = PartitionKey> + '_ {
        self.partitions.keys().copied()
    }

    /// These partitions are not fetched until this is said anew.
    pub(crate) fn hold_back(&mut self, partitions: BTreeSet<PartitionKey>) {
        self.held_back = partitions;
    }

    /// Whether nothing follows this leader, so that the connection to it can go.
    pub(crate) fn is_idle(&self) -> bool {
        self.partitions.is_empty()
    }

    /// The connection to the leader is given up: no answer comes any more, and the next fetch begins a new session.
    pub(crate) fn leave(&mut self) {
        self.on_its_way = None;
        self.session.broken();
        self.not_before_ms = i64::MIN;
    }

    /// In which epoch a partition is followed here, if it is.
    pub(crate) fn leader_epoch(&self, key: &PartitionKey) -> Option<LeaderEpoch> {
        let followed = self.partitions.get(key)?;
        Some(followed.leader_epoch)
    }

    /// The epoch of this broker's registration, which goes into every fetch (KIP-903); nothing is fetched before there is one, or a leader might take this broker for its life before.
    pub(crate) fn set_broker_epoch(&mut self, broker_epoch: i64) {
        self.broker_epoch = broker_epoch;
    }

    /// Takes note of something that has happened.
    pub(crate) fn handle(&mut self, now_ms: i64, input: Input) {
        match input {
            Input::Follow {
                key,
                topic,
                leader_epoch,
            } => self.follow(key, topic, leader_epoch),
            Input::Unfollow(key) => {
                self.partitions.remove(&key);
            }
            Input::At {
                key,
                leader_epoch,
                position,
            } => {
                if let Some(followed) = self.in_epoch(&key, leader_epoch)
                    && followed.state == State::Changing
                {
                    followed.state = State::Fetching(position);
                }
            }
            Input::Unusable { key, leader_epoch } => {
                let backoff_ms = self.settings.backoff_ms;
                if let Some(followed) = self.in_epoch(&key, leader_epoch) {
                    followed.not_before_ms = now_ms.saturating_add(backoff_ms);
                }
                self.change(key, leader_epoch, LogChange::Begin);
            }
            Input::Failed { key, leader_epoch } => {
                if self.in_epoch(&key, leader_epoch).is_some() {
                    self.partitions.remove(&key);
                }
            }
            Input::Fetched(response) => self.fetched(now_ms, response),
            Input::Listed(response) => self.listed(now_ms, &response),
            Input::NoAnswer => {
                if self.on_its_way.take() == Some(OnItsWay::Fetch) {
                    self.session.broken();
                }
                self.not_before_ms = now_ms.saturating_add(self.settings.backoff_ms);
            }
        }
    }

    /// What to do next; nothing while all there is to do waits for an answer, a log or a time.
    pub(crate) fn poll(&mut self, now_ms: i64) -> Option<Output> {
        let mut changes = std::mem::take(&mut self.changes);
        changes.retain(|change| self.in_epoch(&change.key, change.leader_epoch).is_some());
        if !changes.is_empty() {
            return Some(Output::Change(changes));
        }
        // A fetch that left a log out that is about to be ready would keep it waiting for as long as the leader has nothing new.
        let waits = self.on_its_way.is_some() || now_ms < self.not_before_ms;
        if waits || self.broker_epoch < 0 || self.is_changing() {
            return None;
        }
        self.list_offsets(now_ms).or_else(|| self.fetch(now_ms))
    }

    /// When [`Fetcher::poll`] may say something new without any input.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        if self.on_its_way.is_some() || self.is_changing() {
            return None;
        }
        let fetched = self.partitions.iter();
        let ready = fetched
            .filter(|(key, _)| !self.held_back.contains(key))
            .map(|(_, followed)| followed.not_before_ms)
            .min()?;
        Some(ready.max(self.not_before_ms))
    }

    fn is_changing(&self) -> bool {
        self.partitions
            .values()
            .any(|followed| followed.state == State::Changing)
    }

    fn change(&mut self, key: PartitionKey, leader_epoch: LeaderEpoch, change: LogChange) {
        self.changes.push(PartitionChange {
            key,
            leader_epoch,
            change,
        });
    }

    fn in_epoch(&mut self, key: &PartitionKey, epoch: LeaderEpoch) -> Option<&mut Followed> {
        self.partitions
            .get_mut(key)
            .filter(|followed| followed.leader_epoch == epoch)
    }

    fn follow(&mut self, key: PartitionKey, topic: KafkaString, leader_epoch: LeaderEpoch) {
        if self.in_epoch(&key, leader_epoch).is_some() {
            return;
        }
        let followed = Followed {
            topic,
            leader_epoch,
            state: State::Changing,
            not_before_ms: i64::MIN,
        };
        self.partitions.insert(key, followed);
        self.change(key, leader_epoch, LogChange::Begin);
    }

    fn fetch(&mut self, now_ms: i64) -> Option<Output> {
        let mut wanted = BTreeMap::new();
        for (key, followed) in &self.partitions {
            if let State::Fetching(position) = followed.state
                && followed.not_before_ms <= now_ms
                && !self.held_back.contains(key)
            {
                let leader_epoch = followed.leader_epoch;
                wanted.insert(
                    *key,
                    Asked {
                        leader_epoch,
                        position,
                    },
                );
            }
        }
        if wanted.is_empty() {
            return None;
        }
        let fetch = self.session.next(wanted);
        let mut request = FetchRequest {
            // From version 15 on the replica's id has its place here, and in no other field.
            replica_state: ReplicaState {
                replica_id: self.settings.replica_id.0,
                replica_epoch: self.broker_epoch,
                ..ReplicaState::default()
            },
            max_wait_ms: self.settings.wait_ms_max,
            min_bytes: self.settings.bytes_min,
            max_bytes: self.settings.response_bytes_max,
            session_id: fetch.session_id,
            session_epoch: fetch.session_epoch,
            ..FetchRequest::default()
        };
        for (key, asked) in fetch.changed {
            let partition = self.asked_partition(key.1, asked);
            match request.topics.last_mut() {
                Some(topic) if topic.topic_id == key.0.0 => topic.partitions.push(partition),
                _ => request.topics.push(FetchTopic {
                    topic_id: key.0.0,
                    partitions: vec![partition],
                    ..FetchTopic::default()
                }),
            }
        }
        for key in fetch.forgotten {
            match request.forgotten_topics_data.last_mut() {
                Some(topic) if topic.topic_id == key.0.0 => topic.partitions.push(key.1),
                _ => request.forgotten_topics_data.push(ForgottenTopic {
                    topic_id: key.0.0,
                    partitions: vec![key.1],
                    ..ForgottenTopic::default()
                }),
            }
        }
        self.on_its_way = Some(OnItsWay::Fetch);
        Some(Output::Fetch(request))
    }

    fn asked_partition(&self, partition: i32, asked: Asked) -> FetchPartition {
        FetchPartition {
            partition,
            current_leader_epoch: asked.leader_epoch.0,
            fetch_offset: asked.position.offset.0,
            last_fetched_epoch: asked.position.last_epoch,
            log_start_offset: asked.position.log_start_offset.0,
            partition_max_bytes: self.settings.partition_bytes_max,
            ..FetchPartition::default()
        }
    }

    fn fetched(&mut self, now_ms: i64, response: FetchResponse) {
        self.on_its_way = None;
        let error = ErrorCode(response.error_code);
        self.session.answered(error, response.session_id);
        if error != ErrorCode::NONE {
            tracing::info!(%error, "a leader refuses a fetch");
            if !is_of_session(error) {
                self.not_before_ms = now_ms.saturating_add(self.settings.backoff_ms);
            }
            return;
        }
        for topic in response.responses {
            for data in topic.partitions {
                let key = (topic.topic_id.into(), data.partition_index);
                self.partition_fetched(now_ms, key, data);
            }
        }
    }

    fn partition_fetched(&mut self, now_ms: i64, key: PartitionKey, data: PartitionData) {
        let backoff_ms = self.settings.backoff_ms;
        let Some(asked) = self.session.asked(&key) else {
            return;
        };
        let Some(followed) = self.in_epoch(&key, asked.leader_epoch) else {
            return;
        };
        // What came for another place is of no use any more.
        if followed.state != State::Fetching(asked.position) {
            return;
        }
        let change = match ErrorCode(data.error_code) {
            ErrorCode::NONE if data.diverging_epoch.end_offset >= 0 => {
                LogChange::TruncateToLeader {
                    epoch: data.diverging_epoch.epoch,
                    end_offset: Offset(data.diverging_epoch.end_offset),
                }
            }
            ErrorCode::NONE => LogChange::Append {
                fetch_offset: asked.position.offset,
                records: data.records.unwrap_or_default(),
                high_watermark: Offset(data.high_watermark),
                log_start_offset: Offset(data.log_start_offset),
            },
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                followed.state = State::AskingEnd(asked.position);
                return;
            }
            ErrorCode::FENCED_LEADER_EPOCH => {
                // There is a newer leader, of whom metadata will tell.
                self.partitions.remove(&key);
                return;
            }
            error => {
                let wait_ms = if is_of_late_metadata(error) {
                    backoff_ms.min(METADATA_WAIT_MS)
                } else {
                    backoff_ms
                };
                followed.not_before_ms = now_ms.saturating_add(wait_ms);
                return;
            }
        };
        followed.state = State::Changing;
        self.change(key, asked.leader_epoch, change);
    }

    /// Asks for one end of all logs that need it.
    fn list_offsets(&mut self, now_ms: i64) -> Option<Output> {
        let timestamp = self
            .partitions
            .values()
            .filter(|followed| followed.not_before_ms <= now_ms)
            .find_map(|followed| asked_timestamp(followed.state))?;
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for (key, followed) in &self.partitions {
            if asked_timestamp(followed.state) != Some(timestamp) || followed.not_before_ms > now_ms
            {
                continue;
            }
            let partition = ListOffsetsPartition {
                partition_index: key.1,
                current_leader_epoch: followed.leader_epoch.0,
                timestamp,
                ..ListOffsetsPartition::default()
            };
            match topics.last_mut() {
                Some(topic) if topic.name == followed.topic => topic.partitions.push(partition),
                _ => topics.push(ListOffsetsTopic {
                    name: followed.topic.clone(),
                    partitions: vec![partition],
                    ..ListOffsetsTopic::default()
                }),
            }
        }
        self.on_its_way = Some(OnItsWay::ListOffsets { timestamp });
        Some(Output::ListOffsets(ListOffsetsRequest {
            replica_id: self.settings.replica_id.0,
            topics,
            ..ListOffsetsRequest::default()
        }))
    }

    fn listed(&mut self, now_ms: i64, response: &ListOffsetsResponse) {
        let Some(OnItsWay::ListOffsets { timestamp }) = self.on_its_way.take() else {
            return;
        };
        let backoff_ms = self.settings.backoff_ms;
        let mut changes = Vec::new();
        let mut fenced = Vec::new();
        for (key, followed) in &mut self.partitions {
            let asked = asked_timestamp(followed.state) == Some(timestamp);
            let answer = response
                .topics
                .iter()
                .filter(|topic| asked && topic.name == followed.topic)
                .flat_map(|topic| &topic.partitions)
                .find(|partition| partition.partition_index == key.1);
            let Some(answer) = answer else {
                continue;
            };
            match ErrorCode(answer.error_code) {
                ErrorCode::NONE => {
                    changes.extend(followed.take_bound(Offset(answer.offset), *key));
                }
                ErrorCode::FENCED_LEADER_EPOCH => fenced.push(*key),
                _ => followed.not_before_ms = now_ms.saturating_add(backoff_ms),
            }
        }
        self.changes.extend(changes);
        for key in fenced {
            self.partitions.remove(&key);
        }
    }
}

impl Followed {
    /// Takes one bound of the leader's log; with both, the log can be moved.
    fn take_bound(&mut self, bound: Offset, key: PartitionKey) -> Option<PartitionChange> {
        match self.state {
            State::AskingEnd(position) => {
                self.state = State::AskingStart(position, bound);
                None
            }
            State::AskingStart(_, end_offset) => {
                self.state = State::Changing;
                Some(PartitionChange {
                    key,
                    leader_epoch: self.leader_epoch,
                    change: LogChange::MoveInto {
                        start_offset: bound,
                        end_offset,
                    },
                })
            }
            State::Changing | State::Fetching(_) => None,
        }
    }
}

fn asked_timestamp(state: State) -> Option<i64> {
    match state {
        State::AskingEnd(_) => Some(LATEST_TIMESTAMP),
        State::AskingStart(..) => Some(EARLIEST_TIMESTAMP),
        State::Changing | State::Fetching(_) => None,
    }
}

/// Errors after which a new session is all that is needed.
fn is_of_session(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    )
}

/// Errors of a leader to which the metadata has not come yet that has come here.
fn is_of_late_metadata(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::UNKNOWN_LEADER_EPOCH
            | ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::UNKNOWN_TOPIC_ID
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    )
}

#[cfg(test)]
mod tests;
