//! StreamsGroupHeartbeat: a member joins, tells what it has, learns what it is to have.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::messages::streams_group_heartbeat_request::TaskIds;
use ottla_protocol::messages::streams_group_heartbeat_response as response;
use ottla_protocol::messages::{StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::configured::{ConfiguredSubtopology, ConfiguredTopology, Status};
use super::coordinate::StreamsHeartbeat;
use super::decision::{Assignable, StreamsDecision, Target};
use super::endpoints::partitions_by_endpoint;
use super::member::StreamsMember;
use super::reconcile::Reconciliation;
use super::records::{self, GroupMetadata};
use super::tasks::{Owned, in_hash_order};
use super::topology::{Topology, record_value};
use crate::group::decision::Client;
use crate::group::member_epoch::EPOCH_JOIN;
use crate::group::pace::RefreshDeadline;
use crate::group::refusal::Refusal;
use crate::group::timers::TimerAction;

/// The epoch of a topology that lacks topics.
const TOPOLOGY_EPOCH_NONE: i32 = -1;

/// A topology beside the topics that there are.
struct Looked {
    configured: Arc<ConfiguredTopology>,
    metadata_hash: i64,
    has_changed: bool,
}

impl StreamsDecision<'_> {
    /// A member that stays or joins. The group may be one that is about to be.
    pub(super) fn heartbeat(
        &mut self,
        client: &Client,
        request: &StreamsGroupHeartbeatRequest,
        is_new_group: bool,
    ) -> Result<StreamsHeartbeat, Refusal> {
        let owned = owned_of(request);
        let earlier = self.find_member(request, owned)?;
        let mut updated = earlier.with_request(client, request)?;
        let is_member_changed = self.note_member(&earlier, &updated);
        let topology = self.update_topology(request)?;
        self.note_stale_topology(&updated);
        let looked = self.look_at_topics(&topology)?;
        let configured = looked.configured.clone();
        check_tasks(&configured, owned)?;
        let configs = self.settings().assignment_configs();
        let group_epoch = self.update_epoch(&looked, is_member_changed, &configs);
        if self.group.is_empty() {
            self.delay_first_assignment();
        }
        let target = self.update_target(Assignable {
            group_epoch,
            member: Some(&updated),
            topology: &configured,
            configs: &configs,
        });
        updated = self.reconcile(updated, &target, owned)?;
        self.expect_heartbeat(&updated.member_id);
        if request.shutdown_application {
            self.request_shutdown(&updated.member_id);
        }
        self.respond((request, is_new_group), (&earlier, &updated), &configured)
    }

    fn find_member(
        &self,
        request: &StreamsGroupHeartbeatRequest,
        owned: Owned<'_>,
    ) -> Result<Arc<StreamsMember>, Refusal> {
        let group = self.group;
        let is_joining = request.member_epoch == EPOCH_JOIN;
        if is_joining {
            self.check_size()?;
        }
        let member = match group.member(&request.member_id) {
            Some(member) => Arc::clone(member),
            None if is_joining => Arc::new(StreamsMember::new(request.member_id.detached())),
            None => return Err(Refusal::unknown_member(&request.member_id, &group.group_id)),
        };
        check_epoch(&member, request.member_epoch, owned)?;
        if is_joining {
            tracing::info!(
                group = %group.group_id,
                member = %member.member_id,
                "a member joins by the streams protocol"
            );
        }
        Ok(member)
    }

    /// A full group takes nobody in, not even who is in it already.
    fn check_size(&self) -> Result<(), Refusal> {
        let size_max = self.config.streams.group_size_max;
        if self.group.members.len() < size_max {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::GROUP_MAX_SIZE_REACHED,
            format!("The streams group has reached its maximum capacity of {size_max} members."),
        ))
    }

    /// Writes down that the member has changed, if it has.
    fn note_member(&mut self, earlier: &StreamsMember, updated: &StreamsMember) -> bool {
        let has_changed = earlier != updated;
        if has_changed {
            let record = records::member_metadata(&self.group.group_id, updated);
            self.effects.records.push(record);
        }
        has_changed
    }

    /// The group's topology; the first member hands it in.
    fn update_topology(
        &mut self,
        request: &StreamsGroupHeartbeatRequest,
    ) -> Result<Arc<Topology>, Refusal> {
        let known = self.group.topology.clone();
        let Some(said) = &request.topology else {
            return known.ok_or_else(Refusal::unexpected);
        };
        let parsed = Topology::from_request(said)?;
        let Some(known) = known else {
            tracing::info!(
                group = %self.group.group_id,
                member = %request.member_id,
                topology_epoch = said.epoch,
                "a member hands in the topology of the group"
            );
            let record = records::topology(&self.group.group_id, record_value(said));
            self.effects.records.push(record);
            return Ok(Arc::new(parsed));
        };
        // Members of an earlier release of the application get along with the topology as it is.
        if known.epoch <= said.epoch && *known != parsed {
            return Err(Refusal::invalid_request(
                "Topology updates are not supported yet.",
            ));
        }
        Ok(known)
    }

    fn note_stale_topology(&mut self, member: &StreamsMember) {
        let group_epoch = self.group.topology.as_ref().map(|topology| topology.epoch);
        if let Some(group_epoch) = group_epoch
            && member.topology_epoch < group_epoch
        {
            self.say(
                Status::StaleTopology,
                format!(
                    "The member's topology epoch {} is behind the group's topology epoch {group_epoch}.",
                    member.topology_epoch
                ),
            );
        }
    }

    /// Looks at the topics that the topology needs, if they may have changed.
    fn look_at_topics(&mut self, topology: &Topology) -> Result<Looked, Refusal> {
        let group = self.group;
        let is_first = group.topology.is_none();
        let known = self.volatile.configured.clone();
        let deadline = self.volatile.refresh_deadline;
        if let (false, Some(configured)) = (is_first, &known)
            && !deadline.has_come(self.now, group.group_epoch)
        {
            return Ok(Looked {
                configured: Arc::clone(configured),
                metadata_hash: group.metadata_hash,
                has_changed: false,
            });
        }
        let required = topology.required_topics();
        let mut names: Vec<&KafkaString> = required.keys().collect();
        names.sort();
        let metadata_hash = self.metadata.group_hash(names.into_iter());
        let has_changed = metadata_hash != group.metadata_hash;
        let configured = match known {
            Some(configured) if !is_first && !has_changed => configured,
            _ => Arc::new(ConfiguredTopology::of(topology, self.metadata)?),
        };
        self.volatile.configured = Some(Arc::clone(&configured));
        Ok(Looked {
            configured,
            metadata_hash,
            has_changed,
        })
    }

    /// Enters a new epoch if the members, the topics or what an assignment goes by have changed.
    fn update_epoch(
        &mut self,
        looked: &Looked,
        is_member_changed: bool,
        configs: &BTreeMap<KafkaString, KafkaString>,
    ) -> i32 {
        let group = self.group;
        let validated_topology_epoch = if looked.configured.is_ready() {
            looked.configured.epoch
        } else {
            TOPOLOGY_EPOCH_NONE
        };
        let is_due = is_member_changed
            || looked.has_changed
            || validated_topology_epoch != group.validated_topology_epoch
            || *configs != group.last_assignment_configs;
        if !is_due {
            return group.group_epoch;
        }
        let epoch = group.group_epoch + 1;
        self.bump_epoch(&GroupMetadata {
            epoch,
            metadata_hash: looked.metadata_hash,
            validated_topology_epoch,
            assignment_configs: configs,
        });
        self.counts.streams_rebalances += 1;
        self.volatile.refresh_deadline = RefreshDeadline::after(self.now, epoch);
        epoch
    }

    /// The first member of a group comes: others may be about to.
    fn delay_first_assignment(&mut self) {
        let delay_ms = self.settings().initial_rebalance_delay_ms;
        let key = self.initial_assignment_key();
        if delay_ms > 0 && !self.timers.is_scheduled(&key) {
            self.schedule(key, delay_ms, TimerAction::AssignFirst);
        }
    }

    /// Leads the member one step on, and writes down what has changed.
    fn reconcile(
        &mut self,
        member: StreamsMember,
        target: &Target,
        owned: Owned<'_>,
    ) -> Result<StreamsMember, Refusal> {
        if member.is_reconciled_to(target.epoch) {
            return Ok(member);
        }
        let owned = owned.tasks()?;
        let reconciliation = Reconciliation {
            group: self.group,
            target_epoch: target.epoch,
            target: &target.tasks,
            owned: owned.as_ref(),
        };
        let updated = reconciliation.step(&member)?;
        if updated != member {
            let record = records::current_assignment(&self.group.group_id, &updated);
            self.effects.records.push(record);
            self.expect_revocation(&updated);
        }
        Ok(updated)
    }

    pub(super) fn request_shutdown(&mut self, member_id: &KafkaString) {
        if self.volatile.shutdown_requested_by.is_none() {
            tracing::info!(
                group = %self.group.group_id,
                member = %member_id,
                "a member wants the application to be shut down"
            );
            self.volatile.shutdown_requested_by = Some(member_id.detached());
        }
    }

    fn respond(
        &mut self,
        (request, is_new_group): (&StreamsGroupHeartbeatRequest, bool),
        (earlier, updated): (&StreamsMember, &StreamsMember),
        configured: &ConfiguredTopology,
    ) -> Result<StreamsHeartbeat, Refusal> {
        let mut response = StreamsGroupHeartbeatResponse {
            member_id: updated.member_id.clone(),
            member_epoch: updated.member_epoch,
            heartbeat_interval_ms: self.settings().heartbeat_interval_ms,
            ..StreamsGroupHeartbeatResponse::default()
        };
        if request.member_epoch == EPOCH_JOIN || earlier.assigned != updated.assigned {
            tell_tasks(&mut response, updated);
            if updated.user_endpoint.is_some() {
                self.volatile.endpoint_information_epoch += 1;
            }
        }
        let endpoint_epoch = self.volatile.endpoint_information_epoch;
        if endpoint_epoch != request.endpoint_information_epoch {
            let partitions =
                partitions_by_endpoint(self.group, updated, (configured, self.metadata))?;
            response.partitions_by_user_endpoint = Some(partitions);
        }
        // What a group counts begins when its first records are there.
        if !is_new_group {
            response.endpoint_information_epoch = endpoint_epoch;
        }
        if let Some(obstacle) = &configured.obstacle {
            self.say(obstacle.status, obstacle.detail.clone());
        }
        if let Some(member_id) = self.volatile.shutdown_requested_by.clone() {
            self.say(
                Status::ShutdownApplication,
                format!(
                    "Streams group member {member_id} encountered a fatal error and requested a shutdown for the entire application."
                ),
            );
        }
        let statuses = self
            .statuses
            .drain(..)
            .map(|(status, detail)| response::Status {
                status_code: status.code(),
                status_detail: KafkaString::from(detail),
                ..response::Status::default()
            });
        response.status = Some(statuses.collect());
        Ok(StreamsHeartbeat {
            response,
            topics_to_create: configured.missing_topics.clone(),
            topic_creation_retry_ms: i64::from(self.settings().heartbeat_interval_ms) * 2,
        })
    }
}

