//! What the members of the metadata quorum ask each other: Vote, BeginQuorumEpoch, EndQuorumEpoch, Fetch and
//! FetchSnapshot of the metadata log, UpdateRaftVoter.

use std::sync::Arc;

use ottla_protocol::messages::{
    BeginQuorumEpochRequest, EndQuorumEpochRequest, FetchRequest, FetchSnapshotRequest,
    UpdateRaftVoterRequest, VoteRequest,
};
use ottla_raft::quorum::{Request, Response};

use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn vote(node: &Arc<Node>, context: RequestContext, request: VoteRequest) {
    ask(node, context, Request::Vote(request));
}

pub(crate) fn begin_quorum_epoch(
    node: &Arc<Node>,
    context: RequestContext,
    request: BeginQuorumEpochRequest,
) {
    ask(node, context, Request::BeginQuorumEpoch(request));
}

pub(crate) fn end_quorum_epoch(
    node: &Arc<Node>,
    context: RequestContext,
    request: EndQuorumEpochRequest,
) {
    ask(node, context, Request::EndQuorumEpoch(request));
}

pub(crate) fn fetch(node: &Arc<Node>, context: RequestContext, request: FetchRequest) {
    ask(node, context, Request::Fetch(request));
}

pub(crate) fn fetch_snapshot(
    node: &Arc<Node>,
    context: RequestContext,
    request: FetchSnapshotRequest,
) {
    ask(node, context, Request::FetchSnapshot(request));
}

pub(crate) fn update_raft_voter(
    node: &Arc<Node>,
    context: RequestContext,
    request: UpdateRaftVoterRequest,
) {
    ask(node, context, Request::UpdateRaftVoter(request));
}

fn ask(node: &Arc<Node>, context: RequestContext, request: Request) {
    node.controller().submit(node, move |core, node| {
        core.receive(node, request, move |response| respond(context, &response));
    });
}

fn respond(context: RequestContext, response: &Response) {
    // Where the leader listens is said from the versions on that have a place for it (KIP-853).
    let version = context.version();
    match response {
        Response::Vote(response) => {
            let mut response = response.clone();
            response.node_endpoints.retain(|_| version >= 1);
            context.respond(&response);
        }
        Response::BeginQuorumEpoch(response) => {
            let mut response = response.clone();
            response.node_endpoints.retain(|_| version >= 1);
            context.respond(&response);
        }
        Response::EndQuorumEpoch(response) => {
            let mut response = response.clone();
            response.node_endpoints.retain(|_| version >= 1);
            context.respond(&response);
        }
        Response::Fetch(response) => {
            let mut response = response.clone();
            response.node_endpoints.retain(|_| version >= 16);
            context.respond(&response);
        }
        Response::FetchSnapshot(response) => {
            let mut response = response.clone();
            response.node_endpoints.retain(|_| version >= 1);
            context.respond(&response);
        }
        Response::AddRaftVoter(response) => context.respond(response),
        Response::RemoveRaftVoter(response) => context.respond(response),
        Response::UpdateRaftVoter(response) => context.respond(response),
        Response::ApiVersions(response) => context.respond(response),
    }
}
