//! What a classic group is made of, and the rules that need nothing else.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use ottla_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::messages::join_group_response::JoinGroupResponseMember;
use ottla_protocol::messages::{GroupMetadataKey, GroupMetadataValue, JoinGroupResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::member::{Member, Protocol};
use super::state::ClassicGroupState;
use crate::group::decision::RequestToken;
use crate::group::embedded::{self, read_subscription};
use crate::group::hash_order::HashOrdered;
use crate::group::partition::java_hash_code;
use crate::record::{CoordinatorRecord, RecordKey, RecordValue};

/// The version that Apache Kafka 4.3.1 writes.
const GROUP_METADATA_VALUE_VERSION: i16 = 3;

/// A group of the classic protocol.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    pub(super) group_id: KafkaString,
    pub(super) state: ClassicGroupState,
    previous_state: ClassicGroupState,
    state_timestamp_ms: Option<i64>,
    pub(super) generation_id: i32,
    pub(super) protocol_type: Option<KafkaString>,
    pub(super) protocol_name: Option<KafkaString>,
    pub(super) leader_id: Option<KafkaString>,
    /// In the order in which Apache Kafka has them, which members see in JoinGroup and in records.
    pub(super) members: HashOrdered<KafkaString, Member>,
    /// Member ids by instance id, of the members that have one.
    pub(super) static_members: BTreeMap<KafkaString, KafkaString>,
    /// Ids that were given out and have not joined yet. Never those of members.
    pub(super) pending_join_members: BTreeSet<KafkaString>,
    /// Members of this generation that have not asked for their assignments.
    pub(super) pending_sync_members: BTreeSet<KafkaString>,
    /// How many members offer each protocol.
    protocol_offers: BTreeMap<KafkaString, usize>,
    /// How many members have a join request that waits.
    awaiting_join_count: usize,
    /// What the members of a consumer group subscribe to, if their metadata says so.
    pub(super) subscribed_topics: Option<BTreeSet<KafkaString>>,
    /// Whether a member came while the first rebalance waited for more.
    pub(super) new_member_added: bool,
}

impl ClassicGroup {
    /// A group without members that has just come into being.
    pub(crate) fn new(group_id: KafkaString, wall_ms: i64) -> Self {
        Self {
            group_id,
            state: ClassicGroupState::Empty,
            previous_state: ClassicGroupState::Dead,
            state_timestamp_ms: Some(wall_ms),
            generation_id: 0,
            protocol_type: None,
            protocol_name: None,
            leader_id: None,
            members: HashOrdered::default(),
            static_members: BTreeMap::new(),
            pending_join_members: BTreeSet::new(),
            pending_sync_members: BTreeSet::new(),
            protocol_offers: BTreeMap::new(),
            awaiting_join_count: 0,
            subscribed_topics: None,
            new_member_added: false,
        }
    }

