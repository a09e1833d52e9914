//! DescribeGroups, ListGroups and DeleteGroups.

use ottla_protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla_protocol::messages::describe_groups_response::DescribedGroup;
use ottla_protocol::messages::list_groups_response::ListedGroup;
use ottla_protocol::{ErrorCode, KafkaString};

use super::classic::metadata_key;
use super::decision::{Decision, Effects};
use super::{ClassicGroupState, Group, GroupCoordinator};
use crate::record::CoordinatorRecord;

/// The first version in which a group that is not there is an error.
const VERSION_GROUP_ID_NOT_FOUND: i16 = 6;

impl GroupCoordinator {
    /// DescribeGroups, for those of the groups that live in this partition.
    #[must_use]
    pub fn describe_groups(
        &self,
        api_version: i16,
        group_ids: &[KafkaString],
    ) -> Vec<DescribedGroup> {
        group_ids
            .iter()
            .map(|group_id| match self.groups.get(group_id) {
                Some(Group::Classic(group)) => group.describe(),
                Some(Group::Consumer(_) | Group::Streams(_) | Group::Share(_)) => describe_missing(
                    api_version,
                    group_id,
                    format!("Group {group_id} is not a classic group."),
                ),
                None => describe_missing(
                    api_version,
                    group_id,
                    format!("Group {group_id} not found."),
                ),
            })
            .collect()
    }

    /// ListGroups: the groups of this partition in these states and of these types, or in any.
    #[must_use]
    pub fn list_groups(&self, states: &[KafkaString], types: &[KafkaString]) -> Vec<ListedGroup> {
        let states: Vec<String> = states
            .iter()
            .map(|state| state.to_lowercase().trim().to_owned())
            .collect();
        let types: Vec<String> = types.iter().map(|name| name.to_lowercase()).collect();
        self.groups
            .iter()
            .filter(|(_, group)| states.is_empty() || states.contains(&filter_name(group)))
            .map(|(group_id, group)| listed(group_id, group))
            .filter(|group| types.is_empty() || types.iter().any(|name| group.group_type == *name))
            .collect()
    }

    /// How many offsets the groups of this partition have committed.
    #[must_use]
    pub fn offset_count(&self) -> u64 {
        u64::try_from(self.offsets.committed.iter().count()).unwrap_or(u64::MAX)
    }

    /// DeleteGroups, for those of the groups that live in this partition.
    pub fn delete_groups(
        &mut self,
        group_ids: &[KafkaString],
    ) -> Decision<Vec<DeletableGroupResult>> {
        let mut effects = Effects::default();
        let mut results: Vec<DeletableGroupResult> = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            if results.iter().any(|result| result.group_id == *group_id) {
                continue;
            }
            let error = match self.groups.get(group_id) {
                Some(group) => group.validate_delete().err(),
                None => Some(ErrorCode::GROUP_ID_NOT_FOUND),
            };
            if error.is_none() {
                self.delete_all_offsets(group_id, &mut effects.records);
                self.delete_group(group_id, &mut effects.records);
            }
            results.push(DeletableGroupResult {
                group_id: group_id.clone(),
                error_code: error.unwrap_or(ErrorCode::NONE).0,
                ..DeletableGroupResult::default()
            });
        }
        effects.with(results)
    }

    /// Makes the tombstones of an empty group; replaying them removes it.
    pub(super) fn delete_group(
        &self,
        group_id: &KafkaString,
        records: &mut Vec<CoordinatorRecord>,
    ) {
        match self.groups.get(group_id) {
            Some(Group::Classic(_)) => {
                records.push(CoordinatorRecord::tombstone(metadata_key(group_id)));
            }
            Some(Group::Consumer(group)) => records.extend(group.tombstones()),
            Some(Group::Streams(group)) => records.extend(group.tombstones()),
            Some(Group::Share(group)) => records.extend(group.tombstones()),
            None => {}
        }
    }
}

/// What requests that look for groups in a state call it.
fn filter_name(group: &Group) -> String {
    match group {
        Group::Classic(group) => group.state().name().to_lowercase(),
        Group::Consumer(group) => group.state().name().to_lowercase(),
        Group::Streams(group) => group.state().filter_name().to_owned(),
        Group::Share(group) => group.state_name().to_lowercase(),
    }
}

fn listed(group_id: &KafkaString, group: &Group) -> ListedGroup {
    let (protocol_type, state, group_type) = match group {
        Group::Classic(group) => (
            group.protocol_type().cloned().unwrap_or_default(),
            group.state().name(),
            "classic",
        ),
        Group::Consumer(group) => (
            KafkaString::from_static("consumer"),
            group.state().name(),
            "consumer",
        ),
        Group::Streams(group) => (
            KafkaString::from_static("streams"),
            group.state().name(),
            "streams",
        ),
        Group::Share(group) => (
            KafkaString::from_static("share"),
            group.state_name(),
            "share",
        ),
    };
    ListedGroup {
        group_id: group_id.clone(),
        protocol_type,
        group_state: KafkaString::from_static(state),
        group_type: KafkaString::from_static(group_type),
        ..ListedGroup::default()
    }
}

fn describe_missing(api_version: i16, group_id: &KafkaString, message: String) -> DescribedGroup {
    let mut described = DescribedGroup {
        group_id: group_id.clone(),
        group_state: KafkaString::from_static(ClassicGroupState::Dead.name()),
        ..DescribedGroup::default()
    };
    if api_version >= VERSION_GROUP_ID_NOT_FOUND {
        described.error_code = ErrorCode::GROUP_ID_NOT_FOUND.0;
        described.error_message = Some(KafkaString::from(message));
    }
    described
}
