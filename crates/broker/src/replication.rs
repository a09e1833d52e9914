//! What follows a change of a partition: syncs to run, requests to wake, directories to give up.

use std::sync::Arc;

use ottla_log::SyncJob;
use ottla_protocol::ErrorCode;

use crate::environment::JobKind;
use crate::node::Node;
use crate::replica::{AppendError, Effects, Offline, Partition};

impl Node {
    /// Does what a change of `partition` asks for.
    pub(crate) fn carry_out(self: &Arc<Self>, partition: &Arc<Partition>, effects: Effects) {
        if let Some(sync) = effects.sync {
            self.start_sync(partition, sync);
        }
        if effects.wake {
            partition.watchers().check();
        }
        if effects.followed {
            self.replica_fetchers().synced(self, partition);
        }
        if let Some(change) = effects.isr_change {
            self.isr_changes().ask(self, partition, change);
        }
    }

    /// Makes a partition's log durable in the background; who waits for it is woken then.
    pub(crate) fn start_sync(self: &Arc<Self>, partition: &Arc<Partition>, sync: SyncJob) {
        let partition = Arc::clone(partition);
        self.submit(JobKind::Sync, move |node| {
            let result = sync.run();
            let now_ms = node.environment().clock.monotonic_ms();
            match partition.complete_sync(result, now_ms) {
                Ok(effects) => node.carry_out(&partition, effects),
                Err(error @ ottla_log::Error::Renamed(_)) => {
                    tracing::debug!(topic = %partition.topic(), partition = partition.index(), %error, "a sync came too late");
                }
                Err(error) => {
                    tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "a sync failed");
                    node.check_directories();
                }
            }
        });
    }

    /// After an append that failed: a directory that has failed goes offline.
    pub(crate) fn note_append_error(self: &Arc<Self>, error: &AppendError) {
        if error.code == ErrorCode::KAFKA_STORAGE_ERROR {
            self.check_directories();
        }
    }

    /// Takes the partitions of failed directories offline, for good; without any directory left, the node ends.
    pub(crate) fn check_directories(self: &Arc<Self>) {
        let failed = self.directories().newly_failed();
        if failed.is_empty() {
            return;
        }
        for directory in failed {
            tracing::error!(directory = %directory.path().display(), "log directory is offline");
            crate::directory_moves::directory_failed(self, directory.id());
            for partition in self.partitions().all() {
                if partition.directory_id() == directory.id() {
                    partition.take_offline(Offline::StorageFailed);
                    self.replica_fetchers().removed(self, &partition);
                }
            }
        }
        if self.directories().online_ids().is_empty() {
            self.fail("every log directory has failed".to_owned());
            return;
        }
        crate::lifecycle::report(self);
    }
}