    /// The group that the log has.
    pub(crate) fn from_record(group_id: KafkaString, value: &GroupMetadataValue) -> Self {
        let protocol_type = value.protocol_type.detached();
        let protocol_name = value.protocol.as_ref().map(KafkaString::detached);
        let mut group = Self::new(group_id, 0);
        if !value.members.is_empty() {
            group.state = ClassicGroupState::Stable;
        }
        group.state_timestamp_ms =
            (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
        group.generation_id = value.generation;
        group.leader_id = value.leader.as_ref().map(KafkaString::detached);
        let offered = protocol_name.clone().unwrap_or_default();
        for record in &value.members {
            group.insert(Member::from_record(record, &protocol_type, &offered));
        }
        group.protocol_type = Some(protocol_type).filter(|name| !name.is_empty());
        group.protocol_name = protocol_name;
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    pub(crate) fn state(&self) -> ClassicGroupState {
        self.state
    }

    pub(super) fn previous_state(&self) -> ClassicGroupState {
        self.previous_state
    }

    pub(super) fn is_in(&self, state: ClassicGroupState) -> bool {
        self.state == state
    }

    pub(crate) fn state_timestamp_ms(&self) -> Option<i64> {
        self.state_timestamp_ms
    }

    pub(crate) fn protocol_type(&self) -> Option<&KafkaString> {
        self.protocol_type.as_ref()
    }

    pub(super) fn protocol_name(&self) -> Option<&KafkaString> {
        self.protocol_name.as_ref()
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(embedded::PROTOCOL_TYPE)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state == ClassicGroupState::Empty
    }

    /// Whether any member subscribes to the topic. Where that can't be known it is assumed.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    pub(crate) fn knows_subscribed_topics(&self) -> bool {
        self.subscribed_topics.is_some()
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader_id.as_deref() == Some(member_id)
    }

    pub(super) fn has_member(&self, member_id: &str) -> bool {
        self.members.get(member_id).is_some()
    }

    pub(super) fn member_ids(&self) -> Vec<KafkaString> {
        self.members.keys().cloned().collect()
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn generation_id(&self) -> i32 {
        self.generation_id
    }

    pub(super) fn awaiting_join_count(&self) -> usize {
        self.awaiting_join_count
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join_count && self.pending_join_members.is_empty()
    }

    /// The longest rebalance timeout of the members.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        self.members
            .values()
            .map(|member| member.rebalance_timeout_ms)
            .max()
            .unwrap_or(0)
            .max(0)
    }

    pub(super) fn transition_to(&mut self, state: ClassicGroupState, wall_ms: i64) {
        debug_assert!(
            self.state.may_become(state),
            "group {} can't go from {} to {state}",
            self.group_id,
            self.state,
        );
        self.previous_state = self.state;
        self.state = state;
        self.state_timestamp_ms = Some(wall_ms);
    }

    /// Whether a member of this type with these protocols fits to those that are there.
    pub(super) fn supports_protocols(
        &self,
        protocol_type: &KafkaString,
        protocols: &[JoinGroupRequestProtocol],
    ) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(protocol_type)
            && protocols.iter().any(|protocol| {
                self.protocol_offers
                    .get(&protocol.name)
                    .copied()
                    .unwrap_or(0)
                    == self.members.len()
            })
    }

    /// Adds a member whose join request waits.
    pub(super) fn add(&mut self, member: Member, token: RequestToken) {
        let member_id = member.member_id.clone();
        if self.members.is_empty() {
            self.protocol_type = Some(member.protocol_type.clone());
        }
        if self.leader_id.is_none() {
            self.leader_id = Some(member_id.clone());
        }
        self.insert(member);
        self.set_awaiting_join(&member_id, Some(token));
        self.pending_join_members.remove(&member_id);
    }

