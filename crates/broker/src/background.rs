//! What a node does again and again: retention, checkpoints, flushes, expiry.

use std::sync::Arc;

use crate::environment::JobKind;
use crate::node::{Node, NodeState};
use crate::replica::Partition;

/// How often deleted files are looked for whose delay has passed.
const FILE_REMOVAL_INTERVAL_MS: i64 = 10_000;
/// How long after the start retention is first looked at.
const RETENTION_INITIAL_DELAY_MS: i64 = 30_000;

/// Schedules everything that recurs.
pub(crate) fn start(node: &Arc<Node>) {
    let settings = &node.options().broker;
    let repeat = |first_ms: i64, interval_ms: i64, work: fn(&Arc<Node>)| {
        schedule(node, first_ms, interval_ms, work);
    };
    let retention_ms = settings.log_retention_check_interval_ms;
    repeat(
        RETENTION_INITIAL_DELAY_MS.min(retention_ms),
        retention_ms,
        apply_retention,
    );
    repeat(
        FILE_REMOVAL_INTERVAL_MS,
        FILE_REMOVAL_INTERVAL_MS,
        remove_files,
    );
    let flush_ms = settings.log_flush_scheduler_interval_ms;
    if flush_ms < i64::MAX {
        repeat(flush_ms, flush_ms, flush_due);
    }
    let checkpoint_ms = settings.log_flush_offset_checkpoint_interval_ms;
    repeat(checkpoint_ms, checkpoint_ms, checkpoint_recovery_points);
    let start_ms = settings.log_flush_start_offset_checkpoint_interval_ms;
    repeat(start_ms, start_ms, |node| {
        node.checkpoint_log_start_offsets();
    });
    let high_watermark_ms = settings.replica_high_watermark_checkpoint_interval_ms;
    repeat(
        high_watermark_ms,
        high_watermark_ms,
        checkpoint_high_watermarks,
    );
    // As often as it takes for no follower to be behind for much longer than it may.
    let lag_ms = (settings.replica_lag_time_max_ms / 2).max(1);
    repeat(lag_ms, lag_ms, crate::isr_changes::check_followers);
    let expiry_ms = settings.producer_id_expiration_check_interval_ms;
    repeat(expiry_ms, expiry_ms, expire_producers);
}

fn schedule(node: &Arc<Node>, delay_ms: i64, interval_ms: i64, work: fn(&Arc<Node>)) {
    node.submit_after(delay_ms, JobKind::Housekeeping, move |node| {
        if node.state() == NodeState::Stopped {
            return;
        }
        work(node);
        schedule(node, interval_ms, interval_ms, work);
    });
}

fn apply_retention(node: &Arc<Node>) {
    let now_ms = node.environment().clock.wall_ms();
    for partition in node.partitions().all() {
        let mut replica = partition.write_lock();
        if replica.is_offline() {
            continue;
        }
        // Of these the cleaner takes care, between two cleanings.
        if node.has_cleaner() && replica.settings().topic.cleanup_policy.compact {
            continue;
        }
        if let Err(error) = replica.log.delete_old_segments(now_ms) {
            tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "retention failed");
        }
    }
    node.checkpoint_log_start_offsets();
}

fn remove_files(node: &Arc<Node>) {
    let now_ms = node.environment().clock.wall_ms();
    for partition in node.replicas() {
        let is_due = |due: i64| due <= now_ms;
        if !partition
            .read_lock()
            .log
            .next_file_removal_ms()
            .is_some_and(is_due)
        {
            continue;
        }
        if let Err(error) = partition.write_lock().log.remove_deleted_files(now_ms) {
            tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "deleted files could not be removed");
        }
    }
    node.directories().remove_deleted_partitions(now_ms);
}

fn flush_due(node: &Arc<Node>) {
    let now_ms = node.environment().clock.monotonic_ms();
    for partition in node.partitions().all() {
        let effects = partition.flush_if_due(now_ms);
        node.carry_out(&partition, effects);
    }
}

fn expire_producers(node: &Arc<Node>) {
    let now_ms = node.environment().clock.wall_ms();
    for partition in node.partitions().all() {
        partition.write_lock().log.remove_expired_producers(now_ms);
    }
}

fn checkpoint_recovery_points(node: &Arc<Node>) {
    node.directories().write_recovery_points(&node.replicas());
}

fn checkpoint_high_watermarks(node: &Arc<Node>) {
    node.directories().write_high_watermarks(&node.replicas());
}

impl Node {
    /// Writes where each log starts, as far as that is not where its files start.
    pub(crate) fn checkpoint_log_start_offsets(&self) {
        self.directories().write_log_start_offsets(&self.replicas());
    }

    /// Every replica, and every copy of one that is on its way to another log directory.
    pub(crate) fn replicas(&self) -> Vec<Arc<Partition>> {
        let mut replicas = self.partitions().all();
        replicas.extend(self.directory_moves().copies());
        replicas
    }

    /// Writes every checkpoint of every log directory.
    pub(crate) fn checkpoint_all(&self) {
        let replicas = self.replicas();
        let directories = self.directories();
        directories.write_recovery_points(&replicas);
        directories.write_log_start_offsets(&replicas);
        directories.write_high_watermarks(&replicas);
        directories.write_cleaner_offsets(&replicas);
    }
}