fn owned_of(request: &StreamsGroupHeartbeatRequest) -> Owned<'_> {
    Owned {
        active: request.active_tasks.as_deref(),
        standby: request.standby_tasks.as_deref(),
        warmup: request.warmup_tasks.as_deref(),
    }
}

/// Whether the member may speak in this epoch: its own, or the one before, if it has lost the
/// response that told of its own, and has nothing that it was not given.
fn check_epoch(member: &StreamsMember, received: i32, owned: Owned<'_>) -> Result<(), Refusal> {
    let known = member.member_epoch;
    if received == EPOCH_JOIN || received == known {
        return Ok(());
    }
    let is_previous = received == member.previous_member_epoch;
    if received < known && is_previous && owned.is_within(&member.assigned) {
        return Ok(());
    }
    let which = if received > known {
        "greater"
    } else {
        "smaller"
    };
    Err(Refusal::fenced_member_epoch(format!(
        "The streams group member has a {which} member epoch ({received}) than the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin."
    )))
}

/// Whether the member has tasks only that the topology has.
fn check_tasks(configured: &ConfiguredTopology, owned: Owned<'_>) -> Result<(), Refusal> {
    let Some(subtopologies) = configured.subtopologies.as_ref() else {
        return Ok(());
    };
    if !configured.is_ready() {
        return Ok(());
    }
    for tasks in [owned.active, owned.standby, owned.warmup]
        .into_iter()
        .flatten()
        .flatten()
    {
        let subtopology = subtopologies.get(&tasks.subtopology_id);
        check_subtopology_tasks(subtopology, tasks)?;
    }
    Ok(())
}

