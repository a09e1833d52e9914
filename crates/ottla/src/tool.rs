//! The command-line tools: which there are, and what they share.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use ottla_client::settings::Scope;
use ottla_client::{Admin, Error, Settings};

use crate::kafka_errors;
use crate::options::{CommandLine, OptionError, OptionSpec, Options, flag, text};

/// Kafka's release whose tools these follow.
const KAFKA_VERSION: &str = "4.3.1";

/// Where a tool writes.
pub(crate) type Out = io::BufWriter<io::Stdout>;

/// One tool.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    /// Its name after `ottla`; Kafka's script is `kafka-NAME.sh`.
    pub(crate) name: &'static str,
    pub(crate) line: &'static CommandLine,
    pub(crate) run: fn(&Options, &mut Out) -> Result<(), Failure>,
}

/// Every tool.
pub(crate) const TOOLS: &[Tool] = &[
    crate::acls::TOOL,
    crate::broker_api_versions::TOOL,
    crate::client_metrics::TOOL,
    crate::cluster::TOOL,
    crate::configs::TOOL,
    crate::console_consumer::TOOL,
    crate::console_producer::TOOL,
    crate::console_share_consumer::TOOL,
    crate::consumer_groups::TOOL,
    crate::consumer_perf::TOOL,
    crate::delegation_tokens::TOOL,
    crate::delete_records::TOOL,
    crate::dump_log::TOOL,
    crate::e2e_latency::TOOL,
    crate::features::TOOL,
    crate::get_offsets::TOOL,
    crate::groups::TOOL,
    crate::leader_election::TOOL,
    crate::log_dirs::TOOL,
    crate::metadata_quorum::TOOL,
    crate::producer_perf::TOOL,
    crate::reassign_partitions::TOOL,
    crate::share_groups::TOOL,
    crate::streams_groups::TOOL,
    crate::topics::TOOL,
    crate::transactions::TOOL,
    crate::verifiable_consumer::TOOL,
    crate::verifiable_producer::TOOL,
];

/// Options that every tool has.
pub(crate) const HELP: OptionSpec = flag(&["help", "h"], "Shows this text.");
pub(crate) const VERSION: OptionSpec = flag(&["version"], "Shows the version.");

/// Options of every tool that is an admin client.
pub(crate) const BOOTSTRAP_SERVER: OptionSpec = text(
    &["bootstrap-server"],
    "host:port,...",
    "The brokers to begin with.",
);
pub(crate) const BOOTSTRAP_CONTROLLER: OptionSpec = text(
    &["bootstrap-controller"],
    "host:port,...",
    "The controllers to begin with, instead of brokers.",
);
pub(crate) const COMMAND_CONFIG: OptionSpec = text(
    &["command-config"],
    "file",
    "A properties file with settings of the admin client.",
);

/// Why a tool ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense: the message and the usage go to standard error.
    Usage(String),
    /// The message goes to standard error.
    Message(String),
    /// Everything has been said.
    Exit(u8),
    /// The cluster refused.
    Client(Error),
    /// Nobody reads the output any more, or it can't be written.
    Output(io::Error),
}

impl From<OptionError> for Failure {
    fn from(error: OptionError) -> Self {
        Self::Message(error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The tool of this name, be it `topics`, `kafka-topics` or `/opt/kafka/bin/kafka-topics.sh`.
pub(crate) fn find(name: &str) -> Option<&'static Tool> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let name = name.strip_prefix("kafka-").unwrap_or(name);
    let name = match name {
        "end-to-end-latency" => "e2e-latency",
        name => name,
    };
    TOOLS.iter().find(|tool| tool.name == name)
}

/// Runs a tool with the arguments after its name.
pub(crate) fn run(tool: &Tool, arguments: &[String]) -> ExitCode {
    warn_on_standard_error();
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout());
    let outcome = run_with(tool, arguments, &mut out);
    let flushed = out.flush();
    match outcome.and(flushed.map_err(Failure::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(tool, &failure),
    }
}

/// Shows warnings, such as that a broker can't be reached, while the tool goes on trying.
fn warn_on_standard_error() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time();
    // A second tool in one process keeps the first one's.
    let _ = subscriber.try_init();
}

fn run_with(tool: &Tool, arguments: &[String], out: &mut Out) -> Result<(), Failure> {
    let options = tool.line.parse(arguments)?;
    if options.has("help") && !tool.line.commands.is_empty() {
        writeln!(out, "{}\n{}", tool.line.about, tool.line.usage())?;
        return Ok(());
    }
    if arguments.is_empty() || options.has("help") {
        return Err(Failure::Usage(tool.line.about.to_owned()));
    }
    if options.has("version") {
        writeln!(out, "{KAFKA_VERSION} (Ottla {})", env!("CARGO_PKG_VERSION"))?;
        return Ok(());
    }
    if options.command.is_none() && !tool.line.commands.is_empty() {
        let known: Vec<&str> = tool.line.commands.iter().map(|c| c.name).collect();
        let message = format!("A command is missing: one of {}.", known.join(", "));
        return Err(Failure::Usage(message));
    }
    (tool.run)(&options, out)
}

fn report(tool: &Tool, failure: &Failure) -> ExitCode {
    match failure {
        Failure::Usage(message) => eprint!("{message}\n{}", tool.line.usage()),
        Failure::Message(message) => eprintln!("{message}"),
        Failure::Exit(code) => return ExitCode::from(*code),
        Failure::Client(error) => eprintln!("{}", kafka_errors::message(error)),
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Failure::Output(error) => eprintln!("ottla {}: {error}", tool.name),
    }
    ExitCode::FAILURE
}

/// Runs a tool's asynchronous part on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(future);
    // Look-ups of names may still run; nobody waits for them.
    runtime.shutdown_background();
    outcome
}

