//! Share groups on the leader of a partition (KIP-932): sessions, acquisition, acknowledgement, and what survives a crash.

use ottla_broker::testing::{PendingResponse, TestConnection, TestNode};
use ottla_protocol::messages::initialize_share_group_state_request::{
    InitializeStateData, PartitionData as InitialState,
};
use ottla_protocol::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch,
};
use ottla_protocol::messages::share_fetch_request::{self, FetchPartition, FetchTopic};
use ottla_protocol::messages::share_fetch_response::PartitionData;
use ottla_protocol::messages::{
    InitializeShareGroupStateRequest, ShareAcknowledgeRequest, ShareFetchRequest,
    ShareFetchResponse,
};
use ottla_protocol::record::batches;
use ottla_protocol::{ErrorCode, Uuid};

use crate::configs::{GROUP, SET, TOPIC, alter};
use crate::features::{SAFE_DOWNGRADE, UPGRADE, update_feature};
use crate::produce_fetch::{batch, produce};
use crate::topics::create;
use crate::transactions::{end, find, init, send};

const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;
const RENEW: i8 = 4;
const LOCK_MS: i64 = 15_000;

/// A node with a topic of one partition, and a share group that begins at its first offset.
struct Bench {
    node: TestNode,
    topic: Uuid,
}

impl Bench {
    fn start(seed: u64) -> Bench {
        let node = TestNode::start_with(
            seed,
            &[
                // A crash loses what is not synced.
                ("log.flush.interval.messages", "1"),
                ("group.share.record.lock.duration.ms", "15000"),
                ("share.coordinator.state.topic.replication.factor", "1"),
                ("share.coordinator.state.topic.min.isr", "1"),
                ("share.coordinator.state.topic.num.partitions", "1"),
                ("transaction.state.log.num.partitions", "1"),
                ("transaction.state.log.replication.factor", "1"),
                ("transaction.state.log.min.isr", "1"),
            ],
        );
        let connection = node.connect();
        let topic = create(&node, &connection, "t", 1, &[]);
        create(&node, &connection, "__share_group_state", 1, &[]);
        let bench = Bench { node, topic };
        bench.begin("g", 0);
        bench
    }

    /// Lets a group begin at an offset; at -1 where its settings say.
    fn begin(&self, group: &str, start_offset: i64) {
        let request = InitializeShareGroupStateRequest {
            group_id: group.into(),
            topics: vec![InitializeStateData {
                topic_id: self.topic,
                partitions: vec![InitialState {
                    partition: 0,
                    state_epoch: 1,
                    start_offset,
                    ..InitialState::default()
                }],
                ..InitializeStateData::default()
            }],
            ..InitializeShareGroupStateRequest::default()
        };
        let response = self.node.ask(&self.node.connect(), &request, 0);
        let partition = &response.results[0].partitions[0];
        assert_eq!(partition.error_code, 0, "{response:?}");
    }

    fn produce(&self, values: &[&str]) {
        let connection = self.node.connect();
        let (error, _) = produce(&self.node, &connection, self.topic, batch(values));
        assert_eq!(error, ErrorCode::NONE);
    }

    fn member(&self, name: &'static str) -> Member<'_> {
        self.member_of("g", name)
    }

    fn member_of(&self, group: &'static str, name: &'static str) -> Member<'_> {
        Member {
            bench: self,
            connection: self.node.connect(),
            group,
            name,
            epoch: 0,
        }
    }
}

/// A member of the group, with its session.
struct Member<'a> {
    bench: &'a Bench,
    connection: TestConnection,
    group: &'static str,
    name: &'static str,
    epoch: i32,
}

/// Offsets, values and delivery counts.
type Records = Vec<(i64, i64, i16)>;

