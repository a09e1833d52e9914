"""A cluster of nodes of either make on loopback ports, and what is asked of it from outside."""

import base64
import contextlib
import shutil
import sys
import time
import uuid
from dataclasses import dataclass

import brokers
from clients import CONFORMANCE

sys.path.append(str(CONFORMANCE / "differential"))
from judge.conversation import Conversation  # noqa: E402

PATIENCE_SECONDS = 90
COMBINED, BROKER, CONTROLLER = "broker,controller", "broker", "controller"
METADATA_LOG = "__cluster_metadata"

# Internal topics are as safe as the others, and few enough to be made soon; members of groups miss each other soon.
SETTINGS = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    "share.coordinator.state.topic.num.partitions": "3",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "6000",
}
# A node that is gone is missed in three seconds instead of nine.
SHORT_SESSION = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}


@dataclass(frozen=True)
class Partition:
    topic: str
    number: int
    leader: int
    leader_epoch: int
    replicas: tuple
    isr: tuple

    def __str__(self):
        return f"{self.topic}-{self.number}"


def until(what, condition, seconds=PATIENCE_SECONDS):
    """Wait until it holds; what it gives. A cluster that cannot be asked for now is asked again."""
    deadline = time.monotonic() + seconds
    failure = ""
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except (OSError, LookupError, TypeError) as error:
            failure = f" ({type(error).__name__}: {error})"
        time.sleep(0.05)
    raise AssertionError(f"not seen within {seconds} s: {what}{failure}")


def asked(address, api, version, body):
    """What is answered at an address; an end of the connection is an error."""
    with contextlib.closing(Conversation(address, "cluster", version)) as conversation:
        answer = conversation.ask(api, version, body)
    if "(connection)" in answer:
        raise ConnectionResetError(f"{address} closed the connection at {api}")
    return answer


def random_id():
    """An id of a cluster or a directory, as Kafka writes it; none begins like an option."""
    while True:
        text = as_kafka_writes(uuid.uuid4())
        if not text.startswith("-"):
            return text


def as_kafka_writes(id_):
    return base64.urlsafe_b64encode(id_.bytes).decode().rstrip("=")


