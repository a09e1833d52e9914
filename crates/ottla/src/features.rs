//! `ottla features`: feature levels shown, raised, lowered and explained.

use std::collections::BTreeMap;
use std::io::Write as _;

use ottla_client::Admin;
use ottla_client::core::admin::cluster::FeatureChange;
use ottla_metadata::features::{Feature, METADATA_VERSION, MetadataVersion};
use ottla_protocol::KafkaString;

use crate::options::{CommandLine, OptionSpec, Options, SubCommand, flag, integer, text};
use crate::tool::{
    self, BOOTSTRAP_CONTROLLER, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool,
    VERSION, require,
};
use crate::{kafka_errors, storage};

pub(crate) const TOOL: Tool = Tool {
    name: "features",
    line: &LINE,
    run,
};

const FEATURE: OptionSpec = text(
    &["feature"],
    "name=level",
    "A feature and its level; may be repeated.",
);
const METADATA: OptionSpec = text(
    &["metadata"],
    "version",
    "The level of metadata.version by its name; --release-version is to be preferred.",
);
const RELEASE_VERSION: OptionSpec = text(
    &["release-version"],
    "version",
    "Every feature to the level that belongs to this metadata version.",
);
const UNSAFE: OptionSpec = flag(&["unsafe"], "Even if metadata is lost.");
const DRY_RUN: OptionSpec = flag(&["dry-run"], "Only says whether it can be done.");

