//! Membership in a group by the classic protocol: join, sync, heartbeat, leave.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest, SyncGroupResponse, join_group_request, join_group_response,
    leave_group_request, sync_group_request,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::assignor::{Assignor, RebalanceProtocol};
use super::{Asked, Consumer, ConsumerOptions};
use crate::Error;
use crate::core::call::{Call, RawResponse};
use crate::core::cluster::{CoordinatorKind, Destination};

/// What a join may take beyond the rebalance itself.
const JOIN_PATIENCE_MS: i64 = 5_000;

/// What the member waits for.
#[derive(Debug, Default)]
pub(super) enum State {
    /// The user's next poll.
    #[default]
    AwaitingPoll,
    /// The commit of what was read, before partitions are given up.
    AwaitingCommit,
    /// The others.
    AwaitingJoin,
    /// As the leader, metadata newer than this version, to know all topics of all members.
    AwaitingMetadata(u64, Box<JoinGroupResponse>),
    /// The leader's assignment.
    AwaitingSync,
    /// Nothing.
    Stable,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: KafkaString,
    pub(super) instance_id: Option<KafkaString>,
    pub(super) member_id: KafkaString,
    pub(super) generation_id: i32,
    pub(super) protocol: RebalanceProtocol,
    pub(super) assignor: Option<Assignor>,
    /// As the leader: the partition counts that the last assignment was made with.
    pub(super) assigned_counts: Option<BTreeMap<KafkaString, i32>>,
    pub(super) state: State,
    pub(super) rejoin: bool,
    heartbeat_due_ms: i64,
    heartbeat_asked: bool,
    not_before_ms: i64,
    failures: u32,
}

