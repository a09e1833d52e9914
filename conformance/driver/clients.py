"""The clients that others wrote, each a program with the commands of `conformance/README.md`."""

import os
import subprocess
import sys
from pathlib import Path

CONFORMANCE = Path(__file__).resolve().parent.parent
WORK = CONFORMANCE / ".work"
LIBS = WORK / "libs"


def python(adapter):
    return [sys.executable, str(CONFORMANCE / "clients/python/cases.py"), adapter]


def java(*arguments):
    """A Java command with Apache Kafka's jars and the client of the cases on its class path."""
    options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return ["java", *options, "-cp", f"{WORK / 'java'}:{LIBS}/*", *arguments]


def tool(name, *arguments):
    """One of Apache Kafka's own command-line tools."""
    return java(f"org.apache.kafka.tools.{name}", *arguments)


CLIENTS = {
    "java": java("ottla.conformance.Client"),
    "librdkafka (confluent-kafka)": python("confluent"),
    "librdkafka (rdkafka crate)": [str(WORK / "rdkafka/release/ottla-conformance-rdkafka")],
    "franz-go": [str(WORK / "franz")],
    "kafka-python": python("kafka_python"),
    "aiokafka": python("aiokafka"),
    "kafkajs": ["node", str(CONFORMANCE / "clients/node/client.mjs")],
}


# Those that consume by the consumer protocol too, where `copy` is told to.
CONSUMER_PROTOCOL = ("java", "librdkafka (confluent-kafka)", "librdkafka (rdkafka crate)", "franz-go")


def run(command, timeout=300, stdin=None):
    """Run a client command to its end; returns its standard output, or fails with its words."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, timeout=timeout, env=os.environ
    )
    if done.returncode != 0:
        error = done.stderr.decode(errors="replace")[-1500:]
        raise RuntimeError(f"{' '.join(command[-4:])} ended with {done.returncode}: {error}")
    return done.stdout
