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
    read_share_group_state_summary_request, read_share_group_state_summary_response,
    write_share_group_state_request,
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

/// Asks about one share partition: the five requests wrap it alike, and so do their responses. The
/// types have no other thing in common than the names of their fields.
macro_rules! ask_about_one {
    (
        $request:ident, $topic:ident, $node:ident, $coordinator:ident, $asked:ident, $then:ident,
        { $($field:ident: $value:expr),* $(,)? }, $answer:expr
    ) => {{
        let partition = PartitionData {
            partition: $asked.partition,
            $($field: $value,)*
            ..PartitionData::default()
        };
        let request = $request {
            group_id: $asked.group_id.clone(),
            topics: vec![$topic {
                topic_id: $asked.topic_id,
                partitions: vec![partition],
                ..$topic::default()
            }],
            ..$request::default()
        };
        ask($node, $coordinator, request, $then, move |response| {
            let topics = response.results.into_iter();
            let found = topics.flat_map(|topic| topic.partitions).next()?;
            let answer = $answer(&found);
            Some((found.error_code, answer))
        });
    }};
}

pub(super) fn initialize(state_epoch: i32, start_offset: i64) -> Elsewhere<()> {
    use initialize_share_group_state_request::{InitializeStateData, PartitionData};
    Box::new(move |node, coordinator, partition, then| {
        ask_about_one!(
            InitializeShareGroupStateRequest, InitializeStateData, node, coordinator, partition, then,
            { state_epoch: state_epoch, start_offset: start_offset }, |_: &_| ()
        );
    })
}

pub(super) fn read(leader_epoch: i32) -> Elsewhere<State> {
    use read_share_group_state_request::{PartitionData, ReadStateData};
    Box::new(move |node, coordinator, partition, then| {
        ask_about_one!(
            ReadShareGroupStateRequest, ReadStateData, node, coordinator, partition, then,
            { leader_epoch: leader_epoch }, |found: &_| state(found, leader_epoch)
        );
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
        ask_about_one!(
            WriteShareGroupStateRequest, WriteStateData, node, coordinator, partition, then,
            {
                state_epoch: write.state_epoch,
                leader_epoch: write.leader_epoch,
                start_offset: write.start_offset,
                delivery_complete_count: write.delivery_complete_count,
                state_batches: batches.collect(),
            },
            |_: &_| ()
        );
    })
}

pub(super) fn delete() -> Elsewhere<()> {
    use delete_share_group_state_request::{DeleteStateData, PartitionData};
    Box::new(move |node, coordinator, partition, then| {
        ask_about_one!(
            DeleteShareGroupStateRequest,
            DeleteStateData,
            node,
            coordinator,
            partition,
            then,
            {},
            |_: &_| ()
        );
    })
}

pub(super) fn read_summary() -> Elsewhere<Summary> {
    use read_share_group_state_summary_request::{PartitionData, ReadStateSummaryData};
    Box::new(move |node, coordinator, partition, then| {
        ask_about_one!(
            ReadShareGroupStateSummaryRequest, ReadStateSummaryData, node, coordinator, partition, then,
            { leader_epoch: -1 }, summary
        );
    })
}

fn summary(found: &read_share_group_state_summary_response::PartitionResult) -> Summary {
    Summary {
        state_epoch: found.state_epoch,
        leader_epoch: found.leader_epoch,
        start_offset: found.start_offset,
        delivery_complete_count: found.delivery_complete_count,
    }
}