impl Group {
    pub(super) fn new(id: KafkaString, options: &ConsumerOptions) -> Self {
        let cooperative = options
            .assignors
            .iter()
            .all(|assignor| assignor.supports_cooperative());
        Self {
            id,
            instance_id: options.group_instance_id.clone(),
            member_id: KafkaString::new(),
            generation_id: -1,
            protocol: match cooperative {
                true => RebalanceProtocol::Cooperative,
                false => RebalanceProtocol::Eager,
            },
            assignor: None,
            assigned_counts: None,
            state: State::default(),
            rejoin: false,
            heartbeat_due_ms: i64::MAX,
            heartbeat_asked: false,
            not_before_ms: i64::MIN,
            failures: 0,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<i64> {
        let heartbeat = (!self.heartbeat_asked && self.heartbeat_due_ms < i64::MAX)
            .then_some(self.heartbeat_due_ms);
        let rest = (self.failures > 0).then_some(self.not_before_ms);
        heartbeat.into_iter().chain(rest).min()
    }

    fn is_member(&self) -> bool {
        self.generation_id >= 0
    }
}

impl Consumer {
    /// Joins again at the next poll.
    pub(super) fn rejoin(&mut self) {
        if let Some(group) = &mut self.group {
            group.rejoin = true;
        }
    }

    /// The group's generation and this member's id, if it is one.
    #[must_use]
    pub fn membership(&self) -> Option<(i32, &KafkaString)> {
        self.group
            .as_ref()
            .filter(|group| group.is_member())
            .map(|g| (g.generation_id, &g.member_id))
    }

    /// Whether the member has an assignment and no rebalance is known to be due.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.group
            .as_ref()
            .is_none_or(|group| matches!(group.state, State::Stable) && !group.rejoin)
    }

    pub(super) fn advance_group(&mut self, now_ms: i64) {
        if self.subscription.topics().is_none() {
            return;
        }
        self.keep_poll_interval(now_ms);
        self.send_heartbeat(now_ms);
        let metadata_version = self.cluster.metadata().version;
        let polling = self.polled_ms == Some(now_ms);
        let Some(group) = &mut self.group else { return };
        match &group.state {
            State::AwaitingMetadata(version, _) if metadata_version > *version => {
                if let State::AwaitingMetadata(_, response) = std::mem::take(&mut group.state) {
                    self.sync_as_leader(now_ms, &response);
                }
            }
            State::AwaitingPoll | State::Stable
                if group.rejoin
                    && polling
                    && group.not_before_ms <= now_ms
                    && metadata_version > 0 =>
            {
                self.prepare_join(now_ms);
            }
            _ => {}
        }
    }

    /// Leaves the group if the user has not polled for too long.
    fn keep_poll_interval(&mut self, now_ms: i64) {
        let Some(polled_ms) = self.polled_ms else {
            return;
        };
        let late = now_ms - polled_ms > self.options.max_poll_interval_ms;
        if late && self.group.as_ref().is_some_and(Group::is_member) {
            self.leave_group(now_ms);
            self.lose_partitions();
            self.rejoin();
        }
    }

    /// Commits, if that is to be done, before partitions are given up.
    fn prepare_join(&mut self, now_ms: i64) {
        if self.options.enable_auto_commit
            && self.group.as_ref().is_some_and(Group::is_member)
            && self.commit_positions(now_ms).is_some()
        {
            if let Some(group) = &mut self.group {
                group.state = State::AwaitingCommit;
            }
            return;
        }
        self.send_join(now_ms);
    }

    /// A commit is done: if a join waited for it, it goes on.
    pub(super) fn commit_settled(&mut self, now_ms: i64) {
        let awaited = self
            .group
            .as_ref()
            .is_some_and(|group| matches!(group.state, State::AwaitingCommit));
        if awaited && !self.is_closing {
            self.send_join(now_ms);
        }
    }

    fn send_join(&mut self, now_ms: i64) {
        self.give_up_before_join();
        let Some(topics) = self.subscription.topics().cloned() else {
            return;
        };
        let owned = self.assignment();
        let Some(group) = &mut self.group else { return };
        let generation_id = group.generation_id;
        let protocols = self.options.assignors.iter().map(|assignor| {
            join_group_request::JoinGroupRequestProtocol {
                name: KafkaString::from_static(assignor.name()),
                metadata: super::rebalance::encode_subscription(
                    &topics,
                    &owned,
                    generation_id,
                    assignor.user_data(&owned, generation_id),
                ),
                ..join_group_request::JoinGroupRequestProtocol::default()
            }
        });
        let milliseconds = |value: i64| i32::try_from(value).unwrap_or(i32::MAX);
        let request = JoinGroupRequest {
            group_id: group.id.clone(),
            session_timeout_ms: milliseconds(self.options.session_timeout_ms),
            rebalance_timeout_ms: milliseconds(self.options.max_poll_interval_ms),
            member_id: group.member_id.clone(),
            group_instance_id: group.instance_id.clone(),
            protocol_type: KafkaString::from_static("consumer"),
            protocols: protocols.collect(),
            ..JoinGroupRequest::default()
        };
        group.rejoin = false;
        group.state = State::AwaitingJoin;
        group.heartbeat_due_ms = i64::MAX;
        let timeout_ms = self.options.max_poll_interval_ms + JOIN_PATIENCE_MS;
        self.ask_coordinator(now_ms, Box::new(request), timeout_ms, Asked::Join);
    }

    fn ask_coordinator(&mut self, now_ms: i64, call: Box<dyn Call>, timeout_ms: i64, asked: Asked) {
        let Some(group) = &self.group else { return };
        let destination = Destination::Coordinator(CoordinatorKind::Group, group.id.clone());
        let id = self
            .cluster
            .send_once(now_ms, destination, call, now_ms + timeout_ms);
        self.asked.insert(id, asked);
    }

    pub(super) fn joined(&mut self, now_ms: i64, result: Result<RawResponse, Error>) {
        let response = match result.and_then(RawResponse::decode::<JoinGroupResponse>) {
            Ok(response) => response,
            Err(error) => return self.join_failed(now_ms, error),
        };
        let Some(group) = &mut self.group else { return };
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::MEMBER_ID_REQUIRED => {
                group.member_id = response.member_id.detached();
                return self.send_join(now_ms);
            }
            code => return self.join_failed(now_ms, Error::Broker(code)),
        }
        group.failures = 0;
        group.member_id = response.member_id.detached();
        group.generation_id = response.generation_id;
        group.assignor = response
            .protocol_name
            .as_deref()
            .and_then(Assignor::from_name);
        group.assigned_counts = None;
        group.heartbeat_due_ms = now_ms + self.options.heartbeat_interval_ms;
        if response.leader != response.member_id {
            self.send_sync(now_ms, Vec::new());
        } else if self.knows_topics_of(now_ms, &response) {
            self.sync_as_leader(now_ms, &response);
        } else if let Some(group) = &mut self.group {
            let version = self.cluster.metadata().version;
            group.state = State::AwaitingMetadata(version, Box::new(response));
        }
    }

