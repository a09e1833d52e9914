//! The tools against a node: what they print is what Apache Kafka's tools print.
//!
//! `testdata/kafka-4.3.1/tools.txt` holds commands (`$`), lines for standard input (`>`), the
//! output that Apache Kafka 4.3.1's own tool gave against its own broker (`|`) and the exit code
//! where it is not 0 (`?`); `@FILE` in a command is a file with the lines that follow it. What
//! `tools.masks` names, such as ids and addresses, is masked. `conformance/driver/golden_tools.py`
//! writes it, and compares it in every conformance run.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect fails"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ottla_broker::Server;
use ottla_broker::config::NodeConfig;
use ottla_broker::testing::format;
use ottla_log::MemoryDisk;

const GOLDEN: &str = include_str!("../../testdata/kafka-4.3.1/tools.txt");
/// What is another's each time: a pattern, a tab, what takes its place.
const MASKS: &str = include_str!("../../testdata/kafka-4.3.1/tools.masks");

async fn start() -> (Server, SocketAddr) {
    let disk = Arc::new(MemoryDisk::new());
    format(&*disk, std::path::Path::new("/data"), 1, 1).unwrap();
    let settings: BTreeMap<String, String> = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        (
            "listeners",
            "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
        ),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.voters", "1@127.0.0.1:9093"),
        ("log.dirs", "/data"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("share.coordinator.state.topic.num.partitions", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let config = NodeConfig::from_settings(settings).unwrap();
    let server = Server::start_on(&config, disk).await.unwrap();
    let listener = server
        .addresses()
        .iter()
        .find(|(name, _)| name == "PLAINTEXT");
    let address = listener.unwrap().1;
    (server, address)
}

/// Output and exit code of a tool, the former masked.
fn run(command: &str, input: &[&str], server: &str) -> (String, i32) {
    let file = tempfile::NamedTempFile::new().unwrap();
    for line in input {
        writeln!(file.as_file(), "{line}").unwrap();
    }
    let path = file.path().to_str().unwrap();
    let mut words = command.split(' ');
    let tool = words.next().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ottla"))
        .args([tool, "--bootstrap-server", server])
        .args(words.map(|word| if word == "@FILE" { path } else { word }))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for line in input {
        writeln!(stdin, "{line}").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (mask(&text, server), output.status.code().unwrap_or(-1))
}

fn mask(text: &str, server: &str) -> String {
    let text = text.replace(server, "<server>");
    let mut masked = String::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        for mask in MASKS.lines() {
            let (pattern, replacement) = mask.split_once('\t').unwrap();
            let pattern = regex::Regex::new(pattern).unwrap();
            line = pattern.replace_all(&line, replacement).into_owned();
        }
        writeln!(masked, "| {line}").unwrap();
    }
    masked
}

/// The commands of the golden file with everything that follows each.
fn commands() -> Vec<(&'static str, Vec<&'static str>, String)> {
    let mut commands: Vec<(&str, Vec<&str>, String)> = Vec::new();
    for line in GOLDEN.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command, Vec::new(), String::new()));
            continue;
        }
        let (_, input, expected) = commands.last_mut().unwrap();
        match line.strip_prefix("> ") {
            Some(line) => input.push(line),
            None => writeln!(expected, "{line}").unwrap(),
        }
    }
    commands
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_print_what_apache_kafkas_print() {
    let (server, address) = start().await;
    let outcome = tokio::task::spawn_blocking(move || {
        let mut wrong = String::new();
        for (command, input, expected) in commands() {
            let (mut output, code) = run(command, &input, &address.to_string());
            if code != 0 {
                writeln!(output, "? {code}").unwrap();
            }
            if output != expected {
                writeln!(
                    wrong,
                    "$ {command}\nexpected:\n{expected}but got:\n{output}"
                )
                .unwrap();
            }
        }
        wrong
    })
    .await
    .unwrap();
    server.shut_down().await;
    assert!(outcome.is_empty(), "{outcome}");
}
