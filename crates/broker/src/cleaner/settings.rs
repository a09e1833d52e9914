use ottla_log::CleanerMemory;
use ottla_metadata::config::BrokerValues;

use crate::node::Node;

/// The most that one round's map of keys takes: Java's largest array.
const BUFFER_BYTES_MAX: u64 = i32::MAX as u64;

/// Settings of the cleaner, each Kafka's of the same name after `log.cleaner.`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "each is Kafka's setting of the same name")]
pub struct CleanerSettings {
    pub enable: bool,
    pub threads: usize,
    pub backoff_ms: i64,
    pub dedupe_buffer_size: u64,
    pub io_buffer_load_factor: f64,
    pub io_buffer_size: usize,
    pub io_max_bytes_per_second: f64,
}

impl CleanerSettings {
    /// The settings by a node's configuration.
    #[must_use]
    pub fn from_values(values: &BrokerValues) -> CleanerSettings {
        let size = |name: &str| usize::try_from(values.long(name)).unwrap_or(0);
        CleanerSettings {
            enable: values.boolean("log.cleaner.enable"),
            threads: size("log.cleaner.threads"),
            backoff_ms: values.long("log.cleaner.backoff.ms"),
            dedupe_buffer_size: u64::try_from(values.long("log.cleaner.dedupe.buffer.size"))
                .unwrap_or(0),
            io_buffer_load_factor: values.double("log.cleaner.io.buffer.load.factor"),
            io_buffer_size: size("log.cleaner.io.buffer.size"),
            io_max_bytes_per_second: values.double("log.cleaner.io.max.bytes.per.second"),
        }
    }

    /// The settings of the start, with what was altered at run time.
    pub(super) fn in_force(node: &Node) -> CleanerSettings {
        let started = node.options().broker.cleaner;
        let sources = node.config_sources(&node.metadata().image);
        let mut given = sources.merged();
        given.retain(|name, _| name.starts_with("log.cleaner."));
        match BrokerValues::parse_partial(&given) {
            Ok(values) => CleanerSettings {
                enable: started.enable,
                ..CleanerSettings::from_values(&values)
            },
            Err(error) => {
                tracing::error!(%error, "a setting of the cleaner is invalid: those of the start hold");
                started
            }
        }
    }

    /// The memory of one round.
    pub(super) fn memory(&self) -> CleanerMemory {
        let rounds = self.threads.max(1);
        CleanerMemory {
            dedupe_buffer_bytes: (self.dedupe_buffer_size / rounds as u64).min(BUFFER_BYTES_MAX),
            load_factor: self.io_buffer_load_factor,
            read_buffer_bytes: self.io_buffer_size / rounds / 2,
        }
    }
}
