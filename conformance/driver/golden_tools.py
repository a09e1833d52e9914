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
    "acls": "org.apache.kafka.tools.AclCommand",
    "broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
    "cluster": "org.apache.kafka.tools.ClusterTool",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "delegation-tokens": "org.apache.kafka.tools.DelegationTokenCommand",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "groups": "org.apache.kafka.tools.GroupsCommand",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "share-groups": "org.apache.kafka.tools.consumer.group.ShareGroupCommand",
    "streams-groups": "org.apache.kafka.tools.streams.StreamsGroupCommand",
    "topics": "org.apache.kafka.tools.TopicCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
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


# What is another's each time, ids and addresses and the like: a pattern, a tab, what takes its place.
MASKS = [
    line.split("\t", 1)
    for line in GOLDEN.with_suffix(".masks").read_text().splitlines()
]


def masked(printed, server):
    """The lines without what is another's each time."""
    lines = []
    for line in printed.replace(server, "<server>").splitlines():
        for pattern, replacement in MASKS:
            line = re.sub(pattern, replacement.replace("$", "\\"), line)
        lines.append(line)
    return lines


def arguments_of(words, server, path):
    """The arguments of a tool. `@FILE` is a file with the lines that belong to the command; the tool
    of the cluster takes its options after its command only."""
    words = [path if word == "@FILE" else word for word in words]
    place = 1 if words and words[0] in ("cluster-id", "list-endpoints", "unregister") else 0
    return [*words[:place], "--bootstrap-server", server, *words[place:]]


def run_settled(tools, broker, command, lines, before):
    """What the tool prints. A broker applies a setting a while after it has acknowledged it: what only
    describes is asked again before it is believed to have changed."""
    name, *words = command.split(" ")
    stdin = "".join(f"{line}\n" for line in lines).encode()
    path = broker.folder / "input.json"
    path.write_bytes(stdin)
    arguments = arguments_of(words, broker.bootstrap, str(path))
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
