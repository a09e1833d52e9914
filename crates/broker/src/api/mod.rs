//! One file for each API that is served, and the table that finds it.
//!
//! A handler answers through its [`RequestContext`], at once or later; it never blocks.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
mod alter_replica_log_dirs;
mod alter_share_group_offsets;
mod api_versions;
mod config_changes;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_topics;
mod delayed_share_fetch;
mod delete_groups;
mod delete_records;
mod delete_share_group_offsets;
mod delete_share_group_state;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_each;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_share_group_offsets;
mod describe_topic_partitions;
mod describe_transactions;
mod end_txn;
mod envelope;
mod error_message;
mod fetch;
mod fetch_response;
mod find_coordinator;
mod forward;
mod gather;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod initialize_share_group_state;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod quorum;
mod read_share_group_state;
mod read_share_group_state_summary;
mod share_acknowledge;
mod share_acknowledgements;
mod share_fetch;
mod share_fetch_response;
mod share_group_describe;
mod share_group_heartbeat;
mod share_group_partitions;
mod share_partitions;
mod streams_group_describe;
mod streams_group_heartbeat;
mod sync_group;
mod topic_view;
mod transaction_verification;
mod txn_offset_commit;
mod write_share_group_state;
mod write_txn_markers;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_protocol::Reader;
use ottla_protocol::api_key::{ApiKey, ListenerKind};
use ottla_protocol::messages::{self, Request};

use crate::node::Node;
use crate::request::RequestContext;

pub(crate) use error_message::error_message;
pub(crate) use gather::Gather;
pub(crate) use write_txn_markers::write_transaction_marker;

/// A served API.
#[derive(Clone, Copy)]
pub(crate) struct ServedApi {
    pub(crate) api_key: ApiKey,
    handle: fn(&Arc<Node>, RequestContext, Bytes),
}

/// An entry of the table: the request's name and its handler, `fn(&Arc<Node>, RequestContext, Request)`.
macro_rules! serve {
    ($request:ident, $handle:path) => {
        ServedApi {
            api_key: <messages::$request as Request>::API_KEY,
            handle: |node, context, body| {
                if let Some((context, request)) = decode::<messages::$request>(context, body) {
                    $handle(node, context, request);
                }
            },
        }
    };
}

