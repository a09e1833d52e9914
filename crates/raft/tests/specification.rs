//! One voter of three, message by message, held to the KIPs and to the paper of Raft.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::panic, reason = "a test fails where it stands")]

use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::{
    AddRaftVoterRequest, EndQuorumEpochRequest, FetchRequest, FetchResponse, VoteRequest,
    VoteResponse, end_quorum_epoch_request, fetch_request, fetch_response, vote_request,
    vote_response,
};
use ottla_protocol::{ErrorCode, Uuid};
use ottla_raft::quorum::{Content, CorrelationId, Request, RequestId, Response};
use ottla_raft::{
    ElectionState, EpochHistory, Input, Now, Output, Quorum, QuorumOptions, ReplicaKey, Start,
    State, VoterSet,
};

const TOPIC: &str = "__cluster_metadata";

fn at(ms: i64) -> Now {
    Now {
        monotonic_ms: ms,
        wall_ms: ms,
    }
}

/// Voter 0 of 0, 1 and 2, with a log of these epochs, which ends at `end`.
fn voter(election: ElectionState, epochs: &[(i32, i64)], end: i64) -> Quorum {
    let configured = VoterSet::of_configuration(
        "CONTROLLER",
        [(0, "a", 9093), (1, "b", 9093), (2, "c", 9093)],
    );
    let mut history = EpochHistory::default();
    for (epoch, offset) in epochs {
        history.observe(LeaderEpoch(*epoch), Offset(*offset));
    }
    let options = QuorumOptions {
        cluster_id: Some("cluster".into()),
        configured_voters: configured,
        ..QuorumOptions::new(ReplicaKey::new(BrokerId(0), Uuid::ONE), 7)
    };
    let start = Start {
        election: Some(election),
        log_end_offset: Offset(end),
        epochs: history,
        ..Start::default()
    };
    Quorum::new(at(0), options, start)
}

fn following(leader: i32, epoch: i32) -> ElectionState {
    ElectionState {
        epoch: LeaderEpoch(epoch),
        leader: Some(BrokerId(leader)),
        voted: None,
    }
}

/// All outputs; what is to be persisted or synced is, at once.
fn outputs(quorum: &mut Quorum, now_ms: i64) -> Vec<Output> {
    let mut all = Vec::new();
    while let Some(output) = quorum.poll() {
        if let Output::PersistElectionState(_) = output {
            let persisted = Input::ElectionStatePersisted;
            quorum.handle(at(now_ms), persisted).unwrap();
        }
        all.push(output);
    }
    all
}

fn answer(quorum: &mut Quorum, now_ms: i64, request: Request) -> (Response, Content) {
    let received = Input::Received(RequestId(1), request);
    quorum.handle(at(now_ms), received).unwrap();
    let found = outputs(quorum, now_ms)
        .into_iter()
        .find_map(|output| match output {
            Output::Respond(_, response, content) => Some((response, content)),
            _ => None,
        });
    found.unwrap_or_else(|| panic!("no response"))
}

