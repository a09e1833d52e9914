//! `ottla storage`: formats log directories and tells about them, as `kafka-storage.sh` does.

mod arguments;
mod features;
mod format;
mod info;
pub(crate) mod scram;
mod voters;

use std::path::Path;
use std::process::ExitCode;

use ottla_broker::config::{NodeConfig, read_settings};
use ottla_protocol::Uuid;

use self::arguments::{Given, Opt};

const USAGE: &str = "\
usage: kafka-storage [-h]
                     {info,format,version-mapping,feature-dependencies,random-uuid}
                     ...
";

/// One of the tool's commands.
struct Command {
    name: &'static str,
    usage: &'static str,
    help: &'static str,
    options: &'static [Opt],
    exclusive: &'static [&'static str],
    run: fn(&Given) -> Result<Report, Failure>,
}

/// What a command has to say when it comes to its end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    text: String,
    /// Whether all is well; `info` may find problems.
    failed: bool,
}

impl Report {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }
}

/// Why a command can't do its work, with what it said before.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    said: String,
    reason: String,
}

impl<T: std::fmt::Display> From<T> for Failure {
    fn from(reason: T) -> Self {
        Self {
            said: String::new(),
            reason: reason.to_string(),
        }
    }
}

const CONFIG: Opt = Opt::required("--config", "-c");

const COMMANDS: &[Command] = &[
    Command {
        name: "info",
        usage: "usage: kafka-storage info [-h] --config CONFIG\n",
        help: "\
Tells which log directories the configuration names, and whether they are formatted.

  -h, --help                     show this help and exit
  --config CONFIG, -c CONFIG     the configuration file
",
        options: &[CONFIG],
        exclusive: &[],
        run: info::run,
    },
    Command {
        name: "format",
        usage: "\
usage: kafka-storage format [-h] --config CONFIG --cluster-id CLUSTER_ID
                     [--add-scram ADD_SCRAM] [--ignore-formatted]
                     [--release-version RELEASE_VERSION]
                     [--feature FEATURE] [--standalone |
                     --no-initial-controllers |
                     --initial-controllers INITIAL_CONTROLLERS]
",
        help: format::HELP,
        options: format::OPTIONS,
        exclusive: &[
            "--standalone",
            "--no-initial-controllers",
            "--initial-controllers",
        ],
        run: format::run,
    },
    Command {
        name: "version-mapping",
        usage: "usage: kafka-storage version-mapping [-h]\n                     [--release-version RELEASE_VERSION]\n",
        help: "\
Shows the feature levels that a release stands for.

  -h, --help                     show this help and exit
  --release-version RELEASE_VERSION, -r RELEASE_VERSION
                                 from 3.3-IV3 on; the latest by default
",
        options: &[Opt::value("--release-version", "-r")],
        exclusive: &[],
        run: |given| features::version_mapping(given.last("--release-version")),
    },
    Command {
        name: "feature-dependencies",
        usage: "usage: kafka-storage feature-dependencies [-h] --feature FEATURE\n",
        help: "\
Shows what a feature's level needs of other features.

  -h, --help                     show this help and exit
  --feature FEATURE, -f FEATURE  feature=level; may be repeated
",
        options: &[Opt::required("--feature", "-f")],
        exclusive: &[],
        run: |given| features::dependencies(given.all("--feature")),
    },
    Command {
        name: "random-uuid",
        usage: "usage: kafka-storage random-uuid [-h]\n",
        help: "Prints a random id, fit for a cluster.\n\n  -h, --help                     show this help and exit\n",
        options: &[],
        exclusive: &[],
        run: random_uuid,
    },
];

const HELP: &str = "
The Kafka storage tool.

  info                  tell about the log directories of this node
  format                format the log directories of this node
  version-mapping       the feature levels of a release
  feature-dependencies  what a feature's level needs of others
  random-uuid           print a random id

  -h, --help            show this help and exit
";

/// Runs the tool.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let Some(name) = arguments.first() else {
        return refuse(USAGE, "too few arguments");
    };
    if name == "-h" || name == "--help" {
        print!("{USAGE}{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        let names: Vec<String> = COMMANDS
            .iter()
            .map(|command| format!("'{}'", command.name))
            .collect();
        return refuse(
            USAGE,
            &format!(
                "invalid choice: '{name}' (choose from {})",
                names.join(", ")
            ),
        );
    };
    if arguments[1..]
        .iter()
        .any(|argument| argument == "-h" || argument == "--help")
    {
        print!("{}\n{}", command.usage, command.help);
        return ExitCode::SUCCESS;
    }
    match arguments::read(&arguments[1..], command.options, command.exclusive) {
        Err(error) => refuse(command.usage, &error),
        Ok(given) => finish((command.run)(&given)),
    }
}

fn refuse(usage: &str, error: &str) -> ExitCode {
    eprintln!("{usage}kafka-storage: error: {error}");
    ExitCode::FAILURE
}

fn finish(outcome: Result<Report, Failure>) -> ExitCode {
    match outcome {
        Ok(report) => {
            print!("{}", report.text);
            if report.failed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(failure) => {
            print!("{}", failure.said);
            eprintln!("{}", failure.reason);
            ExitCode::FAILURE
        }
    }
}

fn load(given: &Given) -> Result<NodeConfig, Failure> {
    let path = given.last("--config").unwrap_or_default();
    Ok(NodeConfig::without_support_check(read_settings(
        Path::new(path),
        &[],
    )?)?)
}

fn random_uuid(_: &Given) -> Result<Report, Failure> {
    let mut report = Report::default();
    report.line(new_uuid()?.to_string());
    Ok(report)
}

/// A random id (version 4) whose text doesn't start with a dash, since tools would take it for an option.
fn new_uuid() -> Result<Uuid, Failure> {
    loop {
        let mut bytes = [0_u8; 16];
        fill_random(&mut bytes)?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let uuid = Uuid(bytes);
        if !uuid.to_string().starts_with('-') {
            return Ok(uuid);
        }
    }
}

pub(crate) fn fill_random(bytes: &mut [u8]) -> std::io::Result<()> {
    use std::io::Read as _;
    std::fs::File::open("/dev/urandom")?.read_exact(bytes)
}

pub(crate) use format::format_if_absent;

/// A random id, or why there is none.
pub(crate) fn random_id() -> Result<Uuid, String> {
    new_uuid().map_err(|failure| failure.reason)
}

/// What is to be printed, and why the rest can't be.
type Explained = Result<String, (String, String)>;

fn explained(outcome: Result<Report, Failure>) -> Explained {
    outcome
        .map(|report| report.text)
        .map_err(|failure| (failure.said, failure.reason))
}

/// The levels of features that belong to a release, the latest if none is named.
pub(crate) fn version_mapping(release: Option<&str>) -> Explained {
    explained(features::version_mapping(release))
}

/// What levels of features, each given as `name=level`, need of others.
pub(crate) fn feature_dependencies(features: &[String]) -> Explained {
    explained(features::dependencies(features))
}

/// Whether any directory of the node is formatted.
pub(crate) fn any_formatted(config: &NodeConfig) -> Result<bool, String> {
    for path in config.all_directories() {
        let read = ottla_broker::format::read_owner(&ottla_log::RealDisk, &path);
        if read.map_err(|error| error.to_string())?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
