use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{DelegationTokenRecord, RemoveDelegationTokenRecord};

use crate::record::MetadataRecord;

/// A delegation token (KIP-48) without its secret, which follows from the id and the cluster's
/// own secret key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationToken {
    /// Whom the token stands for.
    pub owner: KafkaString,
    /// Who asked for it.
    pub requester: KafkaString,
    /// Who else may renew it.
    pub renewers: Vec<KafkaString>,
    /// When it was made.
    pub issue_timestamp: i64,
    /// When it can't be renewed any more.
    pub max_timestamp: i64,
    /// When it ends unless it is renewed.
    pub expiration_timestamp: i64,
}

/// The delegation tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DelegationTokensImage {
    tokens: BTreeMap<KafkaString, DelegationToken>,
}

impl DelegationTokensImage {
    /// The tokens by id.
    #[must_use]
    pub fn tokens(&self) -> &BTreeMap<KafkaString, DelegationToken> {
        &self.tokens
    }

    pub(super) fn set(&mut self, record: &DelegationTokenRecord) {
        let token = DelegationToken {
            owner: record.owner.detached(),
            requester: record.requester.detached(),
            renewers: record.renewers.iter().map(KafkaString::detached).collect(),
            issue_timestamp: record.issue_timestamp,
            max_timestamp: record.max_timestamp,
            expiration_timestamp: record.expiration_timestamp,
        };
        self.tokens.insert(record.token_id.detached(), token);
    }

    pub(super) fn remove(&mut self, record: &RemoveDelegationTokenRecord) {
        self.tokens.remove(record.token_id.as_str());
    }

    pub(super) fn write_snapshot(&self, records: &mut Vec<MetadataRecord>) {
        for (id, token) in &self.tokens {
            let record = DelegationTokenRecord {
                owner: token.owner.clone(),
                requester: token.requester.clone(),
                renewers: token.renewers.clone(),
                issue_timestamp: token.issue_timestamp,
                max_timestamp: token.max_timestamp,
                expiration_timestamp: token.expiration_timestamp,
                token_id: id.clone(),
                ..DelegationTokenRecord::default()
            };
            records.push(record.into());
        }
    }
}
