//! `format`: what to write follows from the configuration and the options; the broker's `format` writes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ottla_broker::config::NodeConfig;
use ottla_broker::format::{FormatOptions, format_directories};
use ottla_log::RealDisk;
use ottla_metadata::bootstrap::BootstrapMetadata;
use ottla_metadata::features::{
    Feature, KRAFT_VERSION, METADATA_VERSION, MetadataVersion, default_levels, validate_level,
};
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::Uuid;
use ottla_protocol::ids::BrokerId;
use ottla_protocol::messages::FeatureLevelRecord;
use ottla_raft::{ReplicaKey, Voter, VoterEndpoint, VoterSet};

use super::arguments::{Given, Opt};
use super::features::parse_release;
use super::voters::{self, InitialVoter};
use super::{CONFIG, Failure, Report, fill_random, load, new_uuid, scram};

pub(super) const OPTIONS: &[Opt] = &[
    CONFIG,
    Opt::required("--cluster-id", "-t"),
    Opt::value("--add-scram", "-S"),
    Opt::flag("--ignore-formatted", "-g"),
    Opt::value("--release-version", "-r"),
    Opt::value("--feature", "-f"),
    Opt::flag("--standalone", "-s"),
    Opt::flag("--no-initial-controllers", "-N"),
    Opt::value("--initial-controllers", "-I"),
];

pub(super) const HELP: &str = "\
Formats the log directories of this node.

  -h, --help                     show this help and exit
  --config CONFIG, -c CONFIG     the configuration file
  --cluster-id CLUSTER_ID, -t CLUSTER_ID
                                 the id of the cluster
  --add-scram ADD_SCRAM, -S ADD_SCRAM
                                 a SCRAM credential to start with, as
                                 'SCRAM-SHA-256=[name=alice,password=alice-secret]'; may be repeated
  --ignore-formatted, -g         pass over directories that are formatted
  --release-version RELEASE_VERSION, -r RELEASE_VERSION
                                 the release that sets the first feature levels, from 3.3-IV3 on; the latest by
                                 default
  --feature FEATURE, -f FEATURE  a feature's first level, as feature=level; may be repeated
  --standalone, -s               a dynamic quorum of this controller alone
  --no-initial-controllers, -N   no voters yet: the node joins a dynamic quorum
  --initial-controllers INITIAL_CONTROLLERS, -I INITIAL_CONTROLLERS
                                 the first voters of a dynamic quorum, as id@host:port:directory-id,... on every node
                                 the same
";

/// The voters that the first metadata snapshot names.
enum Quorum {
    /// `controller.quorum.voters` names them, or a dynamic quorum is joined later.
    Unnamed,
    /// This node alone.
    Standalone,
    /// As given.
    Initial(Vec<InitialVoter>),
}

pub(super) fn run(given: &Given) -> Result<Report, Failure> {
    let config = load(given)?;
    let release = given
        .last("--release-version")
        .map_or(Ok(MetadataVersion::LATEST_PRODUCTION), parse_release)?;
    let levels = parse_levels(given)?;
    let initial = given
        .last("--initial-controllers")
        .map(voters::parse)
        .transpose()?;
    let quorum = choose_quorum(&config, given, initial)?;
    let mut credentials = Vec::new();
    for text in given.all("--add-scram") {
        let mut salt = [0; 16];
        fill_random(&mut salt)?;
        credentials.push(scram::parse(text, &salt)?);
    }
    if !credentials.is_empty() && !release.supports_scram() {
        return Err("SCRAM is only supported in metadata.version 3.5-IV2 or later.".into());
    }
    let is_dynamic = config.quorum_voters.is_empty();
    let mut bootstrap = bootstrap_metadata(release, &levels, is_dynamic)?;
    if !credentials.is_empty() {
        let records = bootstrap.records().iter().cloned();
        let records = records.chain(credentials.into_iter().map(MetadataRecord::from));
        bootstrap = BootstrapMetadata::new(records.collect())?;
    }
    let cluster_id = given.last("--cluster-id").unwrap_or_default();
    format(
        &config,
        cluster_id,
        &bootstrap,
        &quorum,
        given.has("--ignore-formatted"),
    )
}

