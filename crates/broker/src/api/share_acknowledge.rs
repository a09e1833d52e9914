//! ShareAcknowledge: a member of a share group says what became of its records (KIP-932).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::messages::share_acknowledge_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeTopicResponse,
};
use ottla_protocol::messages::{ShareAcknowledgeRequest, ShareAcknowledgeResponse};
use ottla_protocol::{ErrorCode, Uuid};

use super::share_acknowledgements::{
    Acknowledged, Asked, AskedBatch, VERSION_RENEW, acknowledge, endpoints, is_elsewhere,
    leader_of, member_of,
};
use crate::node::Node;
use crate::request::RequestContext;
use crate::share_group::{SessionKey, limits};

const FINAL_EPOCH: i32 = -1;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: ShareAcknowledgeRequest) {
    let epoch = request.share_session_epoch;
    let member = member_of(node, request.group_id.as_ref(), request.member_id.as_ref());
    let member = member.and_then(|key| {
        node.share_groups().sessions().acknowledge(&key, epoch)?;
        Ok(key)
    });
    let key = match member {
        Ok(key) => key,
        Err(error) => {
            context.respond(&ShareAcknowledgeResponse {
                error_code: error.0,
                ..ShareAcknowledgeResponse::default()
            });
            return;
        }
    };
    let partitions: BTreeMap<(Uuid, i32), Vec<AskedBatch>> = request
        .topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let batches = partition.acknowledgement_batches.iter();
                let place = (topic.topic_id, partition.partition_index);
                (place, batches.map(AskedBatch::from).collect())
            })
        })
        .collect();
    let asked = Asked {
        key: key.clone(),
        is_renewal_known: context.version() >= VERSION_RENEW,
        is_renewal: context.version() >= VERSION_RENEW && request.is_renew_ack,
        partitions,
    };
    let then = Arc::clone(node);
    acknowledge(node, asked, move |answers| {
        if epoch == FINAL_EPOCH {
            let groups = then.share_groups();
            let partitions = groups.sessions().close(&key).unwrap_or_default();
            groups.release(&then, &key, &partitions);
        }
        let response = response(&then, &context, &key, answers);
        context.respond(&response);
    });
}

fn response(
    node: &Node,
    context: &RequestContext,
    key: &SessionKey,
    answers: Vec<Acknowledged>,
) -> ShareAcknowledgeResponse {
    let lock_duration_ms = limits(node, &key.group).lock_duration_ms;
    let mut response = ShareAcknowledgeResponse {
        acquisition_lock_timeout_ms: i32::try_from(lock_duration_ms).unwrap_or(i32::MAX),
        ..ShareAcknowledgeResponse::default()
    };
    let mut leaders = BTreeSet::new();
    for answer in answers {
        let mut data = PartitionData {
            partition_index: answer.partition,
            error_code: answer.error.0,
            error_message: answer.message,
            ..PartitionData::default()
        };
        if is_elsewhere(answer.error)
            && let Some((leader_id, leader_epoch)) =
                leader_of(node, answer.topic_id, answer.partition)
        {
            leaders.insert(leader_id);
            data.current_leader = LeaderIdAndEpoch {
                leader_id,
                leader_epoch,
                ..LeaderIdAndEpoch::default()
            };
        }
        match response.responses.last_mut() {
            Some(topic) if topic.topic_id == answer.topic_id => topic.partitions.push(data),
            _ => response.responses.push(ShareAcknowledgeTopicResponse {
                topic_id: answer.topic_id,
                partitions: vec![data],
                ..ShareAcknowledgeTopicResponse::default()
            }),
        }
    }
    response.node_endpoints = endpoints(node, context, &leaders)
        .into_iter()
        .map(|endpoint| NodeEndpoint {
            node_id: endpoint.node_id,
            host: endpoint.host,
            port: endpoint.port,
            rack: endpoint.rack,
            ..NodeEndpoint::default()
        })
        .collect();
    debug_assert!(ErrorCode::NONE.0 == response.error_code);
    response
}
