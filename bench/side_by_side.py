"""Apache Kafka and Ottla in turn, driven by the same Java clients; see README.md."""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "conformance/driver"))

import brokers  # noqa: E402
from clients import LIBS, run, tool  # noqa: E402

GIB = 1 << 30
PARTITIONS = 6
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(process):
    """User and system time of the broker so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(process):
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def first_answer(broker):
    """Seconds from the start to the first answer to a client."""
    started = time.monotonic()
    broker.start()
    return time.monotonic() - started


def create(broker, topic):
    run(
        tool(
            "TopicCommand",
            *("--bootstrap-server", broker.bootstrap, "--create", "--topic", topic),
            *("--partitions", str(PARTITIONS)),
        )
    )


def produce(broker, topic, size, count):
    run(
        tool(
            "ProducerPerformance",
            *("--topic", topic, "--num-records", str(count), "--record-size", str(size)),
            *("--throughput", "-1", "--bootstrap-server", broker.bootstrap),
            *("--command-property", "acks=all", "--command-property", "batch.size=65536"),
            *("--command-property", "linger.ms=5"),
        ),
        timeout=1800,
    )


def consume(broker, topic, count, group):
    run(
        tool(
            "ConsumerPerformance",
            *("--topic", topic, "--num-records", str(count)),
            *("--bootstrap-server", broker.bootstrap, "--group", group, "--timeout", "60000"),
        ),
        timeout=1800,
    )


def measure(make, folder, options):
    """One round of one broker: a figure by name."""
    broker = make(folder / make.name)
    figures = {}
    try:
        broker.format()
        figures["start to listening, s"] = first_answer(broker)
        time.sleep(2)
        figures["resident memory idle, MiB"] = resident_mib(broker.process)
        for size, label in ((1024, "1-KiB"), (100, "100-byte")):
            gib = options.gib if size == 1024 else options.gib / 4
            count = int(gib * GIB / size)
            topic = f"records-{size}"
            create(broker, topic)
            # The first part warms the broker up and is not counted.
            produce(broker, topic, size, count // 4)
            before = cpu_seconds(broker.process)
            produce(broker, topic, size, count)
            spent = cpu_seconds(broker.process) - before
            figures[f"CPU-s per GiB in, {label} records, acks=all"] = spent / gib
            consume(broker, topic, count // 4, f"{topic}-warm")
            before = cpu_seconds(broker.process)
            consume(broker, topic, count, f"{topic}-counted")
            spent = cpu_seconds(broker.process) - before
            figures[f"CPU-s per GiB out, {label} records"] = spent / gib
        figures["resident memory loaded, MiB"] = resident_mib(broker.process)
        broker.stop()
    finally:
        broker.remove()
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2, help="data volume of a figure")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of the two brokers")
    options = parser.parse_args()
    os.environ.setdefault("OTTLA", str(HERE.parent / "target/release/ottla"))
    os.environ["KAFKA_LIBS"] = str(LIBS)
    taken = {brokers.Kafka: [], brokers.Ottla: []}
    for number in range(options.rounds):
        for make, rows in taken.items():
            folder = Path(tempfile.mkdtemp(prefix="bench-"))
            try:
                rows.append(measure(make, folder, options))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            print(f"round {number + 1} of {options.rounds}: {make.name} {rows[-1]}", file=sys.stderr)
    print(f"{'':46} {'Apache Kafka':>12} {'Ottla':>9} {'ratio':>7}   spread of the ratio")
    for name in taken[brokers.Kafka][0]:
        theirs = [row[name] for row in taken[brokers.Kafka]]
        ours = [row[name] for row in taken[brokers.Ottla]]
        ratios = [a / b for a, b in zip(ours, theirs)]
        print(
            f"{name:46} {statistics.median(theirs):12.3f} {statistics.median(ours):9.3f}"
            f" {statistics.median(ratios):7.3f}   {min(ratios):.3f} to {max(ratios):.3f}"
        )


if __name__ == "__main__":
    main()
