//! DescribeGroups: classic groups with their members.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::messages::describe_groups_response::DescribedGroup;
use ottla_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::gather::Gather;
use crate::coordinator::partition_of_group;
use crate::node::Node;
use crate::request::RequestContext;

/// Bits of the operations on a group, where everybody may do everything.
const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: DescribeGroupsRequest) {
    let version = context.version();
    let with_operations = request.include_authorized_operations;
    let by_partition = by_partition(node, request.groups);
    let gather = Gather::new(
        by_partition.len(),
        move |parts: Vec<Vec<DescribedGroup>>| {
            let mut groups: Vec<DescribedGroup> = parts.into_iter().flatten().collect();
            if with_operations {
                for group in &mut groups {
                    if group.error_code == ErrorCode::NONE.0 {
                        group.authorized_operations = GROUP_OPERATIONS;
                    }
                }
            }
            context.respond(&DescribeGroupsResponse {
                groups,
                ..DescribeGroupsResponse::default()
            });
        },
    );
    for (index, (partition, group_ids)) in by_partition.into_iter().enumerate() {
        let gather = Arc::clone(&gather);
        let asked = group_ids.clone();
        node.groups().ask(
            node,
            partition,
            |coordinator| coordinator.describe_groups(version, &group_ids),
            move |result| {
                let described = result.unwrap_or_else(|error| {
                    asked
                        .into_iter()
                        .map(|group_id| DescribedGroup {
                            group_id,
                            error_code: error.0,
                            ..DescribedGroup::default()
                        })
                        .collect()
                });
                gather.put(index, described);
            },
        );
    }
}

/// The groups by the partition that holds their state.
pub(super) fn by_partition(
    node: &Node,
    group_ids: Vec<KafkaString>,
) -> BTreeMap<i32, Vec<KafkaString>> {
    let mut by_partition: BTreeMap<i32, Vec<KafkaString>> = BTreeMap::new();
    for group_id in group_ids {
        let partition = partition_of_group(node, &group_id);
        by_partition.entry(partition).or_default().push(group_id);
    }
    by_partition
}
