//! What the client knows of the cluster: brokers, topics, leaders.

use std::collections::BTreeMap;

use ottla_protocol::messages::{DescribeClusterResponse, MetadataResponse, metadata_response};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use crate::Error;

/// DescribeCluster's number for the addresses at which brokers listen.
pub(crate) const BROKER_ENDPOINTS: i8 = 1;
/// The same for controllers.
pub(crate) const CONTROLLER_ENDPOINTS: i8 = 2;

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// A host name or address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A broker as the cluster announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: i32,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Its rack, if it has one.
    pub rack: Option<KafkaString>,
}

/// A partition as the cluster announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub index: i32,
    /// Its leader, or -1.
    pub leader: i32,
    /// The leader's epoch, or -1.
    pub leader_epoch: i32,
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// The replicas in sync.
    pub isr: Vec<i32>,
    /// The replicas that are offline.
    pub offline_replicas: Vec<i32>,
    /// What is wrong with it.
    pub error: ErrorCode,
}

/// A topic as the cluster announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: KafkaString,
    /// Its id; zero if the broker is too old to say.
    pub id: Uuid,
    /// Whether it belongs to the cluster itself.
    pub internal: bool,
    /// Its partitions, by number.
    pub partitions: BTreeMap<i32, Partition>,
    /// What is wrong with it.
    pub error: ErrorCode,
}

impl Topic {
    /// The number of partitions.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }
}

/// Everything the last answers said.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<KafkaString>,
    /// The broker that takes requests for the controller.
    pub controller: Option<i32>,
    /// Every live broker.
    pub brokers: BTreeMap<i32, Broker>,
    /// The topics that were asked for.
    pub topics: BTreeMap<KafkaString, Topic>,
    /// When the last answer came, if one did.
    pub updated_ms: Option<i64>,
    /// Counts the answers.
    pub version: u64,
}

impl Metadata {
    /// Takes over an answer. Topics that it does not mention stay unless `whole` is set.
    pub fn update(&mut self, now_ms: i64, response: MetadataResponse, whole: bool) {
        self.cluster_id = response.cluster_id.map(|id| id.detached());
        self.controller = (response.controller_id >= 0).then_some(response.controller_id);
        self.brokers = response.brokers.into_iter().filter_map(broker).collect();
        let mut known = std::mem::take(&mut self.topics);
        if !whole {
            self.topics.clone_from(&known);
        }
        for answer in response.topics {
            let Some(name) = answer.name.as_ref().map(KafkaString::detached) else {
                continue;
            };
            let topic = topic(name.clone(), answer, known.remove(&name));
            self.topics.insert(name, topic);
        }
        self.updated_ms = Some(now_ms);
        self.version += 1;
    }

    /// The partition, if it is known.
    #[must_use]
    pub fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(&index)
    }

    /// The partition's leader, if there is one.
    #[must_use]
    pub fn leader(&self, topic: &str, index: i32) -> Option<i32> {
        self.partition(topic, index)
            .map(|partition| partition.leader)
            .filter(|id| *id >= 0)
    }

    /// The topic's id, unless it is unknown or zero.
    #[must_use]
    pub fn topic_id(&self, topic: &str) -> Option<Uuid> {
        self.topics
            .get(topic)
            .map(|topic| topic.id)
            .filter(|id| !id.is_zero())
    }

    /// The topic with this id.
    #[must_use]
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Topic> {
        self.topics
            .values()
            .find(|topic| topic.id == id && !id.is_zero())
    }
}

/// What controllers say of themselves, as metadata without topics: the nodes are controllers.
pub(crate) fn controllers(response: DescribeClusterResponse) -> Result<MetadataResponse, Error> {
    Error::check(response.error_code, response.error_message.as_deref())?;
    let nodes = response.brokers.into_iter();
    Ok(MetadataResponse {
        cluster_id: Some(response.cluster_id),
        controller_id: response.controller_id,
        brokers: nodes
            .map(|node| metadata_response::MetadataResponseBroker {
                node_id: node.broker_id,
                host: node.host,
                port: node.port,
                rack: node.rack,
                ..metadata_response::MetadataResponseBroker::default()
            })
            .collect(),
        ..MetadataResponse::default()
    })
}

fn broker(answer: metadata_response::MetadataResponseBroker) -> Option<(i32, Broker)> {
    let port = u16::try_from(answer.port).ok()?;
    let endpoint = Endpoint {
        host: answer.host.to_string(),
        port,
    };
    let rack = answer.rack.map(|rack| rack.detached());
    Some((
        answer.node_id,
        Broker {
            id: answer.node_id,
            endpoint,
            rack,
        },
    ))
}

/// The new word on a topic, except where the old one knows of a later leader: brokers learn of
/// elections at different times.
fn topic(
    name: KafkaString,
    answer: metadata_response::MetadataResponseTopic,
    known: Option<Topic>,
) -> Topic {
    let same = known.filter(|known| known.id == answer.topic_id);
    let mut partitions = BTreeMap::new();
    for partition in answer.partitions {
        let index = partition.partition_index;
        let new = Partition {
            index,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes,
            offline_replicas: partition.offline_replicas,
            error: ErrorCode(partition.error_code),
        };
        let old = same.as_ref().and_then(|topic| topic.partitions.get(&index));
        let stale =
            old.is_some_and(|old| old.leader_epoch > new.leader_epoch && new.leader_epoch >= 0);
        partitions.insert(
            index,
            if stale {
                old.cloned().unwrap_or(new)
            } else {
                new
            },
        );
    }
    Topic {
        name,
        id: answer.topic_id,
        internal: answer.is_internal,
        partitions,
        error: ErrorCode(answer.error_code),
    }
}
