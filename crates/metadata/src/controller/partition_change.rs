//! What a partition's next state is, and the record that makes it: elections, ISR, eligible
//! leader replicas (KIP-966), completion of reassignments (KIP-455), epochs.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::Uuid;
use ottla_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use ottla_protocol::messages::PartitionChangeRecord;

use crate::features::MetadataVersion;
use crate::image::{LeaderRecoveryState, PartitionRegistration, numbers};

/// Who may become leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    /// The preferred replica if it can; else the leader stays.
    Preferred,
    /// The leader stays if it can; else the first replica that can, cleanly.
    Online,
    /// As `Online`; but rather any living replica than none.
    Unclean,
}

/// What holds for the whole cluster or topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangeRules {
    pub(super) metadata_version: MetadataVersion,
    pub(super) eligible_leader_replicas: bool,
    pub(super) min_insync_replicas: usize,
}

/// Asks about a broker.
type Asks<'a, T> = &'a dyn Fn(BrokerId) -> T;

/// A change of a partition in the making: targets start as the present state.
pub(super) struct PartitionChange<'a> {
    partition: &'a PartitionRegistration,
    rules: ChangeRules,
    may_lead: Asks<'a, bool>,
    default_directory: Asks<'a, Uuid>,
    pub(super) isr: Vec<BrokerId>,
    pub(super) replicas: Vec<BrokerId>,
    pub(super) removing: Vec<BrokerId>,
    pub(super) adding: Vec<BrokerId>,
    pub(super) election: Election,
    pub(super) leader_recovery_state: LeaderRecoveryState,
    pub(super) unclean_shutdown: Option<BrokerId>,
    eligible: Vec<BrokerId>,
    directories: BTreeMap<BrokerId, Uuid>,
}

impl<'a> PartitionChange<'a> {
    pub(super) fn new(
        partition: &'a PartitionRegistration,
        rules: ChangeRules,
        may_lead: Asks<'a, bool>,
        default_directory: Asks<'a, Uuid>,
    ) -> Self {
        let directories = partition
            .replicas
            .iter()
            .copied()
            .zip(partition.directories.clone());
        Self {
            partition,
            rules,
            may_lead,
            default_directory,
            isr: partition.isr.clone(),
            replicas: partition.replicas.clone(),
            removing: partition.removing_replicas.clone(),
            adding: partition.adding_replicas.clone(),
            election: Election::Online,
            leader_recovery_state: partition.leader_recovery_state,
            unclean_shutdown: None,
            eligible: partition.eligible_leader_replicas.clone(),
            directories: directories.collect(),
        }
    }

    /// Puts a broker's replica into this directory.
    pub(super) fn set_directory(&mut self, broker: BrokerId, directory: Uuid) {
        self.directories.insert(broker, directory);
    }

    /// The record, or nothing when nothing changes.
    pub(super) fn build(
        mut self,
        topic_id: TopicId,
        index: PartitionIndex,
    ) -> Option<PartitionChangeRecord> {
        let nothing = PartitionChangeRecord {
            topic_id: topic_id.0,
            partition_id: index.0,
            ..PartitionChangeRecord::default()
        };
        let mut record = nothing.clone();
        self.complete_reassignment();
        self.update_eligible();
        self.elect(&mut record);
        self.bump_leader_epoch_for_reassignment(&mut record);
        if record.isr.is_some() || !self.rules.eligible_leader_replicas {
            self.eligible.clear();
        }
        if self.eligible != self.partition.eligible_leader_replicas {
            record.eligible_leader_replicas = Some(numbers(&self.eligible));
        }
        // Without eligible leader replicas an ISR is never empty: its last member stays.
        let isr_may_change = !self.isr.is_empty() || self.rules.eligible_leader_replicas;
        if record.isr.is_none() && isr_may_change && self.isr != self.partition.isr {
            record.isr = Some(numbers(&self.isr));
        }
        self.bump_leader_epoch_for_isr_shrink(&mut record);
        self.remember_last_leader(&mut record);
        self.assign(&mut record);
        if self.leader_recovery_state != self.partition.leader_recovery_state {
            record.leader_recovery_state = self.leader_recovery_state.number();
        }
        (record != nothing).then_some(record)
    }

    /// Ends the reassignment when the ISR holds what it adds, and something is left after what
    /// it removes.
    fn complete_reassignment(&mut self) {
        if self.removing.is_empty() && self.adding.is_empty() {
            return;
        }
        let stays = |id: &&BrokerId| !self.removing.contains(id);
        let isr: Vec<_> = self.isr.iter().filter(stays).copied().collect();
        let replicas: Vec<_> = self.replicas.iter().filter(stays).copied().collect();
        if !self.removing.is_empty() && (isr.is_empty() || replicas.is_empty()) {
            return;
        }
        if !self.adding.iter().all(|id| isr.contains(id)) {
            return;
        }
        // A shrinking reassignment must not leave fewer in sync than it leaves replicas.
        if self.adding.len() < self.removing.len() && !replicas.iter().all(|id| isr.contains(id)) {
            return;
        }
        self.isr = isr;
        self.replicas = replicas;
        self.removing.clear();
        self.adding.clear();
    }

