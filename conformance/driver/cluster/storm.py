"""A random mixture of faults from a seed, under clients whose histories are judged; see ../../history."""

import time

import histories

from . import replicas
from .nodes import COMBINED, SHORT_SESSION, started

PREFERRED = 0


class Faults:
    """The faults that a cluster can be struck by, each with its weight. Each begins, and gives what ends it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.struck = {}
        self.weights = {
            self.kill: 6,
            self.kill_controller: 2,
            self.kill_two: 1,
            self.kill_all: 1,
            self.pause: 3,
            self.restart: 3,
            self.elect: 1,
            self.reassign: 2,
        }

    def strike(self, brokers, chance):
        """In three of four cases the cluster is whole again before the next one."""
        fault = chance.choices(list(self.weights), list(self.weights.values()))[0]
        self.struck[fault.__name__] = self.struck.get(fault.__name__, 0) + 1
        end = fault(brokers, chance)
        recovers = chance.random() < 0.75

        def end_and_recover():
            end()
            if recovers:
                self.cluster.until_in_sync()

        return end_and_recover

    def words(self):
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(self.struck.items()))

    def killed(self, nodes):
        for node in nodes:
            node.kill()

        def start_again():
            for node in nodes:
                node.spawn()
            for node in nodes:
                node.await_listening()

        return start_again

    def kill(self, brokers, chance):
        return self.killed([chance.choice(brokers)])

    def kill_two(self, brokers, chance):
        return self.killed(chance.sample(brokers, 2))

    def kill_all(self, brokers, _):
        return self.killed(list(brokers))

    def kill_controller(self, *_):
        return self.killed([self.cluster.active_controller()])

    def pause(self, brokers, chance):
        node = chance.choice(brokers)
        node.pause()
        time.sleep(chance.uniform(0.2, 6))
        return node.resume

    def restart(self, brokers, chance):
        node = chance.choice(brokers)
        # Without a majority that runs it could not leave in order.
        self.cluster.until_in_sync()
        node.stop()
        return node.start

    def elect(self, *_):
        self.cluster.ask(
            "ElectLeaders",
            2,
            {"ElectionType": PREFERRED, "TopicPartitions": None, "TimeoutMs": 10_000},
        )
        return lambda: None

    def reassign(self, _, chance):
        """Another order of the same replicas, or one of them less."""
        changed = []
        for topic in ("mixed", "copy"):
            partitions = []
            for partition in self.cluster.partitions(topic):
                order = chance.sample(sorted(self.cluster.nodes), chance.choice([2, 3, 3]))
                partitions.append({"PartitionIndex": partition.number, "Replicas": order})
            changed.append({"Name": topic, "Partitions": partitions})
        self.cluster.ask(
            "AlterPartitionReassignments",
            1,
            {"TimeoutMs": 10_000, "AllowReplicationFactorChange": True, "Topics": changed},
        )
        return lambda: None


def mixture(folder, make, seconds, seed, count=3):
    """So many combined nodes; nothing that was acknowledged is lost, and replicas end the same."""
    with started(folder, [(make, COMBINED)] * count, SHORT_SESSION, dynamic=seed // 2 % 2 == 1) as cluster:
        faults = Faults(cluster)
        storm = histories.Storm(seconds, seed, replicas=3, strike=faults.strike)
        nodes = list(cluster.nodes.values())
        seen = histories.judge(nodes, folder / "histories", storm)
        compared = replicas.compare(cluster)
        replicas.compare_metadata(cluster)
        return f"{seen}; {faults.words()}; {compared} bytes in every replica"
