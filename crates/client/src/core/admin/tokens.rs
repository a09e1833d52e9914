//! Delegation tokens.

use bytes::Bytes;
use ottla_protocol::KafkaString;

/// Who owns, asks for or renews a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// `User`.
    pub principal_type: KafkaString,
    /// The name.
    pub name: KafkaString,
}

impl Principal {
    /// Reads `type:name`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (principal_type, name) = text.trim().split_once(':')?;
        (!principal_type.is_empty()).then(|| Self {
            principal_type: principal_type.into(),
            name: name.into(),
        })
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.principal_type, self.name)
    }
}

/// A delegation token. Times are milliseconds since 1970.
#[derive(Clone, PartialEq, Eq)]
pub struct DelegationToken {
    /// Its id.
    pub token_id: KafkaString,
    /// Its secret.
    pub hmac: Bytes,
    /// For whom it speaks.
    pub owner: Principal,
    /// Who asked for it.
    pub requester: Principal,
    /// Who else may renew it.
    pub renewers: Vec<Principal>,
    /// When it was made.
    pub issue_timestamp: i64,
    /// Until when it is valid, unless it is renewed.
    pub expiry_timestamp: i64,
    /// Beyond what it can't be renewed.
    pub max_timestamp: i64,
}

impl std::fmt::Debug for DelegationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DelegationToken")
            .field("token_id", &self.token_id)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}
