//! The one binary: the node, and Kafka's command-line tools.
//!
//! `ottla TOOL ...` runs a tool, and so does a link to the binary that has the name of Kafka's script for it, such as
//! `kafka-topics.sh`.

mod acls;
mod broker_api_versions;
mod client_metrics;
mod cluster;
mod completions;
mod configs;
mod console_consumer;
mod console_producer;
mod console_share_consumer;
mod consumer_groups;
mod consumer_perf;
mod date_time;
mod delegation_tokens;
mod delete_records;
mod deprecated;
mod dump_log;
mod e2e_latency;
mod features;
mod get_offsets;
mod groups;
mod install_links;
mod instead;
mod json;
mod kafka_errors;
mod leader_election;
mod log_dirs;
mod logging;
mod metadata_quorum;
mod migrate;
mod options;
mod producer_perf;
mod reassign_partitions;
mod share_groups;
mod start;
mod storage;
mod streams_groups;
mod table;
mod tool;
mod topic_filter;
mod topics;
mod transactions;
mod verifiable_consumer;
mod verifiable_producer;

use std::path::Path;
use std::process::ExitCode;

/// What runs a node, or works on its directories; the tools that are clients of a cluster are in [`tool`].
struct Command {
    /// What follows `ottla`.
    name: &'static str,
    /// Kafka's script without its `.sh`; empty where Kafka has none.
    script: &'static str,
    about: &'static str,
    run: fn(&[String]) -> ExitCode,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "start",
        script: "kafka-server-start",
        about: "Start a node, from a server.properties or, without one, on 127.0.0.1:9092",
        run: start::run,
    },
    Command {
        name: "storage",
        script: "kafka-storage",
        about: "Format log directories, or tell about them",
        run: storage::run,
    },
    Command {
        name: "migrate",
        script: "",
        about: "Say what stands in the way of a swap, before it: ottla migrate check DIR|CONFIG",
        run: migrate::run,
    },
    Command {
        name: "install-links",
        script: "",
        about: "Make links with the names of Kafka's scripts: ottla install-links DIR",
        run: install_links::run,
    },
    Command {
        name: "completions",
        script: "",
        about: "Print what completes commands in a shell: ottla completions bash|zsh|fish",
        run: completions::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let (program, rest) = match arguments.split_first() {
        Some((program, rest)) => (program.as_str(), rest),
        None => ("ottla", &[] as &[String]),
    };
    if let Some(command) = find(program) {
        return (command.run)(rest);
    }
    if let Some(tool) = tool::find(program) {
        return tool::run(tool, rest);
    }
    if let Some(code) = instead::answer(program) {
        return code;
    }
    let Some((name, rest)) = rest.split_first() else {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    };
    match name.as_str() {
        "-h" | "--help" | "help" => {
            print!("{}", usage());
            return ExitCode::SUCCESS;
        }
        "complete" => return completions::complete(rest),
        "-V" | "--version" | "version" => {
            println!("ottla {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    match (find(name), tool::find(name)) {
        (Some(command), _) => (command.run)(rest),
        (None, Some(tool)) => tool::run(tool, rest),
        (None, None) => instead::answer(name).unwrap_or_else(|| {
            eprint!("ottla: there is no tool {name}\n\n{}", usage());
            ExitCode::FAILURE
        }),
    }
}

/// The command with this name, or the one that a link with this name stands for.
fn find(called: &str) -> Option<&'static Command> {
    let name = Path::new(called).file_name()?.to_str()?;
    let name = name.strip_suffix(".sh").unwrap_or(name);
    COMMANDS
        .iter()
        .find(|command| !name.is_empty() && command.script == name || command.name == called)
}

fn usage() -> String {
    let mut text = format!(
        "Ottla {}: a native replacement for Apache Kafka.\n\nUsage: ottla TOOL [OPTIONS]\n\n",
        env!("CARGO_PKG_VERSION")
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:14} {}\n", command.name, command.about));
    }
    let tools: Vec<&str> = tool::TOOLS.iter().map(|tool| tool.name).collect();
    text.push_str(&format!(
        "\nTools, with the options of Kafka's (ottla TOOL --help): {}\n\nA link to this binary named as one of \
         Kafka's scripts, such as kafka-topics.sh, is that tool.\n",
        tools.join(", ")
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_with_a_scripts_name_is_that_command() {
        assert_eq!(find("/usr/bin/kafka-storage.sh").unwrap().name, "storage");
        assert_eq!(find("kafka-server-start").unwrap().name, "start");
        assert_eq!(find("start").unwrap().name, "start");
        assert!(find("./target/release/ottla").is_none());
        assert!(find("/opt/start").is_none());
    }
}
