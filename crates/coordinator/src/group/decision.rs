//! What goes into a decision and what comes out of it.

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{JoinGroupResponse, SyncGroupResponse};

use crate::record::CoordinatorRecord;

pub use crate::now::Now;

/// Names a request whose response may have to wait, unique among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// The client that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// What it calls itself.
    pub client_id: KafkaString,
    /// The address it comes from, as Java prints it: `/127.0.0.1`.
    pub client_host: KafkaString,
}

/// What a request that may wait brings besides its message.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    /// Names the request where its response is released.
    pub token: RequestToken,
    /// The version that the client speaks.
    pub api_version: i16,
    /// Who asks.
    pub client: &'a Client,
    /// Random bytes for the id of a member, should one be made.
    pub random: [u8; 16],
}

/// A response that was waiting, or is there at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Released {
    /// A member has joined, or can't.
    Join(RequestToken, JoinGroupResponse),
    /// A member has its assignment, or gets none.
    Sync(RequestToken, SyncGroupResponse),
}

impl Released {
    /// The request that this answers.
    #[must_use]
    pub fn token(&self) -> RequestToken {
        match self {
            Self::Join(token, _) | Self::Sync(token, _) => *token,
        }
    }
}

/// What a group coordinator decides.
pub type Decision<R> = crate::Decision<CoordinatorRecord, Released, R>;

/// Records and released responses, while they are being decided.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) records: Vec<CoordinatorRecord>,
    pub(crate) released: Vec<Released>,
}

impl Effects {
    pub(crate) fn join(&mut self, token: RequestToken, response: JoinGroupResponse) {
        self.released.push(Released::Join(token, response));
    }

    pub(crate) fn sync(&mut self, token: RequestToken, response: SyncGroupResponse) {
        self.released.push(Released::Sync(token, response));
    }

    pub(crate) fn with<R>(self, response: R) -> Decision<R> {
        Decision {
            records: self.records,
            response,
            released: self.released,
        }
    }
}
