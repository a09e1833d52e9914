//! The cluster's topics, as the coordinator is told of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::image::{ConfigResource, ConfigResourceType, MetadataImage, TopicImage};
use ottla_protocol::ids::TopicId;
use ottla_protocol::{KafkaString, Uuid};
use twox_hash::XxHash3_64;

use super::config::Bounds;

/// The version in front of what is hashed of a topic.
const TOPIC_HASH_VERSION: u8 = 0;

/// The metadata in force, with what the coordinator has computed of it.
#[derive(Debug, Default)]
pub(crate) struct ClusterMetadata {
    image: MetadataImage,
    /// Where in the metadata log the image stands.
    offset: i64,
    /// The offset of the last image that had topics which the one before lacked.
    new_topics_offset: Option<i64>,
    topic_hashes: BTreeMap<KafkaString, i64>,
}

impl ClusterMetadata {
    /// Takes the image, unless it is the one that is here; gives the names of the topics that are
    /// new, have changed or are gone.
    pub(crate) fn update(&mut self, image: &MetadataImage, offset: i64) -> Vec<KafkaString> {
        if self.new_topics_offset.is_some() && self.offset == offset {
            return Vec::new();
        }
        let earlier = std::mem::replace(&mut self.image, image.clone());
        self.offset = offset;
        let has_seen_none = self.new_topics_offset.is_none();
        if has_seen_none {
            self.new_topics_offset = Some(offset);
        }
        let (before, after) = (earlier.topics(), self.image.topics());
        if std::ptr::eq(before, after) {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for topic in after.in_id_order() {
            match before.get(topic.id()) {
                Some(known) if Arc::ptr_eq(known, topic) => continue,
                Some(_) => {}
                None => self.new_topics_offset = Some(offset),
            }
            changed.push(topic.name().clone());
        }
        let gone = before.in_id_order();
        let gone = gone.filter(|topic| after.get(topic.id()).is_none());
        changed.extend(gone.map(|topic| topic.name().clone()));
        for name in &changed {
            self.topic_hashes.remove(name);
        }
        changed
    }

    /// Where in the metadata log the image stands.
    pub(crate) fn offset(&self) -> i64 {
        self.offset
    }

    pub(crate) fn new_topics_offset(&self) -> i64 {
        self.new_topics_offset.unwrap_or(-1)
    }

    pub(crate) fn topic_names(&self) -> impl Iterator<Item = &KafkaString> {
        self.image
            .topics()
            .in_name_order()
            .map(|topic| topic.name())
    }

    pub(crate) fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.image.topics().id_of(name).map(|id| id.0)
    }

    pub(crate) fn topic_name(&self, topic_id: Uuid) -> Option<&KafkaString> {
        self.image.topics().name_of(TopicId(topic_id))
    }

    pub(crate) fn partition_count(&self, topic_id: Uuid) -> Option<i32> {
        let topic = self.image.topics().get(TopicId(topic_id))?;
        i32::try_from(topic.partitions().len()).ok()
    }

    /// How many partitions the topic of that name has, if there is one.
    pub(crate) fn partition_count_of(&self, name: &str) -> Option<i32> {
        self.partition_count(self.topic_id(name)?)
    }

    /// What a setting is for the group: its own value, or the broker's.
    pub(crate) fn group_setting_within(
        &self,
        group_id: &KafkaString,
        name: &str,
        bounds: Bounds,
    ) -> i32 {
        let own = self.own_setting(group_id, name, bounds);
        own.unwrap_or(bounds.default)
    }

    /// The same of a setting that brokers let alter for all groups while they run, on the broker `node_id`.
    pub(crate) fn dynamic_group_setting(
        &self,
        (node_id, group_id): (i32, &KafkaString),
        name: &str,
        bounds: Bounds,
    ) -> i32 {
        let own = self.own_setting(group_id, name, bounds);
        own.or_else(|| self.altered_for_all(node_id, name))
            .unwrap_or(bounds.default)
    }

