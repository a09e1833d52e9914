//! The questions about share partitions in the words of the wire, for coordinators on other brokers.

use std::sync::Arc;

use ottla_coordinator::share_state::{
    Refusal, SharePartition, State, StateBatch, Summary, WriteState,
};
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::{
    DeleteShareGroupStateRequest, InitializeShareGroupStateRequest, ReadShareGroupStateRequest,
    ReadShareGroupStateSummaryRequest, Request, WriteShareGroupStateRequest,
    delete_share_group_state_request, initialize_share_group_state_request,
    read_share_group_state_request, read_share_group_state_response,
    read_share_group_state_summary_request, write_share_group_state_request,
};

use crate::broker_channels::BrokerChannel;
use crate::net::peer::CallOptions;
use crate::node::Node;

/// Hears what became of a share partition, or why its coordinator says nothing of it.
pub(super) type Then<R> = Box<dyn FnOnce(Result<Result<R, Refusal>, ErrorCode>) + Send>;
/// Asks the coordinator on another broker.
pub(super) type Elsewhere<R> = Box<dyn Fn(&Arc<Node>, BrokerId, &SharePartition, Then<R>) + Send>;

/// Errors of a broker that is no coordinator of the partition, or not yet.
pub(super) fn is_of_absence(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
            | ErrorCode::COORDINATOR_NOT_AVAILABLE
            | ErrorCode::NOT_COORDINATOR
    )
}

fn ask<Q: Request + Send + 'static, R: Send + 'static>(
    node: &Arc<Node>,
    coordinator: BrokerId,
    request: Q,
    then: Then<R>,
    found: impl FnOnce(Q::Response) -> Option<(i16, R)> + Send + 'static,
) {
    let to = (BrokerChannel::ShareState, coordinator);
    let options = CallOptions::within(node.options().broker.request_timeout_ms);
    node.ask_broker(to, options, request, move |response| {
        let result = match response {
            Ok(response) => found(response)
                .map(|(error, answer)| (ErrorCode(error), answer))
                .map_or(
                    Err(ErrorCode::UNKNOWN_SERVER_ERROR),
                    |(error, answer)| match error {
                        ErrorCode::NONE => Ok(Ok(answer)),
                        error if is_of_absence(error) => Err(error),
                        error => Ok(Err(error.into())),
                    },
                ),
            Err(error) => {
                tracing::debug!(%error, "a share coordinator did not answer");
                Err(ErrorCode::COORDINATOR_NOT_AVAILABLE)
            }
        };
        then(result);
    });
}

pub(super) fn initialize(state_epoch: i32, start_offset: i64) -> Elsewhere<()> {
    use initialize_share_group_state_request::{InitializeStateData, PartitionData};
    Box::new(move |node, coordinator, partition, then| {
        let request = InitializeShareGroupStateRequest {
            group_id: partition.group_id.clone(),
            topics: vec![InitializeStateData {
                topic_id: partition.topic_id,
                partitions: vec![PartitionData {
                    partition: partition.partition,
                    state_epoch,
                    start_offset,
                    ..PartitionData::default()
                }],
                ..InitializeStateData::default()
            }],
            ..InitializeShareGroupStateRequest::default()
        };
        ask(node, coordinator, request, then, |response| {
            let mut partitions = response
                .results
                .into_iter()
                .flat_map(|topic| topic.partitions);
            partitions.next().map(|found| (found.error_code, ()))
        });
    })
}

pub(super) fn read(leader_epoch: i32) -> Elsewhere<State> {
    use read_share_group_state_request::{PartitionData, ReadStateData};
    Box::new(move |node, coordinator, partition, then| {
        let request = ReadShareGroupStateRequest {
            group_id: partition.group_id.clone(),
            topics: vec![ReadStateData {
                topic_id: partition.topic_id,
                partitions: vec![PartitionData {
                    partition: partition.partition,
                    leader_epoch,
                    ..PartitionData::default()
                }],
                ..ReadStateData::default()
            }],
            ..ReadShareGroupStateRequest::default()
        };
        ask(node, coordinator, request, then, move |response| {
            let mut partitions = response
                .results
                .into_iter()
                .flat_map(|topic| topic.partitions);
            let found = partitions.next()?;
            Some((found.error_code, state(&found, leader_epoch)))
        });
    })
}

