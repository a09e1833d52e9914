//! The share protocol's requests to the state of one partition.

use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};

use super::StartPartitions;
use super::group::ShareGroup;
use super::heartbeat::validate_heartbeat;
use super::records;
use super::target::ShareDecision;
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::{Client, Decision, Effects, Now};
use crate::group::member_epoch::{EPOCH_JOIN, EPOCH_LEAVE};
use crate::group::pace::RefreshDeadline;
use crate::group::refusal::Refusal;
use crate::record::CoordinatorRecord;

/// The answer to a heartbeat, and what is to be done besides once its records are committed.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareHeartbeat {
    /// To the member.
    pub response: ShareGroupHeartbeatResponse,
    /// Partitions whose state the share coordinator is to begin to keep.
    pub starting: Option<StartPartitions>,
}

impl From<ShareGroupHeartbeatResponse> for ShareHeartbeat {
    fn from(response: ShareGroupHeartbeatResponse) -> Self {
        Self {
            response,
            starting: None,
        }
    }
}

impl GroupCoordinator {
    /// ShareGroupHeartbeat.
    pub fn share_group_heartbeat(
        &mut self,
        now: Now,
        client: &Client,
        request: &ShareGroupHeartbeatRequest,
    ) -> Decision<ShareHeartbeat> {
        let decided = validate_heartbeat(request).and_then(|()| {
            if request.member_epoch == EPOCH_LEAVE {
                self.leave_share_group(now, request)
            } else {
                self.heartbeat_share(now, client, request)
            }
        });
        decided.unwrap_or_else(|refusal| {
            let response = ShareGroupHeartbeatResponse {
                error_code: refusal.error.0,
                error_message: refusal.message,
                ..ShareGroupHeartbeatResponse::default()
            };
            Decision::without_records(response.into())
        })
    }

    fn leave_share_group(
        &mut self,
        now: Now,
        request: &ShareGroupHeartbeatRequest,
    ) -> Result<Decision<ShareHeartbeat>, Refusal> {
        let group = self.share_group(&request.group_id)?;
        let Some(member) = group.members.get(&request.member_id) else {
            return Err(Refusal::unknown_member(
                &request.member_id,
                &request.group_id,
            ));
        };
        let member = Arc::clone(member);
        let effects = self.fence_share_member(now, &request.group_id, &member.member_id);
        let response = ShareGroupHeartbeatResponse {
            member_id: Some(request.member_id.clone()),
            member_epoch: request.member_epoch,
            ..ShareGroupHeartbeatResponse::default()
        };
        Ok(effects.with(response.into()))
    }

    fn heartbeat_share(
        &mut self,
        now: Now,
        client: &Client,
        request: &ShareGroupHeartbeatRequest,
    ) -> Result<Decision<ShareHeartbeat>, Refusal> {
        let group_id = &request.group_id;
        let new_group = match self.groups.get(group_id) {
            None if request.member_epoch == EPOCH_JOIN => {
                Some(ShareGroup::new(group_id.detached()))
            }
            None => {
                return Err(Refusal::group_id_not_found(format!(
                    "Share group {group_id} not found."
                )));
            }
            Some(_) => None,
        };
        let group = match (&new_group, self.groups.get(group_id)) {
            (Some(group), _) => group,
            (None, Some(Group::Share(group))) => &**group,
            (None, _) => return Err(not_a_share_group(group_id)),
        };
        let mut decision = ShareDecision {
            group,
            timers: &mut self.timers,
            metadata: &mut self.metadata,
            config: &self.config,
            counts: &mut self.counts,
            effects: Effects::default(),
            refresh: None,
            now,
        };
        let heartbeat = decision.heartbeat(client, request)?;
        let (effects, refresh) = (decision.effects, decision.refresh);
        if new_group.is_none() {
            self.set_share_refresh(group_id, refresh);
        }
        Ok(effects.with(heartbeat))
    }

    fn set_share_refresh(&mut self, group_id: &KafkaString, refresh: Option<RefreshDeadline>) {
        if let Some(refresh) = refresh
            && let Some(Group::Share(group)) = self.groups.get_mut(group_id)
        {
            group.refresh_deadline = refresh;
        }
    }

    /// The share group of that id.
    pub(super) fn share_group(&self, group_id: &KafkaString) -> Result<&ShareGroup, Refusal> {
        match self.groups.get(group_id) {
            Some(Group::Share(group)) => Ok(group),
            Some(_) => Err(not_a_share_group(group_id)),
            None => Err(Refusal::group_id_not_found(format!(
                "Group {group_id} not found."
            ))),
        }
    }

    /// Takes the share group in hand, if there is one of that id.
    fn with_share(
        &mut self,
        now: Now,
        group_id: &KafkaString,
        decide: impl FnOnce(&mut ShareDecision<'_>),
    ) -> Effects {
        let Some(Group::Share(group)) = self.groups.get(group_id) else {
            return Effects::default();
        };
        let mut decision = ShareDecision {
            group,
            timers: &mut self.timers,
            metadata: &mut self.metadata,
            config: &self.config,
            counts: &mut self.counts,
            effects: Effects::default(),
            refresh: None,
            now,
        };
        decide(&mut decision);
        decision.effects
    }

    /// Nothing was heard of the member in time, or it leaves.
    pub(in crate::group) fn fence_share_member(
        &mut self,
        now: Now,
        group_id: &KafkaString,
        member_id: &KafkaString,
    ) -> Effects {
        self.with_share(now, group_id, |decision| {
            let group = decision.group;
            if let Some(member) = group.members.get(member_id) {
                tracing::info!(
                    group = %group_id,
                    member = %member_id,
                    "a member is out of the share group"
                );
                decision.fence(member);
            }
        })
    }

    /// All records have been replayed: the members of the group are expected to be heard of.
    pub(in crate::group) fn expect_share_members(&mut self, now: Now, group_id: &KafkaString) {
        self.with_share(now, group_id, |decision| {
            let group = decision.group;
            for member_id in group.members.keys() {
                decision.expect_heartbeat(member_id);
            }
        });
    }
}

impl ShareGroup {
    /// Takes back all that the log has of the group.
    pub(in crate::group) fn tombstones(&self) -> Vec<CoordinatorRecord> {
        records::group_tombstones(self)
    }
}

fn not_a_share_group(group_id: &str) -> Refusal {
    Refusal::group_id_not_found(format!("Group {group_id} is not a share group."))
}
