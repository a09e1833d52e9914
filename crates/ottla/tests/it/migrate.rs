//! `ottla migrate check` beside a node that runs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

fn check(directory: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ottla"))
        .args(["migrate", "check", "data"])
        .current_dir(directory)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn a_directory_in_use_is_in_the_way_until_its_node_has_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Command::new(env!("CARGO_BIN_EXE_ottla"))
        .args([
            "start",
            "--override",
            "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
            "--override",
            "ottla.metrics.listener=127.0.0.1:0",
        ])
        .current_dir(directory.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(node.stderr.take().unwrap()).lines();
    let listening = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("listens on"));
    assert!(listening.is_some());
    let (code, said) = check(directory.path());
    assert_eq!(code, Some(1), "{said}");
    let expected = format!("IN THE WAY: process {} runs on the directory\n", node.id());
    assert!(said.contains(&expected), "{said}");
    // The node noticed nothing: its lock is its own still.
    let stop = Command::new("kill").arg(node.id().to_string()).status();
    assert!(stop.unwrap().success());
    lines.map(Result::unwrap).for_each(drop);
    assert!(node.wait().unwrap().success());
    let (code, said) = check(directory.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("\nNothing stands in the way.\n"), "{said}");
}

#[test]
fn a_wrong_command_line_is_answered_with_the_usage() {
    let output = Command::new(env!("CARGO_BIN_EXE_ottla"))
        .args(["migrate", "chekc"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("usage: ottla migrate check DIR|CONFIG\n"));
}