fn choose_quorum(
    config: &NodeConfig,
    given: &Given,
    initial: Option<Vec<InitialVoter>>,
) -> Result<Quorum, Failure> {
    let standalone = given.has("--standalone");
    if standalone && !config.roles.controller {
        return Err("You can only use --standalone on a controller.".into());
    }
    if !config.quorum_voters.is_empty() && (standalone || initial.is_some()) {
        return Err("You cannot specify controller.quorum.voters and format the node with --initial-controllers or \
                    --standalone. If you want to use dynamic quorum, please remove controller.quorum.voters and \
                    specify controller.quorum.bootstrap.servers instead."
            .into());
    }
    match initial {
        Some(voters) => Ok(Quorum::Initial(voters)),
        None if standalone => Ok(Quorum::Standalone),
        None if config.quorum_voters.is_empty()
            && config.roles.controller
            && !given.has("--no-initial-controllers") =>
        {
            Err("Because controller.quorum.voters is not set on this controller, you must specify one of the \
                 following: --standalone, --initial-controllers, or --no-initial-controllers."
                .into())
        }
        None => Ok(Quorum::Unnamed),
    }
}

fn parse_levels(given: &Given) -> Result<BTreeMap<String, i16>, Failure> {
    let mut levels = BTreeMap::new();
    for text in given.all("--feature") {
        let (name, level) = text.split_once('=').ok_or_else(|| {
            format!("Can't parse feature=level string {text}: equals sign not found.")
        })?;
        let number = level.trim().parse().map_err(|_| {
            format!("Can't parse feature=level string {text}: unable to parse {level} as a short.")
        })?;
        levels.insert(name.trim().to_owned(), number);
    }
    if levels.contains_key(METADATA_VERSION) {
        return Err(format!(
            "Use --release-version instead of --feature {METADATA_VERSION}=X to avoid ambiguity."
        )
        .into());
    }
    Ok(levels)
}

/// The first records: the release's feature levels, with the given ones put over them.
fn bootstrap_metadata(
    release: MetadataVersion,
    given: &BTreeMap<String, i16>,
    is_dynamic: bool,
) -> Result<BootstrapMetadata, Failure> {
    let mut levels: BTreeMap<String, i16> = default_levels(release)
        .into_iter()
        .map(|(name, level)| (name.to_owned(), level))
        .collect();
    for (name, level) in given {
        if Feature::from_name(name).is_none() {
            let known: Vec<&str> = Feature::ALL.iter().map(|feature| feature.name()).collect();
            return Err(format!(
                "Unsupported feature: {name}. Supported features are: {}",
                known.join(", ")
            )
            .into());
        }
        levels.insert(name.clone(), *level);
    }
    check_kraft_version(given.get(KRAFT_VERSION).copied(), is_dynamic)?;
    for (name, level) in &levels {
        validate_level(name, *level, &levels)?;
    }
    // kraft.version lives in the voters' snapshot, not in a record.
    levels.remove(KRAFT_VERSION);
    let metadata_version = levels
        .remove(METADATA_VERSION)
        .map(|level| (METADATA_VERSION.to_owned(), level));
    let records = metadata_version
        .into_iter()
        .chain(levels)
        .filter(|(_, level)| *level > 0)
        .map(|(name, feature_level)| {
            let name = name.into();
            MetadataRecord::from(FeatureLevelRecord {
                name,
                feature_level,
                ..FeatureLevelRecord::default()
            })
        })
        .collect();
    Ok(BootstrapMetadata::new(records)?)
}

fn check_kraft_version(given: Option<i16>, is_dynamic: bool) -> Result<(), Failure> {
    match (given, is_dynamic) {
        (Some(0), true) => Err("Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags \
                                --standalone, --initial-controllers, or --no-initial-controllers is used. For dynamic \
                                controllers support, try removing the --feature flag for kraft.version."
            .into()),
        (Some(level), false) if level > 0 => Err(format!(
            "Cannot set kraft.version to {level} unless controller.quorum.voters is empty and one of the flags \
             --standalone, --initial-controllers, or --no-initial-controllers is used. For dynamic controllers \
             support, try using one of --standalone, --initial-controllers, or --no-initial-controllers and removing \
             controller.quorum.voters."
        )
        .into()),
        _ => Ok(()),
    }
}

