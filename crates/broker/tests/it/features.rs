//! Levels of features, changed while the node runs.

use ottla_broker::testing::{TestConnection, TestNode};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::update_features_request::FeatureUpdateKey;
use ottla_protocol::messages::{ApiVersionsRequest, UpdateFeaturesRequest, UpdateFeaturesResponse};

pub(crate) const UPGRADE: i8 = 1;
pub(crate) const SAFE_DOWNGRADE: i8 = 2;

fn update(
    node: &TestNode,
    connection: &TestConnection,
    (level, upgrade_type): (i16, i8),
    validate_only: bool,
) -> UpdateFeaturesResponse {
    let change = ("kraft.version", level, upgrade_type);
    update_feature(node, connection, change, validate_only)
}

/// Asks for a feature's level.
pub(crate) fn update_feature(
    node: &TestNode,
    connection: &TestConnection,
    (feature, level, upgrade_type): (&str, i16, i8),
    validate_only: bool,
) -> UpdateFeaturesResponse {
    let request = UpdateFeaturesRequest {
        timeout_ms: 10_000,
        feature_updates: vec![FeatureUpdateKey {
            feature: feature.into(),
            max_version_level: level,
            upgrade_type,
            ..FeatureUpdateKey::default()
        }],
        validate_only,
        ..UpdateFeaturesRequest::default()
    };
    node.ask(connection, &request, 2)
}

fn kraft_version(node: &TestNode, connection: &TestConnection) -> i16 {
    let request = ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..ApiVersionsRequest::default()
    };
    let response = node.ask(connection, &request, 4);
    let finalized = response.finalized_features;
    let level = finalized
        .iter()
        .find(|feature| feature.name == "kraft.version");
    level.map_or(0, |feature| feature.max_version_level)
}

/// As Apache Kafka 4.3.1 answers on one node with `controller.quorum.voters`.
#[test]
fn kraft_version_goes_up_and_never_down() {
    let node = TestNode::start(31);
    let connection = node.connect();
    let refused = update(&node, &connection, (2, UPGRADE), false);
    assert_eq!(refused.error_code, ErrorCode::INVALID_UPDATE_VERSION.0);
    assert_eq!(
        refused.error_message.as_deref(),
        Some(
            "The update failed for all features since the following feature had an error: Invalid update version 2 \
             for feature kraft.version. Local controller 1 only supports versions 0-1"
        )
    );
    for (level, validate_only, then) in [(1, true, 0), (1, false, 1), (1, false, 1)] {
        let updated = update(&node, &connection, (level, UPGRADE), validate_only);
        assert_eq!((updated.error_code, updated.error_message), (0, None));
        assert_eq!(kraft_version(&node, &connection), then);
    }
    let refused = update(&node, &connection, (0, SAFE_DOWNGRADE), false);
    assert_eq!(refused.error_code, ErrorCode::INVALID_UPDATE_VERSION.0);
    let node = node.crash();
    let connection = node.connect();
    assert_eq!(kraft_version(&node, &connection), 1);
}