impl Member<'_> {
    fn fetch_request(&mut self, max_wait_ms: i32) -> ShareFetchRequest {
        let topics = if self.epoch == 0 {
            vec![FetchTopic {
                topic_id: self.bench.topic,
                partitions: vec![FetchPartition::default()],
                ..FetchTopic::default()
            }]
        } else {
            Vec::new()
        };
        let request = ShareFetchRequest {
            group_id: Some(self.group.into()),
            member_id: Some(self.name.into()),
            share_session_epoch: self.epoch,
            max_wait_ms,
            min_bytes: 1,
            max_records: 500,
            batch_size: 500,
            topics,
            ..ShareFetchRequest::default()
        };
        self.epoch += 1;
        request
    }

    fn send_fetch(&mut self, max_wait_ms: i32) -> PendingResponse<ShareFetchRequest> {
        let request = self.fetch_request(max_wait_ms);
        let pending = self.connection.send(self.bench.node.node(), &request, 2);
        self.bench.node.run_jobs();
        pending
    }

    fn fetch(&mut self) -> Records {
        let request = self.fetch_request(100);
        acquired(&self.bench.node.ask(&self.connection, &request, 2))
    }

    fn acknowledge(&mut self, first: i64, last: i64, types: &[i8]) -> ErrorCode {
        let request = ShareAcknowledgeRequest {
            group_id: Some(self.group.into()),
            member_id: Some(self.name.into()),
            share_session_epoch: self.epoch,
            is_renew_ack: types.contains(&RENEW),
            topics: vec![AcknowledgeTopic {
                topic_id: self.bench.topic,
                partitions: vec![AcknowledgePartition {
                    acknowledgement_batches: vec![AcknowledgementBatch {
                        first_offset: first,
                        last_offset: last,
                        acknowledge_types: types.to_vec(),
                        ..AcknowledgementBatch::default()
                    }],
                    ..AcknowledgePartition::default()
                }],
                ..AcknowledgeTopic::default()
            }],
            ..ShareAcknowledgeRequest::default()
        };
        self.epoch += 1;
        let response = self.bench.node.ask(&self.connection, &request, 2);
        assert_eq!(response.error_code, 0, "{response:?}");
        ErrorCode(response.responses[0].partitions[0].error_code)
    }
}

fn partitions(response: &ShareFetchResponse) -> Vec<&PartitionData> {
    assert_eq!(response.error_code, 0, "{response:?}");
    let topics = response.responses.iter();
    topics.flat_map(|topic| &topic.partitions).collect()
}

/// What was acquired; every offset of it is among the records that came with it.
fn acquired(response: &ShareFetchResponse) -> Records {
    let mut all = Vec::new();
    for partition in partitions(response) {
        assert_eq!(partition.error_code, 0, "{partition:?}");
        let records = partition.records.clone().unwrap_or_default();
        let spans: Vec<(i64, i64)> = batches(&records)
            .map(|batch| {
                let header = batch.unwrap().header();
                (header.base_offset(), header.last_offset())
            })
            .collect();
        for run in &partition.acquired_records {
            for offset in run.first_offset..=run.last_offset {
                let is_there = |(first, last): &(i64, i64)| (*first..=*last).contains(&offset);
                assert!(spans.iter().any(is_there), "{offset} is not in {spans:?}");
            }
            all.push((run.first_offset, run.last_offset, run.delivery_count));
        }
    }
    all
}

#[test]
fn what_was_accepted_never_comes_again() {
    let bench = Bench::start(1);
    bench.produce(&["a", "b"]);
    bench.produce(&["c"]);
    let mut member = bench.member("m");
    assert_eq!(member.fetch(), [(0, 2, 1)]);
    assert_eq!(member.acknowledge(0, 2, &[ACCEPT]), ErrorCode::NONE);
    assert_eq!(member.fetch(), []);
    let bench = Bench {
        node: bench.node.crash(),
        topic: bench.topic,
    };
    bench.produce(&["d"]);
    assert_eq!(bench.member("m").fetch(), [(3, 3, 1)]);
}

#[test]
fn what_was_not_acknowledged_comes_again_after_a_crash() {
    let bench = Bench::start(2);
    bench.produce(&["a", "b", "c", "d"]);
    let mut member = bench.member("m");
    assert_eq!(member.fetch(), [(0, 3, 1)]);
    let types = [ACCEPT, RELEASE, REJECT, ACCEPT];
    assert_eq!(member.acknowledge(0, 3, &types), ErrorCode::NONE);
    assert_eq!(member.fetch(), [(1, 1, 2)]);
    let bench = Bench {
        node: bench.node.crash(),
        topic: bench.topic,
    };
    // The second delivery was never persisted: only what a member says of it is.
    assert_eq!(bench.member("m").fetch(), [(1, 1, 2)]);
}

