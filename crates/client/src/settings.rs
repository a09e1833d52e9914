//! Clients' settings under Kafka's names, from properties files or one by one.

mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use ottla_protocol::KafkaString;
use ottla_protocol::compression::{Codec, Compression};

use crate::Error;
use crate::core::backoff::Backoff;
use crate::core::cluster::ClusterOptions;
use crate::core::consumer::assignor::Assignor;
use crate::core::consumer::{ConsumerOptions, IsolationLevel, OffsetReset};
use crate::core::metadata::Endpoint;
use crate::core::producer::ProducerOptions;
use crate::core::share_consumer::ShareConsumerOptions;

/// Which client settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A producer.
    Producer,
    /// A consumer.
    Consumer,
    /// An admin client.
    Admin,
}

impl Scope {
    fn names(self) -> impl Iterator<Item = &'static str> {
        let own = match self {
            Self::Producer => names::PRODUCER,
            Self::Consumer => names::CONSUMER,
            Self::Admin => names::ADMIN,
        };
        names::ALL_CLIENTS.iter().chain(own).copied()
    }

    fn knows(self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }
}

/// Values by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<String, String>,
}

impl Settings {
    /// No settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Settings with the brokers to begin with.
    #[must_use]
    pub fn bootstrap(servers: &str) -> Self {
        Self::new().with("bootstrap.servers", servers)
    }

    /// The same settings with one more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a value, in place of an earlier one.
    pub fn set(&mut self, name: &str, value: impl Display) {
        self.values.insert(name.to_owned(), value.to_string());
    }

    /// Sets a value unless there is one.
    pub fn set_default(&mut self, name: &str, value: impl Display) {
        self.values
            .entry(name.to_owned())
            .or_insert_with(|| value.to_string());
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All values by name.
    #[must_use]
    pub fn into_values(self) -> BTreeMap<String, String> {
        self.values
    }

    /// Takes over all of the other's values.
    pub fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
    }

    /// Takes out everything that the client does not have, and gives the names back.
    pub fn retain_known(&mut self, scope: Scope) -> Vec<String> {
        let unknown: Vec<String> = self
            .values
            .keys()
            .filter(|name| !scope.knows(name))
            .cloned()
            .collect();
        self.values.retain(|name, _| scope.knows(name));
        unknown
    }

