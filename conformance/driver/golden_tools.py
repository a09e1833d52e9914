"""The golden file of the command-line tools: its commands run by Apache Kafka's own tools against its
own broker. Run as a program it writes the file anew; the suite compares."""

import os
import re
import tempfile
import time
from pathlib import Path

import brokers
from clients import CONFORMANCE, LIBS
from kafka_tools import KafkaTools

GOLDEN = CONFORMANCE.parent / "crates/ottla/testdata/kafka-4.3.1/tools.txt"
CLASSES = {
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "topics": "org.apache.kafka.tools.TopicCommand",
}
# As the node of crates/ottla/tests/tools has it.
PROPERTIES = {"offsets.topic.num.partitions": "1", "group.initial.rebalance.delay.ms": "0"}


def commands(text):
    """Each command with the lines that it shall read, and those that it printed once."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], [], []))
        elif line.startswith("> "):
            found[-1][1].append(line[2:])
        elif line.startswith("| "):
            found[-1][2].append(line[2:])
    return found


def masked(printed, server):
    """Topic ids and addresses are another's each time."""
    lines = []
    for line in printed.replace(server, "<server>").splitlines():
        line = re.sub(r"TopicId: [^\t]*", "TopicId: <id>", line)
        lines.append(re.sub(r"(<server>  \(1\)) +", r"\1 ", line))
    return lines


def run_settled(tools, broker, command, lines, before):
    """What the tool prints. A broker applies a setting a while after it has acknowledged it: what only
    describes is asked again before it is believed to have changed."""
    name, *words = command.split(" ")
    stdin = "".join(f"{line}\n" for line in lines).encode()
    arguments = ["--bootstrap-server", broker.bootstrap, *words]
    for _ in range(10 if "--describe" in words else 1):
        printed, code = tools.run(CLASSES[name], *arguments, stdin=stdin)
        printed = masked(printed, broker.bootstrap)
        if printed == before:
            break
        time.sleep(0.2)
    return printed, code


def made_by_kafka(text, folder):
    """The same commands with what Apache Kafka's tools print now."""
    broker = brokers.Kafka(folder / "golden-tools", PROPERTIES)
    written = []
    try:
        broker.format()
        broker.start()
        with KafkaTools() as tools:
            for command, lines, before in commands(text):
                printed, code = run_settled(tools, broker, command, lines, before)
                written.append(f"$ {command}")
                written += [f"> {line}" for line in lines]
                written += [f"| {line}" for line in printed]
                written += [f"? {code}"] * (code != 0)
        broker.stop()
    finally:
        broker.remove()
    return "".join(f"{line}\n" for line in written)


def compare(folder):
    """The golden file is what Apache Kafka's tools print."""
    text = GOLDEN.read_text()
    made = made_by_kafka(text, folder)
    pairs = zip(text.splitlines(), made.splitlines())
    differing = [f"{old!r} is now {new!r}" for old, new in pairs if old != new]
    assert text == made, f"the golden file of the tools: {'; '.join(differing[:3]) or 'its length'}"


if __name__ == "__main__":
    os.environ.setdefault("KAFKA_LIBS", str(LIBS))
    with tempfile.TemporaryDirectory(prefix="golden-tools-") as folder:
        GOLDEN.write_text(made_by_kafka(GOLDEN.read_text(), Path(folder)))
