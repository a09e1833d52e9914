use ottla_protocol::Uuid;
use ottla_protocol::messages::fetch_response::{EpochEndOffset, FetchableTopicResponse};
use ottla_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};

use super::*;

const EPOCH: LeaderEpoch = LeaderEpoch(3);

fn key(index: i32) -> PartitionKey {
    (Uuid([1; 16]).into(), index)
}

fn at(offset: i64) -> FetchPosition {
    FetchPosition {
        offset: Offset(offset),
        last_epoch: 2,
        log_start_offset: Offset(0),
    }
}

/// A fetcher of a registered broker that follows these partitions from offset 10.
fn following(indexes: &[i32]) -> Fetcher {
    let mut fetcher = Fetcher::new(FetcherSettings {
        replica_id: BrokerId(2),
        wait_ms_max: 500,
        bytes_min: 1,
        response_bytes_max: 10_000,
        partition_bytes_max: 1_000,
        backoff_ms: 1_000,
    });
    fetcher.set_broker_epoch(20);
    for index in indexes {
        let follow = Input::Follow {
            key: key(*index),
            topic: KafkaString::from("topic"),
            leader_epoch: EPOCH,
        };
        fetcher.handle(0, follow);
    }
    assert!(matches!(fetcher.poll(0), Some(Output::Change(_))));
    for index in indexes {
        arrive(&mut fetcher, *index, 10);
    }
    fetcher
}

fn arrive(fetcher: &mut Fetcher, index: i32, offset: i64) {
    let input = Input::At {
        key: key(index),
        leader_epoch: EPOCH,
        position: at(offset),
    };
    fetcher.handle(0, input);
}

fn fetch(fetcher: &mut Fetcher, now_ms: i64) -> FetchRequest {
    match fetcher.poll(now_ms) {
        Some(Output::Fetch(request)) => request,
        other => panic!("{other:?} is no fetch"),
    }
}

fn change(fetcher: &mut Fetcher) -> LogChange {
    match fetcher.poll(0) {
        Some(Output::Change(mut changes)) => changes.remove(0).change,
        other => panic!("{other:?} changes no log"),
    }
}

fn answer(session_id: i32, partitions: Vec<PartitionData>) -> Input {
    Input::Fetched(FetchResponse {
        session_id,
        responses: vec![FetchableTopicResponse {
            topic_id: Uuid([1; 16]),
            partitions,
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    })
}

fn error(index: i32, error: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index: index,
        error_code: error.0,
        ..PartitionData::default()
    }
}

fn asked(request: &FetchRequest) -> Vec<(i32, i64)> {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|partition| (partition.partition, partition.fetch_offset))
        .collect()
}

#[test]
fn a_fetch_says_who_fetches_in_which_life_and_how_far_its_log_goes() {
    let mut fetcher = following(&[0]);
    let request = fetch(&mut fetcher, 0);
    assert_eq!(request.replica_state.replica_id, 2);
    assert_eq!(request.replica_state.replica_epoch, 20);
    let partition = &request.topics[0].partitions[0];
    assert_eq!(partition.current_leader_epoch, EPOCH.0);
    assert_eq!(
        (partition.fetch_offset, partition.last_fetched_epoch),
        (10, 2)
    );
    assert_eq!(fetcher.poll(0), None, "one request at a time");
}

#[test]
fn nothing_is_fetched_before_the_broker_is_registered() {
    let mut fetcher = following(&[0]);
    fetcher.set_broker_epoch(-1);
    assert_eq!(fetcher.poll(0), None);
}

#[test]
fn in_a_session_only_what_has_moved_is_asked_for_again() {
    let mut fetcher = following(&[0, 1]);
    let first = fetch(&mut fetcher, 0);
    assert_eq!((first.session_id, first.session_epoch), (0, 0));
    let data = PartitionData {
        partition_index: 1,
        high_watermark: 11,
        ..PartitionData::default()
    };
    fetcher.handle(0, answer(77, vec![data]));
    assert!(matches!(change(&mut fetcher), LogChange::Append { .. }));
    assert_eq!(fetcher.poll(0), None, "not before the log has it");
    arrive(&mut fetcher, 1, 11);
    let second = fetch(&mut fetcher, 0);
    assert_eq!((second.session_id, second.session_epoch), (77, 1));
    assert_eq!(asked(&second), [(1, 11)]);
    fetcher.handle(0, Input::Unfollow(key(0)));
    fetcher.handle(0, answer(77, Vec::new()));
    let third = fetch(&mut fetcher, 0);
    assert_eq!(asked(&third), []);
    assert_eq!(third.forgotten_topics_data[0].partitions, [0]);
}

