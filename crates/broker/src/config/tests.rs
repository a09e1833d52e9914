use std::collections::BTreeMap;

use super::*;

fn settings(text: &str) -> BTreeMap<String, String> {
    text.split(';')
        .filter_map(|setting| setting.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

const BASE: &str = "process.roles=broker,controller;node.id=1;controller.listener.names=CONTROLLER;\
    controller.quorum.bootstrap.servers=localhost:9093;listeners=PLAINTEXT://:9092,CONTROLLER://:9093";

/// Cases in which Kafka names another setting, or Java's inner workings, or takes a port that doesn't exist.
const OTHER_WORDS: [&str; 4] = [
    "node.id=abc",
    "listener.security.protocol.map=PLAINTEXT,CONTROLLER:PLAINTEXT",
    "listeners=PLAINTEXT://localhost:99999,CONTROLLER://:9093",
    "max.connections.per.ip.overrides=127.0.0.1",
];

#[test]
fn whole_files_are_accepted_and_refused_as_kafka_does() {
    let mut checked = 0;
    for line in include_str!("testdata/starts.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (text, kafkas) = line.split_once('|').unwrap();
        if OTHER_WORDS.iter().any(|other| text.contains(other)) {
            continue;
        }
        let kafkas = kafkas.replace("error requirement failed: ", "error ");
        let kafkas = if kafkas.starts_with("ok ") {
            "ok"
        } else {
            kafkas.trim()
        };
        let ours = match NodeConfig::without_support_check(settings(text)) {
            Ok(_) => "ok".to_owned(),
            Err(error) => format!("error {error}"),
        };
        let one_line = |text: &str| {
            text.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace("|", "")
        };
        assert_eq!(one_line(&ours), one_line(kafkas), "{text}");
        checked += 1;
    }
    assert!(checked > 70);
}

fn config(extra: &str) -> Result<NodeConfig, Error> {
    NodeConfig::from_settings(settings(&format!("{BASE};{extra}")))
}

#[test]
fn a_node_reads_its_own_part() {
    let config = config("log.dirs=/a, /b;advertised.listeners=plaintext://host:1;ottla.metrics.listener=127.0.0.1:9404")
        .unwrap();
    assert_eq!(config.node_id, 1);
    assert_eq!(config.log_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!(config.metadata_log_dir, PathBuf::from("/a"));
    assert_eq!(
        config.listeners.advertised[0].to_string(),
        "PLAINTEXT://host:1"
    );
    assert_eq!(config.listeners.broker_listeners().count(), 1);
    assert_eq!(
        config
            .listeners
            .controller_listeners()
            .next()
            .unwrap()
            .to_string(),
        "CONTROLLER://:9093"
    );
    assert_eq!(
        config.own.metrics_listener,
        Some("127.0.0.1:9404".parse().unwrap())
    );
    assert_eq!(config.static_config["broker.id"], "1");
    assert_eq!(config.notices, []);
}

#[test]
fn what_does_nothing_yet_is_said_and_unknown_names_get_a_neighbour() {
    let config = config(
        "num.network.threads=7;num.io.threads=8;log.retention.hour=5;log.segment.bytes=2097152",
    )
    .unwrap();
    let lines: Vec<String> = config.notices.iter().map(Notice::to_string).collect();
    assert_eq!(
        lines,
        [
            "these settings are recognised but do nothing yet: num.network.threads",
            "unknown setting log.retention.hour is passed over (the nearest known one is log.retention.hours)",
        ]
    );
}

#[track_caller]
fn assert_refused(extra: &str, message: &str) {
    assert_eq!(config(extra).unwrap_err().to_string(), message);
}

#[test]
fn protection_that_is_not_there_stops_the_start() {
    assert_refused(
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer is set, but authorization is \
         not supported yet; remove it to start without",
    );
    assert_refused(
        "listeners=SASL_SSL://:9092,CONTROLLER://:9093;inter.broker.listener.name=SASL_SSL;\
         listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "listener SASL_SSL://:9092 with SASL_SSL is set, but TLS and SASL are not supported yet; remove it to start \
         without",
    );
    assert_refused(
        "remote.log.storage.system.enable=true",
        "remote.log.storage.system.enable=true is set, but remote storage is not supported yet; remove it to start \
         without",
    );
    config("authorizer.class.name=;remote.log.storage.system.enable=false").unwrap();
    assert_refused(
        "ottla.metrics.listener=9404",
        "Invalid value 9404 for configuration ottla.metrics.listener: an address and port such as 127.0.0.1:9404 is \
         expected",
    );
}

#[test]
fn overrides_win() {
    let mut given = settings("a=1;b=2");
    apply_overrides(&mut given, &["b=3=4".to_owned(), "c=".to_owned()]).unwrap();
    assert_eq!(given, settings("a=1;b=3=4;c="));
    assert!(apply_overrides(&mut given, &["nothing".to_owned()]).is_err());
}
