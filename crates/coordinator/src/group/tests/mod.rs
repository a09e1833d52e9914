//! Conversations with a coordinator: requests and time in, responses and records out.

mod classic_errors;
mod classic_rebalance;
mod consumer_groups;
mod consumer_world;
mod expiration;
mod golden;
mod listing;
mod migration;
mod migration_golden;
mod offsets;
mod other_groups;
mod random_consumers;
mod random_conversation;
mod random_streams;
mod share_golden;
mod share_groups;
mod static_members;
mod streams_groups;
mod streams_world;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::messages::leave_group_request::MemberIdentity;
use ottla_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use ottla_protocol::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use ottla_protocol::{ErrorCode, KafkaString, Message, Writer};

use super::*;
use crate::record::CoordinatorRecord;

pub(super) const GROUP: &str = "group";
pub(super) const TOPIC: &str = "topic";
const SESSION_TIMEOUT_MS: i32 = 10_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;

/// A coordinator, the log it writes, and the responses that it has given.
pub(super) struct World {
    pub(super) coordinator: GroupCoordinator,
    pub(super) now: Now,
    pub(super) log: Vec<CoordinatorRecord>,
    joined: BTreeMap<RequestToken, JoinGroupResponse>,
    synced: BTreeMap<RequestToken, SyncGroupResponse>,
    last_token: u64,
    config: Arc<GroupCoordinatorConfig>,
}

/// How a client joins.
#[derive(Clone)]
pub(super) struct Joining {
    pub(super) version: i16,
    pub(super) member_id: KafkaString,
    pub(super) instance_id: Option<KafkaString>,
    pub(super) protocol_type: KafkaString,
    pub(super) protocols: Vec<(&'static str, Bytes)>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
}

impl Default for Joining {
    fn default() -> Self {
        Self {
            version: 9,
            member_id: KafkaString::new(),
            instance_id: None,
            protocol_type: "consumer".into(),
            protocols: vec![("range", subscription(&[TOPIC]))],
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
        }
    }
}

impl Joining {
    pub(super) fn as_member(member_id: &str) -> Self {
        Self {
            member_id: member_id.into(),
            ..Self::default()
        }
    }

    pub(super) fn as_instance(instance_id: &str) -> Self {
        Self {
            instance_id: Some(instance_id.into()),
            ..Self::default()
        }
    }
}

/// A consumer's metadata: what it subscribes to.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let subscription = ConsumerProtocolSubscription {
        topics: topics
            .iter()
            .map(|topic| KafkaString::from(*topic))
            .collect(),
        ..ConsumerProtocolSubscription::default()
    };
    let mut writer = Writer::new();
    writer.write_i16(3);
    subscription.encode(&mut writer, 3).unwrap();
    writer.into_bytes()
}