    pub(super) fn insert(&mut self, member: Member) {
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members
                .insert(instance_id.clone(), member.member_id.clone());
        }
        self.count_offers(&member.protocols);
        self.members.insert(member.member_id.clone(), member);
    }

    fn count_offers(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            *self
                .protocol_offers
                .entry(protocol.name.clone())
                .or_default() += 1;
        }
    }

    fn discount_offers(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            if let Some(count) = self.protocol_offers.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.protocol_offers.remove(&protocol.name);
                }
            }
        }
    }

    /// Sets or takes away the join request of a member that waits; gives the earlier one.
    pub(super) fn set_awaiting_join(
        &mut self,
        member_id: &str,
        token: Option<RequestToken>,
    ) -> Option<RequestToken> {
        let member = self.members.get_mut(member_id)?;
        let earlier = std::mem::replace(&mut member.awaiting_join, token);
        match (earlier, token) {
            (None, Some(_)) => self.awaiting_join_count += 1,
            (Some(_), None) => self.awaiting_join_count -= 1,
            _ => {}
        }
        earlier
    }

    /// Takes what a member says in a join request.
    pub(super) fn update_member(
        &mut self,
        member_id: &str,
        protocols: &[JoinGroupRequestProtocol],
        timeouts: Timeouts,
    ) {
        let protocols = Protocol::detached_from(protocols);
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        member.rebalance_timeout_ms = timeouts.rebalance_timeout_ms;
        member.session_timeout_ms = timeouts.session_timeout_ms;
        let earlier = std::mem::replace(&mut member.protocols, protocols.clone());
        self.count_offers(&protocols);
        self.discount_offers(&earlier);
    }

    /// Removes a member or an id that was given out; gives the member.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let removed = self.members.remove(member_id);
        if let Some(member) = &removed {
            self.discount_offers(&member.protocols);
            if member.awaiting_join.is_some() {
                self.awaiting_join_count -= 1;
            }
            if let Some(instance_id) = &member.group_instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader_id = self.members.keys().next().cloned();
        }
        self.pending_join_members.remove(member_id);
        self.pending_sync_members.remove(member_id);
        removed
    }

    /// Puts a new member id in the place of a static member's earlier one.
    ///
    /// The requests of the earlier one that wait are given back, for it is fenced.
    pub(super) fn replace_static_member(
        &mut self,
        instance_id: &KafkaString,
        earlier_id: &str,
        member_id: &KafkaString,
    ) -> (Option<RequestToken>, Option<RequestToken>) {
        let awaiting_join = self.set_awaiting_join(earlier_id, None);
        let Some(mut member) = self.members.remove(earlier_id) else {
            return (None, None);
        };
        let awaiting_sync = member.awaiting_sync.take();
        member.member_id = member_id.clone();
        member.is_new = false;
        self.members.insert(member_id.clone(), member);
        if self.is_leader(earlier_id) {
            self.leader_id = Some(member_id.clone());
        }
        // Who has not asked for its assignment yet will ask under the new id.
        if self.pending_sync_members.remove(earlier_id) {
            self.pending_sync_members.insert(member_id.clone());
        }
        self.static_members
            .insert(instance_id.clone(), member_id.clone());
        (awaiting_join, awaiting_sync)
    }

    /// Makes sure that the leader has joined, by taking another if need be.
    ///
    /// False if there is no leader, or nobody has joined who could be.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = self.leader_id.as_ref().and_then(|id| self.members.get(id)) else {
            return false;
        };
        if leader.awaiting_join.is_some() {
            return true;
        }
        let joined = self
            .members
            .values()
            .find(|member| member.awaiting_join.is_some())
            .map(|member| member.member_id.clone());
        let elected = joined.is_some();
        if elected {
            self.leader_id = joined;
        }
        elected
    }

    /// The protocol that all members offer and most of them like best.
    ///
    /// Where votes are even it is the one that comes first in the order of Java's hash table.
    pub(super) fn select_protocol(&self) -> Option<KafkaString> {
        let mut votes: BTreeMap<&KafkaString, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().find(|protocol| {
                self.protocol_offers.get(&protocol.name) == Some(&self.members.len())
            });
            if let Some(protocol) = vote {
                *votes.entry(&protocol.name).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(name, count)| (*count, std::cmp::Reverse(java_bucket(name))))
            .map(|(name, _)| name.clone())
    }

    /// Begins the generation of those who have joined.
    pub(super) fn init_next_generation(&mut self, wall_ms: i64) {
        self.generation_id = self.generation_id.wrapping_add(1);
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        let next = if self.members.is_empty() {
            ClassicGroupState::Empty
        } else {
            ClassicGroupState::CompletingRebalance
        };
        self.transition_to(next, wall_ms);
        self.pending_sync_members.clear();
    }

    pub(super) fn compute_subscribed_topics(&self) -> Option<BTreeSet<KafkaString>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol_name = self.protocol_name.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let subscription = read_subscription(member.metadata(protocol_name))?;
            topics.extend(subscription.topics.iter().map(KafkaString::detached));
        }
        Some(topics)
    }

    /// Whether the member may speak for the group, by id and, if static, by instance id.
    pub(crate) fn validate_member(
        &self,
        member_id: &str,
        group_instance_id: Option<&KafkaString>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = group_instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(known) if *known != *member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.has_member(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UNKNOWN_MEMBER_ID)
        }
    }

    /// The response to a member that has joined this generation.
    pub(super) fn join_response(&self, member_id: &KafkaString) -> JoinGroupResponse {
        JoinGroupResponse {
            member_id: member_id.clone(),
            generation_id: self.generation_id,
            protocol_name: self.protocol_name.clone(),
            protocol_type: self.protocol_type.clone(),
            leader: self.leader_id.clone().unwrap_or_default(),
            ..JoinGroupResponse::default()
        }
    }

    /// What the leader is told of all members.
    pub(super) fn join_response_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol_name = self.protocol_name.as_deref().unwrap_or_default();
        self.members
            .values()
            .map(|member| JoinGroupResponseMember {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                metadata: member.metadata(protocol_name),
                ..JoinGroupResponseMember::default()
            })
            .collect()
    }

    pub(crate) fn describe(&self) -> DescribedGroup {
        let stable = self.is_in(ClassicGroupState::Stable);
        let protocol = self.protocol_name.clone().filter(|_| stable);
        let members = self.members.values().map(|member| DescribedGroupMember {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: protocol
                .as_deref()
                .map(|name| member.metadata(name))
                .unwrap_or_default(),
            member_assignment: member.assignment.clone(),
            ..DescribedGroupMember::default()
        });
        DescribedGroup {
            group_id: self.group_id.clone(),
            group_state: KafkaString::from_static(self.state.name()),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol_data: protocol.clone().unwrap_or_default(),
            ..DescribedGroup::default()
        }
    }

    /// The record of a group that nobody has joined yet.
    pub(super) fn to_first_record(&self) -> CoordinatorRecord {
        self.record_of(GroupMetadataValue {
            protocol: None,
            leader: None,
            current_state_timestamp: self.state_timestamp_ms.unwrap_or(-1),
            ..GroupMetadataValue::default()
        })
    }

    /// The record of the group with its members and their assignments.
    pub(crate) fn to_record(&self) -> CoordinatorRecord {
        let protocol_name = self.protocol_name.as_deref().unwrap_or_default();
        let members = self
            .members
            .values()
            .map(|member| member.to_record(protocol_name, member.assignment.clone()));
        self.record_of(GroupMetadataValue {
            protocol: self.protocol_name.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation_id,
            leader: self.leader_id.clone(),
            current_state_timestamp: self.state_timestamp_ms.unwrap_or(-1),
            members: members.collect(),
            ..GroupMetadataValue::default()
        })
    }

    fn record_of(&self, value: GroupMetadataValue) -> CoordinatorRecord {
        CoordinatorRecord::new(
            metadata_key(&self.group_id),
            RecordValue::GroupMetadata(Box::new(value)),
            GROUP_METADATA_VALUE_VERSION,
        )
    }

    /// Ends the group; gives every request that waits.
    pub(crate) fn unload(&mut self) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        for member_id in self.member_ids() {
            if let Some(token) = self.set_awaiting_join(&member_id, None) {
                waiting.push(Waiting::Join(token, member_id.clone()));
            }
            let member = self.members.get_mut(&member_id);
            if let Some(token) = member.and_then(|member| member.awaiting_sync.take()) {
                waiting.push(Waiting::Sync(token));
            }
        }
        self.previous_state = self.state;
        self.state = ClassicGroupState::Dead;
        waiting
    }
}

