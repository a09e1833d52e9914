"""Apache Kafka's nodes and Ottla's in one cluster, every role on either side."""

import time

import histories
from brokers import Kafka, Ottla

from . import replicas
from .load import WRITERS, judged
from .nodes import (
    BROKER,
    COMBINED,
    CONTROLLER,
    SHORT_SESSION,
    started,
    until,
)

TOPIC = "load"
# Each node leads a partition that the others follow.
BY_TURNS = [(1, 2, 3), (2, 3, 1), (3, 1, 2)]


class WordyKafka(Kafka):
    """It says what it does not like."""

    logs = True


def led_by_either(folder, layout, client):
    """Each node leads while the others follow; one after the other is killed, and another leads."""
    with started(folder, layout, SHORT_SESSION) as cluster:
        cluster.create_topic(TOPIC, assignments=BY_TURNS)
        with judged(cluster, TOPIC, 25, client) as load:
            for node in cluster.brokers:
                time.sleep(1)
                node.kill()
                until("others lead", lambda: all(one.leader != node.id for one in cluster.partitions(TOPIC)))
                cluster.start_again([node])
                cluster.until_in_sync()
        return f"longest stall {load.longest_stall():.1f} s"


def active_by_turns(folder, layout, client, dynamic):
    """One of each make is the active controller, one after the other, and makes something."""
    with started(folder, layout, SHORT_SESSION, dynamic=dynamic) as cluster:
        cluster.create_topic(TOPIC)
        makes = [cluster.active_controller().name]
        with judged(cluster, TOPIC, 25, client):
            time.sleep(1)
            makes.append(hand_over(cluster).name)
            cluster.create_topic("made-after")
        return f"active were {', '.join(makes)}"


def hand_over(cluster):
    """The active controller is killed, and one of the other make takes its place; which it is.

    A third one of the first's make is away while a record is committed, and so cannot be elected.
    """
    active = cluster.active_controller()
    others = [node for node in cluster.nodes.values() if node is not active]
    behind = [node for node in others if node.name == active.name]
    for node in behind:
        node.kill()
    cluster.make_topic("made-before", replicas=2)
    active.kill()
    for node in behind:
        node.spawn()

    def successor():
        found = cluster.active_controller()
        return found.name != active.name and found

    another = until("one of the other make is active", successor)
    cluster.start_again([node for node in [active, *behind] if not node.is_running])
    return another


class Migration:
    """Three nodes of one make become three of the other, one at a time, and come back."""

    def __init__(self, cluster, makes):
        self.cluster = cluster
        self.steps = [(number, make) for make in makes for number in sorted(cluster.nodes)]

    def strike(self, *_):
        number, make = self.steps.pop(0)
        node = self.cluster.nodes[number]
        node.stop()

        def start_as_other():
            other = self.cluster.nodes[number] = node.taken_over_by(make)
            self.cluster.start_again([other])
            self.cluster.until_in_sync()

        return start_as_other

    def is_over(self):
        return not self.steps


def rolling_migration(folder, seed, dynamic):
    """Three of Apache Kafka's nodes become Ottla's and become Apache Kafka's again, under clients whose histories are judged."""
    with started(folder, [(WordyKafka, COMBINED)] * 3, dynamic=dynamic) as cluster:
        migration = Migration(cluster, [Ottla, WordyKafka])
        storm = histories.Storm(
            600, seed, replicas=3, calm_seconds=(1, 2), strike=migration.strike, is_over=migration.is_over
        )
        seen = histories.judge(list(cluster.nodes.values()), folder / "histories", storm)
        assert migration.is_over(), f"not reached: {migration.steps}"
        assert all(node.name == "kafka" for node in cluster.nodes.values())
        compared = replicas.compare(cluster)
        replicas.compare_metadata(cluster)
        return f"{seen}; {compared} bytes in every replica"


# Two brokers, so that what moves goes to the other make.
ONE_OF_EACH = [(WordyKafka, BROKER), (Ottla, BROKER), (Ottla, CONTROLLER)]
TWO_REPLICAS = {
    "default.replication.factor": "2",
    "min.insync.replicas": "1",
    **{
        f"{topic}.{setting}": value
        for topic in ("transaction.state.log", "share.coordinator.state.topic")
        for setting, value in (("replication.factor", "2"), ("min.isr", "1"))
    },
    "offsets.topic.replication.factor": "2",
}


def one_of_each(folder):
    """A broker of each make, which hold a replica each of everything."""
    return started(folder, ONE_OF_EACH, {**SHORT_SESSION, **TWO_REPLICAS})


def one_and_two(folder):
    """A broker of Apache Kafka's beside two of Ottla's."""
    return started(folder, OTTLA_BROKERS, SHORT_SESSION)


OTTLA_BROKERS = [(WordyKafka, BROKER), (Ottla, BROKER), (Ottla, BROKER), (WordyKafka, CONTROLLER)]
OTTLA_CONTROLLER = [(WordyKafka, BROKER), (WordyKafka, BROKER), (Ottla, BROKER), (Ottla, CONTROLLER)]
MORE_OTTLA = [(WordyKafka, COMBINED), (Ottla, COMBINED), (Ottla, COMBINED)]
MORE_KAFKA = [(WordyKafka, COMBINED), (WordyKafka, COMBINED), (Ottla, COMBINED)]


def run(cases, options):
    """Every role on either side; then a live cluster moves over and back. In the short form one of each two, by the seed."""
    client = WRITERS[options.seed % len(WRITERS)]
    pairs = (
        (
            ("Ottla's brokers under a controller of Apache Kafka's", led_by_either, OTTLA_BROKERS, client),
            ("Apache Kafka's brokers under a controller of Ottla's", led_by_either, OTTLA_CONTROLLER, client),
        ),
        (
            ("a quorum of one of Apache Kafka's and two", active_by_turns, MORE_OTTLA, client, False),
            ("a quorum of two of Apache Kafka's and one", active_by_turns, MORE_KAFKA, client, True),
        ),
        (
            ("a live cluster moves over and back", rolling_migration, options.seed, False),
            ("one of dynamic voters moves over and back", rolling_migration, options.seed, True),
        ),
    )
    for pair in pairs:
        for name, case, *given in pair if options.long else [pair[options.seed % 2]]:
            cases.run(name, case, *given)
