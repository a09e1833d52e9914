//! The leader's side of share groups (KIP-932): who fetches what, and which records are with whom.
//!
//! | file | holds |
//! |---|---|
//! | `sessions.rs` | share sessions: what each member fetches from this broker |
//! | `led_partition.rs` | a share partition with its lock, its timer and its persisted state |
//! | `settings.rs` | settings of share groups in force |
//! | `spans.rs` | the headers of fetched batches, and the part of the batches that was acquired |
//! | `counts.rs` | what is counted and measured |

mod counts;
mod led_partition;
mod sessions;
mod settings;
mod spans;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::image::MetadataDelta;
use ottla_protocol::{ErrorCode, KafkaString, Uuid};
use parking_lot::Mutex;

use crate::environment::JobKind;
use crate::node::Node;
use crate::purgatory::Watchers;
use crate::replica::Partition;
use crate::request::ConnectionContext;

pub(crate) use counts::ShareCounts;
pub use counts::{ShareGauges, SharePartitionGauges};
pub(crate) use led_partition::{FetchLock, LedSharePartition, Refused};
pub(crate) use sessions::{OpenSession, SessionContext, SessionKey, ShareSessions, Wanted};
pub use settings::ShareGroupSettings;
pub(crate) use settings::{is_enabled, limits, reads_committed};
pub(crate) use spans::read_spans;

/// The finalised feature that share groups need.
const SHARE_VERSION: &str = "share.version";

/// A share partition: a group, a topic and a partition of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShareKey {
    pub(crate) group: KafkaString,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
}

/// Share sessions and share partitions of a broker.
#[derive(Debug)]
pub(crate) struct ShareGroups {
    sessions: ShareSessions,
    partitions: Mutex<BTreeMap<ShareKey, Arc<LedSharePartition>>>,
    counts: ShareCounts,
}

impl ShareGroups {
    pub(crate) fn new(settings: &ShareGroupSettings) -> ShareGroups {
        ShareGroups {
            sessions: ShareSessions::new(settings.share_sessions_max),
            partitions: Mutex::default(),
            counts: ShareCounts::default(),
        }
    }

    pub(crate) fn sessions(&self) -> &ShareSessions {
        &self.sessions
    }

    pub(crate) fn counts(&self) -> &ShareCounts {
        &self.counts
    }

    /// The share partition, if anybody has fetched from it.
    pub(crate) fn get(&self, key: &ShareKey) -> Option<Arc<LedSharePartition>> {
        self.partitions.lock().get(key).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<LedSharePartition>> {
        self.partitions.lock().values().cloned().collect()
    }

    /// The share partition, taken up from its persisted state if this is the first that is heard of it.
    pub(crate) fn open(
        &self,
        node: &Arc<Node>,
        key: &ShareKey,
        replica: &Arc<Partition>,
    ) -> Result<Arc<LedSharePartition>, ErrorCode> {
        let leader_epoch = {
            let locked = replica.read_lock();
            locked.check_leader(-1)?;
            locked.state().leader_epoch.0
        };
        let opened = {
            let mut partitions = self.partitions.lock();
            if let Some(partition) = partitions.get(key) {
                return Ok(Arc::clone(partition));
            }
            let opened = Arc::new(LedSharePartition::new(
                key.clone(),
                Arc::clone(replica),
                leader_epoch,
                node,
            ));
            partitions.insert(key.clone(), Arc::clone(&opened));
            opened
        };
        opened.load(node);
        Ok(opened)
    }

    /// Forgets a share partition; whoever waits for it finds out.
    pub(crate) fn remove(&self, node: &Arc<Node>, partition: &Arc<LedSharePartition>) {
        {
            let mut partitions = self.partitions.lock();
            let is_same = partitions
                .get(partition.key())
                .is_some_and(|known| Arc::ptr_eq(known, partition));
            if is_same {
                partitions.remove(partition.key());
            }
            let group = &partition.key().group;
            if !has_group(&partitions, group) {
                node.metrics().share_groups().remove_group(group);
            }
        }
        partition.fence(node);
        wake(node, partition.watchers());
    }

    /// Forgets the share partitions of partitions that this broker does not lead any more; all of them, and the
    /// sessions, where share groups are switched off.
    pub(crate) fn metadata_applied(&self, node: &Arc<Node>, delta: &MetadataDelta) {
        let is_switched = delta.features.iter().any(|name| name == SHARE_VERSION);
        if is_switched && !is_enabled(node) {
            self.sessions.close_all();
            for partition in self.all() {
                self.remove(node, &partition);
            }
            return;
        }
        for partition in self.all() {
            if partition.replica().read_lock().check_leader(-1).is_err() {
                self.remove(node, &partition);
            }
        }
    }

    /// Takes back what a member has whose connection is gone, and ends its session.
    pub(crate) fn connection_closed(&self, node: &Arc<Node>, connection: &ConnectionContext) {
        let Some(closed) = self.sessions.connection_closed(connection.id) else {
            return;
        };
        if let Some(partitions) = closed.partitions {
            self.counts.count_eviction();
            self.release(node, &closed.key, &partitions);
        }
        if closed.is_group_empty {
            for partition in self.all() {
                if partition.key().group == closed.key.group {
                    self.remove(node, &partition);
                }
            }
        }
    }

    /// Takes back what a member has of these partitions.
    pub(crate) fn release(
        &self,
        node: &Arc<Node>,
        member: &SessionKey,
        partitions: &[(Uuid, i32)],
    ) {
        for (topic_id, partition) in partitions {
            let key = ShareKey {
                group: member.group.clone(),
                topic_id: *topic_id,
                partition: *partition,
            };
            if let Some(partition) = self.get(&key) {
                partition.release_member(node, &member.member);
            }
        }
    }
}

fn has_group(partitions: &BTreeMap<ShareKey, Arc<LedSharePartition>>, group: &KafkaString) -> bool {
    let first = ShareKey {
        group: group.clone(),
        topic_id: Uuid::ZERO,
        partition: 0,
    };
    let next = partitions.range(first..).next();
    next.is_some_and(|(key, _)| key.group == *group)
}

/// Lets the requests that wait look again, on a thread that may wait for a disk.
pub(crate) fn wake(node: &Arc<Node>, watchers: &Arc<Watchers>) {
    if watchers.is_watched() {
        let watchers = Arc::clone(watchers);
        node.submit(JobKind::ColdRead, move |_| watchers.check());
    }
}
