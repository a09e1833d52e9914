//! Changes of configurations, quotas and features.

use ottla_protocol::messages::alter_client_quotas_request as quotas;
use ottla_protocol::messages::incremental_alter_configs_request as configs;
use ottla_protocol::messages::update_features_request::FeatureUpdateKey;

use super::*;
use crate::image::{ConfigResource, QuotaEntity};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

impl Cluster {
    /// Changes one key of a resource.
    fn configure(
        &mut self,
        resource: (i8, &str),
        (operation, name, value): (i8, &str, Option<&str>),
    ) -> (ErrorCode, String) {
        let config = configs::AlterableConfig {
            name: name.into(),
            config_operation: operation,
            value: value.map(KafkaString::from),
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![configs::AlterConfigsResource {
                resource_type: resource.0,
                resource_name: resource.1.into(),
                configs: vec![config],
                ..Default::default()
            }],
            ..Default::default()
        };
        let context = AlterConfigsContext { forwarded: true };
        let decision = self
            .controller
            .decide_incremental_alter_configs(&request, context);
        let response = self.append(decision);
        let result = &response.responses[0];
        (
            ErrorCode(result.error_code),
            result.error_message.clone().unwrap_or_default().to_string(),
        )
    }

    fn config(&self, resource: &ConfigResource, name: &str) -> Option<String> {
        self.controller
            .image()
            .configs()
            .value(resource, name)
            .map(KafkaString::to_string)
    }

    fn quota(
        &mut self,
        entity: &[(&str, Option<&str>)],
        key: &str,
        value: Option<f64>,
    ) -> (ErrorCode, String) {
        let one = |(kind, name): &(&str, Option<&str>)| quotas::EntityData {
            entity_type: (*kind).into(),
            entity_name: name.map(KafkaString::from),
            ..Default::default()
        };
        let op = quotas::OpData {
            key: key.into(),
            value: value.unwrap_or(0.0),
            remove: value.is_none(),
            ..Default::default()
        };
        let request = AlterClientQuotasRequest {
            entries: vec![quotas::EntryData {
                entity: entity.iter().map(one).collect(),
                ops: vec![op],
                ..Default::default()
            }],
            ..Default::default()
        };
        let decision = self.controller.decide_alter_client_quotas(&request);
        let response = self.append(decision);
        let result = &response.entries[0];
        (
            ErrorCode(result.error_code),
            result.error_message.clone().unwrap_or_default().to_string(),
        )
    }
}

#[test]
fn configurations_are_set_extended_and_removed() {
    let mut cluster = Cluster::with_brokers(&[1]);
    cluster.create_assigned("t", &[1], "1");
    let topic = ConfigResource::topic("t");
    let none = (ErrorCode::NONE, String::new());
    assert_eq!(
        cluster.configure((2, "t"), (SET, "retention.ms", Some("5"))),
        none
    );
    assert_eq!(cluster.config(&topic, "retention.ms").as_deref(), Some("5"));
    let before = cluster.log.len();
    assert_eq!(
        cluster.configure((2, "t"), (SET, "retention.ms", Some("5"))),
        none
    );
    assert_eq!(cluster.log.len(), before, "nothing changed");
    assert_eq!(
        cluster.configure((2, "t"), (APPEND, "cleanup.policy", Some("compact"))),
        none
    );
    assert_eq!(
        cluster.config(&topic, "cleanup.policy").as_deref(),
        Some("delete,compact")
    );
    assert_eq!(
        cluster.configure((2, "t"), (SUBTRACT, "cleanup.policy", Some("delete"))),
        none
    );
    assert_eq!(
        cluster.config(&topic, "cleanup.policy").as_deref(),
        Some("compact")
    );
    assert_eq!(
        cluster.configure((2, "t"), (DELETE, "retention.ms", None)),
        none
    );
    assert_eq!(cluster.config(&topic, "retention.ms"), None);
    assert_eq!(
        cluster.configure((4, ""), (SET, "log.retention.ms", Some("7"))),
        none
    );
    assert_eq!(
        cluster.configure((4, "1"), (SET, "num.io.threads", Some("9"))),
        none
    );
    assert_eq!(
        cluster.configure(
            (32, "g"),
            (SET, "consumer.session.timeout.ms", Some("50000"))
        ),
        none
    );
    assert_eq!(
        cluster.configure((16, "m"), (SET, "interval.ms", Some("60000"))),
        none
    );
}