fn vote(epoch: i32, last: (i32, i64), pre_vote: bool) -> VoteRequest {
    VoteRequest {
        cluster_id: Some("cluster".into()),
        voter_id: 0,
        topics: vec![vote_request::TopicData {
            topic_name: TOPIC.into(),
            partitions: vec![vote_request::PartitionData {
                replica_epoch: epoch,
                replica_id: 1,
                last_offset_epoch: last.0,
                last_offset: last.1,
                pre_vote,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..VoteRequest::default()
    }
}

/// The vote, or the error.
fn decision(quorum: &mut Quorum, request: VoteRequest) -> Result<bool, ErrorCode> {
    let (Response::Vote(response), _) = answer(quorum, 10, Request::Vote(request)) else {
        panic!("another response")
    };
    if response.error_code != 0 {
        return Err(ErrorCode(response.error_code));
    }
    let partition = &response.topics[0].partitions[0];
    match partition.error_code {
        0 => Ok(partition.vote_granted),
        error => Err(ErrorCode(error)),
    }
}

fn fetch(epoch: i32, offset: i64, last_epoch: i32) -> FetchRequest {
    FetchRequest {
        cluster_id: Some("cluster".into()),
        replica_state: fetch_request::ReplicaState {
            replica_id: 1,
            ..Default::default()
        },
        max_bytes: 1 << 20,
        topics: vec![fetch_request::FetchTopic {
            topic_id: Uuid::ONE,
            partitions: vec![fetch_request::FetchPartition {
                current_leader_epoch: epoch,
                fetch_offset: offset,
                last_fetched_epoch: last_epoch,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..FetchRequest::default()
    }
}

fn fetched(
    quorum: &mut Quorum,
    now_ms: i64,
    request: FetchRequest,
) -> (fetch_response::PartitionData, Content) {
    let (Response::Fetch(response), content) = answer(quorum, now_ms, Request::Fetch(request))
    else {
        panic!("another response")
    };
    (response.responses[0].partitions[0].clone(), content)
}

/// Both others vote for it, before and in the epoch.
fn elect(quorum: &mut Quorum) -> i64 {
    let now_ms = quorum.next_deadline().unwrap();
    quorum.handle(at(now_ms), Input::Tick).unwrap();
    while quorum.state() != State::Leader {
        let sent = outputs(quorum, now_ms);
        let epoch = quorum.epoch().0;
        let voted = sent.into_iter().find_map(|output| match output {
            Output::Send(correlation, _, Request::Vote(_)) => Some(correlation),
            _ => None,
        });
        let response = Response::Vote(VoteResponse {
            topics: vec![vote_response::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![vote_response::PartitionData {
                    leader_id: -1,
                    leader_epoch: epoch,
                    vote_granted: true,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..VoteResponse::default()
        });
        let answered = Input::Answered(voted.unwrap(), response);
        quorum.handle(at(now_ms), answered).unwrap();
    }
    outputs(quorum, now_ms);
    let end = quorum.log_end_offset();
    quorum.handle(at(now_ms), Input::Appended(end)).unwrap();
    quorum.handle(at(now_ms), Input::Synced(end)).unwrap();
    now_ms
}

/// Raft §5.4.1: who has less of the log gets no vote; and one vote there is in an epoch (§5.2).
#[test]
fn votes_go_to_whoever_has_as_much_of_the_log() {
    let mut quorum = voter(ElectionState::default(), &[(1, 0), (3, 5)], 9);
    assert_eq!(decision(&mut quorum, vote(5, (3, 8), false)), Ok(false));
    assert_eq!(decision(&mut quorum, vote(5, (2, 50), false)), Ok(false));
    assert_eq!(decision(&mut quorum, vote(5, (3, 9), false)), Ok(true));
    let mut second = vote(5, (4, 90), false);
    second.topics[0].partitions[0].replica_id = 2;
    assert_eq!(decision(&mut quorum, second), Ok(false));
}

/// KIP-595 and KIP-853: what is wrong with a request has a code.
#[test]
fn requests_that_are_wrong_are_told_so() {
    let mut quorum = voter(following(2, 4), &[(1, 0)], 9);
    let mut foreign = vote(5, (1, 9), false);
    foreign.cluster_id = Some("another".into());
    let refused = decision(&mut quorum, foreign);
    assert_eq!(refused, Err(ErrorCode::INCONSISTENT_CLUSTER_ID));
    let old = decision(&mut quorum, vote(3, (1, 9), false));
    assert_eq!(old, Err(ErrorCode::FENCED_LEADER_EPOCH));
    let absurd = decision(&mut quorum, vote(5, (5, 9), false));
    assert_eq!(absurd, Err(ErrorCode::INVALID_REQUEST));
    let mut wiped = vote(5, (1, 9), false);
    wiped.topics[0].partitions[0].voter_directory_id = Uuid([9; 16]);
    let refused = decision(&mut quorum, wiped);
    assert_eq!(refused, Err(ErrorCode::INVALID_VOTER_KEY));
    let (partition, _) = fetched(&mut quorum, 10, fetch(5, 9, 1));
    let error = ErrorCode(partition.error_code);
    assert_eq!(error, ErrorCode::NOT_LEADER_OR_FOLLOWER);
}

/// KIP-996: a follower that hears from its leader grants no pre-vote; one that never did, does,
/// and no pre-vote binds it.
#[test]
fn a_pre_vote_does_not_disturb_a_leader() {
    let mut quorum = voter(following(2, 4), &[(1, 0)], 9);
    assert_eq!(decision(&mut quorum, vote(4, (1, 9), true)), Ok(true));
    let sent = outputs(&mut quorum, 10);
    assert!(sent.is_empty(), "nothing is remembered of it: {sent:?}");
    let mut leading = voter(ElectionState::default(), &[(1, 0)], 9);
    elect(&mut leading);
    let epoch = leading.epoch().0;
    assert_eq!(
        decision(&mut leading, vote(epoch, (1, 99), true)),
        Ok(false)
    );
    assert_eq!(leading.state(), State::Leader);
}

/// A leader that was fetched from and is not there any more is succeeded within a tenth of an
/// election time-out, and a voter that knows this grants pre-votes; a leader that was never
/// reached is waited for, since then it may be the way that is blocked.
#[test]
fn a_leader_whose_listener_is_gone_is_succeeded_soon() {
    for has_fetched in [true, false] {
        let mut quorum = voter(following(2, 4), &[(1, 0)], 9);
        let sent = fetch_to_leader(&mut quorum, 0);
        let sent = if has_fetched {
            let partition = fetch_response::PartitionData {
                high_watermark: 9,
                current_leader: fetch_response::LeaderIdAndEpoch {
                    leader_id: 2,
                    leader_epoch: 4,
                    ..Default::default()
                },
                ..Default::default()
            };
            let response = FetchResponse {
                responses: vec![fetch_response::FetchableTopicResponse {
                    topic_id: Uuid::ONE,
                    partitions: vec![partition],
                    ..Default::default()
                }],
                ..FetchResponse::default()
            };
            let answered = Input::Answered(sent, Response::Fetch(response));
            quorum.handle(at(10), answered).unwrap();
            fetch_to_leader(&mut quorum, 10)
        } else {
            sent
        };
        assert_eq!(
            decision(&mut quorum, vote(4, (1, 9), true)),
            Ok(!has_fetched)
        );
        quorum.handle(at(20), Input::Refused(sent)).unwrap();
        assert_eq!(quorum.state(), State::Follower);
        assert_eq!(decision(&mut quorum, vote(4, (1, 9), true)), Ok(true));
        quorum.handle(at(20 + 100), Input::Tick).unwrap();
        let expected = if has_fetched {
            State::Prospective
        } else {
            State::Follower
        };
        assert_eq!(quorum.state(), expected);
    }
}

fn fetch_to_leader(quorum: &mut Quorum, now_ms: i64) -> CorrelationId {
    let sent = outputs(quorum, now_ms);
    let found = sent.iter().find_map(|output| match output {
        Output::Send(correlation, to, Request::Fetch(_)) if to.node == Some(BrokerId(2)) => {
            Some(*correlation)
        }
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no fetch in {sent:?}"))
}

/// Raft §5.4.2, figure 8: records of earlier epochs are committed with one of the leader's own.
#[test]
fn what_a_majority_has_of_earlier_epochs_is_not_committed_by_that() {
    let mut quorum = voter(ElectionState::default(), &[(1, 0)], 9);
    let now_ms = elect(&mut quorum);
    let epoch = quorum.epoch().0;
    let (partition, content) = fetched(&mut quorum, now_ms, fetch(epoch, 9, 1));
    assert_eq!(partition.high_watermark, -1);
    assert!(matches!(
        content,
        Content::Records {
            from: Offset(9),
            ..
        }
    ));
    assert_eq!(quorum.high_watermark(), None);
    fetched(&mut quorum, now_ms, fetch(epoch, 10, epoch));
    assert_eq!(quorum.high_watermark(), Some(Offset(10)));
}

/// KIP-595: where the logs part, the leader says where its own part ends.
#[test]
fn a_fetch_from_another_history_is_answered_with_the_diverging_epoch() {
    let mut quorum = voter(ElectionState::default(), &[(1, 0), (3, 5)], 9);
    let now_ms = elect(&mut quorum);
    let epoch = quorum.epoch().0;
    let parted = |partition: fetch_response::PartitionData| {
        let diverging = partition.diverging_epoch;
        (diverging.epoch, diverging.end_offset)
    };
    let (partition, _) = fetched(&mut quorum, now_ms, fetch(epoch, 8, 2));
    assert_eq!(parted(partition), (1, 5));
    let (partition, _) = fetched(&mut quorum, now_ms, fetch(epoch, 7, 1));
    assert_eq!(parted(partition), (1, 5));
    let (partition, _) = fetched(&mut quorum, now_ms, fetch(epoch, 7, 3));
    assert_eq!(parted(partition), (-1, -1));
}

/// KIP-595: the best of the successors goes ahead at once, the next ones later.
#[test]
fn successors_go_ahead_in_their_order() {
    for (successors, delay_ms) in [(vec![0, 1], 0), (vec![1, 0], 500), (vec![1], 1_000)] {
        let mut quorum = voter(following(2, 4), &[(1, 0)], 9);
        let request = EndQuorumEpochRequest {
            cluster_id: Some("cluster".into()),
            topics: vec![end_quorum_epoch_request::TopicData {
                topic_name: TOPIC.into(),
                partitions: vec![end_quorum_epoch_request::PartitionData {
                    leader_id: 2,
                    leader_epoch: 4,
                    preferred_successors: successors,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..EndQuorumEpochRequest::default()
        };
        let received = Input::Received(RequestId(1), Request::EndQuorumEpoch(request));
        quorum.handle(at(10), received).unwrap();
        match delay_ms {
            0 => assert_eq!(quorum.state(), State::Prospective),
            delay_ms => assert_eq!(quorum.next_deadline(), Some(10 + delay_ms)),
        }
    }
}

/// KIP-595: a leader that no majority fetches from gives up after one and a half fetch time-outs.
#[test]
fn a_leader_without_a_majority_resigns() {
    let mut quorum = voter(ElectionState::default(), &[(1, 0)], 9);
    let now_ms = elect(&mut quorum);
    quorum.handle(at(now_ms + 2_999), Input::Tick).unwrap();
    assert_eq!(quorum.state(), State::Leader);
    quorum.handle(at(now_ms + 3_000), Input::Tick).unwrap();
    assert_eq!(quorum.state(), State::Resigned);
}

/// KIP-853: static voters don't change, and nothing changes before the leader's epoch is committed.
#[test]
fn changes_of_voters_wait_their_turn() {
    let mut quorum = voter(ElectionState::default(), &[(1, 0)], 9);
    let now_ms = elect(&mut quorum);
    let epoch = quorum.epoch().0;
    let add = |quorum: &mut Quorum| {
        let request = AddRaftVoterRequest {
            cluster_id: Some("cluster".into()),
            voter_id: 7,
            voter_directory_id: Uuid([7; 16]),
            listeners: vec![Default::default()],
            ..AddRaftVoterRequest::default()
        };
        match answer(quorum, now_ms, Request::AddRaftVoter(request)).0 {
            Response::AddRaftVoter(response) => ErrorCode(response.error_code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(add(&mut quorum), ErrorCode::REQUEST_TIMED_OUT);
    fetched(&mut quorum, now_ms, fetch(epoch, 10, epoch));
    assert_eq!(add(&mut quorum), ErrorCode::UNSUPPORTED_VERSION);
}
