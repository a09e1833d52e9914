"""The README's tour with real input: tables of the `vega_datasets` package go in row by row through
`ottla console-producer`, and a Java and a Python client read them back, byte for byte, before and
after kill -9."""

import os
from importlib.resources import files

from confluent_kafka import Consumer, TopicPartition

from clients import run, tool

TABLES = ["sf-temps.csv", "airports.csv"]


def table(name):
    return (files("vega_datasets") / "_data" / name).read_bytes()


def rows_of(content):
    return content.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")


def read_by_java(broker, topic, count):
    output = run(
        tool(
            "consumer.ConsoleConsumer",
            *("--bootstrap-server", broker.bootstrap, "--topic", topic, "--from-beginning"),
            *("--max-messages", str(count), "--timeout-ms", "60000"),
        )
    )
    return output.rstrip(b"\n").split(b"\n")


def read_by_python(broker, topic, count):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": f"tour-{topic}"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    rows = []
    while len(rows) < count:
        messages = consumer.consume(1000, 10)
        assert messages, f"{len(rows)} rows of {count} came back"
        for message in messages:
            assert message.error() is None, message.error()
            rows.append(message.value())
    consumer.close()
    return rows


def produce(broker, topic, rows):
    ottla = os.environ["OTTLA"]
    run([ottla, "topics", "--bootstrap-server", broker.bootstrap, "--create", "--topic", topic])
    run(
        [ottla, "console-producer", "--bootstrap-server", broker.bootstrap, "--topic", topic],
        stdin=b"\n".join(rows) + b"\n",
    )


def walk(broker, report, suite):
    tables = {name: rows_of(table(name)) for name in TABLES}
    for name, rows in tables.items():
        report.run(suite, f"produce {name}", lambda: produce(broker, f"tour-{name}", rows))

    def same(reader, name):
        rows = reader(broker, f"tour-{name}", len(tables[name]))
        assert rows == tables[name], f"{name} came back otherwise"

    for when in ("", " after kill -9"):
        for name in TABLES:
            report.run(suite, f"{name} by Java{when}", lambda: same(read_by_java, name))
            report.run(suite, f"{name} by Python{when}", lambda: same(read_by_python, name))
        if not when:
            broker.kill()
            broker.start()
