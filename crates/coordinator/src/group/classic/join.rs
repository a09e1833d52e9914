//! JoinGroup: a client becomes a member, or joins the next generation.

use bytes::Bytes;
use ottla_protocol::messages::JoinGroupRequest;
use ottla_protocol::{ErrorCode, KafkaString};

use super::ClassicDecision;
use super::group::Timeouts;
use super::member::{Member, Protocol};
use super::rebalance::{join_error, sync_error};
use super::state::ClassicGroupState;
use crate::group::decision::{RequestContext, RequestToken};

/// The first version in which a dynamic member asks for its id, and joins with it.
const VERSION_MEMBER_ID_REQUIRED: i16 = 4;
/// The first version in which a leader may be told to skip the assignment.
const VERSION_SKIP_ASSIGNMENT: i16 = 9;

/// Why a client can't join, and the member id that it is told.
type Refusal = (KafkaString, ErrorCode);

impl ClassicDecision<'_> {
    /// A client asks to join; its response is released now or when the rebalance ends.
    pub(in crate::group) fn join(
        &mut self,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
    ) {
        let decided = if request.member_id.is_empty() {
            self.join_new_member(context, request)
        } else {
            self.join_existing_member(context, request)
        };
        if let Err((member_id, error)) = decided {
            self.effects
                .join(context.token, join_error(member_id, error));
        }
    }

    /// Whether there is room for the member.
    pub(in crate::group) fn accepts(&self, member_id: &str) -> bool {
        let size_max = self.config.group_size_max;
        match self.group.state() {
            ClassicGroupState::Empty | ClassicGroupState::Dead => true,
            ClassicGroupState::PreparingRebalance => {
                // While it rebalances, a group of too many shrinks to those who join first.
                let has_joined = self
                    .group
                    .members
                    .get(member_id)
                    .is_some_and(|member| member.awaiting_join.is_some());
                has_joined || self.group.awaiting_join_count() < size_max
            }
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => {
                self.group.has_member(member_id) || self.group.members.len() < size_max
            }
        }
    }

    /// There is no room for the member.
    pub(in crate::group) fn refuse_for_size(
        &mut self,
        context: &RequestContext<'_>,
        member_id: &KafkaString,
    ) {
        self.group.remove(member_id);
        self.effects.join(
            context.token,
            join_error(KafkaString::new(), ErrorCode::GROUP_MAX_SIZE_REACHED),
        );
    }

    /// Makes the record of a group that has just come into being.
    pub(in crate::group) fn record_first(&mut self) {
        self.effects.records.push(self.group.to_first_record());
    }

    fn join_new_member(
        &mut self,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
    ) -> Result<(), Refusal> {
        self.check_protocols(request, KafkaString::new())?;
        let name = request
            .group_instance_id
            .as_ref()
            .unwrap_or(&context.client.client_id);
        let member_id = KafkaString::from(format!("{name}-{}", uuid_text(context.random)));
        if let Some(instance_id) = &request.group_instance_id {
            if let Some(earlier_id) = self.group.static_members.get(instance_id).cloned() {
                self.replace_static_member(context, request, &earlier_id, &member_id);
            } else {
                self.add_member(context, request, &member_id);
            }
            return Ok(());
        }
        if context.api_version >= VERSION_MEMBER_ID_REQUIRED {
            self.group.pending_join_members.insert(member_id.clone());
            self.reschedule_heartbeat_within(&member_id, request.session_timeout_ms);
            return Err((member_id, ErrorCode::MEMBER_ID_REQUIRED));
        }
        self.add_member(context, request, &member_id);
        Ok(())
    }

    fn join_existing_member(
        &mut self,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
    ) -> Result<(), Refusal> {
        self.check_protocols(request, request.member_id.clone())?;
        let member_id = request.member_id.detached();
        if self.group.pending_join_members.contains(&member_id) {
            if request.group_instance_id.is_some() {
                // Ids are given out to dynamic members only.
                return Err((KafkaString::new(), ErrorCode::UNKNOWN_SERVER_ERROR));
            }
            self.add_member(context, request, &member_id);
            return Ok(());
        }
        if let Err(error) = self
            .group
            .validate_member(&member_id, request.group_instance_id.as_ref())
        {
            let mut response = join_error(member_id, error);
            response.protocol_name = None;
            self.effects.join(context.token, response);
            return Ok(());
        }
        let offers_same = self
            .group
            .members
            .get(&member_id)
            .is_some_and(|member| member.offers(&request.protocols));
        match self.group.state() {
            ClassicGroupState::PreparingRebalance => {
                self.update_member(context, request, &member_id);
            }
            ClassicGroupState::CompletingRebalance if offers_same => {
                // It has joined this generation, and lost the response.
                self.repeat_join_response(context, &member_id, true);
            }
            ClassicGroupState::Stable if offers_same && !self.group.is_leader(&member_id) => {
                self.repeat_join_response(context, &member_id, false);
            }
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => {
                self.update_member(context, request, &member_id);
            }
            ClassicGroupState::Empty | ClassicGroupState::Dead => {
                return Err((member_id, ErrorCode::UNKNOWN_MEMBER_ID));
            }
        }
        Ok(())
    }

    fn check_protocols(
        &self,
        request: &JoinGroupRequest,
        member_id: KafkaString,
    ) -> Result<(), Refusal> {
        if self.group.is_in(ClassicGroupState::Dead) {
            return Err((member_id, ErrorCode::COORDINATOR_NOT_AVAILABLE));
        }
        if self
            .group
            .supports_protocols(&request.protocol_type, &request.protocols)
        {
            Ok(())
        } else {
            Err((member_id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL))
        }
    }

    fn repeat_join_response(
        &mut self,
        context: &RequestContext<'_>,
        member_id: &KafkaString,
        tell_leader: bool,
    ) {
        let mut response = self.group.join_response(member_id);
        if tell_leader && self.group.is_leader(member_id) {
            response.members = self.group.join_response_members();
        }
        self.effects.join(context.token, response);
    }

    fn add_member(
        &mut self,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
        member_id: &KafkaString,
    ) {
        let timeouts = timeouts(context, request);
        let member = Member {
            member_id: member_id.clone(),
            group_instance_id: request
                .group_instance_id
                .as_ref()
                .map(KafkaString::detached),
            client_id: context.client.client_id.detached(),
            client_host: context.client.client_host.detached(),
            rebalance_timeout_ms: timeouts.rebalance_timeout_ms,
            session_timeout_ms: timeouts.session_timeout_ms,
            protocol_type: request.protocol_type.detached(),
            protocols: Protocol::detached_from(&request.protocols),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
        };
        if self.group.is_in(ClassicGroupState::PreparingRebalance)
            && self.group.previous_state() == ClassicGroupState::Empty
        {
            self.group.new_member_added = true;
        }
        self.group.add(member, context.token);
        // While it waits the client can't send heartbeats; but should it go away before its first
        // generation, nobody else would notice.
        self.reschedule_heartbeat_within(member_id, self.config.new_member_join_timeout_ms);
        self.prepare_rebalance_or_complete_join(&format!(
            "adding member {member_id}; client reason: {}",
            reason(request)
        ));
    }

    fn update_member(
        &mut self,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
        member_id: &KafkaString,
    ) {
        self.take_member_update(context, request, member_id);
        self.prepare_rebalance_or_complete_join(&format!(
            "updating member {member_id} in state {}; client reason: {}",
            self.group.state(),
            reason(request)
        ));
    }

    fn take_member_update(
        &mut self,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
        member_id: &KafkaString,
    ) {
        self.group
            .update_member(member_id, &request.protocols, timeouts(context, request));
        if let Some(earlier) = self.group.set_awaiting_join(member_id, Some(context.token)) {
            // The client has sent the request again: nobody waits for the first any more.
            self.effects.join(
                earlier,
                join_error(member_id.clone(), ErrorCode::REBALANCE_IN_PROGRESS),
            );
        }
    }

    /// A static member has come back under its instance id: the earlier one is fenced.
    fn replace_static_member(
        &mut self,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
        earlier_id: &KafkaString,
        member_id: &KafkaString,
    ) {
        let Some(instance_id) = request
            .group_instance_id
            .as_ref()
            .map(KafkaString::detached)
        else {
            return;
        };
        let leader_before = self.group.leader_id.clone();
        let earlier_key = self.heartbeat_key(earlier_id);
        let (awaiting_join, awaiting_sync) =
            self.group
                .replace_static_member(&instance_id, earlier_id, member_id);
        self.timers.cancel(&earlier_key);
        self.fence(earlier_id, awaiting_join, awaiting_sync);
        self.reschedule_heartbeat(member_id);
        self.take_member_update(context, request, member_id);
        let why = format!(
            "static member {instance_id} replaced {earlier_id} by {member_id}; client reason: {}",
            reason(request)
        );
        match self.group.state() {
            ClassicGroupState::Stable => {
                let selected = self.group.select_protocol();
                if selected.as_ref() == self.group.protocol_name() {
                    self.keep_generation(context, member_id, leader_before);
                } else {
                    self.prepare_rebalance_or_complete_join(&why);
                }
            }
            ClassicGroupState::CompletingRebalance => self.prepare_rebalance(&why),
            _ => self.complete_join_phase(),
        }
    }

    fn fence(
        &mut self,
        earlier_id: &KafkaString,
        awaiting_join: Option<RequestToken>,
        awaiting_sync: Option<RequestToken>,
    ) {
        if let Some(token) = awaiting_join {
            let mut response = join_error(earlier_id.clone(), ErrorCode::FENCED_INSTANCE_ID);
            response.protocol_name = None;
            self.effects.join(token, response);
        }
        if let Some(token) = awaiting_sync {
            self.effects
                .sync(token, sync_error(ErrorCode::FENCED_INSTANCE_ID));
        }
    }

    /// The group goes on as it is, with the new member id in its record.
    fn keep_generation(
        &mut self,
        context: &RequestContext<'_>,
        member_id: &KafkaString,
        leader_before: Option<KafkaString>,
    ) {
        let mut response = self.group.join_response(member_id);
        if context.api_version >= VERSION_SKIP_ASSIGNMENT {
            if self.group.is_leader(member_id) {
                response.members = self.group.join_response_members();
                response.skip_assignment = true;
            }
        } else {
            // A client that can't skip the assignment must not learn that it leads.
            response.leader = leader_before.unwrap_or_default();
        }
        self.group.set_awaiting_join(member_id, None);
        self.effects.join(context.token, response);
        self.effects.records.push(self.group.to_record());
    }
}

fn timeouts(context: &RequestContext<'_>, request: &JoinGroupRequest) -> Timeouts {
    // Version 0 had no rebalance timeout.
    let rebalance_timeout_ms = if context.api_version == 0 {
        request.session_timeout_ms
    } else {
        request.rebalance_timeout_ms
    };
    Timeouts {
        rebalance_timeout_ms,
        session_timeout_ms: request.session_timeout_ms,
    }
}

fn reason(request: &JoinGroupRequest) -> &str {
    request
        .reason
        .as_deref()
        .filter(|reason| !reason.is_empty())
        .unwrap_or("not provided")
}

/// A random UUID as Java prints it.
fn uuid_text(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