#[test]
fn members_share_a_partition_and_what_one_leaves_the_other_gets() {
    let bench = Bench::start(3);
    bench.produce(&["a", "b"]);
    let mut first = bench.member("first");
    let mut second = bench.member("second");
    assert_eq!(first.fetch(), [(0, 1, 1)]);
    assert_eq!(second.fetch(), []);
    assert_eq!(
        second.acknowledge(0, 1, &[ACCEPT]),
        ErrorCode::INVALID_RECORD_STATE
    );
    let waiting = second.send_fetch(60_000);
    assert!(!waiting.is_answered());
    assert_eq!(first.acknowledge(1, 1, &[RELEASE]), ErrorCode::NONE);
    bench.node.run_jobs();
    assert_eq!(acquired(&waiting.response().unwrap()), [(1, 1, 2)]);
}

#[test]
fn a_lock_that_runs_out_wakes_who_waits() {
    let bench = Bench::start(4);
    bench.produce(&["a", "b"]);
    let mut first = bench.member("first");
    assert_eq!(first.fetch(), [(0, 1, 1)]);
    bench.node.advance(LOCK_MS / 2);
    assert_eq!(first.acknowledge(0, 0, &[RENEW]), ErrorCode::NONE);
    let mut second = bench.member("second");
    let waiting = second.send_fetch(60_000);
    bench.node.advance(LOCK_MS / 2);
    bench.node.run_jobs();
    assert_eq!(acquired(&waiting.response().unwrap()), [(1, 1, 2)]);
}

#[test]
fn a_fetch_waits_for_records_that_are_produced() {
    let bench = Bench::start(5);
    let mut member = bench.member("m");
    let waiting = member.send_fetch(60_000);
    assert!(!waiting.is_answered());
    bench.produce(&["a"]);
    bench.node.run_jobs();
    assert_eq!(acquired(&waiting.response().unwrap()), [(0, 0, 1)]);
}

#[test]
fn a_lost_connection_gives_its_records_back() {
    let bench = Bench::start(6);
    bench.produce(&["a", "b"]);
    let mut first = bench.member("first");
    let mut second = bench.member("second");
    assert_eq!(second.fetch(), [(0, 1, 1)]);
    assert_eq!(first.fetch(), []);
    let waiting = first.send_fetch(60_000);
    bench.node.disconnect(&second.connection);
    bench.node.run_jobs();
    assert_eq!(acquired(&waiting.response().unwrap()), [(0, 1, 2)]);
}

#[test]
fn acknowledgements_come_along_with_a_fetch() {
    let bench = Bench::start(7);
    bench.produce(&["a"]);
    bench.produce(&["b"]);
    let mut member = bench.member("m");
    assert_eq!(member.fetch(), [(0, 1, 1)]);
    bench.produce(&["c"]);
    let mut request = member.fetch_request(100);
    request.topics = vec![FetchTopic {
        topic_id: bench.topic,
        partitions: vec![FetchPartition {
            acknowledgement_batches: vec![share_fetch_request::AcknowledgementBatch {
                first_offset: 0,
                last_offset: 1,
                acknowledge_types: vec![ACCEPT],
                ..share_fetch_request::AcknowledgementBatch::default()
            }],
            ..FetchPartition::default()
        }],
        ..FetchTopic::default()
    }];
    let response = bench.node.ask(&member.connection, &request, 2);
    assert_eq!(partitions(&response)[0].acknowledge_error_code, 0);
    assert_eq!(acquired(&response), [(2, 2, 1)]);
    assert_eq!(member.acknowledge(0, 1, &[ACCEPT]), ErrorCode::NONE);
}

#[test]
fn sessions_end_with_their_last_epoch() {
    let bench = Bench::start(8);
    bench.produce(&["a"]);
    let mut member = bench.member("m");
    assert_eq!(member.fetch(), [(0, 0, 1)]);
    member.epoch = -1;
    assert_eq!(member.fetch(), []);
    member.epoch = 2;
    let request = member.fetch_request(100);
    let response = bench.node.ask(&member.connection, &request, 2);
    let error = ErrorCode(response.error_code);
    assert_eq!(error, ErrorCode::SHARE_SESSION_NOT_FOUND);
    assert_eq!(bench.member("other").fetch(), [(0, 0, 2)]);
}