#[test]
fn after_no_answer_a_new_session_begins_when_the_back_off_has_passed() {
    let mut fetcher = following(&[0]);
    fetch(&mut fetcher, 0);
    fetcher.handle(0, answer(77, Vec::new()));
    fetch(&mut fetcher, 0);
    fetcher.handle(5, Input::NoAnswer);
    assert_eq!(fetcher.poll(1_004), None);
    assert_eq!(fetcher.next_deadline(), Some(1_005));
    let again = fetch(&mut fetcher, 1_005);
    assert_eq!((again.session_id, again.session_epoch), (77, 0));
    assert_eq!(asked(&again), [(0, 10)]);
}

#[test]
fn a_leader_that_was_left_is_asked_anew_whatever_was_waited_for() {
    let mut fetcher = following(&[0]);
    fetch(&mut fetcher, 0);
    fetcher.handle(0, answer(77, Vec::new()));
    fetch(&mut fetcher, 0);
    assert!(!fetcher.is_idle());
    fetcher.handle(0, Input::Unfollow(key(0)));
    assert!(fetcher.is_idle());
    fetcher.leave();
    let follow = Input::Follow {
        key: key(0),
        topic: KafkaString::from("topic"),
        leader_epoch: EPOCH,
    };
    fetcher.handle(1, follow);
    assert_eq!(change(&mut fetcher), LogChange::Begin);
    arrive(&mut fetcher, 0, 10);
    let again = fetch(&mut fetcher, 1);
    assert_eq!((again.session_id, again.session_epoch), (77, 0));
    assert_eq!(asked(&again), [(0, 10)]);
}

#[test]
fn a_diverging_epoch_cuts_the_log_before_anything_else_is_fetched() {
    let mut fetcher = following(&[0]);
    fetch(&mut fetcher, 0);
    let data = PartitionData {
        diverging_epoch: EpochEndOffset {
            epoch: 1,
            end_offset: 7,
            ..EpochEndOffset::default()
        },
        ..PartitionData::default()
    };
    fetcher.handle(0, answer(0, vec![data]));
    let expected = LogChange::TruncateToLeader {
        epoch: 1,
        end_offset: Offset(7),
    };
    assert_eq!(change(&mut fetcher), expected);
    assert_eq!(fetcher.poll(0), None);
    arrive(&mut fetcher, 0, 7);
    assert_eq!(asked(&fetch(&mut fetcher, 0)), [(0, 7)]);
}

#[test]
fn out_of_range_the_leader_is_asked_for_both_ends_of_its_log() {
    let mut fetcher = following(&[0]);
    fetch(&mut fetcher, 0);
    let refused = error(0, ErrorCode::OFFSET_OUT_OF_RANGE);
    fetcher.handle(0, answer(0, vec![refused]));
    for (timestamp, offset) in [(LATEST_TIMESTAMP, 90), (EARLIEST_TIMESTAMP, 50)] {
        let Some(Output::ListOffsets(request)) = fetcher.poll(0) else {
            panic!("no question for an end of the log");
        };
        let wanted = &request.topics[0].partitions[0];
        assert_eq!(
            (wanted.timestamp, wanted.current_leader_epoch),
            (timestamp, 3)
        );
        let partition = ListOffsetsPartitionResponse {
            offset,
            ..ListOffsetsPartitionResponse::default()
        };
        let response = ListOffsetsResponse {
            topics: vec![ListOffsetsTopicResponse {
                name: KafkaString::from("topic"),
                partitions: vec![partition],
                ..ListOffsetsTopicResponse::default()
            }],
            ..ListOffsetsResponse::default()
        };
        fetcher.handle(0, Input::Listed(response));
    }
    let expected = LogChange::MoveInto {
        start_offset: Offset(50),
        end_offset: Offset(90),
    };
    assert_eq!(change(&mut fetcher), expected);
}

#[test]
fn a_fenced_follower_waits_for_metadata_and_a_refused_one_for_its_back_off() {
    let mut fetcher = following(&[0, 1]);
    fetch(&mut fetcher, 0);
    let answers = vec![
        error(0, ErrorCode::FENCED_LEADER_EPOCH),
        error(1, ErrorCode::KAFKA_STORAGE_ERROR),
    ];
    fetcher.handle(0, answer(0, answers));
    assert_eq!(fetcher.leader_epoch(&key(0)), None);
    assert_eq!(fetcher.poll(999), None);
    assert_eq!(asked(&fetch(&mut fetcher, 1_000)), [(1, 10)]);
}

#[test]
fn an_answer_for_an_epoch_that_is_over_changes_nothing() {
    let mut fetcher = following(&[0]);
    fetch(&mut fetcher, 0);
    let follow = Input::Follow {
        key: key(0),
        topic: KafkaString::from("topic"),
        leader_epoch: LeaderEpoch(4),
    };
    fetcher.handle(0, follow);
    let data = PartitionData {
        high_watermark: 11,
        ..PartitionData::default()
    };
    fetcher.handle(0, answer(0, vec![data]));
    assert_eq!(change(&mut fetcher), LogChange::Begin);
    assert_eq!(fetcher.poll(0), None);
}