#[test]
fn configurations_that_cannot_be_are_refused_in_kafkas_words() {
    let mut cluster = Cluster::with_brokers(&[1]);
    cluster.create_assigned("t", &[1], "1");
    let rows = [
        (
            (2, "none"),
            (SET, "retention.ms", Some("5")),
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            "The topic 'none' does not exist.",
        ),
        (
            (2, ""),
            (SET, "retention.ms", Some("5")),
            ErrorCode::INVALID_REQUEST,
            "Default topic resources are not allowed.",
        ),
        (
            (2, "t"),
            (APPEND, "retention.ms", Some("5")),
            ErrorCode::INVALID_CONFIG,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            (4, "9"),
            (SET, "num.io.threads", Some("5")),
            ErrorCode::BROKER_ID_NOT_REGISTERED,
            "No node with id 9 found.",
        ),
        (
            (4, "x"),
            (SET, "num.io.threads", Some("5")),
            ErrorCode::INVALID_REQUEST,
            "Unable to parse broker name as a base 10 number.",
        ),
        (
            (4, "1"),
            (SET, "min.insync.replicas", Some("2")),
            ErrorCode::INVALID_CONFIG,
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
        ),
        (
            (4, ""),
            (DELETE, "min.insync.replicas", None),
            ErrorCode::INVALID_CONFIG,
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
        ),
        (
            (32, ""),
            (SET, "consumer.session.timeout.ms", Some("50000")),
            ErrorCode::INVALID_REQUEST,
            "Default group resources are not allowed.",
        ),
        (
            (3, "t"),
            (SET, "a", Some("b")),
            ErrorCode::UNSUPPORTED_VERSION,
            "Unknown resource type 3.",
        ),
    ];
    for (resource, change, code, message) in rows {
        assert_eq!(
            cluster.configure(resource, change),
            (code, message.to_owned())
        );
    }
}

/// KIP-966: who was eligible under another minimum may not be any more.
#[test]
fn another_minimum_clears_the_eligible() {
    let mut cluster = Cluster::with_brokers(&[1, 2]);
    cluster.create_assigned("t", &[1, 2], "2");
    cluster.let_sessions_end_but(&[1]);
    assert_eq!(cluster.partition("t").eligible_leader_replicas, ids(&[2]));
    let (code, _) = cluster.configure((2, "t"), (SET, "min.insync.replicas", Some("1")));
    assert_eq!(code, ErrorCode::NONE);
    assert!(matches!(
        cluster.log.last(),
        Some(MetadataRecord::ClearElr(_))
    ));
    assert!(cluster.partition("t").eligible_leader_replicas.is_empty());
}