const LINE: CommandLine = CommandLine {
    about: "Shows and changes the levels of the cluster's features.",
    commands: &[
        SubCommand {
            name: "describe",
            about: "Shows the features and their levels.",
            options: &[integer(
                &["node-id"],
                "id",
                "As this node sees them, instead of any.",
            )],
        },
        SubCommand {
            name: "upgrade",
            about: "Raises levels.",
            options: &[METADATA, RELEASE_VERSION, FEATURE, DRY_RUN],
        },
        SubCommand {
            name: "downgrade",
            about: "Lowers levels.",
            options: &[METADATA, RELEASE_VERSION, FEATURE, UNSAFE, DRY_RUN],
        },
        SubCommand {
            name: "disable",
            about: "Takes features away.",
            options: &[
                text(&["feature"], "name", "A feature; may be repeated."),
                UNSAFE,
                DRY_RUN,
            ],
        },
        SubCommand {
            name: "version-mapping",
            about: "Shows the levels that belong to a metadata version.",
            options: &[text(
                &["release-version"],
                "version",
                "The metadata version; the latest without it.",
            )],
        },
        SubCommand {
            name: "feature-dependencies",
            about: "Shows what a feature's level needs.",
            options: &[FEATURE],
        },
    ],
    options: &[
        BOOTSTRAP_CONTROLLER,
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        HELP,
        VERSION,
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let command = options.command.unwrap_or_default();
    match command {
        "version-mapping" => {
            let release = options.value("release-version")?;
            return explain(storage::version_mapping(release), out);
        }
        "feature-dependencies" => {
            require(options, &["feature"])?;
            return explain(
                storage::feature_dependencies(options.values("feature")),
                out,
            );
        }
        _ => tool::require_bootstrap(options)?,
    }
    let plan = match command {
        "describe" => None,
        _ => Some(Plan::from_options(command, options)?),
    };
    tool::block_on(async {
        let admin = tool::admin(options)?;
        match &plan {
            None => describe(&admin, options, out).await,
            Some(plan) => plan.carry_out(&admin, out).await,
        }
    })
}

fn explain(explained: Result<String, (String, String)>, out: &mut Out) -> Result<(), Failure> {
    let (said, refused) = match explained {
        Ok(text) => (text, None),
        Err((text, reason)) => (text, Some(reason)),
    };
    write!(out, "{said}")?;
    refused.map_or(Ok(()), |reason| Err(Failure::Message(reason)))
}

/// A level as it is shown: a metadata version has a name.
fn shown(feature: &str, level: i16) -> String {
    match feature {
        METADATA_VERSION => MetadataVersion::from_level(level).map_or_else(
            || format!("UNKNOWN {level}"),
            |known| known.name().to_owned(),
        ),
        _ => level.to_string(),
    }
}

async fn describe(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let node = options.number::<i32>("node-id")?;
    if let Some(id) = node.filter(|id| *id < 0) {
        let message = format!("Invalid node id {id}: must be non-negative.");
        return Err(Failure::Message(message));
    }
    let features = admin.describe_features(node).await?;
    let epoch = features
        .epoch
        .map_or("-".to_owned(), |epoch| epoch.to_string());
    for (name, (min, max)) in &features.supported {
        let finalized = features.finalized.get(name).copied().unwrap_or(0);
        writeln!(
            out,
            "Feature: {name:<40}  SupportedMinVersion: {:<15}  SupportedMaxVersion: {:<15}  \
             FinalizedVersionLevel: {:<15}  Epoch: {epoch}",
            shown(name, *min),
            shown(name, *max),
            shown(name, finalized)
        )?;
    }
    Ok(())
}

/// A change of levels.
struct Plan {
    /// `upgrade`, `downgrade` or `disable`.
    verb: &'static str,
    levels: BTreeMap<KafkaString, i16>,
    change: FeatureChange,
    release: Option<String>,
    dry_run: bool,
}

impl Plan {
    fn from_options(verb: &'static str, options: &Options) -> Result<Self, Failure> {
        let change = match (verb, options.has("unsafe")) {
            ("upgrade", _) => FeatureChange::Upgrade,
            (_, false) => FeatureChange::SafeDowngrade,
            (_, true) => FeatureChange::UnsafeDowngrade,
        };
        let release = match verb {
            "disable" => None,
            _ => options.value("release-version")?.map(str::to_owned),
        };
        let features = options.values("feature");
        let levels = match &release {
            Some(_) if options.has("metadata") || !features.is_empty() => {
                let message = "Can not specify `release-version` with other feature flags.";
                return Err(Failure::Message(message.into()));
            }
            Some(release) => levels_of_release(release, change)?,
            None => levels(verb, options.value("metadata")?, features)?,
        };
        if levels.is_empty() {
            let message = format!("You must specify at least one feature to {verb}");
            return Err(Failure::Message(message));
        }
        Ok(Self {
            verb,
            levels,
            change,
            release,
            dry_run: options.has("dry-run"),
        })
    }

    async fn carry_out(&self, admin: &Admin, out: &mut Out) -> Result<(), Failure> {
        let outcome = admin.update_features(&self.levels, self.change, self.dry_run);
        let refused = outcome.await.err();
        let code = refused.as_ref().map(ottla_client::Error::code);
        if code == Some(None) {
            return Err(refused.map_or(Failure::Exit(1), Failure::Client));
        }
        let refused = refused.map(|error| kafka_errors::message(&error));
        if let (Some(reason), Some(release)) = (&refused, &self.release) {
            return Err(Failure::Message(format!(
                "{} for release version {release} failed because at least one feature had the \
                 following error: {reason}",
                self.verb
            )));
        }
        for (name, level) in &self.levels {
            match &refused {
                None => {
                    let can = if self.dry_run { "can be" } else { "was" };
                    match self.verb {
                        "disable" => writeln!(out, "{name} {can} disabled.")?,
                        verb => writeln!(out, "{name} {can} {verb}d to {level}.")?,
                    }
                }
                Some(reason) => {
                    let cannot = if self.dry_run { "Can not" } else { "Could not" };
                    match self.verb {
                        "disable" => writeln!(out, "{cannot} disable {name}. {reason}")?,
                        verb => writeln!(out, "{cannot} {verb} {name} to {level}. {reason}")?,
                    }
                }
            }
        }
        match refused {
            None => Ok(()),
            Some(_) => Err(Failure::Message(format!(
                "{0} out of {0} operation(s) failed.",
                self.levels.len()
            ))),
        }
    }
}

fn metadata_version(text: &str) -> Result<MetadataVersion, Failure> {
    let parsed = text.parse::<MetadataVersion>();
    parsed.map_err(|_| {
        let names: Vec<&str> = MetadataVersion::all().map(MetadataVersion::name).collect();
        Failure::Message(format!(
            "Unknown {METADATA_VERSION} {text}. Supported {METADATA_VERSION} are {}",
            names.join(", ")
        ))
    })
}

fn levels_of_release(
    release: &str,
    change: FeatureChange,
) -> Result<BTreeMap<KafkaString, i16>, Failure> {
    let version = metadata_version(release)?;
    let mut levels = BTreeMap::from([(METADATA_VERSION.into(), version.level())]);
    for feature in Feature::ALL {
        let level = feature.default_level(version);
        // A feature is not raised to nothing.
        if change != FeatureChange::Upgrade || level > 0 {
            levels.insert(feature.name().into(), level);
        }
    }
    Ok(levels)
}

fn levels(
    verb: &str,
    metadata: Option<&str>,
    features: &[String],
) -> Result<BTreeMap<KafkaString, i16>, Failure> {
    let mut levels: BTreeMap<KafkaString, i16> = BTreeMap::new();
    if let Some(text) = metadata.filter(|_| verb != "disable") {
        tracing::warn!("--metadata is deprecated; --release-version takes its place");
        levels.insert(METADATA_VERSION.into(), metadata_version(text)?.level());
    }
    for text in features {
        let (name, level) = match verb {
            "disable" => (text.as_str(), 0),
            _ => name_and_level(text).map_err(Failure::Message)?,
        };
        if levels.insert(name.into(), level).is_some() {
            let message = format!("Feature {name} was specified more than once.");
            return Err(Failure::Message(message));
        }
    }
    Ok(levels)
}

fn name_and_level(text: &str) -> Result<(&str, i16), String> {
    let wrong = |why: String| format!("Can't parse feature=level string {text}: {why}");
    let (name, level) = text
        .split_once('=')
        .ok_or_else(|| wrong("equals sign not found.".into()))?;
    let level = level.trim();
    let parsed = level.parse();
    let parsed = parsed.map_err(|_| wrong(format!("unable to parse {level} as a short.")))?;
    Ok((name.trim(), parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read() {
        assert_eq!(
            name_and_level("group.version = 1"),
            Ok(("group.version", 1))
        );
        assert_eq!(
            name_and_level("group.version").unwrap_err(),
            "Can't parse feature=level string group.version: equals sign not found."
        );
        let twice = ["a=1".to_owned(), "a=2".to_owned()];
        assert!(levels("upgrade", None, &twice).is_err());
        let disabled = levels("disable", None, &["a".to_owned()]);
        assert_eq!(disabled.ok(), Some(BTreeMap::from([("a".into(), 0)])));
    }

    #[test]
    fn a_release_stands_for_levels() {
        let levels = levels_of_release("4.3-IV0", FeatureChange::Upgrade);
        let levels = levels.map_err(|failure| format!("{failure:?}")).unwrap();
        assert_eq!(levels.get("metadata.version"), Some(&30));
        assert!(levels.values().all(|level| *level > 0));
    }
}
