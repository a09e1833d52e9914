//! StreamsGroupHeartbeat: a thread of a Kafka Streams application joins, stays in and leaves a group of the streams
//! protocol (KIP-1071).

use std::sync::Arc;

use ottla_coordinator::group::{RequestContext as GroupContext, RequestToken, StreamsHeartbeat};
use ottla_protocol::messages::streams_group_heartbeat_request::Topology;
use ottla_protocol::messages::{StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::join_group::client_of;
use super::topic_view::{is_internal, is_valid_name};
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

/// The status that tells of topics that are not there.
const STATUS_MISSING_INTERNAL_TOPICS: i8 = 3;
/// How many topics are named that could not be made; of more it is said how many there are.
const FAILURES_NAMED_MAX: usize = 3;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: StreamsGroupHeartbeatRequest,
) {
    if !is_enabled(node) {
        context.respond(&failure(ErrorCode::UNSUPPORTED_VERSION, None));
        return;
    }
    if let Some(message) = request.topology.as_ref().and_then(wrong_topics) {
        context.respond(&failure(ErrorCode::STREAMS_INVALID_TOPOLOGY, Some(message)));
        return;
    }
    let partition = partition_of_group(node, &request.group_id);
    let client = client_of(&context);
    let group_context = GroupContext {
        // Never waits for other requests.
        token: RequestToken(0),
        api_version: context.version(),
        client: &client,
        random: node.environment().random.uuid().0,
    };
    let this = Arc::clone(node);
    node.groups().decide(
        node,
        partition,
        |coordinator, now| coordinator.streams_group_heartbeat(now, &group_context, &request),
        move |result| {
            let mut heartbeat = result.unwrap_or_else(|error| StreamsHeartbeat {
                response: failure(error, None),
                ..StreamsHeartbeat::default()
            });
            create_topics(&this, &mut heartbeat);
            context.respond(&heartbeat.response);
        },
    );
}

/// Has topics made that the application needs, and says which can't be.
fn create_topics(node: &Arc<Node>, heartbeat: &mut StreamsHeartbeat) {
    let topics = std::mem::take(&mut heartbeat.topics_to_create);
    if topics.is_empty() {
        return;
    }
    let names: Vec<KafkaString> = topics.iter().map(|topic| topic.name.clone()).collect();
    // What this asks for is answered too late for this response.
    let failures = node.topic_creation_failures(&names);
    node.create_internal_topics(topics, heartbeat.topic_creation_retry_ms);
    let mut statuses = heartbeat.response.status.iter_mut().flatten();
    let status = statuses.find(|status| status.status_code == STATUS_MISSING_INTERNAL_TOPICS);
    let (Some(status), false) = (status, failures.is_empty()) else {
        return;
    };
    let named = failures.iter().take(FAILURES_NAMED_MAX);
    let named: Vec<String> = named
        .map(|(name, failure)| format!("{name} ({failure})"))
        .collect();
    let mut detail = named.join(", ");
    if let Some(more @ 1..) = failures.len().checked_sub(FAILURES_NAMED_MAX) {
        detail.push_str(&format!(" and {more} more"));
    }
    status.status_detail = KafkaString::from(format!(
        "{}; Creation failed: {detail}.",
        status.status_detail
    ));
}

/// What is wrong with the names of the topology's topics, if anything is.
fn wrong_topics(topology: &Topology) -> Option<KafkaString> {
    let mut names: Vec<&str> = Vec::new();
    for subtopology in &topology.subtopologies {
        let internal = subtopology.repartition_source_topics.iter();
        let internal = internal.chain(&subtopology.state_changelog_topics);
        let own = subtopology.source_topics.iter();
        for name in own
            .chain(&subtopology.repartition_sink_topics)
            .chain(internal.map(|topic| &topic.name))
        {
            if !names.contains(&&**name) {
                names.push(name);
            }
        }
    }
    let chosen = |is_chosen: fn(&str) -> bool| {
        let chosen = names.iter().copied().filter(|name| is_chosen(name));
        chosen.collect::<Vec<&str>>().join(",")
    };
    let (prohibited, invalid) = (chosen(is_internal), chosen(|name| !is_valid_name(name)));
    if names.iter().any(|name| is_internal(name)) {
        return Some(KafkaString::from(format!(
            "Use of Kafka internal topics {prohibited} in a Kafka Streams topology is prohibited."
        )));
    }
    names
        .iter()
        .any(|name| !is_valid_name(name))
        .then(|| KafkaString::from(format!("Topic names {invalid} are not valid topic names.")))
}

fn failure(error: ErrorCode, message: Option<KafkaString>) -> StreamsGroupHeartbeatResponse {
    StreamsGroupHeartbeatResponse {
        error_code: error.0,
        error_message: message,
        ..StreamsGroupHeartbeatResponse::default()
    }
}

/// Whether the cluster and this broker serve the streams protocol.
pub(super) fn is_enabled(node: &Node) -> bool {
    node.metadata().image.features().level("streams.version") >= 1
        && node.options().broker.serves_streams_groups
}
