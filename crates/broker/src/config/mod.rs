//! A node's configuration: a Kafka `server.properties`, overrides, and what follows from them.
//!
//! Every name that Kafka knows is recognised. What this release doesn't act on is said once at start
//! ([`NodeConfig::notices`]); what would weaken security or lose data if it were passed over stops the start.

mod checks;
mod listeners;
mod own;
mod properties;
mod review;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ottla_metadata::config::{BrokerConfigSources, BrokerValues, ConfigError, parse_quorum_voters};

pub use listeners::{Listener, Listeners, SecurityProtocol};
pub use own::OwnSettings;
pub use properties::{MalformedEscape, parse_properties};
pub use review::{Notice, is_acted_on, notices};

/// Why a node can't start with its configuration; `Display` is one line that names the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file can't be read.
    #[error("cannot read {}: {cause}: give the path of a server.properties", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file isn't in the properties format.
    #[error("{}: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        cause: MalformedEscape,
    },
    /// An override isn't of the form `name=value`.
    #[error("--override {0}: an override has the form name=value")]
    MalformedOverride(String),
    /// A value that Kafka refuses.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// Settings that don't fit together.
    #[error("{0}")]
    Check(String),
    /// The same, where Apache Kafka says more of it to who alters them.
    #[error("{0}")]
    Requirement(String),
    /// A value of one of Ottla's own settings.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Own {
        /// The setting.
        name: &'static str,
        /// The value as it was given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting that must not be passed over and isn't supported yet.
    #[error("{setting} is set, but {reason}; remove it to start without")]
    Unsupported {
        /// The setting with its value, where that is no secret.
        setting: String,
        /// Why the start is refused.
        reason: &'static str,
    },
}

/// `process.roles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRoles {
    /// Clients are served.
    pub broker: bool,
    /// The node votes in the metadata quorum.
    pub controller: bool,
}

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `node.id`
    pub node_id: i32,
    /// `process.roles`
    pub roles: ProcessRoles,
    /// Where the node listens and what it advertises.
    pub listeners: Listeners,
    /// `controller.quorum.voters`: id, host and port of each; empty where the quorum is dynamic.
    pub quorum_voters: Vec<(i32, String, u16)>,
    /// `controller.quorum.bootstrap.servers`
    pub bootstrap_servers: Vec<String>,
    /// `log.dirs`, or `log.dir`.
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`, or the first of the log directories.
    pub metadata_log_dir: PathBuf,
    /// Settings of Ottla's own.
    pub own: OwnSettings,
    /// The values of all of Kafka's settings.
    pub values: BrokerValues,
    /// The settings as given, for DescribeConfigs and for topics' defaults.
    pub static_config: BTreeMap<String, String>,
    /// What the operator should know about the given settings.
    pub notices: Vec<Notice>,
}

impl NodeConfig {
    /// Reads a configuration file and overrides (`name=value`).
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, Error> {
        Self::from_settings(read_settings(path, overrides)?)
    }

    /// A configuration from settings as given.
    pub fn from_settings(settings: BTreeMap<String, String>) -> Result<Self, Error> {
        let config = Self::without_support_check(settings)?;
        match config.unsupported().into_iter().next() {
            Some(error) => Err(error),
            None => Ok(config),
        }
    }

    /// As [`Self::from_settings`], accepting also what a node of this release couldn't run with: enough to format
    /// its directories.
    pub fn without_support_check(mut settings: BTreeMap<String, String>) -> Result<Self, Error> {
        unify_node_id(&mut settings)?;
        let values = BrokerValues::parse(&settings)?;
        let role_names = values.list("process.roles");
        let has = |role: &str| role_names.iter().any(|name| name == role);
        let roles = ProcessRoles {
            broker: has("broker"),
            controller: has("controller"),
        };
        let listeners = Listeners::read(&values)?;
        checks::check_roles(&values, roles, &listeners)?;
        checks::check_values(&values, &listeners)?;
        let log_dirs: Vec<PathBuf> = log_directories(&values)
            .into_iter()
            .map(PathBuf::from)
            .collect();
        let metadata_log_dir = match values.string("metadata.log.dir") {
            Some(directory) => PathBuf::from(directory),
            None => log_dirs.first().cloned().unwrap_or_default(),
        };
        Ok(Self {
            node_id: values.int("node.id"),
            roles,
            listeners,
            quorum_voters: parse_quorum_voters(&values.list("controller.quorum.voters"))?,
            bootstrap_servers: values.list("controller.quorum.bootstrap.servers"),
            log_dirs,
            metadata_log_dir,
            own: OwnSettings::read(&settings)?,
            notices: review::notices(&settings),
            values,
            static_config: settings,
        })
    }

    /// What this release refuses to start with, all of it.
    #[must_use]
    pub fn unsupported(&self) -> Vec<Error> {
        review::unsupported(self)
    }

    /// The file's settings as the lowest source of a broker's values.
    pub fn sources(&self) -> BrokerConfigSources {
        BrokerConfigSources::of_file(self.static_config.clone())
    }

    /// Every directory that must be formatted, each once.
    pub fn all_directories(&self) -> Vec<PathBuf> {
        let mut directories = self.log_dirs.clone();
        if !directories.contains(&self.metadata_log_dir) {
            directories.push(self.metadata_log_dir.clone());
        }
        directories
    }
}

/// The settings of a file with overrides applied.
pub fn read_settings(path: &Path, overrides: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let bytes = std::fs::read(path).map_err(|cause| Error::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    let mut settings = parse_properties(&bytes).map_err(|cause| Error::Malformed {
        path: path.to_owned(),
        cause,
    })?;
    apply_overrides(&mut settings, overrides)?;
    Ok(settings)
}

/// Puts overrides (`name=value`) over settings.
pub fn apply_overrides(
    settings: &mut BTreeMap<String, String>,
    overrides: &[String],
) -> Result<(), Error> {
    for text in overrides {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Error::MalformedOverride(text.clone()))?;
        settings.insert(name.to_owned(), value.to_owned());
    }
    Ok(())
}

/// `node.id` and `broker.id` are one: whichever is missing takes the other's value.
fn unify_node_id(settings: &mut BTreeMap<String, String>) -> Result<(), Error> {
    match (
        settings.get("node.id").cloned(),
        settings.get("broker.id").cloned(),
    ) {
        (Some(node), Some(broker)) if node.trim() != broker.trim() => {
            return Err(Error::Check(
                "You must set `node.id` to the same value as `broker.id`.".to_owned(),
            ));
        }
        (Some(node), None) => settings.insert("broker.id".to_owned(), node),
        (None, Some(broker)) => settings.insert("node.id".to_owned(), broker),
        _ => None,
    };
    Ok(())
}

fn log_directories(values: &BrokerValues) -> Vec<String> {
    let directories = values.list("log.dirs");
    if directories.is_empty() {
        values.list("log.dir")
    } else {
        directories
    }
}
