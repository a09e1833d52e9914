//! What this release makes of the given settings: acted on, passed over, unknown, or refused.

use std::collections::BTreeMap;
use std::fmt;

use ottla_metadata::config::{Scope, definition, definitions, listener_setting};

use super::{Error, NodeConfig, SecurityProtocol, own};

/// Something that the operator should know about the given settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Kafka's settings that do nothing here yet.
    NoEffect(Vec<String>),
    /// A name that nobody knows, with the nearest known one.
    Unknown {
        /// The name as given.
        name: String,
        /// The known name that looks most like it.
        nearest: &'static str,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEffect(names) => {
                write!(
                    formatter,
                    "these settings are recognised but do nothing yet: {}",
                    names.join(", ")
                )
            }
            Self::Unknown { name, nearest } => {
                write!(
                    formatter,
                    "unknown setting {name} is passed over (the nearest known one is {nearest})"
                )
            }
        }
    }
}

/// Settings that this release acts on, besides those of topics, which all are.
const ACTED_ON: &[&str] = &[
    "add.partitions.to.txn.retry.backoff.max.ms",
    "add.partitions.to.txn.retry.backoff.ms",
    "advertised.listeners",
    "alter.log.dirs.replication.quota.window.num",
    "alter.log.dirs.replication.quota.window.size.seconds",
    "authorizer.class.name",
    "auto.create.topics.enable",
    "auto.leader.rebalance.enable",
    "broker.heartbeat.interval.ms",
    "broker.id",
    "broker.rack",
    "broker.session.timeout.ms",
    "config.providers",
    "connections.max.idle.ms",
    "controlled.shutdown.enable",
    "controller.listener.names",
    "controller.quorum.auto.join.enable",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.election.backoff.max.ms",
    "controller.quorum.election.timeout.ms",
    "controller.quorum.fetch.max.bytes",
    "controller.quorum.fetch.snapshot.max.bytes",
    "controller.quorum.fetch.timeout.ms",
    "controller.quorum.request.timeout.ms",
    "controller.quorum.retry.backoff.ms",
    "controller.quorum.voters",
    "default.replication.factor",
    "delete.topic.enable",
    "fetch.max.bytes",
    "group.initial.rebalance.delay.ms",
    "group.max.session.timeout.ms",
    "group.max.size",
    "group.min.session.timeout.ms",
    "group.share.assignment.interval.ms",
    "group.share.heartbeat.interval.ms",
    "group.share.initialize.retry.interval.ms",
    "group.share.max.assignment.interval.ms",
    "group.share.max.heartbeat.interval.ms",
    "group.share.max.session.timeout.ms",
    "group.share.max.size",
    "group.share.min.assignment.interval.ms",
    "group.share.min.heartbeat.interval.ms",
    "group.share.min.session.timeout.ms",
    "group.share.session.timeout.ms",
    "group.streams.assignment.interval.ms",
    "group.streams.heartbeat.interval.ms",
    "group.streams.initial.rebalance.delay.ms",
    "group.streams.max.assignment.interval.ms",
    "group.streams.max.heartbeat.interval.ms",
    "group.streams.max.session.timeout.ms",
    "group.streams.max.size",
    "group.streams.max.standby.replicas",
    "group.streams.min.assignment.interval.ms",
    "group.streams.min.heartbeat.interval.ms",
    "group.streams.min.session.timeout.ms",
    "group.streams.num.standby.replicas",
    "group.streams.session.timeout.ms",
    "group.share.delivery.count.limit",
    "group.share.max.share.sessions",
    "group.share.partition.max.record.locks",
    "group.share.record.lock.duration.ms",
    "initial.broker.registration.timeout.ms",
    "inter.broker.listener.name",
    "leader.imbalance.check.interval.seconds",
    "listener.security.protocol.map",
    "listeners",
    "log.dir",
    "log.dirs",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.enable",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.threads",
    "log.flush.offset.checkpoint.interval.ms",
    "log.flush.scheduler.interval.ms",
    "log.flush.start.offset.checkpoint.interval.ms",
    "log.retention.check.interval.ms",
    "max.connections",
    "max.connections.per.ip",
    "max.connections.per.ip.overrides",
    "max.incremental.fetch.session.cache.slots",
    "max.request.partition.size.limit",
    "metadata.log.dir",
    "metadata.log.max.record.bytes.between.snapshots",
    "metadata.log.max.snapshot.interval.ms",
    "metadata.log.segment.bytes",
    "metadata.log.segment.ms",
    "metadata.max.idle.interval.ms",
    "metadata.max.retention.bytes",
    "metadata.max.retention.ms",
    "node.id",
    "num.partitions",
    "num.recovery.threads.per.data.dir",
    "num.replica.alter.log.dirs.threads",
    "num.replica.fetchers",
    "offset.metadata.max.bytes",
    "offsets.commit.timeout.ms",
    "offsets.retention.check.interval.ms",
    "offsets.retention.minutes",
    "offsets.topic.compression.codec",
    "offsets.topic.num.partitions",
    "offsets.topic.replication.factor",
    "offsets.topic.segment.bytes",
    "process.roles",
    "producer.id.expiration.check.interval.ms",
    "producer.id.expiration.ms",
    "remote.log.storage.system.enable",
    "replica.fetch.backoff.ms",
    "replica.fetch.max.bytes",
    "replica.fetch.min.bytes",
    "replica.fetch.response.max.bytes",
    "replica.fetch.wait.max.ms",
    "replica.high.watermark.checkpoint.interval.ms",
    "replica.lag.time.max.ms",
    "replica.selector.class",
    "replica.socket.timeout.ms",
    "replication.quota.window.num",
    "replication.quota.window.size.seconds",
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "request.timeout.ms",
    "security.inter.broker.protocol",
    "share.coordinator.cold.partition.snapshot.interval.ms",
    "share.coordinator.load.buffer.size",
    "share.coordinator.snapshot.update.records.per.snapshot",
    "share.coordinator.state.topic.compression.codec",
    "share.coordinator.state.topic.min.isr",
    "share.coordinator.state.topic.num.partitions",
    "share.coordinator.state.topic.prune.interval.ms",
    "share.coordinator.state.topic.replication.factor",
    "share.coordinator.state.topic.segment.bytes",
    "share.coordinator.write.timeout.ms",
    "socket.listen.backlog.size",
    "socket.receive.buffer.bytes",
    "socket.request.max.bytes",
    "socket.send.buffer.bytes",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms",
    "transaction.max.timeout.ms",
    "transaction.partition.verification.enable",
    "transaction.remove.expired.transaction.cleanup.interval.ms",
    "transaction.state.log.load.buffer.size",
    "transaction.state.log.min.isr",
    "transaction.state.log.num.partitions",
    "transaction.state.log.replication.factor",
    "transaction.state.log.segment.bytes",
    "transaction.two.phase.commit.enable",
    "transactional.id.expiration.ms",
    "unclean.leader.election.interval.ms",
];

