//! The answer to a share fetch, before it becomes a message and regions of files.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_log::FileRegion;
use ottla_protocol::frame::response::encode_share_fetch_response;
use ottla_protocol::messages::ShareFetchResponse;
use ottla_protocol::messages::share_fetch_response::{
    AcquiredRecords as AcquiredMessage, LeaderIdAndEpoch, PartitionData,
    ShareFetchableTopicResponse,
};
use ottla_protocol::{ErrorCode, Uuid};

use super::share_acknowledgements::{Acknowledged, endpoints, is_elsewhere, leader_of};
use crate::node::Node;
use crate::replica::share_partition::AcquiredRecords;
use crate::request::RequestContext;

/// What was fetched of one partition.
#[derive(Debug)]
pub(super) struct ShareAnswer {
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) error: ErrorCode,
    pub(super) regions: Vec<FileRegion>,
    pub(super) acquired: Vec<AcquiredRecords>,
}

impl ShareAnswer {
    pub(super) fn refused(topic_id: Uuid, partition: i32, error: ErrorCode) -> ShareAnswer {
        ShareAnswer {
            topic_id,
            partition,
            error,
            regions: Vec::new(),
            acquired: Vec::new(),
        }
    }

    pub(super) fn records_bytes(&self) -> u64 {
        self.regions.iter().map(|region| region.length).sum()
    }
}

/// A partition of the response, with its records.
struct Part {
    data: PartitionData,
    regions: Vec<FileRegion>,
}

/// Answers a share fetch that is wrong as a whole.
pub(super) fn refuse(context: RequestContext, error: ErrorCode) {
    let response = ShareFetchResponse {
        error_code: error.0,
        ..ShareFetchResponse::default()
    };
    context.respond(&response);
}

/// Answers what was fetched, and what became of the acknowledgements that came with the fetch.
pub(super) fn respond(
    node: &Arc<Node>,
    context: RequestContext,
    fetched: Vec<ShareAnswer>,
    acknowledged: Vec<Acknowledged>,
    lock_duration_ms: i64,
) {
    let mut leaders = BTreeSet::new();
    let mut topics: Vec<(Uuid, Vec<Part>)> = Vec::new();
    for answer in fetched {
        context.count_error(answer.error);
        let topic_id = answer.topic_id;
        parts_of(&mut topics, topic_id).push(part(node, answer, &mut leaders));
    }
    for answer in acknowledged {
        context.count_error(answer.error);
        let parts = parts_of(&mut topics, answer.topic_id);
        let known = parts
            .iter()
            .position(|part| part.data.partition_index == answer.partition);
        let place = known.unwrap_or_else(|| {
            parts.push(Part {
                data: PartitionData {
                    partition_index: answer.partition,
                    ..PartitionData::default()
                },
                regions: Vec::new(),
            });
            parts.len() - 1
        });
        if let Some(part) = parts.get_mut(place) {
            part.data.acknowledge_error_code = answer.error.0;
            part.data.acknowledge_error_message = answer.message;
        }
    }
    let mut response = ShareFetchResponse {
        acquisition_lock_timeout_ms: i32::try_from(lock_duration_ms).unwrap_or(i32::MAX),
        node_endpoints: endpoints(node, &context, &leaders),
        ..ShareFetchResponse::default()
    };
    context.count_error(ErrorCode::NONE);
    let mut all_regions = Vec::new();
    for (topic_id, parts) in topics {
        let mut topic = ShareFetchableTopicResponse {
            topic_id,
            ..ShareFetchableTopicResponse::default()
        };
        for part in parts {
            topic.partitions.push(part.data);
            all_regions.push(part.regions);
        }
        response.responses.push(topic);
    }
    let head = &context.head;
    let encoded = encode_share_fetch_response(
        &response,
        all_regions,
        head.api_version,
        head.correlation_id,
    );
    match encoded {
        Ok(frame) => context.respond_frame(frame),
        Err(error) => {
            tracing::error!(%error, "a share fetch response could not be encoded");
            context.close();
        }
    }
}

fn parts_of(topics: &mut Vec<(Uuid, Vec<Part>)>, topic_id: Uuid) -> &mut Vec<Part> {
    let known = topics.iter().position(|(known, _)| *known == topic_id);
    let place = known.unwrap_or_else(|| {
        topics.push((topic_id, Vec::new()));
        topics.len() - 1
    });
    &mut topics[place].1
}

fn part(node: &Node, answer: ShareAnswer, leaders: &mut BTreeSet<i32>) -> Part {
    let mut data = PartitionData {
        partition_index: answer.partition,
        error_code: answer.error.0,
        acquired_records: answer
            .acquired
            .iter()
            .map(|records| AcquiredMessage {
                first_offset: records.first_offset,
                last_offset: records.last_offset,
                delivery_count: records.delivery_count,
                ..AcquiredMessage::default()
            })
            .collect(),
        ..PartitionData::default()
    };
    if is_elsewhere(answer.error)
        && let Some((leader_id, leader_epoch)) = leader_of(node, answer.topic_id, answer.partition)
    {
        leaders.insert(leader_id);
        data.current_leader = LeaderIdAndEpoch {
            leader_id,
            leader_epoch,
            ..LeaderIdAndEpoch::default()
        };
    }
    Part {
        data,
        regions: answer.regions,
    }
}
