//! `ottla completions SHELL`, and `ottla complete LINE`, which the shells ask what may follow.

use std::process::ExitCode;
use std::time::Duration;

use ottla_client::Admin;
use ottla_client::core::admin::transactions::TransactionFilter;

use crate::options::{Arity, CommandLine, OptionSpec, Options};
use crate::tool::{self, Failure, Tool};
use crate::{COMMANDS, install_links};

/// How long a shell waits for what the cluster has.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(2);

const USAGE: &str = "\
Usage: ottla completions bash|zsh|fish

Prints what completes ottla's commands, and Kafka's scripts that are links to it, in a shell: tools,
options, and the topics and groups of the cluster that the command line names.

  bash   eval \"$(ottla completions bash)\" in ~/.bashrc
  zsh    eval \"$(ottla completions zsh)\" in ~/.zshrc, after compinit
  fish   ottla completions fish > ~/.config/fish/completions/ottla.fish
";

/// Runs `ottla completions`.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let script = match arguments.first().map(String::as_str) {
        Some("bash") => bash(),
        Some("zsh") => zsh(),
        Some("fish") => fish(),
        Some("-h" | "--help") => USAGE.to_owned(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    print!("{script}");
    ExitCode::SUCCESS
}

/// Runs `ottla complete`: one candidate a line.
pub(crate) fn complete(arguments: &[String]) -> ExitCode {
    let line = arguments.last().map(String::as_str).unwrap_or_default();
    for candidate in candidates(line) {
        println!("{candidate}");
    }
    ExitCode::SUCCESS
}

fn bash() -> String {
    format!(
        "_ottla() {{\n    local IFS=$'\\n'\n    COMPREPLY=($(ottla complete -- \
         \"${{COMP_LINE:0:COMP_POINT}}\" 2>/dev/null))\n}}\ncomplete -o default -F _ottla ottla {}\n",
        install_links::scripts().join(" ")
    )
}

fn zsh() -> String {
    format!(
        "_ottla() {{\n    local -a found\n    found=(\"${{(@f)$(ottla complete -- \"$LBUFFER\" \
         2>/dev/null)}}\")\n    if [[ -n ${{found[1]}} ]]; then compadd -a found; else _files; fi\n}}\n\
         compdef _ottla ottla {}\n",
        install_links::scripts().join(" ")
    )
}

fn fish() -> String {
    let mut script = String::new();
    for name in std::iter::once("ottla".to_owned()).chain(install_links::scripts()) {
        script.push_str(&format!(
            "complete -c {name} -a '(ottla complete -- (commandline -cp) 2>/dev/null)'\n"
        ));
    }
    script
}

/// The words of a line up to the cursor, the last one what is being written.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut chars = line.trim_start().chars();
    while let Some(c) = chars.next() {
        let mut push = |c| {
            if let Some(word) = words.last_mut() {
                word.push(c);
            }
        };
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => chars.next().into_iter().for_each(push),
            (None, c) if c.is_whitespace() => {
                if words.last().is_some_and(|word| !word.is_empty()) {
                    words.push(String::new());
                }
            }
            (_, c) => push(c),
        }
    }
    words
}

fn candidates(line: &str) -> Vec<String> {
    let mut words = words(line);
    let Some(current) = words.pop() else {
        return Vec::new();
    };
    let Some((program, rest)) = words.split_first() else {
        return Vec::new();
    };
    let (tool, rest) = match (tool::find(program), rest.split_first()) {
        (Some(tool), _) => (tool, rest),
        (None, None) => return beginning_with(&current, commands()),
        (None, Some((name, rest))) => match tool::find(name) {
            Some(tool) => (tool, rest),
            None => return Vec::new(),
        },
    };
    let mut found = in_tool(tool, rest, &current);
    found.sort();
    found.dedup();
    beginning_with(&current, found)
}

fn commands() -> Vec<String> {
    let commands = COMMANDS.iter().map(|command| command.name);
    let tools = tool::TOOLS.iter().map(|tool| tool.name);
    let mut names: Vec<String> = commands.chain(tools).map(str::to_owned).collect();
    names.sort();
    names
}

fn beginning_with(current: &str, mut names: Vec<String>) -> Vec<String> {
    names.retain(|name| name.starts_with(current));
    names
}

fn in_tool(tool: &Tool, rest: &[String], current: &str) -> Vec<String> {
    let line = tool.line;
    let command = rest
        .iter()
        .find_map(|word| line.commands.iter().find(|command| command.name == word));
    let own = command.map_or(&[][..], |command| command.options);
    let specs = || own.iter().chain(line.options);
    if let Some((last, before)) = rest.split_last()
        && last.starts_with('-')
    {
        let name = last.trim_start_matches('-');
        let spec = specs().find(|spec| spec.names.contains(&name));
        match spec {
            Some(spec) if spec.arity != Arity::Flag => {
                return values(tool, spec, (line, before), current);
            }
            _ => {}
        }
    }
    let mut names: Vec<String> = Vec::new();
    if command.is_none() {
        names.extend(line.commands.iter().map(|command| command.name.to_owned()));
    }
    if current.starts_with('-') || names.is_empty() {
        let long = specs()
            .flat_map(|spec| spec.names)
            .filter(|name| name.len() > 1);
        names.extend(long.map(|name| format!("--{name}")));
    }
    names
}

