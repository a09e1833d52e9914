//! Consumers of the new protocol, and the topics that they find.

use ottla_metadata::image::MetadataImage;
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::Uuid;
use ottla_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use ottla_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, PartitionRecord, TopicRecord,
};

use super::*;

pub(super) const TOPIC_ID: Uuid = Uuid([7; 16]);
const REBALANCE_TIMEOUT_MS: i32 = 300_000;

/// A world that assigns whenever it has to, with one topic.
pub(super) fn world_with_topic(partitions: i32) -> World {
    let mut config = GroupCoordinatorConfig::default();
    config.consumer.assignment_interval_ms.default = 0;
    let mut world = World::with(config);
    world.topics(&[(TOPIC, TOPIC_ID, partitions)], 1);
    world
}

/// What a consumer keeps of the conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumer {
    pub(super) member_id: KafkaString,
    pub(super) instance_id: Option<KafkaString>,
    pub(super) member_epoch: i32,
    /// The partitions of the topic that it works on.
    pub(super) owned: Vec<i32>,
}

impl Consumer {
    pub(super) fn new(member_id: &str) -> Self {
        Self {
            member_id: member_id.into(),
            ..Self::default()
        }
    }

    pub(super) fn of_instance(member_id: &str, instance_id: &str) -> Self {
        Self {
            instance_id: Some(instance_id.into()),
            ..Self::new(member_id)
        }
    }

    pub(super) fn joining(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            subscribed_topic_names: Some(vec![TOPIC.into()]),
            topic_partitions: Some(Vec::new()),
            ..self.beating(0)
        }
    }

    /// A heartbeat in this epoch that says nothing else.
    pub(super) fn beating(&self, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            member_epoch,
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    fn telling(&self) -> ConsumerGroupHeartbeatRequest {
        let owned = TopicPartitions {
            topic_id: TOPIC_ID,
            partitions: self.owned.clone(),
            ..TopicPartitions::default()
        };
        ConsumerGroupHeartbeatRequest {
            topic_partitions: Some(if self.owned.is_empty() {
                Vec::new()
            } else {
                vec![owned]
            }),
            ..self.beating(self.member_epoch)
        }
    }

    fn take(&mut self, response: &ConsumerGroupHeartbeatResponse) {
        self.member_epoch = response.member_epoch;
        if let Some(assignment) = &response.assignment {
            let topics = assignment.topic_partitions.iter();
            self.owned = topics.flat_map(|topic| topic.partitions.clone()).collect();
            self.owned.sort_unstable();
        }
    }

    /// Joins, as it must succeed.
    pub(super) fn join(&mut self, world: &mut World) {
        let response = world.consumer_heartbeat(&self.joining());
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        self.owned.clear();
        self.take(&response);
    }

    /// Tells what it has and takes what it is told; gives the error, with which it drops all.
    pub(super) fn beat(&mut self, world: &mut World) -> ErrorCode {
        let response = world.consumer_heartbeat(&self.telling());
        let error = ErrorCode(response.error_code);
        if error == ErrorCode::NONE {
            self.take(&response);
        } else {
            self.owned.clear();
            self.member_epoch = 0;
        }
        error
    }
}

impl World {
    /// The cluster has these topics from now on.
    pub(super) fn topics(&mut self, topics: &[(&str, Uuid, i32)], offset: i64) {
        let mut image = MetadataImage::default();
        for (name, topic_id, partitions) in topics {
            let topic = TopicRecord {
                name: (*name).into(),
                topic_id: *topic_id,
                ..TopicRecord::default()
            };
            image.replay(&MetadataRecord::Topic(topic)).unwrap();
            for partition_id in 0..*partitions {
                let partition = PartitionRecord {
                    partition_id,
                    topic_id: *topic_id,
                    replicas: vec![1],
                    isr: vec![1],
                    leader: 1,
                    ..PartitionRecord::default()
                };
                image.replay(&MetadataRecord::Partition(partition)).unwrap();
            }
        }
        self.coordinator.observe_metadata(&image, offset);
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let client = client();
        let context = RequestContext {
            token: self.token(),
            api_version: 1,
            client: &client,
            random: [1; 16],
        };
        let coordinator = &mut self.coordinator;
        let decision = coordinator.consumer_group_heartbeat(self.now, &context, request);
        self.apply(decision)
    }

    /// The error and the words of the response.
    pub(super) fn refusal(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> (ErrorCode, String) {
        let response = self.consumer_heartbeat(request);
        let message = response.error_message.unwrap_or_default();
        (ErrorCode(response.error_code), message.to_string())
    }

    pub(super) fn consumer_state(&self) -> String {
        let described = self.coordinator.describe_consumer_groups(&[GROUP.into()]);
        described[0].group_state.to_string()
    }
}
