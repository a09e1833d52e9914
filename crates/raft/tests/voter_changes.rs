//! The voters of a dynamic quorum change, one at a time (KIP-853).

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::panic, reason = "a test fails where it stands")]

use ottla_protocol::ids::{BrokerId, Offset};
use ottla_protocol::messages::add_raft_voter_request::Listener;
use ottla_protocol::messages::api_versions_response::SupportedFeatureKey;
use ottla_protocol::messages::{
    AddRaftVoterRequest, ApiVersionsResponse, FetchRequest, RemoveRaftVoterRequest, fetch_request,
};
use ottla_protocol::{ErrorCode, Uuid};
use ottla_raft::quorum::{CorrelationId, Request, RequestId, Response, VoterHistory};
use ottla_raft::snapshot::Snapshot;
use ottla_raft::{
    Input, KRaftVersion, Now, Output, Quorum, QuorumOptions, ReplicaKey, SnapshotId, Start, State,
    Voter, VoterEndpoint, VoterSet,
};

fn at(ms: i64) -> Now {
    Now {
        monotonic_ms: ms,
        wall_ms: ms,
    }
}

fn key(id: u8) -> ReplicaKey {
    ReplicaKey::new(BrokerId(i32::from(id)), Uuid([id + 1; 16]))
}

fn endpoint(id: u8) -> VoterEndpoint {
    VoterEndpoint {
        listener: "CONTROLLER".into(),
        host: "host".into(),
        port: 9_000 + u16::from(id),
    }
}

/// What happens to a quorum of one, formatted as standalone, that others want to join.
struct Leader {
    now_ms: i64,
    quorum: Quorum,
    /// What new voters answer when they are asked what they support.
    new_voters_answer: Option<(i16, i16)>,
    answers: Vec<(RequestId, ErrorCode, Option<String>)>,
    asked: u64,
}

impl Leader {
    fn new() -> Self {
        let formatted = Snapshot {
            kraft_version: KRaftVersion::Dynamic,
            voters: Some(VoterSet::new([Voter {
                key: key(0),
                endpoints: vec![endpoint(0)],
                kraft_version_min: 0,
                kraft_version_max: 1,
            }])),
            ..Snapshot::default()
        };
        let options = QuorumOptions {
            cluster_id: Some("cluster".into()),
            endpoints: vec![endpoint(0)],
            ..QuorumOptions::new(key(0), 7)
        };
        let start = Start {
            snapshot: Some(SnapshotId::BOOTSTRAP),
            history: VoterHistory::of_snapshot(&formatted, SnapshotId::BOOTSTRAP),
            ..Start::default()
        };
        let mut leader = Self {
            now_ms: 100,
            quorum: Quorum::new(at(100), options, start),
            new_voters_answer: Some((0, 1)),
            answers: Vec::new(),
            asked: 0,
        };
        leader.settle();
        assert_eq!(leader.quorum.state(), State::Leader);
        leader
    }

    fn handle(&mut self, input: Input) {
        self.tell(input);
        self.settle();
    }

    fn tell(&mut self, input: Input) {
        self.quorum.handle(at(self.now_ms), input).unwrap();
    }

    fn later(&mut self, delay_ms: i64) {
        self.now_ms += delay_ms;
        self.handle(Input::Tick);
    }

    fn settle(&mut self) {
        while let Some(output) = self.quorum.poll() {
            match output {
                Output::PersistElectionState(_) => {
                    self.tell(Input::ElectionStatePersisted);
                }
                Output::Append(_) => {
                    let end = self.quorum.log_end_offset();
                    self.tell(Input::Appended(end));
                    self.tell(Input::Synced(end));
                }
                Output::Send(correlation, _, Request::ApiVersions(_)) => {
                    let input = self.versions(correlation);
                    self.tell(input);
                }
                Output::Respond(id, Response::AddRaftVoter(response), _) => {
                    let message = response.error_message.map(|text| text.to_string());
                    self.answers
                        .push((id, ErrorCode(response.error_code), message));
                }
                Output::Respond(id, Response::RemoveRaftVoter(response), _) => {
                    let message = response.error_message.map(|text| text.to_string());
                    self.answers
                        .push((id, ErrorCode(response.error_code), message));
                }
                _ => {}
            }
        }
    }

    fn versions(&self, correlation: CorrelationId) -> Input {
        let Some((min_version, max_version)) = self.new_voters_answer else {
            return Input::Failed(correlation);
        };
        let response = ApiVersionsResponse {
            supported_features: vec![SupportedFeatureKey {
                name: "kraft.version".into(),
                min_version,
                max_version,
                ..SupportedFeatureKey::default()
            }],
            ..ApiVersionsResponse::default()
        };
        Input::Answered(correlation, Response::ApiVersions(response))
    }