    /// Reads a properties file as Java does: `name=value` or `name: value` or `name value`, `#` and
    /// `!` for comments, `\` to continue a line or to escape.
    #[must_use]
    pub fn from_properties(text: &str) -> Self {
        let mut settings = Self::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let mut line = line.trim_start().to_owned();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            while line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
                line.pop();
                let Some(next) = lines.next() else { break };
                line.push_str(next.trim_start());
            }
            let (name, value) = split_property(&line);
            settings.values.insert(unescape(name), unescape(value));
        }
        settings
    }

    fn check_names(&self, scope: Scope) -> Result<(), Error> {
        let Some(unknown) = self.values.keys().find(|name| !scope.knows(name)) else {
            return Ok(());
        };
        let nearest = scope.names().min_by_key(|name| distance(name, unknown));
        let nearest = nearest.filter(|name| distance(name, unknown) <= 1 + unknown.len() / 5);
        Err(Error::UnknownSetting {
            name: unknown.clone(),
            nearest,
        })
    }

    fn parse<T: FromStr>(&self, name: &str, default: T) -> Result<T, Error> {
        let Some(value) = self.get(name) else {
            return Ok(default);
        };
        value.trim().parse().map_err(|_| {
            invalid(
                name,
                value,
                &format!("Not a number of type {}", type_name::<T>()),
            )
        })
    }

    fn one_of<T: Copy>(&self, name: &str, choices: &[(&str, T)], default: T) -> Result<T, Error> {
        let Some(value) = self.get(name) else {
            return Ok(default);
        };
        let chosen = choices
            .iter()
            .find(|(choice, _)| choice.eq_ignore_ascii_case(value.trim()));
        chosen.map(|(_, chosen)| *chosen).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            invalid(
                name,
                value,
                &format!("String must be one of: {}", names.join(", ")),
            )
        })
    }

    /// The network side of any client.
    pub fn cluster_options(&self) -> Result<ClusterOptions, Error> {
        let protocol = self.get("security.protocol").unwrap_or("PLAINTEXT");
        if !protocol.eq_ignore_ascii_case("PLAINTEXT") {
            let reason = "this client does not do TLS or SASL yet; PLAINTEXT is what it does";
            return Err(invalid("security.protocol", protocol, reason));
        }
        let defaults = ClusterOptions::default();
        let reconnect = defaults.reconnect_backoff;
        let retry = defaults.retry_backoff;
        let controllers = self.get("bootstrap.controllers").is_some();
        let bootstrap = self.addresses(match controllers {
            true => "bootstrap.controllers",
            false => "bootstrap.servers",
        })?;
        Ok(ClusterOptions {
            client_id: KafkaString::from(self.get("client.id").unwrap_or("").to_owned()),
            bootstrap,
            controllers,
            request_timeout_ms: self.parse("request.timeout.ms", defaults.request_timeout_ms)?,
            connection_setup_timeout_ms: self.parse(
                "socket.connection.setup.timeout.ms",
                defaults.connection_setup_timeout_ms,
            )?,
            reconnect_backoff: Backoff {
                initial_ms: self.parse("reconnect.backoff.ms", reconnect.initial_ms)?,
                max_ms: self.parse("reconnect.backoff.max.ms", reconnect.max_ms)?,
            },
            retry_backoff: Backoff {
                initial_ms: self.parse("retry.backoff.ms", retry.initial_ms)?,
                max_ms: self.parse("retry.backoff.max.ms", retry.max_ms)?,
            },
            metadata_max_age_ms: self.parse("metadata.max.age.ms", defaults.metadata_max_age_ms)?,
            connections_max_idle_ms: self
                .parse("connections.max.idle.ms", defaults.connections_max_idle_ms)?,
            in_flight_max: defaults.in_flight_max,
            allow_auto_topic_creation: true,
            seed: 0,
        })
    }

    fn addresses(&self, name: &str) -> Result<Vec<Endpoint>, Error> {
        let value = self.get(name).unwrap_or("");
        let endpoints: Option<Vec<Endpoint>> = value
            .split(',')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(endpoint)
            .collect();
        let endpoints = endpoints
            .ok_or_else(|| invalid(name, value, "an address is not of the form host:port"))?;
        if endpoints.is_empty() {
            return Err(invalid(name, value, "no broker is named"));
        }
        Ok(endpoints)
    }

    fn compression(&self) -> Result<Compression, Error> {
        let choices = Codec::ALL.map(|codec| (codec.name(), codec));
        let codec = self.one_of("compression.type", &choices, Codec::None)?;
        let name = format!("compression.{codec}.level");
        let level = self.parse(&name, codec.default_level())?;
        Compression::with_level(codec, level)
            .map_err(|error| invalid(&name, &level.to_string(), &error.to_string()))
    }

    /// A producer's options.
    pub fn producer_options(&self) -> Result<ProducerOptions, Error> {
        self.check_names(Scope::Producer)?;
        let defaults = ProducerOptions::default();
        let mut cluster = self.cluster_options()?;
        cluster.in_flight_max = self.parse("max.in.flight.requests.per.connection", 5)?;
        let acks = self.one_of("acks", &[("all", -1), ("-1", -1), ("0", 0), ("1", 1)], -1)?;
        let boolean = [("true", true), ("false", false)];
        let idempotence_default = acks == -1 && cluster.in_flight_max <= 5;
        let enable_idempotence =
            self.one_of("enable.idempotence", &boolean, idempotence_default)?;
        if enable_idempotence && !idempotence_default {
            let reason = "an idempotent producer needs acks=all and at most 5 requests in flight";
            return Err(invalid("enable.idempotence", "true", reason));
        }
        if let Some(id) = self.get("transactional.id") {
            let reason = "this producer does not do transactions yet";
            return Err(invalid("transactional.id", id, reason));
        }
        let linger_ms = self.parse("linger.ms", defaults.linger_ms)?;
        let least = linger_ms + cluster.request_timeout_ms;
        let delivery_timeout_ms = match self.get("delivery.timeout.ms") {
            None => defaults.delivery_timeout_ms.max(least),
            Some(value) => match self.parse("delivery.timeout.ms", 0)? {
                given if given >= least => given,
                _ => {
                    let reason = "it must be at least linger.ms + request.timeout.ms";
                    return Err(invalid("delivery.timeout.ms", value, reason));
                }
            },
        };
        Ok(ProducerOptions {
            cluster,
            acks,
            linger_ms,
            batch_size: self.parse("batch.size", defaults.batch_size)?,
            buffer_memory: self.parse("buffer.memory", defaults.buffer_memory)?,
            compression: self.compression()?,
            retries: self.parse("retries", defaults.retries)?,
            delivery_timeout_ms,
            max_request_size: self.parse("max.request.size", defaults.max_request_size)?,
            max_block_ms: self.parse("max.block.ms", defaults.max_block_ms)?,
            enable_idempotence,
            partitioner_ignore_keys: self.one_of("partitioner.ignore.keys", &boolean, false)?,
        })
    }

    /// A consumer's options.
    pub fn consumer_options(&self) -> Result<ConsumerOptions, Error> {
        self.check_names(Scope::Consumer)?;
        let defaults = ConsumerOptions::default();
        let mut cluster = self.cluster_options()?;
        let boolean = [("true", true), ("false", false)];
        cluster.allow_auto_topic_creation =
            self.one_of("allow.auto.create.topics", &boolean, true)?;
        let isolation = [
            ("read_uncommitted", IsolationLevel::ReadUncommitted),
            ("read_committed", IsolationLevel::ReadCommitted),
        ];
        let reset = [
            ("latest", OffsetReset::Latest),
            ("earliest", OffsetReset::Earliest),
            ("none", OffsetReset::None),
        ];
        let group_id = self.get("group.id").map(KafkaString::from);
        self.one_of("group.protocol", &[("classic", ())], ())?;
        Ok(ConsumerOptions {
            cluster,
            group_instance_id: self.get("group.instance.id").map(KafkaString::from),
            enable_auto_commit: self.one_of("enable.auto.commit", &boolean, group_id.is_some())?
                && group_id.is_some(),
            group_id,
            session_timeout_ms: self.parse("session.timeout.ms", defaults.session_timeout_ms)?,
            heartbeat_interval_ms: self
                .parse("heartbeat.interval.ms", defaults.heartbeat_interval_ms)?,
            max_poll_interval_ms: self
                .parse("max.poll.interval.ms", defaults.max_poll_interval_ms)?,
            auto_commit_interval_ms: self
                .parse("auto.commit.interval.ms", defaults.auto_commit_interval_ms)?,
            auto_offset_reset: self.one_of("auto.offset.reset", &reset, OffsetReset::Latest)?,
            isolation_level: self.one_of(
                "isolation.level",
                &isolation,
                IsolationLevel::ReadUncommitted,
            )?,
            fetch_min_bytes: self.parse("fetch.min.bytes", defaults.fetch_min_bytes)?,
            fetch_max_bytes: self.parse("fetch.max.bytes", defaults.fetch_max_bytes)?,
            fetch_max_wait_ms: self.parse("fetch.max.wait.ms", defaults.fetch_max_wait_ms)?,
            max_partition_fetch_bytes: self.parse(
                "max.partition.fetch.bytes",
                defaults.max_partition_fetch_bytes,
            )?,
            max_poll_records: self.parse("max.poll.records", defaults.max_poll_records)?,
            check_crcs: self.one_of("check.crcs", &boolean, true)?,
            client_rack: KafkaString::from(self.get("client.rack").unwrap_or("").to_owned()),
            exclude_internal_topics: self.one_of("exclude.internal.topics", &boolean, true)?,
            assignors: self.assignors()?,
            default_api_timeout_ms: self
                .parse("default.api.timeout.ms", defaults.default_api_timeout_ms)?,
        })
    }

    /// A share consumer's options.
    pub fn share_consumer_options(&self) -> Result<ShareConsumerOptions, Error> {
        let consumer = self.consumer_options()?;
        let Some(group_id) = consumer.group_id else {
            return Err(invalid(
                "group.id",
                "",
                "a share consumer is a member of a group",
            ));
        };
        Ok(ShareConsumerOptions {
            cluster: consumer.cluster,
            group_id,
            client_rack: consumer.client_rack,
            max_poll_records: consumer.max_poll_records,
            fetch_min_bytes: consumer.fetch_min_bytes,
            fetch_max_bytes: consumer.fetch_max_bytes,
            fetch_max_wait_ms: consumer.fetch_max_wait_ms,
            check_crcs: consumer.check_crcs,
        })
    }

    fn assignors(&self) -> Result<Vec<Assignor>, Error> {
        let name = "partition.assignment.strategy";
        let Some(value) = self.get(name) else {
            return Ok(vec![Assignor::Range, Assignor::CooperativeSticky]);
        };
        let assignors: Option<Vec<Assignor>> = value.split(',').map(Assignor::from_name).collect();
        assignors.ok_or_else(|| invalid(name, value, "an assignor is not known"))
    }
}

fn type_name<T>() -> &'static str {
    match size_of::<T>() {
        4 => "INT",
        _ => "LONG",
    }
}

fn invalid(name: &str, value: &str, reason: &str) -> Error {
    Error::InvalidSetting {
        name: name.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

fn endpoint(address: &str) -> Option<Endpoint> {
    let address = address
        .rsplit_once("://")
        .map_or(address, |(_, address)| address);
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| Endpoint {
        host: host.to_owned(),
        port,
    })
}

fn split_property(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        escaped = !escaped && *c == '\\';
        ends
    });
    let Some((end, _)) = end else {
        return (line, "");
    };
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    (
        name,
        rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start(),
    )
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                plain.push(
                    code.and_then(char::from_u32)
                        .unwrap_or(char::REPLACEMENT_CHARACTER),
                );
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

/// The number of letters to insert, delete or change.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut previous = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, b) in to.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(0);
            let left = row.get(j).copied().unwrap_or(0);
            let best = (previous + usize::from(a != *b))
                .min(above + 1)
                .min(left + 1);
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = best;
            }
            previous = above;
        }
    }
    row.last().copied().unwrap_or(0)
}
