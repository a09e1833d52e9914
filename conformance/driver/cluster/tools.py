"""Apache Kafka's own tools say of a cluster of Ottla's what they say of one of Apache Kafka's."""

import contextlib
import re
import shutil
import subprocess

import brokers
from clients import java, tool

from .nodes import METADATA_LOG, apart, started, until

TOPIC = "seen"
SNAPSHOTS = {"metadata.log.max.snapshot.interval.ms": "5000"}
# What must differ from one cluster to the other, and from one moment to the next.
ADDRESSES = (r"127\.0\.0\.1:\d+", "HOST:PORT")
FOLDERS = (r"/[^\s\"]*/node-(\d)/data", r"DIRECTORY-\1")
IDS = (r"\b[\w-]{22}\b", "ID")
PORTS = (r"\b[1-3]\d{4}\b", "PORT")
NUMBERS = (r"\b\d+\b", "N")
TIMES = (r"\d{4}-\d\d-\d\d[T ][\d:.,+Z-]+|\b\d{13}\b|\d+ ms ago", "TIME")


class Asked:
    """The tools, asked about one cluster; in what they print stand words for what must differ."""

    def __init__(self, cluster, tools):
        self.cluster, self.tools = cluster, tools

    def say(self, name, *arguments, blank=(), controllers=False):
        cluster = self.cluster
        bootstrap = ("--bootstrap-server", cluster.bootstrap)
        if controllers:
            bootstrap = ("--bootstrap-controller", cluster.bootstrap_controllers)
        if name == "ClusterTool":
            arguments = (*arguments, *bootstrap)
        else:
            arguments = (*bootstrap, *arguments)
        printed = self.tools.must(f"org.apache.kafka.tools.{name}", *arguments)
        for pattern, word in (TIMES, ADDRESSES, FOLDERS, IDS, *blank):
            printed = re.sub(pattern, word, printed)
        # Nothing promises an order of rows, or how wide a column is.
        return sorted(" ".join(line.split()) for line in printed.splitlines())


QUESTIONS = {
    "kafka-metadata-quorum describe --status": lambda asked, by: asked.say(
        "MetadataQuorumCommand", "describe", "--status", blank=[NUMBERS], controllers=by
    ),
    "kafka-metadata-quorum describe --replication": lambda asked, by: asked.say(
        "MetadataQuorumCommand", "describe", "--replication", blank=[NUMBERS], controllers=by
    ),
    "kafka-metadata-quorum describe --replication --human-readable": lambda asked, by: asked.say(
        "MetadataQuorumCommand",
        *("describe", "--replication", "--human-readable"),
        blank=[NUMBERS],
        controllers=by,
    ),
    "kafka-features describe": lambda asked, by: asked.say(
        "FeatureCommand", "describe", blank=[(r"Epoch: \d+", "Epoch: N")], controllers=by
    ),
    "kafka-cluster cluster-id": lambda asked, by: asked.say("ClusterTool", "cluster-id", controllers=by),
    "kafka-cluster list-endpoints": lambda asked, by: asked.say(
        "ClusterTool", "list-endpoints", blank=[PORTS], controllers=by
    ),
}
OF_BROKERS = {
    "kafka-log-dirs --describe": lambda asked: asked.say(
        "LogDirsCommand",
        *("--describe", "--topic-list", TOPIC),
        blank=[(r'"(totalBytes|usableBytes|size|offsetLag)":-?\d+', r'"\1":N')],
    ),
    "kafka-topics --describe": lambda asked: asked.say("TopicCommand", "--describe", "--topic", TOPIC),
    "kafka-get-offsets": lambda asked: asked.say("GetOffsetShell", "--topic", TOPIC),
}


