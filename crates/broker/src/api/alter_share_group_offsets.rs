//! AlterShareGroupOffsets: a share group without members begins elsewhere.

use std::sync::Arc;

use ottla_coordinator::group::{AlteredShareOffsets, GroupCoordinator};
use ottla_protocol::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponseTopic;
use ottla_protocol::messages::{AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::error_message::error_message;
use super::share_group_partitions::{self, Failures};
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;
use crate::share_group::is_enabled;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: AlterShareGroupOffsetsRequest,
) {
    if !is_enabled(node) {
        refuse(context, ErrorCode::UNSUPPORTED_VERSION, None);
        return;
    }
    if request.group_id.is_empty() {
        refuse(context, ErrorCode::INVALID_GROUP_ID, None);
        return;
    }
    let partition = partition_of_group(node, &request.group_id);
    let then = Arc::clone(node);
    node.groups().decide(
        node,
        partition,
        |coordinator: &mut GroupCoordinator, now| {
            coordinator.alter_share_group_offsets(now, &request.group_id, &request.topics)
        },
        move |result| match result {
            Ok(Ok(AlteredShareOffsets { topics, starting })) => {
                share_group_partitions::start(&then, starting, |failures| {
                    context.respond(&AlterShareGroupOffsetsResponse {
                        responses: with_failures(topics, &failures),
                        ..AlterShareGroupOffsetsResponse::default()
                    });
                });
            }
            Ok(Err((error, message))) => refuse(context, error, Some(message)),
            Err(error) => refuse(context, error, None),
        },
    );
}

fn refuse(context: RequestContext, error: ErrorCode, message: Option<KafkaString>) {
    context.respond(&AlterShareGroupOffsetsResponse {
        error_code: error.0,
        error_message: Some(message.unwrap_or_else(|| error_message(error).into())),
        ..AlterShareGroupOffsetsResponse::default()
    });
}

/// Topics that are not there come first, as in Apache Kafka; partitions that could not be started say why.
fn with_failures(
    mut topics: Vec<AlterShareGroupOffsetsResponseTopic>,
    failures: &Failures,
) -> Vec<AlterShareGroupOffsetsResponseTopic> {
    topics.sort_by_key(|topic| !topic.topic_id.is_zero());
    for topic in &mut topics {
        for partition in &mut topic.partitions {
            if let Some(refusal) = failures.get(&(topic.topic_id, partition.partition_index)) {
                let words = refusal.message.map(str::to_owned);
                let words = words.unwrap_or_else(|| error_message(refusal.error));
                partition.error_code = refusal.error.0;
                partition.error_message = Some(words.into());
            }
        }
    }
    topics
}
