"""What every Python client library must see at a broker, written once against a small adapter.

An adapter is a module with `Producer`, `Consumer` and `Admin`; see `confluent_adapter.py` for the
shape. Run as `cases.py ADAPTER COMMAND BOOTSTRAP ...`; the commands are those of
`conformance/README.md`.
"""

import importlib
import itertools
import sys
import threading
import time
import uuid
from collections import defaultdict

from records import Record

PATIENCE_SECONDS = 120
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Member(threading.Thread):
    """A group member that polls in its own thread until it is told to leave."""

    def __init__(self, adapter, bootstrap, group, topic, **settings):
        super().__init__(daemon=True)
        self.consumer = adapter.Consumer(bootstrap, group=group, topics=[topic], **settings)
        self.records = []
        self.partitions_owned = 0
        self.failure = None
        self.leaving = threading.Event()
        self.start()

    def run(self):
        try:
            while not self.leaving.is_set():
                self.records.extend(self.consumer.poll(0.2))
                self.partitions_owned = len(self.consumer.assignment())
                if self.records:
                    self.consumer.commit()
            self.consumer.commit()
            self.consumer.close()
        except Exception as failure:  # handed to the case, which fails by it
            self.failure = failure

    def leave(self):
        self.leaving.set()
        self.join(PATIENCE_SECONDS)
        if self.failure:
            raise self.failure
        assert not self.is_alive(), "the member did not leave in time"


def until(what, condition):
    """Wait until `condition()` holds, and say what was waited for where it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"not seen within {PATIENCE_SECONDS} s: {what}")


def read(adapter, bootstrap, topic, count, group=None, commit=False):
    """Read `count` records of `topic` from its beginning or from the group's position."""
    consumer = adapter.Consumer(bootstrap, group=group or f"reader-{uuid.uuid4()}", topics=[topic])
    records = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(records) < count and time.monotonic() < deadline:
        records.extend(consumer.poll(0.5))
    if commit:
        consumer.commit()
    consumer.close()
    assert len(records) == count, f"read {len(records)} records of {count}"
    return records


def case_round_trip(adapter, bootstrap, topic, codec):
    admin = adapter.Admin(bootstrap)
    admin.create_topic(topic, 3, {})
    sent = []
    for number in range(300):
        sent.append(
            Record(
                value=None if number % 50 == 8 else f"value {number} ".encode() * (1 + number % 40),
                key=None if number % 3 == 0 and number % 50 != 8 else f"key-{number}".encode(),
                headers=[("trace", b"\x00\xff"), ("trace", b"again"), ("empty", b"")]
                if number % 5 == 0
                else [],
                timestamp_ms=1_700_000_000_000 + number,
                partition=number % 3,
            )
        )
    producer = adapter.Producer(bootstrap, codec=codec)
    for record, (partition, offset) in zip(sent, producer.send_all(topic, sent)):
        assert partition == record.partition, f"sent to {record.partition}, acked on {partition}"
        record.offset = offset
    producer.close()
    got = {(r.partition, r.offset): r for r in read(adapter, bootstrap, topic, len(sent))}
    for record in sent:
        back = got[record.partition, record.offset]
        for name in ("value", "key", "timestamp_ms"):
            assert getattr(back, name) == getattr(record, name), f"{name} of {record} is {back}"
        assert list(back.headers) == record.headers, f"headers of {record} are {back.headers}"