    /// Who leaves the ISR below `min.insync.replicas` stays eligible, unless it may have lost
    /// records by an unclean shutdown (KIP-966).
    fn update_eligible(&mut self) {
        if !self.rules.eligible_leader_replicas {
            return;
        }
        if self.isr.len() >= self.rules.min_insync_replicas {
            self.eligible.clear();
            return;
        }
        let candidates: BTreeSet<BrokerId> = self
            .eligible
            .iter()
            .chain(&self.partition.isr)
            .copied()
            .collect();
        self.eligible = candidates
            .into_iter()
            .filter(|id| !self.isr.contains(id) && self.unclean_shutdown != Some(*id))
            .collect();
    }

    fn elect(&mut self, record: &mut PartitionChangeRecord) {
        let (leader, unclean) = self.elected();
        if leader == self.partition.leader {
            return;
        }
        if let Some(leader) = leader
            && self.eligible.contains(&leader)
        {
            self.isr = vec![leader];
            self.eligible.retain(|id| *id != leader);
        }
        record.leader = leader.map_or(-1, |leader| leader.0);
        if unclean {
            // The others may hold records that the new leader lacks.
            record.isr = leader.map(|leader| vec![leader.0]);
            if self.partition.leader_recovery_state != LeaderRecoveryState::Recovering {
                record.leader_recovery_state = LeaderRecoveryState::Recovering.number();
            }
        }
    }

    /// The leader, and whether it may lack acknowledged records.
    fn elected(&self) -> (Option<BrokerId>, bool) {
        let clean = self.elected_cleanly();
        if clean.is_some() {
            return (clean, false);
        }
        if let Some(last) = self.last_known_leader() {
            return (Some(last), true);
        }
        if self.election == Election::Unclean {
            let any = self
                .replicas
                .iter()
                .copied()
                .find(|id| (self.may_lead)(*id));
            return (any, any.is_some());
        }
        (None, false)
    }

    fn elected_cleanly(&self) -> Option<BrokerId> {
        let preferred = (self.election == Election::Preferred)
            .then(|| self.replicas.first().copied())
            .flatten();
        preferred
            .into_iter()
            .chain(self.partition.leader)
            .chain(self.replicas.iter().copied())
            .find(|id| self.is_valid_leader(*id))
    }

    /// In sync; or when nobody is, eligible.
    fn is_valid_leader(&self, id: BrokerId) -> bool {
        let complete = self.isr.contains(&id) || self.isr.is_empty() && self.eligible.contains(&id);
        complete && (self.may_lead)(id)
    }

    /// Who led last may lead again when nobody in sync or eligible is left: the balanced
    /// recovery of KIP-966. It is what brings a single node back after a crash.
    fn last_known_leader(&self) -> Option<BrokerId> {
        let [last] = self.partition.last_known_eligible_leader_replicas[..] else {
            return None;
        };
        let possible = self.rules.eligible_leader_replicas
            && self.isr.is_empty()
            && self.eligible.is_empty()
            && (self.may_lead)(last);
        possible.then_some(last)
    }

    /// A replica that is taken away must not go on fetching under the same epoch.
    fn bump_leader_epoch_for_reassignment(&self, record: &mut PartitionChangeRecord) {
        let shrinks = self
            .partition
            .replicas
            .iter()
            .any(|id| !self.replicas.contains(id));
        if record.leader == -2 && shrinks {
            record.leader = self.partition.leader_id();
        }
    }

    /// Brokers before 3.6 notice a smaller ISR only with a new leader epoch (KAFKA-15021).
    fn bump_leader_epoch_for_isr_shrink(&self, record: &mut PartitionChangeRecord) {
        let Some(isr) = &record.isr else { return };
        let shrinks = self.partition.isr.iter().any(|id| !isr.contains(&id.0));
        let needed = self
            .rules
            .metadata_version
            .needs_leader_epoch_bump_on_isr_shrink();
        if needed && record.leader == -2 && shrinks {
            record.leader = self.partition.leader_id();
        }
    }

    fn remember_last_leader(&self, record: &mut PartitionChangeRecord) {
        if !self.rules.eligible_leader_replicas {
            return;
        }
        let remembered = &self.partition.last_known_eligible_leader_replicas;
        if record.leader == -1 && remembered.is_empty() {
            record.last_known_elr = Some(vec![self.partition.leader_id()]);
        } else if record.leader >= 0 && !remembered.is_empty() {
            record.last_known_elr = Some(Vec::new());
        }
    }

    fn assign(&self, record: &mut PartitionChangeRecord) {
        if !self.replicas.is_empty() {
            if self.rules.metadata_version.supports_directory_assignment() {
                let directory = |id: &BrokerId| {
                    let known = self.directories.get(id).copied();
                    known.unwrap_or_else(|| (self.default_directory)(*id))
                };
                let directories: Vec<Uuid> = self.replicas.iter().map(directory).collect();
                if directories != self.partition.directories {
                    record.directories = Some(directories);
                }
            }
            if self.replicas != self.partition.replicas {
                record.replicas = Some(numbers(&self.replicas));
            }
        }
        if self.removing != self.partition.removing_replicas {
            record.removing_replicas = Some(numbers(&self.removing));
        }
        if self.adding != self.partition.adding_replicas {
            record.adding_replicas = Some(numbers(&self.adding));
        }
    }
}
