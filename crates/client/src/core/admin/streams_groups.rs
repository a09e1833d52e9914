//! Streams groups.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;

/// A streams group, its topology and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsGroupDescription {
    /// Its id.
    pub group_id: KafkaString,
    /// Its state.
    pub state: KafkaString,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// Its epoch.
    pub epoch: i32,
    /// The epoch of the assignment that is aimed at.
    pub assignment_epoch: i32,
    /// The epoch of the topology.
    pub topology_epoch: i32,
    /// The parts of the topology.
    pub subtopologies: Vec<Subtopology>,
    /// Its members.
    pub members: Vec<StreamsMemberDescription>,
}

/// A part of a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtopology {
    /// Its id.
    pub id: KafkaString,
    /// The topics that it reads.
    pub source_topics: Vec<KafkaString>,
    /// The repartition topics that it writes.
    pub repartition_sink_topics: Vec<KafkaString>,
    /// The topics of its states' changes.
    pub state_changelog_topics: Vec<KafkaString>,
    /// The repartition topics that it reads.
    pub repartition_source_topics: Vec<KafkaString>,
}

/// Partitions by subtopology.
pub type Tasks = BTreeMap<KafkaString, Vec<i32>>;

/// A member's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskAssignment {
    /// Those that it does.
    pub active: Tasks,
    /// Those whose state it keeps.
    pub standby: Tasks,
    /// Those whose state it is catching up with.
    pub warmup: Tasks,
}

/// A member of a streams group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsMemberDescription {
    /// Its id.
    pub member_id: KafkaString,
    /// Its epoch.
    pub epoch: i32,
    /// Its instance id, if it is static.
    pub instance_id: Option<KafkaString>,
    /// The client's id.
    pub client_id: KafkaString,
    /// The client's address.
    pub host: KafkaString,
    /// The epoch of its topology.
    pub topology_epoch: i32,
    /// The process that it is in.
    pub process_id: KafkaString,
    /// What it does.
    pub assignment: TaskAssignment,
    /// What it is to do.
    pub target_assignment: TaskAssignment,
    /// Whether it still speaks the classic protocol.
    pub is_classic: bool,
}