fn check_subtopology_tasks(
    subtopology: Option<&ConfiguredSubtopology>,
    tasks: &TaskIds,
) -> Result<(), Refusal> {
    let id = &tasks.subtopology_id;
    let Some(subtopology) = subtopology else {
        return Err(Refusal::invalid_request(format!(
            "Subtopology {id} does not exist in the topology."
        )));
    };
    let task_count = subtopology.task_count;
    for task in &tasks.partitions {
        if !(0..task_count).contains(task) {
            return Err(Refusal::invalid_request(format!(
                "Task {task} for subtopology {id} is invalid. Number of tasks for this subtopology: {task_count}"
            )));
        }
    }
    Ok(())
}

fn tell_tasks(response: &mut StreamsGroupHeartbeatResponse, member: &StreamsMember) {
    let assigned = &member.assigned;
    let active = in_hash_order(&assigned.active);
    let active = active.map(|(id, epochs)| task_ids(id, epochs.keys()));
    response.active_tasks = Some(active.collect());
    let standby = in_hash_order(&assigned.standby);
    let standby = standby.map(|(id, tasks)| task_ids(id, tasks.iter()));
    response.standby_tasks = Some(standby.collect());
    let warmup = in_hash_order(&assigned.warmup);
    let warmup = warmup.map(|(id, tasks)| task_ids(id, tasks.iter()));
    response.warmup_tasks = Some(warmup.collect());
}

fn task_ids<'a>(
    subtopology_id: KafkaString,
    partitions: impl Iterator<Item = &'a i32>,
) -> response::TaskIds {
    response::TaskIds {
        subtopology_id,
        partitions: partitions.copied().collect(),
        ..response::TaskIds::default()
    }
}
