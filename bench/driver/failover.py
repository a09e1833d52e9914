"""How long a partition takes no records when its leader is killed with kill -9, all settings at their defaults.

The client sends one record at a time to each partition that the killed node led, and looks for its leader again after
each refusal. So the time is the cluster's, without a client's waits.
"""

import struct
import time

from clustered import both
from flexible import batch

# Where the conformance driver is, `processes` says.
from cluster.nodes import asked, until  # isort: skip

TOPIC, PARTITIONS = "failover", 6
PREFERRED = 0
PRODUCE_VERSION = 9
GIVE_UP_SECONDS = 120
# Between a start and the next kill: a node that has just started is no example of one that has run for days.
RUN_SECONDS = 12


def failover(session):
    with both(session) as clusters:
        for cluster in clusters:
            cluster.create_topic(TOPIC, partitions=PARTITIONS)
        for _ in range(session.form.memory_rounds):
            for is_active in (False, True):
                label = "s without a leader" + (", the active controller too" if is_active else "")
                # Both run on meanwhile; the measured times follow each other.
                prepare(clusters)
                for cluster in clusters:
                    node = victim(cluster, is_active)
                    yield label, cluster.name, seconds_without(cluster, node)
                    cluster.start_again([node])


def prepare(clusters):
    """Every replica is in sync, and each node leads some partitions."""
    for cluster in clusters:
        cluster.until_in_sync()
        election = {"ElectionType": PREFERRED, "TopicPartitions": None, "TimeoutMs": 30_000}
        cluster.ask("ElectLeaders", 2, election)
        until("the preferred lead", lambda cluster=cluster: leads_as_preferred(cluster))
    time.sleep(RUN_SECONDS)


def leads_as_preferred(cluster):
    return all(one.leader == one.replicas[0] for one in cluster.partitions(TOPIC))


def victim(cluster, is_active):
    active = cluster.active_controller()
    led = {one.leader for one in cluster.partitions(TOPIC)}
    fits = (node for node in cluster.brokers if node.id in led and (node is active) == is_active)
    return next(fits)


def seconds_without(cluster, node):
    """From the kill until a record is acknowledged in each partition that the node led."""
    left = [one.number for one in cluster.partitions(TOPIC) if one.leader == node.id]
    began = time.monotonic()
    node.kill()
    while left:
        left = [number for number in left if not takes_a_record(cluster, number)]
        if time.monotonic() - began > GIVE_UP_SECONDS:
            raise RuntimeError(f"{cluster.name}: no record was taken in {GIVE_UP_SECONDS} s by {left}")
        time.sleep(0.005)
    return time.monotonic() - began


def takes_a_record(cluster, number):
    """Whether a record is acknowledged by all in sync; a node that is gone, or leads no more, takes none."""
    data = {"Index": number, "Records": batch()}
    body = {"Acks": -1, "TimeoutMs": 30_000, "TopicData": [{"Name": TOPIC, "PartitionData": [data]}]}
    try:
        leader = cluster.nodes.get(cluster.partition(TOPIC, number).leader)
        if leader is None or not leader.is_running:
            return False
        answer = asked(leader.bootstrap, "Produce", PRODUCE_VERSION, body)
    except (OSError, LookupError, struct.error):
        return False
    return answer["Responses"][0]["PartitionResponses"][0]["ErrorCode"] == 0


FIGURES = {"failover": failover}
MINUTES = {"failover": 5}
