//! What nobody uses any more is deleted: offsets after their retention, groups without offsets and
//! members, offsets of deleted topics.

use std::sync::Arc;

use ottla_protocol::{KafkaString, Uuid};

use super::decision::{Decision, Effects, Now};
use super::offsets::{CommittedOffset, Place, PlaceRef};
use super::timers::{TimerAction, TimerKey};
use super::{ClassicGroupState, Group, GroupCoordinator};
use crate::record::CoordinatorRecord;

/// A topic that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its name, which another topic may have by now.
    pub name: KafkaString,
    /// Its id.
    pub topic_id: Uuid,
}

/// From when on the retention of a group's offsets counts.
#[derive(Clone, Copy, Debug)]
enum RetentionBase {
    /// From each commit.
    Commit,
    /// From when the group became empty.
    Empty { since_ms: Option<i64> },
}

impl RetentionBase {
    /// Of a group whose offsets may expire at all.
    fn of(group: &Group) -> Option<Self> {
        let group = match group {
            Group::Classic(group) => group,
            Group::Consumer(_) | Group::Streams(_) => return Some(Self::Commit),
            Group::Share(_) => return None,
        };
        if group.protocol_type().is_none() {
            return Some(Self::Commit);
        }
        if group.is_empty() {
            return Some(Self::Empty {
                since_ms: group.state_timestamp_ms(),
            });
        }
        let knows_what_is_used = group.uses_consumer_protocol()
            && group.knows_subscribed_topics()
            && group.state() == ClassicGroupState::Stable;
        knows_what_is_used.then_some(Self::Commit)
    }

    fn is_expired(self, offset: &CommittedOffset, now_ms: i64, retention_ms: i64) -> bool {
        if let Some(expire_timestamp_ms) = offset.expire_timestamp_ms {
            return now_ms >= expire_timestamp_ms;
        }
        let base_ms = match self {
            Self::Commit => offset.commit_timestamp_ms,
            Self::Empty { since_ms } => since_ms.unwrap_or(offset.commit_timestamp_ms),
        };
        now_ms.saturating_sub(base_ms) >= retention_ms
    }
}

impl GroupCoordinator {
    pub(super) fn schedule_expiration(&mut self, now: Now) {
        let interval_ms = self.config.offsets_retention_check_interval_ms;
        self.timers.schedule(
            TimerKey::Expiration,
            now.monotonic_ms.saturating_add(interval_ms),
            TimerAction::ExpireGroupMetadata,
        );
    }

    /// Looks through all groups for offsets that have expired, and for groups that are done.
    pub(super) fn expire_group_metadata(&mut self, now: Now) -> Decision<()> {
        let mut effects = Effects::default();
        let mut expired = 0;
        for (group_id, group) in &self.groups {
            if matches!(group, Group::Share(_)) {
                continue;
            }
            let before = effects.records.len();
            let all_expired = self.expire_offsets(now, (group_id, group), &mut effects.records);
            expired += effects.records.len() - before;
            if all_expired && group.is_empty() {
                self.delete_group(group_id, &mut effects.records);
            }
        }
        if !effects.records.is_empty() {
            tracing::info!(
                tombstones = effects.records.len(),
                "deleted expired offsets and groups"
            );
        }
        self.counts.offset_expirations += expired as u64;
        self.schedule_expiration(now);
        effects.with(())
    }

    /// Makes the tombstones of the group's expired offsets; says whether none is left.
    fn expire_offsets(
        &self,
        now: Now,
        (group_id, group): (&KafkaString, &Group),
        records: &mut Vec<CoordinatorRecord>,
    ) -> bool {
        let Some(topics) = self.offsets.committed.of_group(group_id) else {
            return !self.offsets.has_pending(group_id);
        };
        let Some(base) = RetentionBase::of(group) else {
            return false;
        };
        let config = Arc::clone(&self.config);
        let mut all_expired = true;
        for (topic, partitions) in topics {
            if group.is_subscribed_to(topic) {
                all_expired = false;
                continue;
            }
            for (partition, offset) in partitions {
                let place = PlaceRef {
                    group_id,
                    topic,
                    partition: *partition,
                };
                let is_pending = self.offsets.is_pending(Place {
                    group_id,
                    topic,
                    partition: *partition,
                });
                if base.is_expired(offset, now.wall_ms, config.offsets_retention_ms) && !is_pending
                {
                    records.push(place.tombstone());
                } else {
                    all_expired = false;
                }
            }
        }
        all_expired && !self.offsets.has_pending(group_id)
    }

    /// Topics have been deleted: so are the offsets that were committed for them.
    pub fn delete_offsets_of_topics(&mut self, topics: &[DeletedTopic]) -> Decision<()> {
        let mut effects = Effects::default();
        let of_deleted = |name: &KafkaString, offset: &CommittedOffset| {
            topics.iter().any(|topic| {
                topic.name == *name
                    && (offset.topic_id == Uuid::ZERO || offset.topic_id == topic.topic_id)
            })
        };
        let pending = self.offsets.pending.values();
        for offsets in std::iter::once(&self.offsets.committed).chain(pending) {
            for (place, offset) in offsets.iter() {
                if of_deleted(place.topic, offset) {
                    effects.records.push(place.tombstone());
                }
            }
        }
        effects.with(())
    }
}
