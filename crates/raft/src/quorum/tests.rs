use ottla_protocol::Uuid;
use ottla_protocol::messages::DescribeQuorumRequest;
use ottla_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use ottla_protocol::record::batches;

use super::*;

const LOG: &[u8] =
    include_bytes!("../../../metadata/testdata/kafka-4.3.1/kraft-version-1/metadata.log");
const CHECKPOINT: &[u8] = include_bytes!(
    "../../../metadata/testdata/kafka-4.3.1/kraft-version-1/00000000000000000000-0000000000.checkpoint"
);

fn at(ms: i64) -> Now {
    Now {
        monotonic_ms: ms,
        wall_ms: ms,
    }
}

/// A log of one epoch.
fn one_epoch(epoch: i32) -> EpochHistory {
    let mut epochs = EpochHistory::default();
    epochs.observe(LeaderEpoch(epoch), Offset(0));
    epochs
}

/// A quorum and what its owner keeps: the file, the log, and what is visible outside.
struct Node {
    quorum: Quorum,
    quorum_state: String,
    log: Vec<u8>,
    events: Vec<String>,
}

impl Node {
    fn new(quorum: Quorum) -> Self {
        Self {
            quorum,
            quorum_state: String::new(),
            log: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Does what the quorum says until it says nothing more. The order is the contract.
    fn run(&mut self, now_ms: i64) {
        while let Some(output) = self.quorum.poll() {
            match output {
                Output::PersistElectionState(text) => {
                    self.events.push("persist".to_owned());
                    self.quorum_state = text;
                    self.quorum
                        .handle(at(now_ms), Input::ElectionStatePersisted)
                        .unwrap();
                }
                Output::Append(batch) => {
                    self.events.push("append".to_owned());
                    self.append(now_ms, &batch);
                }
                Output::BecameLeader { epoch, .. } => self.events.push(format!("leader {epoch}")),
                Output::HighWatermarkAdvanced(offset) => {
                    self.events.push(format!("committed {offset}"));
                }
                Output::TruncateFullyTo(id) => self.events.push(format!("truncate to {id}")),
                Output::Resigned { epoch } => self.events.push(format!("resigned {epoch}")),
                other => panic!("a quorum of one has nobody to ask: {other:?}"),
            }
        }
    }

    fn append(&mut self, now_ms: i64, batch: &[u8]) {
        let header = batches(batch).next().unwrap().unwrap().header();
        self.log.extend_from_slice(batch);
        let end = Offset(header.next_offset());
        self.quorum
            .handle(at(now_ms), Input::Appended(end))
            .unwrap();
        self.quorum.handle(at(now_ms), Input::Synced(end)).unwrap();
    }
}

fn endpoint() -> VoterEndpoint {
    VoterEndpoint {
        listener: "CONTROLLER".into(),
        host: "127.0.0.1".into(),
        port: 23717,
    }
}

fn options(directory_id: Uuid, configured_voters: VoterSet) -> QuorumOptions {
    QuorumOptions {
        endpoints: vec![endpoint()],
        configured_voters,
        ..QuorumOptions::new(ReplicaKey::new(BrokerId(1), directory_id), 1)
    }
}

fn one_static_voter() -> VoterSet {
    VoterSet::of_configuration("CONTROLLER", [(1, "127.0.0.1", 23717)])
}

/// A formatted directory of a dynamic quorum: everything up to the first record of the
/// controller is byte for byte what Apache Kafka 4.3.1 wrote.
#[test]
fn the_first_epoch_of_a_formatted_node_is_written_as_kafka_does() {
    let snapshot = Snapshot::read(CHECKPOINT).unwrap();
    let voters = snapshot.voters.clone().unwrap();
    let directory = voters.get(BrokerId(1)).unwrap().key.directory_id;
    let first = batches(LOG).next().unwrap().unwrap();
    let now_ms = first.header().base_timestamp();
    let start = Start {
        snapshot: Some(SnapshotId::BOOTSTRAP),
        history: VoterHistory::of_snapshot(&snapshot, SnapshotId::BOOTSTRAP),
        ..Start::default()
    };
    let quorum = Quorum::new(at(now_ms), options(directory, VoterSet::default()), start);
    let mut node = Node::new(quorum);
    node.run(now_ms);
    assert_eq!(node.log, first.as_bytes());
    assert_eq!(
        node.events,
        ["persist", "persist", "leader 1", "append", "committed 3"],
        "vote and leadership are on the disk before anything else"
    );
    assert_eq!(
        node.quorum_state,
        r#"{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#
    );

    let second = batches(LOG).nth(1).unwrap().unwrap();
    let values: Vec<Bytes> = second
        .records()
        .unwrap()
        .map(|record| Bytes::copy_from_slice(record.unwrap().value.unwrap()))
        .collect();
    let now_ms = second.header().base_timestamp();
    let batch = node.quorum.data_batch(now_ms, &values).unwrap();
    assert_eq!(batch, second.as_bytes());
    node.append(now_ms, &batch);
    assert_eq!(
        node.quorum.poll(),
        Some(Output::HighWatermarkAdvanced(Offset(13)))
    );
}

/// Raft §5.1: epochs only grow, and a restart begins a new one.
#[test]
fn a_restart_begins_a_new_epoch() {
    let election = ElectionState::parse(
        r#"{"clusterId":"","leaderId":1,"leaderEpoch":4,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#,
    )
    .unwrap();
    let start = Start {
        election: Some(election),
        log_end_offset: Offset(100),
        epochs: one_epoch(4),
        ..Start::default()
    };
    let quorum = Quorum::new(at(5), options(Uuid([3; 16]), one_static_voter()), start);
    assert_eq!(quorum.leader(), None);
    let mut node = Node::new(quorum);
    node.run(5);
    assert_eq!(
        node.events,
        ["persist", "persist", "leader 5", "append", "committed 101"]
    );
    assert_eq!(node.quorum.leader(), Some(BrokerId(1)));
    let header = batches(&node.log).next().unwrap().unwrap().header();
    assert_eq!(
        (header.base_offset(), header.partition_leader_epoch()),
        (100, 5)
    );
}

#[test]
fn a_lost_quorum_state_gives_way_to_the_log() {
    let start = Start {
        log_end_offset: Offset(9),
        epochs: one_epoch(7),
        ..Start::default()
    };
    let mut node = Node::new(Quorum::new(
        at(0),
        options(Uuid::ONE, one_static_voter()),
        start,
    ));
    node.run(0);
    assert_eq!(node.quorum.epoch(), LeaderEpoch(8));
}

/// Raft §5.4.2: a leader commits nothing before a record of its own epoch is on a majority.
#[test]
fn nothing_is_committed_before_the_leaders_own_epoch_is() {
    let start = Start {
        log_end_offset: Offset(50),
        ..Start::default()
    };
    let mut quorum = Quorum::new(at(0), options(Uuid::ONE, one_static_voter()), start);
    quorum.handle(at(0), Input::Synced(Offset(50))).unwrap();
    assert_eq!(quorum.high_watermark(), None);
    while let Some(output) = quorum.poll() {
        if matches!(output, Output::PersistElectionState(_)) {
            quorum.handle(at(0), Input::ElectionStatePersisted).unwrap();
        }
    }
    assert_eq!(quorum.state(), State::Leader);
    quorum.handle(at(0), Input::Synced(Offset(50))).unwrap();
    assert_eq!(quorum.high_watermark(), None);
    quorum.handle(at(0), Input::Appended(Offset(51))).unwrap();
    assert_eq!(quorum.high_watermark(), None, "it may be lost yet");
    quorum.handle(at(0), Input::Synced(Offset(51))).unwrap();
    assert_eq!(quorum.high_watermark(), Some(Offset(51)));
}

#[test]
fn a_log_behind_its_snapshot_starts_at_the_snapshot() {
    let id = SnapshotId {
        offset: Offset(500),
        epoch: LeaderEpoch(3),
    };
    let start = Start {
        snapshot: Some(id),
        log_end_offset: Offset(400),
        epochs: one_epoch(3),
        ..Start::default()
    };
    let mut node = Node::new(Quorum::new(
        at(0),
        options(Uuid::ONE, one_static_voter()),
        start,
    ));
    node.run(0);
    assert_eq!(node.events[0], format!("truncate to {id}"));
    assert_eq!(node.events.last().unwrap(), "committed 501");
}

#[test]
fn who_resigned_leads_again_after_the_timeout() {
    let quorum = Quorum::new(
        at(0),
        options(Uuid::ONE, one_static_voter()),
        Start::default(),
    );
    let mut node = Node::new(quorum);
    node.run(0);
    node.quorum.handle(at(10), Input::Resign).unwrap();
    node.run(10);
    assert_eq!(node.events.last().unwrap(), "resigned 1");
    assert!(node.quorum.data_batch(10, &[]).is_err());
    assert_eq!(node.quorum.next_deadline(), Some(1_010));
    node.quorum.handle(at(1_009), Input::Tick).unwrap();
    assert_eq!(node.quorum.poll(), None);
    node.quorum.handle(at(1_010), Input::Tick).unwrap();
    node.run(1_010);
    assert_eq!(
        (node.quorum.epoch(), node.quorum.state()),
        (LeaderEpoch(2), State::Leader)
    );
}

/// KIP-853: another directory under the same id is another voter.
#[test]
fn a_wiped_directory_does_not_elect_itself() {
    let snapshot = Snapshot::read(CHECKPOINT).unwrap();
    let start = Start {
        history: VoterHistory::of_snapshot(&snapshot, SnapshotId::BOOTSTRAP),
        ..Start::default()
    };
    let mut quorum = Quorum::new(at(0), options(Uuid([1; 16]), VoterSet::default()), start);
    assert_eq!(quorum.poll(), None);
    assert_eq!(quorum.state(), State::Unattached);
}

/// The records are those of offsets 197 and 198 of the log of `kraft-version-0`.
#[test]
fn static_voters_move_into_the_log() {
    let directory: Uuid = "J99mnO2cPFzABx7fOpgZlQ".parse().unwrap();
    let quorum = Quorum::new(
        at(0),
        options(directory, one_static_voter()),
        Start::default(),
    );
    let mut node = Node::new(quorum);
    node.run(0);
    assert!(node.quorum_state.contains(r#""data_version":0"#));
    node.quorum.upgrade_kraft_version(at(1)).unwrap();
    node.run(1);
    assert!(
        node.quorum_state
            .contains(r#""leaderEpoch":1,"votedId":-1"#)
    );
    assert!(node.quorum_state.contains(r#""data_version":1"#));
    assert_eq!(node.quorum.kraft_version(), KRaftVersion::Dynamic);
    let last = batches(&node.log).last().unwrap().unwrap();
    let mut history = VoterHistory::default();
    for record in last.records().unwrap() {
        let record = record.unwrap();
        let value = Bytes::copy_from_slice(record.value.unwrap());
        let control = ControlRecord::decode(record.key.unwrap(), value)
            .unwrap()
            .unwrap();
        history.observe(Offset(record.offset), &control).unwrap();
    }
    assert_eq!(&history, node.quorum.history());
    let voter = history.voters().unwrap().get(BrokerId(1)).unwrap().clone();
    assert_eq!(voter.key.directory_id, directory);
    assert_eq!(voter.endpoints, [endpoint()]);
}

#[test]
fn the_leader_describes_the_quorum() {
    let quorum = Quorum::new(
        at(0),
        options(Uuid::ONE, one_static_voter()),
        Start::default(),
    );
    let mut node = Node::new(quorum);
    node.run(0);
    let request = |name: &str, index: i32| DescribeQuorumRequest {
        topics: vec![TopicData {
            topic_name: name.into(),
            partitions: vec![PartitionData {
                partition_index: index,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = node.quorum.describe(77, &request("__cluster_metadata", 0));
    let partition = &response.topics[0].partitions[0];
    assert_eq!(
        (
            partition.leader_id,
            partition.leader_epoch,
            partition.high_watermark
        ),
        (1, 1, 1)
    );
    let voter = &partition.current_voters[0];
    assert_eq!((voter.log_end_offset, voter.last_fetch_timestamp), (1, 77));
    assert_eq!(response.nodes[0].listeners[0].port, 23717);
    let response = node.quorum.describe(77, &request("__cluster_metadata", 1));
    assert_eq!(response.topics[0].partitions[0].error_code, 3);
}
