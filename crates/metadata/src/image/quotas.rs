use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::ClientQuotaRecord;
use ottla_protocol::messages::client_quota_record::EntityData;

use crate::record::MetadataRecord;

/// Whom a quota holds for: entity types (`user`, `client-id`, `ip`) with a name each, or `None`
/// for the default of the type.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaEntity(pub BTreeMap<KafkaString, Option<KafkaString>>);

impl QuotaEntity {
    pub(super) fn of_record(record: &ClientQuotaRecord) -> Self {
        let entry = |entity: &EntityData| {
            let name = entity.entity_name.as_ref().map(KafkaString::detached);
            (entity.entity_type.detached(), name)
        };
        Self(record.entity.iter().map(entry).collect())
    }

    pub(crate) fn to_record(&self, key: &KafkaString, value: Option<f64>) -> ClientQuotaRecord {
        let entity =
            |(entity_type, entity_name): (&KafkaString, &Option<KafkaString>)| EntityData {
                entity_type: entity_type.clone(),
                entity_name: entity_name.clone(),
                ..EntityData::default()
            };
        ClientQuotaRecord {
            entity: self.0.iter().map(entity).collect(),
            key: key.clone(),
            value: value.unwrap_or(0.0),
            remove: value.is_none(),
            ..ClientQuotaRecord::default()
        }
    }
}

/// The client quotas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientQuotasImage {
    entities: BTreeMap<QuotaEntity, BTreeMap<KafkaString, f64>>,
}

impl ClientQuotasImage {
    /// The quotas of each entity, by key.
    #[must_use]
    pub fn entities(&self) -> &BTreeMap<QuotaEntity, BTreeMap<KafkaString, f64>> {
        &self.entities
    }

    /// The quotas of an entity, by key.
    #[must_use]
    pub fn of(&self, entity: &QuotaEntity) -> Option<&BTreeMap<KafkaString, f64>> {
        self.entities.get(entity)
    }

    pub(super) fn set(&mut self, record: &ClientQuotaRecord) {
        let entity = QuotaEntity::of_record(record);
        if !record.remove {
            let quotas = self.entities.entry(entity).or_default();
            quotas.insert(record.key.detached(), record.value);
        } else if let Some(quotas) = self.entities.get_mut(&entity) {
            quotas.remove(record.key.as_str());
            if quotas.is_empty() {
                self.entities.remove(&entity);
            }
        }
    }

    pub(super) fn write_snapshot(&self, records: &mut Vec<MetadataRecord>) {
        for (entity, quotas) in &self.entities {
            for (key, value) in quotas {
                records.push(entity.to_record(key, Some(*value)).into());
            }
        }
    }
}