def compare(report, suite, folder, tools):
    """The same questions to a cluster of each make; each that is answered otherwise is a case that fails."""
    layout = {make: apart(3, 3, make) for make in (brokers.Ottla, brokers.Kafka)}
    with contextlib.ExitStack() as stack:
        clusters = [
            stack.enter_context(started(folder / make.name, layout[make], SNAPSHOTS, dynamic=True))
            for make in layout
        ]
        for cluster in clusters:
            cluster.create_topic(TOPIC, assignments=[(1, 2, 3), (2, 3, 1), (3, 1, 2)])
        ours, theirs = (Asked(cluster, tools) for cluster in clusters)
        for name, question in QUESTIONS.items():
            for controllers in (False, True):
                by = "controllers" if controllers else "brokers"
                report.run(
                    suite,
                    f"{name} by {by} as of Apache Kafka's cluster",
                    lambda: same(question(ours, controllers), question(theirs, controllers)),
                )
        for name, question in OF_BROKERS.items():
            report.run(
                suite,
                f"{name} as of Apache Kafka's cluster",
                lambda: same(question(ours), question(theirs)),
            )
        report.run(suite, "kafka-replica-verification", lambda: replicas_verified(clusters[0]))
        report.run(
            suite,
            "kafka-metadata-shell on a snapshot, as on Apache Kafka's",
            lambda: same(*(seen_by_shell(cluster, folder) for cluster in clusters)),
        )


def same(ours, theirs):
    only_ours = [line for line in ours if line not in theirs]
    only_theirs = [line for line in theirs if line not in ours]
    assert ours == theirs, f"only of Ottla's: {only_ours[:6]}; only of Apache Kafka's: {only_theirs[:6]}"
    assert ours, "it says nothing"


def replicas_verified(cluster):
    """It goes on for ever: its first report is waited for, of a lag of nothing."""
    command = tool(
        "ReplicaVerificationTool",
        *("--broker-list", cluster.bootstrap, "--topics-include", TOPIC, "--report-interval-ms", "500"),
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            for line in process.stdout:
                if "max lag is" in line:
                    assert "max lag is 0 for partition" in line, line
                    return
            raise AssertionError("it ended without a report")
        finally:
            process.kill()


# What the shell shows of a cluster, by its own paths, and what of that is of the moment.
SHELL = {
    "ls /image/cluster/brokers": (),
    "ls /image/cluster/controllers": (),
    "cat /image/cluster/brokers/1": (NUMBERS,),
    "cat /image/cluster/controllers/4": (NUMBERS,),
    f"tree /image/topics/byName/{TOPIC}": (NUMBERS,),
    "cat /image/features/metadataVersion": (),
    "ls /image/features": (),
}


def said_by_shell(snapshot, command):
    """Nothing while it speaks of no version at all: it answers now and then before it has read the snapshot."""
    words = ["--snapshot", str(snapshot), *command.split()]
    done = subprocess.run(
        java("org.apache.kafka.shell.MetadataShell", *words),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-600:]
    return None if "Optional.empty" in done.stdout else done.stdout


def seen_by_shell(cluster, folder):
    """What the shell shows of the newest snapshot of a controller, ids and numbers of moments left out."""
    name = f"{METADATA_LOG}-0"
    logs = [node.folder / "data" / name for node in cluster.controllers]
    # All that is asked about happened before this offset, which begins the name of a snapshot that holds it.
    settled = cluster.quorum()["HighWatermark"]

    def newest():
        found = [path for log in logs for path in log.glob("*.checkpoint")]
        found = [path for path in found if int(path.name[:20]) >= settled]
        return found and max(found, key=lambda path: path.name)

    # The shell asks for the lock of the directory that it reads in, which the node has.
    snapshot = folder / f"{cluster.id}.checkpoint"
    shutil.copy(until("a snapshot is written", newest), snapshot)
    lines = []
    for command, blank in SHELL.items():
        printed = until("the shell has read it all", lambda: said_by_shell(snapshot, command))
        for pattern, word in (ADDRESSES, IDS, PORTS, *blank):
            printed = re.sub(pattern, word, printed)
        lines += [f"$ {command}", *printed.splitlines()]
    return lines
