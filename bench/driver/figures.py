"""What is measured, one function a figure; each yields `(row, broker name, value)` as it goes."""

import os
import re
import tempfile
import time

import clustered
import coordinated
import failover
import wire
from processes import Pair, client, consume, create, delete, produce, tool, use_memory

GIB = 1 << 30
MIB = 1 << 20


def settle():
    """What was written reaches the disk now, not during the next measurement."""
    os.sync()


def records(session, size, label, codec):
    """CPU time and throughput in and out, of records of one size and one codec."""
    form = session.form
    # What the first alternation brings is for caches and the virtual machine, and is not counted.
    warm_gib = form.warm_again_gib if session.is_warm else form.warm_gib
    pair = session.pair()
    compression = f"compression.type={codec}"
    topics = ((number, f"records-{size}-{codec}-{number}") for number in range(form.rounds + 1))
    for number, topic in topics:
        gib = warm_gib if number == 0 else form.of_records(size, codec) / form.rounds
        count = int(gib * GIB / size)
        for broker in pair:
            create(broker, topic)
            use_memory(gib)
            before = broker.cpu_seconds()
            rate_in = produce(broker, topic, size, count, compression)
            between = broker.cpu_seconds()
            rate_out = consume(broker, topic, count)
            after = broker.cpu_seconds()
            delete(broker, topic)
            settle()
            if number > 0:
                yield f"CPU-s per GiB in, {label}", broker.name, (between - before) / gib
                yield f"CPU-s per GiB out, {label}", broker.name, (after - between) / gib
                yield f"MiB/s in, {label}", broker.name, rate_in
                yield f"MiB/s out, {label}", broker.name, rate_out
        session.is_warm = True


def limits(session):
    """What the machine lets any broker do."""
    form = session.form
    for _ in range(form.rounds):
        with tempfile.TemporaryDirectory(prefix="ottla-bench-", dir=session.folder) as folder:
            mib = int(form.gib / form.rounds * 1024)
            use_memory(mib / 1024)
            limit = client("limit", folder=folder, mib=mib, block=65536)
        settle()
        for way in ("in", "out"):
            yield f"CPU-s per GiB {way}, physical limit", "limit", limit[f"CPU-s per GiB {way}"]


def scheduled(session, rate, label, **settings):
    """Latencies on a fixed schedule, by the native client, with the floor of an echo server."""
    form = session.form
    schedule = {"partitions": 6, "rate": rate, "record_size": 1024}
    seconds = form.latency_seconds
    pair = session.pair()
    for number in range(form.rounds + 1):
        warm_up = seconds if number == 0 else 2
        floor = client("latency-floor", topic="floor", warm_up=1, seconds=form.floor_seconds, **schedule)
        for broker in pair:
            topic = f"latency-{rate}-{number}"
            create(broker, topic, **settings)
            use_memory(seconds * 2 * rate * 1024 / GIB)
            address = {"port": broker.port, "topic": topic}
            found = client("latency", warm_up=warm_up, seconds=seconds, **address, **schedule)
            delete(broker, topic)
            settle()
            if number == 0:
                continue
            for event in ("acknowledged", "consumed"):
                for point in ("p50", "p99", "p99.9"):
                    yield f"ms {point} until {event}, {label}", broker.name, found[event][point]
        if number > 0:
            for point in ("p50", "p99", "p99.9"):
                value = floor["acknowledged"][point]
                yield f"ms {point} until acknowledged, {label}", "limit", value


def end_to_end(session):
    """Apache Kafka's EndToEndLatency: one record at a time."""
    form = session.form
    pair = session.pair()
    for number in range(form.rounds + 1):
        for broker in pair:
            topic = f"end-to-end-{number}"
            create(broker, topic, partitions=1)
            printed = tool(
                "EndToEndLatency",
                broker,
                *("--topic", topic, "--num-records", str(form.end_to_end_records)),
                *("--producer-acks", "all", "--record-size", "1024"),
            )
            delete(broker, topic)
            if number == 0:
                continue
            points = re.search(r"50th = ([\d.]+), 99th = ([\d.]+), 99.9th = ([\d.]+)", printed)
            for point, value in zip(("p50", "p99", "p99.9"), points.groups()):
                yield f"ms {point}, EndToEndLatency", broker.name, float(value)


