//! Changes of the ISR: the leader asks, the controller decides, the leader takes the answer over.

use std::collections::BTreeSet;

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};

use super::follower_progress::{Brokers, FollowerFetch};
use super::leader_progress::{LeaderProgress, ProposedIsr};
use super::partition::{Effects, Partition, ReadRequest, Replica};

/// An ISR that a leader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IsrChange {
    pub(crate) leader_epoch: LeaderEpoch,
    /// The epoch of the state that the change starts from.
    pub(crate) partition_epoch: i32,
    pub(crate) isr: ProposedIsr,
}

/// What the controller says to a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IsrAnswer {
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) partition_epoch: i32,
    pub(crate) isr: Vec<BrokerId>,
}

/// Who leads, in which life, and how much followers may be behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeaderFacts {
    pub(crate) broker_epoch: i64,
    /// `replica.lag.time.max.ms`.
    pub(crate) lag_ms_max: i64,
    pub(crate) now_ms: i64,
}

impl Partition {
    /// Takes note of a follower's fetch: what it asks for shows what it has. That may move the high watermark, and let the follower join the ISR.
    ///
    /// A fetch from outside the log, or of a log that has left this one, shows nothing and changes nothing; [`Partition::read`] tells the follower.
    ///
    /// # Errors
    /// If this broker does not lead in that epoch, or the follower is none of this partition's, or its broker is of an earlier life.
    pub(crate) fn note_follower_fetch(
        &self,
        request: ReadRequest,
        fetch: FollowerFetch,
        (brokers, facts): (&dyn Brokers, LeaderFacts),
    ) -> Result<Effects, ErrorCode> {
        let mut replica = self.write_lock();
        replica.check_leader(request.current_leader_epoch.max(-1))?;
        if replica.has_diverged(request) {
            return Ok(Effects::default());
        }
        let within_lag = (facts.now_ms, facts.lag_ms_max);
        let Some(leading) = &mut replica.leading else {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        };
        let start = |leading: &LeaderProgress| {
            let follower = leading.followers().get(&fetch.replica_id)?;
            Some(follower.log_start_offset())
        };
        let start_before = start(leading);
        leading
            .note_fetch(fetch, brokers, within_lag)
            .map_err(|error| match error {
                // Before leader epochs nobody could tell who is late.
                ErrorCode::UNKNOWN_LEADER_EPOCH if request.current_leader_epoch < 0 => {
                    ErrorCode::NOT_LEADER_OR_FOLLOWER
                }
                error => error,
            })?;
        let is_start_moved = start(leading) != start_before;
        let wanted = leading.expanded_isr(fetch.replica_id);
        let isr_change = wanted.and_then(|isr| replica.propose(isr, self.broker_id(), facts));
        let effects = replica.after_change();
        Ok(Effects {
            isr_change,
            wake: effects.wake || is_start_moved,
            ..effects
        })
    }

    /// The smallest offset that any log starts at, this leader's or that of a follower whose broker lives: nothing before it is anywhere any more.
    ///
    /// # Errors
    /// If this broker does not lead.
    pub(crate) fn low_watermark(&self, brokers: &dyn Brokers) -> Result<Offset, ErrorCode> {
        let replica = self.read_lock();
        replica.check_leader(-1)?;
        let followers = replica
            .leading
            .iter()
            .flat_map(|leading| leading.followers());
        let living = followers.filter(|(id, _)| {
            brokers
                .standing(**id)
                .is_some_and(|standing| standing.is_active)
        });
        let starts = living.map(|(_, follower)| follower.log_start_offset());
        Ok(starts.fold(replica.log.log_start_offset(), Offset::min))
    }

    /// Looks whether followers have been behind for too long; the ISR may shrink by them.
    pub(crate) fn check_followers(&self, facts: LeaderFacts) -> Effects {
        let mut replica = self.write_lock();
        if replica.offline.is_some() {
            return Effects::default();
        }
        let Some(leading) = &mut replica.leading else {
            return Effects::default();
        };
        leading.forget_laggards(facts.now_ms, facts.lag_ms_max);
        let wanted = leading.shrunk_isr(facts.now_ms, facts.lag_ms_max);
        let isr_change = wanted.and_then(|isr| replica.propose(isr, self.broker_id(), facts));
        Effects {
            isr_change,
            ..replica.after_change()
        }
    }

    /// Takes the controller's answer to a change; the change comes back if it is to be asked for once more.
    pub(crate) fn isr_answered(
        &self,
        change: IsrChange,
        answer: Result<IsrAnswer, ErrorCode>,
        now_ms: i64,
    ) -> (Effects, Option<IsrChange>) {
        let mut replica = self.write_lock();
        let is_current = replica.leading.is_some()
            && replica.state.leader_epoch == change.leader_epoch
            && replica.state.partition_epoch == change.partition_epoch;
        if !is_current {
            return (Effects::default(), None);
        }
        let again = match answer {
            Ok(answer) => {
                replica.take_isr(answer, self.broker_id(), now_ms);
                None
            }
            Err(ErrorCode::INELIGIBLE_REPLICA | ErrorCode::OPERATION_NOT_ATTEMPTED) => {
                if let Some(leading) = &mut replica.leading {
                    leading.withdraw();
                }
                None
            }
            // The state that this leader knows is not the newest: that is on its way, and until it is here the change may have been made.
            Err(
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                | ErrorCode::UNKNOWN_TOPIC_ID
                | ErrorCode::NEW_LEADER_ELECTED
                | ErrorCode::FENCED_LEADER_EPOCH
                | ErrorCode::INVALID_UPDATE_VERSION
                | ErrorCode::INVALID_REQUEST,
            ) => None,
            Err(_) => Some(change),
        };
        let effects = Effects {
            wake: true,
            ..replica.after_change()
        };
        (effects, again)
    }
}

impl Replica {
    /// Whether the fetcher's log is not a beginning of this one, or lies outside it.
    fn has_diverged(&self, request: ReadRequest) -> bool {
        let within = self.log.log_start_offset().0..=self.log.log_end_offset().0;
        !within.contains(&request.offset) || self.diverging(request) != Ok(None)
    }

    fn propose(
        &mut self,
        isr: BTreeSet<BrokerId>,
        leader: BrokerId,
        facts: LeaderFacts,
    ) -> Option<IsrChange> {
        let leading = self.leading.as_mut()?;
        Some(IsrChange {
            leader_epoch: self.state.leader_epoch,
            partition_epoch: self.state.partition_epoch,
            isr: leading.propose(isr, (leader, facts.broker_epoch)),
        })
    }

    /// Takes an ISR over that the controller has decided, ahead of the metadata that says so.
    fn take_isr(&mut self, answer: IsrAnswer, broker_id: BrokerId, now_ms: i64) {
        let is_newer = answer.leader_epoch == self.state.leader_epoch
            && answer.partition_epoch >= self.state.partition_epoch;
        if let Some(leading) = self.leading.as_mut().filter(|_| is_newer) {
            let followers = |ids: &[BrokerId]| -> Vec<BrokerId> {
                ids.iter().copied().filter(|id| *id != broker_id).collect()
            };
            let replicas = followers(&self.state.replicas);
            leading.set_followers(replicas, followers(&answer.isr), now_ms);
            self.state.partition_epoch = answer.partition_epoch;
            self.state.isr = answer.isr;
        }
    }
}
