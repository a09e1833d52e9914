//! The metadata quorum described, and its voters changed.

use ottla_protocol::messages::{
    AddRaftVoterRequest, DescribeQuorumRequest, DescribeQuorumResponse, RemoveRaftVoterRequest,
    add_raft_voter_request, describe_quorum_request, describe_quorum_response,
};
use ottla_protocol::{KafkaString, Uuid};

use super::Admin;
use super::groups::only;
use crate::Error;
use crate::core::admin::cluster::{QuorumDescription, QuorumReplica, VoterEndpoint};

const METADATA_TOPIC: KafkaString = KafkaString::from_static("__cluster_metadata");

impl Admin {
    /// Describes the metadata quorum.
    pub async fn describe_quorum(&self) -> Result<QuorumDescription, Error> {
        let request = DescribeQuorumRequest {
            topics: vec![describe_quorum_request::TopicData {
                topic_name: METADATA_TOPIC,
                partitions: vec![describe_quorum_request::PartitionData {
                    partition_index: 0,
                    ..describe_quorum_request::PartitionData::default()
                }],
                ..describe_quorum_request::TopicData::default()
            }],
            ..DescribeQuorumRequest::default()
        };
        self.until_right(async || quorum(self.request(self.any(), request.clone()).await?))
            .await
    }

    /// Lets a controller that follows the metadata log vote.
    pub async fn add_raft_voter(
        &self,
        voter_id: i32,
        directory_id: Uuid,
        endpoints: &[VoterEndpoint],
    ) -> Result<(), Error> {
        let listeners = endpoints
            .iter()
            .map(|endpoint| add_raft_voter_request::Listener {
                name: endpoint.name.clone(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                ..add_raft_voter_request::Listener::default()
            });
        let request = AddRaftVoterRequest {
            timeout_ms: self.broker_timeout_ms(),
            voter_id,
            voter_directory_id: directory_id,
            listeners: listeners.collect(),
            ..AddRaftVoterRequest::default()
        };
        self.until_right(async || {
            let response = self.request(self.any(), request.clone()).await?;
            Error::check(response.error_code, response.error_message.as_deref())
        })
        .await
    }

    /// Takes a controller's vote away.
    pub async fn remove_raft_voter(&self, voter_id: i32, directory_id: Uuid) -> Result<(), Error> {
        let request = RemoveRaftVoterRequest {
            voter_id,
            voter_directory_id: directory_id,
            ..RemoveRaftVoterRequest::default()
        };
        self.until_right(async || {
            let response = self.request(self.any(), request.clone()).await?;
            Error::check(response.error_code, response.error_message.as_deref())
        })
        .await
    }
}

fn quorum(response: DescribeQuorumResponse) -> Result<QuorumDescription, Error> {
    Error::check(response.error_code, response.error_message.as_deref())?;
    let partition = only(only(response.topics)?.partitions)?;
    Error::check(partition.error_code, partition.error_message.as_deref())?;
    let endpoints = response.nodes.into_iter().map(|node| {
        let listeners = node.listeners.into_iter().map(|listener| VoterEndpoint {
            name: listener.name,
            host: listener.host,
            port: listener.port,
        });
        (node.node_id, listeners.collect())
    });
    Ok(QuorumDescription {
        leader_id: partition.leader_id,
        leader_epoch: partition.leader_epoch,
        high_watermark: partition.high_watermark,
        voters: partition.current_voters.iter().map(replica).collect(),
        observers: partition.observers.iter().map(replica).collect(),
        endpoints: endpoints.collect(),
    })
}

fn replica(state: &describe_quorum_response::ReplicaState) -> QuorumReplica {
    let known = |timestamp: i64| (timestamp >= 0).then_some(timestamp);
    QuorumReplica {
        id: state.replica_id,
        directory_id: state.replica_directory_id,
        log_end_offset: state.log_end_offset,
        last_fetch_timestamp: known(state.last_fetch_timestamp),
        last_caught_up_timestamp: known(state.last_caught_up_timestamp),
    }
}