class Cluster:
    """Nodes 1, 2, … of the makes and roles in `layout`, with a quorum of static or of dynamic voters."""

    def __init__(self, folder, layout, settings=None, dynamic=False):
        self.folder, self.dynamic = folder, dynamic
        self.id = random_id()
        self.settings = {**SETTINGS, **(settings or {})}
        self.nodes = {}
        for number, (make, roles) in enumerate(layout, 1):
            node = make(folder / f"node-{number}")
            node.id, node.roles, node.directory_id = number, roles, random_id()
            self.nodes[number] = node

    def having(self, role):
        return [node for node in self.nodes.values() if role in node.roles.split(",")]

    @property
    def brokers(self):
        return self.having(BROKER)

    @property
    def controllers(self):
        return self.having(CONTROLLER)

    @property
    def bootstrap(self):
        return ",".join(node.bootstrap for node in self.brokers)

    @property
    def bootstrap_controllers(self):
        return ",".join(node.controller for node in self.controllers)

    # Making and ending it.

    def configure(self, node):
        quorum = ",".join(f"{one.id}@{one.controller}" for one in self.controllers)
        values = {"node.id": str(node.id)} | self.settings | node.more
        if self.dynamic:
            values["controller.quorum.bootstrap.servers"] = self.bootstrap_controllers
        else:
            values["controller.quorum.voters"] = quorum
            values["controller.quorum.bootstrap.servers"] = None
        if node.roles == BROKER:
            values["listeners"] = values["advertised.listeners"] = f"PLAINTEXT://{node.bootstrap}"
        elif node.roles == CONTROLLER:
            values["listeners"] = f"CONTROLLER://{node.controller}"
            values |= {"advertised.listeners": None, "inter.broker.listener.name": None}
        node.write_properties(values)

    def format(self, node):
        how = ()
        if self.dynamic:
            how = ("--no-initial-controllers",)
            if node in self.controllers:
                voters = (f"{one.id}@{one.controller}:{one.directory_id}" for one in self.controllers)
                how = ("--initial-controllers", ",".join(voters))
        node.format(self.id, how)

    def start(self):
        for node in self.nodes.values():
            self.configure(node)
            self.format(node)
        self.start_again(list(self.nodes.values()))

    def start_again(self, nodes):
        """Start these, and wait until all brokers are served and unfenced."""
        for node in nodes:
            node.spawn()
        for node in nodes:
            node.await_listening()
        until("all brokers are in the cluster", lambda: self.live() == {one.id for one in self.brokers})

    def stop(self):
        """A clean stop of all, the brokers first: without a quorum none may leave."""
        for node in sorted(self.nodes.values(), key=lambda one: CONTROLLER in one.roles.split(",")):
            node.stop()

    def remove(self):
        for node in self.nodes.values():
            if node.is_running:
                node.kill()

    def wipe(self, node):
        """Its disk is replaced by an empty one, formatted for this cluster."""
        shutil.rmtree(node.folder / "data")
        self.format(node)

    # Asking it.

    def ask(self, api, version, body, at=None):
        """What a node answers: the given one, or any that does."""
        failure = OSError("no node runs")
        for node in [at] if at else [node for node in self.brokers if node.may_answer]:
            try:
                return asked(node.bootstrap, api, version, body)
            except OSError as error:
                failure = error
        raise failure

    def ask_controller(self, api, version, body):
        """What the active controller answers on its own listener."""
        return asked(self.active_controller().controller, api, version, body)

    def live(self):
        """The brokers that every running broker knows to be there."""
        known = [
            {one["NodeId"] for one in self.ask("Metadata", 12, {"Topics": []}, node)["Brokers"]}
            for node in self.brokers
            if node.may_answer
        ]
        return set.intersection(*known)

    def partitions(self, topic=None, at=None):
        """All partitions, or those of one topic, as one node knows them."""
        wanted = None if topic is None else [{"Name": topic}]
        answer = self.ask("Metadata", 12, {"Topics": wanted}, at)
        return [
            Partition(
                found["Name"],
                one["PartitionIndex"],
                one["LeaderId"],
                one["LeaderEpoch"],
                tuple(one["ReplicaNodes"]),
                tuple(one["IsrNodes"]),
            )
            for found in answer["Topics"]
            for one in found["Partitions"]
        ]

    def partition(self, topic, number=0, at=None):
        for found in self.partitions(topic, at):
            if found.number == number:
                return found
        raise LookupError(f"{topic}-{number} is not known")

    def leader(self, topic, number=0):
        """The node that leads the partition, once one does."""
        led = until(
            f"{topic}-{number} has a leader",
            lambda: self.partition(topic, number).leader in self.nodes and self.partition(topic, number),
        )
        return self.nodes[led.leader]

    def quorum(self, at=None):
        """The metadata quorum as its leader describes it, asked by way of any node or of one."""
        body = {"Topics": [{"TopicName": METADATA_LOG, "Partitions": [{"PartitionIndex": 0}]}]}
        answer = self.ask("DescribeQuorum", 2, body, at)
        if answer["ErrorCode"] != 0:
            raise LookupError(f"the quorum is not described: {answer}")
        return answer["Topics"][0]["Partitions"][0]

    def active_controller(self):
        def known():
            leader = self.quorum()["LeaderId"]
            return leader in self.nodes and self.nodes[leader].may_answer and self.nodes[leader]

        return until("there is an active controller", known)

    def coordinator(self, key, kind):
        """The node that coordinates a group (0), a transactional id (1) or a share group's state (2)."""

        def known():
            answer = self.ask("FindCoordinator", 6, {"KeyType": kind, "CoordinatorKeys": [key]})
            found = answer["Coordinators"][0]
            return found["ErrorCode"] == 0 and self.nodes.get(found["NodeId"])

        return until(f"{key} has a coordinator", known)

    # Changing it.

    def create_topic(self, topic, partitions=3, replicas=None, assignments=None, **configs):
        """A topic whose every broker serves it; `assignments` says which nodes hold each partition.

        It has three replicas, or as many as there are brokers.
        """
        replicas = replicas or min(3, len(self.brokers))
        self.make_topic(topic, partitions, replicas, assignments, **configs)
        self.until_in_sync(topic)

    def make_topic(self, topic, partitions=3, replicas=3, assignments=None, **configs):
        """As `create_topic`, once the controller has decided it: a replica may be on a broker that is gone."""
        made = {"Name": topic, "NumPartitions": partitions, "ReplicationFactor": replicas}
        if assignments:
            made |= {"NumPartitions": -1, "ReplicationFactor": -1}
            made["Assignments"] = [
                {"PartitionIndex": number, "BrokerIds": list(nodes)}
                for number, nodes in enumerate(assignments)
            ]
        made["Configs"] = [
            {"Name": name.replace("_", "."), "Value": str(value)} for name, value in configs.items()
        ]
        answer = self.ask("CreateTopics", 7, {"Topics": [made], "TimeoutMs": 30_000})
        assert answer["Topics"][0]["ErrorCode"] == 0, answer

    def until_in_sync(self, topic=None):
        """Every replica is in sync, of one topic or of all, and every broker that runs knows it."""

        def whole():
            nodes = [node for node in self.brokers if node.may_answer]
            found = [one for node in nodes for one in self.partitions(topic, node)]
            return found and all(
                one.leader in self.nodes and sorted(one.isr) == sorted(one.replicas) for one in found
            )

        try:
            until("every replica is in sync", whole)
        except AssertionError as error:
            missing = [one for one in self.partitions(topic) if sorted(one.isr) != sorted(one.replicas)]
            raise AssertionError(f"{error}: {missing[:4]}") from None


def three_combined(make=brokers.Ottla):
    return [(make, COMBINED)] * 3


def apart(broker_count, controller_count, make=brokers.Ottla):
    """Brokers and controllers that are nodes of their own."""
    return [(make, BROKER)] * broker_count + [(make, CONTROLLER)] * controller_count


@contextlib.contextmanager
def started(folder, layout, settings=None, dynamic=False, place=None):
    """A cluster that serves; its folders stay until the whole run has succeeded. `place` puts each node somewhere."""
    cluster = Cluster(folder, layout, settings, dynamic)
    try:
        for node in cluster.nodes.values() if place else ():
            place(node)
        cluster.start()
        yield cluster
    except BaseException:
        for node in cluster.nodes.values():
            if node.process is not None and not node.is_running:
                print(f"node {node.id} ended with {node.process.returncode}", file=sys.stderr)
        raise
    finally:
        cluster.remove()
