//! `ottla storage` beside what Apache Kafka 4.3.1's `kafka-storage.sh` wrote for the same commands.

use std::path::Path;
use std::process::{Command, Output};

const CLUSTER: &str = "xtzWWN4bTjitpL3kfd9s5g";

const FRESH: &str = "Bootstrap metadata: BootstrapMetadata(records=[ApiMessageAndVersion(FeatureLevelRecord(name='metadata.version', featureLevel=30) at version 0), ApiMessageAndVersion(FeatureLevelRecord(name='eligible.leader.replicas.version', featureLevel=1) at version 0), ApiMessageAndVersion(FeatureLevelRecord(name='group.version', featureLevel=1) at version 0), ApiMessageAndVersion(FeatureLevelRecord(name='share.version', featureLevel=1) at version 0), ApiMessageAndVersion(FeatureLevelRecord(name='streams.version', featureLevel=1) at version 0), ApiMessageAndVersion(FeatureLevelRecord(name='transaction.version', featureLevel=2) at version 0)], metadataVersionLevel=30, source=format command)\n";

/// A configuration file in a directory of its own.
struct Node {
    directory: tempfile::TempDir,
}

impl Node {
    fn new(quorum: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n{quorum}\n\
             listeners=PLAINTEXT://127.0.0.1:29792,CONTROLLER://127.0.0.1:29793\n\
             controller.listener.names=CONTROLLER\nlog.dirs={root}/e1,{root}/e2\n"
        );
        std::fs::write(directory.path().join("server.properties"), properties).unwrap();
        Self { directory }
    }

    fn dynamic() -> Self {
        Self::new("controller.quorum.bootstrap.servers=127.0.0.1:29793")
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn storage(&self, arguments: &str) -> Output {
        let config = self.path().join("server.properties");
        Command::new(env!("CARGO_BIN_EXE_ottla"))
            .arg("storage")
            .args(
                arguments
                    .replace("CONFIG", config.to_str().unwrap())
                    .split_whitespace(),
            )
            .output()
            .unwrap()
    }

    /// What the command writes to standard output, or to standard error if it fails, with `DIR` for the directory.
    #[track_caller]
    fn check(&self, arguments: &str, succeeds: bool, expected: &str) {
        let output = self.storage(arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let text = text.replace(self.path().to_str().unwrap(), "DIR");
        assert_eq!(text, expected, "{arguments}");
        assert_eq!(
            output.status.code(),
            Some(i32::from(!succeeds)),
            "{arguments}"
        );
    }
}

#[test]
fn a_dynamic_quorum_of_one_is_formatted_and_told_about() {
    let node = Node::dynamic();
    let format = format!("format -c CONFIG -t {CLUSTER} --standalone");
    node.check(
        "info -c CONFIG",
        false,
        "Found problems:\n  DIR/e1 does not exist\n  DIR/e2 does not exist\n\n",
    );
    node.check(
        &format,
        true,
        &format!(
            "{FRESH}Formatting dynamic metadata voter directory DIR/e1 with metadata.version 4.3-IV0.\n\
             Formatting data directory DIR/e2 with metadata.version 4.3-IV0.\n"
        ),
    );
    let snapshot = "e1/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";
    for file in [
        "e1/bootstrap.checkpoint",
        "e2/bootstrap.checkpoint",
        snapshot,
    ] {
        assert!(node.path().join(file).is_file(), "{file}");
    }
    let properties = std::fs::read_to_string(node.path().join("e1/meta.properties")).unwrap();
    assert!(
        properties.contains(&format!("\nversion=1\ncluster.id={CLUSTER}\n")),
        "{properties}"
    );
    node.check(
        &format,
        false,
        "Log directory DIR/e1 is already formatted. Use --ignore-formatted to ignore this directory and format the \
         others.\n",
    );
    node.check(
        &format!("{format} -g"),
        true,
        "All of the log directories are already formatted.\n",
    );
    node.check(
        "format -c CONFIG -t ytzWWN4bTjitpL3kfd9s5g --standalone -g",
        false,
        &format!(
            "Invalid cluster.id in: DIR/e1/meta.properties. Expected ytzWWN4bTjitpL3kfd9s5g, but read {CLUSTER}\n"
        ),
    );
    let info = String::from_utf8(node.storage("info -c CONFIG").stdout).unwrap();
    assert!(
        info.contains(&format!(
            "Found metadata: {{cluster.id={CLUSTER}, directory.id="
        )),
        "{info}"
    );
    std::fs::remove_dir_all(node.path().join("e2")).unwrap();
    assert_eq!(node.storage("info -c CONFIG").status.code(), Some(1));
}

#[test]
fn a_static_quorum_is_formatted_at_an_earlier_release() {
    let node = Node::new("controller.quorum.voters=1@127.0.0.1:29793");
    node.check(
        &format!("format -c CONFIG -t {CLUSTER} --release-version 4.0"),
        true,
        "Bootstrap metadata: BootstrapMetadata(records=[ApiMessageAndVersion(FeatureLevelRecord(name='metadata.version', featureLevel=25) at version 0), ApiMessageAndVersion(FeatureLevelRecord(name='group.version', featureLevel=1) at version 0), ApiMessageAndVersion(FeatureLevelRecord(name='transaction.version', featureLevel=2) at version 0)], metadataVersionLevel=25, source=format command)\n\
         Formatting metadata directory DIR/e1 with metadata.version 4.0-IV3.\n\
         Formatting data directory DIR/e2 with metadata.version 4.0-IV3.\n",
    );
    assert!(!node.path().join("e1/__cluster_metadata-0").exists());
}

#[test]
fn what_cannot_be_formatted_is_refused_in_kafkas_words() {
    let node = Node::dynamic();
    let refused = |options: &str, expected: &str| {
        node.check(
            &format!("format -c CONFIG -t {CLUSTER} {options}"),
            false,
            &format!("{expected}\n"),
        );
    };
    refused(
        "",
        "Because controller.quorum.voters is not set on this controller, you must specify one of the following: \
         --standalone, --initial-controllers, or --no-initial-controllers.",
    );
    refused(
        "--standalone --feature foo=1",
        "Unsupported feature: foo. Supported features are: eligible.leader.replicas.version, group.version, \
         kraft.version, share.version, streams.version, transaction.version",
    );
    refused(
        "--standalone --feature foo",
        "Can't parse feature=level string foo: equals sign not found.",
    );
    refused(
        "--standalone --feature group.version=0 --feature transaction.version=9",
        "No feature:transaction.version with feature level 9",
    );
    refused(
        "--standalone --feature metadata.version=20 --release-version 4.0",
        "Use --release-version instead of --feature metadata.version=X to avoid ambiguity.",
    );
    refused(
        "--standalone --feature kraft.version=0",
        "Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags --standalone, \
         --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try removing \
         the --feature flag for kraft.version.",
    );
    refused(
        "--initial-controllers 1@localhost:29793",
        "No colon following port could be found.",
    );
    assert!(!node.path().join("e1").exists(), "a refusal writes nothing");
    let with_voters = Node::new("controller.quorum.voters=1@127.0.0.1:29793");
    with_voters.check(
        &format!("format -c CONFIG -t {CLUSTER} --standalone"),
        false,
        "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. \
         If you want to use dynamic quorum, please remove controller.quorum.voters and specify \
         controller.quorum.bootstrap.servers instead.\n",
    );
}

#[test]
fn features_are_looked_up() {
    let node = Node::dynamic();
    node.check(
        "version-mapping -r 3.9",
        true,
        "metadata.version=21 (3.9)\nkraft.version=1\ntransaction.version=0\ngroup.version=0\n\
         eligible.leader.replicas.version=0\nshare.version=0\nstreams.version=0\n",
    );
    node.check(
        "feature-dependencies -f eligible.leader.replicas.version=1 -f metadata.version=99",
        false,
        "eligible.leader.replicas.version=1 requires:\n    metadata.version=23 (4.0-IV1)\n\
         Unknown metadata.version 99\n",
    );
    node.check(
        "feature-dependencies -f foo=1",
        false,
        "Unknown feature: foo\n",
    );
}

#[test]
fn ids_are_random_and_usage_is_shown() {
    let node = Node::dynamic();
    let first = node.storage("random-uuid").stdout;
    assert_eq!(first.len(), 23);
    assert_ne!(first, node.storage("random-uuid").stdout);
    node.check(
        "",
        false,
        "usage: kafka-storage [-h]\n                     {info,format,version-mapping,feature-dependencies,random-uuid}\n                     ...\nkafka-storage: error: too few arguments\n",
    );
    node.check(
        "feature-dependencies",
        false,
        "usage: kafka-storage feature-dependencies [-h] --feature FEATURE\nkafka-storage: error: argument \
         --feature/-f is required\n",
    );
}
