//! Changes of client quotas (KIP-546, KIP-612, KIP-599).

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::KafkaString;
use ottla_protocol::messages::alter_client_quotas_request::{EntryData as Asked, OpData};
use ottla_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use ottla_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use super::api_error::parts;
use super::{ApiError, Controller, Decision};
use crate::image::QuotaEntity;
use crate::record::MetadataRecord;

/// What numbers a quota takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QuotaType {
    Double,
    Long,
    Int,
}

impl Controller {
    /// Sets and removes client quotas.
    #[must_use]
    pub fn decide_alter_client_quotas(
        &self,
        request: &AlterClientQuotasRequest,
    ) -> Decision<AlterClientQuotasResponse> {
        let mut records = Vec::new();
        let mut response = AlterClientQuotasResponse::default();
        let mut seen = BTreeSet::new();
        let mut twice = BTreeSet::new();
        for asked in &request.entries {
            let entity = entity_of(asked);
            if !seen.insert(entity.clone()) {
                twice.insert(entity);
            }
        }
        for asked in &request.entries {
            let entity = entity_of(asked);
            if !seen.remove(&entity) {
                continue;
            }
            let mut result = self.alter_quotas(asked, &entity, &mut records);
            if twice.contains(&entity) {
                // As Kafka does it: the first entry holds, and the answer says that others did not.
                let message = format!("Ignoring duplicate entity {}", shown(&entity));
                result = Err(ApiError::invalid_request(message));
            }
            let (error_code, error_message) = parts(&result);
            let entity =
                |(entity_type, entity_name): (KafkaString, Option<KafkaString>)| EntityData {
                    entity_type,
                    entity_name,
                    ..EntityData::default()
                };
            response.entries.push(EntryData {
                error_code,
                error_message,
                entity: entity_of(asked).0.into_iter().map(entity).collect(),
                ..EntryData::default()
            });
        }
        if request.validate_only {
            records.clear();
        }
        Decision::new(records, response)
    }

    fn alter_quotas(
        &self,
        asked: &Asked,
        entity: &QuotaEntity,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), ApiError> {
        let ip = check_entity(entity)?;
        let none = BTreeMap::new();
        let current = self.image.client_quotas().of(entity).unwrap_or(&none);
        let mut changed = Vec::new();
        let mut keys = BTreeSet::new();
        for op in &asked.ops {
            if !keys.insert(op.key.as_str()) {
                let message = format!(
                    "Duplicate quota key {} not updating quota for this entity {}",
                    op.key,
                    shown(entity)
                );
                return Err(ApiError::invalid_request(message));
            }
            if op.remove {
                if current.contains_key(&op.key) {
                    changed.push(entity.to_record(&op.key, None).into());
                }
                continue;
            }
            check_quota(op, ip)?;
            if current.get(&op.key) != Some(&op.value) {
                changed.push(entity.to_record(&op.key, Some(op.value)).into());
            }
        }
        records.extend(changed);
        Ok(())
    }
}

/// The entity that is meant: of two names for one kind, the later.
fn entity_of(asked: &Asked) -> QuotaEntity {
    let entry = |one: &ottla_protocol::messages::alter_client_quotas_request::EntityData| {
        (one.entity_type.clone(), one.entity_name.clone())
    };
    QuotaEntity(asked.entity.iter().map(entry).collect())
}

fn shown(entity: &QuotaEntity) -> String {
    let entry = |(kind, name): (&KafkaString, &Option<KafkaString>)| {
        format!("{kind}={}", name.as_deref().unwrap_or("null"))
    };
    let entries: Vec<String> = entity.0.iter().map(entry).collect();
    format!("ClientQuotaEntity(entries={{{}}})", entries.join(", "))
}

/// Checks the entity, and tells whether it is an IP address.
fn check_entity(entity: &QuotaEntity) -> Result<bool, ApiError> {
    if entity.0.is_empty() {
        return Err(ApiError::invalid_request(
            "Invalid empty client quota entity",
        ));
    }
    for (kind, name) in &entity.0 {
        if !["user", "client-id", "ip"].contains(&kind.as_str()) {
            let message = format!("Unhandled client quota entity type: {kind}");
            return Err(ApiError::invalid_request(message));
        }
        if name.as_ref().is_some_and(|name| name.is_empty()) {
            return Err(ApiError::invalid_request(format!(
                "Empty {kind} not supported"
            )));
        }
    }
    let ip = entity.0.iter().find(|(kind, _)| kind.as_str() == "ip");
    if ip.is_some() && entity.0.len() > 1 {
        let message = "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId";
        return Err(ApiError::invalid_request(message));
    }
    if let Some((_, Some(name))) = ip
        && !may_be_host(name)
    {
        let message = format!("{name} is not a valid IP or resolvable host.");
        return Err(ApiError::invalid_request(message));
    }
    Ok(ip.is_some())
}

/// Whether the text is an IP address, or at least could be the name of a host: names are not
/// resolved here.
fn may_be_host(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.parse::<core::net::IpAddr>().is_ok()
        || name.bytes().any(|byte| byte.is_ascii_alphabetic()) && name.split('.').all(label)
}

fn check_quota(op: &OpData, ip: bool) -> Result<(), ApiError> {
    let key = op.key.as_str();
    let quota_type = match (key, ip) {
        ("producer_byte_rate" | "consumer_byte_rate", false) => QuotaType::Long,
        ("request_percentage" | "controller_mutation_rate", false) => QuotaType::Double,
        ("connection_creation_rate", true) => QuotaType::Int,
        _ => {
            let message = format!("Invalid configuration key {key}");
            return Err(ApiError::invalid_request(message));
        }
    };
    let refuse = |message: String| Err(ApiError::invalid_request(message));
    // A quota that is no number isn't greater than 0 either.
    if op.value.is_nan() || op.value <= 0.0 {
        return refuse(format!("Quota {key} must be greater than 0"));
    }
    let (max, name) = match quota_type {
        QuotaType::Double => return Ok(()),
        QuotaType::Long => (9_223_372_036_854_775_807.0, "a LONG"),
        QuotaType::Int => (2_147_483_647.0, "an INT"),
    };
    if op.value > max {
        return refuse(format!("Proposed value for {key} is too large for {name}."));
    }
    if (op.value - op.value.round()).abs() > 1e-6 {
        return refuse(format!("{key} cannot be a fractional value."));
    }
    Ok(())
}
