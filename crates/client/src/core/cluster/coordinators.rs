//! Which broker coordinates a group or a transactional id.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::{Cluster, Destination, Kind};
use crate::Error;
use crate::core::call::RawResponse;

/// What is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoordinatorKind {
    /// A group of consumers.
    Group,
    /// A transactional producer.
    Transaction,
    /// A share partition's state.
    Share,
}

impl CoordinatorKind {
    fn key_type(self) -> i8 {
        match self {
            Self::Group => 0,
            Self::Transaction => 1,
            Self::Share => 2,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Coordinators {
    known: BTreeMap<(CoordinatorKind, KafkaString), i32>,
    asked: BTreeSet<(CoordinatorKind, KafkaString)>,
    /// When a look-up that failed may be repeated, and how often it failed.
    failed: BTreeMap<(CoordinatorKind, KafkaString), (i64, u32)>,
}

impl Coordinators {
    pub(super) fn get(&self, kind: CoordinatorKind, key: &KafkaString) -> Option<i32> {
        self.known.get(&(kind, key.clone())).copied()
    }

    pub(super) fn forget(&mut self, kind: CoordinatorKind, key: &KafkaString) {
        self.known.remove(&(kind, key.clone()));
    }
}

impl Cluster {
    /// The coordinator, if it is known.
    #[must_use]
    pub fn coordinator(&self, kind: CoordinatorKind, key: &KafkaString) -> Option<i32> {
        self.coordinators.get(kind, key)
    }

    /// Asks again who coordinates: the last one said that it isn't it.
    pub fn forget_coordinator(&mut self, kind: CoordinatorKind, key: &KafkaString) {
        self.coordinators.forget(kind, key);
    }

    pub(super) fn find_coordinator(
        &mut self,
        now_ms: i64,
        kind: CoordinatorKind,
        key: &KafkaString,
    ) {
        let name = (kind, key.clone());
        if !self.coordinators.asked.insert(name.clone()) {
            return;
        }
        let rest = self
            .coordinators
            .failed
            .get(&name)
            .copied()
            .unwrap_or((now_ms, 0));
        let request = FindCoordinatorRequest {
            key_type: kind.key_type(),
            coordinator_keys: vec![key.clone()],
            ..FindCoordinatorRequest::default()
        };
        let own = Kind::FindCoordinator(kind, key.clone());
        self.enqueue_own(now_ms, Box::new(request), own, rest);
    }

    pub(super) fn coordinator_answered(
        &mut self,
        now_ms: i64,
        kind: CoordinatorKind,
        key: &KafkaString,
        result: Result<RawResponse, Error>,
    ) {
        let name = (kind, key.clone());
        self.coordinators.asked.remove(&name);
        let found = result
            .and_then(RawResponse::decode::<FindCoordinatorResponse>)
            .and_then(|response| {
                let coordinator = response.coordinators.into_iter().next();
                let coordinator = coordinator
                    .ok_or_else(|| Error::Protocol("no coordinator in the answer".into()))?;
                match ErrorCode(coordinator.error_code) {
                    ErrorCode::NONE => Ok(coordinator.node_id),
                    error => Err(Error::Broker(error)),
                }
            });
        match found {
            Ok(broker) => {
                self.coordinators.failed.remove(&name);
                self.coordinators.known.insert(name, broker);
                if !self.metadata.brokers.contains_key(&broker) {
                    self.request_metadata(now_ms);
                }
            }
            Err(error) if error.is_retriable() => {
                let failures = self
                    .coordinators
                    .failed
                    .get(&name)
                    .map_or(1, |(_, failures)| failures + 1);
                let wait = self.options.retry_backoff.after(failures, &mut self.random);
                self.coordinators
                    .failed
                    .insert(name, (now_ms + wait, failures));
            }
            Err(error) => self.fail_coordinated(now_ms, kind, key, &error),
        }
    }

    /// Fails every request that waits for this coordinator.
    fn fail_coordinated(
        &mut self,
        now_ms: i64,
        kind: CoordinatorKind,
        key: &KafkaString,
        error: &Error,
    ) {
        let destination = Destination::Coordinator(kind, key.clone());
        let (failed, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|pending| pending.destination == destination);
        self.waiting.extend(others);
        for pending in failed {
            self.complete(now_ms, pending, Err(error.clone()));
        }
    }
}
