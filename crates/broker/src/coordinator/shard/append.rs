//! What a coordinator decides, appended to its partition's log and taken into its state.

use std::sync::Arc;

use ottla_coordinator::Now;
use ottla_log::VerificationGuard;
use ottla_protocol::ErrorCode;
use ottla_protocol::compression::Workspace;

use super::{Active, EndMarker, Shard, TransactionalWrite, milliseconds};
use crate::coordinator::coordinator_error;
use crate::coordinator::records::{Batching, marker_batch, to_batches};
use crate::coordinator::state::{CoordinatorSettings, CoordinatorState};
use crate::node::Node;
use crate::replica::{AppendContext, AppendError, Appended, Effects};

/// Which acknowledgements an append of a coordinator wants: those of all in-sync replicas.
const REQUIRED_ACKS: i16 = -1;

/// What to append.
pub(super) enum Change<'a, C: CoordinatorState> {
    Records(&'a [C::Record], Option<TransactionalWrite>),
    End(&'a EndMarker),
}

/// Why a decision did not come to the log.
pub(super) enum Failure {
    /// The log could not take it: state and log may differ.
    Reload(ErrorCode),
    /// The log refuses the producer: nothing has changed.
    Refused(ErrorCode),
}

impl<C: CoordinatorState> Shard<C> {
    /// Appends records, and takes them into the state.
    pub(super) fn append(
        &self,
        node: &Arc<Node>,
        (active, now): (&mut Active<C>, Now),
        (records, write): (&[C::Record], Option<TransactionalWrite>),
    ) -> Result<Effects, Failure> {
        let batching = Batching {
            compression: self.settings.compression(),
            now,
            batch_bytes_max: {
                let replica = self.partition.read_lock();
                usize::try_from(replica.settings().topic.max_message_bytes).unwrap_or(0)
            },
            write,
        };
        let batches = to_batches::<C>(records, &batching).map_err(Failure::Reload)?;
        let appended = self
            .write(
                node,
                (batches, now.wall_ms),
                (-1, write.and_then(|write| write.verification)),
            )
            .map_err(|error| self.failure(node, &error, write.is_some()))?;
        let producer_id = write.map(|write| write.producer_id);
        for (offset, record) in (appended.base_offset..).zip(records) {
            active.coordinator.replay(now, offset, producer_id, record);
        }
        active.end_offset = appended.required_offset;
        active.leader_epoch = appended.leader_epoch;
        Ok(appended.effects)
    }

    /// Appends the end of a producer's transaction, and takes it into the state.
    pub(super) fn append_marker(
        &self,
        node: &Arc<Node>,
        (active, now): (&mut Active<C>, Now),
        marker: &EndMarker,
    ) -> Result<Effects, Failure> {
        let batch = marker_batch(marker, now.wall_ms).map_err(Failure::Refused)?;
        let appended = self
            .write(
                node,
                (batch, now.wall_ms),
                (marker.transaction_version, None),
            )
            .map_err(|error| self.failure(node, &error, true))?;
        active
            .coordinator
            .replay_end_transaction(marker.producer_id, marker.committed);
        active.end_offset = appended.required_offset;
        active.leader_epoch = appended.leader_epoch;
        Ok(appended.effects)
    }

    fn write(
        &self,
        node: &Node,
        (mut batches, now_ms): (Vec<u8>, i64),
        (transaction_version, verification): (i16, Option<VerificationGuard>),
    ) -> Result<Appended, AppendError> {
        let mut workspace = Workspace::new();
        let mut context = AppendContext {
            topic: self.partition.topic(),
            partition: self.partition.index(),
            produce_version: None,
            required_acks: REQUIRED_ACKS,
            now_ms,
            transaction_version,
            verification,
            workspace: &mut workspace,
        };
        let clock = &node.environment().clock;
        let begun_ms = clock.monotonic_ms();
        let appended = self.partition.append_as_leader(&mut batches, &mut context);
        let flush_time = milliseconds(begun_ms, clock.monotonic_ms());
        self.measures.flush_time.record(flush_time);
        appended
    }

    /// What a failed append means: one that the producer is to blame for leaves the state as it is.
    fn failure(&self, node: &Arc<Node>, error: &AppendError, is_transactional: bool) -> Failure {
        let is_producers_fault = matches!(
            error.code,
            ErrorCode::INVALID_PRODUCER_EPOCH
                | ErrorCode::INVALID_TXN_STATE
                | ErrorCode::TRANSACTION_COORDINATOR_FENCED
                | ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
        );
        if is_transactional && is_producers_fault {
            return Failure::Refused(error.code);
        }
        node.note_append_error(error);
        tracing::warn!(
            topic = %self.partition.topic(),
            partition = self.partition.index(),
            error = %error.code,
            "a coordinator's decision could not be appended: the partition is loaded again"
        );
        Failure::Reload(coordinator_error(error.code))
    }
}