def case_group_rebalances(adapter, bootstrap, topic, protocols=("classic", "classic")):
    """The first member and the second may speak different protocols of groups."""
    admin = adapter.Admin(bootstrap)
    admin.create_topic(topic, 4, {})
    group = f"{topic}-group"
    producer = adapter.Producer(bootstrap)

    def send(first):
        values = [Record(value=b"%d" % n, partition=n % 4) for n in range(first, first + 200)]
        producer.send_all(topic, values)

    def seen(*members):
        return {r.value for m in members for r in m.records}

    def wanted(end):
        return {b"%d" % n for n in range(end)}

    def shares(*members):
        for member in members:
            if member.failure:
                raise member.failure
        sizes = [member.partitions_owned for member in members]
        return sum(sizes) == 4 and all(size == 4 // len(members) for size in sizes)

    def member(number):
        chosen = {} if protocols[number] == "classic" else {"protocol": protocols[number]}
        return Member(adapter, bootstrap, group, topic, **chosen)

    first = member(0)
    until("the first member owns all partitions", lambda: shares(first))
    send(0)
    until("the first member reads all", lambda: seen(first) == wanted(200))
    second = member(1)
    until("two members share the partitions", lambda: shares(first, second))
    send(200)
    until("both read all", lambda: seen(first, second) == wanted(400))
    first.leave()
    until("the second member owns all partitions", lambda: shares(second))
    send(400)
    until("the second reads all", lambda: seen(first, second) >= wanted(600))
    second.leave()
    producer.close()
    assert second.records, "the second member never got a record"


def case_commit_and_resume(adapter, bootstrap, topic):
    admin = adapter.Admin(bootstrap)
    admin.create_topic(topic, 1, {})
    group = f"{topic}-group"
    producer = adapter.Producer(bootstrap)
    producer.send_all(topic, [Record(value=b"%d" % n) for n in range(100)])
    first = read(adapter, bootstrap, topic, 100, group=group, commit=True)
    assert [r.value for r in first] == [b"%d" % n for n in range(100)]
    producer.send_all(topic, [Record(value=b"%d" % n) for n in range(100, 150)])
    second = read(adapter, bootstrap, topic, 50, group=group, commit=True)
    assert [r.value for r in second] == [b"%d" % n for n in range(100, 150)]
    producer.close()
    assert admin.committed(group, topic, 0) == 150
    until("the group is listed", lambda: group in admin.groups())
    if hasattr(admin, "delete_group"):
        until("the group can be deleted", lambda: admin.delete_group(group))
        until("the group is gone", lambda: group not in admin.groups())


def case_admin(adapter, bootstrap, topic):
    admin = adapter.Admin(bootstrap)
    admin.create_topic(topic, 2, {"retention.ms": "123456789", "cleanup.policy": "compact,delete"})
    until("the topic is listed", lambda: topic in admin.topics())
    assert admin.partitions(topic) == 2
    configs = admin.topic_configs(topic)
    assert configs["retention.ms"] == "123456789", configs["retention.ms"]
    assert configs["cleanup.policy"] == "compact,delete", configs["cleanup.policy"]
    admin.alter_topic_config(topic, "retention.ms", "987654321")
    until(
        "the altered setting",
        lambda: admin.topic_configs(topic)["retention.ms"] == "987654321",
    )
    admin.create_partitions(topic, 5)
    until("five partitions", lambda: admin.partitions(topic) == 5)
    assert admin.create_topic_fails(topic), "a topic was created twice"
    admin.delete_topic(topic)
    until("the topic is gone", lambda: topic not in admin.topics())


def all_cases(adapter, bootstrap, prefix):
    for codec in CODECS:
        yield f"round trip, {codec}", lambda codec=codec: case_round_trip(
            adapter, bootstrap, f"{prefix}-round-trip-{codec}", codec
        )
    for name, case in (
        ("group rebalances while members come and go", case_group_rebalances),
        ("commit and resume", case_commit_and_resume),
        ("admin calls", case_admin),
    ):
        yield name, lambda name=name, case=case: case(
            adapter, bootstrap, f"{prefix}-{name.split()[0]}"
        )


    for protocols in (
        list(itertools.product(adapter.PROTOCOLS, repeat=2))[1:]
        if hasattr(adapter, "PROTOCOLS")
        else ()
    ):
        yield f"group rebalances, members by {' and '.join(protocols)} protocol", (
            lambda protocols=protocols: case_group_rebalances(
                adapter, bootstrap, f"{prefix}-{'-'.join(protocols)}", protocols
            )
        )


def run_cases(adapter, bootstrap, prefix):
    for name, case in all_cases(adapter, bootstrap, prefix):
        try:
            case()
            print(f"ok {name}", flush=True)
        except Exception as failure:  # one failing case must not hide the others
            text = " ".join(f"{type(failure).__name__}: {failure}".split())
            print(f"not ok {name}: {text[:400]}", flush=True)


def run_load(adapter, bootstrap, topic, seconds):
    """Send numbered values with idempotence and print each one that was acknowledged."""
    producer = adapter.Producer(bootstrap, codec="lz4")
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        batch = [Record(value=b"%d" % n, partition=n % 3) for n in range(number, number + 50)]
        for record, (partition, offset) in zip(batch, producer.send_all(topic, batch)):
            print(f"acked {partition} {offset} {record.value.decode()}")
        sys.stdout.flush()
        number += len(batch)
    producer.close()


def run_drain(adapter, bootstrap, topic, count):
    """Print every record of the topic, `count` of them at the least."""
    consumer = adapter.Consumer(bootstrap, group=f"drain-{uuid.uuid4()}", topics=[topic])
    seen = defaultdict(int)
    quiet_since = time.monotonic()
    deadline = quiet_since + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        records = consumer.poll(0.5)
        for record in records:
            seen[record.partition] += 1
            print(f"read {record.partition} {record.offset} {record.value.decode()}")
        if records:
            quiet_since = time.monotonic()
        elif sum(seen.values()) >= count and time.monotonic() - quiet_since > 2:
            break
    consumer.close()


def main():
    adapter_name, command, bootstrap, *rest = sys.argv[1:]
    adapter = importlib.import_module(f"{adapter_name}_adapter")
    if command == "cases":
        run_cases(adapter, bootstrap, rest[0])
    elif command == "load":
        run_load(adapter, bootstrap, rest[0], float(rest[1]))
    elif command == "copy":
        adapter.copy(bootstrap, *rest)
    elif command == "drain":
        run_drain(adapter, bootstrap, rest[0], int(rest[1]))
    else:
        sys.exit(f"cases.py: no command {command}")


if __name__ == "__main__":
    main()
