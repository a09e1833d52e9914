//! `info`: which directories there are, and what stands in their `meta.properties`.

use std::path::{Path, PathBuf};

use ottla_broker::format::read_owner;

use super::arguments::Given;
use super::{Failure, Report, load};

pub(super) fn run(given: &Given) -> Result<Report, Failure> {
    let config = load(given)?;
    let mut directories = config.all_directories();
    directories.sort();
    info(&directories)
}

fn info(directories: &[PathBuf]) -> Result<Report, Failure> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    let mut metadata = None;
    for path in directories {
        if !Path::new(path).is_dir() {
            let what = if path.exists() {
                "is not a directory"
            } else {
                "does not exist"
            };
            problems.push(format!("{} {what}", path.display()));
            continue;
        }
        found.push(path.display().to_string());
        match read_owner(&ottla_log::RealDisk, path)? {
            Some(properties) => metadata = metadata.or(Some(properties)),
            None => problems.push(format!("{} is not formatted.", path.display())),
        }
    }
    let mut report = Report {
        failed: !problems.is_empty(),
        ..Report::default()
    };
    if !found.is_empty() {
        section(
            &mut report,
            plural("Found log directory", "Found log directories", found.len()),
            &found,
        );
    }
    if let Some(properties) = metadata {
        let directory = properties
            .directory_id
            .map(|id| format!("directory.id={id}, "))
            .unwrap_or_default();
        report.line(format!(
            "Found metadata: {{cluster.id={}, {directory}node.id={}, version=1}}\n",
            properties.cluster_id, properties.node_id
        ));
    }
    if !problems.is_empty() {
        section(
            &mut report,
            plural("Found problem", "Found problems", problems.len()),
            &problems,
        );
    }
    Ok(report)
}

fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

fn section(report: &mut Report, title: &str, entries: &[String]) {
    report.line(format!("{title}:"));
    for entry in entries {
        report.line(format!("  {entry}"));
    }
    report.line("");
}
