"""Figures of a cluster: three nodes of one make, each broker and controller, beside three of the other.

Both clusters run at the same time, so that Java's compiler keeps what it has learnt; the one that is not measured
is idle. CPU time is that of all three nodes.
"""

import contextlib
import tempfile
import threading
import time
from pathlib import Path

import wire
from processes import PROPERTIES, Kafka, Ottla, produce, use_memory

# Where the conformance driver is, `processes` says.
from cluster.nodes import COMBINED, Cluster, until  # isort: skip

GIB = 1 << 30
DELETED_SECONDS = 120


class Three(Cluster):
    """Three nodes of one make; topics have three replicas, and two must be in sync."""

    def __init__(self, folder, make):
        super().__init__(folder, [(make, COMBINED)] * 3, PROPERTIES)
        self.name = make.name

    def cpu_seconds(self):
        return sum(node.cpu_seconds() for node in self.brokers)

    def request_topic(self, topic, partitions):
        """Asks for the topic; what is made then is made in the background."""
        made = {"Name": topic, "NumPartitions": partitions, "ReplicationFactor": 3}
        answer = self.ask("CreateTopics", 7, {"Topics": [made], "TimeoutMs": 60_000})
        if answer["Topics"][0]["ErrorCode"] != 0:
            raise RuntimeError(f"{topic} was not made: {answer}")

    def delete_topic(self, topic):
        """Deletes it, and waits until the files of every replica are gone."""
        self.ask("DeleteTopics", 6, {"Topics": [{"Name": topic}], "TimeoutMs": 60_000})
        data = [node.folder / "data" for node in self.brokers]
        until(
            f"the files of {topic} are gone",
            lambda: not any(found for folder in data for found in folder.glob(f"{topic}-*")),
            DELETED_SECONDS,
        )


@contextlib.contextmanager
def both(session):
    """A cluster of Apache Kafka's nodes and one of Ottla's, in folders next to each other on one disk."""
    with contextlib.ExitStack() as ending:
        root = ending.enter_context(
            tempfile.TemporaryDirectory(prefix="ottla-bench-", dir=session.folder)
        )
        clusters = []
        for make in (Kafka, Ottla):
            three = Three(Path(root) / make.name, make)
            ending.callback(three.remove)
            three.start()
            clusters.append(three)
        yield clusters


class IsrWatch:
    """Looks four times a second whether every replica of a topic is in sync, as the first broker knows it."""

    def __init__(self, cluster, topic):
        self.cluster, self.topic = cluster, topic
        self.is_over = threading.Event()
        self.times_out = 0
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.is_over.wait(0.25):
            partitions = self.cluster.partitions(self.topic)
            self.times_out += any(len(one.isr) < len(one.replicas) for one in partitions)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


def replicated(session):
    """CPU time of the whole cluster and throughput, three replicas and acks=all."""
    form = session.form
    with both(session) as clusters:
        for number in range(form.rounds + 1):
            gib = form.warm_gib if number == 0 else form.gib_of_others / form.rounds
            count = int(gib * GIB / 1024)
            for cluster in clusters:
                topic = f"replicated-{number}"
                cluster.create_topic(topic, partitions=6)
                use_memory(3 * gib)
                before = cluster.cpu_seconds()
                with IsrWatch(cluster, topic) as watch:
                    rate = produce(cluster, topic, 1024, count)
                    cluster.until_in_sync(topic)
                cpu = cluster.cpu_seconds() - before
                cluster.delete_topic(topic)
                if number > 0:
                    yield "CPU-s of three nodes per GiB in, 1 KiB", cluster.name, cpu / gib
                    yield "MiB/s in, 1 KiB, three replicas", cluster.name, rate
                    yield "times a replica was seen out of sync", cluster.name, watch.times_out


def many_partitions(session):
    """From the request for a topic of many partitions until each is led, and its leader answers."""
    form = session.form
    with both(session) as clusters:
        for number in range(form.memory_rounds + 1):
            # What is made first is for Java's compiler.
            count = form.partitions // 5 if number == 0 else form.partitions
            for cluster in clusters:
                topic = f"many-{number}"
                before, began = cluster.cpu_seconds(), time.monotonic()
                cluster.request_topic(topic, count)
                await_led(cluster, topic, count)
                seconds, cpu = time.monotonic() - began, cluster.cpu_seconds() - before
                # None is deleted: ext4 takes no inode again for a minute, and searches long for others.
                if number > 0:
                    what = f"topic of {count} partitions, three replicas"
                    yield f"s until all are led, {what}", cluster.name, seconds
                    yield f"CPU-s until all are led, {what}", cluster.name, cpu


def await_led(cluster, topic, count):
    """Until every node names a leader for each partition, and between them they answer for all of it."""
    with contextlib.ExitStack() as open_connections:
        connections = [
            open_connections.enter_context(wire.Connection(node.port)) for node in cluster.brokers
        ]
        for connection in connections:
            while not wire.is_described(topic, count)(connection):
                time.sleep(0.02)
        while served(connections, topic, count) < count:
            time.sleep(0.02)


def served(connections, topic, count):
    """How many partitions have a leader that tells their end."""
    return sum(
        error == 0 for connection in connections for error, _ in wire.ends(connection, topic, count)
    )


FIGURES = {"replicated": replicated, "many-partitions": many_partitions}
MINUTES = {"replicated": 7, "many-partitions": 4}
