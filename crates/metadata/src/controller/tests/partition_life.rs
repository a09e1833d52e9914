//! ISR changes, elections, reassignments, directories.

use ottla_protocol::messages::alter_partition_request as asked;
use ottla_protocol::messages::{assign_replicas_to_dirs_request as dirs, elect_leaders_request};

use super::*;

impl Cluster {
    /// The leader's request for this ISR, with the partition's present epochs.
    fn isr_request(&self, topic: &str, isr: &[i32]) -> AlterPartitionRequest {
        let partition = self.partition(topic);
        let leader = partition.leader_id();
        let member = |id: &i32| asked::BrokerState {
            broker_id: *id,
            broker_epoch: self.epoch_of(*id),
            ..Default::default()
        };
        AlterPartitionRequest {
            broker_id: leader,
            broker_epoch: self.epoch_of(leader),
            topics: vec![asked::TopicData {
                topic_id: self.controller.image().topics().id_of(topic).unwrap().0,
                partitions: vec![asked::PartitionData {
                    partition_index: 0,
                    leader_epoch: partition.leader_epoch.0,
                    partition_epoch: partition.partition_epoch,
                    new_isr_with_epochs: isr.iter().map(member).collect(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn alter(&mut self, request: &AlterPartitionRequest) -> ErrorCode {
        let decision = self.controller.decide_alter_partition(request, 3);
        let response = self.append(decision);
        ErrorCode(response.topics[0].partitions[0].error_code)
    }

    fn reassign(&mut self, topic: &str, replicas: Option<&[i32]>) -> (ErrorCode, String) {
        use alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
        let partition = ReassignablePartition {
            partition_index: 0,
            replicas: replicas.map(<[i32]>::to_vec),
            ..Default::default()
        };
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic {
                name: topic.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let decision = self
            .controller
            .decide_alter_partition_reassignments(&request);
        let response = self.append(decision);
        let result = &response.responses[0].partitions[0];
        (
            ErrorCode(result.error_code),
            result.error_message.clone().unwrap_or_default().to_string(),
        )
    }

    fn elect(&mut self, topic: &str, election_type: i8) -> ErrorCode {
        let request = ElectLeadersRequest {
            election_type,
            topic_partitions: Some(vec![elect_leaders_request::TopicPartitions {
                topic: topic.into(),
                partitions: vec![0],
                ..Default::default()
            }]),
            ..Default::default()
        };
        let decision = self.controller.decide_elect_leaders(&request);
        let response = self.append(decision);
        ErrorCode(response.replica_election_results[0].partition_result[0].error_code)
    }
}

#[test]
fn a_leader_changes_its_isr() {
    let mut cluster = Cluster::with_brokers(&[1, 2, 3]);
    cluster.create_assigned("t", &[1, 2, 3], "1");
    let request = cluster.isr_request("t", &[1, 3]);
    assert_eq!(cluster.alter(&request), ErrorCode::NONE);
    let partition = cluster.partition("t");
    assert_eq!(
        (partition.isr.clone(), partition.partition_epoch),
        (ids(&[1, 3]), 1)
    );
    assert_eq!(
        partition.leader_epoch.0, 0,
        "a smaller ISR needs no new leader epoch"
    );
    assert_eq!(
        cluster.alter(&request),
        ErrorCode::INVALID_UPDATE_VERSION,
        "asked twice"
    );
}

/// KAFKA-15021: brokers before 3.6 need a new leader epoch to notice.
#[test]
fn a_smaller_isr_bumps_the_leader_epoch_in_old_clusters() {
    let mut cluster = Cluster::at(11);
    for id in [1, 2] {
        cluster.start_broker(id, -1);
    }
    cluster.create_assigned("t", &[1, 2], "1");
    let request = cluster.isr_request("t", &[1]);
    assert_eq!(cluster.alter(&request), ErrorCode::NONE);
    assert_eq!(cluster.partition("t").leader_epoch.0, 1);
}

#[test]
fn isr_changes_that_cannot_be_are_refused() {
    let mut cluster = Cluster::with_brokers(&[1, 2, 3]);
    cluster.create_assigned("t", &[1, 2], "1");
    let changed = |cluster: &Cluster, change: &dyn Fn(&mut asked::PartitionData)| {
        let mut request = cluster.isr_request("t", &[1]);
        change(&mut request.topics[0].partitions[0]);
        request
    };
    type Change = Box<dyn Fn(&mut asked::PartitionData)>;
    let rows: Vec<(Change, ErrorCode)> = vec![
        (
            Box::new(|found| found.leader_epoch += 1),
            ErrorCode::NOT_CONTROLLER,
        ),
        (
            Box::new(|found| found.partition_epoch += 1),
            ErrorCode::NOT_CONTROLLER,
        ),
        (
            Box::new(|found| found.leader_epoch -= 1),
            ErrorCode::FENCED_LEADER_EPOCH,
        ),
        (
            Box::new(|found| found.new_isr_with_epochs.clear()),
            ErrorCode::INVALID_REQUEST,
        ),
        (
            Box::new(|found| found.new_isr_with_epochs[0].broker_id = 2),
            ErrorCode::INVALID_REQUEST,
        ),
        (
            Box::new(|found| found.leader_recovery_state = 1),
            ErrorCode::INVALID_REQUEST,
        ),
        (
            Box::new(|found| found.partition_index = 9),
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ),
        // KIP-903: fetched in an earlier life.
        (
            Box::new(|found| found.new_isr_with_epochs[0].broker_epoch -= 1),
            ErrorCode::INELIGIBLE_REPLICA,
        ),
    ];
    for (change, code) in rows {
        let request = changed(&cluster, &change);
        assert_eq!(cluster.alter(&request), code);
    }
    let other = AlterPartitionRequest {
        broker_id: 2,
        broker_epoch: cluster.epoch_of(2),
        ..cluster.isr_request("t", &[1])
    };
    assert_eq!(
        cluster.alter(&other),
        ErrorCode::INVALID_REQUEST,
        "not the leader"
    );
    cluster.let_sessions_end_but(&[1, 3]);
    let fenced = cluster.isr_request("t", &[1, 2]);
    assert_eq!(cluster.alter(&fenced), ErrorCode::INELIGIBLE_REPLICA);
}

#[test]
fn leadership_goes_back_to_the_preferred_replica() {
    let mut cluster = Cluster::with_brokers(&[1, 2]);
    cluster.create_assigned("t", &[1, 2], "1");
    assert_eq!(cluster.elect("t", 0), ErrorCode::ELECTION_NOT_NEEDED);
    assert_eq!(cluster.elect("u", 0), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    cluster.let_sessions_end_but(&[2]);
    assert_eq!(cluster.partition("t").leader, Some(BrokerId(2)));
    assert_eq!(
        cluster.elect("t", 0),
        ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE
    );
    let epoch = cluster.epoch_of(1);
    cluster.start_broker(1, epoch);
    let request = cluster.isr_request("t", &[2, 1]);
    assert_eq!(cluster.alter(&request), ErrorCode::NONE);
    let decision = cluster.controller.decide_balance_leaders();
    assert_eq!(decision.records.len(), 1);
    assert!(!cluster.append(decision));
    assert_eq!(cluster.partition("t").leader, Some(BrokerId(1)));
    assert!(
        cluster
            .controller
            .decide_balance_leaders()
            .records
            .is_empty()
    );
}

#[test]
fn an_unclean_election_takes_who_is_there() {
    let mut cluster = Cluster::at(20);
    for id in [1, 2] {
        cluster.start_broker(id, -1);
    }
    cluster.create_assigned("t", &[1, 2], "1");
    let request = cluster.isr_request("t", &[1]);
    cluster.alter(&request);
    assert_eq!(cluster.elect("t", 1), ErrorCode::ELECTION_NOT_NEEDED);
    cluster.let_sessions_end_but(&[2]);
    assert_eq!(cluster.partition("t").leader, None);
    assert!(
        cluster
            .controller
            .decide_unclean_elections()
            .records
            .is_empty(),
        "not enabled"
    );
    assert_eq!(cluster.elect("t", 1), ErrorCode::NONE);
    let partition = cluster.partition("t");
    assert_eq!(
        (partition.leader, partition.isr.as_slice()),
        (Some(BrokerId(2)), &ids(&[2])[..])
    );
    assert_eq!(
        partition.leader_recovery_state,
        LeaderRecoveryState::Recovering
    );
}

/// KIP-455: replicas are added, then, when all are in sync, removed.
#[test]
fn a_reassignment_grows_then_shrinks() {
    let mut cluster = Cluster::with_brokers(&[1, 2, 3, 4]);
    cluster.create_assigned("t", &[1, 2], "1");
    assert_eq!(
        cluster.reassign("t", None).0,
        ErrorCode::NO_REASSIGNMENT_IN_PROGRESS
    );
    assert_eq!(
        cluster.reassign("t", Some(&[9])).0,
        ErrorCode::INVALID_REPLICA_ASSIGNMENT
    );
    assert_eq!(cluster.reassign("t", Some(&[3, 4])).0, ErrorCode::NONE);
    let partition = cluster.partition("t");
    assert_eq!(partition.replicas, ids(&[3, 4, 1, 2]));
    assert_eq!(partition.adding_replicas, ids(&[3, 4]));
    assert_eq!(partition.removing_replicas, ids(&[1, 2]));
    let all = ListPartitionReassignmentsRequest::default();
    assert_eq!(
        cluster
            .controller
            .list_partition_reassignments(&all)
            .topics
            .len(),
        1
    );
    let request = cluster.isr_request("t", &[1, 2, 3]);
    assert_eq!(cluster.alter(&request), ErrorCode::NONE);
    assert!(
        cluster.partition("t").is_reassigning(),
        "4 is not in sync yet"
    );
    let request = cluster.isr_request("t", &[1, 2, 3, 4]);
    assert_eq!(cluster.alter(&request), ErrorCode::NEW_LEADER_ELECTED);
    let partition = cluster.partition("t");
    assert!(!partition.is_reassigning());
    assert_eq!(
        (&partition.replicas, &partition.isr),
        (&ids(&[3, 4]), &ids(&[3, 4]))
    );
    assert_eq!(partition.leader, Some(BrokerId(3)));
    assert!(
        cluster
            .controller
            .list_partition_reassignments(&all)
            .topics
            .is_empty()
    );
}

#[test]
fn a_reassignment_can_be_cancelled() {
    let mut cluster = Cluster::with_brokers(&[1, 2, 3]);
    cluster.create_assigned("t", &[1, 2], "1");
    cluster.reassign("t", Some(&[2, 3]));
    assert_eq!(cluster.reassign("t", None).0, ErrorCode::NONE);
    let partition = cluster.partition("t");
    assert!(!partition.is_reassigning());
    assert_eq!(partition.isr, ids(&[1, 2]));
    assert_eq!(partition.leader, Some(BrokerId(1)));
}

#[test]
fn a_replica_is_found_in_the_directory_that_its_broker_names() {
    let mut cluster = Cluster::at(30);
    let (one, two) = (Uuid([0xa1; 16]), Uuid([0xa2; 16]));
    let request = BrokerRegistrationRequest {
        log_dirs: vec![one, two],
        ..Cluster::registration(1, 1)
    };
    cluster.register(&request);
    let heartbeat = cluster.alive(1);
    cluster.heartbeat(&heartbeat);
    cluster.create_assigned("t", &[1], "1");
    assert_eq!(
        cluster.partition("t").directories,
        [crate::image::DIRECTORY_UNASSIGNED]
    );
    let topic_id = cluster.controller.image().topics().id_of("t").unwrap().0;
    let partition = |index| dirs::PartitionData {
        partition_index: index,
        ..Default::default()
    };
    let request = AssignReplicasToDirsRequest {
        broker_id: 1,
        broker_epoch: cluster.epoch_of(1),
        directories: vec![dirs::DirectoryData {
            id: two,
            topics: vec![
                dirs::TopicData {
                    topic_id,
                    partitions: vec![partition(0), partition(1)],
                    ..Default::default()
                },
                dirs::TopicData {
                    topic_id: Uuid([9; 16]),
                    partitions: vec![partition(0)],
                    ..Default::default()
                },
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    let decision = cluster.controller.decide_assign_replicas_to_dirs(&request);
    let response = cluster.append(decision);
    let code = |topic: usize, partition: usize| {
        ErrorCode(response.directories[0].topics[topic].partitions[partition].error_code)
    };
    assert_eq!(code(0, 0), ErrorCode::NONE);
    assert_eq!(code(0, 1), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(code(1, 0), ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(cluster.partition("t").directories, [two]);
    let failed = BrokerHeartbeatRequest {
        offline_log_dirs: vec![two],
        ..cluster.alive(1)
    };
    cluster.heartbeat(&failed);
    assert_eq!(cluster.partition("t").leader, None);
}
