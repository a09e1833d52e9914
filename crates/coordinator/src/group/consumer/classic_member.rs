//! Members of a consumer group that speak the classic protocol, while the group goes from one
//! protocol to the other (KIP-848, "Migrating to the new protocol").
//!
//! Such a member gets its assignment from the coordinator's assignor as all others do. JoinGroup
//! tells what it subscribes to and what it has, and is answered at once; SyncGroup fetches its
//! assignment; and Heartbeat says when there is a next step to be taken, for which it joins again.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as OwnedPartitions;
use ottla_protocol::messages::consumer_group_member_metadata_value::{
    ClassicMemberMetadata, ClassicProtocol,
};
use ottla_protocol::messages::leave_group_request::MemberIdentity;
use ottla_protocol::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::assignment::has_epoch;
use super::decision::{Change, ConsumerDecision, last_target};
use super::group::ConsumerGroup;
use super::heartbeat::known_static_member;
use super::member::{ConsumerMember, MemberState, detached_classic};
use super::migration::{Downgrade, named_assignment};
use crate::group::Group;
use crate::group::classic::{join_error, member_response, sync_error};
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::{Decision, Effects, Now, RequestContext};
use crate::group::embedded;
use crate::group::hash_order::HashOrderedSet;
use crate::group::metadata::ClusterMetadata;
use crate::group::timers::{MemberTimer, TimerAction};

/// The first version of JoinGroup in which a dynamic member asks for its id, and joins with it.
const VERSION_MEMBER_ID_REQUIRED: i16 = 4;

/// What comes of a request to join.
#[derive(Debug)]
enum Joined {
    /// The client is to join again, with the id that it is given.
    NeedsMemberId,
    /// It is a member.
    Member(Box<ConsumerMember>),
    /// It takes the place of the last member that spoke the consumer protocol.
    Last {
        member: Box<ConsumerMember>,
        /// Whether the group's assignment does not take the member into account yet.
        is_stale: bool,
    },
}

impl GroupCoordinator {
    /// JoinGroup, to a group of the consumer protocol that has members.
    pub(in crate::group) fn join_consumer_group(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
    ) -> Decision<()> {
        let (response, mut effects) = match self.try_join(now, context, request) {
            Ok(joined) => joined,
            Err(error) => (join_error(KafkaString::new(), error), Effects::default()),
        };
        effects.join(context.token, response);
        effects.with(())
    }

