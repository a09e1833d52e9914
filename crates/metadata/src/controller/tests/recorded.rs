//! The logs in `testdata/kafka-4.3.1` hold what Apache Kafka's controller decided: after the same
//! records before it, the same event gives the same bytes. Only the order in which one decision
//! visits partitions is its own.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_protocol::messages::assign_replicas_to_dirs_request as dirs;
use ottla_protocol::messages::broker_registration_request::{Feature, Listener};
use ottla_protocol::record::batches;

use super::*;

const DYNAMIC: &[u8] = include_bytes!("../../../testdata/kafka-4.3.1/kraft-version-1/metadata.log");
const STATIC: &[u8] = include_bytes!("../../../testdata/kafka-4.3.1/kraft-version-0/metadata.log");

/// A controller at some offset of a log.
struct Recorded {
    log: Vec<(i64, Bytes)>,
    controller: Controller,
    now_ms: i64,
}

impl Recorded {
    /// A controller that has replayed the log up to this offset, exclusively, and begun the
    /// sessions of the brokers a while ago.
    fn before(log: &[u8], offset: i64) -> Self {
        let mut values = Vec::new();
        for batch in batches(log) {
            let batch = batch.unwrap();
            if batch.header().is_control() {
                continue;
            }
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                values.push((record.offset, Bytes::copy_from_slice(record.value.unwrap())));
            }
        }
        let controller = Controller::new(Cluster::options(), MetadataImage::default(), Offset(-1));
        let mut recorded = Self {
            log: values,
            controller,
            now_ms: 0,
        };
        for (at, value) in &recorded.log {
            if *at < offset {
                let record = MetadataRecord::decode(value.clone()).unwrap();
                recorded.controller.replay(&record, Offset(*at)).unwrap();
            }
        }
        recorded.controller.begin_sessions(0);
        recorded
    }

    fn record(&self, offset: i64) -> MetadataRecord {
        let (_, value) = self.log.iter().find(|(at, _)| *at == offset).unwrap();
        MetadataRecord::decode(value.clone()).unwrap()
    }

    /// Asserts that these records are those at the offsets, ends included.
    fn expect(&self, records: &[MetadataRecord], offsets: std::ops::RangeInclusive<i64>) {
        let version = self.controller.metadata_version();
        let decided: BTreeSet<Bytes> = records
            .iter()
            .map(|record| record.encode(version).unwrap())
            .collect();
        let expected: BTreeSet<Bytes> = self
            .log
            .iter()
            .filter(|(at, _)| offsets.contains(at))
            .map(|(_, value)| value.clone())
            .filter(|value| {
                *value
                    != MetadataRecord::from(NoOpRecord::default())
                        .encode(version)
                        .unwrap()
            })
            .collect();
        let shown = |values: &BTreeSet<Bytes>| -> Vec<MetadataRecord> {
            values
                .iter()
                .map(|value| MetadataRecord::decode(value.clone()).unwrap())
                .collect()
        };
        assert_eq!(
            decided,
            expected,
            "{:#?}\n{:#?}",
            shown(&decided),
            shown(&expected)
        );
    }

    /// The request that a broker registered with at this offset.
    fn registration(&self, offset: i64) -> BrokerRegistrationRequest {
        let MetadataRecord::RegisterBroker(record) = self.record(offset) else {
            panic!()
        };
        let endpoint = &record.end_points[0];
        BrokerRegistrationRequest {
            broker_id: record.broker_id,
            cluster_id: CLUSTER.into(),
            incarnation_id: record.incarnation_id,
            listeners: vec![Listener {
                name: endpoint.name.clone(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                security_protocol: endpoint.security_protocol,
                ..Default::default()
            }],
            features: record
                .features
                .iter()
                .map(|feature| Feature {
                    name: feature.name.clone(),
                    min_supported_version: feature.min_supported_version,
                    max_supported_version: feature.max_supported_version,
                    ..Default::default()
                })
                .collect(),
            rack: record.rack.clone(),
            log_dirs: record.log_dirs.clone(),
            previous_broker_epoch: -1,
            ..Default::default()
        }
    }

    fn register(&self, request: &BrokerRegistrationRequest, next: i64) -> Vec<MetadataRecord> {
        let context = RegistrationContext {
            next_offset: Offset(next),
            request_version: 4,
            same_process: false,
        };
        let decision = self
            .controller
            .decide_broker_registration(self.now_ms, request, context);
        assert_eq!(decision.response.error_code, 0);
        decision.records
    }

    fn heartbeat(&mut self, change: impl Fn(&mut BrokerHeartbeatRequest)) -> Vec<MetadataRecord> {
        let broker = self
            .controller
            .image()
            .cluster()
            .broker(BrokerId(1))
            .unwrap();
        let mut request = BrokerHeartbeatRequest {
            broker_id: 1,
            broker_epoch: broker.epoch.0,
            current_metadata_offset: 1_000,
            ..Default::default()
        };
        change(&mut request);
        let decision =
            self.controller
                .handle_broker_heartbeat(self.now_ms, &request, Offset(1_000));
        assert_eq!(decision.response.error_code, 0);
        decision.records
    }
}

