//! ApiVersions: which APIs at which versions, and the features of the cluster.

use std::sync::Arc;

use ottla_metadata::features::supported_features;
use ottla_protocol::api_key::ApiKey;
use ottla_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use ottla_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::served_keys;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: ApiVersionsRequest) {
    if context.version() >= 3 {
        let name = &request.client_software_name;
        let version = &request.client_software_version;
        if !is_software_word(name) || !is_software_word(version) {
            let response = ApiVersionsResponse {
                error_code: ErrorCode::INVALID_REQUEST.0,
                ..ApiVersionsResponse::default()
            };
            context.respond(&response);
            return;
        }
        context
            .connection
            .set_software(name.detached(), version.detached());
    }
    let response = response(node, &context);
    context.respond(&response);
}

/// What a client hears that speaks a version of ApiVersions which is not served: the versions that are, in version 0.
pub(crate) fn answer_unsupported_version(context: RequestContext) {
    let mut response = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION.0,
        ..ApiVersionsResponse::default()
    };
    response.api_keys.push(api_version(ApiKey::ApiVersions));
    context.respond_at(&response, 0);
}

fn response(node: &Node, context: &RequestContext) -> ApiVersionsResponse {
    let mut keys: Vec<ApiKey> = served_keys(context.connection.is_controller_listener).collect();
    keys.sort_unstable_by_key(|key| key.code());
    let metadata = node.metadata();
    let hides_from_zero = context.version() <= 3;
    ApiVersionsResponse {
        api_keys: keys.into_iter().map(api_version).collect(),
        supported_features: supported_features()
            .into_iter()
            .filter(|(_, range)| !(hides_from_zero && range.min == 0))
            .map(|(name, range)| SupportedFeatureKey {
                name: KafkaString::from(name),
                min_version: range.min,
                max_version: range.max,
                ..SupportedFeatureKey::default()
            })
            .collect(),
        finalized_features_epoch: metadata.offset,
        finalized_features: finalized_features(node),
        ..ApiVersionsResponse::default()
    }
}

fn finalized_features(node: &Node) -> Vec<FinalizedFeatureKey> {
    let metadata = node.metadata();
    let kraft = metadata.kraft_version;
    metadata
        .image
        .features()
        .finalized()
        .chain((kraft > 0).then_some(("kraft.version", kraft)))
        .map(|(name, level)| FinalizedFeatureKey {
            name: KafkaString::from(name.to_owned()),
            min_version_level: level,
            max_version_level: level,
            ..FinalizedFeatureKey::default()
        })
        .collect()
}

fn api_version(key: ApiKey) -> ApiVersion {
    let range = key.advertised_versions(false);
    ApiVersion {
        api_key: key.code(),
        min_version: range.min,
        max_version: range.max,
        ..ApiVersion::default()
    }
}

/// Letters and digits, with dots and dashes inside.
fn is_software_word(word: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let bytes = word.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.iter().all(|byte| is_inner(*byte)) && ends_well(bytes.first()) && ends_well(bytes.last())
}
