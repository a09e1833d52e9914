use std::collections::BTreeMap;

use ottla_protocol::messages::{AccessControlEntryRecord, RemoveAccessControlEntryRecord};
use ottla_protocol::{KafkaString, Uuid};

use crate::Error;
use crate::record::MetadataRecord;

/// Who may, or may not, do what to which resource. The numbers are those of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessControlEntry {
    /// The resource's type.
    pub resource_type: i8,
    /// The resource's name, or its prefix.
    pub resource_name: KafkaString,
    /// Whether the name is literal or a prefix.
    pub pattern_type: i8,
    /// Who.
    pub principal: KafkaString,
    /// From where, `*` for anywhere.
    pub host: KafkaString,
    /// What.
    pub operation: i8,
    /// Allowed or denied.
    pub permission_type: i8,
}

/// The access control entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AclsImage {
    entries: BTreeMap<Uuid, AccessControlEntry>,
}

impl AclsImage {
    /// The entries by id.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<Uuid, AccessControlEntry> {
        &self.entries
    }

    pub(super) fn add(&mut self, record: &AccessControlEntryRecord) {
        let entry = AccessControlEntry {
            resource_type: record.resource_type,
            resource_name: record.resource_name.detached(),
            pattern_type: record.pattern_type,
            principal: record.principal.detached(),
            host: record.host.detached(),
            operation: record.operation,
            permission_type: record.permission_type,
        };
        self.entries.insert(record.id, entry);
    }

    pub(super) fn remove(&mut self, record: &RemoveAccessControlEntryRecord) -> Result<(), Error> {
        match self.entries.remove(&record.id) {
            Some(_) => Ok(()),
            None => {
                let reason = format!("no access control entry has id {}", record.id);
                Err(Error::replay("RemoveAccessControlEntryRecord", reason))
            }
        }
    }

    pub(super) fn write_snapshot(&self, records: &mut Vec<MetadataRecord>) {
        for (id, entry) in &self.entries {
            let record = AccessControlEntryRecord {
                id: *id,
                resource_type: entry.resource_type,
                resource_name: entry.resource_name.clone(),
                pattern_type: entry.pattern_type,
                principal: entry.principal.clone(),
                host: entry.host.clone(),
                operation: entry.operation,
                permission_type: entry.permission_type,
                ..AccessControlEntryRecord::default()
            };
            records.push(record.into());
        }
    }
}
