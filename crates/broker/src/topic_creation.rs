//! Topics that come into being because somebody asked for them.

use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::CreateTopicsRequest;
use ottla_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};

use crate::node::Node;
use crate::options::BrokerSettings;

impl Node {
    /// Has the controller make topics that are missing; what is being made already is left alone.
    pub(crate) fn auto_create_topics(self: &Arc<Self>, mut names: Vec<KafkaString>) {
        names.sort();
        names.dedup();
        {
            let mut in_creation = self.topics_in_creation().lock();
            names.retain(|name| in_creation.insert(name.clone()));
        }
        if names.is_empty() {
            return;
        }
        let settings = &self.options().broker;
        let request = CreateTopicsRequest {
            topics: names.iter().map(|name| creatable(name, settings)).collect(),
            ..CreateTopicsRequest::default()
        };
        let node = Arc::clone(self);
        self.controller().decide(
            self,
            move |active| active.decisions.decide_create_topics(active.random, &request),
            move |response| {
                let mut in_creation = node.topics_in_creation().lock();
                for name in &names {
                    in_creation.remove(name);
                }
                drop(in_creation);
                match response {
                    Ok(response) => {
                        for topic in response.topics.iter().filter(|topic| topic.error_code != 0) {
                            tracing::info!(topic = %topic.name, error = %ottla_protocol::ErrorCode(topic.error_code), message = ?topic.error_message, "a topic was not created");
                        }
                    }
                    Err(error) => tracing::info!(%error, "topics were not created"),
                }
            },
        );
    }
}

/// A topic with the settings that its name calls for.
fn creatable(name: &KafkaString, settings: &BrokerSettings) -> CreatableTopic {
    let (num_partitions, replication_factor, configs): (i32, i16, Vec<(&str, String)>) =
        match &**name {
            "__consumer_offsets" => (
                settings.offsets_topic_num_partitions,
                settings.offsets_topic_replication_factor,
                vec![
                    ("compression.type", "producer".to_owned()),
                    ("cleanup.policy", "compact".to_owned()),
                    (
                        "segment.bytes",
                        settings.offsets_topic_segment_bytes.to_string(),
                    ),
                ],
            ),
            "__transaction_state" => (
                settings.transaction_state_log_num_partitions,
                settings.transaction_state_log_replication_factor,
                vec![
                    ("compression.type", "uncompressed".to_owned()),
                    ("cleanup.policy", "compact".to_owned()),
                    (
                        "min.insync.replicas",
                        settings.transaction_state_log_min_isr.to_string(),
                    ),
                    (
                        "segment.bytes",
                        settings.transaction_state_log_segment_bytes.to_string(),
                    ),
                    ("unclean.leader.election.enable", "false".to_owned()),
                ],
            ),
            _ => (-1, -1, Vec::new()),
        };
    CreatableTopic {
        name: name.clone(),
        num_partitions,
        replication_factor,
        configs: configs
            .into_iter()
            .map(|(name, value)| CreatableTopicConfig {
                name: KafkaString::from(name),
                value: Some(KafkaString::from(value)),
                ..CreatableTopicConfig::default()
            })
            .collect(),
        ..CreatableTopic::default()
    }
}
