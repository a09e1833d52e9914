//! The controller: decides the records that change the cluster's metadata.
//!
//! Every `decide_…` method reads the state and gives a [`Decision`]: records to append, and the
//! response. Only [`Controller::replay`] changes what the records say. The owner of the log
//! appends the records, replays each at its offset, and sends the response when they are
//! committed; decide and replay run back to back, so that the next decision sees this one. A
//! failed append or lost leadership throws the controller away: a new one starts from the
//! committed image.
//!
//! What doesn't come from the log (which broker was heard of when) is soft state; the methods
//! that take heartbeats change it and start with `handle_`.

mod activation;
mod alter_partition;
mod api_error;
mod brokers;
mod configs;
mod elections;
mod features;
mod heartbeats;
mod partition_change;
mod partitions;
mod producer_ids;
mod quotas;
mod random;
mod reassignments;
mod replica_directories;
mod replica_placer;
#[cfg(test)]
mod tests;
mod topic_deletion;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::ids::{BrokerId, Offset};

use crate::Error;
use crate::features::MetadataVersion;
use crate::image::{ImageLoader, MetadataImage};
use crate::record::MetadataRecord;
use heartbeats::BrokerHeartbeats;

pub use api_error::ApiError;
pub use brokers::RegistrationContext;
pub use configs::AlterConfigsContext;
pub use features::FeaturesUpdate;
pub use random::Random;
pub use topics::validate_topic_name;

/// The most records that one decision may hold.
pub const DECISION_RECORDS_MAX: usize = 10_000;

/// What the controller was started with.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// The `node.id` of the controller.
    pub node_id: BrokerId,
    /// The cluster's id, which registrations must name.
    pub cluster_id: KafkaString,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `broker.session.timeout.ms`.
    pub session_timeout_ms: i64,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// The settings of the node's configuration file, which stand behind those in metadata.
    pub static_config: BTreeMap<String, String>,
    /// The ids of the quorum's voters, which must all support a level before it is finalized.
    pub voters: Vec<BrokerId>,
}

/// Records to append, and the response to give when they are committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<R> {
    /// The records, in order. They take effect together: one batch.
    pub records: Vec<MetadataRecord>,
    /// The response.
    pub response: R,
}

impl<R> Decision<R> {
    pub(crate) fn new(records: Vec<MetadataRecord>, response: R) -> Self {
        Self { records, response }
    }

    /// A response that depends on no record.
    pub(crate) fn only(response: R) -> Self {
        Self {
            records: Vec::new(),
            response,
        }
    }
}

/// The state of the active controller.
#[derive(Clone, Debug)]
pub struct Controller {
    options: Arc<ControllerOptions>,
    image: MetadataImage,
    heartbeats: BrokerHeartbeats,
    /// The offset of each broker's registration record: who has replayed it may be unfenced.
    registration_offsets: BTreeMap<BrokerId, Offset>,
    /// The state before the open metadata transaction.
    before_transaction: Option<MetadataImage>,
}

impl Controller {
    /// A controller over the committed image, whose last record stands at this offset.
    #[must_use]
    pub fn new(options: Arc<ControllerOptions>, image: MetadataImage, last_offset: Offset) -> Self {
        let brokers = image.cluster().brokers();
        let registration_offsets = brokers.keys().map(|id| (*id, last_offset)).collect();
        Self {
            options,
            image,
            heartbeats: BrokerHeartbeats::default(),
            registration_offsets,
            before_transaction: None,
        }
    }

    /// A controller that goes on where a follower of the log got to: a metadata transaction that
    /// the last active controller left open is open here too, until the activation aborts it.
    #[must_use]
    pub fn resume(
        options: Arc<ControllerOptions>,
        loader: &ImageLoader,
        last_offset: Offset,
    ) -> Self {
        Self {
            before_transaction: loader.before_transaction().cloned(),
            ..Self::new(options, loader.image().clone(), last_offset)
        }
    }

    /// The image after every record so far, whether committed or not.
    #[must_use]
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// What the controller was started with.
    #[must_use]
    pub fn options(&self) -> &ControllerOptions {
        &self.options
    }

    /// The voters of the quorum have changed.
    pub fn set_voters(&mut self, voters: Vec<BrokerId>) {
        if self.options.voters != voters {
            Arc::make_mut(&mut self.options).voters = voters;
        }
    }

    /// The level that decides the versions of the records to append.
    #[must_use]
    pub fn metadata_version(&self) -> MetadataVersion {
        self.image.features().metadata_version_or_minimum()
    }

    /// Applies a record at its offset.
    ///
    /// # Errors
    /// When the record doesn't fit; the controller is then no longer of use.
    pub fn replay(&mut self, record: &MetadataRecord, offset: Offset) -> Result<(), Error> {
        match record {
            MetadataRecord::BeginTransaction(_) => {
                self.before_transaction = Some(self.image.clone());
            }
            MetadataRecord::EndTransaction(_) => self.before_transaction = None,
            MetadataRecord::AbortTransaction(_) => {
                if let Some(image) = self.before_transaction.take() {
                    self.image = image;
                }
            }
            MetadataRecord::RegisterBroker(record) => {
                let id = BrokerId(record.broker_id);
                let earlier = self.image.cluster().broker(id);
                if earlier.is_none_or(|found| found.incarnation_id != record.incarnation_id) {
                    self.heartbeats.forget(id);
                }
                self.registration_offsets.insert(id, offset);
            }
            MetadataRecord::UnregisterBroker(record) => {
                let id = BrokerId(record.broker_id);
                self.heartbeats.forget(id);
                self.registration_offsets.remove(&id);
            }
            _ => {}
        }
        self.image.replay(record)
    }

    /// Whether a metadata transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.before_transaction.is_some()
    }

    /// The record that shows the controller to be alive, for every
    /// `metadata.max.idle.interval.ms`.
    #[must_use]
    pub fn decide_no_op(&self) -> Decision<()> {
        let record = ottla_protocol::messages::NoOpRecord::default();
        Decision::new(vec![record.into()], ())
    }
}