/// What an option may be given.
fn values(
    tool: &Tool,
    spec: &OptionSpec,
    (line, before): (&CommandLine, &[String]),
    current: &str,
) -> Vec<String> {
    let fixed = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let name = spec.names.first().copied().unwrap_or_default();
    let kind = match name {
        "election-type" => return fixed(&["preferred", "unclean"]),
        "resource-pattern-type" => return fixed(&["literal", "prefixed", "any", "match"]),
        "group-type" => return fixed(&["classic", "consumer", "share", "streams"]),
        "isolation-level" => return fixed(&["read_committed", "read_uncommitted"]),
        "entity-type" => {
            let types = "topics,clients,users,brokers,ips,client-metrics,groups,broker-loggers";
            return fixed(&types.split(',').collect::<Vec<_>>());
        }
        "topic" | "topic-list" | "topics-include" | "input-topic" | "include" => Kind::Topics,
        "group" | "group-id" => Kind::Groups,
        "transactional-id" | "transactionalId" => Kind::TransactionalIds,
        "broker" | "broker-id" | "broker-list" | "broker-logger" | "node-id" => Kind::Brokers,
        _ => return Vec::new(),
    };
    let Ok(options) = line.parse(before) else {
        return Vec::new();
    };
    // What is already written of a list stays before what is added.
    let written = match name.ends_with("-list") {
        true => current.rfind(',').and_then(|end| current.get(..=end)),
        false => None,
    };
    let found = from_cluster(tool, kind, &options).unwrap_or_default();
    let written = written.unwrap_or_default();
    found
        .into_iter()
        .map(|name| format!("{written}{name}"))
        .collect()
}

#[derive(Clone, Copy)]
enum Kind {
    Topics,
    Groups,
    TransactionalIds,
    Brokers,
}

fn from_cluster(tool: &Tool, kind: Kind, options: &Options) -> Result<Vec<String>, Failure> {
    if !options.has("bootstrap-server") {
        return Ok(Vec::new());
    }
    tool::block_on(async {
        let admin: Admin = tool::admin(options)?.with_timeout(CLUSTER_TIMEOUT);
        Ok(match kind {
            Kind::Topics => {
                let topics = admin.list_topics().await?.into_iter();
                topics.map(|topic| topic.name.to_string()).collect()
            }
            Kind::Groups => {
                let wanted = match tool.name {
                    "share-groups" | "console-share-consumer" => "share",
                    "streams-groups" => "streams",
                    _ => "",
                };
                let groups = admin.list_groups(&[], &[]).await?.into_iter();
                groups
                    .filter(|group| {
                        wanted.is_empty() || group.group_type.eq_ignore_ascii_case(wanted)
                    })
                    .map(|group| group.group_id.to_string())
                    .collect()
            }
            Kind::TransactionalIds => {
                let all = TransactionFilter::default();
                let ids = admin.list_transactions(&all).await?.into_iter();
                ids.map(|listing| listing.transactional_id.to_string())
                    .collect()
            }
            Kind::Brokers => {
                let ids = admin.broker_ids().await?;
                ids.iter().map(i32::to_string).collect()
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_shells_do() {
        assert_eq!(
            words("ottla topics --topic "),
            ["ottla", "topics", "--topic", ""]
        );
        assert_eq!(words("a 'b c' d\\ e \"f"), ["a", "b c", "d e", "f"]);
        assert_eq!(words(""), [""]);
    }

    #[test]
    fn tools_commands_and_options_are_completed() {
        assert_eq!(candidates("ottla topi"), ["topics"]);
        assert!(candidates("ottla ").contains(&"install-links".to_owned()));
        assert_eq!(
            candidates("kafka-topics.sh --at"),
            ["--at-min-isr-partitions"]
        );
        assert_eq!(
            candidates("ottla transactions desc"),
            ["describe", "describe-producers"]
        );
        assert_eq!(
            candidates("ottla transactions describe --trans"),
            ["--transactional-id"]
        );
        assert_eq!(
            candidates("ottla leader-election --election-type u"),
            ["unclean"]
        );
        assert!(candidates("ottla topics --command-config ").is_empty());
        assert!(candidates("ottla nothing --x").is_empty());
    }

    #[test]
    fn every_shell_hears_of_every_name() {
        for script in [bash(), zsh(), fish()] {
            for name in ["ottla", "kafka-topics.sh", "kafka-share-groups.sh"] {
                assert!(script.contains(name), "{name} in {script}");
            }
        }
    }
}
