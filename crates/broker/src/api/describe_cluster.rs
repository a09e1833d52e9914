//! DescribeCluster: the brokers and who is in charge.

use std::sync::Arc;

use ottla_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use ottla_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::topic_view::CLUSTER_OPERATIONS;
use crate::node::Node;
use crate::request::RequestContext;

const BROKER_ENDPOINTS: i8 = 1;
const CONTROLLER_ENDPOINTS: i8 = 2;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeClusterRequest) {
    let expected = if context.connection.is_controller_listener {
        CONTROLLER_ENDPOINTS
    } else {
        BROKER_ENDPOINTS
    };
    let mut response = DescribeClusterResponse {
        endpoint_type: expected,
        ..DescribeClusterResponse::default()
    };
    if request.endpoint_type != expected {
        refuse(&mut response, request.endpoint_type);
        context.respond(&response);
        return;
    }
    response.cluster_id = node.cluster_id().clone();
    if expected == CONTROLLER_ENDPOINTS {
        response.brokers = controllers(node, &context);
        response.controller_id = node.controller().leader().leader.map_or(-1, |id| id.0);
    } else {
        response.brokers = brokers(node, &context, request.include_fenced_brokers);
        response.controller_id = response
            .brokers
            .iter()
            .find(|broker| !broker.is_fenced)
            .map_or(-1, |broker| broker.broker_id);
    }
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    context.respond(&response);
}

fn refuse(response: &mut DescribeClusterResponse, endpoint_type: i8) {
    let (code, message) = match endpoint_type {
        BROKER_ENDPOINTS | CONTROLLER_ENDPOINTS => (
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            format!(
                "The request was sent to an endpoint of type {}, but we wanted an endpoint of type {}",
                endpoint_name(response.endpoint_type),
                endpoint_name(endpoint_type),
            ),
        ),
        _ => (
            ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            format!("Unsupported endpoint type {endpoint_type}"),
        ),
    };
    response.error_code = code.0;
    response.error_message = Some(KafkaString::from(message));
}

fn endpoint_name(endpoint_type: i8) -> &'static str {
    if endpoint_type == CONTROLLER_ENDPOINTS {
        "CONTROLLER"
    } else {
        "BROKER"
    }
}

fn brokers(node: &Node, context: &RequestContext, with_fenced: bool) -> Vec<DescribeClusterBroker> {
    let metadata = node.metadata();
    metadata
        .image
        .cluster()
        .brokers()
        .values()
        .filter(|broker| with_fenced || !broker.fenced)
        .filter_map(|broker| {
            let endpoint = broker.listener(&context.connection.listener)?;
            Some(DescribeClusterBroker {
                broker_id: broker.id.0,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: broker.rack.clone(),
                is_fenced: broker.fenced,
                ..DescribeClusterBroker::default()
            })
        })
        .collect()
}

fn controllers(node: &Node, context: &RequestContext) -> Vec<DescribeClusterBroker> {
    let metadata = node.metadata();
    let registered = metadata.image.cluster().controllers().values();
    registered
        .filter_map(|controller| {
            let mut listeners = controller.listeners.iter();
            let endpoint = listeners.find(|found| found.listener == context.connection.listener)?;
            Some(DescribeClusterBroker {
                broker_id: controller.id.0,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                ..DescribeClusterBroker::default()
            })
        })
        .collect()
}
