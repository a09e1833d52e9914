//! DeleteGroups: groups without members, and their offsets.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_coordinator::group::GroupCoordinator;
use ottla_protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::gather::Gather;
use super::share_group_partitions;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DeleteGroupsRequest) {
    let mut names = request.groups_names;
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let gather = Gather::new(names.len(), |parts: Vec<Vec<DeletableGroupResult>>| {
        context.respond(&DeleteGroupsResponse {
            results: parts.into_iter().flatten().collect(),
            ..DeleteGroupsResponse::default()
        });
    });
    for (index, group_id) in names.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        delete(node, group_id, move |results| gather.put(index, results));
    }
}

/// A share group's partitions are forgotten first; what can't be forgotten keeps the group.
fn delete(
    node: &Arc<Node>,
    group_id: KafkaString,
    done: impl FnOnce(Vec<DeletableGroupResult>) + Send + 'static,
) {
    let partition = partition_of_group(node, &group_id);
    let then = Arc::clone(node);
    let asked = group_id.clone();
    node.groups().decide(
        node,
        partition,
        |coordinator: &mut GroupCoordinator, _| {
            coordinator.begin_deleting_share_groups(&[group_id])
        },
        move |begun| match begun.map(|mut groups| groups.pop()) {
            Ok(None) => delete_group(&then, asked, done),
            Ok(Some((_, Ok(lists)))) => {
                let node = Arc::clone(&then);
                let group_id = asked.clone();
                share_group_partitions::forget(
                    &then,
                    &asked,
                    &lists,
                    move |failures| match failures.first_key_value() {
                        None => delete_group(&node, group_id, done),
                        Some((_, refusal)) => done(failure(group_id, refusal.error)),
                    },
                );
            }
            Ok(Some((_, Err(error)))) | Err(error) => done(failure(asked, error)),
        },
    );
}

fn delete_group(
    node: &Arc<Node>,
    group_id: KafkaString,
    done: impl FnOnce(Vec<DeletableGroupResult>) + Send + 'static,
) {
    let partition = partition_of_group(node, &group_id);
    let asked = group_id.clone();
    node.groups().decide(
        node,
        partition,
        |coordinator, _| coordinator.delete_groups(&[group_id]),
        move |result| done(result.unwrap_or_else(|error| failure(asked, error))),
    );
}

fn failure(group_id: KafkaString, error: ErrorCode) -> Vec<DeletableGroupResult> {
    vec![DeletableGroupResult {
        group_id,
        error_code: error.0,
        ..DeletableGroupResult::default()
    }]
}