    /// A replica says that it has the log up to its end.
    fn fetches_from_the_end(&mut self, id: u8) {
        self.asked += 1;
        let epoch = self.quorum.epoch().0;
        let request = FetchRequest {
            cluster_id: Some("cluster".into()),
            replica_state: fetch_request::ReplicaState {
                replica_id: i32::from(id),
                ..Default::default()
            },
            topics: vec![fetch_request::FetchTopic {
                topic_id: Uuid::ONE,
                partitions: vec![fetch_request::FetchPartition {
                    current_leader_epoch: epoch,
                    fetch_offset: self.quorum.log_end_offset().0,
                    last_fetched_epoch: epoch,
                    replica_directory_id: key(id).directory_id,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..FetchRequest::default()
        };
        let id = RequestId(self.asked);
        self.handle(Input::Received(id, Request::Fetch(request)));
    }

    fn ask(&mut self, request: Request) -> RequestId {
        self.asked += 1;
        let id = RequestId(self.asked);
        self.handle(Input::Received(id, request));
        id
    }

    fn add(&mut self, id: u8) -> RequestId {
        let VoterEndpoint {
            listener: name,
            host,
            port,
        } = endpoint(id);
        self.ask(Request::AddRaftVoter(AddRaftVoterRequest {
            cluster_id: Some("cluster".into()),
            voter_id: i32::from(id),
            voter_directory_id: key(id).directory_id,
            listeners: vec![Listener {
                name,
                host,
                port,
                ..Listener::default()
            }],
            ack_when_committed: true,
            ..AddRaftVoterRequest::default()
        }))
    }

    fn remove(&mut self, id: u8) -> RequestId {
        self.ask(Request::RemoveRaftVoter(RemoveRaftVoterRequest {
            cluster_id: Some("cluster".into()),
            voter_id: i32::from(id),
            voter_directory_id: key(id).directory_id,
            ..RemoveRaftVoterRequest::default()
        }))
    }

    fn answer(&self, id: RequestId) -> Option<ErrorCode> {
        let found = self.answers.iter().find(|(found, _, _)| *found == id);
        found.map(|(_, error, _)| *error)
    }

    fn message(&self, id: RequestId) -> &str {
        let found = self.answers.iter().find(|(found, _, _)| *found == id);
        match found {
            Some((_, _, Some(message))) => message,
            other => panic!("no message in {other:?}"),
        }
    }

    fn voters(&self) -> Vec<i32> {
        let voters = self.quorum.voters().iter();
        voters.map(|voter| voter.key.id.0).collect()
    }
}

#[test]
fn a_replica_becomes_a_voter_once_it_has_the_log_and_can_be_reached() {
    let mut leader = Leader::new();
    let early = leader.add(1);
    assert_eq!(leader.answer(early), Some(ErrorCode::REQUEST_TIMED_OUT));
    assert!(
        leader
            .message(early)
            .ends_with("since it is lagging behind")
    );

    leader.fetches_from_the_end(1);
    leader.new_voters_answer = None;
    let unreached = leader.add(1);
    assert_eq!(leader.answer(unreached), Some(ErrorCode::REQUEST_TIMED_OUT));
    assert!(leader.message(unreached).contains("BROKER_NOT_AVAILABLE"));
    // What could not be sent to is left alone for a moment.
    leader.later(1_000);
    leader.new_voters_answer = Some((0, 0));
    let old = leader.add(1);
    assert_eq!(leader.answer(old), Some(ErrorCode::INVALID_REQUEST));
    assert_eq!(leader.voters(), [0]);

    leader.new_voters_answer = Some((0, 1));
    let added = leader.add(1);
    assert_eq!(leader.voters(), [0, 1]);
    assert_eq!(leader.answer(added), None, "it is not committed yet");
    leader.fetches_from_the_end(1);
    assert_eq!(leader.answer(added), Some(ErrorCode::NONE));
    let again = leader.add(1);
    assert_eq!(leader.answer(again), Some(ErrorCode::DUPLICATE_VOTER));
}

/// Two sets of voters that differ by one voter have in every two majorities a voter in common; of
/// two changes at once that isn't so.
#[test]
fn a_change_waits_until_the_one_before_is_committed() {
    let mut leader = Leader::new();
    for id in 1..=3 {
        leader.fetches_from_the_end(id);
    }
    let first = leader.add(1);
    let committed = leader.quorum.high_watermark();
    assert!(committed < Some(leader.quorum.log_end_offset()));
    for (second, refused) in [(leader.add(2), [0, 1]), (leader.remove(0), [0, 1])] {
        assert_eq!(leader.answer(second), Some(ErrorCode::REQUEST_TIMED_OUT));
        assert_eq!(leader.voters(), refused, "nothing has changed");
    }
    // Nor when who asked for the first one has given up.
    leader.later(2_000);
    assert_eq!(leader.answer(first), Some(ErrorCode::REQUEST_TIMED_OUT));
    let still = leader.add(2);
    assert_eq!(leader.answer(still), Some(ErrorCode::REQUEST_TIMED_OUT));
    assert_eq!(leader.voters(), [0, 1]);

    leader.fetches_from_the_end(1);
    assert!(leader.quorum.high_watermark() > committed);
    let second = leader.add(2);
    assert_eq!(leader.voters(), [0, 1, 2]);
    assert_eq!(leader.answer(second), None);
    leader.fetches_from_the_end(2);
    assert_eq!(leader.answer(second), Some(ErrorCode::NONE));
    assert_eq!(
        leader.quorum.high_watermark(),
        Some(leader.quorum.log_end_offset())
    );
    assert!(leader.quorum.high_watermark() > Some(Offset(0)));
}
