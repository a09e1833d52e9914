//! What a controller does first when it becomes the active one.

use ottla_protocol::messages::{
    AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord,
};

use super::{Controller, Decision};
use crate::bootstrap::BootstrapMetadata;
use crate::image::MetadataImage;
use crate::record::MetadataRecord;

impl Controller {
    /// The records to append before anything else is decided: into an empty log the bootstrap
    /// records; after another controller's unfinished transaction, its end.
    ///
    /// The records of an empty log are to be encoded at the level of the bootstrap records.
    #[must_use]
    pub fn decide_activation(&self, bootstrap: &BootstrapMetadata) -> Decision<()> {
        let mut records = Vec::new();
        if self.in_transaction() {
            let record = AbortTransactionRecord {
                reason: Some("Controller failover".into()),
                ..AbortTransactionRecord::default()
            };
            records.push(record.into());
        }
        let committed = self.before_transaction.as_ref().unwrap_or(&self.image);
        if committed.features().metadata_version().is_none() {
            self.bootstrap_records(committed, bootstrap, &mut records);
        }
        Decision::new(records, ())
    }

    fn bootstrap_records(
        &self,
        committed: &MetadataImage,
        bootstrap: &BootstrapMetadata,
        records: &mut Vec<MetadataRecord>,
    ) {
        let transaction = bootstrap
            .metadata_version()
            .supports_metadata_transactions();
        if transaction {
            let record = BeginTransactionRecord {
                name: Some("Bootstrap records".into()),
                ..BeginTransactionRecord::default()
            };
            records.push(record.into());
        }
        records.extend_from_slice(bootstrap.records());
        if bootstrap.eligible_leader_replicas_enabled() {
            self.eligible_safety_records(committed, records);
        }
        if transaction {
            records.push(EndTransactionRecord::default().into());
        }
    }
}
