//! The fetcher's end of a fetch session: the leader is told only what has changed (KIP-227).

use std::collections::BTreeMap;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{LeaderEpoch, TopicId};

use super::follow::FetchPosition;

/// The session id of a fetch without a session.
const NO_SESSION: i32 = 0;
/// The session epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;

/// A partition of a topic.
pub(crate) type PartitionKey = (TopicId, i32);

/// What one partition is asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) position: FetchPosition,
}

/// What a fetch of the session says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionFetch {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    pub(super) changed: Vec<(PartitionKey, Asked)>,
    pub(super) forgotten: Vec<PartitionKey>,
}

/// A session as the one sees it who fetches.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    id: i32,
    epoch: i32,
    /// What the leader has been told last.
    partitions: BTreeMap<PartitionKey, Asked>,
}

impl FetchSession {
    /// The next fetch, for all of these partitions and no other.
    pub(super) fn next(&mut self, wanted: BTreeMap<PartitionKey, Asked>) -> SessionFetch {
        let known = if self.epoch == INITIAL_EPOCH {
            BTreeMap::new()
        } else {
            std::mem::take(&mut self.partitions)
        };
        let changed = wanted
            .iter()
            .filter(|(key, asked)| known.get(*key) != Some(*asked))
            .map(|(key, asked)| (*key, *asked))
            .collect();
        let forgotten = known
            .keys()
            .filter(|key| !wanted.contains_key(*key))
            .copied()
            .collect();
        self.partitions = wanted;
        SessionFetch {
            session_id: self.id,
            session_epoch: self.epoch,
            changed,
            forgotten,
        }
    }

    /// What the leader was asked for a partition in the last fetch.
    pub(super) fn asked(&self, key: &PartitionKey) -> Option<Asked> {
        self.partitions.get(key).copied()
    }

    /// Takes note of the answer's session id and error.
    pub(super) fn answered(&mut self, error: ErrorCode, session_id: i32) {
        if error == ErrorCode::FETCH_SESSION_ID_NOT_FOUND {
            *self = FetchSession::default();
        } else if error != ErrorCode::NONE {
            self.broken();
        } else if session_id == NO_SESSION {
            // The leader has no room for a session: the next fetch names everything again, and asks for one.
            self.id = NO_SESSION;
            self.epoch = INITIAL_EPOCH;
        } else {
            self.id = session_id;
            self.epoch = if self.epoch == i32::MAX {
                1
            } else {
                self.epoch + 1
            };
        }
    }

    /// Nobody knows how far the leader has come: the next fetch ends the session and asks for another.
    pub(super) fn broken(&mut self) {
        self.epoch = INITIAL_EPOCH;
    }
}