#[test]
fn a_first_registration_and_unfencing() {
    let recorded = Recorded::before(DYNAMIC, 18);
    let records = recorded.register(&recorded.registration(18), 18);
    recorded.expect(&records, 18..=18);
    let mut recorded = Recorded::before(DYNAMIC, 22);
    let records = recorded.heartbeat(|request| {
        request.want_fence = true;
        request.cordoned_log_dirs = Some(Vec::new());
    });
    recorded.expect(&records, 22..=22);
    let mut recorded = Recorded::before(DYNAMIC, 23);
    let records = recorded.heartbeat(|request| request.cordoned_log_dirs = Some(Vec::new()));
    recorded.expect(&records, 23..=23);
}

#[test]
fn a_killed_broker_is_fenced_registers_uncleanly_and_leads_again() {
    let recorded = Recorded::before(DYNAMIC, 223);
    let decision = recorded.controller.decide_fence_stale_broker(9_000);
    recorded.expect(&decision.records, 223..=232);
    let recorded = Recorded::before(DYNAMIC, 237);
    let records = recorded.register(&recorded.registration(246), 237);
    recorded.expect(&records, 237..=246);
    let mut recorded = Recorded::before(DYNAMIC, 247);
    let records = recorded.heartbeat(|request| request.cordoned_log_dirs = Some(Vec::new()));
    recorded.expect(&records, 247..=257);
}

#[test]
fn a_controlled_shutdown() {
    let mut recorded = Recorded::before(DYNAMIC, 276);
    let records = recorded.heartbeat(|request| request.want_shut_down = true);
    recorded.expect(&records, 276..=285);
    let mut recorded = Recorded::before(DYNAMIC, 286);
    let records = recorded.heartbeat(|request| request.want_shut_down = true);
    recorded.expect(&records, 286..=286);
}

#[test]
fn registrations_of_an_old_and_an_upgraded_cluster() {
    let recorded = Recorded::before(STATIC, 5);
    let records = recorded.register(&recorded.registration(5), 5);
    recorded.expect(&records, 5..=5);
    // After the upgrade to 3.9 the broker registers again, with its directories.
    let recorded = Recorded::before(STATIC, 202);
    let records = recorded.register(&recorded.registration(202), 202);
    recorded.expect(&records, 202..=202);
    let mut recorded = Recorded::before(STATIC, 217);
    let records = recorded.heartbeat(|request| request.cordoned_log_dirs = Some(Vec::new()));
    recorded.expect(&records, 217..=217);
}

#[test]
fn replicas_get_directories_after_an_upgrade() {
    let recorded = Recorded::before(STATIC, 231);
    let image = recorded.controller.image();
    let broker = image.cluster().broker(BrokerId(1)).unwrap();
    let topics = image.topics().in_id_order().map(|topic| dirs::TopicData {
        topic_id: topic.id().0,
        partitions: topic
            .partitions()
            .keys()
            .map(|index| dirs::PartitionData {
                partition_index: index.0,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let request = AssignReplicasToDirsRequest {
        broker_id: 1,
        broker_epoch: broker.epoch.0,
        directories: vec![dirs::DirectoryData {
            id: broker.directories[0],
            topics: topics.collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let decision = recorded.controller.decide_assign_replicas_to_dirs(&request);
    recorded.expect(&decision.records, 231..=239);
}

#[test]
fn a_topic_with_its_configuration() {
    for (log, offsets) in [(DYNAMIC, 44..=47), (STATIC, 23..=26)] {
        let recorded = Recorded::before(log, *offsets.start());
        let config = |name: &str, value: &str| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: "compacted".into(),
                num_partitions: 1,
                replication_factor: -1,
                configs: vec![
                    config("cleanup.policy", "compact"),
                    config("segment.bytes", "1048576"),
                ],
                ..Default::default()
            }],
            ..Default::default()
        };
        let decision = recorded
            .controller
            .decide_create_topics(&mut Sequence(1), &request);
        let MetadataRecord::Topic(expected) = recorded.record(*offsets.start()) else {
            panic!()
        };
        let mut records = decision.records;
        for record in &mut records {
            match record {
                MetadataRecord::Topic(topic) => topic.topic_id = expected.topic_id,
                MetadataRecord::Partition(partition) => partition.topic_id = expected.topic_id,
                _ => {}
            }
        }
        recorded.expect(&records, offsets);
    }
}
