//! Groups that change their protocol.

use std::sync::Arc;

use ottla_protocol::KafkaString;

use super::group::ConsumerGroup;
use super::member::ConsumerMember;
use super::records;
use crate::group::Group;
use crate::group::classic::metadata_key;
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::{Effects, Now};
use crate::group::refusal::Refusal;
use crate::record::CoordinatorRecord;

impl GroupCoordinator {
    /// Makes a consumer group of a classic one.
    pub(super) fn upgrade_classic_group(
        &mut self,
        _now: Now,
        group_id: &KafkaString,
        effects: &mut Effects,
    ) -> Result<ConsumerGroup, Refusal> {
        match self.groups.get(group_id) {
            Some(Group::Classic(group)) if group.is_empty() => {
                effects
                    .records
                    .push(CoordinatorRecord::tombstone(metadata_key(group_id)));
                Ok(ConsumerGroup::new(group_id.detached()))
            }
            _ => Err(Refusal::group_id_not_found(format!(
                "Group {group_id} is not a consumer group."
            ))),
        }
    }

    /// Takes members out of a consumer group.
    pub(super) fn fence_consumers(
        &mut self,
        now: Now,
        group_id: &KafkaString,
        members: &[Arc<ConsumerMember>],
    ) -> Effects {
        self.with_consumer(now, group_id, |decision| decision.fence(members))
            .map_or_else(Effects::default, |((), effects)| effects)
    }
}

impl ConsumerGroup {
    /// Records that take back all that the log has of the group.
    pub(in crate::group) fn tombstones(&self) -> Vec<CoordinatorRecord> {
        let group_id = &self.group_id;
        let mut tombstones = Vec::new();
        for of_member in [
            records::current_assignment_tombstone,
            records::target_assignment_tombstone,
        ] {
            tombstones.extend(self.members.keys().map(|id| of_member(group_id, id)));
        }
        tombstones.push(records::target_assignment_metadata_tombstone(group_id));
        let members = self.members.keys();
        tombstones.extend(members.map(|id| records::member_metadata_tombstone(group_id, id)));
        let regexes = self.resolved_regexes.keys();
        tombstones
            .extend(regexes.map(|regex| records::regular_expression_tombstone(group_id, regex)));
        tombstones.push(records::partition_metadata_tombstone(group_id));
        tombstones.push(records::group_epoch_tombstone(group_id));
        tombstones
    }
}