#[test]
fn share_partitions_are_measured_until_nobody_reads_them() {
    const OF_PARTITION: &str = "{group=\"g\",topic=\"t\",partition=\"0\"}";
    let bench = Bench::start(9);
    let shown = |name: &str| bench.node.metric(&format!("kafka_server_{name}"));
    let of_partition = |name: &str| shown(&format!("sharepartitionmetrics_{name}{OF_PARTITION}"));
    bench.produce(&["a", "b", "c", "d"]);
    let mut member = bench.member("m");
    let waiting = member.send_fetch(60_000);
    assert_eq!(acquired(&waiting.response().unwrap()), [(0, 3, 1)]);
    assert_eq!(of_partition("inflightmessagecount"), Some(4.0));
    assert_eq!(of_partition("inflightbatchcount"), Some(1.0));
    assert_eq!(of_partition("inflightbatchmessagecount_count"), Some(1.0));
    let quantile = "sharepartitionmetrics_inflightbatchmessagecount{group=\"g\",topic=\"t\",partition=\"0\",quantile=\"0.5\"}";
    assert_eq!(shown(quantile), Some(4.0));
    assert!(of_partition("fetchlocktimems_count").unwrap() >= 1.0);
    assert!(of_partition("fetchlockratio_count").unwrap() >= 1.0);
    assert_eq!(
        shown("sharegroupmetrics_partitionloadtimems_count"),
        Some(1.0)
    );
    let of_group = |name: &str| shown(&format!("sharegroupmetrics_{name}{{group=\"g\"}}"));
    assert_eq!(
        of_group("requesttopicpartitionsfetchratio_count"),
        Some(1.0)
    );
    let ratio = "sharegroupmetrics_requesttopicpartitionsfetchratio{group=\"g\",quantile=\"0.5\"}";
    assert!((94.0..=106.0).contains(&shown(ratio).unwrap()));
    assert!(of_group("topicpartitionsacquiretimems_count").unwrap() >= 1.0);
    let types = [ACCEPT, RELEASE, REJECT];
    assert_eq!(member.acknowledge(0, 2, &types), ErrorCode::NONE);
    let acknowledged = |kind: &str| {
        shown(&format!(
            "sharegroupmetrics_recordacknowledgements_total{{ackType=\"{kind}\"}}"
        ))
    };
    for (kind, count) in [
        ("Accept", 1.0),
        ("Release", 1.0),
        ("Reject", 1.0),
        ("Renew", 0.0),
    ] {
        assert_eq!(acknowledged(kind), Some(count), "{kind}");
    }
    assert_eq!(of_partition("acquisitionlocktimeout_total"), Some(0.0));
    bench.node.advance(LOCK_MS + 1_000);
    assert_eq!(of_partition("acquisitionlocktimeout_total"), Some(1.0));
    bench.node.disconnect(&member.connection);
    assert_eq!(of_partition("acquisitionlocktimeout_total"), None);
    assert_eq!(of_group("requesttopicpartitionsfetchratio_count"), None);
}

#[test]
fn share_groups_are_switched_off_and_on_while_they_fetch() {
    let bench = Bench::start(10);
    bench.produce(&["a", "b"]);
    let mut first = bench.member("first");
    let mut second = bench.member("second");
    assert_eq!(first.fetch(), [(0, 1, 1)]);
    let waiting = second.send_fetch(60_000);
    assert!(!waiting.is_answered());
    let connection = bench.node.connect();
    let switch = |level, upgrade_type| {
        let change = ("share.version", level, upgrade_type);
        let updated = update_feature(&bench.node, &connection, change, false);
        assert_eq!(updated.error_code, 0, "{updated:?}");
        bench.node.run_jobs();
    };
    switch(0, SAFE_DOWNGRADE);
    assert_eq!(acquired(&waiting.response().unwrap()), []);
    let request = first.fetch_request(100);
    let refused = bench.node.ask(&first.connection, &request, 2);
    let error = ErrorCode(refused.error_code);
    assert_eq!(error, ErrorCode::UNSUPPORTED_VERSION);
    let sessions = "kafka_server_sharesessioncache_sharesessionscount";
    assert_eq!(bench.node.metric(sessions), Some(0.0));
    switch(1, UPGRADE);
    // The session is gone, and the lock with it: nobody knows any more that the records were delivered.
    let refused = bench.node.ask(&first.connection, &request, 2);
    let error = ErrorCode(refused.error_code);
    assert_eq!(error, ErrorCode::SHARE_SESSION_NOT_FOUND);
    assert_eq!(bench.member("third").fetch(), [(0, 1, 1)]);
}

