//! `ottla start`, from the first line to a clean end.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn start(directory: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ottla"))
        .arg("start")
        .args(arguments)
        .current_dir(directory)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// On ports that the system chooses.
const ANYWHERE: [&str; 4] = [
    "--override",
    "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
    "--override",
    "ottla.metrics.listener=127.0.0.1:0",
];

#[test]
fn a_node_without_a_file_starts_says_where_and_ends_cleanly_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    // The second start finds the data of the first.
    for _ in 0..2 {
        let mut child = start(directory.path(), &ANYWHERE);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = lines.by_ref().map(Result::unwrap);
        let listening = said
            .take_while(|line| !line.contains("metrics are at http://127.0.0.1:"))
            .find(|line| line.contains("listens on PLAINTEXT://127.0.0.1:"));
        assert!(listening.is_some_and(|line| line.contains("Ctrl-C or SIGTERM stops it")));
        let stop = Command::new("kill").arg(child.id().to_string()).status();
        assert!(stop.unwrap().success());
        let last = lines.map(Result::unwrap).last().unwrap();
        assert!(last.contains("INFO stopped"), "{last}");
        assert!(child.wait().unwrap().success());
        let data = directory.path().join("data");
        assert!(data.join(".kafka_cleanshutdown").is_file());
    }
}

#[test]
fn a_start_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str]| {
        let output = start(directory.path(), arguments)
            .wait_with_output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    };
    let file = "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n\
                controller.quorum.bootstrap.servers=127.0.0.1:9093\nlog.dirs=./absent\n\
                listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\n";
    std::fs::write(directory.path().join("server.properties"), file).unwrap();
    let unformatted = refused(&["server.properties"]);
    assert!(
        unformatted.contains("No readable meta.properties files found."),
        "{unformatted}"
    );
    let authorizer = refused(&[
        "server.properties",
        "--override",
        "authorizer.class.name=a.B",
    ]);
    assert!(
        authorizer.contains("authorizer.class.name=a.B is set, but"),
        "{authorizer}"
    );
    let bad = refused(&["server.properties", "--override", "num.partitions=0"]);
    assert!(
        bad.contains("Invalid value 0 for configuration num.partitions"),
        "{bad}"
    );
    std::fs::create_dir(directory.path().join("data")).unwrap();
    std::fs::write(directory.path().join("data/precious"), "x").unwrap();
    let foreign = refused(&ANYWHERE);
    assert!(
        foreign.contains("neither empty nor a formatted log directory"),
        "{foreign}"
    );
}
