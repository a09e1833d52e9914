//! Every value here was put to Apache Kafka 4.3.1 too: `testdata` holds its answers.

use std::collections::BTreeMap;

use ottla_protocol::ErrorCode;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn values_are_accepted_and_refused_in_kafkas_words() {
    let mut checked = 0;
    for line in include_str!("testdata/validation.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let columns: Vec<&str> = line.splitn(4, '|').collect();
        let scope = match columns[0] {
            "broker" => Scope::Broker,
            "topic" => Scope::Topic,
            _ => Scope::Group,
        };
        let outcome = match definition(scope, columns[1]).unwrap().parse(columns[2]) {
            Ok(value) => format!("ok {}", value.to_text()),
            Err(error) => format!("error {error}"),
        };
        assert_eq!(outcome, columns[3], "{line}");
        checked += 1;
    }
    assert!(checked > 1000);
}

#[test]
fn every_default_is_valid() {
    let empty_is_fine = [
        "controller.quorum.bootstrap.servers",
        "controller.quorum.voters",
    ];
    for scope in [
        Scope::Broker,
        Scope::Topic,
        Scope::Group,
        Scope::ClientMetrics,
    ] {
        for definition in definitions(scope) {
            if let Some(default) = definition
                .default
                .filter(|_| !empty_is_fine.contains(&definition.name))
            {
                definition.parse(default).unwrap();
            }
        }
    }
    assert_eq!(TopicConfig::default().segment_bytes, 1 << 30);
    assert_eq!(TopicConfig::default().retention_ms, 604_800_000);
}

fn file() -> BTreeMap<String, String> {
    map(&[
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("broker.id", "1"),
        ("controller.quorum.bootstrap.servers", "127.0.0.1:9093"),
        (
            "listeners",
            "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
        ),
        (
            "advertised.listeners",
            "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
        ),
        ("controller.listener.names", "CONTROLLER"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        ),
        ("log.dirs", "/data"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
    ])
}

fn shown(config: &DescribedConfig) -> String {
    let source = |source| match source {
        ConfigSource::DynamicTopic => "DYNAMIC_TOPIC_CONFIG",
        ConfigSource::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
        ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
        ConfigSource::Default => "DEFAULT_CONFIG",
        ConfigSource::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
        ConfigSource::DynamicClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
        ConfigSource::DynamicGroup => "DYNAMIC_GROUP_CONFIG",
    };
    const TYPES: [&str; 10] = [
        "UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS",
        "PASSWORD",
    ];
    let or_null = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms: String = config
        .synonyms
        .iter()
        .map(|synonym| {
            format!(
                "{}:{}={};",
                source(synonym.source),
                synonym.name,
                or_null(&synonym.value)
            )
        })
        .collect();
    format!(
        "{}={}|{}|{}|sens={}|ro={}|{synonyms}",
        config.name,
        or_null(&config.value),
        source(config.source),
        TYPES[usize::try_from(config.type_id).unwrap()],
        config.sensitive,
        config.read_only,
    )
}

fn kafkas(prefix: &str) -> Vec<&'static str> {
    include_str!("testdata/describe.txt")
        .lines()
        .filter_map(|line| line.strip_prefix(prefix))
        .collect()
}

fn assert_described(prefix: &str, configs: &[DescribedConfig], only_dynamic: bool) {
    let mut ours: Vec<String> = configs
        .iter()
        .map(shown)
        .filter(|line| !only_dynamic || line.contains("DYNAMIC"))
        .collect();
    ours.sort();
    let mut kafkas = kafkas(prefix);
    kafkas.sort();
    assert!(!kafkas.is_empty());
    for (ours, kafkas) in ours.iter().zip(&kafkas) {
        assert_eq!(ours, kafkas);
    }
    assert_eq!(ours.len(), kafkas.len());
}

#[test]
fn settings_are_described_as_kafka_describes_them() {
    let mut sources = BrokerConfigSources::of_file(file());
    sources.dynamic_default = map(&[("min.insync.replicas", "1")]);
    let topic = map(&[
        ("retention.ms", "1000000"),
        ("cleanup.policy", "compact,delete"),
    ]);
    assert_described("BROKER/1 ", &describe_broker(&sources), false);
    assert_described(
        "TOPIC/conf-topic ",
        &describe_topic(&topic, &sources).unwrap(),
        false,
    );

    sources.dynamic_default = map(&[
        ("compression.type", "gzip"),
        ("foo.bar", "gzip"),
        ("listener.name.plaintext.max.connections", "5"),
        ("log.cleaner.max.compaction.lag.ms", "1"),
        ("log.cleaner.min.compaction.lag.ms", "10"),
        ("log.retention.ms", "5000000"),
        ("min.insync.replicas", "2"),
    ]);
    sources.dynamic_broker = map(&[
        ("foo.secret", "x"),
        ("leader.replication.throttled.rate", "5000"),
        ("listener.name.plaintext.max.connections", "5"),
        ("listener.name.plaintext.sasl.jaas.config", "secret"),
        ("log.retention.ms", "6000000"),
        ("max.connections.per.ip.overrides", "nohost.invalid:5"),
        ("sasl.jaas.config", "secret"),
    ]);
    assert_described("after BROKER/ ", &describe_default_broker(&sources), false);
    assert_described("after BROKER/1 ", &describe_broker(&sources), true);
    assert_described(
        "after TOPIC/conf-topic ",
        &describe_topic(&topic, &sources).unwrap(),
        true,
    );
    let group = map(&[("consumer.session.timeout.ms", "50000")]);
    assert_described(
        "after GROUP/g ",
        &describe_group(&group, &sources).unwrap(),
        false,
    );
    let subscription = map(&[
        ("interval.ms", "1000"),
        ("metrics", "*"),
        ("match", "client_id=.*"),
    ]);
    assert_described(
        "after CLIENT_METRICS/m ",
        &describe_client_metrics(&subscription).unwrap(),
        false,
    );
    assert_described(
        "after CLIENT_METRICS/n ",
        &describe_client_metrics(&BTreeMap::new()).unwrap(),
        false,
    );
}

