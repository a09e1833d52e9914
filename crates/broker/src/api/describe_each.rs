//! Groups described, each by its own coordinator, whichever protocol they are of.

use std::sync::Arc;

use ottla_coordinator::group::GroupCoordinator;
use ottla_protocol::messages::{
    consumer_group_describe_response, describe_groups_response, share_group_describe_response,
    streams_group_describe_response,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::gather::Gather;
use crate::coordinator::partition_of_group;
use crate::node::Node;

/// Bits of the operations on a group, where everybody may do everything.
const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// A group as a response has it.
pub(super) trait Described: Send + 'static {
    /// A group that its coordinator was not asked about, or did not tell of.
    fn failed(group_id: KafkaString, error: ErrorCode) -> Self;

    /// Says what may be done with it, if it is described.
    fn authorize(&mut self, operations: i32);
}

macro_rules! described {
    ($($response:ident),+) => {$(
        impl Described for $response::DescribedGroup {
            fn failed(group_id: KafkaString, error: ErrorCode) -> Self {
                Self {
                    group_id,
                    error_code: error.0,
                    ..Self::default()
                }
            }

            fn authorize(&mut self, operations: i32) {
                if self.error_code == ErrorCode::NONE.0 {
                    self.authorized_operations = operations;
                }
            }
        }
    )+};
}

described!(
    consumer_group_describe_response,
    describe_groups_response,
    share_group_describe_response,
    streams_group_describe_response
);

/// Which groups are to be described, and how.
pub(super) struct Asked {
    pub(super) group_ids: Vec<KafkaString>,
    pub(super) with_operations: bool,
}

/// Describes every group in its coordinator, unless `refuse` says why not; `done` gets all of them, in order.
pub(super) fn describe_each<G: Described>(
    node: &Arc<Node>,
    asked: Asked,
    refuse: impl Fn(&str) -> Option<ErrorCode>,
    describe: impl Fn(&GroupCoordinator, &[KafkaString]) -> Vec<G>,
    done: impl FnOnce(Vec<G>) + Send + 'static,
) {
    describe_each_or(node, asked, (refuse, G::failed), describe, done);
}

/// The same; what is said of a group whose coordinator is not to be reached is for `unreached` to say.
pub(super) fn describe_each_or<G: Described>(
    node: &Arc<Node>,
    asked: Asked,
    (refuse, unreached): (
        impl Fn(&str) -> Option<ErrorCode>,
        fn(KafkaString, ErrorCode) -> G,
    ),
    describe: impl Fn(&GroupCoordinator, &[KafkaString]) -> Vec<G>,
    done: impl FnOnce(Vec<G>) + Send + 'static,
) {
    let with_operations = asked.with_operations;
    let gather = Gather::new(asked.group_ids.len(), move |mut groups: Vec<G>| {
        if with_operations {
            let described = groups.iter_mut();
            described.for_each(|group| group.authorize(GROUP_OPERATIONS));
        }
        done(groups);
    });
    for (index, group_id) in asked.group_ids.into_iter().enumerate() {
        if let Some(error) = refuse(&group_id) {
            gather.put(index, G::failed(group_id, error));
            continue;
        }
        let partition = partition_of_group(node, &group_id);
        let gather = Arc::clone(&gather);
        let asked = group_id.clone();
        node.groups().ask(
            node,
            partition,
            |coordinator| describe(coordinator, &[group_id]).pop(),
            move |result| {
                let described = match result {
                    Ok(Some(described)) => described,
                    Ok(None) => G::failed(asked, ErrorCode::UNKNOWN_SERVER_ERROR),
                    Err(error) => unreached(asked, error),
                };
                gather.put(index, described);
            },
        );
    }
}

/// Why a group of a protocol of its own is not asked about.
pub(super) fn refusal(is_served: bool, group_id: &str) -> Option<ErrorCode> {
    if !is_served {
        return Some(ErrorCode::UNSUPPORTED_VERSION);
    }
    group_id.is_empty().then_some(ErrorCode::INVALID_GROUP_ID)
}
