//! The one binary.

mod configs;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod consumer_perf;
mod date_time;
mod deprecated;
mod dump_log;
mod get_offsets;
mod kafka_errors;
mod options;
mod producer_perf;
mod tool;
mod topic_filter;
mod topics;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let (program, rest) = match arguments.split_first() {
        Some((program, rest)) => (program.as_str(), rest),
        None => ("ottla", &[] as &[String]),
    };
    if let Some(tool) = tool::find(program) {
        return tool::run(tool, rest);
    }
    let named = rest
        .split_first()
        .and_then(|(name, rest)| Some((tool::find(name)?, rest)));
    match named {
        Some((tool, rest)) => tool::run(tool, rest),
        None => {
            let names: Vec<&str> = tool::TOOLS.iter().map(|tool| tool.name).collect();
            eprintln!("usage: ottla <tool> [options]\ntools: {}", names.join(", "));
            ExitCode::FAILURE
        }
    }
}