fn format(
    config: &NodeConfig,
    cluster_id: &str,
    bootstrap: &BootstrapMetadata,
    quorum: &Quorum,
    ignore_formatted: bool,
) -> Result<Report, Failure> {
    let mut directories: BTreeMap<PathBuf, Uuid> = BTreeMap::new();
    for path in config.all_directories() {
        directories.insert(path, new_uuid()?);
    }
    let voters = match quorum {
        Quorum::Unnamed => None,
        Quorum::Standalone => Some(vec![standalone_voter(
            config,
            directories[&config.metadata_log_dir],
        )]),
        Quorum::Initial(voters) => Some(voters.clone()),
    };
    let own = voters
        .iter()
        .flatten()
        .find(|voter| voter.node_id == config.node_id);
    if let Some(own) = own {
        directories.insert(config.metadata_log_dir.clone(), own.directory_id);
    }
    let is_voter = own.is_some();
    let controller_name = config
        .listeners
        .controller_names
        .first()
        .map_or("", String::as_str);
    let record = voters
        .as_ref()
        .map(|voters| voter_set(voters, controller_name));
    let formatted = format_directories(
        &RealDisk,
        &FormatOptions {
            cluster_id,
            node_id: config.node_id,
            directories: &directories,
            metadata_directory: &config.metadata_log_dir,
            bootstrap,
            voters: record.as_ref(),
            ignore_formatted,
            now_ms: now_ms(),
        },
    )?;
    let mut report = Report::default();
    if formatted.is_empty() {
        report.line("All of the log directories are already formatted.");
        return Ok(report);
    }
    report.line(format!("Bootstrap metadata: {}", shown(bootstrap)));
    for path in formatted {
        let kind = match (path == config.metadata_log_dir, record.is_some(), is_voter) {
            (false, _, _) => "data directory",
            (true, false, _) => "metadata directory",
            (true, true, false) => "dynamic metadata directory",
            (true, true, true) => "dynamic metadata voter directory",
        };
        let version = bootstrap.metadata_version().name();
        report.line(format!(
            "Formatting {kind} {} with {METADATA_VERSION} {version}.",
            path.display()
        ));
    }
    Ok(report)
}

fn standalone_voter(config: &NodeConfig, directory_id: Uuid) -> InitialVoter {
    let endpoint = config.listeners.advertised_controllers.first();
    let host = endpoint
        .map(|listener| listener.host.clone())
        .filter(|host| !host.is_empty());
    InitialVoter {
        node_id: config.node_id,
        host: host.unwrap_or_else(|| "localhost".to_owned()),
        port: endpoint.map_or(0, |listener| listener.port),
        directory_id,
    }
}

fn voter_set(voters: &[InitialVoter], listener: &str) -> VoterSet {
    VoterSet::new(voters.iter().map(|voter| Voter {
        key: ReplicaKey {
            id: BrokerId(voter.node_id),
            directory_id: voter.directory_id,
        },
        endpoints: vec![VoterEndpoint {
            listener: listener.into(),
            host: voter.host.as_str().into(),
            port: voter.port,
        }],
        kraft_version_min: 0,
        kraft_version_max: 1,
    }))
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// The first records as Kafka prints them.
fn shown(bootstrap: &BootstrapMetadata) -> String {
    let records: Vec<String> = bootstrap
        .records()
        .iter()
        .filter_map(|record| match record {
            MetadataRecord::FeatureLevel(level) => Some(format!(
                "ApiMessageAndVersion(FeatureLevelRecord(name='{}', featureLevel={}) at version 0)",
                level.name, level.feature_level
            )),
            // The keys of a credential are no one's to read.
            MetadataRecord::UserScramCredential(credential) => Some(format!(
                "ApiMessageAndVersion(UserScramCredentialRecord(name='{}') at version 0)",
                credential.name
            )),
            _ => None,
        })
        .collect();
    format!(
        "BootstrapMetadata(records=[{}], metadataVersionLevel={}, source=format command)",
        records.join(", "),
        bootstrap.metadata_version().level()
    )
}

/// Formats the directories of a node that has no configuration file, if they are absent or empty.
pub(crate) fn format_if_absent(config: &NodeConfig) -> Result<(), String> {
    for path in config.all_directories() {
        let mut entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        if entries.next().is_some() {
            if path.join("meta.properties").exists() {
                return Ok(());
            }
            return Err(format!(
                "{} is neither empty nor a formatted log directory; start elsewhere, or with --override log.dirs=PATH",
                path.display()
            ));
        }
    }
    let cluster_id = new_uuid().map_err(|failure| failure.reason)?.to_string();
    let bootstrap = BootstrapMetadata::for_version(MetadataVersion::LATEST_PRODUCTION);
    let quorum = if config.quorum_voters.is_empty() {
        Quorum::Standalone
    } else {
        Quorum::Unnamed
    };
    format(config, &cluster_id, &bootstrap, &quorum, false).map_err(|failure| failure.reason)?;
    Ok(())
}