/// What the wire says of a state; the rest of it is the coordinator's own business.
fn state(found: &read_share_group_state_response::PartitionResult, leader_epoch: i32) -> State {
    State {
        snapshot_epoch: 0,
        state_epoch: found.state_epoch,
        leader_epoch,
        start_offset: found.start_offset,
        delivery_complete_count: -1,
        create_timestamp: -1,
        write_timestamp: -1,
        batches: found
            .state_batches
            .iter()
            .map(|batch| StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                delivery_state: batch.delivery_state,
                delivery_count: batch.delivery_count,
            })
            .collect(),
    }
}

pub(super) fn write(write: WriteState) -> Elsewhere<()> {
    use write_share_group_state_request::{PartitionData, StateBatch, WriteStateData};
    Box::new(move |node, coordinator, partition, then| {
        let batches = write.batches.iter().map(|batch| StateBatch {
            first_offset: batch.first_offset,
            last_offset: batch.last_offset,
            delivery_state: batch.delivery_state,
            delivery_count: batch.delivery_count,
            ..StateBatch::default()
        });
        let request = WriteShareGroupStateRequest {
            group_id: partition.group_id.clone(),
            topics: vec![WriteStateData {
                topic_id: partition.topic_id,
                partitions: vec![PartitionData {
                    partition: partition.partition,
                    state_epoch: write.state_epoch,
                    leader_epoch: write.leader_epoch,
                    start_offset: write.start_offset,
                    delivery_complete_count: write.delivery_complete_count,
                    state_batches: batches.collect(),
                    ..PartitionData::default()
                }],
                ..WriteStateData::default()
            }],
            ..WriteShareGroupStateRequest::default()
        };
        ask(node, coordinator, request, then, |response| {
            let mut partitions = response
                .results
                .into_iter()
                .flat_map(|topic| topic.partitions);
            partitions.next().map(|found| (found.error_code, ()))
        });
    })
}

pub(super) fn delete() -> Elsewhere<()> {
    use delete_share_group_state_request::{DeleteStateData, PartitionData};
    Box::new(move |node, coordinator, partition, then| {
        let request = DeleteShareGroupStateRequest {
            group_id: partition.group_id.clone(),
            topics: vec![DeleteStateData {
                topic_id: partition.topic_id,
                partitions: vec![PartitionData {
                    partition: partition.partition,
                    ..PartitionData::default()
                }],
                ..DeleteStateData::default()
            }],
            ..DeleteShareGroupStateRequest::default()
        };
        ask(node, coordinator, request, then, |response| {
            let mut partitions = response
                .results
                .into_iter()
                .flat_map(|topic| topic.partitions);
            partitions.next().map(|found| (found.error_code, ()))
        });
    })
}

pub(super) fn read_summary() -> Elsewhere<Summary> {
    use read_share_group_state_summary_request::{PartitionData, ReadStateSummaryData};
    Box::new(move |node, coordinator, partition, then| {
        let request = ReadShareGroupStateSummaryRequest {
            group_id: partition.group_id.clone(),
            topics: vec![ReadStateSummaryData {
                topic_id: partition.topic_id,
                partitions: vec![PartitionData {
                    partition: partition.partition,
                    leader_epoch: -1,
                    ..PartitionData::default()
                }],
                ..ReadStateSummaryData::default()
            }],
            ..ReadShareGroupStateSummaryRequest::default()
        };
        ask(node, coordinator, request, then, |response| {
            let mut partitions = response
                .results
                .into_iter()
                .flat_map(|topic| topic.partitions);
            let found = partitions.next()?;
            let summary = Summary {
                state_epoch: found.state_epoch,
                leader_epoch: found.leader_epoch,
                start_offset: found.start_offset,
                delivery_complete_count: found.delivery_complete_count,
            };
            Some((found.error_code, summary))
        });
    })
}
