//! The budgets of replication, and of copying between log directories, and what of it they are for.

use ottla_metadata::config::BrokerConfigSources;
use ottla_protocol::ids::BrokerId;
use parking_lot::Mutex;

use crate::node::Node;
use crate::options::BrokerSettings;
use crate::replica::{Partition, ReplicationQuota};

/// Which side of replication a budget is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplicationSide {
    /// What a leader here sends to followers.
    Leader,
    /// What followers here fetch.
    Follower,
}

/// The budgets of a node.
#[derive(Debug)]
pub(crate) struct ReplicationQuotas {
    leader: Mutex<ReplicationQuota>,
    follower: Mutex<ReplicationQuota>,
    /// What replicas copy that move between log directories.
    directory_moves: Mutex<ReplicationQuota>,
}

impl ReplicationQuotas {
    /// Budgets without a limit.
    pub(crate) fn new(settings: &BrokerSettings) -> ReplicationQuotas {
        let window_ms = settings
            .replication_quota_window_size_seconds
            .saturating_mul(1_000);
        let count = settings.replication_quota_window_num;
        let quota = || Mutex::new(ReplicationQuota::new(window_ms, count));
        let moves_window_ms = settings
            .alter_log_dirs_replication_quota_window_size_seconds
            .saturating_mul(1_000);
        let moves_count = settings.alter_log_dirs_replication_quota_window_num;
        ReplicationQuotas {
            leader: quota(),
            follower: quota(),
            directory_moves: Mutex::new(ReplicationQuota::new(moves_window_ms, moves_count)),
        }
    }

    /// Takes the limits over that are in force.
    pub(crate) fn reconfigure(&self, sources: &BrokerConfigSources) {
        for (quota, name) in [
            (&self.leader, "leader.replication.throttled.rate"),
            (&self.follower, "follower.replication.throttled.rate"),
            (
                &self.directory_moves,
                "replica.alter.log.dirs.io.max.bytes.per.second",
            ),
        ] {
            let given = sources.given(name);
            let rate_max = given.and_then(|given| given.trim().parse().ok());
            quota.lock().set_rate_max(rate_max.unwrap_or(i64::MAX));
        }
    }

    /// Whether more was copied between log directories than may be.
    pub(crate) fn are_moves_exceeded(&self, node: &Node) -> bool {
        let now_ms = node.environment().clock.monotonic_ms();
        self.directory_moves.lock().is_exceeded(now_ms)
    }

    /// So many bytes were copied from one log directory to another.
    pub(crate) fn record_move(&self, node: &Node, bytes: u64) {
        let now_ms = node.environment().clock.monotonic_ms();
        self.directory_moves.lock().record(now_ms, bytes);
    }

    fn quota(&self, side: ReplicationSide) -> &Mutex<ReplicationQuota> {
        match side {
            ReplicationSide::Leader => &self.leader,
            ReplicationSide::Follower => &self.follower,
        }
    }

    /// Whether more of the throttled replicas has gone than may.
    pub(crate) fn is_exceeded(&self, node: &Node, side: ReplicationSide) -> bool {
        let now_ms = node.environment().clock.monotonic_ms();
        self.quota(side).lock().is_exceeded(now_ms)
    }

    /// Bytes of a partition went; they count if its replica here is throttled.
    pub(crate) fn record(
        &self,
        node: &Node,
        side: ReplicationSide,
        (partition, bytes): (&Partition, u64),
    ) {
        if bytes > 0 && is_throttled(partition, side) {
            let now_ms = node.environment().clock.monotonic_ms();
            self.quota(side).lock().record(now_ms, bytes);
        }
    }
}

/// Whether the topic's settings throttle the replica that is here.
pub(crate) fn is_throttled(partition: &Partition, side: ReplicationSide) -> bool {
    let replica = partition.read_lock();
    let topic = &replica.settings().topic;
    let throttled = match side {
        ReplicationSide::Leader => &topic.leader_replication_throttled_replicas,
        ReplicationSide::Follower => &topic.follower_replication_throttled_replicas,
    };
    let BrokerId(own_id) = partition.broker_id();
    throttled.contains(partition.index(), own_id)
}
