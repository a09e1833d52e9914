//! Clients' quotas and users' SCRAM credentials.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::KafkaString;

/// Whom a quota is for: the name by the type (`user`, `client-id` or `ip`), none for the default.
pub type QuotaEntity = BTreeMap<KafkaString, Option<KafkaString>>;

/// Which name of a type is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaMatch {
    /// This one.
    Exact(KafkaString),
    /// The default.
    Default,
    /// Any, the default too.
    Any,
}

/// An entity's quotas by name.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaEntry {
    /// Whom they are for.
    pub entity: QuotaEntity,
    /// The values, in the unit of each.
    pub values: BTreeMap<KafkaString, f64>,
}

/// A SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScramMechanism {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl ScramMechanism {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// By its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Its number in the protocol.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }
}

/// A change of a user's credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum ScramChange {
    /// Sets them; only the salted password is ever sent.
    Upsert {
        /// The user.
        user: KafkaString,
        /// For this mechanism.
        mechanism: ScramMechanism,
        /// How often the password was hashed.
        iterations: i32,
        /// The salt.
        salt: Bytes,
        /// The password, salted and hashed.
        salted_password: Bytes,
    },
    /// Takes them away.
    Delete {
        /// The user.
        user: KafkaString,
        /// For this mechanism.
        mechanism: ScramMechanism,
    },
}
