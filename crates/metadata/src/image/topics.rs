use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use ottla_protocol::messages::{
    ClearElrRecord, PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, TopicRecord,
};
use ottla_protocol::{KafkaString, Uuid};
use rpds::RedBlackTreeMapSync;

use super::FeaturesImage;
use crate::Error;
use crate::record::MetadataRecord;

/// The directory of a replica that lived before directories had ids.
pub const DIRECTORY_MIGRATING: Uuid = Uuid::ZERO;
/// The directory of a replica that the broker has not placed yet.
pub const DIRECTORY_UNASSIGNED: Uuid = Uuid::ONE;
/// The directory of a replica whose directory failed before the broker told which it was.
pub const DIRECTORY_LOST: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

/// Whether the id is one of the first hundred, which name no real directory.
#[must_use]
pub fn is_reserved_directory(directory: Uuid) -> bool {
    let (most, least) = directory.halves();
    most == 0 && least < 100
}

/// Whether the leader may miss records that were acknowledged (KIP-704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    /// The leader was elected from the ISR, or has recovered since.
    #[default]
    Recovered,
    /// The leader was elected uncleanly and hasn't recovered yet.
    Recovering,
}

impl LeaderRecoveryState {
    /// The state of this number.
    #[must_use]
    pub const fn from_number(number: i8) -> Option<Self> {
        match number {
            0 => Some(Self::Recovered),
            1 => Some(Self::Recovering),
            _ => None,
        }
    }

    /// The number in records and requests.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Recovered => 0,
            Self::Recovering => 1,
        }
    }
}

/// The state of a partition as the controller decided it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionRegistration {
    /// The replicas; the first is the preferred leader.
    pub replicas: Vec<BrokerId>,
    /// The directory of each replica, in the same order.
    pub directories: Vec<Uuid>,
    /// The in-sync replicas; a subset of `replicas`.
    pub isr: Vec<BrokerId>,
    /// Replicas that a reassignment takes away.
    pub removing_replicas: Vec<BrokerId>,
    /// Replicas that a reassignment adds.
    pub adding_replicas: Vec<BrokerId>,
    /// Replicas outside the ISR that hold everything up to the high watermark (KIP-966).
    pub eligible_leader_replicas: Vec<BrokerId>,
    /// The last leader, remembered while there is none.
    pub last_known_eligible_leader_replicas: Vec<BrokerId>,
    /// The leader, if there is one.
    pub leader: Option<BrokerId>,
    /// Whether the leader may miss acknowledged records.
    pub leader_recovery_state: LeaderRecoveryState,
    /// How many leaders the partition has had.
    pub leader_epoch: LeaderEpoch,
    /// How many times anything in this state has changed.
    pub partition_epoch: i32,
}

impl PartitionRegistration {
    /// The leader's id on the wire: -1 for none.
    #[must_use]
    pub fn leader_id(&self) -> i32 {
        self.leader.map_or(-1, |leader| leader.0)
    }

    /// The replica that should lead when it can.
    #[must_use]
    pub fn preferred_replica(&self) -> Option<BrokerId> {
        self.replicas.first().copied()
    }

    /// Whether the preferred replica leads.
    #[must_use]
    pub fn has_preferred_leader(&self) -> bool {
        self.leader.is_some() && self.leader == self.preferred_replica()
    }

    /// Whether the replicas are being changed.
    #[must_use]
    pub fn is_reassigning(&self) -> bool {
        !self.adding_replicas.is_empty() || !self.removing_replicas.is_empty()
    }

    /// The directory of a broker's replica.
    #[must_use]
    pub fn directory(&self, broker: BrokerId) -> Option<Uuid> {
        let position = self
            .replicas
            .iter()
            .position(|replica| *replica == broker)?;
        self.directories.get(position).copied()
    }

