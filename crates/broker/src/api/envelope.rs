//! Envelope: a broker hands on what a client asked of it, with the client's principal and address (KIP-590).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_protocol::ErrorCode;
use ottla_protocol::api_key::ApiKey;
use ottla_protocol::frame::SIZE_LENGTH;
use ottla_protocol::frame::response::{Piece, ResponseFrame};
use ottla_protocol::messages::{EnvelopeRequest, EnvelopeResponse};

use crate::node::Node;
use crate::request::{ConnectionContext, Reply, RequestContext, parse_head};

/// What brokers hand on to the active controller.
const FORWARDABLE: &[ApiKey] = &[
    ApiKey::AddRaftVoter,
    ApiKey::AlterClientQuotas,
    ApiKey::AlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::CreatePartitions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DescribeQuorum,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::ListPartitionReassignments,
    ApiKey::RemoveRaftVoter,
    ApiKey::UnregisterBroker,
    ApiKey::UpdateFeatures,
];

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: EnvelopeRequest) {
    if !node.controller().leader().is_active {
        refuse(context, ErrorCode::NOT_CONTROLLER);
        return;
    }
    let Some(client) = client_address(&request.client_host_address) else {
        refuse(context, ErrorCode::INVALID_REQUEST);
        return;
    };
    let connection = Arc::new(ConnectionContext::forwarded(
        context.connection.listener.clone(),
        client,
    ));
    let frame = BytesMut::from(&request.request_data[..]);
    let api_key = parse_head(&connection, &frame).and_then(|parsed| parsed.api_key);
    if !api_key.is_some_and(|api_key| FORWARDABLE.contains(&api_key)) {
        refuse(context, ErrorCode::INVALID_REQUEST);
        return;
    }
    let responder = move |reply: Reply| match reply {
        Reply::Response(frame) => answer(context, &frame),
        Reply::Nothing | Reply::Close => refuse(context, ErrorCode::INVALID_REQUEST),
    };
    node.handle(&connection, frame, Box::new(responder));
}

fn answer(context: RequestContext, frame: &ResponseFrame<ottla_log::FileRegion>) {
    let mut whole = BytesMut::new();
    for piece in frame.pieces() {
        match piece {
            Piece::Bytes(bytes) => whole.extend_from_slice(bytes),
            // Only a fetch has regions, and none is handed on.
            Piece::Region(_) => {
                refuse(context, ErrorCode::UNKNOWN_SERVER_ERROR);
                return;
            }
        }
    }
    context.respond(&EnvelopeResponse {
        response_data: Some(whole.freeze().slice(SIZE_LENGTH..)),
        ..EnvelopeResponse::default()
    });
}

fn refuse(context: RequestContext, error: ErrorCode) {
    context.respond(&EnvelopeResponse {
        error_code: error.0,
        ..EnvelopeResponse::default()
    });
}

/// The address in network order; of no length where the client had none.
fn client_address(bytes: &Bytes) -> Option<Option<SocketAddr>> {
    let address = match bytes.len() {
        0 => return Some(None),
        4 => IpAddr::from(<[u8; 4]>::try_from(&bytes[..]).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?),
        _ => return None,
    };
    Some(Some(SocketAddr::new(address, 0)))
}