/// An assignment that tells whose it is and of which generation.
pub(super) fn assignment(member_id: &str, generation_id: i32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_slice(member_id.as_bytes());
    bytes.put_i32(generation_id);
    bytes.freeze()
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(GroupCoordinatorConfig {
            initial_rebalance_delay_ms: 0,
            ..GroupCoordinatorConfig::default()
        })
    }

    pub(super) fn with(config: GroupCoordinatorConfig) -> Self {
        let config = Arc::new(config);
        let now = Now {
            wall_ms: 1_700_000_000_000,
            monotonic_ms: 0,
        };
        let mut coordinator = GroupCoordinator::new(Arc::clone(&config));
        coordinator.loaded(now);
        Self {
            coordinator,
            now,
            log: Vec::new(),
            joined: BTreeMap::new(),
            synced: BTreeMap::new(),
            last_token: 0,
            config,
        }
    }

    /// A coordinator that has read the same log.
    pub(super) fn replayed(&self) -> GroupCoordinator {
        let mut coordinator = GroupCoordinator::new(Arc::clone(&self.config));
        for (offset, record) in self.log.iter().enumerate() {
            coordinator.replay(self.now, i64::try_from(offset).unwrap(), None, record);
        }
        coordinator.loaded(self.now);
        coordinator
    }

    /// Another coordinator takes over; requests that wait are answered by the first.
    pub(super) fn fail_over(&mut self) {
        let next = self.replayed();
        let earlier = std::mem::replace(&mut self.coordinator, next);
        let released = earlier.unload();
        self.release(released);
    }

    /// Puts the records into the log and back into the state, as the shell does.
    pub(super) fn apply<R>(&mut self, decision: Decision<R>) -> R {
        for record in decision.records {
            let (key, value) = record.encode().unwrap();
            let record = CoordinatorRecord::decode(Some(key), value).unwrap();
            let offset = i64::try_from(self.log.len()).unwrap();
            self.coordinator.replay(self.now, offset, None, &record);
            self.log.push(record);
        }
        self.release(decision.released);
        decision.response
    }

    fn release(&mut self, released: Vec<Released>) {
        for released in released {
            match released {
                Released::Join(token, response) => {
                    assert!(
                        self.joined.insert(token, response).is_none(),
                        "answered twice"
                    );
                }
                Released::Sync(token, response) => {
                    assert!(
                        self.synced.insert(token, response).is_none(),
                        "answered twice"
                    );
                }
            }
        }
    }

    /// Lets time pass, doing all that becomes due at its time.
    pub(super) fn advance(&mut self, ms: i64) {
        let until = self.now.monotonic_ms + ms;
        loop {
            let next = self.coordinator.next_deadline().unwrap_or(until).min(until);
            let passed = (next - self.now.monotonic_ms).max(0);
            self.now.monotonic_ms += passed;
            self.now.wall_ms += passed;
            match self.coordinator.handle_timeout(self.now) {
                Some(decision) => self.apply(decision),
                None if next >= until => return,
                None => {}
            }
        }
    }

    pub(super) fn token(&mut self) -> RequestToken {
        self.last_token += 1;
        RequestToken(self.last_token)
    }

    pub(super) fn join(&mut self, joining: Joining) -> RequestToken {
        let token = self.token();
        let request = JoinGroupRequest {
            group_id: GROUP.into(),
            session_timeout_ms: joining.session_timeout_ms,
            rebalance_timeout_ms: joining.rebalance_timeout_ms,
            member_id: joining.member_id,
            group_instance_id: joining.instance_id,
            protocol_type: joining.protocol_type,
            protocols: joining
                .protocols
                .into_iter()
                .map(|(name, metadata)| JoinGroupRequestProtocol {
                    name: name.into(),
                    metadata,
                    ..JoinGroupRequestProtocol::default()
                })
                .collect(),
            ..JoinGroupRequest::default()
        };
        self.join_with(joining.version, token, &request)
    }

    pub(super) fn join_with(
        &mut self,
        api_version: i16,
        token: RequestToken,
        request: &JoinGroupRequest,
    ) -> RequestToken {
        let client = client();
        let mut random = [0; 16];
        random[8..].copy_from_slice(&token.0.to_be_bytes());
        let context = RequestContext {
            token,
            api_version,
            client: &client,
            random,
        };
        let decision = self.coordinator.join_group(self.now, &context, request);
        self.apply(decision);
        token
    }

    /// The response to a join request that waits no more.
    pub(super) fn joined(&self, token: RequestToken) -> &JoinGroupResponse {
        self.joined.get(&token).expect("the join request waits")
    }

    pub(super) fn join_waits(&self, token: RequestToken) -> bool {
        !self.joined.contains_key(&token)
    }

    pub(super) fn join_error(&self, token: RequestToken) -> ErrorCode {
        ErrorCode(self.joined(token).error_code)
    }

    /// Gets a member id, as a dynamic member must.
    pub(super) fn new_member_id(&mut self) -> KafkaString {
        let token = self.join(Joining::default());
        assert_eq!(self.join_error(token), ErrorCode::MEMBER_ID_REQUIRED);
        self.joined(token).member_id.clone()
    }

    /// A new member joins with the id that it is given.
    pub(super) fn join_new(&mut self) -> (KafkaString, RequestToken) {
        let member_id = self.new_member_id();
        let token = self.join(Joining::as_member(&member_id));
        (member_id, token)
    }

    pub(super) fn sync(&mut self, request: &SyncGroupRequest) -> RequestToken {
        let token = self.token();
        let client = client();
        let context = RequestContext {
            token,
            api_version: 5,
            client: &client,
            random: [0; 16],
        };
        let decision = self.coordinator.sync_group(self.now, &context, request);
        self.apply(decision);
        token
    }

    pub(super) fn synced(&self, token: RequestToken) -> &SyncGroupResponse {
        self.synced.get(&token).expect("the sync request waits")
    }

    pub(super) fn sync_waits(&self, token: RequestToken) -> bool {
        !self.synced.contains_key(&token)
    }

    pub(super) fn sync_error(&self, token: RequestToken) -> ErrorCode {
        ErrorCode(self.synced(token).error_code)
    }

    /// A follower asks for its assignment, or the leader hands in those of all.
    pub(super) fn sync_as(&mut self, response: &JoinGroupResponse) -> RequestToken {
        let assignments = response
            .members
            .iter()
            .map(|member| SyncGroupRequestAssignment {
                assignment: assignment(&member.member_id, response.generation_id),
                member_id: member.member_id.clone(),
                ..SyncGroupRequestAssignment::default()
            });
        let request = SyncGroupRequest {
            assignments: assignments.collect(),
            ..sync_request(&response.member_id, response.generation_id)
        };
        self.sync(&request)
    }

    pub(super) fn heartbeat(&mut self, member_id: &str, generation_id: i32) -> ErrorCode {
        self.heartbeat_as(member_id, None, generation_id)
    }

    pub(super) fn heartbeat_as(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation_id: i32,
    ) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id,
            member_id: member_id.into(),
            group_instance_id: instance_id.map(KafkaString::from),
            ..HeartbeatRequest::default()
        };
        let decision = self.coordinator.heartbeat(self.now, &request);
        ErrorCode(self.apply(decision).error_code)
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
        let request = LeaveGroupRequest {
            group_id: GROUP.into(),
            members: members
                .iter()
                .map(|(member_id, instance_id)| MemberIdentity {
                    member_id: KafkaString::from(*member_id),
                    group_instance_id: instance_id.map(KafkaString::from),
                    ..MemberIdentity::default()
                })
                .collect(),
            ..LeaveGroupRequest::default()
        };
        let decision = self.coordinator.leave_group(self.now, &request);
        self.apply(decision)
    }

    pub(super) fn leave_error(&mut self, member_id: &str, instance_id: Option<&str>) -> ErrorCode {
        let response = self.leave(&[(member_id, instance_id)]);
        ErrorCode(response.members[0].error_code)
    }

    /// Commits one offset of the topic's first partition.
    pub(super) fn commit(&mut self, member_id: &str, generation_id: i32, offset: i64) -> ErrorCode {
        let request = commit_request(GROUP, member_id, generation_id, offset);
        self.commit_with(8, &request)
    }

    pub(super) fn commit_with(&mut self, version: i16, request: &OffsetCommitRequest) -> ErrorCode {
        let decision = self.coordinator.commit_offsets(self.now, version, request);
        let response = self.apply(decision);
        ErrorCode(response.topics[0].partitions[0].error_code)
    }

    /// The committed offset of the topic's first partition; -1 if there is none.
    pub(super) fn committed(&self) -> i64 {
        let response = self.coordinator.fetch_offsets(&fetch_request(GROUP), false);
        response.topics[0].partitions[0].committed_offset
    }

    pub(super) fn state(&self) -> String {
        let described = self.coordinator.describe_groups(6, &[GROUP.into()]);
        String::from(described[0].group_state.clone())
    }

    /// A group of `size` members that all have their assignments; the leader comes first.
    pub(super) fn stable_group(&mut self, size: usize) -> Vec<KafkaString> {
        let joining: Vec<_> = (0..size).map(|_| self.join_new()).collect();
        self.advance(0);
        self.rejoin_until_stable(
            &joining
                .into_iter()
                .map(|(member_id, _)| member_id)
                .collect::<Vec<_>>(),
        )
    }

    /// Members that don't wait join again until all are in, then all get their assignments.
    fn rejoin_until_stable(&mut self, members: &[KafkaString]) -> Vec<KafkaString> {
        let tokens: Vec<RequestToken> = members
            .iter()
            .map(|member_id| self.join(Joining::as_member(member_id)))
            .collect();
        let responses: Vec<JoinGroupResponse> = tokens
            .iter()
            .map(|token| self.joined(*token).clone())
            .collect();
        let leader = responses[0].leader.clone();
        let mut ordered = vec![leader.clone()];
        for response in responses {
            if response.member_id != leader {
                ordered.push(response.member_id.clone());
            }
            self.sync_as(&response);
        }
        assert_eq!(self.state(), "Stable");
        ordered
    }
}

pub(super) fn client() -> Client {
    Client {
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
    }
}

pub(super) fn sync_request(member_id: &str, generation_id: i32) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id,
        member_id: member_id.into(),
        ..SyncGroupRequest::default()
    }
}

pub(super) fn commit_request(
    group_id: &str,
    member_id: &str,
    generation_id: i32,
    offset: i64,
) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group_id.into(),
        generation_id_or_member_epoch: generation_id,
        member_id: member_id.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                committed_metadata: Some("note".into()),
                ..OffsetCommitRequestPartition::default()
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    }
}

pub(super) fn fetch_request(group_id: &str) -> OffsetFetchRequestGroup {
    OffsetFetchRequestGroup {
        group_id: group_id.into(),
        topics: Some(vec![OffsetFetchRequestTopics {
            name: TOPIC.into(),
            partition_indexes: vec![0],
            ..OffsetFetchRequestTopics::default()
        }]),
        ..OffsetFetchRequestGroup::default()
    }
}
