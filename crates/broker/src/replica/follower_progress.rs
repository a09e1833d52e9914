//! What a leader knows of one follower, from what the follower fetches.

use ottla_metadata::image::ClusterImage;
use ottla_protocol::ids::{BrokerId, Offset};

/// An offset or a time that is not known.
const UNKNOWN: i64 = -1;
/// The time of something that never was.
const NEVER_MS: i64 = i64::MIN;

/// What the cluster says of a broker, as far as it decides whether its replicas may be in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokerStanding {
    /// The epoch of its registration.
    pub(crate) broker_epoch: i64,
    /// Whether it is neither fenced nor about to stop.
    pub(crate) is_active: bool,
}

/// Who the brokers are.
pub(crate) trait Brokers {
    /// The standing of a broker; none of one that is not registered.
    fn standing(&self, broker: BrokerId) -> Option<BrokerStanding>;
}

impl Brokers for ClusterImage {
    fn standing(&self, broker: BrokerId) -> Option<BrokerStanding> {
        self.broker(broker).map(|registration| BrokerStanding {
            broker_epoch: registration.epoch.0,
            is_active: registration.is_active(),
        })
    }
}

/// One fetch of a follower, as the leader takes note of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FollowerFetch {
    pub(crate) replica_id: BrokerId,
    /// The epoch of the follower's registration; -1 of one that does not say.
    pub(crate) broker_epoch: i64,
    /// Everything before is in the follower's log, and synced where the topic wants that.
    pub(crate) fetch_offset: Offset,
    /// Where the follower's log starts; -1 if it does not say.
    pub(crate) log_start_offset: Offset,
}

/// A follower of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FollowerProgress {
    log_start_offset: Offset,
    log_end_offset: Offset,
    /// Where the leader's log ended when the follower fetched last.
    last_fetch_leader_end_offset: Offset,
    last_fetch_ms: i64,
    last_caught_up_ms: i64,
    broker_epoch: Option<i64>,
    /// Whether its broker lives, in the life in which it fetched (KIP-903).
    is_eligible: bool,
}

impl FollowerProgress {
    /// A follower that has not fetched in this leader epoch; one of the ISR was in sync just now.
    pub(super) fn new(is_in_sync: bool, now_ms: i64) -> FollowerProgress {
        FollowerProgress {
            log_start_offset: Offset(UNKNOWN),
            log_end_offset: Offset(UNKNOWN),
            last_fetch_leader_end_offset: Offset(UNKNOWN),
            last_fetch_ms: NEVER_MS,
            last_caught_up_ms: if is_in_sync { now_ms } else { NEVER_MS },
            broker_epoch: None,
            is_eligible: false,
        }
    }

    /// Where the follower fetched from last; -1 before the first fetch in this leader epoch.
    pub(crate) fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// Where the follower's log started when it fetched last; -1 before the first fetch in this leader epoch.
    pub(crate) fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// When it last had everything that the leader had; the smallest time of all if it never had.
    pub(crate) fn last_caught_up_ms(&self) -> i64 {
        self.last_caught_up_ms
    }

    /// Whether a consumer that has read up to `offset` finds it in this follower's log.
    pub(super) fn holds(&self, offset: Offset) -> bool {
        self.log_start_offset.0 >= 0
            && (self.log_start_offset..=self.log_end_offset).contains(&offset)
    }

    /// The epoch of the broker that fetched; -1 before the first fetch.
    pub(super) fn broker_epoch(&self) -> i64 {
        self.broker_epoch.unwrap_or(UNKNOWN)
    }

    pub(super) fn is_eligible(&self) -> bool {
        self.is_eligible
    }

    /// Takes note of a fetch at `now_ms`, when the leader's log ends at `leader_end`.
    pub(super) fn note(&mut self, fetch: FollowerFetch, leader_end: Offset, now_ms: i64) {
        if fetch.fetch_offset >= leader_end {
            self.last_caught_up_ms = self.last_caught_up_ms.max(now_ms);
        } else if fetch.fetch_offset >= self.last_fetch_leader_end_offset {
            self.last_caught_up_ms = self.last_caught_up_ms.max(self.last_fetch_ms);
        }
        self.log_start_offset = fetch.log_start_offset;
        self.log_end_offset = fetch.fetch_offset;
        self.last_fetch_leader_end_offset = self.last_fetch_leader_end_offset.max(leader_end);
        self.last_fetch_ms = now_ms;
        self.broker_epoch = Some(fetch.broker_epoch);
    }

    /// Looks anew whether the broker may join an ISR.
    pub(super) fn judge(&mut self, standing: Option<BrokerStanding>) {
        self.is_eligible = standing.is_some_and(|standing| {
            standing.is_active
                && self
                    .broker_epoch
                    .is_some_and(|epoch| epoch == UNKNOWN || epoch == standing.broker_epoch)
        });
    }

    /// Whether it has everything, or had so at most `lag_ms_max` ago.
    pub(super) fn is_caught_up(&self, leader_end: Offset, now_ms: i64, lag_ms_max: i64) -> bool {
        self.log_end_offset == leader_end
            || now_ms.saturating_sub(self.last_caught_up_ms) <= lag_ms_max
    }
}