    /// The record that makes this state.
    #[must_use]
    pub fn to_record(
        &self,
        topic_id: TopicId,
        index: PartitionIndex,
        features: &FeaturesImage,
    ) -> PartitionRecord {
        let mut record = PartitionRecord {
            partition_id: index.0,
            topic_id: topic_id.0,
            replicas: numbers(&self.replicas),
            isr: numbers(&self.isr),
            removing_replicas: numbers(&self.removing_replicas),
            adding_replicas: numbers(&self.adding_replicas),
            leader: self.leader_id(),
            leader_recovery_state: self.leader_recovery_state.number(),
            leader_epoch: self.leader_epoch.0,
            partition_epoch: self.partition_epoch,
            ..PartitionRecord::default()
        };
        if features.eligible_leader_replicas_enabled() {
            let present = |ids: &[BrokerId]| (!ids.is_empty()).then(|| numbers(ids));
            record.eligible_leader_replicas = present(&self.eligible_leader_replicas);
            record.last_known_elr = present(&self.last_known_eligible_leader_replicas);
        }
        if features
            .metadata_version_or_minimum()
            .supports_directory_assignment()
        {
            record.directories.clone_from(&self.directories);
        }
        record
    }

    fn from_record(record: &PartitionRecord) -> Result<Self, Error> {
        const NAME: &str = "PartitionRecord";
        Ok(Self {
            replicas: broker_ids(&record.replicas),
            directories: directories(NAME, &record.directories, record.replicas.len())?,
            isr: broker_ids(&record.isr),
            removing_replicas: broker_ids(&record.removing_replicas),
            adding_replicas: broker_ids(&record.adding_replicas),
            eligible_leader_replicas: optional_broker_ids(record.eligible_leader_replicas.as_ref()),
            last_known_eligible_leader_replicas: optional_broker_ids(
                record.last_known_elr.as_ref(),
            ),
            leader: leader(record.leader),
            leader_recovery_state: recovery_state(NAME, record.leader_recovery_state)?,
            leader_epoch: LeaderEpoch(record.leader_epoch),
            partition_epoch: record.partition_epoch,
        })
    }

    /// This state after the change.
    ///
    /// # Errors
    /// When the change doesn't fit.
    pub fn merge(&self, change: &PartitionChangeRecord) -> Result<Self, Error> {
        const NAME: &str = "PartitionChangeRecord";
        let mut next = self.clone();
        let set = |target: &mut Vec<BrokerId>, change: &Option<Vec<i32>>| {
            if let Some(ids) = change {
                *target = broker_ids(ids);
            }
        };
        set(&mut next.replicas, &change.replicas);
        set(&mut next.isr, &change.isr);
        set(&mut next.removing_replicas, &change.removing_replicas);
        set(&mut next.adding_replicas, &change.adding_replicas);
        set(
            &mut next.eligible_leader_replicas,
            &change.eligible_leader_replicas,
        );
        set(
            &mut next.last_known_eligible_leader_replicas,
            &change.last_known_elr,
        );
        let changed = change.directories.as_ref().unwrap_or(&self.directories);
        // Directories that keep an older count of replicas are of a release without them.
        next.directories = match change.directories {
            Some(_) => directories(NAME, changed, next.replicas.len())?,
            None if changed.len() == next.replicas.len() => changed.clone(),
            None => vec![DIRECTORY_MIGRATING; next.replicas.len()],
        };
        if change.leader != -2 {
            next.leader = leader(change.leader);
            next.leader_epoch.0 = next_epoch(NAME, next.leader_epoch.0)?;
        }
        if change.leader_recovery_state != -1 {
            next.leader_recovery_state = recovery_state(NAME, change.leader_recovery_state)?;
        }
        next.partition_epoch = next_epoch(NAME, next.partition_epoch)?;
        Ok(next)
    }
}

fn next_epoch(record: &'static str, epoch: i32) -> Result<i32, Error> {
    let next = epoch.checked_add(1);
    next.ok_or_else(|| Error::replay(record, format!("there is no epoch after {epoch}")))
}

