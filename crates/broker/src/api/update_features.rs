//! UpdateFeatures: the controller finalizes other levels.

use std::sync::Arc;

use ottla_metadata::controller::Decision;
use ottla_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::forward::to_controller;
use crate::node::Node;
use crate::request::RequestContext;

pub(crate) fn handle(node: &Arc<Node>, context: RequestContext, request: UpdateFeaturesRequest) {
    let version = context.version();
    let kraft_version = node.metadata().kraft_version;
    to_controller(node, context, move |active| {
        let decision = active
            .decisions
            .decide_update_features(&request, version, kraft_version);
        match decision.response.kraft_version {
            None => Decision {
                records: decision.records,
                response: decision.response.response,
            },
            Some(level) => Decision {
                records: Vec::new(),
                response: refuse_kraft_version(level),
            },
        }
    });
}

/// `kraft.version` moves the voters into the log, which needs control records that this release doesn't write.
fn refuse_kraft_version(level: i16) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse {
        error_code: ErrorCode::INVALID_UPDATE_VERSION.0,
        error_message: Some(KafkaString::from(format!(
            "Invalid update version {level} for feature kraft.version. Upgrading it is not supported yet."
        ))),
        ..UpdateFeaturesResponse::default()
    }
}
