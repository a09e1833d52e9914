//! DescribeClientQuotas: the quotas whose entities match a filter.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::image::{ClientQuotasImage, QuotaEntity};
use ottla_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use ottla_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use crate::node::Node;
use crate::request::RequestContext;

const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

/// What an entity's name must be: this one, the default's, or anything.
enum Match {
    Name(KafkaString),
    Default,
    Any,
}

pub(crate) fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    request: DescribeClientQuotasRequest,
) {
    let response = match read_filter(&request) {
        Ok(filter) => {
            let metadata = node.metadata();
            let entries = matching(metadata.image.client_quotas(), &filter, request.strict);
            DescribeClientQuotasResponse {
                entries: Some(entries),
                ..DescribeClientQuotasResponse::default()
            }
        }
        Err((code, message)) => DescribeClientQuotasResponse {
            error_code: code.0,
            error_message: Some(KafkaString::from(message)),
            entries: None,
            ..DescribeClientQuotasResponse::default()
        },
    };
    context.respond(&response);
}

type Filter = BTreeMap<KafkaString, Match>;

fn read_filter(request: &DescribeClientQuotasRequest) -> Result<Filter, (ErrorCode, String)> {
    let invalid = |message: String| Err((ErrorCode::INVALID_REQUEST, message));
    let mut filter = Filter::new();
    for component in &request.components {
        let entity_type = &component.entity_type;
        if entity_type.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if filter.contains_key(entity_type) {
            return invalid(format!(
                "Entity type {entity_type} cannot appear more than once in the filter."
            ));
        }
        if !["user", "client-id", "ip"].contains(&&**entity_type) {
            return Err((
                ErrorCode::UNSUPPORTED_VERSION,
                format!("Unsupported entity type {entity_type}"),
            ));
        }
        let wanted = match (component.match_type, &component.r#match) {
            (EXACT, Some(name)) => Match::Name(name.clone()),
            (EXACT, None) => {
                return invalid(
                    "Request specified MATCH_TYPE_EXACT, but set match string to null.".to_owned(),
                );
            }
            (DEFAULT, None) => Match::Default,
            (DEFAULT, Some(_)) => {
                return invalid(
                    "Request specified MATCH_TYPE_DEFAULT, but also specified a match string."
                        .to_owned(),
                );
            }
            (SPECIFIED, None) => Match::Any,
            (SPECIFIED, Some(_)) => {
                return invalid(
                    "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."
                        .to_owned(),
                );
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        filter.insert(entity_type.clone(), wanted);
    }
    let has = |name: &str| filter.keys().any(|entity_type| &**entity_type == name);
    if has("ip") && (has("user") || has("client-id")) {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or \
             clientId filter component."
                .to_owned(),
        );
    }
    Ok(filter)
}

fn matching(quotas: &ClientQuotasImage, filter: &Filter, strict: bool) -> Vec<EntryData> {
    quotas
        .entities()
        .iter()
        .filter(|(entity, _)| matches(entity, filter, strict))
        .map(|(entity, values)| EntryData {
            entity: entity
                .0
                .iter()
                .map(|(entity_type, entity_name)| EntityData {
                    entity_type: entity_type.clone(),
                    entity_name: entity_name.clone(),
                    ..EntityData::default()
                })
                .collect(),
            values: values
                .iter()
                .map(|(key, value)| ValueData {
                    key: key.clone(),
                    value: *value,
                    ..ValueData::default()
                })
                .collect(),
            ..EntryData::default()
        })
        .collect()
}

/// A strict filter wants entities of exactly its types.
fn matches(entity: &QuotaEntity, filter: &Filter, strict: bool) -> bool {
    if strict && entity.0.len() != filter.len() {
        return false;
    }
    filter.iter().all(
        |(entity_type, wanted)| match (wanted, entity.0.get(entity_type)) {
            (_, None) => false,
            (Match::Any, Some(_)) | (Match::Default, Some(None)) => true,
            (Match::Name(name), Some(Some(found))) => name == found,
            (Match::Default, Some(Some(_))) | (Match::Name(_), Some(None)) => false,
        },
    )
}
