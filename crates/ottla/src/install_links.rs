//! `ottla install-links DIR`: the names of Apache Kafka's scripts, all of them this binary.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::{COMMANDS, instead, tool};

const USAGE: &str = "\
Usage: ottla install-links [--force] DIR

Makes a link to this binary in DIR for each of Apache Kafka's scripts, such as kafka-topics.sh. A file
that is there and is not such a link is left alone, unless --force is given.
";

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let force = arguments.iter().any(|argument| argument == "--force");
    let rest: Vec<&String> = arguments.iter().filter(|word| *word != "--force").collect();
    let [directory] = rest[..] else {
        eprint!("{USAGE}");
        return ExitCode::FAILURE;
    };
    match install(Path::new(directory), force) {
        Ok(count) => {
            println!("{count} links are in {directory}.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ottla install-links: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The scripts that this binary stands for.
pub(crate) fn scripts() -> Vec<String> {
    let commands = COMMANDS.iter().map(|command| command.script);
    let tools = tool::TOOLS.iter().map(|tool| tool.name);
    let mut names: Vec<String> = commands
        .filter(|script| !script.is_empty())
        .map(|script| format!("{script}.sh"))
        .chain(tools.map(|name| format!("kafka-{name}.sh")))
        .chain(instead::scripts().map(|name| format!("{name}.sh")))
        .collect();
    names.sort();
    names
}

fn install(directory: &Path, force: bool) -> Result<usize, String> {
    let binary = std::env::current_exe().map_err(|error| format!("this binary's path: {error}"))?;
    std::fs::create_dir_all(directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    let scripts = scripts();
    // Nothing is touched if something stands in the way.
    for script in &scripts {
        let path = directory.join(script);
        if !force && is_in_the_way(&path) {
            return Err(format!(
                "{} exists and is not a link to Ottla; move it away, or give --force to replace it",
                path.display()
            ));
        }
    }
    for script in &scripts {
        link(&binary, &directory.join(script))?;
    }
    Ok(scripts.len())
}

fn is_in_the_way(path: &Path) -> bool {
    match std::fs::read_link(path) {
        Ok(target) => {
            let name = target.file_name().unwrap_or_default();
            !name.to_string_lossy().starts_with("ottla")
        }
        Err(_) => path.symlink_metadata().is_ok(),
    }
}

/// Puts the link in place of whatever is there.
fn link(binary: &Path, path: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut fresh = PathBuf::from(path);
    fresh.set_extension("sh.new");
    let _ = std::fs::remove_file(&fresh);
    std::os::unix::fs::symlink(binary, &fresh).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_and_nothing_else_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let count = install(directory.path(), false).unwrap();
        assert_eq!(count, scripts().len());
        let link = std::fs::read_link(directory.path().join("kafka-topics.sh")).unwrap();
        assert_eq!(link, std::env::current_exe().unwrap());
        let other = directory.path().join("kafka-acls.sh");
        std::fs::remove_file(&other).unwrap();
        std::fs::write(&other, "#!/bin/sh\n").unwrap();
        assert!(
            install(directory.path(), false)
                .unwrap_err()
                .contains("kafka-")
        );
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "#!/bin/sh\n");
        install(directory.path(), true).unwrap();
        assert!(std::fs::read_link(&other).is_ok());
    }

    #[test]
    fn every_script_is_something() {
        for script in scripts() {
            let known = crate::find(&script).is_some()
                || tool::find(&script).is_some()
                || instead::scripts().any(|name| script == format!("{name}.sh"));
            assert!(known, "{script}");
        }
    }
}
