//! Arrows between crates point down only.

use std::collections::{BTreeMap, BTreeSet};

use crate::root;

/// What each crate may name under `[dependencies]` and `[build-dependencies]`. Under
/// `[dev-dependencies]` a crate may cross: clients are tested against an in-process broker.
const ALLOWED: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("log", &["protocol"]),
    ("raft", &["protocol"]),
    ("metadata", &["protocol"]),
    ("coordinator", &["metadata", "protocol"]),
    (
        "broker",
        &["coordinator", "log", "metadata", "protocol", "raft"],
    ),
    ("client", &["protocol"]),
    (
        "ottla",
        &[
            "broker",
            "client",
            "coordinator",
            "log",
            "metadata",
            "protocol",
            "raft",
        ],
    ),
];

#[test]
fn every_crate_depends_only_on_what_lies_below_it() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let below = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("crates/{name} is not in the list of arrows: add it there"));
        for dependency in house_dependencies(&manifest) {
            assert!(
                below.contains(&dependency.as_str()),
                "crates/{name} may not depend on {dependency}: arrows point down only"
            );
        }
        seen.insert(name);
    }
    for (name, _) in ALLOWED {
        assert!(
            seen.contains(*name),
            "crates/{name} is listed but not there"
        );
    }
}

/// The crates of this workspace that a manifest names outside `[dev-dependencies]`.
fn house_dependencies(manifest: &str) -> Vec<String> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            if let Some(name) = section.strip_prefix("dependencies.ottla-") {
                found.push(name.to_owned());
            }
        } else if section.ends_with("dependencies")
            && !section.starts_with("dev-")
            && let Some(rest) = line.strip_prefix("ottla-")
        {
            let end = rest
                .find(|c: char| !c.is_ascii_lowercase())
                .unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
        }
    }
    found
}

#[test]
fn the_manifest_reader_sees_each_form_of_a_dependency() {
    let manifest = "[dependencies]\nottla-log.workspace = true\nottla-raft = { path = \"x\" }\n\
        [dev-dependencies]\nottla-broker.workspace = true\n[build-dependencies]\n\
        ottla-protocol.workspace = true\n";
    assert_eq!(house_dependencies(manifest), ["log", "raft", "protocol"]);
}