    fn try_join(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
    ) -> Result<(JoinGroupResponse, Effects), ErrorCode> {
        let migration = self.config.consumer.migration;
        if !migration.is_upgrade_enabled && !migration.is_downgrade_enabled {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let group_id = &request.group_id;
        let member_id = if request.member_id.is_empty() {
            KafkaString::from(Uuid(context.random).to_string())
        } else {
            request.member_id.detached()
        };
        let (joined, mut effects) = self
            .with_consumer(now, group_id, |decision| {
                decision.join_classic(context, request, &member_id)
            })
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let member = match joined? {
            Joined::NeedsMemberId => {
                let response = join_error(member_id, ErrorCode::MEMBER_ID_REQUIRED);
                return Ok((response, effects));
            }
            Joined::Member(member) => member,
            Joined::Last { member, is_stale } => {
                let downgrade = Downgrade {
                    leaving: &[],
                    joining: Some(&*member),
                    is_rebalance: is_stale,
                };
                let converted = self.downgrade(now, group_id, &downgrade);
                effects.records.extend(converted.records);
                effects.released.extend(converted.released);
                member
            }
        };
        let response = JoinGroupResponse {
            member_id: member.member_id.clone(),
            generation_id: member.member_epoch,
            protocol_type: Some(KafkaString::from_static(embedded::PROTOCOL_TYPE)),
            protocol_name: first_protocol(&member).map(|protocol| protocol.name.clone()),
            ..JoinGroupResponse::default()
        };
        Ok((response, effects))
    }

    /// SyncGroup, to a group of the consumer protocol.
    pub(in crate::group) fn sync_consumer_group(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &SyncGroupRequest,
    ) -> Decision<()> {
        let synced = self.with_consumer(now, &request.group_id, |decision| {
            decision.sync_classic(request)
        });
        let (synced, mut effects) =
            synced.unwrap_or_else(|| (Err(ErrorCode::UNKNOWN_MEMBER_ID), Effects::default()));
        let response = match synced {
            Ok(assignment) => SyncGroupResponse {
                protocol_type: request.protocol_type.clone(),
                protocol_name: request.protocol_name.clone(),
                assignment,
                ..SyncGroupResponse::default()
            },
            Err(error) => sync_error(error),
        };
        effects.sync(context.token, response);
        effects.with(())
    }

    /// Heartbeat, to a group of the consumer protocol.
    pub(in crate::group) fn heartbeat_consumer_group(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        self.with_consumer(now, &request.group_id, |decision| {
            decision.heartbeat_classic(request)
        })
        .map_or(Err(ErrorCode::UNKNOWN_MEMBER_ID), |(result, _)| result)
    }

    /// LeaveGroup, to a group of the consumer protocol: of members of either protocol.
    pub(in crate::group) fn leave_consumer_group_classic(
        &mut self,
        now: Now,
        request: &LeaveGroupRequest,
    ) -> Decision<LeaveGroupResponse> {
        let mut leaving: Vec<Arc<ConsumerMember>> = Vec::new();
        let mut members = Vec::with_capacity(request.members.len());
        if let Some(Group::Consumer(group)) = self.groups.get(&request.group_id) {
            for identity in &request.members {
                let found = leaving_member(group, identity);
                let result = found.as_ref().map(|_| ()).map_err(|error| *error);
                members.push(member_response(identity, result));
                if let Ok(member) = found {
                    let id = &member.member_id;
                    tracing::info!(
                        group = %request.group_id,
                        member = %id,
                        reason = identity.reason.as_deref().unwrap_or("not provided"),
                        "a member has left the group"
                    );
                    if leaving.iter().all(|known| known.member_id != *id) {
                        leaving.push(member);
                    }
                }
            }
        }
        let effects = if leaving.is_empty() {
            Effects::default()
        } else {
            self.fence_consumers(now, &request.group_id, &leaving)
        };
        effects.with(LeaveGroupResponse {
            members,
            ..LeaveGroupResponse::default()
        })
    }
}

fn leaving_member(
    group: &ConsumerGroup,
    identity: &MemberIdentity,
) -> Result<Arc<ConsumerMember>, ErrorCode> {
    let member = match &identity.group_instance_id {
        None => group
            .member(&identity.member_id)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?,
        // The administrator knows only the instance.
        Some(instance_id) if identity.member_id.is_empty() => group
            .static_member(Some(instance_id))
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?,
        Some(instance_id) => known_static_member(group, &identity.member_id, instance_id)
            .map_err(|refusal| refusal.error)?,
    };
    Ok(Arc::clone(member))
}

impl ConsumerDecision<'_> {
    fn join_classic(
        &mut self,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
        member_id: &KafkaString,
    ) -> Result<Joined, ErrorCode> {
        self.check_size(member_id)
            .map_err(|refusal| refusal.error)?;
        self.check_classic_protocols(request)?;
        if request.member_id.is_empty()
            && request.group_instance_id.is_none()
            && context.api_version >= VERSION_MEMBER_ID_REQUIRED
        {
            return Ok(Joined::NeedsMemberId);
        }
        let earlier = self.find_joining(request, member_id)?;
        let is_last = self.becomes_classic_by(request.group_instance_id.as_ref());
        let subscription = request
            .protocols
            .first()
            .and_then(|protocol| embedded::read_subscription(protocol.metadata.clone()))
            .ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let updated = with_request(&earlier, context, request, &subscription);
        let (member, is_stale) = self.take_joining(&earlier, updated, &subscription, is_last)?;
        let member = Box::new(member);
        if is_last {
            return Ok(Joined::Last { member, is_stale });
        }
        let key = self.timer_key(&member.member_id, MemberTimer::Join);
        self.timers.cancel(&key);
        self.expect_heartbeat_within(&member.member_id, request.session_timeout_ms);
        self.schedule(
            (&member.member_id, MemberTimer::Sync),
            member.rebalance_timeout_ms,
            TimerAction::FenceMember,
        );
        Ok(Joined::Member(member))
    }

