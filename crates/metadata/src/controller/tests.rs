use ottla_protocol::messages::broker_registration_request::{Feature, Listener};
use ottla_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use ottla_protocol::messages::delete_topics_request::DeleteTopicState;
use ottla_protocol::messages::*;
use ottla_protocol::{ErrorCode, Uuid};

use super::*;
use crate::bootstrap::BootstrapMetadata;
use crate::features::supported_features;
use crate::image::{LeaderRecoveryState, PartitionRegistration};
use ottla_protocol::ids::PartitionIndex;

mod broker_life;
mod changes;
mod partition_life;
mod random_life;
mod recorded;
mod topic_life;

const CLUSTER: &str = "rSm3gRNWQ2OZAb2yQnFBIA";

/// Numbers that look random and follow from the seed (splitmix64).
pub(super) struct Sequence(pub(super) u64);

impl Random for Sequence {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A controller, and a log that every decision goes into at once.
pub(super) struct Cluster {
    pub(super) controller: Controller,
    pub(super) log: Vec<MetadataRecord>,
    pub(super) random: Sequence,
    pub(super) now_ms: i64,
}

impl Cluster {
    pub(super) fn options() -> Arc<ControllerOptions> {
        Arc::new(ControllerOptions {
            node_id: BrokerId(1),
            cluster_id: CLUSTER.into(),
            num_partitions: 1,
            default_replication_factor: 1,
            session_timeout_ms: 9_000,
            delete_topic_enable: true,
            static_config: BTreeMap::new(),
            voters: vec![BrokerId(1)],
        })
    }

    /// A cluster at this `metadata.version`, without brokers.
    pub(super) fn at(level: i16) -> Self {
        let image = MetadataImage::default();
        let mut cluster = Self {
            controller: Controller::new(Self::options(), image, Offset(-1)),
            log: Vec::new(),
            random: Sequence(7),
            now_ms: 1_000_000,
        };
        let version = MetadataVersion::from_level(level).unwrap();
        let bootstrap = BootstrapMetadata::for_version(version);
        let decision = cluster.controller.decide_activation(&bootstrap);
        cluster.append(decision);
        cluster
    }

    /// A cluster of the newest level with these brokers, all unfenced.
    pub(super) fn with_brokers(ids: &[i32]) -> Self {
        let mut cluster = Self::at(30);
        for id in ids {
            cluster.start_broker(*id, -1);
        }
        cluster
    }

    pub(super) fn next_offset(&self) -> Offset {
        Offset(i64::try_from(self.log.len()).unwrap())
    }

    /// Writes, reads back and replays the records of a decision, and gives its response.
    pub(super) fn append<R>(&mut self, decision: Decision<R>) -> R {
        for record in decision.records {
            let bytes = record.encode(self.controller.metadata_version()).unwrap();
            let record = MetadataRecord::decode(bytes).unwrap();
            let offset = self.next_offset();
            self.controller.replay(&record, offset).unwrap();
            self.log.push(record);
        }
        self.check_invariants();
        decision.response
    }

    pub(super) fn registration(id: i32, incarnation: u8) -> BrokerRegistrationRequest {
        let feature = |(name, range): (&str, crate::features::LevelRange)| Feature {
            name: name.into(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Feature::default()
        };
        BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: CLUSTER.into(),
            incarnation_id: Uuid([incarnation; 16]),
            listeners: vec![Listener {
                name: "PLAINTEXT".into(),
                host: "127.0.0.1".into(),
                port: 9092,
                ..Listener::default()
            }],
            features: supported_features().into_iter().map(feature).collect(),
            rack: None,
            log_dirs: vec![directory(id)],
            previous_broker_epoch: -1,
            ..BrokerRegistrationRequest::default()
        }
    }

    pub(super) fn register(
        &mut self,
        request: &BrokerRegistrationRequest,
    ) -> BrokerRegistrationResponse {
        let context = RegistrationContext {
            next_offset: self.next_offset(),
            request_version: 4,
            same_process: false,
        };
        let decision = self
            .controller
            .decide_broker_registration(self.now_ms, request, context);
        self.append(decision)
    }

