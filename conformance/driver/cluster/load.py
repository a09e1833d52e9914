"""Clients that write while a cluster suffers, and what is checked afterwards."""

import contextlib

import crash
from clients import CLIENTS

from . import replicas

# The three that every fault is tried with in the long form; in the short one they take turns.
WRITERS = ("franz-go", "java", "librdkafka (confluent-kafka)")


@contextlib.contextmanager
def judged(cluster, topic, seconds, client):
    """The load during which the body does what it does; then all acknowledged is there, once, in every replica."""
    with crash.Load(CLIENTS[client], cluster.bootstrap, topic, seconds) as load:
        yield load
        written = load.end()
    crash.check_against(written, CLIENTS[client], cluster.bootstrap, topic)
    replicas.compare(cluster)
    replicas.compare_metadata(cluster)
