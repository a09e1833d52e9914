use std::sync::Arc;

use ottla_protocol::ErrorCode;

use crate::coordinator::GroupSizes;
use crate::net::ListenerConnections;

use super::*;

#[derive(Debug)]
struct Node;

impl GaugeSource for Node {
    fn node_gauges(&self) -> NodeGauges {
        NodeGauges {
            partition_count: 3,
            active_controller: true,
            purgatory_sizes: vec![("Produce", 0, 0), ("Fetch", 2, 7)],
            connections: vec![(
                "PLAINTEXT".to_owned(),
                ListenerConnections {
                    opened: 5,
                    closed: 2,
                },
            )],
            groups: GroupSizes {
                groups: [
                    ("classic", "Stable", 1),
                    ("classic", "Empty", 4),
                    ("consumer", "Stable", 2),
                ]
                .map(|(name, state, count)| ((name.to_owned(), state.to_owned()), count))
                .into(),
                offsets: 9,
                partitions: [("active", 50)].into(),
            },
            replication: ReplicationGauges {
                reassigning_partitions: 2,
                replicas: vec![
                    ReplicaGauges {
                        topic: "t".to_owned(),
                        replicas: 3,
                        in_sync: 2,
                        is_at_min_isr: true,
                        ..ReplicaGauges::default()
                    },
                    ReplicaGauges {
                        topic: "t".to_owned(),
                        partition: 1,
                        leader: Some(4),
                        lag: 17,
                        ..ReplicaGauges::default()
                    },
                ],
                ..ReplicationGauges::default()
            },
            ..NodeGauges::default()
        }
    }

    fn log_gauges(&self) -> Vec<LogGauges> {
        let topic = "t".to_owned();
        vec![LogGauges {
            topic,
            partition: 0,
            size: 7,
            segments: 1,
            log_start_offset: 0,
            log_end_offset: 5,
        }]
    }
}

fn filled() -> (Arc<Metrics>, Arc<dyn GaugeSource>) {
    let metrics = Arc::new(Metrics::default());
    metrics.topic("t").messages_in.add(5);
    metrics.all_topics().messages_in.add(5);
    metrics.replication().isr_shrinks.add(1);
    let times = RequestTimes {
        total: 2_000,
        ..RequestTimes::default()
    };
    metrics.request(ApiKey::Produce).record(13, 100, times);
    metrics
        .request(ApiKey::Produce)
        .record_error(ErrorCode::NONE);
    let node: Arc<dyn GaugeSource> = Arc::new(Node);
    metrics.set_source(Arc::downgrade(&node));
    (metrics, node)
}

#[test]
fn names_are_those_of_kafkas_dashboards() {
    let (metrics, _node) = filled();
    let text = metrics.render(0).unwrap();
    for line in [
        "kafka_server_brokertopicmetrics_messagesin_total 5",
        "kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"} 5",
        "kafka_network_requestmetrics_requests_total{request=\"Produce\",version=\"13\"} 1",
        "kafka_network_requestmetrics_errors_total{request=\"Produce\",error=\"NONE\"} 1",
        "kafka_network_requestmetrics_totaltimems_count{request=\"Produce\"} 1",
        "kafka_server_replicamanager_partitioncount 3",
        "kafka_controller_kafkacontroller_activecontrollercount 1",
        "kafka_server_delayedoperationpurgatory_numdelayedoperations{delayedOperation=\"Fetch\"} 2",
        "kafka_log_log_logendoffset{topic=\"t\",partition=\"0\"} 5",
        "kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation=\"Fetch\"} 7",
        "kafka_server_socket_server_metrics_connection_count{listener=\"PLAINTEXT\",networkProcessor=\"0\"} 3",
        "kafka_server_socket_server_metrics_connection_creation_total{listener=\"PLAINTEXT\",networkProcessor=\"0\"} 5",
        "kafka_server_socket_server_metrics_connection_close_rate{listener=\"PLAINTEXT\",networkProcessor=\"0\"} 0.0",
        "kafka_server_group_coordinator_metrics_group_count{protocol=\"consumer\"} 2",
        "kafka_server_group_coordinator_metrics_consumer_group_count{state=\"Stable\"} 2",
        "kafka_server_group_coordinator_metrics_num_partitions{state=\"active\"} 50",
        "kafka_coordinator_group_groupmetadatamanager_numoffsets 9",
        "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance 0",
        "kafka_coordinator_group_groupmetadatamanager_numgroups 5",
        "kafka_coordinator_group_groupmetadatamanager_numgroupsstable 1",
        "kafka_server_replicamanager_isrshrinks_total 1",
        "kafka_server_replicamanager_reassigningpartitions 2",
        "kafka_server_replicafetchermanager_maxlag{clientId=\"Replica\"} 17",
        "kafka_server_fetcherlagmetrics_consumerlag{clientId=\"ReplicaFetcherThread-0-4\",topic=\"t\",partition=\"1\"} 17",
        "kafka_cluster_partition_underreplicated{topic=\"t\",partition=\"0\"} 1",
        "kafka_cluster_partition_underreplicated{topic=\"t\",partition=\"1\"} 0",
        "kafka_cluster_partition_insyncreplicascount{topic=\"t\",partition=\"0\"} 2",
        "kafka_cluster_partition_atminisr{topic=\"t\",partition=\"0\"} 1",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(
            text.lines().any(|shown| shown == line),
            "{line} is missing from\n{text}"
        );
    }
    assert!(text.contains(
        "kafka_network_requestmetrics_totaltimems{request=\"Produce\",quantile=\"0.99\"}"
    ));
    assert!(
        !text.contains("request=\"Heartbeat\""),
        "an API that nobody called is not shown"
    );
}

#[test]
fn a_deleted_topic_is_no_longer_shown() {
    let (metrics, _node) = filled();
    metrics.remove_topic("t");
    assert!(!metrics.render(0).unwrap().contains("{topic=\"t\"} 5"));
}

#[tokio::test]
async fn metrics_are_served_over_http() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (metrics, _node) = filled();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(http::serve(listener, metrics, async {
        let _ = stopped.await;
    }));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"));
    assert!(answer.contains("application/openmetrics-text"));
    assert!(answer.trim_end().ends_with("# EOF"));
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
