"""Fills a cluster with what users leave in one: topics with settings, records of every codec, groups."""

import random
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
OLD_MS = 1_700_000_000_000
FOREVER = {"retention.ms": "-1"}
TOPICS = [
    NewTopic("codecs", 3, 1, config=FOREVER),
    NewTopic("rolled", 1, 1, config={**FOREVER, "segment.bytes": "1048576"}),
    NewTopic("broker-time", 1, 1, config={"message.timestamp.type": "LogAppendTime"}),
    NewTopic("recompressed", 1, 1, config={**FOREVER, "compression.type": "zstd"}),
    NewTopic("trimmed", 1, 1, config=FOREVER),
    NewTopic("keyed", 2, 1, config={"cleanup.policy": "compact", "min.compaction.lag.ms": "604800000"}),
    NewTopic("deleted", 2, 1),
    NewTopic("empty", 1, 1, config={"max.message.bytes": "4242", "min.insync.replicas": "1"}),
]


def results(futures):
    for future in futures.values():
        future.result(30)


def producer(bootstrap, codec="none"):
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": codec,
            "linger.ms": 5,
            # It sees brokers come and go, and need not tell.
            "log_level": 0,
            "batch.num.messages": 50,
        }
    )


def send(client, topic, records):
    """Send (partition, key, value, headers, timestamp) and wait for every acknowledgement."""
    failures = []

    def acknowledged(error, _):
        if error is not None:
            failures.append(error)

    for partition, key, value, headers, timestamp in records:
        client.produce(
            topic,
            value=value,
            key=key,
            headers=headers,
            partition=partition,
            timestamp=timestamp,
            on_delivery=acknowledged,
        )
    left = client.flush(60)
    assert left == 0 and not failures, f"{left} records were not acknowledged: {failures[:2]}"


def numbered(count, partitions, keys=lambda number: number % 3 > 0):
    """Records of all kinds: without key, without value, with headers."""
    for number in range(count):
        yield (
            number % partitions,
            b"key-%d" % number if keys(number) else None,
            None if number % 7 == 2 else b"value-%d " % number * (1 + number % 5),
            [("h", b"\x00\xff"), ("h", b""), ("e", None)] if number % 4 == 0 else [],
            OLD_MS + number * 10,
        )


def populate(bootstrap, seed):
    """Everything once; a later step of the same test calls `add`."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    results(admin.create_topics(TOPICS, operation_timeout=20))
    results(admin.create_partitions([NewPartitions("codecs", 4)]))
    until_known(admin, "codecs", 4)
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            "codecs",
            incremental_configs=[entry("segment.ms", "86400000"), entry("flush.messages", "100000")],
        ),
        ConfigResource(
            ResourceType.BROKER, "1", incremental_configs=[entry("message.max.bytes", "2000000")]
        ),
    ]
    results(admin.incremental_alter_configs(resources))
    for codec in CODECS:
        client = producer(bootstrap, codec)
        send(client, "codecs", numbered(200, 4))
        send(client, "recompressed", numbered(50, 1))
        send(client, "keyed", numbered(60, 2, lambda _: True))
    plain = producer(bootstrap)
    noise = random.Random(seed)
    large = ((0, None, noise.randbytes(10_000), [], OLD_MS + n) for n in range(300))
    send(plain, "rolled", large)
    send(plain, "broker-time", numbered(40, 1))
    send(plain, "trimmed", numbered(100, 1))
    send(plain, "deleted", numbered(20, 2))
    results(admin.delete_records([TopicPartition("trimmed", 0, 37)]))
    results(admin.delete_topics(["deleted"], operation_timeout=20))
    commit(bootstrap, "simple", [("codecs", 0, 11, "here"), ("codecs", 1, 22, ""), ("trimmed", 0, 50, "")])
    consume_as_member(bootstrap, "members", "codecs")


def add(bootstrap, client):
    """More of everything, by a producer that may have lived through a swap."""
    send(client, "codecs", numbered(120, 4))
    send(client, "rolled", [(0, None, b"r" * 50_000, [], OLD_MS)] * 3)
    commit(bootstrap, "simple", [("codecs", 0, 12, "there")])
    commit(bootstrap, "later", [("keyed", 1, 7, "")])
    consume_as_member(bootstrap, "members", "codecs")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    altered = ConfigResource(
        ResourceType.TOPIC, "empty", incremental_configs=[entry("retention.bytes", "123456789")]
    )
    results(admin.incremental_alter_configs([altered]))


def until_known(admin, topic, partitions):
    deadline = time.monotonic() + 20
    while len(admin.list_topics(topic, timeout=10).topics[topic].partitions) != partitions:
        assert time.monotonic() < deadline, f"{topic} does not have {partitions} partitions"
        time.sleep(0.05)


def entry(name, value):
    return ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)


def commit(bootstrap, group, places):
    """A client that assigns itself and only keeps its offsets in the group."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    offsets = [
        TopicPartition(topic, partition, offset, metadata)
        for topic, partition, offset, metadata in places
    ]
    for committed in consumer.commit(offsets=offsets, asynchronous=False):
        assert committed.error is None, committed.error
    consumer.close()


def consume_as_member(bootstrap, group, topic, protocol="classic"):
    """A member of a group that reads to the end, commits and leaves."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
        }
    )
    consumer.subscribe([topic])
    deadline = time.monotonic() + 30
    read = 0
    while (messages := consumer.consume(2000, 0.3)) or read == 0:
        read += len(messages)
        assert time.monotonic() < deadline, "the member read nothing"
    consumer.commit(asynchronous=False)
    consumer.close()