    /// Writes down what the member says, and leads it one step on; says whether the group's
    /// assignment is behind.
    fn take_joining(
        &mut self,
        earlier: &ConsumerMember,
        updated: ConsumerMember,
        subscription: &ConsumerProtocolSubscription,
        is_last: bool,
    ) -> Result<(ConsumerMember, bool), ErrorCode> {
        let change = Change {
            earlier,
            updated: &updated,
        };
        let names_changed = self.note_subscription(change);
        let regexes = self
            .update_regexes(change)
            .map_err(|refusal| refusal.error)?;
        let has_changed = names_changed || regexes.is_updated();
        let mut epoch = (self.group.group_epoch, self.group.subscription_type());
        if has_changed || self.needs_refresh() {
            epoch = self.refresh_subscriptions(change, has_changed);
        }
        let (target, is_stale) = if is_last {
            let is_stale = self.group.assignment_epoch < epoch.0;
            (last_target(self.group, &updated), is_stale)
        } else {
            (self.update_target(change, epoch), false)
        };
        if is_stale {
            return Ok((updated, true));
        }
        let owned = owned_partitions(subscription, self.metadata);
        let member = self
            .reconcile(updated, &target, has_changed, Some(&owned))
            .map_err(|refusal| refusal.error)?;
        Ok((member, false))
    }

    /// Whether the members of the classic protocol speak one of those that the client offers.
    fn check_classic_protocols(&self, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        let group = self.group;
        let is_spoken = |name: &KafkaString| {
            let offers = group.classic_offers.get(name).copied().unwrap_or(0);
            offers == group.classic_member_count
        };
        let mut protocols = request.protocols.iter();
        if *request.protocol_type == *embedded::PROTOCOL_TYPE
            && protocols.any(|protocol| is_spoken(&protocol.name))
        {
            return Ok(());
        }
        Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
    }

    fn find_joining(
        &mut self,
        request: &JoinGroupRequest,
        member_id: &KafkaString,
    ) -> Result<Arc<ConsumerMember>, ErrorCode> {
        let member = match &request.group_instance_id {
            None => match self.group.member(member_id) {
                Some(member) => Arc::clone(member),
                None => Arc::new(ConsumerMember::new(member_id.clone())),
            },
            Some(instance_id) if request.member_id.is_empty() => {
                self.join_static_member(member_id, &instance_id.detached(), true)
                    .map_err(|refusal| refusal.error)?
                    .member
            }
            Some(instance_id) => {
                let known = known_static_member(self.group, member_id, instance_id)
                    .map_err(|refusal| refusal.error)?;
                Arc::clone(known)
            }
        };
        Ok(member)
    }

    /// Whether the group has but members of the classic protocol once this static member is one.
    fn becomes_classic_by(&self, instance_id: Option<&KafkaString>) -> bool {
        let group = self.group;
        let Some(earlier) = group.static_member(instance_id) else {
            return false;
        };
        !earlier.uses_classic_protocol()
            && group.classic_member_count + 1 == group.members.len()
            && self.config.consumer.migration.is_downgrade_enabled
            && group.members.len() <= self.config.group_size_max
    }

