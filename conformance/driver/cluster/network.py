"""Nodes in network namespaces of their own, whose ways to each other can be cut, one direction at a time.

It needs root: namespaces, a bridge and its addresses are made, and removed again. Nothing else is touched.
"""

import contextlib
import itertools
import os
import subprocess
import time

from .load import judged
from .nodes import COMBINED, SHORT_SESSION, started, until

TOPIC = "load"
# An address that nobody has: what is sent there is lost without a word, as on a broken wire.
NOWHERE = "02:00:00:00:00:fe"


def ip(*words, within=None):
    """One command of iproute2."""
    prefix = ["ip", "netns", "exec", within] if within else []
    done = subprocess.run([*prefix, "ip", *words], capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Network:
    """A bridge in a subnet of its own; the clients are at its first address, node N at ten more than N.

    A namespace lives on, with its links, while a connection of a node that was killed waits for an answer; so links
    are deleted by themselves, and no name is used twice.
    """

    numbers = itertools.count()

    def __init__(self):
        number = os.getpid()
        self.name = f"ot{number}{next(self.numbers):x}"
        self.subnet = f"10.{200 + number // 250 % 50}.{number % 250}"
        self.bridge = f"{self.name}b"
        self.namespaces, self.links, self.cuts = [], [], []

    def __enter__(self):
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.subnet}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        return self

    def __exit__(self, *_):
        for link in (*self.links, self.bridge):
            with contextlib.suppress(OSError):
                ip("link", "del", link)
        for namespace in self.namespaces:
            with contextlib.suppress(OSError):
                ip("netns", "del", namespace)

    def namespace(self, node):
        return f"{self.name}n{node.id}"

    def place(self, node):
        """Gives the node a namespace with an address."""
        namespace, link = self.namespace(node), f"{self.name}v{node.id}"
        ip("netns", "add", namespace)
        self.namespaces.append(namespace)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        self.links.append(link)
        ip("link", "set", link, "master", self.bridge, "up")
        node.host = f"{self.subnet}.{10 + node.id}"
        ip("link", "set", "lo", "up", within=namespace)
        ip("addr", "add", f"{node.host}/24", "dev", "eth0", within=namespace)
        ip("link", "set", "eth0", "up", within=namespace)
        node.within = ("ip", "netns", "exec", namespace)

    def cut(self, sender, receiver):
        """What one node sends to the other is lost from now on."""
        self.cuts.append((self.namespace(sender), receiver.host))
        to = ("neigh", "replace", receiver.host, "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent")
        ip(*to, within=self.namespace(sender))

    def cut_both_ways(self, node, others):
        for other in others:
            self.cut(node, other)
            self.cut(other, node)

    def heal(self):
        for namespace, host in self.cuts:
            ip("neigh", "del", host, "dev", "eth0", within=namespace)
        self.cuts.clear()


def leader_alone(network, cluster):
    """Clients reach it yet, and no other node does: it may acknowledge nothing that would be lost."""
    leader, others = leader_and_others(cluster)
    network.cut_both_ways(leader, others)
    another_leads(cluster, leader, others)


def leader_unheard(network, cluster):
    """It hears the others, and none hears it."""
    leader, others = leader_and_others(cluster)
    for other in others:
        network.cut(leader, other)
    another_leads(cluster, leader, others)


def leader_deaf(network, cluster):
    """The others hear it, and it hears none."""
    leader, others = leader_and_others(cluster)
    for other in others:
        network.cut(other, leader)
    another_leads(cluster, leader, others)


def controller_alone(network, cluster):
    """The others elect another, that decides."""
    active = cluster.active_controller()
    others = [node for node in cluster.nodes.values() if node is not active]
    network.cut_both_ways(active, others)
    until(
        "another is active",
        lambda: cluster.quorum(others[0])["LeaderId"] not in (active.id, -1),
    )


def all_apart(network, cluster):
    """Nobody has a majority: nothing can be decided until it is over."""
    nodes = list(cluster.nodes.values())
    for number, node in enumerate(nodes):
        network.cut_both_ways(node, nodes[number + 1 :])
    time.sleep(6)


def minority_alone(network, cluster):
    """The leader and one more of five reach each other and the clients, and nobody else."""
    leader, others = leader_and_others(cluster)
    for node in (leader, others[0]):
        network.cut_both_ways(node, others[1:])
    another_leads(cluster, leader, others[1:])


def ring(network, cluster):
    """Each of five reaches a majority, its two neighbours, and no two reach the same: whoever is elected, not all hear of it."""
    nodes = list(cluster.nodes.values())
    for number, node in enumerate(nodes):
        network.cut_both_ways(node, [nodes[(number + 2) % len(nodes)]])
    time.sleep(6)


def leader_and_others(cluster):
    leader = cluster.leader(TOPIC)
    return leader, [node for node in cluster.nodes.values() if node is not leader]


def another_leads(cluster, leader, others):
    def led():
        found = [cluster.partition(TOPIC, 0, node) for node in others]
        return all(one.leader not in (leader.id, -1) for one in found)

    until("another leads, as the others know", led)


def cut_off(folder, make, client, cut):
    """Load by a client that reaches every node; the cut lasts until its end is reached and for two seconds more."""
    layout = [(make, COMBINED)] * (5 if cut in OF_FIVE else 3)
    with Network() as network, started(
        folder, layout, SHORT_SESSION, dynamic=True, place=network.place
    ) as cluster:
        cluster.create_topic(TOPIC)
        with judged(cluster, TOPIC, 9, client) as load:
            time.sleep(1)
            cut(network, cluster)
            time.sleep(2)
            network.heal()
        return f"longest stall {load.longest_stall():.1f} s"


CUTS = {
    "a leader alone": leader_alone,
    "a leader that none hears": leader_unheard,
    "a leader that hears none": leader_deaf,
    "the active controller alone": controller_alone,
    "each alone": all_apart,
    "the leader in a minority of five": minority_alone,
    "five in a ring": ring,
}
OF_FIVE = (minority_alone, ring)