/// What to tell about the given settings of a broker, from a file or set while it runs.
#[must_use]
pub fn notices(settings: &BTreeMap<String, String>) -> Vec<Notice> {
    let mut without_effect = Vec::new();
    let mut notices = Vec::new();
    for (name, value) in settings {
        let known = definition(Scope::Broker, listener_setting(name).unwrap_or(name));
        match known {
            Some(known) => {
                let is_default = known.parse(value).ok() == known.default_value();
                if !is_default && !is_acted_on(name) {
                    without_effect.push(name.clone());
                }
            }
            None if own::NAMES.contains(&name.as_str()) => {}
            None => notices.push(Notice::Unknown {
                name: name.clone(),
                nearest: nearest_name(name),
            }),
        }
    }
    if !without_effect.is_empty() {
        notices.insert(0, Notice::NoEffect(without_effect));
    }
    notices
}

/// Whether this release acts on the broker's setting.
#[must_use]
pub fn is_acted_on(name: &str) -> bool {
    let stands_behind_a_topic = || {
        definitions(Scope::Topic)
            .flat_map(|topic| &topic.synonyms)
            .any(|synonym| synonym.name == name)
            && !name.starts_with("log.local.")
    };
    ACTED_ON.contains(&name) || stands_behind_a_topic()
}

/// What in the configuration asks for protection that isn't there: each stops a start.
pub(super) fn unsupported(config: &NodeConfig) -> Vec<Error> {
    let refuse = |(setting, reason)| Error::Unsupported { setting, reason };
    let found = unprotected_listeners(config).chain(refused_settings(config));
    found.map(refuse).collect()
}

/// A setting with its value, and why it stops a start.
type Refused = (String, &'static str);

fn unprotected_listeners(config: &NodeConfig) -> impl Iterator<Item = Refused> {
    let mut seen = Vec::new();
    let bound = config.listeners.bound.iter();
    bound
        .chain(&config.listeners.advertised)
        .filter(|listener| listener.security_protocol != SecurityProtocol::Plaintext)
        .filter_map(move |listener| {
            let setting = format!("listener {listener} with {}", listener.security_protocol);
            if seen.contains(&setting) {
                return None;
            }
            seen.push(setting.clone());
            Some((setting, "TLS and SASL are not supported yet"))
        })
}

fn refused_settings(config: &NodeConfig) -> impl Iterator<Item = Refused> {
    let refused: [(&str, &'static str); 5] = [
        (
            "authorizer.class.name",
            "authorization is not supported yet",
        ),
        (
            "remote.log.storage.system.enable",
            "remote storage is not supported yet",
        ),
        (
            "create.topic.policy.class.name",
            "policies are not supported yet",
        ),
        (
            "alter.config.policy.class.name",
            "policies are not supported yet",
        ),
        (
            "principal.builder.class",
            "principal builders are not supported yet",
        ),
    ];
    let set = refused.into_iter().filter_map(|(name, reason)| {
        let known = definition(Scope::Broker, name).expect("the name is a broker setting's");
        let value = config.values.value(name);
        let is_empty = value
            .as_ref()
            .is_none_or(|value| value.to_text().is_empty());
        (!is_empty && value != known.default_value())
            .then(|| (format!("{name}={}", config.static_config[name]), reason))
    });
    let refers = |value: &String| value.contains("${");
    let from_providers = !config.values.list("config.providers").is_empty()
        && config.static_config.values().any(refers);
    set.chain(from_providers.then(|| {
        let reason = "values from providers are not supported yet";
        ("config.providers".to_owned(), reason)
    }))
}

/// The known name that takes the fewest changes to reach.
fn nearest_name(name: &str) -> &'static str {
    let known = definitions(Scope::Broker)
        .map(|definition| definition.name)
        .chain(own::NAMES);
    known
        .min_by_key(|known| edit_distance(name, known))
        .unwrap_or_default()
}

/// How many characters must be added, dropped or changed to make one text of the other.
fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, character) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, candidate) in other.iter().enumerate() {
            let changed = diagonal + usize::from(character != *candidate);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