    fn sync_as_leader(&mut self, now_ms: i64, response: &JoinGroupResponse) {
        let assignments = self.divide(response);
        let assignments = assignments.into_iter().map(|(member_id, assignment)| {
            let unset = sync_group_request::SyncGroupRequestAssignment::default();
            sync_group_request::SyncGroupRequestAssignment {
                member_id,
                assignment,
                ..unset
            }
        });
        self.send_sync(now_ms, assignments.collect());
    }

    fn send_sync(
        &mut self,
        now_ms: i64,
        assignments: Vec<sync_group_request::SyncGroupRequestAssignment>,
    ) {
        let Some(group) = &mut self.group else { return };
        let request = SyncGroupRequest {
            group_id: group.id.clone(),
            generation_id: group.generation_id,
            member_id: group.member_id.clone(),
            group_instance_id: group.instance_id.clone(),
            protocol_type: Some(KafkaString::from_static("consumer")),
            protocol_name: group.assignor.map(|a| KafkaString::from_static(a.name())),
            assignments,
            ..SyncGroupRequest::default()
        };
        group.state = State::AwaitingSync;
        let timeout_ms = self.options.max_poll_interval_ms + JOIN_PATIENCE_MS;
        self.ask_coordinator(now_ms, Box::new(request), timeout_ms, Asked::Sync);
    }

    pub(super) fn synced(&mut self, now_ms: i64, result: Result<RawResponse, Error>) {
        let answer = result
            .and_then(RawResponse::decode::<SyncGroupResponse>)
            .and_then(|r| {
                Error::check(r.error_code, None)?;
                super::rebalance::decode_assignment(r.assignment)
            });
        match answer {
            Ok(partitions) => {
                if let Some(group) = &mut self.group {
                    group.state = State::Stable;
                    group.failures = 0;
                }
                self.take_assignment(&partitions);
            }
            Err(error) => self.join_failed(now_ms, error),
        }
    }

    fn join_failed(&mut self, now_ms: i64, error: Error) {
        self.coordinator_failed(&error);
        let code = error.code();
        if let Some(group) = &mut self.group {
            group.state = State::AwaitingPoll;
            group.rejoin = true;
            group.failures += 1;
            let backoff = self.options.cluster.retry_backoff;
            group.not_before_ms = now_ms + backoff.after(group.failures, self.cluster.random());
        }
        let known = [
            ErrorCode::UNKNOWN_MEMBER_ID,
            ErrorCode::ILLEGAL_GENERATION,
            ErrorCode::REBALANCE_IN_PROGRESS,
        ];
        match code {
            Some(code) if known.contains(&code) => self.membership_failed(now_ms, code),
            _ if error.is_retriable() => {}
            _ => {
                self.rejoin_never();
                self.fail(error);
            }
        }
    }

    fn rejoin_never(&mut self) {
        if let Some(group) = &mut self.group {
            group.rejoin = false;
            group.failures = 0;
        }
    }