/// Runs a tool's asynchronous part on this thread, and the client's own on another, for tools that
/// are to be fast.
pub(crate) fn block_on_threads<T>(
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_background();
    outcome
}

/// Drops settings that the client does not have, and says so.
pub(crate) fn warn_unknown(settings: &mut Settings, scope: Scope) {
    for name in settings.retain_known(scope) {
        eprintln!("The setting {name} is not known and does nothing.");
    }
}

/// A number below `bound`, by chance.
pub(crate) fn random_below(bound: u64) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
        % bound.max(1)
}

/// Reads a file of settings.
pub(crate) fn properties_file(path: &str) -> Result<Settings, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Message(format!("{path}: {error}")))?;
    Ok(Settings::from_properties(&text))
}

/// `name=value` arguments; a name without value has an empty one if `accept_missing`.
pub(crate) fn key_values(
    arguments: &[String],
    accept_missing: bool,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut values = BTreeMap::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some((name, value)) if accept_missing || !value.is_empty() => {
                values.insert(name.to_owned(), value.to_owned());
            }
            None if accept_missing => {
                values.insert(argument.clone(), String::new());
            }
            _ => {
                return Err(Failure::Message(format!(
                    "Missing value for key {argument}"
                )));
            }
        }
    }
    Ok(values)
}

/// Refuses `used` together with any of the others, in Kafka's words.
pub(crate) fn forbid(options: &Options, used: &str, others: &[&str]) -> Result<(), Failure> {
    let other = others
        .iter()
        .find(|other| **other != used && options.has(other));
    match other {
        Some(other) if options.has(used) => Err(Failure::Usage(format!(
            "Option \"[{used}]\" can't be used with option \"[{other}]\""
        ))),
        _ => Ok(()),
    }
}

/// Requires options, in Kafka's words.
pub(crate) fn require(options: &Options, names: &[&str]) -> Result<(), Failure> {
    match names.iter().find(|name| !options.has(name)) {
        Some(missing) => Err(Failure::Usage(format!(
            "Missing required argument \"[{missing}]\""
        ))),
        None => Ok(()),
    }
}

/// The settings of an admin client from `--bootstrap-server` and `--command-config`.
pub(crate) fn admin_settings(options: &Options) -> Result<Settings, Failure> {
    let mut settings = match options.value("command-config")? {
        Some(path) => properties_file(path)?,
        None => Settings::new(),
    };
    if let Some(servers) = options.value("bootstrap-server")? {
        settings.set("bootstrap.servers", servers);
    }
    if let Some(servers) = options.value("bootstrap-controller")? {
        settings.set("bootstrap.controllers", servers);
    }
    Ok(settings)
}

/// Requires `--bootstrap-server` or `--bootstrap-controller`, and refuses both.
pub(crate) fn require_bootstrap(options: &Options) -> Result<(), Failure> {
    match options.given_of(&["bootstrap-server", "bootstrap-controller"])[..] {
        [_] => Ok(()),
        [] => Err(Failure::Message(
            "Say where the cluster is: --bootstrap-server or --bootstrap-controller, HOST:PORT."
                .into(),
        )),
        _ => Err(Failure::Message(
            "Only one of --bootstrap-server and --bootstrap-controller can be given.".into(),
        )),
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// An admin client; must be called within [`block_on`].
pub(crate) fn admin(options: &Options) -> Result<Admin, Failure> {
    Ok(Admin::new(&admin_settings(options)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_by_its_name_and_by_kafkas() {
        for name in [
            "topics",
            "kafka-topics.sh",
            "/opt/kafka/bin/kafka-topics.sh",
            "kafka-topics",
        ] {
            assert_eq!(find(name).map(|tool| tool.name), Some("topics"), "{name}");
        }
        for name in ["ottla", "./ottla", "kafka-nothing.sh", ""] {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn pairs_of_name_and_value() {
        let pairs = |arguments: &[&str], accept_missing| {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            key_values(&arguments, accept_missing).map_err(|failure| format!("{failure:?}"))
        };
        let expected = BTreeMap::from([("a".to_owned(), "1=2".to_owned())]);
        assert_eq!(pairs(&["a=1=2"], false), Ok(expected));
        assert!(pairs(&["a"], false).is_err());
        assert_eq!(pairs(&["a"], true).map(|pairs| pairs.len()), Ok(1));
    }
}
