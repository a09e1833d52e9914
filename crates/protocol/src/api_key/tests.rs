use super::*;

#[test]
fn keys_and_names_are_kafkas() {
    assert_eq!(ApiKey::ALL.len(), 89);
    assert_eq!(ApiKey::from_code(0), Some(ApiKey::Produce));
    assert_eq!(ApiKey::from_code(92), Some(ApiKey::DeleteShareGroupOffsets));
    assert_eq!(ApiKey::try_from(4), Err(DecodeError::UnknownApiKey(4)));
    assert_eq!(ApiKey::from_code(-1), None);
    assert_eq!(ApiKey::DescribeQuorum.to_string(), "DescribeQuorum");
    for key in ApiKey::ALL {
        assert_eq!(ApiKey::from_code(key.code()), Some(*key));
    }
}

#[test]
fn an_unstable_version_is_enabled_only_by_settings() {
    let versions = |enabled| ApiKey::InitProducerId.enabled_versions(enabled).to_string();
    assert_eq!(versions(false), "0-5");
    assert_eq!(versions(true), "0-6");
}

#[test]
fn produce_is_advertised_from_version_0_and_taken_from_3() {
    assert_eq!(
        ApiKey::Produce.advertised_versions(false).to_string(),
        "0-13"
    );
    assert_eq!(ApiKey::Produce.enabled_versions(false).to_string(), "3-13");
}

#[test]
fn header_versions_follow_the_flexible_versions() {
    assert_eq!(ApiKey::Metadata.request_header_version(8), 1);
    assert_eq!(ApiKey::Metadata.request_header_version(9), 2);
    assert_eq!(ApiKey::Metadata.response_header_version(8), 0);
    assert_eq!(ApiKey::Metadata.response_header_version(9), 1);
    assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
    assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
    assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
    assert_eq!(ApiKey::OffsetDelete.response_header_version(0), 0);
}

#[test]
fn an_api_is_on_the_listeners_that_kafka_serves_it_on() {
    assert!(
        ApiKey::Fetch.is_on(ListenerKind::Broker) && ApiKey::Fetch.is_on(ListenerKind::Controller)
    );
    assert!(!ApiKey::Produce.is_on(ListenerKind::Controller));
    assert!(!ApiKey::Vote.is_on(ListenerKind::Broker));
}
