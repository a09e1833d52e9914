//! The log directories: there, formatted, of one node and one cluster, and in nobody's use.

use std::fs::File;
use std::path::{Path, PathBuf};

use ottla_log::RealDisk;
use ottla_log::directory::MetaProperties;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::Target;
use super::findings::Findings;

/// Checks each directory; those that are formatted.
pub(super) fn check(target: &Target, findings: &mut Findings) -> Vec<PathBuf> {
    let mut formatted: Vec<(PathBuf, MetaProperties)> = Vec::new();
    for path in &target.directories {
        if let Some(owner) = owner(path, findings) {
            formatted.push((path.clone(), owner));
            check_lock(path, findings);
        }
    }
    for (path, owner) in &formatted {
        check_owner(path, owner, target, findings);
        if let Some((first_path, first)) = formatted.first()
            && first.cluster_id != owner.cluster_id
        {
            findings.obstacle(
                format!(
                    "the directories belong to two clusters, {} and {}",
                    first.cluster_id, owner.cluster_id
                ),
                format!("{} and {}", first_path.display(), path.display()),
                "name only directories of one node in log.dirs",
            );
        }
    }
    formatted.into_iter().map(|(path, _)| path).collect()
}

/// Whose the directory is; where that cannot be said, the finding is noted.
fn owner(path: &Path, findings: &mut Findings) -> Option<MetaProperties> {
    if !path.is_dir() {
        let remedy = "mount the disk, or mend log.dirs";
        findings.obstacle("the log directory is not there", path.display(), remedy);
        return None;
    }
    match MetaProperties::read(&RealDisk, path) {
        Ok(Some(owner)) => {
            findings.looked_at(format!(
                "{}: node {} of cluster {}",
                path.display(),
                owner.node_id.0,
                owner.cluster_id
            ));
            Some(owner)
        }
        Ok(None) => {
            let remedy = "ottla storage format --ignore-formatted -t CLUSTER-ID -c CONFIG, if it shall be empty; \
                          otherwise look for the right directory";
            findings.obstacle("the log directory is not formatted", path.display(), remedy);
            None
        }
        Err(error) => {
            let remedy = "restore the file, or migrate to KRaft with Apache Kafka first";
            let place = MetaProperties::path(path);
            findings.obstacle(error.to_string(), place.display(), remedy);
            None
        }
    }
}

fn check_owner(path: &Path, owner: &MetaProperties, target: &Target, findings: &mut Findings) {
    if let Some(node_id) = target.node_id
        && node_id != owner.node_id.0
    {
        findings.obstacle(
            format!(
                "the directory is of node {}, the configuration of node {node_id}",
                owner.node_id.0
            ),
            path.display(),
            "set node.id to the directory's, or name the right directory",
        );
    }
    if owner.directory_id.is_none() {
        findings.note(
            "the directory has no directory.id; the node will give it one",
            MetaProperties::path(path).display(),
            "nothing; Apache Kafka from 3.7 on does the same",
        );
    }
}

/// Whether a program runs on the directory. Asking takes no lock.
fn check_lock(path: &Path, findings: &mut Findings) {
    let path = path.join(".lock");
    let Ok(file) = File::open(&path) else {
        return; // There is none before the first start.
    };
    let asked = Flock::from(FlockType::WriteLock);
    if let Ok(Some(holder)) = fcntl_getlk(&file, &asked) {
        let who = holder.pid.map_or_else(
            || "a process".to_owned(),
            |pid| format!("process {}", pid.as_raw_nonzero()),
        );
        findings.obstacle(
            format!("{who} runs on the directory"),
            path.display(),
            "stop it cleanly (SIGTERM) before the swap, and check once more: what it writes until then is not seen",
        );
    }
}
