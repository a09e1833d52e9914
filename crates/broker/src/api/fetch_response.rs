//! The answer to a fetch, before it becomes a message and regions of files.

use ottla_log::FileRegion;
use ottla_protocol::frame::response::{ResponseFrame, encode_fetch_response};
use ottla_protocol::messages::FetchResponse;
use ottla_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use ottla_protocol::{EncodeError, ErrorCode};

use crate::fetch_session::TopicKey;
use crate::request::RequestHead;

/// The answer for one partition.
#[derive(Debug)]
pub(super) struct PartitionAnswer {
    pub(super) index: i32,
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
    pub(super) diverging: Option<(i32, i64)>,
    pub(super) current_leader: Option<(i32, i32)>,
    pub(super) preferred_read_replica: Option<i32>,
    pub(super) aborted: Option<Vec<(i64, i64)>>,
    pub(super) regions: Vec<FileRegion>,
}

impl PartitionAnswer {
    pub(super) fn refused(index: i32, error: ErrorCode) -> PartitionAnswer {
        PartitionAnswer {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            current_leader: None,
            preferred_read_replica: None,
            aborted: None,
            regions: Vec::new(),
        }
    }

    /// Refused before any log was asked: that answer has an empty list of aborted transactions, not none.
    pub(super) fn refused_unread(index: i32, error: ErrorCode) -> PartitionAnswer {
        PartitionAnswer {
            aborted: Some(Vec::new()),
            ..PartitionAnswer::refused(index, error)
        }
    }

    pub(super) fn records_bytes(&self) -> u64 {
        self.regions.iter().map(|region| region.length).sum()
    }

    /// The message's part, without the regions.
    fn into_message(self, version: i16) -> (PartitionData, Vec<FileRegion>) {
        let mut data = PartitionData {
            partition_index: self.index,
            error_code: self.error.0,
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset,
            log_start_offset: self.log_start_offset,
            aborted_transactions: self.aborted.map(|aborted| {
                aborted
                    .into_iter()
                    .map(|(producer_id, first_offset)| AbortedTransaction {
                        producer_id,
                        first_offset,
                        ..AbortedTransaction::default()
                    })
                    .collect()
            }),
            ..PartitionData::default()
        };
        if version >= 11
            && let Some(replica) = self.preferred_read_replica
        {
            data.preferred_read_replica = replica;
        }
        if version >= 12
            && let Some((epoch, end_offset)) = self.diverging
        {
            data.diverging_epoch = EpochEndOffset {
                epoch,
                end_offset,
                ..EpochEndOffset::default()
            };
        }
        if version >= 16
            && let Some((leader_id, leader_epoch)) = self.current_leader
        {
            data.current_leader = LeaderIdAndEpoch {
                leader_id,
                leader_epoch,
                ..LeaderIdAndEpoch::default()
            };
        }
        (data, self.regions)
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct FetchAnswer {
    pub(super) error: ErrorCode,
    pub(super) session_id: i32,
    /// Consecutive partitions of one topic stand together.
    pub(super) partitions: Vec<(TopicKey, PartitionAnswer)>,
    pub(super) leaders: Vec<NodeEndpoint>,
}

impl FetchAnswer {
    pub(super) fn refused(error: ErrorCode) -> FetchAnswer {
        FetchAnswer {
            error,
            session_id: 0,
            partitions: Vec::new(),
            leaders: Vec::new(),
        }
    }

    pub(super) fn encode(
        self,
        head: &RequestHead,
    ) -> Result<ResponseFrame<FileRegion>, EncodeError> {
        let version = head.api_version;
        let mut response = FetchResponse {
            error_code: self.error.0,
            session_id: self.session_id,
            ..FetchResponse::default()
        };
        if version >= 16 {
            response.node_endpoints = self.leaders;
        }
        let mut all_regions = Vec::with_capacity(self.partitions.len());
        let mut last_topic = None;
        for (topic, answer) in self.partitions {
            if last_topic.as_ref() != Some(&topic) {
                response.responses.push(topic_message(&topic));
                last_topic = Some(topic);
            }
            let (data, regions) = answer.into_message(version);
            all_regions.push(regions);
            if let Some(topic) = response.responses.last_mut() {
                topic.partitions.push(data);
            }
        }
        encode_fetch_response(&response, all_regions, version, head.correlation_id)
    }
}

fn topic_message(topic: &TopicKey) -> FetchableTopicResponse {
    match topic {
        TopicKey::Name(name) => FetchableTopicResponse {
            topic: name.clone(),
            ..FetchableTopicResponse::default()
        },
        TopicKey::Id(id) => FetchableTopicResponse {
            topic_id: *id,
            ..FetchableTopicResponse::default()
        },
    }
}