def flushed_throughput(session):
    """Throughput where an acknowledged record is on the disk."""
    form = session.form
    count = int(form.flushed_gib / form.rounds * GIB / 1024)
    pair = session.pair()
    for number in range(form.rounds + 1):
        for broker in pair:
            topic = f"flushed-{number}"
            create(broker, topic, **{"flush.messages": 1})
            use_memory(count * 1024 / GIB)
            rate = produce(broker, topic, 1024, count)
            delete(broker, topic)
            settle()
            if number > 0:
                yield "MiB/s in, 1 KiB, flush.messages=1", broker.name, rate


def memory(session):
    """Start to first answer on an empty directory; memory idle, and after data went in and out."""
    form = session.form
    for _ in range(form.memory_rounds):
        pair = Pair(session.folder)
        try:
            for broker in pair:
                settle()
                seconds = broker.start_until(wire.answers)
                yield "s from start to first answer, empty", broker.name, seconds
                time.sleep(form.idle_seconds)
                yield "MiB resident, idle", broker.name, broker.resident_mib()
                count = int(form.memory_gib * GIB / 1024)
                create(broker, "memory")
                produce(broker, "memory", 1024, count)
                consume(broker, "memory", count)
                label = f"MiB resident, after {form.memory_gib:g} GiB in and out"
                yield label, broker.name, broker.resident_mib()
                broker.remove()
        finally:
            pair.remove()


def restart(session):
    """Restart with many partitions, the files in the page cache: cleanly, and after kill -9."""
    form = session.form
    topic, count = "many", form.partitions
    tail = int(form.restart_tail_mib * MIB / 1024)
    load = int(form.restart_gib * GIB / 1024)
    many = ("buffer.memory=268435456", "linger.ms=50")
    pair = Pair(session.folder)
    try:
        for broker in pair:
            broker.start_until(wire.answers)
            create(broker, topic, partitions=count)
            produce(broker, topic, 1024, load, *many)
            broker.stop()
            settle()
        for _ in range(form.rounds):
            for broker in pair:
                settle()
                for how in ("a clean stop", "kill -9"):
                    described = broker.start_until(wire.is_described(topic, count))
                    started = time.monotonic()
                    with wire.Connection(broker.port) as connection:
                        while not wire.has_ends(topic, count)(connection):
                            time.sleep(0.005)
                    ended = described + time.monotonic() - started
                    label = f"{count} partitions, after {how}"
                    yield f"s until metadata, {label}", broker.name, described
                    yield f"s until all end offsets, {label}", broker.name, ended
                    if how == "a clean stop":
                        produce(broker, topic, 1024, tail, *many)
                        broker.kill()
                broker.stop()
    finally:
        pair.remove()


def of_records(size, label, codec):
    return lambda session: records(session, size, label, codec)


FIGURES = {
    "limits": limits,
    "records-1k": of_records(1024, "1 KiB", "none"),
    "records-100b": of_records(100, "100 bytes", "none"),
    "records-1k-lz4": of_records(1024, "1 KiB, lz4", "lz4"),
    "records-1k-zstd": of_records(1024, "1 KiB, zstd", "zstd"),
    "records-100b-lz4": of_records(100, "100 bytes, lz4", "lz4"),
    "latency": lambda session: scheduled(session, 10_000, "10,000 records/s"),
    "end-to-end": end_to_end,
    "flushed": flushed_throughput,
    "flushed-latency": lambda session: scheduled(
        session, 2_000, "2,000 records/s, flush.messages=1", **{"flush.messages": 1}
    ),
    "memory": memory,
    "restart": restart,
    **coordinated.FIGURES,
    **clustered.FIGURES,
    **failover.FIGURES,
}
