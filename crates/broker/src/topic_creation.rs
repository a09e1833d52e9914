//! Topics that come into being because somebody asked for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::node::Node;
use crate::options::BrokerSettings;

/// How many failures are remembered at most.
const FAILURES_MAX: usize = 1_000;

/// Topics that the controller was asked for.
#[derive(Debug, Default)]
pub(crate) struct TopicsInCreation {
    /// It has not answered yet.
    asked_for: BTreeSet<KafkaString>,
    /// It could not make these.
    failures: BTreeMap<KafkaString, CreationFailure>,
}

/// Why a topic could not be made.
#[derive(Debug, Clone)]
struct CreationFailure {
    message: String,
    /// Until then it is not tried again, in monotonic milliseconds.
    until_ms: i64,
}

impl TopicsInCreation {
    fn forget(&mut self, names: &[KafkaString]) {
        for name in names {
            self.asked_for.remove(name);
        }
    }

    fn note_failure(&mut self, now_ms: i64, name: KafkaString, failure: CreationFailure) {
        self.failures.retain(|_, known| known.until_ms > now_ms);
        if self.failures.len() < FAILURES_MAX {
            self.failures.insert(name, failure);
        }
    }

    fn failure_of(&self, now_ms: i64, name: &str) -> Option<&CreationFailure> {
        let failure = self.failures.get(name);
        failure.filter(|failure| failure.until_ms > now_ms)
    }
}

impl Node {
    /// Has the controller make topics of an application's own. What is being made already is left alone, and for
    /// `retry_ms` what could not be made.
    pub(crate) fn create_internal_topics(
        self: &Arc<Self>,
        mut topics: Vec<CreatableTopic>,
        retry_ms: i64,
    ) {
        let now_ms = self.environment().clock.monotonic_ms();
        {
            let mut known = self.topics_in_creation().lock();
            topics.retain(|topic| {
                known.failure_of(now_ms, &topic.name).is_none()
                    && known.asked_for.insert(topic.name.clone())
            });
        }
        if topics.is_empty() {
            return;
        }
        let names: Vec<KafkaString> = topics.iter().map(|topic| topic.name.clone()).collect();
        tracing::info!(topics = ?names, "asked for the topics that a streams application needs");
        let request = CreateTopicsRequest {
            topics,
            ..CreateTopicsRequest::default()
        };
        let node = Arc::clone(self);
        let timeout_ms = self.options().broker.request_timeout_ms;
        self.ask_controller(request, timeout_ms, move |response| {
            node.internal_topics_created(&names, retry_ms, response);
        });
    }

    fn internal_topics_created(
        &self,
        names: &[KafkaString],
        retry_ms: i64,
        response: Result<CreateTopicsResponse, ErrorCode>,
    ) {
        let failed: Vec<(KafkaString, String)> = match response {
            Ok(response) => response
                .topics
                .into_iter()
                .filter(|topic| topic.error_code != 0)
                .map(|topic| {
                    let said = topic.error_message.filter(|message| !message.is_empty());
                    let error = || ErrorCode(topic.error_code).to_string();
                    (topic.name, said.map_or_else(error, |said| said.to_string()))
                })
                .collect(),
            Err(error) => {
                let failed = names.iter().map(|name| (name.clone(), error.to_string()));
                failed.collect()
            }
        };
        let now_ms = self.environment().clock.monotonic_ms();
        let mut known = self.topics_in_creation().lock();
        known.forget(names);
        for (name, message) in failed {
            tracing::info!(topic = %name, message, "a topic of an application's own was not created");
            let until_ms = now_ms.saturating_add(retry_ms);
            known.note_failure(now_ms, name, CreationFailure { message, until_ms });
        }
    }

    /// Which of the topics could not be made lately, and why.
    pub(crate) fn topic_creation_failures(
        &self,
        names: &[KafkaString],
    ) -> Vec<(KafkaString, String)> {
        let now_ms = self.environment().clock.monotonic_ms();
        let known = self.topics_in_creation().lock();
        let failures = names.iter().filter_map(|name| {
            let failure = known.failure_of(now_ms, name)?;
            Some((name.clone(), failure.message.clone()))
        });
        failures.collect()
    }

    /// Has the controller make topics that are missing; what is being made already is left alone.
    pub(crate) fn auto_create_topics(self: &Arc<Self>, mut names: Vec<KafkaString>) {
        names.sort();
        names.dedup();
        {
            let mut topics = self.topics_in_creation().lock();
            names.retain(|name| topics.asked_for.insert(name.clone()));
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
        let timeout_ms = settings.request_timeout_ms;
        self.ask_controller(
            request,
            timeout_ms,
            move |response| {
                node.topics_in_creation().lock().forget(&names);
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
            "__share_group_state" => (
                settings.share_coordinator_state_topic_num_partitions,
                settings.share_coordinator_state_topic_replication_factor,
                vec![
                    ("cleanup.policy", "delete".to_owned()),
                    ("compression.type", "producer".to_owned()),
                    (
                        "min.insync.replicas",
                        settings.share_coordinator_state_topic_min_isr.to_string(),
                    ),
                    ("retention.ms", "-1".to_owned()),
                    (
                        "segment.bytes",
                        settings
                            .share_coordinator_state_topic_segment_bytes
                            .to_string(),
                    ),
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
