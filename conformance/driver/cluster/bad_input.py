"""What must not join a cluster, or be formatted over: refused in words, and left as it is."""

import hashlib
import json
import subprocess

from brokers import Ottla

from .nodes import BROKER, SHORT_SESSION, apart, random_id, started

END_SECONDS = 60
STALE_BROKER_EPOCH = 77


def files(folder):
    """What is in a folder; a lock is taken before anything is looked at."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def refused(command, words):
    """The command fails, and says why on one line."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=END_SECONDS)
    printed = done.stdout + done.stderr
    assert done.returncode not in (0, -6, 101), f"ended with {done.returncode}: {printed[-600:]}"
    assert any(all(word in line for word in words) for line in printed.splitlines()), printed[-900:]


def ends_by_itself(node, words):
    node.spawn()
    assert node.process.wait(END_SECONDS) not in (0, 101), node.tail()
    lines = node.tail().splitlines()
    assert any(all(word in line for word in words) for line in lines), node.tail()


def one_node(folder):
    """A node that has never been formatted."""
    node = Ottla(folder)
    node.id = 1
    return node


def unformatted(folder):
    node = one_node(folder / "node")
    refused(node.start_command(), ["No readable meta.properties"])
    (node.folder / "data").mkdir()
    refused(node.start_command(), ["No readable meta.properties"])
    assert not files(node.folder / "data"), "it was formatted by a start"


def foreign_directory(folder):
    """Another node's, and another cluster's: neither started on nor formatted over."""
    node = one_node(folder / "node")
    node.format()
    data = node.folder / "data"
    before = files(data)
    node.write_properties({"node.id": "2"})
    refused(node.start_command(), ["has node.id 1", "has 2"])
    cluster = ["-t", random_id(), "-c", str(node.config)]
    storage = [node.start_command()[0], "storage", "format", "--standalone"]
    refused([*storage, *cluster], ["already formatted"])
    refused([*storage, "--ignore-formatted", *cluster], ["Invalid cluster.id"])
    second = node.folder / "second"
    node.write_properties({"log.dirs": f"{data},{second}"})
    other = one_node(folder / "other")
    other.write_properties({"log.dirs": str(second)})
    other.format()
    refused(node.start_command(), ["has cluster.id"])
    assert files(data) == before, "a directory that was refused has changed"


def of_another_cluster(folder):
    """It is formatted for another cluster than its controllers are of."""
    timeout = {"initial.broker.registration.timeout.ms": "4000"}
    with started(folder / "cluster", apart(2, 1), SHORT_SESSION | timeout) as cluster:
        stranger = added(cluster, folder / "stranger", 7)
        stranger.format(random_id(), ())
        ends_by_itself(stranger, ["belongs to another cluster", cluster.controllers[0].controller])
        assert cluster.live() == {1, 2}


def of_one_id(folder):
    """Two brokers call themselves 2: the first stays, the second gives up."""
    timeout = {"initial.broker.registration.timeout.ms": "4000"}
    with started(folder / "cluster", apart(2, 1), SHORT_SESSION | timeout) as cluster:
        twin = added(cluster, folder / "twin", 2)
        cluster.format(twin)
        ends_by_itself(twin, ["another broker with node.id 2 is alive"])
        assert cluster.live() == {1, 2}
        cluster.create_topic("after", replicas=2)


def added(cluster, folder, number):
    """One more broker with a configuration of the cluster, which does not count it among its own."""
    node = Ottla(folder)
    node.id, node.roles = number, BROKER
    cluster.configure(node)
    return node


def stale_epoch(folder):
    """What a broker says in the name of an earlier life of its own is refused, and nothing follows from it."""
    with started(folder, apart(3, 1), SHORT_SESSION) as cluster:
        cluster.create_topic("topic", partitions=1)
        broker = cluster.brokers[0]
        broker.stop()
        left = json.loads((broker.folder / "data/.kafka_cleanshutdown").read_text())
        cluster.start_again([broker])
        earlier = {"BrokerId": broker.id, "BrokerEpoch": left["brokerEpoch"]}
        for api, version, more in (
            ("BrokerHeartbeat", 1, {"WantFence": True}),
            # Of no topics at all it is not asked in whose name.
            ("AlterPartition", 3, {"Topics": [{"Partitions": [{"PartitionIndex": 0}]}]}),
            ("AllocateProducerIds", 0, {}),
        ):
            answer = cluster.ask_controller(api, version, earlier | more)
            assert answer["ErrorCode"] == STALE_BROKER_EPOCH, f"{api}: {answer}"
        assert cluster.live() == {1, 2, 3}


CASES = {
    "an unformatted directory": unformatted,
    "the directory of another node, and of another cluster": foreign_directory,
    "a broker that is formatted for another cluster": of_another_cluster,
    "a second broker of one id": of_one_id,
    "a broker epoch of an earlier life": stale_epoch,
}
