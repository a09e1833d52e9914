//! AddOffsetsToTxn: a group's offsets join a transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_coordinator::transaction::{Partitions, Producer};
use ottla_protocol::KafkaString;
use ottla_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::add_partitions_to_txn::known_error;
use crate::coordinator::{GROUP_METADATA_TOPIC, partition_of_group, partition_of_transaction};
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: AddOffsetsToTxnRequest) {
    let offsets = BTreeSet::from([partition_of_group(node, &request.group_id)]);
    let topic = KafkaString::from_static(GROUP_METADATA_TOPIC);
    let partitions = Partitions::from([(topic, offsets)]);
    let id = &request.transactional_id;
    let producer = Producer {
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
    };
    node.transactions().decide(
        node,
        partition_of_transaction(node, id),
        |coordinator, now| coordinator.add_partitions(now, (id, producer), &partitions, 0),
        move |result| {
            let error = known_error(context.version(), result.unwrap_or_else(|error| error));
            context.respond(&AddOffsetsToTxnResponse {
                error_code: error.0,
                ..AddOffsetsToTxnResponse::default()
            });
        },
    );
}