#[test]
fn a_whole_configuration_is_replaced() {
    let mut cluster = Cluster::with_brokers(&[1]);
    cluster.create_assigned("t", &[1], "1");
    cluster.configure((2, "t"), (SET, "retention.ms", Some("5")));
    let request = AlterConfigsRequest {
        resources: vec![alter_configs_request::AlterConfigsResource {
            resource_type: 2,
            resource_name: "t".into(),
            configs: vec![alter_configs_request::AlterableConfig {
                name: "segment.ms".into(),
                value: Some("77".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let decision = cluster
        .controller
        .decide_alter_configs(&request, AlterConfigsContext::default());
    cluster.append(decision);
    let topic = ConfigResource::topic("t");
    let values = cluster.controller.image().configs().of(&topic).unwrap();
    let names: Vec<&str> = values.keys().map(KafkaString::as_str).collect();
    assert_eq!(names, ["segment.ms"]);
}

#[test]
fn quotas_are_set_and_removed() {
    let mut cluster = Cluster::at(30);
    let user = [("user", Some("bob")), ("client-id", None)];
    let none = (ErrorCode::NONE, String::new());
    assert_eq!(
        cluster.quota(&user, "producer_byte_rate", Some(1024.0)),
        none
    );
    let entity = QuotaEntity(
        user.iter()
            .map(|(kind, name)| ((*kind).into(), name.map(KafkaString::from)))
            .collect(),
    );
    let found = cluster
        .controller
        .image()
        .client_quotas()
        .of(&entity)
        .unwrap();
    assert_eq!(found.get("producer_byte_rate"), Some(&1024.0));
    assert_eq!(cluster.quota(&user, "producer_byte_rate", None), none);
    assert!(
        cluster
            .controller
            .image()
            .client_quotas()
            .entities()
            .is_empty()
    );
    assert_eq!(
        cluster.quota(
            &[("ip", Some("::1"))],
            "connection_creation_rate",
            Some(3.0)
        ),
        none
    );
}

#[test]
fn quotas_that_cannot_be_are_refused_in_kafkas_words() {
    let mut cluster = Cluster::at(30);
    let user = [("user", Some("bob"))];
    let mut refused = |entity: &[(&str, Option<&str>)], key: &str, value: f64| {
        let (code, message) = cluster.quota(entity, key, Some(value));
        assert_eq!(code, ErrorCode::INVALID_REQUEST);
        message
    };
    assert_eq!(
        refused(&[], "producer_byte_rate", 1.0),
        "Invalid empty client quota entity"
    );
    assert_eq!(
        refused(&[("group", Some("g"))], "producer_byte_rate", 1.0),
        "Unhandled client quota entity type: group"
    );
    assert_eq!(
        refused(&[("user", Some(""))], "producer_byte_rate", 1.0),
        "Empty user not supported"
    );
    assert_eq!(
        refused(&user, "nothing", 1.0),
        "Invalid configuration key nothing"
    );
    assert_eq!(
        refused(&user, "producer_byte_rate", 0.0),
        "Quota producer_byte_rate must be greater than 0"
    );
    assert_eq!(
        refused(&user, "producer_byte_rate", 1024.5),
        "producer_byte_rate cannot be a fractional value."
    );
    assert_eq!(
        refused(&[("ip", Some("1.2.3.4"))], "connection_creation_rate", 1e10),
        "Proposed value for connection_creation_rate is too large for an INT."
    );
    assert_eq!(
        refused(
            &[("ip", None), ("user", None)],
            "connection_creation_rate",
            1.0
        ),
        "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId"
    );
}

fn update(name: &str, level: i16, upgrade_type: i8) -> UpdateFeaturesRequest {
    UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: name.into(),
            max_version_level: level,
            upgrade_type,
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn features_go_up_as_far_as_every_node_supports() {
    let mut cluster = Cluster::at(7);
    cluster.start_broker(1, -1);
    let decision =
        cluster
            .controller
            .decide_update_features(&update("metadata.version", 30, 1), 2, 0);
    assert_eq!(cluster.append(decision).response.error_code, 0);
    assert_eq!(cluster.controller.metadata_version().level(), 30);
    let elr = update("eligible.leader.replicas.version", 1, 1);
    let decision = cluster.controller.decide_update_features(&elr, 2, 0);
    assert_eq!(cluster.append(decision).response.error_code, 0);
    assert!(
        cluster
            .controller
            .image()
            .features()
            .eligible_leader_replicas_enabled()
    );
    let minimum = cluster.config(&ConfigResource::broker_default(), "min.insync.replicas");
    assert_eq!(
        minimum.as_deref(),
        Some("1"),
        "known for the cluster from now on"
    );
    let kraft = cluster
        .controller
        .decide_update_features(&update("kraft.version", 1, 1), 2, 0);
    assert_eq!(kraft.response.kraft_version, Some(1));
}

/// The messages are those that Apache Kafka 4.3.1 answers `kafka-features.sh` with.
#[test]
fn feature_levels_that_cannot_be_are_refused_in_kafkas_words() {
    let cluster = Cluster::with_brokers(&[1]);
    let refused = |request: &UpdateFeaturesRequest| {
        let decision = cluster.controller.decide_update_features(request, 2, 1);
        assert!(decision.records.is_empty());
        let response = decision.response.response;
        assert_eq!(response.error_code, ErrorCode::INVALID_UPDATE_VERSION.0);
        let message = response.error_message.unwrap_or_default().to_string();
        let start = "The update failed for all features since the following feature had an error: ";
        message.strip_prefix(start).unwrap().to_owned()
    };
    assert_eq!(
        refused(&update("metadata.version", 21, 1)),
        "Invalid update version 21 for feature metadata.version. Can't downgrade the version of \
         this feature without setting the upgrade type to either safe or unsafe downgrade."
    );
    assert_eq!(
        refused(&update("metadata.version", 29, 2)),
        "Unsupported metadata.version downgrade from 30 to 29. Refusing to perform the \
         requested downgrade because it might delete metadata information."
    );
    assert_eq!(
        refused(&update("metadata.version", 31, 1)),
        "Invalid update version 31 for feature metadata.version. Local controller 1 only \
         supports versions 7-30"
    );
    assert_eq!(
        refused(&update("nothing.version", 1, 1)),
        "Invalid update version 1 for feature nothing.version. Local controller 1 does not \
         support this feature."
    );
    assert_eq!(
        refused(&update("kraft.version", 0, 2)),
        "Invalid update version 0 for feature kraft.version. Can't downgrade the version of \
         this feature."
    );
    assert_eq!(
        refused(&update("group.version", 1, 9)),
        "Invalid update version 1 for feature group.version. The controller does not support \
         the given upgrade type."
    );
}

/// The messages are Apache Kafka's; the matches are those of KIP-546.
#[test]
fn quotas_are_described_by_what_is_asked_for() {
    use describe_client_quotas_request::ComponentData;
    let mut cluster = Cluster::at(30);
    cluster.quota(&[("user", Some("bob"))], "producer_byte_rate", Some(1.0));
    cluster.quota(&[("user", None)], "producer_byte_rate", Some(2.0));
    let both = [("user", Some("bob")), ("client-id", None)];
    cluster.quota(&both, "producer_byte_rate", Some(3.0));
    let describe = |components: &[(&str, i8, Option<&str>)], strict: bool| {
        let component = |(kind, match_type, name): &(&str, i8, Option<&str>)| ComponentData {
            entity_type: (*kind).into(),
            match_type: *match_type,
            r#match: name.map(KafkaString::from),
            ..Default::default()
        };
        let components = components.iter().map(component).collect();
        let request = DescribeClientQuotasRequest {
            components,
            strict,
            ..Default::default()
        };
        cluster
            .controller
            .image()
            .client_quotas()
            .describe(&request)
    };
    let values = |response: DescribeClientQuotasResponse| -> Vec<f64> {
        let entries = response.entries.unwrap();
        let mut values: Vec<f64> = entries.iter().map(|entry| entry.values[0].value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    assert_eq!(values(describe(&[], false)), [1.0, 2.0, 3.0]);
    assert_eq!(
        values(describe(&[("user", 0, Some("bob"))], false)),
        [1.0, 3.0]
    );
    assert_eq!(values(describe(&[("user", 0, Some("bob"))], true)), [1.0]);
    assert_eq!(values(describe(&[("user", 1, None)], false)), [2.0]);
    assert_eq!(values(describe(&[("user", 2, None)], true)), [1.0, 2.0]);
    let refused = |components: &[(&str, i8, Option<&str>)]| {
        let response = describe(components, false);
        assert_eq!(response.entries, None);
        response.error_message.unwrap_or_default().to_string()
    };
    assert_eq!(
        refused(&[("group", 2, None)]),
        "Unsupported entity type group"
    );
    assert_eq!(
        refused(&[("user", 0, None)]),
        "Request specified MATCH_TYPE_EXACT, but set match string to null."
    );
    assert_eq!(
        refused(&[("user", 2, None), ("user", 2, None)]),
        "Entity type user cannot appear more than once in the filter."
    );
}