/// A request that waits when its group ends.
pub(crate) enum Waiting {
    Join(RequestToken, KafkaString),
    Sync(RequestToken),
}

/// The timeouts that a member asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
}

/// The key of a classic group's record.
pub(crate) fn metadata_key(group_id: &KafkaString) -> RecordKey {
    RecordKey::GroupMetadata(GroupMetadataKey {
        group: group_id.clone(),
    })
}

/// Place of a name in a Java hash table of the least size.
fn java_bucket(name: &str) -> i32 {
    let hash = java_hash_code(name);
    (hash ^ (hash.cast_unsigned() >> 16).cast_signed()) & 15
}

#[cfg(test)]
impl ClassicGroup {
    /// Panics unless what is counted is what is there.
    pub(crate) fn check_invariants(&self) {
        let waiting = |member: &&Member| member.awaiting_join.is_some();
        assert_eq!(
            self.awaiting_join_count,
            self.members.values().filter(waiting).count()
        );
        let mut offers = BTreeMap::new();
        for protocol in self.members.values().flat_map(|member| &member.protocols) {
            *offers.entry(protocol.name.clone()).or_default() += 1;
        }
        assert_eq!(self.protocol_offers, offers);
        for (instance_id, member_id) in &self.static_members {
            let member = self.members.get(member_id).unwrap();
            assert_eq!(member.group_instance_id.as_ref(), Some(instance_id));
        }
        let is_member = |member_id: &KafkaString| self.members.contains(member_id);
        assert!(self.pending_sync_members.iter().all(is_member));
        assert!(!self.pending_join_members.iter().any(is_member));
        match &self.leader_id {
            Some(leader_id) => assert!(is_member(leader_id)),
            None => assert!(self.members.is_empty()),
        }
        if self.is_empty() {
            assert!(self.members.is_empty());
        }
    }
}