fn leader(id: i32) -> Option<BrokerId> {
    (id >= 0).then_some(BrokerId(id))
}

fn recovery_state(record: &'static str, number: i8) -> Result<LeaderRecoveryState, Error> {
    LeaderRecoveryState::from_number(number)
        .ok_or_else(|| Error::replay(record, format!("unknown leader recovery state {number}")))
}

fn directories(record: &'static str, found: &[Uuid], replicas: usize) -> Result<Vec<Uuid>, Error> {
    match found.len() {
        0 => Ok(vec![DIRECTORY_MIGRATING; replicas]),
        count if count == replicas => Ok(found.to_vec()),
        count => {
            let reason = format!("{count} directories for {replicas} replicas");
            Err(Error::replay(record, reason))
        }
    }
}

/// Wraps the ids of a record or request.
pub(crate) fn broker_ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn optional_broker_ids(ids: Option<&Vec<i32>>) -> Vec<BrokerId> {
    ids.map_or_else(Vec::new, |ids| broker_ids(ids))
}

/// Unwraps ids for a record or response.
pub(crate) fn numbers(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    name: KafkaString,
    id: TopicId,
    partitions: BTreeMap<PartitionIndex, Arc<PartitionRegistration>>,
}

impl TopicImage {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &KafkaString {
        &self.name
    }

    /// The topic's id.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// The partitions by index.
    #[must_use]
    pub fn partitions(&self) -> &BTreeMap<PartitionIndex, Arc<PartitionRegistration>> {
        &self.partitions
    }

    /// The partition of this index.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionRegistration> {
        self.partitions.get(&index).map(Arc::as_ref)
    }
}

/// The topics and their partitions.
///
/// The maps share what has not changed with the images before: of a hundred thousand topics a copy
/// would take longer than most changes that are published.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicsImage {
    by_id: RedBlackTreeMapSync<TopicId, Arc<TopicImage>>,
    by_name: RedBlackTreeMapSync<KafkaString, TopicId>,
}

impl TopicsImage {
    /// The topics in the order of their ids.
    pub fn in_id_order(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_id.values()
    }

    /// The topics in the order of their names.
    pub fn in_name_order(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name.values().filter_map(|id| self.by_id.get(id))
    }

