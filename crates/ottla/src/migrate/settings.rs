//! The settings of the configuration file, by the node's own review of them.

use std::path::Path;

use ottla_broker::config::{Error, NodeConfig, Notice, read_settings};

use super::Target;
use super::findings::Findings;

/// Reviews the file; what directories it names, if it can be read at all.
pub(super) fn check(path: &Path, findings: &mut Findings) -> Option<Target> {
    let config = read_settings(path, &[]).and_then(NodeConfig::without_support_check);
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            let remedy = "mend the file; Apache Kafka would not start with it either";
            findings.obstacle(error.to_string(), path.display(), remedy);
            return None;
        }
    };
    findings.looked_at(format!("{} settings", config.static_config.len()));
    for error in config.unsupported() {
        match error {
            Error::Unsupported { setting, reason } => {
                findings.obstacle(
                    reason,
                    setting,
                    "stay with Apache Kafka, or run without this",
                );
            }
            other => findings.obstacle(other.to_string(), path.display(), "mend the file"),
        }
    }
    note_notices(&config.notices, &path.display().to_string(), findings);
    Some(Target {
        metadata_directory: Some(config.metadata_log_dir.clone()),
        directories: config.all_directories(),
        node_id: Some(config.node_id),
    })
}

/// Tells what the review tells at a start.
pub(super) fn note_notices(notices: &[Notice], place: &str, findings: &mut Findings) {
    for notice in notices {
        let remedy = match notice {
            Notice::NoEffect(_) => "check that the defaults will do",
            Notice::Unknown { .. } => "mend or remove the name",
        };
        findings.note(notice.to_string(), place, remedy);
    }
}
