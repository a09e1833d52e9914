use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use ottla_protocol::{KafkaString, Uuid};

use super::{ConfigResource, MetadataImage, QuotaEntity, ScramKey};
use crate::features::METADATA_VERSION;
use crate::record::MetadataRecord;

/// What differs between two images, as the keys of what changed: the values are in the images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataDelta {
    /// The features whose level changed, `metadata.version` among them.
    pub features: BTreeSet<KafkaString>,
    /// The brokers that registered, changed, or are gone.
    pub brokers: BTreeSet<BrokerId>,
    /// The controllers that registered or changed.
    pub controllers: BTreeSet<BrokerId>,
    /// The topics that are new.
    pub topics_created: BTreeSet<TopicId>,
    /// The topics that the earlier image has and the later lacks, with their names.
    pub topics_deleted: BTreeMap<TopicId, KafkaString>,
    /// The partitions that are new or changed, of topics that the later image has.
    pub partitions: BTreeMap<TopicId, BTreeSet<PartitionIndex>>,
    /// The resources whose configuration changed.
    pub configs: BTreeSet<ConfigResource>,
    /// The entities whose quotas changed.
    pub client_quotas: BTreeSet<QuotaEntity>,
    /// Whether a block of producer ids was handed out.
    pub producer_ids: bool,
    /// The access control entries that were added or removed.
    pub acls: BTreeSet<Uuid>,
    /// The SCRAM credentials that were set or removed.
    pub scram: BTreeSet<ScramKey>,
    /// The delegation tokens that were set or removed.
    pub delegation_tokens: BTreeSet<KafkaString>,
}

impl MetadataDelta {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes note of what a record is about to change in the image that it will be replayed
    /// into. Deleting what the same delta created leaves no trace of either.
    pub fn note(&mut self, image: &MetadataImage, record: &MetadataRecord) {
        use MetadataRecord as R;
        match record {
            R::RegisterBroker(record) => self.note_broker(record.broker_id),
            R::UnregisterBroker(record) => self.note_broker(record.broker_id),
            R::FenceBroker(record) => self.note_broker(record.id),
            R::UnfenceBroker(record) => self.note_broker(record.id),
            R::BrokerRegistrationChange(record) => self.note_broker(record.broker_id),
            R::RegisterController(record) => {
                self.controllers.insert(BrokerId(record.controller_id));
            }
            R::Topic(record) => {
                self.topics_created.insert(TopicId(record.topic_id));
            }
            R::Partition(record) => self.note_partition(record.topic_id, record.partition_id),
            R::PartitionChange(record) => self.note_partition(record.topic_id, record.partition_id),
            R::RemoveTopic(record) => self.note_removed_topic(image, TopicId(record.topic_id)),
            R::ClearElr(record) => self.note_cleared(image, &record.topic_name),
            R::Config(record) => {
                let kind = super::ConfigResourceType::from_number(record.resource_type);
                self.configs.extend(
                    kind.map(|kind| ConfigResource::new(kind, record.resource_name.detached())),
                );
            }
            R::FeatureLevel(record) => {
                self.features.insert(record.name.detached());
            }
            R::ClientQuota(record) => {
                self.client_quotas.insert(QuotaEntity::of_record(record));
            }
            R::ProducerIds(_) => self.producer_ids = true,
            R::AccessControlEntry(record) => {
                self.acls.insert(record.id);
            }
            R::RemoveAccessControlEntry(record) => {
                self.acls.insert(record.id);
            }
            R::UserScramCredential(record) => self.note_scram(record.mechanism, &record.name),
            R::RemoveUserScramCredential(record) => self.note_scram(record.mechanism, &record.name),
            R::DelegationToken(record) => {
                self.delegation_tokens.insert(record.token_id.detached());
            }
            R::RemoveDelegationToken(record) => {
                self.delegation_tokens.insert(record.token_id.detached());
            }
            R::NoOp(_)
            | R::ZkMigrationState(_)
            | R::BeginTransaction(_)
            | R::EndTransaction(_)
            | R::AbortTransaction(_) => {}
        }
    }