/// Every API but Produce, whose frame is changed in place and never decoded to a message.
const SERVED: &[ServedApi] = &[
    serve!(AddOffsetsToTxnRequest, add_offsets_to_txn::handle),
    serve!(AddPartitionsToTxnRequest, add_partitions_to_txn::handle),
    serve!(AlterPartitionReassignmentsRequest, forward::to_controller),
    serve!(AlterClientQuotasRequest, forward::to_controller),
    serve!(AlterConfigsRequest, alter_configs::handle),
    serve!(AlterReplicaLogDirsRequest, alter_replica_log_dirs::handle),
    serve!(ApiVersionsRequest, api_versions::handle),
    serve!(
        ConsumerGroupDescribeRequest,
        consumer_group_describe::handle
    ),
    serve!(
        ConsumerGroupHeartbeatRequest,
        consumer_group_heartbeat::handle
    ),
    serve!(CreatePartitionsRequest, forward::to_controller),
    serve!(CreateTopicsRequest, create_topics::handle),
    serve!(DeleteGroupsRequest, delete_groups::handle),
    serve!(DeleteRecordsRequest, delete_records::handle),
    serve!(DeleteTopicsRequest, delete_topics::handle),
    serve!(DescribeAclsRequest, describe_acls::handle),
    serve!(DescribeClientQuotasRequest, describe_client_quotas::handle),
    serve!(DescribeClusterRequest, describe_cluster::handle),
    serve!(DescribeGroupsRequest, describe_groups::handle),
    serve!(DescribeConfigsRequest, describe_configs::handle),
    serve!(DescribeLogDirsRequest, describe_log_dirs::handle),
    serve!(DescribeProducersRequest, describe_producers::handle),
    serve!(DescribeQuorumRequest, describe_quorum::handle),
    serve!(
        DescribeTopicPartitionsRequest,
        describe_topic_partitions::handle
    ),
    serve!(DescribeTransactionsRequest, describe_transactions::handle),
    serve!(ElectLeadersRequest, forward::to_controller),
    serve!(EndTxnRequest, end_txn::handle),
    serve!(FetchRequest, fetch::handle),
    serve!(FindCoordinatorRequest, find_coordinator::handle),
    serve!(HeartbeatRequest, heartbeat::handle),
    serve!(InitProducerIdRequest, init_producer_id::handle),
    serve!(JoinGroupRequest, join_group::handle),
    serve!(LeaveGroupRequest, leave_group::handle),
    serve!(ListGroupsRequest, list_groups::handle),
    serve!(
        IncrementalAlterConfigsRequest,
        incremental_alter_configs::handle
    ),
    serve!(ListConfigResourcesRequest, list_config_resources::handle),
    serve!(ListOffsetsRequest, list_offsets::handle),
    serve!(ListPartitionReassignmentsRequest, forward::to_controller),
    serve!(ListTransactionsRequest, list_transactions::handle),
    serve!(MetadataRequest, metadata::handle),
    serve!(OffsetCommitRequest, offset_commit::handle),
    serve!(OffsetDeleteRequest, offset_delete::handle),
    serve!(OffsetFetchRequest, offset_fetch::handle),
    serve!(OffsetForLeaderEpochRequest, offset_for_leader_epoch::handle),
    serve!(
        DeleteShareGroupStateRequest,
        delete_share_group_state::handle
    ),
    serve!(
        InitializeShareGroupStateRequest,
        initialize_share_group_state::handle
    ),
    serve!(ReadShareGroupStateRequest, read_share_group_state::handle),
    serve!(
        ReadShareGroupStateSummaryRequest,
        read_share_group_state_summary::handle
    ),
    serve!(WriteShareGroupStateRequest, write_share_group_state::handle),
    serve!(StreamsGroupDescribeRequest, streams_group_describe::handle),
    serve!(
        StreamsGroupHeartbeatRequest,
        streams_group_heartbeat::handle
    ),
    serve!(
        AlterShareGroupOffsetsRequest,
        alter_share_group_offsets::handle
    ),
    serve!(
        DeleteShareGroupOffsetsRequest,
        delete_share_group_offsets::handle
    ),
    serve!(
        DescribeShareGroupOffsetsRequest,
        describe_share_group_offsets::handle
    ),
    serve!(ShareGroupDescribeRequest, share_group_describe::handle),
    serve!(ShareGroupHeartbeatRequest, share_group_heartbeat::handle),
    serve!(ShareAcknowledgeRequest, share_acknowledge::handle),
    serve!(ShareFetchRequest, share_fetch::handle),
    serve!(SyncGroupRequest, sync_group::handle),
    serve!(TxnOffsetCommitRequest, txn_offset_commit::handle),
    serve!(UpdateFeaturesRequest, forward::to_controller),
    serve!(AddRaftVoterRequest, forward::to_controller),
    serve!(AllocateProducerIdsRequest, forward::to_controller),
    serve!(AlterPartitionRequest, forward::to_controller),
    serve!(AssignReplicasToDirsRequest, forward::to_controller),
    serve!(BrokerHeartbeatRequest, forward::to_controller),
    serve!(BrokerRegistrationRequest, forward::to_controller),
    serve!(ControllerRegistrationRequest, forward::to_controller),
    serve!(RemoveRaftVoterRequest, forward::to_controller),
    serve!(UnregisterBrokerRequest, forward::to_controller),
    serve!(BeginQuorumEpochRequest, quorum::begin_quorum_epoch),
    serve!(EndQuorumEpochRequest, quorum::end_quorum_epoch),
    serve!(EnvelopeRequest, envelope::handle),
    serve!(FetchSnapshotRequest, quorum::fetch_snapshot),
    serve!(UpdateRaftVoterRequest, quorum::update_raft_voter),
    serve!(VoteRequest, quorum::vote),
    serve!(WriteTxnMarkersRequest, write_txn_markers::handle),
];

/// Decodes a request; one that is malformed closes the connection.
fn decode<R: Request>(context: RequestContext, body: Bytes) -> Option<(RequestContext, R)> {
    let mut reader = Reader::new(body);
    match R::decode(&mut reader, context.version()) {
        Ok(request) => Some((context, request)),
        Err(error) => {
            tracing::debug!(
                api = R::NAME,
                version = context.version(),
                peer = ?context.connection.peer,
                %error,
                "a malformed request closes its connection"
            );
            context.close();
            None
        }
    }
}

/// The APIs that a listener serves, by key.
pub(crate) fn served_keys(is_controller_listener: bool) -> impl Iterator<Item = ApiKey> {
    SERVED
        .iter()
        .map(|served| served.api_key)
        .chain([ApiKey::Produce])
        .filter(move |key| is_on_listener(*key, is_controller_listener))
}

/// Whether a broker of this release serves the API to clients.
#[must_use]
pub fn serves(key: ApiKey) -> bool {
    served_keys(false).any(|served| served == key)
}

fn is_on_listener(key: ApiKey, is_controller_listener: bool) -> bool {
    key.is_on(if is_controller_listener {
        ListenerKind::Controller
    } else {
        ListenerKind::Broker
    })
}

/// Hands a request to its handler.
pub(crate) fn dispatch(
    node: &Arc<Node>,
    context: RequestContext,
    mut frame: BytesMut,
    body_start: usize,
) {
    let key = context.api_key;
    let is_served = is_on_listener(key, context.connection.is_controller_listener)
        && key.enabled_versions(false).contains(context.version());
    if key == ApiKey::ApiVersions && !is_served {
        api_versions::answer_unsupported_version(context);
        return;
    }
    if !is_served {
        context.close();
        return;
    }
    let body = frame.split_off(body_start);
    if key == ApiKey::Produce {
        produce::handle(node, context, body);
        return;
    }
    match SERVED.iter().find(|served| served.api_key == key) {
        Some(served) => (served.handle)(node, context, body.freeze()),
        None => context.close(),
    }
}
