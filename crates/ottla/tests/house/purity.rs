//! A core has no clock, socket, file, thread or random order: all of these come in as arguments,
//! so that a whole node replays from a seed.

use std::path::Path;

use crate::{root, rust_files};

/// The folders whose code must be pure.
const CORES: &[&str] = &[
    "crates/protocol/src",
    "crates/raft/src",
    "crates/metadata/src",
    "crates/coordinator/src",
    "crates/broker/src/replica",
    "crates/client/src/core",
];

/// What a core may not name, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("std::net", "a socket"),
    ("std::fs", "a file"),
    ("File::open", "a file"),
    ("std::thread", "a thread"),
    ("thread::spawn", "a thread"),
    ("tokio", "a runtime"),
    ("rustix", "the operating system"),
    ("HashMap", "a random order"),
    ("HashSet", "a random order"),
    ("rand::", "randomness"),
    ("fastrand", "randomness"),
    ("std::env", "the environment"),
    ("std::process", "the process"),
];

#[test]
fn the_cores_touch_nothing_outside() {
    let mut broken = Vec::new();
    for core in CORES {
        let folder = root().join(core);
        for file in rust_files(&folder)
            .into_iter()
            .filter(|file| !is_test(file))
        {
            let text = std::fs::read_to_string(&file).unwrap();
            for (number, line) in product_lines(&text) {
                for (word, what) in FORBIDDEN {
                    if names(line, word) {
                        let path = file.strip_prefix(root()).unwrap().display();
                        broken.push(format!("{path}:{number}: {what}: {}", line.trim()));
                    }
                }
            }
        }
    }
    assert!(
        broken.is_empty(),
        "a core reaches outside:\n{}",
        broken.join("\n")
    );
}

fn is_test(file: &Path) -> bool {
    file.components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// The numbered lines of a file that are code of the product: no comments, and nothing from the
/// first `#[cfg(test)]` that opens an inline module on.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or("")))
}

/// Whether `line` holds `word` as a whole word, and not as a part of a longer name.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && (word.ends_with(':') || !after.is_some_and(is_name))
    })
}

#[test]
fn a_forbidden_word_is_found_only_as_a_whole_word() {
    assert!(names("use std::collections::HashMap;", "HashMap"));
    assert!(!names("struct IndexHashMapLike;", "HashMap"));
    assert!(!names("let operand::x = 1;", "rand::"));
    assert!(names("rand::random()", "rand::"));
}
