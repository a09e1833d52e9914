//! Threads of a streams application, and the topics that they find.

use ottla_protocol::Uuid;
use ottla_protocol::messages::streams_group_heartbeat_request::{
    CopartitionGroup, Endpoint, Subtopology, TaskIds, TopicInfo, Topology,
};
use ottla_protocol::messages::streams_group_heartbeat_response as response;
use ottla_protocol::messages::{StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse};

use super::*;

pub(super) const INITIAL_DELAY_MS: i64 = 3_000;
const REBALANCE_TIMEOUT_MS: i32 = 300_000;

/// The codes of what a response says of the group.
pub(super) const STALE_TOPOLOGY: i8 = 0;
pub(super) const MISSING_SOURCE_TOPICS: i8 = 1;
pub(super) const INCORRECTLY_PARTITIONED_TOPICS: i8 = 2;
pub(super) const MISSING_INTERNAL_TOPICS: i8 = 3;
pub(super) const SHUTDOWN_APPLICATION: i8 = 4;
pub(super) const ASSIGNMENT_DELAYED: i8 = 5;

/// A task, such as `0_3` of what a thread processes.
pub(super) type Task = (String, i32);

fn topic_info(name: &str, partitions: i32) -> TopicInfo {
    TopicInfo {
        name: name.into(),
        partitions,
        ..TopicInfo::default()
    }
}

/// Words are read and sent on by themselves, then counted in a store.
pub(super) fn word_count() -> Topology {
    let split = Subtopology {
        subtopology_id: "0".into(),
        source_topics: vec!["lines".into()],
        repartition_sink_topics: vec!["words".into()],
        ..Subtopology::default()
    };
    let count = Subtopology {
        subtopology_id: "1".into(),
        repartition_source_topics: vec![topic_info("words", 0)],
        state_changelog_topics: vec![topic_info("counts", 0)],
        ..Subtopology::default()
    };
    Topology {
        epoch: 0,
        subtopologies: vec![split, count],
        ..Topology::default()
    }
}

/// Two topics of others that are joined, with a repartition topic of that many partitions.
pub(super) fn join(repartition_partitions: i32) -> Topology {
    let subtopology = Subtopology {
        subtopology_id: "0".into(),
        source_topics: vec!["left".into(), "right".into()],
        repartition_source_topics: vec![topic_info("again", repartition_partitions)],
        repartition_sink_topics: vec!["again".into()],
        copartition_groups: vec![CopartitionGroup {
            source_topics: vec![0, 1],
            repartition_source_topics: vec![0],
            ..CopartitionGroup::default()
        }],
        ..Subtopology::default()
    };
    Topology {
        subtopologies: vec![subtopology],
        ..Topology::default()
    }
}

/// What a thread keeps of the conversation.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub(super) member_id: KafkaString,
    pub(super) process_id: KafkaString,
    pub(super) member_epoch: i32,
    pub(super) endpoint: Option<u16>,
    pub(super) active: Vec<Task>,
    pub(super) standby: Vec<Task>,
    pub(super) topology: Topology,
    /// What the last response said of the group, and how.
    pub(super) statuses: Vec<(i8, String)>,
}

impl Thread {
    pub(super) fn new(member_id: &str, process_id: &str) -> Self {
        Self {
            member_id: member_id.into(),
            process_id: process_id.into(),
            member_epoch: 0,
            endpoint: None,
            active: Vec::new(),
            standby: Vec::new(),
            topology: word_count(),
            statuses: Vec::new(),
        }
    }

