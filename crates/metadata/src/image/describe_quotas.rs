use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::messages::describe_client_quotas_request::ComponentData;
use ottla_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use ottla_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::{ClientQuotasImage, QuotaEntity};
use crate::controller::ApiError;

/// What entities are asked for.
#[derive(Default)]
struct Filter {
    /// The types that must have this name, or be the default.
    exactly: BTreeMap<KafkaString, Option<KafkaString>>,
    /// The types that must be there, whatever the name.
    any: BTreeSet<KafkaString>,
}

impl ClientQuotasImage {
    /// The quotas of the entities that a request asks for (KIP-546).
    #[must_use]
    pub fn describe(&self, request: &DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
        let filter = match Filter::of(&request.components) {
            Ok(filter) => filter,
            Err(error) => {
                return DescribeClientQuotasResponse {
                    error_code: error.number(),
                    error_message: error.text(),
                    entries: None,
                    ..DescribeClientQuotasResponse::default()
                };
            }
        };
        let found = self.entities().iter();
        let found = found.filter(|(entity, _)| filter.matches(entity, request.strict));
        DescribeClientQuotasResponse {
            entries: Some(
                found
                    .map(|(entity, values)| entry(entity, values))
                    .collect(),
            ),
            ..DescribeClientQuotasResponse::default()
        }
    }
}

impl Filter {
    fn of(components: &[ComponentData]) -> Result<Self, ApiError> {
        let mut filter = Self::default();
        for component in components {
            filter.add(component)?;
        }
        let has = |kind: &str| filter.exactly.contains_key(kind) || filter.any.contains(kind);
        if has("ip") && (has("user") || has("client-id")) {
            return Err(ApiError::invalid_request(
                "Invalid entity filter component combination. IP filter component should not be \
                 used with user or clientId filter component.",
            ));
        }
        Ok(filter)
    }

    fn add(&mut self, component: &ComponentData) -> Result<(), ApiError> {
        let kind = &component.entity_type;
        let refuse = |message: String| Err(ApiError::invalid_request(message));
        if kind.is_empty() {
            return refuse("Invalid empty entity type.".to_owned());
        }
        if self.exactly.contains_key(kind) || self.any.contains(kind) {
            return refuse(format!(
                "Entity type {kind} cannot appear more than once in the filter."
            ));
        }
        if !["ip", "user", "client-id"].contains(&kind.as_str()) {
            let message = format!("Unsupported entity type {kind}");
            return Err(ApiError::new(ErrorCode::UNSUPPORTED_VERSION, message));
        }
        match (component.match_type, &component.r#match) {
            (0, Some(name)) => {
                self.exactly.insert(kind.clone(), Some(name.clone()));
            }
            (1, None) => {
                self.exactly.insert(kind.clone(), None);
            }
            (2, None) => {
                self.any.insert(kind.clone());
            }
            (0, None) => {
                let message = "Request specified MATCH_TYPE_EXACT, but set match string to null.";
                return refuse(message.to_owned());
            }
            (1 | 2, Some(_)) => {
                let name = if component.match_type == 1 {
                    "DEFAULT"
                } else {
                    "SPECIFIED"
                };
                return refuse(format!(
                    "Request specified MATCH_TYPE_{name}, but also specified a match string."
                ));
            }
            (other, _) => return refuse(format!("Unknown match type {other}")),
        }
        Ok(())
    }

    fn matches(&self, entity: &QuotaEntity, strict: bool) -> bool {
        let entries = &entity.0;
        let exactly = self
            .exactly
            .iter()
            .all(|(kind, name)| entries.get(kind) == Some(name));
        let any = self.any.iter().all(|kind| entries.contains_key(kind));
        exactly && any && (!strict || entries.len() == self.exactly.len() + self.any.len())
    }
}

fn entry(entity: &QuotaEntity, values: &BTreeMap<KafkaString, f64>) -> EntryData {
    let of_entity = |(kind, name): (&KafkaString, &Option<KafkaString>)| EntityData {
        entity_type: kind.clone(),
        entity_name: name.clone(),
        ..EntityData::default()
    };
    let of_value = |(key, value): (&KafkaString, &f64)| ValueData {
        key: key.clone(),
        value: *value,
        ..ValueData::default()
    };
    EntryData {
        entity: entity.0.iter().map(of_entity).collect(),
        values: values.iter().map(of_value).collect(),
        ..EntryData::default()
    }
}
