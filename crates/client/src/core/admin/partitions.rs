//! Partitions' leaders and replicas, as they are changed.

/// Whom an election may make leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// The first replica, if it is in sync.
    Preferred,
    /// Any live replica, in sync or not, where there is no leader; records may be lost.
    Unclean,
}

impl ElectionType {
    /// Its number in the protocol.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Self::Preferred => 0,
            Self::Unclean => 1,
        }
    }
}

/// A partition whose replicas are being changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reassignment {
    /// All replicas, those to come and those to go.
    pub replicas: Vec<i32>,
    /// Those to come.
    pub adding: Vec<i32>,
    /// Those to go.
    pub removing: Vec<i32>,
}