    fn sync_classic(&mut self, request: &SyncGroupRequest) -> Result<Bytes, ErrorCode> {
        let instance_id = request.group_instance_id.as_ref();
        let member = self.classic_member(&request.member_id, instance_id, request.generation_id)?;
        let protocol = first_protocol(&member).ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let differs = |said: Option<&KafkaString>, known: &str| {
            said.is_some_and(|said| said.as_str() != known)
        };
        if differs(request.protocol_type.as_ref(), embedded::PROTOCOL_TYPE)
            || differs(request.protocol_name.as_ref(), &protocol.name)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if self.group.assignment_epoch > member.member_epoch
            && member.state != MemberState::UnrevokedPartitions
        {
            self.expect_join(&member);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        let key = self.timer_key(&member.member_id, MemberTimer::Sync);
        self.timers.cancel(&key);
        self.expect_classic_heartbeat(&member);
        let version =
            embedded::version_of(&protocol.metadata).ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let topics = member
            .assigned_partitions
            .iter()
            .map(|(topic_id, partitions)| (*topic_id, partitions.keys().copied().collect()));
        let assignment = named_assignment(topics, self.metadata);
        Ok(embedded::write_assignment(&assignment, version))
    }

    fn heartbeat_classic(&mut self, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        let instance_id = request.group_instance_id.as_ref();
        let member = self.classic_member(&request.member_id, instance_id, request.generation_id)?;
        self.expect_classic_heartbeat(&member);
        let has_next_step = member.member_epoch < self.group.assignment_epoch
            || match member.state {
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(&member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        if has_next_step {
            self.expect_join(&member);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    /// The member that speaks the classic protocol in this generation.
    fn classic_member(
        &self,
        member_id: &KafkaString,
        instance_id: Option<&KafkaString>,
        generation_id: i32,
    ) -> Result<Arc<ConsumerMember>, ErrorCode> {
        let member = match instance_id {
            None => self
                .group
                .member(member_id)
                .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?,
            Some(instance_id) => known_static_member(self.group, member_id, instance_id)
                .map_err(|refusal| refusal.error)?,
        };
        if !member.uses_classic_protocol() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if member.member_epoch != generation_id {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        Ok(Arc::clone(member))
    }

    /// Whether others still have what the member is to get.
    fn waits_for_others(&self, member: &ConsumerMember) -> bool {
        let target = self.group.target_of(&member.member_id);
        target.iter().any(|(topic_id, partitions)| {
            partitions.keys().any(|partition| {
                !has_epoch(&member.assigned_partitions, *topic_id, *partition)
                    && self.group.partition_epoch(*topic_id, *partition).is_some()
            })
        })
    }

    fn expect_classic_heartbeat(&mut self, member: &ConsumerMember) {
        if let Some(classic) = &member.classic {
            self.expect_heartbeat_within(&member.member_id, classic.session_timeout_ms);
        }
    }

    /// Expects the member to join again, from the first time on that it was told to.
    fn expect_join(&mut self, member: &ConsumerMember) {
        let timer = (&member.member_id, MemberTimer::Join);
        let key = self.timer_key(timer.0, timer.1);
        if !self.timers.is_scheduled(&key) {
            let action = TimerAction::FenceMember;
            self.schedule(timer, member.rebalance_timeout_ms, action);
        }
    }
}

fn first_protocol(member: &ConsumerMember) -> Option<&ClassicProtocol> {
    member.classic.as_ref()?.supported_protocols.first()
}

/// The member as the request says it is; what it does not say stays.
fn with_request(
    earlier: &ConsumerMember,
    context: &RequestContext<'_>,
    request: &JoinGroupRequest,
    subscription: &ConsumerProtocolSubscription,
) -> ConsumerMember {
    let mut updated = earlier.clone();
    if let Some(instance_id) = &request.group_instance_id {
        updated.instance_id = Some(instance_id.detached());
    }
    // Version 0 had no rebalance timeout.
    let rebalance_timeout_ms = if context.api_version == 0 {
        request.session_timeout_ms
    } else {
        request.rebalance_timeout_ms
    };
    if rebalance_timeout_ms != -1 {
        updated.rebalance_timeout_ms = rebalance_timeout_ms;
    }
    updated.client_id = context.client.client_id.detached();
    updated.client_host = context.client.client_host.detached();
    updated.subscribe(subscription);
    updated.subscribed_topic_regex = Some(KafkaString::new());
    let protocols = request.protocols.iter().map(|protocol| ClassicProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
        ..ClassicProtocol::default()
    });
    updated.classic = Some(detached_classic(&ClassicMemberMetadata {
        session_timeout_ms: request.session_timeout_ms,
        supported_protocols: protocols.collect(),
        ..ClassicMemberMetadata::default()
    }));
    updated
}

impl ConsumerMember {
    /// Takes what a consumer says in the embedded protocol.
    pub(in crate::group) fn subscribe(&mut self, subscription: &ConsumerProtocolSubscription) {
        let names = subscription.topics.iter().map(KafkaString::detached);
        let names = HashOrderedSet::from_list(names);
        if *self.subscribed_topic_names != names {
            self.subscribed_topic_names = Arc::new(names);
        }
        let rack_id = subscription.rack_id.as_ref();
        if let Some(rack_id) = rack_id.filter(|rack_id| !rack_id.is_empty()) {
            self.rack_id = Some(rack_id.detached());
        }
    }
}

/// What the member says that it has, of topics that there are.
fn owned_partitions(
    subscription: &ConsumerProtocolSubscription,
    metadata: &ClusterMetadata,
) -> Vec<OwnedPartitions> {
    let owned = subscription.owned_partitions.iter();
    owned
        .filter_map(|topic| {
            Some(OwnedPartitions {
                topic_id: metadata.topic_id(&topic.topic)?,
                partitions: topic.partitions.clone(),
                ..OwnedPartitions::default()
            })
        })
        .collect()
}
