//! Clients' quotas shown and changed.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{
    AlterClientQuotasRequest, DescribeClientQuotasRequest, alter_client_quotas_request,
    describe_client_quotas_request,
};

use super::Admin;
use crate::Error;
use crate::core::admin::quotas::{QuotaEntity, QuotaEntry, QuotaMatch};

impl Admin {
    /// The quotas of entities that match; of those with these types only and no other if `strict`.
    pub async fn describe_client_quotas(
        &self,
        components: &[(KafkaString, QuotaMatch)],
        strict: bool,
    ) -> Result<Vec<QuotaEntry>, Error> {
        let components = components.iter().map(|(entity_type, name)| {
            let (match_type, r#match) = match name {
                QuotaMatch::Exact(name) => (0, Some(name.clone())),
                QuotaMatch::Default => (1, None),
                QuotaMatch::Any => (2, None),
            };
            describe_client_quotas_request::ComponentData {
                entity_type: entity_type.clone(),
                match_type,
                r#match,
                ..describe_client_quotas_request::ComponentData::default()
            }
        });
        let request = DescribeClientQuotasRequest {
            components: components.collect(),
            strict,
            ..DescribeClientQuotasRequest::default()
        };
        let response = self.request(self.any(), request).await?;
        Error::check(response.error_code, response.error_message.as_deref())?;
        let entries = response.entries.unwrap_or_default().into_iter();
        Ok(entries
            .map(|entry| {
                let names = entry.entity.into_iter();
                let values = entry.values.into_iter();
                QuotaEntry {
                    entity: names
                        .map(|name| (name.entity_type, name.entity_name))
                        .collect(),
                    values: values.map(|value| (value.key, value.value)).collect(),
                }
            })
            .collect())
    }

    /// Sets quotas of one entity, and takes those without a value away.
    pub async fn alter_client_quotas(
        &self,
        entity: &QuotaEntity,
        values: &BTreeMap<KafkaString, Option<f64>>,
    ) -> Result<(), Error> {
        let names = entity.iter().map(|(entity_type, entity_name)| {
            alter_client_quotas_request::EntityData {
                entity_type: entity_type.clone(),
                entity_name: entity_name.clone(),
                ..alter_client_quotas_request::EntityData::default()
            }
        });
        let ops = values
            .iter()
            .map(|(key, value)| alter_client_quotas_request::OpData {
                key: key.clone(),
                value: value.unwrap_or_default(),
                remove: value.is_none(),
                ..alter_client_quotas_request::OpData::default()
            });
        let request = AlterClientQuotasRequest {
            entries: vec![alter_client_quotas_request::EntryData {
                entity: names.collect(),
                ops: ops.collect(),
                ..alter_client_quotas_request::EntryData::default()
            }],
            validate_only: false,
            ..AlterClientQuotasRequest::default()
        };
        self.until_right(async || {
            let response = self.request(self.any(), request.clone()).await?;
            let mut entries = response.entries.iter();
            entries.try_for_each(|entry| {
                Error::check(entry.error_code, entry.error_message.as_deref())
            })
        })
        .await
    }
}