    /// A heartbeat in this epoch that says nothing else.
    pub(super) fn beating(&self, member_epoch: i32) -> StreamsGroupHeartbeatRequest {
        StreamsGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: self.member_id.clone(),
            member_epoch,
            ..StreamsGroupHeartbeatRequest::default()
        }
    }

    pub(super) fn joining(&self) -> StreamsGroupHeartbeatRequest {
        let endpoint = self.endpoint.map(|port| Endpoint {
            host: "localhost".into(),
            port,
            ..Endpoint::default()
        });
        StreamsGroupHeartbeatRequest {
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            topology: Some(self.topology.clone()),
            process_id: Some(self.process_id.clone()),
            user_endpoint: endpoint,
            active_tasks: Some(Vec::new()),
            standby_tasks: Some(Vec::new()),
            warmup_tasks: Some(Vec::new()),
            ..self.beating(0)
        }
    }

    pub(super) fn telling(&self) -> StreamsGroupHeartbeatRequest {
        StreamsGroupHeartbeatRequest {
            active_tasks: Some(task_ids(&self.active)),
            standby_tasks: Some(task_ids(&self.standby)),
            warmup_tasks: Some(Vec::new()),
            ..self.beating(self.member_epoch)
        }
    }

    fn take(&mut self, response: &StreamsGroupHeartbeatResponse) {
        self.member_epoch = response.member_epoch;
        if let Some(tasks) = &response.active_tasks {
            self.active = tasks_of(tasks);
        }
        if let Some(tasks) = &response.standby_tasks {
            self.standby = tasks_of(tasks);
        }
        self.statuses = response
            .status
            .iter()
            .flatten()
            .map(|status| (status.status_code, status.status_detail.to_string()))
            .collect();
    }

    pub(super) fn codes(&self) -> Vec<i8> {
        self.statuses.iter().map(|(code, _)| *code).collect()
    }

    /// Joins, as it must succeed; gives the topics that are to be made.
    pub(super) fn join(&mut self, world: &mut World) -> Vec<(String, i32)> {
        let heartbeat = world.streams_heartbeat(&self.joining());
        let response = heartbeat.response;
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        self.active.clear();
        self.standby.clear();
        self.take(&response);
        let topics = heartbeat.topics_to_create.iter();
        topics
            .map(|topic| (topic.name.to_string(), topic.num_partitions))
            .collect()
    }

    /// Tells what it has and takes what it is told; gives the error, with which it drops all.
    pub(super) fn beat(&mut self, world: &mut World) -> ErrorCode {
        let response = world.streams_heartbeat(&self.telling()).response;
        let error = ErrorCode(response.error_code);
        if error == ErrorCode::NONE {
            self.take(&response);
        } else {
            self.active.clear();
            self.standby.clear();
            self.member_epoch = 0;
        }
        error
    }
}

fn task_ids(tasks: &[Task]) -> Vec<TaskIds> {
    let mut by_subtopology: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (subtopology, partition) in tasks {
        by_subtopology
            .entry(subtopology)
            .or_default()
            .push(*partition);
    }
    let ids = by_subtopology.into_iter().map(|(id, partitions)| TaskIds {
        subtopology_id: id.into(),
        partitions,
        ..TaskIds::default()
    });
    ids.collect()
}

fn tasks_of(tasks: &[response::TaskIds]) -> Vec<Task> {
    let mut tasks: Vec<Task> = tasks
        .iter()
        .flat_map(|ids| {
            let id = ids.subtopology_id.to_string();
            ids.partitions.iter().map(move |task| (id.clone(), *task))
        })
        .collect();
    tasks.sort();
    tasks
}

/// A world that assigns whenever it has to, with these topics.
pub(super) fn world_of_streams(topics: &[(&str, i32)]) -> World {
    let mut config = GroupCoordinatorConfig {
        initial_rebalance_delay_ms: 0,
        ..GroupCoordinatorConfig::default()
    };
    config.streams.assignment_interval_ms.default = 0;
    let mut world = World::with(config);
    world.have_topics(topics);
    world
}

impl World {
    /// The cluster has these topics, and no others, from now on.
    pub(super) fn have_topics(&mut self, topics: &[(&str, i32)]) {
        let offset = i64::try_from(self.log.len()).unwrap() + 1 + self.now.monotonic_ms;
        let topics: Vec<(&str, Uuid, i32)> = topics
            .iter()
            .map(|(name, partitions)| {
                let mut id = [0; 16];
                let length = name.len().min(16);
                id[..length].copy_from_slice(&name.as_bytes()[..length]);
                (*name, Uuid(id), *partitions)
            })
            .collect();
        self.topics(&topics, offset);
    }

    pub(super) fn streams_heartbeat(
        &mut self,
        request: &StreamsGroupHeartbeatRequest,
    ) -> StreamsHeartbeat {
        let client = client();
        let context = RequestContext {
            token: self.token(),
            api_version: 0,
            client: &client,
            random: [1; 16],
        };
        let coordinator = &mut self.coordinator;
        let decision = coordinator.streams_group_heartbeat(self.now, &context, request);
        self.apply(decision)
    }

    /// The error and the words of the response.
    pub(super) fn streams_refusal(
        &mut self,
        request: &StreamsGroupHeartbeatRequest,
    ) -> (ErrorCode, String) {
        let response = self.streams_heartbeat(request).response;
        let message = response.error_message.unwrap_or_default();
        (ErrorCode(response.error_code), message.to_string())
    }

    pub(super) fn streams_state(&self) -> String {
        let described = self.coordinator.describe_streams_groups(&[GROUP.into()]);
        described[0].group_state.to_string()
    }
}