    pub(super) fn heartbeat(
        &mut self,
        request: &BrokerHeartbeatRequest,
    ) -> BrokerHeartbeatResponse {
        let offset = self.next_offset();
        let decision = self
            .controller
            .handle_broker_heartbeat(self.now_ms, request, offset);
        self.append(decision)
    }

    /// The heartbeat of a broker that has replayed everything and wants to serve.
    pub(super) fn alive(&self, id: i32) -> BrokerHeartbeatRequest {
        BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: self.epoch_of(id),
            current_metadata_offset: self.next_offset().0 - 1,
            cordoned_log_dirs: Some(Vec::new()),
            ..BrokerHeartbeatRequest::default()
        }
    }

    pub(super) fn epoch_of(&self, id: i32) -> i64 {
        self.controller
            .image()
            .cluster()
            .broker(BrokerId(id))
            .unwrap()
            .epoch
            .0
    }

    /// Registers a broker in a new life and lets it serve.
    pub(super) fn start_broker(&mut self, id: i32, previous_epoch: i64) {
        let incarnation = u8::try_from(self.log.len() % 250 + 1).unwrap();
        let request = BrokerRegistrationRequest {
            previous_broker_epoch: previous_epoch,
            ..Self::registration(id, incarnation)
        };
        assert_eq!(self.register(&request).error_code, 0);
        let heartbeat = self.alive(id);
        let response = self.heartbeat(&heartbeat);
        assert!(!response.is_fenced);
    }

    pub(super) fn create(&mut self, topic: CreatableTopic) -> CreateTopicsResponse {
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        let decision = self
            .controller
            .decide_create_topics(&mut self.random, &request);
        self.append(decision)
    }

    /// Creates a topic with one partition of these replicas.
    pub(super) fn create_assigned(&mut self, name: &str, replicas: &[i32], min_isr: &str) {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![CreatableReplicaAssignment {
                partition_index: 0,
                broker_ids: replicas.to_vec(),
                ..Default::default()
            }],
            configs: vec![CreatableTopicConfig {
                name: "min.insync.replicas".into(),
                value: Some(min_isr.into()),
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = self.create(topic);
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    }

    pub(super) fn partition(&self, topic: &str) -> PartitionRegistration {
        let topic = self.controller.image().topics().get_by_name(topic).unwrap();
        topic.partition(PartitionIndex(0)).unwrap().clone()
    }

    /// Lets time pass until the session of every broker that isn't named has run out.
    pub(super) fn let_sessions_end_but(&mut self, alive: &[i32]) {
        self.now_ms += 9_000;
        for id in alive {
            let heartbeat = self.alive(*id);
            self.heartbeat(&heartbeat);
        }
        loop {
            let decision = self.controller.decide_fence_stale_broker(self.now_ms);
            if !self.append(decision) {
                break;
            }
        }
    }

    /// What must hold of every partition at all times: `ValidControllerIsrAndElr`.
    fn check_invariants(&self) {
        let image = self.controller.image();
        for topic in image.topics().in_id_order() {
            for partition in topic.partitions().values() {
                let eligible = &partition.eligible_leader_replicas;
                assert!(
                    partition
                        .isr
                        .iter()
                        .all(|id| partition.replicas.contains(id))
                );
                assert!(eligible.iter().all(|id| partition.replicas.contains(id)));
                assert!(eligible.iter().all(|id| !partition.isr.contains(id)));
                assert!(
                    partition
                        .leader
                        .is_none_or(|leader| partition.isr.contains(&leader))
                );
                let active = |id: &BrokerId| image.cluster().is_active(*id);
                assert!(partition.leader.is_none_or(|leader| active(&leader)));
                // Without eligible leader replicas the last member stays, whatever became of it.
                let last_stays = !image.features().eligible_leader_replicas_enabled();
                assert!(last_stays || partition.isr.iter().all(active));
                assert_eq!(partition.directories.len(), partition.replicas.len());
            }
        }
    }
}

pub(super) fn directory(id: i32) -> Uuid {
    Uuid([0x80 | u8::try_from(id).unwrap(); 16])
}

pub(super) fn ids(numbers: &[i32]) -> Vec<BrokerId> {
    crate::image::broker_ids(numbers)
}
