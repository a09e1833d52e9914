//! DeleteShareGroupOffsets: a share group without members forgets topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator::group::{ForgottenShareOffsets, GroupCoordinator};
use ottla_protocol::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use ottla_protocol::messages::{DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::error_message::error_message;
use super::share_group_partitions::{self, Failures};
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;
use crate::share_group::is_enabled;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: DeleteShareGroupOffsetsRequest,
) {
    if !is_enabled(node) {
        refuse(context, ErrorCode::UNSUPPORTED_VERSION, None);
        return;
    }
    if request.group_id.is_empty() {
        refuse(context, ErrorCode::INVALID_GROUP_ID, None);
        return;
    }
    let names: Vec<KafkaString> = request
        .topics
        .into_iter()
        .map(|topic| topic.topic_name)
        .collect();
    let group_id = request.group_id;
    let partition = partition_of_group(node, &group_id);
    let (then, asked) = (Arc::clone(node), group_id.clone());
    node.groups().decide(
        node,
        partition,
        |coordinator: &mut GroupCoordinator, _| {
            coordinator.forget_share_group_offsets(&group_id, &names)
        },
        move |result| match result {
            Ok(Ok(forgotten)) => delete(&then, context, asked, forgotten),
            Ok(Err((error, message))) => refuse(context, error, Some(message)),
            Err(error) => refuse(context, error, None),
        },
    );
}

fn refuse(context: RequestContext, error: ErrorCode, message: Option<KafkaString>) {
    context.respond(&DeleteShareGroupOffsetsResponse {
        error_code: error.0,
        error_message: Some(message.unwrap_or_else(|| error_message(error).into())),
        ..DeleteShareGroupOffsetsResponse::default()
    });
}

fn respond(context: RequestContext, responses: Vec<DeleteShareGroupOffsetsResponseTopic>) {
    context.respond(&DeleteShareGroupOffsetsResponse {
        responses,
        ..DeleteShareGroupOffsetsResponse::default()
    });
}

fn delete(
    node: &Arc<Node>,
    context: RequestContext,
    group_id: KafkaString,
    forgotten: ForgottenShareOffsets,
) {
    let ForgottenShareOffsets {
        mut refused,
        deleting,
    } = forgotten;
    if deleting.is_empty() {
        respond(context, refused);
        return;
    }
    let then = Arc::clone(node);
    let asked = group_id.clone();
    let topic_ids: Vec<Uuid> = deleting.iter().map(|(topic_id, _)| *topic_id).collect();
    share_group_partitions::forget(node, &asked, &deleting, move |failures| {
        let failures = by_topic(&failures);
        let mut deleted: Vec<DeleteShareGroupOffsetsResponseTopic> = Vec::new();
        for topic_id in topic_ids {
            let mut topic = DeleteShareGroupOffsetsResponseTopic {
                topic_name: name_of(&then, topic_id),
                topic_id,
                ..DeleteShareGroupOffsetsResponseTopic::default()
            };
            if let Some(error) = failures.get(&topic_id) {
                topic.error_code = error.0;
                topic.error_message = Some(error_message(*error).into());
                refused.push(topic);
            } else {
                deleted.push(topic);
            }
        }
        if deleted.is_empty() {
            respond(context, refused);
            return;
        }
        complete(&then, context, group_id, (refused, deleted));
    });
}

/// The group notes that the topics are forgotten.
fn complete(
    node: &Arc<Node>,
    context: RequestContext,
    group_id: KafkaString,
    (mut topics, deleted): (
        Vec<DeleteShareGroupOffsetsResponseTopic>,
        Vec<DeleteShareGroupOffsetsResponseTopic>,
    ),
) {
    let topic_ids: Vec<Uuid> = deleted.iter().map(|topic| topic.topic_id).collect();
    let partition = partition_of_group(node, &group_id);
    let decide = move |coordinator: &mut GroupCoordinator, _| {
        coordinator.share_topics_forgotten(&group_id, &topic_ids)
    };
    node.groups()
        .decide(node, partition, decide, move |result| match result {
            Ok(is_there) => {
                if is_there {
                    topics.extend(deleted);
                }
                respond(context, topics);
            }
            Err(error) => refuse(context, error, None),
        });
}

fn by_topic(failures: &Failures) -> BTreeMap<Uuid, ErrorCode> {
    failures
        .iter()
        .map(|((topic_id, _), refusal)| (*topic_id, refusal.error))
        .collect()
}

fn name_of(node: &Node, topic_id: Uuid) -> KafkaString {
    let metadata = node.metadata();
    let topics = metadata.image.topics();
    let name = topics.name_of(ottla_protocol::ids::TopicId(topic_id));
    name.cloned().unwrap_or_default()
}