    fn note_broker(&mut self, id: i32) {
        self.brokers.insert(BrokerId(id));
    }

    fn note_partition(&mut self, topic_id: Uuid, index: i32) {
        self.partitions
            .entry(TopicId(topic_id))
            .or_default()
            .insert(PartitionIndex(index));
    }

    fn note_scram(&mut self, mechanism: i8, user: &KafkaString) {
        self.scram.insert(ScramKey {
            mechanism,
            user: user.detached(),
        });
    }

    fn note_removed_topic(&mut self, image: &MetadataImage, id: TopicId) {
        self.partitions.remove(&id);
        let Some(topic) = image.topics().get(id) else {
            return;
        };
        let resource = ConfigResource::topic(topic.name().clone());
        if image.configs().of(&resource).is_some() {
            self.configs.insert(resource);
        }
        if !self.topics_created.remove(&id) {
            self.topics_deleted.insert(id, topic.name().clone());
        }
    }

    fn note_cleared(&mut self, image: &MetadataImage, topic_name: &str) {
        let all = topic_name.is_empty();
        for topic in image.topics().in_id_order() {
            if all || topic.name() == topic_name {
                for (index, partition) in topic.partitions() {
                    if !partition.eligible_leader_replicas.is_empty()
                        || !partition.last_known_eligible_leader_replicas.is_empty()
                    {
                        self.note_partition(topic.id().0, index.0);
                    }
                }
            }
        }
    }

    /// What differs between two images, for when a snapshot takes the place of the records.
    #[must_use]
    pub fn between(before: &MetadataImage, after: &MetadataImage) -> Self {
        let features = |image: &MetadataImage| -> BTreeMap<KafkaString, i16> {
            image
                .features()
                .finalized()
                .map(|(name, level)| (name.into(), level))
                .collect()
        };
        let mut delta = Self {
            features: changed_keys(&features(before), &features(after)),
            brokers: changed_keys(before.cluster().brokers(), after.cluster().brokers()),
            controllers: changed_keys(
                before.cluster().controllers(),
                after.cluster().controllers(),
            ),
            configs: changed_keys(before.configs().resources(), after.configs().resources()),
            client_quotas: changed_keys(
                before.client_quotas().entities(),
                after.client_quotas().entities(),
            ),
            producer_ids: before.next_producer_id() != after.next_producer_id(),
            acls: changed_keys(before.acls().entries(), after.acls().entries()),
            scram: changed_keys(before.scram().credentials(), after.scram().credentials()),
            delegation_tokens: changed_keys(
                before.delegation_tokens().tokens(),
                after.delegation_tokens().tokens(),
            ),
            ..Self::default()
        };
        delta.compare_topics(before, after);
        delta
    }

    fn compare_topics(&mut self, before: &MetadataImage, after: &MetadataImage) {
        for topic in before.topics().in_id_order() {
            if after.topics().get(topic.id()).is_none() {
                self.topics_deleted.insert(topic.id(), topic.name().clone());
            }
        }
        let none = BTreeMap::new();
        for topic in after.topics().in_id_order() {
            let id = topic.id();
            let earlier = before.topics().get(id);
            if earlier.is_some_and(|earlier| Arc::ptr_eq(earlier, topic)) {
                continue;
            }
            if earlier.is_none() {
                self.topics_created.insert(id);
            }
            let earlier = earlier.map_or(&none, |topic| topic.partitions());
            let changed = changed_keys(earlier, topic.partitions());
            if !changed.is_empty() {
                self.partitions.insert(id, changed);
            }
        }
    }

    /// Whether the finalized `metadata.version` changed.
    #[must_use]
    pub fn metadata_version_changed(&self) -> bool {
        self.features.contains(METADATA_VERSION)
    }
}

fn changed_keys<K: Ord + Clone, V: PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> BTreeSet<K> {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    let differs = after
        .iter()
        .filter(|(key, value)| before.get(key) != Some(value))
        .map(|(key, _)| key);
    gone.chain(differs).cloned().collect()
}
