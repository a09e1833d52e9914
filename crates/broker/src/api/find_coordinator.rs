//! FindCoordinator: which broker coordinates a group or a transactional id.

use std::sync::Arc;

use ottla_coordinator::share_state::SharePartition;
use ottla_protocol::ids::PartitionIndex;
use ottla_protocol::messages::find_coordinator_response::Coordinator;
use ottla_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use crate::coordinator::{
    GROUP_METADATA_TOPIC, SHARE_GROUP_STATE_TOPIC, TRANSACTION_STATE_TOPIC, partition_of_group,
    partition_of_share_state, partition_of_transaction,
};
use crate::node::Node;
use crate::request::RequestContext;

/// From this version on a request may have many keys.
const VERSION_BATCH: i16 = 4;
/// From this version on there are coordinators of share groups' state.
const VERSION_SHARE: i16 = 6;

const KEY_TYPE_GROUP: i8 = 0;
const KEY_TYPE_TRANSACTION: i8 = 1;
const KEY_TYPE_SHARE: i8 = 2;

/// A broker as the client reaches it.
struct Endpoint {
    node_id: i32,
    host: KafkaString,
    port: i32,
}

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: FindCoordinatorRequest) {
    let is_known_type = matches!(
        request.key_type,
        KEY_TYPE_GROUP | KEY_TYPE_TRANSACTION | KEY_TYPE_SHARE
    );
    let find = |key: &KafkaString| find(node, &context, request.key_type, key);
    if context.version() < VERSION_BATCH {
        let found = find(&request.key);
        context.respond(&single_response(found));
        return;
    }
    let coordinators = request
        .coordinator_keys
        .iter()
        .map(|key| match find(key) {
            Ok(endpoint) => Coordinator {
                key: key.clone(),
                node_id: endpoint.node_id,
                host: endpoint.host,
                port: endpoint.port,
                ..Coordinator::default()
            },
            Err(error) => Coordinator {
                key: key.clone(),
                node_id: -1,
                port: -1,
                error_code: error.0,
                error_message: Some(if is_known_type {
                    KafkaString::new()
                } else {
                    message(error)
                }),
                ..Coordinator::default()
            },
        })
        .collect();
    context.respond(&FindCoordinatorResponse {
        coordinators,
        ..FindCoordinatorResponse::default()
    });
}

fn single_response(found: Result<Endpoint, ErrorCode>) -> FindCoordinatorResponse {
    match found {
        Ok(endpoint) => FindCoordinatorResponse {
            error_message: Some(KafkaString::from_static("NONE")),
            node_id: endpoint.node_id,
            host: endpoint.host,
            port: endpoint.port,
            ..FindCoordinatorResponse::default()
        },
        Err(error) => FindCoordinatorResponse {
            error_code: error.0,
            error_message: Some(message(error)),
            node_id: -1,
            port: -1,
            ..FindCoordinatorResponse::default()
        },
    }
}

fn find(
    node: &Arc<Node>,
    context: &RequestContext,
    key_type: i8,
    key: &KafkaString,
) -> Result<Endpoint, ErrorCode> {
    match key_type {
        KEY_TYPE_GROUP => {
            let index = partition_of_group(node, key);
            find_leader(node, context, (GROUP_METADATA_TOPIC, index))
        }
        KEY_TYPE_TRANSACTION => {
            let index = partition_of_transaction(node, key);
            find_leader(node, context, (TRANSACTION_STATE_TOPIC, index))
        }
        KEY_TYPE_SHARE if context.version() >= VERSION_SHARE => {
            let partition = share_partition(key).ok_or(ErrorCode::INVALID_REQUEST)?;
            let index = partition_of_share_state(node, &partition);
            find_leader(node, context, (SHARE_GROUP_STATE_TOPIC, index))
        }
        _ => Err(ErrorCode::INVALID_REQUEST),
    }
}

/// What the key `group:topicId:partition` names, as those of share groups' state are.
fn share_partition(key: &str) -> Option<SharePartition> {
    let mut from_end = key.rsplitn(3, ':');
    let partition = from_end.next()?.parse().ok()?;
    let topic_id: Uuid = from_end.next()?.parse().ok()?;
    let group_id = from_end.next().filter(|part| !part.trim().is_empty())?;
    Some(SharePartition {
        group_id: KafkaString::from(group_id),
        topic_id,
        partition,
    })
}

/// What Apache Kafka says of an error that has no more to it.
fn message(error: ErrorCode) -> KafkaString {
    match error {
        ErrorCode::COORDINATOR_NOT_AVAILABLE => {
            KafkaString::from_static("The coordinator is not available.")
        }
        ErrorCode::INVALID_REQUEST => KafkaString::from_static(
            "This most likely occurs because of a request being malformed by the client library or \
             the message was sent to an incompatible broker. See the broker logs for more details.",
        ),
        error => KafkaString::from(error.to_string()),
    }
}

fn find_leader(
    node: &Arc<Node>,
    context: &RequestContext,
    (topic, index): (&'static str, i32),
) -> Result<Endpoint, ErrorCode> {
    let metadata = node.metadata();
    let Some(image) = metadata.image.topics().get_by_name(topic) else {
        node.auto_create_topics(vec![KafkaString::from_static(topic)]);
        return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    };
    let leader = image
        .partition(PartitionIndex(index))
        .and_then(|partition| partition.leader)
        .filter(|leader| metadata.image.cluster().is_unfenced(*leader))
        .ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    let (host, port, _) = node
        .endpoint_of(leader.0, &context.connection.listener)
        .ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    Ok(Endpoint {
        node_id: leader.0,
        host,
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_partition_is_a_group_a_topic_id_and_a_partition() {
        for key in ["g:AAAAAAAAAAAAAAAAAAAAAQ:0", "a:b:AAAAAAAAAAAAAAAAAAAAAQ:7"] {
            let partition = share_partition(key).unwrap();
            assert_eq!(partition.coordinator_key(), key);
        }
        for key in [
            "",
            "g",
            "g:AAAAAAAAAAAAAAAAAAAAAQ",
            " :AAAAAAAAAAAAAAAAAAAAAQ:0",
            "g:short:0",
            "g:AAAAAAAAAAAAAAAAAAAAAQ:x",
        ] {
            assert_eq!(share_partition(key), None, "{key}");
        }
    }
}
