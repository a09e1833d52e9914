"""Disks that have no room, and replicas that lead without all that was acknowledged.

A full disk is a small one of its own, in memory, which only root may mount; it is unmounted again.
"""

import contextlib
import subprocess
import time

import crash
from clients import CLIENTS
from dumped import dump

from . import replicas
from .load import judged
from .nodes import METADATA_LOG, SHORT_SESSION, apart, started, until

TOPIC = "load"
DISK_BYTES = 64 << 20
# A follower that cannot write is missed as soon as a broker that is gone.
SHORT_LAG = {"replica.lag.time.max.ms": "3000"}
FULL_SECONDS = 5


class SmallDisks:
    """Mounts a disk of its own where a node has its data."""

    def __init__(self):
        self.mounted = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for path in self.mounted:
            subprocess.run(["umount", "--lazy", str(path)], capture_output=True)

    def mount(self, node):
        path = node.folder / "data"
        path.mkdir()
        # A node cannot do without its metadata log, which stays on a disk with room.
        node.more = {"metadata.log.dir": str(node.folder / "metadata")}
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        self.mounted.append(path)


@contextlib.contextmanager
def full(node):
    """While it lasts, the node's disk has no room for a byte."""
    ballast = node.folder / "data" / "ballast"
    try:
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        yield
    finally:
        ballast.unlink()


def full_disk(folder, make, client, of_leader):
    """The disk of a partition's leader or of a follower of it is full for a while; then all is as it was."""
    with SmallDisks() as disks, started(
        folder, apart(3, 1, make), SHORT_SESSION | SHORT_LAG, place=disks.mount
    ) as cluster:
        cluster.create_topic(TOPIC, partitions=3, assignments=[(1, 2, 3), (1, 2, 3), (1, 2, 3)])
        node = cluster.nodes[1 if of_leader else 2]
        with judged(cluster, TOPIC, FULL_SECONDS + 4, client) as load:
            time.sleep(1)
            with full(node):
                time.sleep(FULL_SECONDS)
                assert node.is_running, f"a full disk has ended the node: {node.tail()}"
                written = len(load.lines)
                if not of_leader:
                    until("the others go on without it", lambda: node.id not in cluster.partition(TOPIC).isr)
                    until("records are acknowledged", lambda: len(load.lines) > written)
            cluster.until_in_sync()
        return f"longest stall {load.longest_stall():.1f} s"


def unclean_election(folder, make, client, tools):
    """Where the topic allows it, a replica leads that lacks what was acknowledged last, and the others follow it.

    Until one of them does, the controller has the partition down as recovering.
    """
    with started(folder, apart(3, 1, make), SHORT_SESSION) as cluster:
        settings = {"min_insync_replicas": 1, "unclean_leader_election_enable": "true"}
        cluster.create_topic(TOPIC, assignments=[(1, 2)] * 3, **settings)
        leader, behind = cluster.nodes[1], cluster.nodes[2]
        before = written(cluster, client)
        behind.kill()
        until("the leader is alone", lambda: isr_of_all(cluster) == {(1,)})
        # Every writer begins with the same numbers: what the second writes will stand nowhere else.
        written(cluster, client)
        lost = written(cluster, client)
        leader.kill()
        behind.spawn()
        until("the other leads", lambda: leaders(cluster) == {2})
        after = written(cluster, client)
        cluster.start_again([leader])
        cluster.until_in_sync(TOPIC)
        states = recovery_states(cluster, tools)
        bytes_ = replicas.compare(cluster)
        found = read(cluster, client, len(before) + len(after))
        assert before | after <= found, f"lost are {sorted(before | after - found)[:5]}"
        assert not lost & found, "nothing was lost: no election was unclean"
        assert states[:2] == [1, 0], f"the states of recovery were {states}"
        return f"{len(lost)} records gone, {bytes_} bytes in every replica"


def written(cluster, client):
    """What was acknowledged, as {((partition, offset), value)…}, by a client of its own for a second."""
    with crash.Load(CLIENTS[client], cluster.bootstrap, TOPIC, 1) as load:
        acked, _ = crash.acked_and_read(load.end(), "")
    return {(place, value) for value, place in acked.items()}


def read(cluster, client, count):
    """All that a reader finds, in the same shape."""
    drained = crash.run([*CLIENTS[client], "drain", cluster.bootstrap, TOPIC, str(count)]).decode()
    _, found = crash.acked_and_read("", drained)
    return set(found)


def isr_of_all(cluster):
    return {one.isr for one in cluster.partitions(TOPIC)}


def leaders(cluster):
    return {one.leader for one in cluster.partitions(TOPIC)}


def recovery_states(cluster, tools):
    """Of partition 0 of the first topic, each that the controller has written, as Apache Kafka's tool reads it."""
    (controller,) = cluster.controllers
    log = replicas.log_files(controller, f"{METADATA_LOG}-0")[0]
    printed = dump(tools, [log], "--cluster-metadata-decoder")
    found = []
    for line in printed.splitlines():
        if "PARTITION_CHANGE_RECORD" in line and '"partitionId":0' in line and "leaderRecoveryState" in line:
            found.append(int(line.partition('"leaderRecoveryState":')[2][0]))
    return found
