//! The image: what a prefix of the metadata log amounts to.
//!
//! An image is the fold of [`MetadataImage::replay`] over the records up to an offset, or of a
//! snapshot and the records after it. Its parts stand behind `Arc`s, so that a clone is cheap
//! and a replay copies only what it changes. [`ImageLoader`] adds what a follower of the log
//! needs: metadata transactions, and what changed since the last publication.

mod acls;
mod cluster;
mod configs;
mod delegation_tokens;
mod delta;
mod describe_quotas;
mod features;
mod loader;
mod quotas;
mod scram;
#[cfg(test)]
mod tests;
mod topics;

use std::sync::Arc;

use ottla_protocol::messages::ProducerIdsRecord;

use crate::Error;
use crate::record::MetadataRecord;

pub use acls::{AccessControlEntry, AclsImage};
pub use cluster::{BrokerRegistration, ClusterImage, ControllerRegistration, Endpoint};
pub use configs::{ConfigResource, ConfigResourceType, ConfigurationImage, ConfigurationsImage};
pub use delegation_tokens::{DelegationToken, DelegationTokensImage};
pub use delta::MetadataDelta;
pub use features::FeaturesImage;
pub use loader::ImageLoader;
pub use quotas::{ClientQuotasImage, QuotaEntity};
pub use scram::{ScramCredential, ScramImage, ScramKey};
pub use topics::{
    DIRECTORY_LOST, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED, LeaderRecoveryState,
    PartitionRegistration, TopicImage, TopicsImage, is_reserved_directory,
};
pub(crate) use topics::{broker_ids, numbers};

/// The cluster's metadata at one offset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataImage {
    features: Arc<FeaturesImage>,
    cluster: Arc<ClusterImage>,
    topics: Arc<TopicsImage>,
    configs: Arc<ConfigurationsImage>,
    client_quotas: Arc<ClientQuotasImage>,
    next_producer_id: Option<i64>,
    acls: Arc<AclsImage>,
    scram: Arc<ScramImage>,
    delegation_tokens: Arc<DelegationTokensImage>,
}

impl MetadataImage {
    /// The finalized feature levels.
    #[must_use]
    pub fn features(&self) -> &FeaturesImage {
        &self.features
    }

    /// The registered brokers and controllers.
    #[must_use]
    pub fn cluster(&self) -> &ClusterImage {
        &self.cluster
    }

    /// The topics and their partitions.
    #[must_use]
    pub fn topics(&self) -> &TopicsImage {
        &self.topics
    }

    /// The configuration that lives in metadata, by resource.
    #[must_use]
    pub fn configs(&self) -> &ConfigurationsImage {
        &self.configs
    }

    /// The client quotas.
    #[must_use]
    pub fn client_quotas(&self) -> &ClientQuotasImage {
        &self.client_quotas
    }

    /// The first producer id that was never handed out, if any was.
    #[must_use]
    pub fn next_producer_id(&self) -> Option<i64> {
        self.next_producer_id
    }

    /// The access control entries.
    #[must_use]
    pub fn acls(&self) -> &AclsImage {
        &self.acls
    }

    /// The users' SCRAM credentials.
    #[must_use]
    pub fn scram(&self) -> &ScramImage {
        &self.scram
    }

    /// The delegation tokens.
    #[must_use]
    pub fn delegation_tokens(&self) -> &DelegationTokensImage {
        &self.delegation_tokens
    }

    /// Applies the next record.
    ///
    /// The records that delimit metadata transactions change nothing here: who follows a log in
    /// which a transaction may be aborted goes through [`ImageLoader`].
    ///
    /// # Errors
    /// When the record doesn't fit the image: the log is corrupt, or a record was left out.
    /// The image is then no longer of use.
    pub fn replay(&mut self, record: &MetadataRecord) -> Result<(), Error> {
        use MetadataRecord as R;
        match record {
            R::RegisterBroker(record) => Arc::make_mut(&mut self.cluster).register_broker(record),
            R::UnregisterBroker(record) => {
                return Arc::make_mut(&mut self.cluster).unregister_broker(record);
            }
            R::FenceBroker(record) => {
                return Arc::make_mut(&mut self.cluster).fence_broker(record);
            }
            R::UnfenceBroker(record) => {
                return Arc::make_mut(&mut self.cluster).unfence_broker(record);
            }
            R::BrokerRegistrationChange(record) => {
                return Arc::make_mut(&mut self.cluster).change_broker(record);
            }
            R::RegisterController(record) => {
                Arc::make_mut(&mut self.cluster).register_controller(record);
            }
            R::Topic(record) => return Arc::make_mut(&mut self.topics).add_topic(record),
            R::Partition(record) => return Arc::make_mut(&mut self.topics).add_partition(record),
            R::PartitionChange(record) => {
                return Arc::make_mut(&mut self.topics).change_partition(record);
            }
            R::RemoveTopic(record) => {
                let topic = Arc::make_mut(&mut self.topics).remove_topic(record)?;
                Arc::make_mut(&mut self.configs).remove_topic(topic.name());
            }
            R::ClearElr(record) => {
                return Arc::make_mut(&mut self.topics).clear_eligible_leader_replicas(record);
            }
            R::Config(record) => return Arc::make_mut(&mut self.configs).set(record),
            R::FeatureLevel(record) => return Arc::make_mut(&mut self.features).set(record),
            R::ClientQuota(record) => Arc::make_mut(&mut self.client_quotas).set(record),
            R::ProducerIds(record) => self.next_producer_id = Some(record.next_producer_id),
            R::AccessControlEntry(record) => Arc::make_mut(&mut self.acls).add(record),
            R::RemoveAccessControlEntry(record) => {
                return Arc::make_mut(&mut self.acls).remove(record);
            }
            R::UserScramCredential(record) => Arc::make_mut(&mut self.scram).set(record),
            R::RemoveUserScramCredential(record) => Arc::make_mut(&mut self.scram).remove(record),
            R::DelegationToken(record) => Arc::make_mut(&mut self.delegation_tokens).set(record),
            R::RemoveDelegationToken(record) => {
                Arc::make_mut(&mut self.delegation_tokens).remove(record);
            }
            R::NoOp(_)
            | R::ZkMigrationState(_)
            | R::BeginTransaction(_)
            | R::EndTransaction(_)
            | R::AbortTransaction(_) => {}
        }
        Ok(())
    }

    /// The records of a snapshot of this image, in the order in which Kafka writes them: the
    /// level of `metadata.version`, which decides how the others are read, stands first.
    #[must_use]
    pub fn write_snapshot(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        self.features.write_snapshot(&mut records);
        self.cluster.write_snapshot(&self.features, &mut records);
        self.topics.write_snapshot(&self.features, &mut records);
        self.configs.write_snapshot(&mut records);
        self.client_quotas.write_snapshot(&mut records);
        if let Some(next_producer_id) = self.next_producer_id {
            let record = ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id,
                ..ProducerIdsRecord::default()
            };
            records.push(record.into());
        }
        self.acls.write_snapshot(&mut records);
        self.scram.write_snapshot(&mut records);
        self.delegation_tokens.write_snapshot(&mut records);
        records
    }
}