    fn own_setting(&self, group_id: &KafkaString, name: &str, bounds: Bounds) -> Option<i32> {
        let resource = ConfigResource::new(ConfigResourceType::Group, group_id.clone());
        let text = self.image.configs().value(&resource, name)?;
        let value: i32 = text.trim().parse().ok()?;
        // Values from before the broker's bounds were what they are now stay in them.
        Some(value.max(bounds.min).min(bounds.max))
    }

    fn altered_for_all(&self, node_id: i32, name: &str) -> Option<i32> {
        let name = format!("group.{name}");
        let configs = self.image.configs();
        let altered = [
            ConfigResource::broker(node_id),
            ConfigResource::broker_default(),
        ];
        altered.iter().find_map(|resource| {
            let text = configs.value(resource, &name)?;
            text.trim().parse().ok()
        })
    }

    /// What tells whether anything about these topics has changed, for a group that subscribes to
    /// them; topics that are not there count as nothing.
    pub(crate) fn group_hash<'a>(
        &mut self,
        names_in_order: impl Iterator<Item = &'a KafkaString>,
    ) -> i64 {
        let hashes: Vec<u8> = names_in_order
            .filter_map(|name| self.topic_hash(name))
            .flat_map(i64::to_le_bytes)
            .collect();
        if hashes.is_empty() {
            0
        } else {
            XxHash3_64::oneshot(&hashes).cast_signed()
        }
    }

    fn topic_hash(&mut self, name: &KafkaString) -> Option<i64> {
        let topic = self.image.topics().get_by_name(name)?;
        if let Some(hash) = self.topic_hashes.get(name) {
            return Some(*hash);
        }
        let hash = topic_hash(topic, &self.image);
        self.topic_hashes.insert(name.clone(), hash);
        Some(hash)
    }
}

/// What Apache Kafka makes of a topic's id, name, partitions and their racks.
fn topic_hash(topic: &TopicImage, image: &MetadataImage) -> i64 {
    let (most_significant, least_significant) = topic.id().0.halves();
    let mut bytes = vec![TOPIC_HASH_VERSION];
    bytes.extend(most_significant.to_le_bytes());
    bytes.extend(least_significant.to_le_bytes());
    put_text(&mut bytes, topic.name());
    bytes.extend(count(topic.partitions().len()).to_le_bytes());
    for (index, partition) in topic.partitions() {
        bytes.extend(index.0.to_le_bytes());
        let mut racks: Vec<&str> = partition
            .replicas
            .iter()
            .filter_map(|replica| image.cluster().broker(*replica)?.rack.as_deref())
            .collect();
        racks.sort_unstable_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
        for rack in racks {
            bytes.extend(count(rack.encode_utf16().count()).to_le_bytes());
            put_text(&mut bytes, rack);
        }
    }
    XxHash3_64::oneshot(&bytes).cast_signed()
}

/// Text as UTF-16, and after it its length.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let mut length = 0;
    for unit in text.encode_utf16() {
        bytes.extend(unit.to_le_bytes());
        length += 1;
    }
    bytes.extend(count(length).to_le_bytes());
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_hash4j() {
        // `Hashing.xxh3_64().hashStream()` with what is named, in Java.
        let hash = |bytes: &[u8]| XxHash3_64::oneshot(bytes).cast_signed();
        assert_eq!(hash(&5_i64.to_le_bytes()), -8_213_464_378_072_455_284);
        let mut bytes = Vec::new();
        put_text(&mut bytes, "ab");
        assert_eq!(hash(&bytes), 8_853_075_174_099_927_999);
        let mut bytes = vec![0];
        bytes.extend(1_i64.to_le_bytes());
        bytes.extend(2_i64.to_le_bytes());
        put_text(&mut bytes, "topic");
        for number in [3_i32, 0, 5] {
            bytes.extend(number.to_le_bytes());
        }
        put_text(&mut bytes, "rack1");
        assert_eq!(hash(&bytes), 3_532_726_410_592_060_025);
    }
}
