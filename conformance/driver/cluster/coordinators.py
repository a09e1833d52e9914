"""Coordinators move when their node dies: groups of every type, transactions, share state."""

import json
import subprocess
import time

import crash
import programs
from clients import CLIENTS, tool

from . import replicas
from .nodes import as_kafka_writes, until

GROUP, TRANSACTION, SHARE = 0, 1, 2


class Coordinator:
    """Whatever node coordinates one of these keys now, as a broker that can be killed and started again.

    With several, it is the turn of each in its order.
    """

    def __init__(self, cluster, *keys):
        self.cluster, self.keys = cluster, list(keys)
        self.bootstrap = cluster.bootstrap
        self.killed = None
        # The make of the node that coordinated, and that of the one that did so after it.
        self.moves = []

    def kill(self):
        key, kind = self.keys[len(self.moves) % len(self.keys)]
        self.killed = self.cluster.coordinator(key, kind)
        self.killed.kill()

        def another():
            found = self.cluster.coordinator(key, kind)
            return found is not self.killed and found

        self.moves.append((self.killed.name, until("another coordinates", another).name))

    def start(self):
        self.cluster.start_again([self.killed])
        self.cluster.until_in_sync()

    def has_moved(self):
        """Twice, and from each make to the other where there are two."""
        makes = {node.name for node in self.cluster.brokers}
        wanted = {(one, other) for one in makes for other in makes if one != other}
        assert len(self.moves) < 10, f"not between both makes: {self.moves}"
        return len(self.moves) >= 2 and wanted <= set(self.moves)


def transactions(folder, cluster_in, client, protocol, seed):
    """Read, process and write exactly once, by a group of either protocol, while its coordinators are killed."""
    with cluster_in(folder) as cluster:
        copied = ["from", "to"] + ([protocol] if protocol == "consumer" else [])
        kinds = (TRANSACTION, GROUP) if seed % 2 else (GROUP, TRANSACTION)
        victim = Coordinator(cluster, *(("copy-to", kind) for kind in kinds))
        crash.copy_under_kills(victim, CLIENTS[client], copied, cluster.create_topic, seed)
        replicas.compare(cluster)
        return seen(victim)


def streams(folder, report, suite, cluster_in, protocol, seed):
    """An application of Kafka Streams, exactly once, while the coordinator of its group is killed."""
    with cluster_in(folder) as cluster:
        prefix = f"streams-{protocol}"
        victim = Coordinator(cluster, (f"{prefix}-application", GROUP))
        programs.streams(report, victim, protocol, 12, seed, suite)
        replicas.compare(cluster)
        return seen(victim)


def seen(victim):
    assert victim.moves, "no coordinator was killed"
    return "coordinators moved " + ", ".join(f"from {one} to {other}" for one, other in victim.moves)


class ShareConsumer:
    """Apache Kafka's own verifiable share consumer, and what it has told."""

    def __init__(self, bootstrap, topic, group, log):
        self.log = log
        self.output = open(log, "wb")
        self.process = subprocess.Popen(
            tool(
                "VerifiableShareConsumer",
                *("--bootstrap-server", bootstrap, "--topic", topic, "--group-id", group),
                *("--acknowledgement-mode", "sync", "--offset-reset-strategy", "earliest"),
            ),
            stdout=self.output,
            stderr=subprocess.DEVNULL,
        )

    def events(self):
        """[(name, {(partition, offset)…})] of what it consumed, and of what was acknowledged with success."""
        found = []
        for line in self.log.read_text().splitlines():
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            if event["name"] == "records_consumed" or event.get("success"):
                places = {
                    (one["partition"], offset) for one in event["partitions"] for offset in one["offsets"]
                }
                found.append((event["name"], places))
        return found

    def acknowledged(self):
        sets = [places for name, places in self.events() if name == "offsets_acknowledged"]
        return set().union(*sets)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.output.close()


def share_group(folder, cluster_in):
    """Every record is delivered, and none again once it is acknowledged, while its coordinators are killed.

    A share group has two: the group's own, and that of its state.
    """
    topic, group = "shared", "sharing"
    with cluster_in(folder) as cluster:
        cluster.create_topic(topic)
        load = crash.Load(CLIENTS["franz-go"], cluster.bootstrap, topic, 12)
        with load:
            consumer = ShareConsumer(cluster.bootstrap, topic, group, folder / "share.log")
            try:
                until("records are acknowledged", lambda: len(consumer.acknowledged()) > 100)
                state = f"{group}:{topic_id(cluster, topic)}:0"
                victim = Coordinator(cluster, (group, GROUP), (state, SHARE))
                while not victim.has_moved():
                    victim.kill()
                    victim.start()
                    time.sleep(0.5)
                written = {tuple(map(int, line.split()[1:3])) for line in load.end().splitlines()}
                until("all is acknowledged", lambda: written <= consumer.acknowledged())
            finally:
                consumer.stop()
        done = set()
        for name, places in consumer.events():
            if name == "records_consumed":
                again = places & done
                assert not again, f"{len(again)} records came again, as {sorted(again)[:3]}"
            else:
                done |= places
        replicas.compare(cluster)
        return f"{len(written)} records shared; {seen(victim)}"


def topic_id(cluster, topic):
    """As Kafka writes it."""
    answer = cluster.ask("Metadata", 12, {"Topics": [{"Name": topic}]})
    return as_kafka_writes(answer["Topics"][0]["TopicId"])
