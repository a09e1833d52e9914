//! `ottla migrate check`: what stands in the way of running on an Apache Kafka node's directories.
//!
//! It only reads: no lock is taken and no file is written, so it may look at the directories of a node that runs.

mod coordinators;
mod directories;
mod findings;
mod log_files;
mod metadata;
mod settings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use findings::Findings;

const USAGE: &str = "\
usage: ottla migrate check DIR|CONFIG

Says what stands in the way of Ottla's running on a node's data, and changes nothing.

  DIR      a log directory of Apache Kafka
  CONFIG   a server.properties: its settings are checked, and every log directory that it names

Exit code 0: nothing stands in the way. 1: something does, and each finding says what, where, and what to do.
2: the command line is wrong.
";

/// Runs the tool.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let target = match words.as_slice() {
        [word] if ["-h", "--help"].contains(word) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        ["check", word] if ["-h", "--help"].contains(word) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        ["check", target] => Path::new(target),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let findings = check(target);
    print!("{findings}");
    if findings.stand_in_the_way() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// What is to be looked at.
struct Target {
    /// Every log directory.
    directories: Vec<PathBuf>,
    /// The directory of the metadata log; any of the directories where that is not known.
    metadata_directory: Option<PathBuf>,
    /// `node.id` as the configuration has it.
    node_id: Option<i32>,
}

fn check(path: &Path) -> Findings {
    let mut findings = Findings::of(path);
    let target = if path.is_dir() {
        Some(Target {
            directories: vec![path.to_owned()],
            metadata_directory: None,
            node_id: None,
        })
    } else {
        settings::check(path, &mut findings)
    };
    if let Some(target) = target {
        let formatted = directories::check(&target, &mut findings);
        metadata::check(&target, &formatted, &mut findings);
        coordinators::check(&formatted, &mut findings);
    }
    findings
}
