//! A member of a streams group, as its records have it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::streams_group_current_member_assignment_value::TaskIds;
use ottla_protocol::messages::{
    StreamsGroupCurrentMemberAssignmentValue, StreamsGroupHeartbeatRequest,
    StreamsGroupMemberMetadataValue,
};

use super::tasks::{AssignedTasks, EpochsBySubtopology, TasksBySubtopology};
use crate::group::decision::Client;
use crate::group::refusal::Refusal;

/// How far a member has come on its way to its target assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has all that it is to have in its epoch.
    Stable,
    /// It has to give tasks up before it goes on.
    UnrevokedTasks,
    /// It waits for tasks that others have not given up.
    UnreleasedTasks,
    /// A later release has written a state that this one does not know.
    Unknown,
}

impl MemberState {
    pub(super) fn number(self) -> i8 {
        match self {
            Self::Stable => 1,
            Self::UnrevokedTasks => 2,
            Self::UnreleasedTasks => 3,
            Self::Unknown => 127,
        }
    }

    fn of(number: i8) -> Self {
        match number {
            1 => Self::Stable,
            2 => Self::UnrevokedTasks,
            3 => Self::UnreleasedTasks,
            _ => Self::Unknown,
        }
    }
}

/// Where a member's state stores can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserEndpoint {
    pub(crate) host: KafkaString,
    pub(crate) port: u16,
}

/// A member of a streams group: one thread of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamsMember {
    pub(crate) member_id: KafkaString,
    pub(crate) member_epoch: i32,
    pub(crate) previous_member_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) instance_id: Option<KafkaString>,
    pub(crate) rack_id: Option<KafkaString>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) client_id: KafkaString,
    pub(crate) client_host: KafkaString,
    /// The epoch of the topology that it has.
    pub(crate) topology_epoch: i32,
    /// The process that it is a thread of: its members share state on disk.
    pub(crate) process_id: KafkaString,
    pub(crate) user_endpoint: Option<UserEndpoint>,
    pub(crate) client_tags: BTreeMap<KafkaString, KafkaString>,
    /// The tasks that it has or gets.
    pub(crate) assigned: Arc<AssignedTasks>,
    /// The tasks that it has to give up.
    pub(crate) pending_revocation: Arc<AssignedTasks>,
}

impl StreamsMember {
    pub(crate) fn new(member_id: KafkaString) -> Self {
        Self {
            member_id,
            member_epoch: 0,
            previous_member_epoch: 0,
            state: MemberState::Stable,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: -1,
            client_id: KafkaString::new(),
            client_host: KafkaString::new(),
            topology_epoch: -1,
            process_id: KafkaString::new(),
            user_endpoint: None,
            client_tags: BTreeMap::new(),
            assigned: Arc::default(),
            pending_revocation: Arc::default(),
        }
    }

    pub(crate) fn is_reconciled_to(&self, target_assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.member_epoch == target_assignment_epoch
    }

    /// Goes to an epoch, and remembers the one that it was in.
    pub(super) fn enter_epoch(&mut self, member_epoch: i32) {
        self.previous_member_epoch = self.member_epoch;
        self.member_epoch = member_epoch;
    }

    /// The member as the request says it is; what it does not say stays.
    ///
    /// # Errors
    /// If it names a tag twice: Apache Kafka does not expect that and fails.
    pub(super) fn with_request(
        &self,
        client: &Client,
        request: &StreamsGroupHeartbeatRequest,
    ) -> Result<Self, Refusal> {
        let mut updated = self.clone();
        if let Some(rack_id) = &request.rack_id {
            updated.rack_id = Some(rack_id.detached());
        }
        if request.rebalance_timeout_ms != -1 {
            updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        if let Some(topology) = &request.topology {
            updated.topology_epoch = topology.epoch;
        }
        if let Some(process_id) = &request.process_id {
            updated.process_id = process_id.detached();
        }
        if let Some(endpoint) = &request.user_endpoint {
            updated.user_endpoint = Some(UserEndpoint {
                host: endpoint.host.detached(),
                port: endpoint.port,
            });
        }
        if let Some(tags) = &request.client_tags {
            let said = tags.iter();
            updated.client_tags = said
                .map(|tag| (tag.key.detached(), tag.value.detached()))
                .collect();
            if updated.client_tags.len() != tags.len() {
                return Err(Refusal::unexpected());
            }
        }
        updated.client_id = client.client_id.detached();
        updated.client_host = client.client_host.detached();
        Ok(updated)
    }

    /// Takes what a record says of the member.
    pub(super) fn take_metadata(&mut self, value: &StreamsGroupMemberMetadataValue) {
        let detached = |text: &Option<KafkaString>| text.as_ref().map(KafkaString::detached);
        self.instance_id = detached(&value.instance_id);
        self.rack_id = detached(&value.rack_id);
        self.client_id = value.client_id.detached();
        self.client_host = value.client_host.detached();
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.topology_epoch = value.topology_epoch;
        self.process_id = value.process_id.detached();
        self.user_endpoint = value.user_endpoint.as_ref().map(|endpoint| UserEndpoint {
            host: endpoint.host.detached(),
            port: endpoint.port,
        });
        let tags = value.client_tags.iter();
        self.client_tags = tags
            .map(|tag| (tag.key.detached(), tag.value.detached()))
            .collect();
    }

    /// Takes what a record says of the member's assignment.
    pub(super) fn take_assignment(&mut self, value: &StreamsGroupCurrentMemberAssignmentValue) {
        self.member_epoch = value.member_epoch;
        self.previous_member_epoch = value.previous_member_epoch;
        self.state = MemberState::of(value.state);
        self.assigned = Arc::new(AssignedTasks {
            active: epochs_of(&value.active_tasks, value.member_epoch),
            standby: tasks_of(&value.standby_tasks),
            warmup: tasks_of(&value.warmup_tasks),
        });
        self.pending_revocation = Arc::new(AssignedTasks {
            active: epochs_of(&value.active_tasks_pending_revocation, value.member_epoch),
            standby: tasks_of(&value.standby_tasks_pending_revocation),
            warmup: tasks_of(&value.warmup_tasks_pending_revocation),
        });
    }
}

/// Tasks with their epochs; releases before 4.3 wrote no epochs, and meant the member's.
fn epochs_of(tasks: &[TaskIds], member_epoch: i32) -> EpochsBySubtopology {
    let by_subtopology = tasks.iter().map(|tasks| {
        let epochs = tasks
            .assignment_epochs
            .as_ref()
            .filter(|epochs| epochs.len() == tasks.partitions.len());
        let partitions = tasks.partitions.iter().enumerate();
        let with_epochs = partitions
            .map(|(index, task)| (*task, epochs.map_or(member_epoch, |epochs| epochs[index])));
        (tasks.subtopology_id.detached(), with_epochs.collect())
    });
    by_subtopology.collect()
}

fn tasks_of(tasks: &[TaskIds]) -> TasksBySubtopology {
    let by_subtopology = tasks.iter().map(|tasks| {
        let partitions = tasks.partitions.iter().copied().collect();
        (tasks.subtopology_id.detached(), partitions)
    });
    by_subtopology.collect()
}
