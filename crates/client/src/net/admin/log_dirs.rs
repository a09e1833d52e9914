//! Log directories described, and replicas moved between those of one broker.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, alter_replica_log_dirs_request, describe_log_dirs_response,
};

use super::Admin;
use crate::Error;
use crate::core::admin::TopicPartition;
use crate::core::admin::log_dirs::{BrokerReplica, LogDirDescription, LogDirReplica};
use crate::core::{Destination, indexes_by_topic};

impl Admin {
    /// The log directories of brokers, or what is wrong with a broker.
    pub async fn describe_log_dirs(
        &self,
        brokers: &BTreeSet<i32>,
    ) -> Result<BTreeMap<i32, Vec<LogDirDescription>>, Error> {
        let mut pending = Vec::new();
        for broker in brokers {
            let request = DescribeLogDirsRequest {
                topics: None,
                ..DescribeLogDirsRequest::default()
            };
            pending.push((*broker, self.start(Destination::Broker(*broker), request)));
        }
        let mut described = BTreeMap::new();
        for (broker, pending) in pending {
            let response: DescribeLogDirsResponse = pending.wait().await?.decode()?;
            Error::check(response.error_code, None)?;
            let directories = response.results.into_iter().map(directory);
            described.insert(broker, directories.collect());
        }
        Ok(described)
    }

    /// Moves replicas to other log directories of their brokers; gives each one's outcome. A broker
    /// that has no replica of the partition yet will put it there.
    pub async fn alter_replica_log_dirs(
        &self,
        moves: &BTreeMap<BrokerReplica, KafkaString>,
    ) -> Result<BTreeMap<BrokerReplica, Result<(), Error>>, Error> {
        let mut by_broker: BTreeMap<i32, BTreeMap<&KafkaString, Vec<&TopicPartition>>> =
            BTreeMap::new();
        for (replica, path) in moves {
            let paths = by_broker.entry(replica.broker).or_default();
            paths.entry(path).or_default().push(&replica.partition);
        }
        let mut pending = Vec::new();
        for (broker, paths) in by_broker {
            let dirs = paths.into_iter().map(|(path, partitions)| {
                let topics = indexes_by_topic(partitions).into_iter();
                alter_replica_log_dirs_request::AlterReplicaLogDir {
                    path: path.clone(),
                    topics: topics.map(moved_topic).collect(),
                    ..alter_replica_log_dirs_request::AlterReplicaLogDir::default()
                }
            });
            let request = AlterReplicaLogDirsRequest {
                dirs: dirs.collect(),
                ..AlterReplicaLogDirsRequest::default()
            };
            pending.push((broker, self.start(Destination::Broker(broker), request)));
        }
        let mut outcomes = BTreeMap::new();
        for (broker, pending) in pending {
            let response: AlterReplicaLogDirsResponse = pending.wait().await?.decode()?;
            for topic in response.results {
                for partition in topic.partitions {
                    let index = partition.partition_index;
                    let partition_name = TopicPartition::new(topic.topic_name.clone(), index);
                    let replica = BrokerReplica {
                        partition: partition_name,
                        broker,
                    };
                    outcomes.insert(replica, Error::check(partition.error_code, None));
                }
            }
        }
        Ok(outcomes)
    }
}

fn moved_topic(
    (name, partitions): (KafkaString, Vec<i32>),
) -> alter_replica_log_dirs_request::AlterReplicaLogDirTopic {
    alter_replica_log_dirs_request::AlterReplicaLogDirTopic {
        name,
        partitions,
        ..alter_replica_log_dirs_request::AlterReplicaLogDirTopic::default()
    }
}

fn directory(result: describe_log_dirs_response::DescribeLogDirsResult) -> LogDirDescription {
    let mut replicas = Vec::new();
    for topic in result.topics {
        for partition in topic.partitions {
            replicas.push(LogDirReplica {
                partition: TopicPartition::new(topic.name.clone(), partition.partition_index),
                size: partition.partition_size,
                offset_lag: partition.offset_lag,
                is_future: partition.is_future_key,
            });
        }
    }
    LogDirDescription {
        path: result.log_dir,
        error: Error::check(result.error_code, None).err(),
        total_bytes: (result.total_bytes >= 0).then_some(result.total_bytes),
        usable_bytes: (result.usable_bytes >= 0).then_some(result.usable_bytes),
        is_cordoned: result.is_cordoned,
        replicas,
    }
}
