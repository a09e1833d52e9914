//! `ottla topics --describe`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use ottla_client::core::admin::{
    ConfigEntry, ConfigResource, ConfigResourceType, ConfigSource, PartitionDescription,
    TopicDescription,
};
use ottla_client::{Admin, TopicPartition, java_order};
use ottla_protocol::Uuid;

use crate::options::Options;
use crate::tool::{Failure, Out};

/// The partitions in one answer, unless the user wants another number.
const PARTITIONS_IN_RESPONSE_MAX: i32 = 2_000;

/// What is printed of the topics.
struct Report<'a> {
    options: &'a Options,
    live_brokers: BTreeSet<i32>,
    /// Replicas being added, by partition.
    reassigned: BTreeMap<TopicPartition, Vec<i32>>,
}

pub(super) async fn describe(
    admin: &Admin,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut topics = topics(admin, options).await?;
    let capacity = topics.len();
    java_order::sort_with_capacity(&mut topics, capacity, |topic| {
        java_order::string_hash(&topic.name)
    });
    let resources: Vec<ConfigResource> = topics
        .iter()
        .map(|topic| ConfigResource {
            resource_type: ConfigResourceType::Topic,
            name: topic.name.clone(),
        })
        .collect();
    let mut configs = BTreeMap::new();
    if !resources.is_empty() {
        for (resource, entries) in admin.describe_configs(&resources, false).await? {
            configs.insert(resource.name, entries?);
        }
    }
    // Apache Kafka goes on without reassignments where they may not be listed.
    let reassigned = match topics.is_empty() {
        true => BTreeMap::new(),
        false => admin
            .list_partition_reassignments()
            .await
            .unwrap_or_default(),
    };
    let report = Report {
        options,
        live_brokers: admin.broker_ids().await?.into_iter().collect(),
        reassigned: reassigned
            .into_iter()
            .map(|(name, change)| (name, change.adding))
            .collect(),
    };
    for topic in &topics {
        let entries = configs
            .get(&topic.name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        report.topic(topic, entries, out)?;
    }
    Ok(())
}

async fn topics(admin: &Admin, options: &Options) -> Result<Vec<TopicDescription>, Failure> {
    if let Some(text) = options.value("topic-id")? {
        let id: Uuid = text.parse().map_err(|_| {
            Failure::Message(format!(
                "Input string `{text}` can't be parsed as a topic id"
            ))
        })?;
        if !id.is_zero() {
            let described = admin.describe_topics_by_id(&[id]).await?;
            let found: Vec<TopicDescription> = described
                .into_iter()
                .filter_map(|(_, topic)| topic.ok())
                .collect();
            if found.is_empty() && !options.has("if-exists") {
                let message = format!("TopicId '{text}' does not exist as expected");
                return Err(Failure::Message(message));
            }
            return Ok(found);
        }
    }
    let names = super::matching(admin, options).await?;
    super::ensure_exists(&names, options)?;
    let limit = options
        .number("partition-size-limit-per-response")?
        .unwrap_or(PARTITIONS_IN_RESPONSE_MAX);
    let described = admin.describe_topics(&names, limit).await?;
    let topics: Result<Vec<TopicDescription>, _> =
        described.into_iter().map(|(_, topic)| topic).collect();
    Ok(topics?)
}

impl Report<'_> {
    fn topic(
        &self,
        topic: &TopicDescription,
        entries: &[ConfigEntry],
        out: &mut Out,
    ) -> Result<(), Failure> {
        let mut entries: Vec<&ConfigEntry> = entries.iter().collect();
        java_order::sort_by_hash(&mut entries, |entry| java_order::string_hash(&entry.name));
        entries.retain(|entry| entry.source != ConfigSource::DEFAULT_CONFIG);
        let only_overridden = self.options.has("topics-with-overrides");
        let filtered = super::REPORTS.iter().any(|report| self.options.has(report));
        if !filtered && (!only_overridden || !entries.is_empty()) {
            let first = topic.partitions.first();
            let configs: Vec<String> = entries
                .iter()
                .map(|entry| {
                    format!(
                        "{}={}",
                        entry.name,
                        entry.value.as_deref().unwrap_or("null")
                    )
                })
                .collect();
            writeln!(
                out,
                "Topic: {}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {}\tConfigs: {}",
                topic.name,
                topic.id,
                topic.partitions.len(),
                first.map_or(0, |partition| self.replication_factor(topic, partition)),
                configs.join(",")
            )?;
        }
        if only_overridden {
            return Ok(());
        }
        let min_isr = entries
            .iter()
            .find(|entry| entry.name == *"min.insync.replicas")
            .and_then(|entry| entry.value.as_deref()?.parse().ok())
            .unwrap_or(1);
        for partition in &topic.partitions {
            if self.is_wanted(topic, partition, min_isr) {
                self.partition(topic, partition, out)?;
            }
        }
        Ok(())
    }

    fn replication_factor(
        &self,
        topic: &TopicDescription,
        partition: &PartitionDescription,
    ) -> usize {
        let name = TopicPartition::new(topic.name.clone(), partition.index);
        let added = self.reassigned.get(&name).map_or(0, Vec::len);
        partition.replicas.len().saturating_sub(added)
    }

    fn is_wanted(
        &self,
        topic: &TopicDescription,
        partition: &PartitionDescription,
        min_isr: usize,
    ) -> bool {
        let has = |report| self.options.has(report);
        let in_sync = partition.isr.len();
        if has("under-replicated-partitions") {
            in_sync < self.replication_factor(topic, partition)
        } else if has("unavailable-partitions") {
            partition
                .leader
                .is_none_or(|leader| !self.live_brokers.contains(&leader))
        } else if has("under-min-isr-partitions") {
            in_sync < min_isr
        } else if has("at-min-isr-partitions") {
            in_sync == min_isr
        } else {
            true
        }
    }

    fn partition(
        &self,
        topic: &TopicDescription,
        partition: &PartitionDescription,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let optional = |ids: &Option<Vec<i32>>| match ids {
            Some(ids) => joined(ids),
            None => "N/A".to_owned(),
        };
        write!(
            out,
            "\tTopic: {}\tPartition: {}\tLeader: {}\tReplicas: {}\tIsr: {}\tElr: {}\tLastKnownElr: {}",
            topic.name,
            partition.index,
            partition
                .leader
                .map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            joined(&partition.replicas),
            joined(&partition.isr),
            optional(&partition.eligible_leader_replicas),
            optional(&partition.last_known_elr),
        )?;
        writeln!(out)?;
        Ok(())
    }
}

fn joined(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}
