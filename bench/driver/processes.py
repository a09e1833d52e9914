"""The two brokers as the benchmark runs them, what they cost, and the programs that drive them."""

import json
import mmap
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(BENCH.parent / "conformance/driver"))

import brokers  # noqa: E402
from clients import LIBS  # noqa: E402

import wire  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
# What is deleted is to be gone before the next figure is taken, on both.
PROPERTIES = {"log.segment.delete.delay.ms": "1000"}
# As Apache Kafka's own start script has it.
JVM = [
    *("-Xms1g", "-Xmx1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
    *("-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"),
    *("-XX:MaxInlineLevel=15", "-Djava.awt.headless=true"),
]


class Measured:
    """What can be told of a running broker from outside."""

    def cpu_seconds(self):
        """User and system time so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def launch(self):
        """Starts the process without waiting for it."""
        self.log = open(self.folder / "broker.log", "ab")
        self.process = subprocess.Popen(
            self.start_command(), stdout=self.log, stderr=self.log, cwd=self.folder
        )

    def start_until(self, is_ready, seconds=300):
        """Starts the broker; the seconds until its answers are as wanted."""
        started = time.monotonic()
        self.launch()
        while time.monotonic() - started < seconds:
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended at once:\n{self.tail()}")
            try:
                with wire.Connection(self.port) as connection:
                    while not is_ready(connection):
                        time.sleep(0.005)
                return time.monotonic() - started
            except OSError:
                time.sleep(0.001)
        raise RuntimeError(f"no answer within {seconds} s:\n{self.tail()}")


class Ottla(Measured, brokers.Ottla):
    def __init__(self, folder):
        super().__init__(folder, PROPERTIES)


class Kafka(Measured, brokers.Kafka):
    def __init__(self, folder):
        super().__init__(folder, PROPERTIES)

    def start_command(self):
        libraries = os.environ["KAFKA_LIBS"] + "/*"
        return ["java", *JVM, "-cp", libraries, "kafka.Kafka", str(self.config)]


class Pair:
    """Both brokers, formatted, in folders next to each other on one disk."""

    def __init__(self, folder):
        root = Path(tempfile.mkdtemp(prefix="ottla-bench-", dir=folder))
        self.root = root
        self.kafka = Kafka(root / "kafka")
        self.ottla = Ottla(root / "ottla")
        for broker in self:
            broker.format()

    def __iter__(self):
        return iter((self.kafka, self.ottla))

    def start(self):
        for broker in self:
            broker.start_until(wire.answers)
        return self

    def remove(self):
        for broker in self:
            broker.remove()
        self.root.rmdir()


def use_memory(gib):
    """Has the machine use as much memory as is to be written next, and gives it back.

    A virtual machine returns memory that lies idle to its host. Whoever touches it first pays for it: more than a
    second of CPU time a GiB was seen, which is neither broker's work, and would be part of what both are charged.
    """
    bytes_used = int((gib * 1.2 + 0.25) * (1 << 30)) // mmap.PAGESIZE * mmap.PAGESIZE
    with mmap.mmap(-1, bytes_used) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, bytes_used, mmap.PAGESIZE):
            memory[at] = 1


def java(*arguments):
    """A Java client, as fast as the machine makes it."""
    libraries = str(os.environ.get("KAFKA_LIBS", LIBS)) + "/*"
    return ["java", "-Xmx1g", "-XX:+UseSerialGC", "-cp", libraries, *arguments]


def run(command, timeout=3600):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        error = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{' '.join(command[-12:])} ended with {done.returncode}: {error}")
    return done.stdout


def tool(name, broker, *arguments):
    server = ("--bootstrap-server", broker.bootstrap)
    return run(java(f"org.apache.kafka.tools.{name}", *server, *arguments))


def client(command, **options):
    """The native client; returns what it measured."""
    words = [word for name, value in options.items() for word in option(name, value)]
    return json.loads(run([os.environ["BENCH_CLIENT"], command, *words]))


def option(name, value):
    return f"--{name.replace('_', '-')}", str(value)


def create(broker, topic, partitions=6, **settings):
    # Both brokers get the topic by the same native tool: half a second less a time than by Java's.
    words = [word for name, value in settings.items() for word in ("--config", f"{name}={value}")]
    command = [os.environ["OTTLA"], "topics", "--bootstrap-server", broker.bootstrap, "--create"]
    run([*command, "--topic", topic, "--partitions", str(partitions), *words])
    with wire.Connection(broker.port) as connection:
        for is_ready in (wire.is_described(topic, partitions), wire.has_ends(topic, partitions)):
            while not is_ready(connection):
                time.sleep(0.02)


def delete(broker, topic):
    command = [os.environ["OTTLA"], "topics", "--bootstrap-server", broker.bootstrap, "--delete"]
    run([*command, "--topic", topic])
    deadline = time.monotonic() + 60
    while any((broker.folder / "data").glob(f"{topic}-*")):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the files of {topic} are still there")
        time.sleep(0.2)


def produce(broker, topic, size, count, *properties, rate=-1):
    """Apache Kafka's ProducerPerformance; returns MiB a second."""
    words = [word for value in properties for word in ("--command-property", value)]
    printed = tool(
        "ProducerPerformance",
        broker,
        *("--topic", topic, "--num-records", str(count), "--record-size", str(size)),
        *("--throughput", str(rate), "--command-property", "acks=all"),
        *("--command-property", "batch.size=65536", "--command-property", "linger.ms=5"),
        *words,
    )
    return float(re.findall(r"\(([\d.]+) MB/sec\)", printed)[-1])


def consume(broker, topic, count):
    """Apache Kafka's ConsumerPerformance; returns MiB a second, the time to join its group left out."""
    printed = tool(
        "ConsumerPerformance",
        broker,
        *("--topic", topic, "--num-records", str(count), "--timeout", "60000"),
        *("--group", f"{topic}-{time.monotonic_ns()}", "--hide-header"),
    )
    fields = [field.strip() for field in printed.strip().splitlines()[-1].split(",")]
    if int(fields[4]) < count:
        raise RuntimeError(f"of {count} records {fields[4]} came")
    return float(fields[8])
