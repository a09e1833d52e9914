//! What goes into the quorum and what comes out of it.

use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, ApiVersionsRequest, ApiVersionsResponse,
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest,
    EndQuorumEpochResponse, FetchRequest, FetchResponse, FetchSnapshotRequest,
    FetchSnapshotResponse, RemoveRaftVoterRequest, RemoveRaftVoterResponse, UpdateRaftVoterRequest,
    UpdateRaftVoterResponse, VoteRequest, VoteResponse,
};

use crate::snapshot::SnapshotId;
use crate::voter_history::VoterHistory;

/// The two clocks of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Never goes back: deadlines are reckoned with it.
    pub monotonic_ms: i64,
    /// The time of day, which may jump: it only becomes timestamps.
    pub wall_ms: i64,
}

/// A request of the quorum.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Asks for a vote, or whether there would be one (KIP-595, KIP-996).
    Vote(VoteRequest),
    /// A leader makes itself known to a voter.
    BeginQuorumEpoch(BeginQuorumEpochRequest),
    /// A leader gives up.
    EndQuorumEpoch(EndQuorumEpochRequest),
    /// A replica asks for what comes next in the log.
    Fetch(FetchRequest),
    /// A replica asks for a part of a snapshot (KIP-630).
    FetchSnapshot(FetchSnapshotRequest),
    /// Adds a voter (KIP-853).
    AddRaftVoter(AddRaftVoterRequest),
    /// Removes a voter (KIP-853).
    RemoveRaftVoter(RemoveRaftVoterRequest),
    /// Tells a voter's endpoints and the versions that it supports (KIP-853).
    UpdateRaftVoter(UpdateRaftVoterRequest),
    /// Asks a node that is to be a voter what it supports (KIP-853). The owner answers this one by
    /// itself where it comes in.
    ApiVersions(ApiVersionsRequest),
}

/// The response to a [`Request`].
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To [`Request::Vote`].
    Vote(VoteResponse),
    /// To [`Request::BeginQuorumEpoch`].
    BeginQuorumEpoch(BeginQuorumEpochResponse),
    /// To [`Request::EndQuorumEpoch`].
    EndQuorumEpoch(EndQuorumEpochResponse),
    /// To [`Request::Fetch`].
    Fetch(FetchResponse),
    /// To [`Request::FetchSnapshot`].
    FetchSnapshot(FetchSnapshotResponse),
    /// To [`Request::AddRaftVoter`].
    AddRaftVoter(AddRaftVoterResponse),
    /// To [`Request::RemoveRaftVoter`].
    RemoveRaftVoter(RemoveRaftVoterResponse),
    /// To [`Request::UpdateRaftVoter`].
    UpdateRaftVoter(UpdateRaftVoterResponse),
    /// To [`Request::ApiVersions`].
    ApiVersions(ApiVersionsResponse),
}

/// Names a request that came in, for its response. The owner chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names a request that went out, for its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CorrelationId(pub u64);

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The node; `None` for a bootstrap server, of which only the address is known.
    pub node: Option<BrokerId>,
    /// The host.
    pub host: KafkaString,
    /// The port.
    pub port: u16,
}

/// What the owner puts into a response, since the quorum has no files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// Into the partition's `records`: whole batches of the log from this offset on, of
    /// `bytes_max` bytes or the first one.
    Records {
        /// The offset of the first record.
        from: Offset,
        /// How many bytes at the most.
        bytes_max: i32,
    },
    /// Into the partition's `size` and `unaligned_records`: the size of this snapshot's file, and
    /// its bytes from `position` on. Where there is no such file the error code becomes
    /// `SNAPSHOT_NOT_FOUND`; where it has no such position, `POSITION_OUT_OF_RANGE`.
    Snapshot {
        /// Which snapshot.
        id: SnapshotId,
        /// Where the part begins, in bytes.
        position: i64,
        /// How many bytes at the most.
        bytes_max: i32,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The election state is on the disk.
    ElectionStatePersisted,
    /// The log ends here now; it may be lost yet.
    Appended(Offset),
    /// Everything before this offset is on the disk.
    Synced(Offset),
    /// A snapshot was written and synced.
    SnapshotTaken(SnapshotId),
    /// What stood before this offset was deleted from the log; a snapshot holds it.
    LogStartAdvanced(Offset),
    /// [`Output::InstallSnapshot`] is done: the snapshot is synced, the log is empty and starts at
    /// its end. With what the snapshot says of the voters.
    SnapshotInstalled(SnapshotId, VoterHistory),
    /// A request came in.
    Received(RequestId, Request),
    /// A response came in.
    Answered(CorrelationId, Response),
    /// A request could not be sent, or its connection broke before the response.
    Failed(CorrelationId),
    /// As [`Input::Failed`], because nobody listens where the peer did: the peer's own host says so.
    Refused(CorrelationId),
    /// The log can't be written any more, or the node should not lead.
    Resign,
    /// The node is about to stop: it resigns, and takes part in no election any more.
    Shutdown,
    /// Time has passed.
    Tick,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Put the start of the log at the end of this snapshot: the log lacks what it holds.
    TruncateFullyTo(SnapshotId),
    /// Remove from the log what stands at this offset and beyond: the leader's log differs. Never
    /// below the high watermark.
    TruncateTo(Offset),
    /// Write this as the content of `quorum-state`, and sync it.
    PersistElectionState(String),
    /// This node leads from now on. Records of earlier epochs are committed when the high
    /// watermark has passed the start of this epoch.
    BecameLeader {
        /// The epoch that it leads in.
        epoch: LeaderEpoch,
        /// Where the epoch begins in the log.
        epoch_start_offset: Offset,
    },
    /// Append these batches to the log, and sync them.
    Append(Vec<u8>),
    /// What stands before this offset is committed: it stays for good.
    HighWatermarkAdvanced(Offset),
    /// This node doesn't lead any more. What is not committed may be lost.
    Resigned {
        /// The epoch that it led in.
        epoch: LeaderEpoch,
    },
    /// Send a request, and hand back its response with the same id.
    Send(CorrelationId, Destination, Request),
    /// Answer a request.
    Respond(RequestId, Response, Content),
    /// Write a part of a snapshot that is being fetched to its file. Position 0 begins it anew.
    WriteSnapshot {
        /// Which snapshot.
        id: SnapshotId,
        /// Where the part goes, in bytes.
        position: i64,
        /// The part.
        bytes: Bytes,
    },
    /// The snapshot is whole: check it, sync it, give it its name, empty the log so that it starts
    /// at its end, and load it in place of all state. Answered with [`Input::SnapshotInstalled`].
    InstallSnapshot(SnapshotId),
}
