use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::messages::{RemoveUserScramCredentialRecord, UserScramCredentialRecord};

use crate::record::MetadataRecord;

/// Whose credential it is, and of which mechanism (1 is SCRAM-SHA-256, 2 is SCRAM-SHA-512).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScramKey {
    /// The mechanism's number.
    pub mechanism: i8,
    /// The user.
    pub user: KafkaString,
}

/// What a server keeps of a password (RFC 5802).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    /// The salt.
    pub salt: Bytes,
    /// Verifies the client.
    pub stored_key: Bytes,
    /// Proves the server.
    pub server_key: Bytes,
    /// How often the hash was iterated.
    pub iterations: i32,
}

impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramCredential")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// The users' SCRAM credentials.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScramImage {
    credentials: BTreeMap<ScramKey, ScramCredential>,
}

impl ScramImage {
    /// The credentials by mechanism and user.
    #[must_use]
    pub fn credentials(&self) -> &BTreeMap<ScramKey, ScramCredential> {
        &self.credentials
    }

    pub(super) fn set(&mut self, record: &UserScramCredentialRecord) {
        let key = ScramKey {
            mechanism: record.mechanism,
            user: record.name.detached(),
        };
        let credential = ScramCredential {
            salt: Bytes::copy_from_slice(&record.salt),
            stored_key: Bytes::copy_from_slice(&record.stored_key),
            server_key: Bytes::copy_from_slice(&record.server_key),
            iterations: record.iterations,
        };
        self.credentials.insert(key, credential);
    }

    pub(super) fn remove(&mut self, record: &RemoveUserScramCredentialRecord) {
        let key = ScramKey {
            mechanism: record.mechanism,
            user: record.name.clone(),
        };
        self.credentials.remove(&key);
    }

    pub(super) fn write_snapshot(&self, records: &mut Vec<MetadataRecord>) {
        for (key, credential) in &self.credentials {
            let record = UserScramCredentialRecord {
                name: key.user.clone(),
                mechanism: key.mechanism,
                salt: credential.salt.clone(),
                stored_key: credential.stored_key.clone(),
                server_key: credential.server_key.clone(),
                iterations: credential.iterations,
                ..UserScramCredentialRecord::default()
            };
            records.push(record.into());
        }
    }
}