#[track_caller]
fn assert_refused(result: Result<(), ConfigError>, message: &str) {
    assert_eq!(result.unwrap_err().to_string(), message);
}

#[test]
fn topic_settings_are_refused_as_a_whole() {
    let defaults = BrokerConfigSources::default();
    let validate = |pairs: &[(&str, &str)]| validate_topic_configs(&map(pairs), &defaults);
    assert_refused(
        validate(&[("foo", "bar")]),
        "Unknown topic config name: foo",
    );
    assert_refused(
        validate(&[
            ("min.compaction.lag.ms", "100"),
            ("max.compaction.lag.ms", "10"),
        ]),
        "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (10)",
    );
    assert_refused(
        validate(&[("remote.storage.enable", "true")]),
        "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
    );
    validate(&[("local.retention.ms", "9999999999999")]).unwrap();
    validate(&[("cleanup.policy", "")]).unwrap();
    let sources = BrokerConfigSources {
        dynamic_default: map(&[("log.cleaner.max.compaction.lag.ms", "1")]),
        ..BrokerConfigSources::default()
    };
    assert_refused(
        validate_topic_configs(&map(&[("min.compaction.lag.ms", "10")]), &sources),
        "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (1)",
    );
}

#[test]
fn a_topics_value_comes_from_the_nearest_source_and_the_finest_unit() {
    let mut sources = BrokerConfigSources::of_file(map(&[
        ("log.retention.hours", "2"),
        ("log.roll.hours", "3"),
        ("log.flush.scheduler.interval.ms", "77"),
        ("compression.type", "zstd"),
    ]));
    let config = TopicConfig::resolve(&BTreeMap::new(), &sources).unwrap();
    assert_eq!(
        (config.retention_ms, config.segment_ms, config.flush_ms),
        (7_200_000, 10_800_000, 77)
    );
    assert_eq!(config.compression_type, "zstd");
    sources
        .static_config
        .insert("log.retention.minutes".to_owned(), "-1".to_owned());
    let config = TopicConfig::resolve(&map(&[("compression.type", "lz4")]), &sources).unwrap();
    assert_eq!(
        (config.retention_ms, config.compression_type.as_str()),
        (-1, "lz4")
    );
    sources.dynamic_default = map(&[("log.retention.ms", "9")]);
    assert_eq!(
        TopicConfig::resolve(&BTreeMap::new(), &sources)
            .unwrap()
            .retention_ms,
        9
    );
}

#[test]
fn broker_settings_keep_to_their_update_mode() {
    let validate = |name: &str, value: &str, per_broker| {
        validate_dynamic_broker_configs(&map(&[(name, value)]), per_broker)
    };
    assert_refused(
        validate("node.id", "2", true),
        "Cannot update these configs dynamically: [node.id]",
    );
    assert_refused(
        validate("listeners", "PLAINTEXT://:9092", false),
        "Cannot update these configs at default cluster level, broker id must be specified: [listeners]",
    );
    assert_refused(
        validate("ssl.keystore.location", "x", true),
        "These security configs can be dynamically updated only per-listener using the listener prefix: \
         [ssl.keystore.location]",
    );
    assert_refused(
        validate("num.io.threads", "x", true),
        "Invalid value x for configuration num.io.threads: Not a number of type INT",
    );
    assert_eq!(
        validate("num.io.threads", "x", true)
            .unwrap_err()
            .error_code(),
        ErrorCode::INVALID_REQUEST
    );
    validate("foo.bar", "gzip", false).unwrap();
    validate("listener.name.plaintext.max.connections", "5", false).unwrap();
    validate("leader.replication.throttled.rate", "5000", true).unwrap();
}

#[test]
fn group_and_subscription_settings_are_refused_in_kafkas_words() {
    let defaults = BrokerConfigSources::default();
    let group = |name: &str, value: &str| validate_group_configs(&map(&[(name, value)]), &defaults);
    group("consumer.session.timeout.ms", "50000").unwrap();
    assert_refused(
        group("consumer.session.timeout.ms", "1"),
        "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
    );
    assert_refused(
        group("consumer.heartbeat.interval.ms", "14000000"),
        "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
    );
    assert_refused(group("foo", "foo"), "Unknown group config name: foo");
    let metrics =
        |name: &str, value: &str| validate_client_metrics_configs("m", &map(&[(name, value)]));
    metrics("match", "client_id=.*").unwrap();
    assert_refused(
        metrics("interval.ms", "1"),
        "Invalid value 1 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
    );
    assert_refused(
        metrics("match", "foo=.*"),
        "Illegal client matching pattern: foo=.*",
    );
    assert_refused(
        metrics("foo", "x"),
        "Unknown client metrics configuration: foo",
    );
}

#[test]
fn every_setting_of_a_topic_group_or_subscription_says_what_it_does() {
    for scope in [Scope::Topic, Scope::Group, Scope::ClientMetrics] {
        for definition in definitions(scope).filter(|definition| !definition.internal) {
            assert!(definition.documentation.is_some(), "{}", definition.name);
        }
    }
    // What a broker's setting does that stands behind a topic's is what the topic's does.
    let text = |scope, name| definition(scope, name).unwrap().documentation;
    assert_eq!(
        text(Scope::Broker, "log.retention.hours"),
        text(Scope::Topic, "retention.ms")
    );
}
