"""The brokers that the clients speak to: Ottla's release binary, or Apache Kafka to check the
cases themselves. Each has a free port and a folder of its own, and only what was started here is
ever killed."""

import contextlib
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

START_SECONDS = 180
LOG4J = Path(__file__).resolve().parent.parent / "java/src/main/resources/log4j2.properties"


# Below the ports that Linux gives to connections: none takes a broker's while it is being restarted.
PORTS = range(10_000, 32_000)
given_ports = set()


def free_ports(count):
    """Ports that nobody listens on, and that no other node of this run was given."""
    ports = []
    for port in random.sample(PORTS, 1000):
        if len(ports) == count:
            break
        if port in given_ports:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            given_ports.add(port)
            ports.append(port)
    return ports


def served(port):
    """The keys of the APIs that a broker says it serves: ApiVersions in its first version."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        request = struct.pack(">hhih", 18, 0, 1, -1)
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            _, _, count = struct.unpack_from(">ihi", answer.read(10))
            body = answer.read(size - 10)
    return {key for key, _, _ in struct.iter_unpack(">hhh", body[: 6 * count])}


class Broker:
    """One node, of either make, with its data in `folder`; combined, and alone, unless it is told otherwise."""

    host = "127.0.0.1"
    # Settings of this node alone.
    more = {}
    # What starts the program in another place, such as a network namespace.
    within = ()

    def __init__(self, folder: Path, properties=None):
        self.folder = folder
        self.port, self.controller_port = free_ports(2)
        self.roles = "broker,controller"
        self.is_paused = False
        self.process = None
        self.restarts = 0
        folder.mkdir(parents=True)
        self.write_properties(properties or {})

    @property
    def bootstrap(self):
        return f"{self.host}:{self.port}"

    @property
    def controller(self):
        """Where its controller listens."""
        return f"{self.host}:{self.controller_port}"

    @property
    def listens_at(self):
        """The port by which it is seen to have started."""
        return self.port if "broker" in self.roles else self.controller_port

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def may_answer(self):
        return self.is_running and not self.is_paused

    @property
    def config(self):
        return self.folder / "server.properties"

    def write_properties(self, more):
        """The settings of a node that is alone, with `more` in their place; None leaves one out."""
        listeners = f"PLAINTEXT://{self.bootstrap},CONTROLLER://{self.controller}"
        values = {
            "process.roles": self.roles,
            "node.id": "1",
            "controller.quorum.bootstrap.servers": self.controller,
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "100",
            **more,
        }
        lines = [f"{name}={value}\n" for name, value in values.items() if value is not None]
        self.config.write_text("".join(lines))

    def start(self):
        self.spawn()
        self.await_listening()

    def spawn(self):
        """Begin to start; in a cluster a node may wait for others."""
        with open(self.folder / "broker.log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.within, *self.start_command()], stdout=log, stderr=log, cwd=self.folder
            )

    def await_listening(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended at once:\n{self.tail()}")
            try:
                socket.create_connection((self.host, self.listens_at), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"the broker did not listen in {START_SECONDS} s:\n{self.tail()}")

    def kill(self):
        """kill -9: whatever was not written is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.is_paused = False

    def pause(self):
        """It does nothing more, and its connections stay, until `resume`."""
        self.process.send_signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.is_paused = False

    def taken_over_by(self, make):
        """The other program on this one's folder and configuration; this one must have ended."""
        other = make.__new__(make)
        other.__dict__.update(self.__dict__)
        other.process = None
        return other

    def stop(self):
        """A clean stop; an unclean end is an error."""
        if not self.is_running:
            return
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        if code not in (0, 143, -signal.SIGTERM):
            raise RuntimeError(f"the broker ended with {code}:\n{self.tail()}")

    def tail(self):
        lines = (self.folder / "broker.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-30:])

    def remove(self):
        if self.is_running:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Ottla(Broker):
    """The release binary; its path comes from the environment variable OTTLA."""

    name = "ottla"

    def format(self, cluster=None, how=("--standalone",)):
        """For a cluster of that id, or a new one; `how` says who its controllers are."""
        cluster = cluster or run([os.environ["OTTLA"], "storage", "random-uuid"]).strip()
        storage = [os.environ["OTTLA"], "storage", "format"]
        run([*storage, *how, "-t", cluster, "-c", str(self.config)])

    def start_command(self):
        return [os.environ["OTTLA"], "start", str(self.config)]


class Kafka(Broker):
    """Apache Kafka itself; the folder of its jars comes from KAFKA_LIBS. It logs where `logs` is
    set, and is silent without: the binding for its logger lies beside its jars."""

    name = "kafka"
    logs = False

    def java(self, *arguments):
        libs = Path(os.environ["KAFKA_LIBS"])
        # It judges, and is not measured: what matters is that it starts soon.
        path, options = f"{libs}/*", ["-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        if self.logs:
            path += f":{libs.parent / 'logging'}/*"
            options.append(f"-Dlog4j2.configurationFile={LOG4J}")
        return ["java", *options, "-cp", path, *arguments]

    def format(self, cluster=None, how=("--standalone",)):
        """As Ottla's."""
        tool = "kafka.tools.StorageTool"
        cluster = cluster or run(self.java(tool, "random-uuid")).strip().splitlines()[-1]
        run(self.java(tool, "format", *how, "-t", cluster, "-c", str(self.config)))

    def start_command(self):
        return self.java("kafka.Kafka", str(self.config))


def run(command):
    """Run a command to its end and return what it printed; failure is an error with its words."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
