//! The coordinators of this broker: their states by partition, kept in step with the partitions' logs.
//!
//! The decisions are made in the `coordinator` crate. Here records become durable and responses wait for that: a shard holds the state of one partition of a coordinator's topic, is loaded when this broker becomes its leader, and is dropped when it no longer is. One runtime serves every kind of coordinator:
//!
//! | file | holds |
//! |---|---|
//! | `state.rs` | what the runtime asks of a state |
//! | `coordinators.rs`, `shard.rs`, `shard/append.rs` | the coordinators of one kind, and one partition's |
//! | `loader.rs`, `records.rs`, `release.rs` | states from logs, records to logs, answers when these are committed |
//! | `group.rs`, `consumer_groups.rs`, `share_groups.rs`, `transaction.rs`, `share_state.rs` | the kinds |
//! | `markers.rs` | the end of a transaction, carried out |

mod consumer_groups;
mod coordinators;
mod group;
mod loader;
mod markers;
#[cfg(test)]
mod newer_record_tests;
mod records;
mod release;
mod shard;
mod share_groups;
mod share_state;
#[cfg(test)]
mod share_tests;
mod state;
mod streams_groups;
#[cfg(test)]
mod tests;
mod transaction;

pub(crate) use coordinators::Coordinators;
pub(crate) use group::{GROUP_METADATA_TOPIC, GroupCoordinators, partition_of_group};
pub use group::{GroupSettings, GroupSizes};
pub(crate) use records::marker_batch;
pub(crate) use release::{Commitment, release};
pub(crate) use shard::{EndMarker, TransactionalWrite};
pub use share_state::ShareStateSettings;
pub(crate) use share_state::{
    SHARE_GROUP_STATE_TOPIC, ShareStateCoordinators, measure_share_state_write,
    partition_of_share_state, write_share_state,
};
pub use transaction::TransactionSettings;
pub(crate) use transaction::{
    TRANSACTION_STATE_TOPIC, TransactionCoordinators, decide_for_producer, partition_of_transaction,
};

use ottla_protocol::ErrorCode;
use ottla_protocol::compression::{Codec, Compression};

/// How much of a coordinator's log is read at a time, where no setting says.
const LOAD_BYTES: u64 = 5 * 1024 * 1024;

/// The codec of that number; none if there is no such codec.
fn compression_of(codec: i32) -> Compression {
    u8::try_from(codec)
        .ok()
        .and_then(Codec::from_id)
        .map_or(Compression::NONE, Compression::new)
}

/// What a client of a coordinator hears of an append that failed.
pub(crate) fn coordinator_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::REQUEST_TIMED_OUT => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => {
            ErrorCode::NOT_COORDINATOR
        }
        ErrorCode::MESSAGE_TOO_LARGE
        | ErrorCode::RECORD_LIST_TOO_LARGE
        | ErrorCode::INVALID_FETCH_SIZE => ErrorCode::UNKNOWN_SERVER_ERROR,
        other => other,
    }
}