    /// What the coordinator says of the membership.
    pub(super) fn membership_failed(&mut self, now_ms: i64, code: ErrorCode) {
        let Some(group) = &mut self.group else { return };
        match code {
            ErrorCode::REBALANCE_IN_PROGRESS => group.rejoin = true,
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => {
                if code == ErrorCode::UNKNOWN_MEMBER_ID {
                    group.member_id = KafkaString::new();
                }
                group.generation_id = -1;
                group.heartbeat_due_ms = i64::MAX;
                group.rejoin = true;
                if !matches!(group.state, State::AwaitingJoin) {
                    group.state = State::AwaitingPoll;
                }
                self.lose_partitions();
            }
            ErrorCode::FENCED_INSTANCE_ID => {
                group.generation_id = -1;
                group.heartbeat_due_ms = i64::MAX;
                self.rejoin_never();
                self.lose_partitions();
                self.fail(Error::Broker(code));
            }
            _ => {}
        }
        let _ = now_ms;
    }

    /// Looks for the coordinator again if the error says that this one isn't it, or is gone.
    pub(super) fn coordinator_failed(&mut self, error: &Error) {
        let gone = matches!(
            error.code(),
            Some(ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE)
        ) || matches!(error, Error::Disconnected(_) | Error::TimedOut { .. });
        if let (true, Some(group)) = (gone, &self.group) {
            self.cluster
                .forget_coordinator(CoordinatorKind::Group, &group.id);
        }
    }

    fn send_heartbeat(&mut self, now_ms: i64) {
        let Some(group) = &mut self.group else { return };
        if group.heartbeat_asked || now_ms < group.heartbeat_due_ms || !group.is_member() {
            return;
        }
        group.heartbeat_asked = true;
        group.heartbeat_due_ms = now_ms + self.options.heartbeat_interval_ms;
        let request = HeartbeatRequest {
            group_id: group.id.clone(),
            generation_id: group.generation_id,
            member_id: group.member_id.clone(),
            group_instance_id: group.instance_id.clone(),
            ..HeartbeatRequest::default()
        };
        let timeout_ms = self.options.session_timeout_ms;
        self.ask_coordinator(now_ms, Box::new(request), timeout_ms, Asked::Heartbeat);
    }

    pub(super) fn heartbeat_answered(&mut self, now_ms: i64, result: Result<RawResponse, Error>) {
        if let Some(group) = &mut self.group {
            group.heartbeat_asked = false;
        }
        let answer = result
            .and_then(RawResponse::decode::<HeartbeatResponse>)
            .and_then(|response| Error::check(response.error_code, None));
        let Err(error) = answer else { return };
        self.coordinator_failed(&error);
        match error.code() {
            Some(code) => self.membership_failed(now_ms, code),
            None => {
                if let Some(group) = &mut self.group {
                    let soon_ms = now_ms + self.options.cluster.retry_backoff.initial_ms;
                    group.heartbeat_due_ms = group.heartbeat_due_ms.min(soon_ms);
                }
            }
        }
    }

    /// Tells the group that this member goes; a static one is expected back.
    pub(super) fn leave_group(&mut self, now_ms: i64) {
        let Some(group) = &mut self.group else { return };
        if group.member_id.is_empty() || group.instance_id.is_some() {
            return;
        }
        let member = leave_group_request::MemberIdentity {
            member_id: std::mem::take(&mut group.member_id),
            ..leave_group_request::MemberIdentity::default()
        };
        group.generation_id = -1;
        group.heartbeat_due_ms = i64::MAX;
        group.state = State::AwaitingPoll;
        let request = LeaveGroupRequest {
            group_id: group.id.clone(),
            members: vec![member],
            ..LeaveGroupRequest::default()
        };
        let timeout_ms = self.options.cluster.request_timeout_ms;
        self.ask_coordinator(now_ms, Box::new(request), timeout_ms, Asked::Leave);
    }
}

/// What members told when they joined, by their id.
pub(super) fn subscriptions(
    response: &JoinGroupResponse,
) -> impl Iterator<Item = (&join_group_response::JoinGroupResponseMember, Bytes)> {
    response
        .members
        .iter()
        .map(|member| (member, member.metadata.clone()))
}
