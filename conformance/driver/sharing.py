"""Share consumers (KIP-932) while the broker is killed with kill -9, and Apache Kafka's own programs for share
groups: what was accepted never comes again, and everything is accepted."""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter

from clients import CONFORMANCE, java, run, tool

sys.path.append(str(CONFORMANCE / "history"))
from share_groups import Shared  # noqa: E402

PATIENCE_SECONDS = 300


def kill_under_share_consumers(broker, topic, seconds, seed):
    """What was seen, in a line; a fault is an error."""
    chance = random.Random(seed)
    with tempfile.TemporaryFile("w+") as output:
        load = subprocess.Popen(
            java("ottla.conformance.ShareLoad", broker.bootstrap, topic, str(seconds)),
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
        kills = 0
        try:
            begun = time.monotonic()
            while output.seek(0, 2) == 0 and time.monotonic() - begun < 60:
                time.sleep(0.02)
            until = time.monotonic() + seconds
            while (pause := chance.uniform(0.8, 3)) < until - time.monotonic():
                time.sleep(pause)
                broker.kill()
                broker.start()
                kills += 1
            _, errors = load.communicate(timeout=PATIENCE_SECONDS)
        finally:
            if load.poll() is None:
                load.kill()
                load.wait()
        assert load.returncode == 0, f"the consumers ended with {load.returncode}: {errors[-800:]}"
        output.seek(0)
        shared = Shared.parse(output)
    faults = list(shared.faults())
    assert not faults, f"{kills} kills, {len(faults)} faults, as {faults[:3]}"
    assert len(shared.sent) > 100 and kills > 0, f"{len(shared.sent)} records, {kills} kills"
    unknown = sum(not is_answered for *_, is_answered in shared.accepts)
    return (
        f"{kills} kills; {len(shared.sent)} records, {len(shared.reads)} deliveries,"
        f" {unknown} acceptances without an answer"
    )


def begins_with_the_first(broker, group):
    """The group gets records from the first on, as its setting says."""
    run(
        java(
            "kafka.admin.ConfigCommand",
            *("--bootstrap-server", broker.bootstrap, "--alter", "--entity-type", "groups"),
            *("--entity-name", group, "--add-config", "share.auto.offset.reset=earliest"),
        )
    )


def filled(broker, topic, count, partitions=3):
    """A topic with that many numbers; their values."""
    at = ("--bootstrap-server", broker.bootstrap)
    run(tool("TopicCommand", *at, "--create", "--topic", topic, "--partitions", str(partitions)))
    values = [f"number {number}" for number in range(count)]
    run(
        tool("ConsoleProducer", *at, "--topic", topic),
        stdin="".join(f"{value}\n" for value in values).encode(),
    )
    return values


def console(broker, topic, *options):
    """The lines that the console share consumer prints."""
    printed = run(
        tool(
            "consumer.ConsoleShareConsumer",
            *("--bootstrap-server", broker.bootstrap, "--topic", topic, "--group", topic),
            *("--timeout-ms", "20000", *options),
        )
    )
    return printed.decode().splitlines()


def console_share_consumer(broker, topic):
    """Released records come again, rejected and accepted ones do not."""
    # Of one partition, so that none comes a second time before another came.
    values = filled(broker, topic, 200, partitions=1)
    begins_with_the_first(broker, topic)
    delivery = ("--formatter-property", "print.delivery=true")
    released = console(broker, topic, "--max-messages", "200", "--release", *delivery)
    assert sorted(released) == sorted(f"Delivery:1\t{value}" for value in values), released[:3]
    rejected = console(broker, topic, "--max-messages", "50", "--reject", *delivery)
    accepted = console(broker, topic, "--max-messages", "150", *delivery)
    # What it took and did not look at comes again, as another delivery.
    deliveries = Counter(line.partition("\t")[0] for line in rejected + accepted)
    assert deliveries == {"Delivery:2": 50, "Delivery:3": 150}, deliveries
    got = sorted(line.partition("\t")[2] for line in rejected + accepted)
    assert got == sorted(values), f"{len(got)}: {got[:3]}"


def share_consumer_performance(broker, topic):
    filled(broker, topic, 5000)
    begins_with_the_first(broker, topic)
    printed = run(
        tool(
            "ShareConsumerPerformance",
            *("--bootstrap-server", broker.bootstrap, "--topic", topic, "--group", topic),
            *("--num-records", "5000", "--timeout", "60000"),
        )
    ).decode()
    header, *lines = [line.split(", ") for line in printed.splitlines() if ", " in line]
    figures = dict(zip(header, lines[-1], strict=True))
    count = next(int(value) for name, value in figures.items() if name.endswith("nMsg"))
    assert count == 5000, printed[-600:]


def verifiable_share_consumer(broker, topic):
    filled(broker, topic, 500)
    printed = run(
        tool(
            "VerifiableShareConsumer",
            *("--bootstrap-server", broker.bootstrap, "--topic", topic, "--group-id", topic),
            *("--max-messages", "500", "--offset-reset-strategy", "earliest", "--verbose"),
        )
    ).decode()
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    read = sum(event["count"] for event in events if event["name"] == "records_consumed")
    acknowledged = [event for event in events if event["name"] == "offsets_acknowledged"]
    done = sum(event["count"] for event in acknowledged if event["success"])
    assert (read, done) == (500, 500), f"{read} were read, {done} acknowledged: {printed[-600:]}"


PROGRAMS = {
    "kafka-console-share-consumer": console_share_consumer,
    "kafka-share-consumer-perf-test": share_consumer_performance,
    "kafka-verifiable-share-consumer": verifiable_share_consumer,
}