/// Every offset that was acquired.
fn offsets(records: &Records) -> Vec<i64> {
    let runs = records.iter();
    runs.flat_map(|(first, last, _)| *first..=*last).collect()
}

#[test]
fn a_group_that_reads_what_is_committed_gets_no_other_records() {
    let bench = Bench::start(11);
    let (node, connection) = (&bench.node, bench.node.connect());
    let level = ("share.isolation.level", SET, "read_committed");
    let altered = alter(node, &connection, (GROUP, "committed"), &[level]);
    assert_eq!(altered, (ErrorCode::NONE, String::new()));
    bench.begin("committed", 0);
    find(node, &connection, 1, "p");
    let mut producer = init(node, &connection, "p");
    let mut write = |value: &str, committed: Option<bool>| {
        let sent = send(node, &connection, bench.topic, (&mut producer, &[value]));
        assert_eq!(sent, ErrorCode::NONE);
        if let Some(committed) = committed {
            let ended = end(node, &connection, &mut producer, committed);
            assert_eq!(ended, ErrorCode::NONE);
        }
    };
    // Offsets 0 and 2, with the markers 1 and 3 behind them, and 4.
    write("aborted", Some(false));
    write("committed", Some(true));
    write("open", None);
    let mut all = bench.member("all");
    let seen = offsets(&all.fetch());
    assert!(
        [0, 2, 4].iter().all(|offset| seen.contains(offset)),
        "{seen:?}"
    );
    let mut committed = bench.member_of("committed", "committed");
    let seen = offsets(&committed.fetch());
    assert!(seen.contains(&2), "{seen:?}");
    assert!(!seen.contains(&0) && !seen.contains(&4), "{seen:?}");
    let waiting = committed.send_fetch(60_000);
    assert!(!waiting.is_answered());
    let ended = end(node, &connection, &mut producer, true);
    assert_eq!(ended, ErrorCode::NONE);
    node.run_jobs();
    let seen = offsets(&acquired(&waiting.response().unwrap()));
    assert_eq!(seen.first(), Some(&4), "{seen:?}");
}

#[test]
fn a_group_begins_so_long_ago() {
    const HOUR_MS: i64 = 3_600_000;
    let bench = Bench::start(12);
    let (node, connection) = (&bench.node, bench.node.connect());
    let by_arrival = ("message.timestamp.type", SET, "LogAppendTime");
    let altered = alter(node, &connection, (TOPIC, "t"), &[by_arrival]);
    assert_eq!(altered, (ErrorCode::NONE, String::new()));
    for group in ["hour", "day"] {
        let duration = if group == "hour" { "PT1H" } else { "P1D" };
        let reset = format!("by_duration:{duration}");
        let reset = ("share.auto.offset.reset", SET, reset.as_str());
        let altered = alter(node, &connection, (GROUP, group), &[reset]);
        assert_eq!(altered, (ErrorCode::NONE, String::new()));
        bench.begin(group, -1);
    }
    bench.produce(&["long ago"]);
    node.advance(2 * HOUR_MS);
    // Nothing is as young as that: the group can't begin yet.
    let mut early = bench.member_of("hour", "early");
    let request = early.fetch_request(100);
    let response = node.ask(&early.connection, &request, 2);
    let error = ErrorCode(partitions(&response)[0].error_code);
    assert_eq!(error, ErrorCode::OFFSET_NOT_AVAILABLE);
    bench.produce(&["lately"]);
    let mut hour = bench.member_of("hour", "hour");
    assert_eq!(hour.fetch(), [(1, 1, 1)]);
    let mut day = bench.member_of("day", "day");
    assert_eq!(day.fetch(), [(0, 1, 1)]);
}
