/// Who appends: it decides what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client's producer: sequence numbers are checked, duplicates are recognised.
    Client,
    /// A coordinator of this broker: records of groups and transactions, and markers.
    Coordinator,
    /// The leader of the partition, of which this is a follower: its word is taken.
    Replication,
    /// The leader of the metadata quorum.
    RaftLeader,
}
