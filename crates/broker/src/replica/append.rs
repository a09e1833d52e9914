//! The leader's append: check, stamp, write, count.

use ottla_log::{Append, AppendInfo, VerificationGuard};
use ottla_protocol::ErrorCode;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::Offset;
use ottla_protocol::record::validate::{
    self, AppendOrigin, ValidationContext, ValidationError, validate_and_assign,
};

use super::AppendError;
use super::partition::{Appended, Effects, Replica};

/// The circumstances of an append.
#[derive(Debug)]
pub(crate) struct AppendContext<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    /// The version of the produce request; none for a coordinator's own records.
    pub(crate) produce_version: Option<i16>,
    pub(crate) required_acks: i16,
    pub(crate) now_ms: i64,
    /// The `transaction.version` of the markers that are appended; -1 without any.
    pub(crate) transaction_version: i16,
    /// What shows that a transaction's coordinator knows of it.
    pub(crate) verification: Option<VerificationGuard>,
    pub(crate) workspace: &'a mut Workspace,
}

impl Replica {
    /// Takes what a producer sent, checked and stamped where it lies.
    pub(super) fn append_as_leader(
        &mut self,
        batches: &mut [u8],
        context: &mut AppendContext<'_>,
    ) -> Result<Appended, AppendError> {
        // The request itself is judged before the partition is asked, as in Apache Kafka.
        if let Some(version) = context.produce_version {
            validate::check_produce_records(version, batches)?;
        }
        self.check_leader(-1)?;
        self.check_enough_replicas(context.required_acks)?;
        let origin = match context.produce_version {
            Some(_) => AppendOrigin::Client,
            None => AppendOrigin::Coordinator,
        };
        let settings = self.settings().clone();
        let validation = ValidationContext {
            topic: context.topic,
            partition: context.partition,
            origin,
            next_offset: self.log.log_end_offset().0,
            partition_leader_epoch: self.state().leader_epoch.0,
            now_ms: context.now_ms,
            timestamp_type: settings.timestamp_type(),
            compression: settings.compression(),
            is_compacted: settings.topic.cleanup_policy.compact,
            timestamp_before_max_ms: settings.topic.message_timestamp_before_max_ms,
            timestamp_after_max_ms: settings.topic.message_timestamp_after_max_ms,
            batch_bytes_max: usize::try_from(settings.topic.max_message_bytes).unwrap_or(0),
            decompressed_bytes_max: settings.decompressed_bytes_max(),
        };
        let validated = validate_and_assign(batches, &validation, context.workspace)
            .map_err(|error| self.rejection(error))?;
        let append = Append {
            transaction_version: context.transaction_version,
            requires_verification: settings.requires_transaction_verification(),
            verification: context.verification,
            ..Append::new(origin, context.now_ms)
        };
        let info = self.log.append(validated.as_bytes(batches), append);
        let info = info.map_err(|error| self.refusal(&error))?;
        let log_append_time_ms = match info.duplicate {
            Some(duplicate) => duplicate.timestamp,
            None if settings.topic.log_append_time => context.now_ms,
            _ => -1,
        };
        let effects = self.after_append(&info, validated.record_count);
        Ok(Appended {
            base_offset: info.first_offset.0,
            required_offset: Offset(info.last_offset.0 + 1),
            log_append_time_ms,
            log_start_offset: info.log_start_offset.0,
            leader_epoch: self.state().leader_epoch,
            bytes: info.size,
            records: validated.record_count,
            effects,
        })
    }

    fn check_enough_replicas(&self, required_acks: i16) -> Result<(), AppendError> {
        if required_acks < 0 && self.is_under_min_isr() {
            return Err(ErrorCode::NOT_ENOUGH_REPLICAS.into());
        }
        Ok(())
    }

    fn after_append(&mut self, info: &AppendInfo, records: usize) -> Effects {
        if info.duplicate.is_none() {
            self.count_unsynced(i64::try_from(records).unwrap_or(i64::MAX));
        }
        let is_flush_due = self.unsynced_messages() >= self.settings().topic.flush_messages;
        if is_flush_due && info.duplicate.is_none() {
            self.hold(info.first_offset, Offset(info.last_offset.0 + 1));
        }
        let mut effects = self.after_change();
        if effects.sync.is_none() && (is_flush_due || info.rolled) {
            effects.sync = self.request_sync();
        }
        effects
    }

    /// What a client hears of records that are not as they must be.
    fn rejection(&self, error: ValidationError) -> AppendError {
        let mut rejected = AppendError::from(error);
        if !matches!(
            rejected.code,
            ErrorCode::CORRUPT_MESSAGE | ErrorCode::MESSAGE_TOO_LARGE
        ) {
            rejected.log_start_offset = self.log.log_start_offset().0;
        }
        rejected
    }

    /// What a client hears of a log that refused: a code, and no words.
    fn refusal(&self, error: &ottla_log::Error) -> AppendError {
        use ottla_log::Error;
        let code = match error {
            Error::RecordBatchTooLarge { .. } => ErrorCode::RECORD_LIST_TOO_LARGE,
            Error::OutOfOrderSequence { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            Error::InvalidProducerEpoch { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
            Error::InvalidTransactionState { .. } | Error::UnverifiedTransaction { .. } => {
                ErrorCode::INVALID_TXN_STATE
            }
            Error::TransactionCoordinatorFenced { .. } => ErrorCode::TRANSACTION_COORDINATOR_FENCED,
            Error::InvalidBatch(_) => ErrorCode::CORRUPT_MESSAGE,
            _ => ErrorCode::KAFKA_STORAGE_ERROR,
        };
        let mut refused = AppendError::new(code);
        match code {
            ErrorCode::KAFKA_STORAGE_ERROR => {
                tracing::error!(partition = %self.log.topic_partition(), %error, "an append failed");
            }
            ErrorCode::RECORD_LIST_TOO_LARGE => {}
            _ => refused.log_start_offset = self.log.log_start_offset().0,
        }
        refused
    }
}