    /// The names from this one on, in order, with their topics.
    pub fn from_name<'a>(&'a self, first: &str) -> impl Iterator<Item = &'a Arc<TopicImage>> {
        self.by_name
            .range::<str, _>((std::ops::Bound::Included(first), std::ops::Bound::Unbounded))
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    /// How many topics there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.size()
    }

    /// Whether there is no topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The topic of this id.
    #[must_use]
    pub fn get(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&id)
    }

    /// The topic of this name.
    #[must_use]
    pub fn get_by_name(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_name.get(name).and_then(|id| self.by_id.get(id))
    }

    /// The id of the topic of this name.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    /// The name of the topic of this id.
    #[must_use]
    pub fn name_of(&self, id: TopicId) -> Option<&KafkaString> {
        self.by_id.get(&id).map(|topic| &topic.name)
    }

    /// The partition of this index of the topic of this id.
    #[must_use]
    pub fn partition(&self, id: TopicId, index: PartitionIndex) -> Option<&PartitionRegistration> {
        self.get(id)?.partition(index)
    }

    pub(super) fn add_topic(&mut self, record: &TopicRecord) -> Result<(), Error> {
        const NAME: &str = "TopicRecord";
        let id = TopicId(record.topic_id);
        if let Some(found) = self.by_name.get(record.name.as_str()) {
            let reason = format!("topic {} exists with id {found}", record.name);
            return Err(Error::replay(NAME, reason));
        }
        if let Some(found) = self.by_id.get(&id) {
            let reason = format!("topic id {id} exists with name {}", found.name);
            return Err(Error::replay(NAME, reason));
        }
        let name = record.name.detached();
        let topic = TopicImage {
            name: name.clone(),
            id,
            partitions: BTreeMap::new(),
        };
        self.by_id.insert_mut(id, Arc::new(topic));
        self.by_name.insert_mut(name, id);
        Ok(())
    }

    pub(super) fn remove_topic(
        &mut self,
        record: &RemoveTopicRecord,
    ) -> Result<Arc<TopicImage>, Error> {
        let id = TopicId(record.topic_id);
        let topic =
            self.by_id.get(&id).map(Arc::clone).ok_or_else(|| {
                Error::replay("RemoveTopicRecord", format!("no topic has id {id}"))
            })?;
        self.by_id.remove_mut(&id);
        self.by_name.remove_mut(topic.name.as_str());
        Ok(topic)
    }

    fn topic_mut(&mut self, record: &'static str, id: TopicId) -> Result<&mut TopicImage, Error> {
        let topic = self
            .by_id
            .get_mut(&id)
            .ok_or_else(|| Error::replay(record, format!("no topic has id {id}")))?;
        Ok(Arc::make_mut(topic))
    }

    pub(super) fn add_partition(&mut self, record: &PartitionRecord) -> Result<(), Error> {
        let partition = PartitionRegistration::from_record(record)?;
        let topic = self.topic_mut("PartitionRecord", TopicId(record.topic_id))?;
        topic
            .partitions
            .insert(PartitionIndex(record.partition_id), Arc::new(partition));
        Ok(())
    }

    pub(super) fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<(), Error> {
        const NAME: &str = "PartitionChangeRecord";
        let id = TopicId(record.topic_id);
        let index = PartitionIndex(record.partition_id);
        let topic = self.topic_mut(NAME, id)?;
        let Some(partition) = topic.partitions.get_mut(&index) else {
            let reason = format!("topic {} has no partition {index}", topic.name);
            return Err(Error::replay(NAME, reason));
        };
        *partition = Arc::new(partition.merge(record)?);
        Ok(())
    }

    pub(super) fn clear_eligible_leader_replicas(
        &mut self,
        record: &ClearElrRecord,
    ) -> Result<(), Error> {
        if record.topic_name.is_empty() {
            let ids: Vec<TopicId> = self.by_id.keys().copied().collect();
            for id in ids {
                self.by_id.get_mut(&id).map(clear_topic);
            }
            return Ok(());
        }
        let name = record.topic_name.as_str();
        let topic = self.by_name.get(name).and_then(|id| self.by_id.get_mut(id));
        let topic = topic
            .ok_or_else(|| Error::replay("ClearElrRecord", format!("no topic has name {name}")))?;
        clear_topic(topic);
        Ok(())
    }

    pub(super) fn write_snapshot(
        &self,
        features: &FeaturesImage,
        records: &mut Vec<MetadataRecord>,
    ) {
        for topic in self.by_id.values() {
            let record = TopicRecord {
                name: topic.name.clone(),
                topic_id: topic.id.0,
                ..TopicRecord::default()
            };
            records.push(record.into());
            for (index, partition) in &topic.partitions {
                records.push(partition.to_record(topic.id, *index, features).into());
            }
        }
    }
}

fn clear_topic(topic: &mut Arc<TopicImage>) {
    let holds = |partition: &Arc<PartitionRegistration>| {
        !partition.eligible_leader_replicas.is_empty()
            || !partition.last_known_eligible_leader_replicas.is_empty()
    };
    if !topic.partitions.values().any(holds) {
        return;
    }
    for partition in Arc::make_mut(topic)
        .partitions
        .values_mut()
        .filter(|found| holds(found))
    {
        let partition = Arc::make_mut(partition);
        partition.eligible_leader_replicas.clear();
        partition.last_known_eligible_leader_replicas.clear();
        partition.partition_epoch = partition.partition_epoch.wrapping_add(1);
    }
}
