"""What a client finds in a cluster: every record, every setting, every group's position. Two programs
that open one directory must show the same."""

import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

PATIENCE_SECONDS = 30
# Of what is unfinished its own clients know what to expect.
UNFINISHED = ("unfinished", "left-", "prepared-")


def contents(bootstrap):
    """Records by partition, settings that were set by resource, type and offsets by group, ids by topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = patiently(lambda: described(admin))
    return {
        "topics": topics,
        "records": records(bootstrap, topics),
        "settings": settings(admin, topics),
        "groups": groups(admin),
    }


def patiently(ask):
    """Ask until there is an answer: after a start coordinators and leaders take a moment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def described(admin):
    """The id and the number of partitions of each topic of the users."""
    names = admin.list_topics(timeout=10).topics
    names = [name for name in names if not name.startswith(("__", *UNFINISHED))]
    found = admin.describe_topics(TopicCollection(names)) if names else {}
    return {
        name: (str(topic.result().topic_id), len(topic.result().partitions))
        for name, topic in found.items()
    }


def records(bootstrap, topics):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "check.crcs": True,
        }
    )
    found, ends = {}, {}
    for topic, (_, partitions) in topics.items():
        for index in range(partitions):
            place = TopicPartition(topic, index, OFFSET_BEGINNING)
            low, high = patiently(lambda: consumer.get_watermark_offsets(place, timeout=10))
            found[topic, index] = [("offsets", low, high)]
            if low < high:
                ends[topic, index] = high
    consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in ends])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ends:
        for message in consumer.consume(2000, 0.2):
            assert message.error() is None, message.error()
            place = message.topic(), message.partition()
            found[place].append(
                (
                    *(message.offset(), message.key(), message.value(), message.timestamp()),
                    message.headers(),
                )
            )
            if message.offset() + 1 == ends.get(place):
                del ends[place]
        assert time.monotonic() < deadline, f"records up to {ends} were not read"
    consumer.close()
    return found


def settings(admin, topics):
    """What was set by somebody, of topics, of the broker and of all brokers."""
    wanted = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    wanted.append(ConfigResource(ResourceType.BROKER, "1"))
    found = {}
    for resource in wanted:
        entries = patiently(lambda: admin.describe_configs([resource])[resource].result(10))
        # Sources 1, 2 and 3 are a topic's, a broker's and all brokers' dynamic settings.
        found[str(resource)] = {
            name: entry.value for name, entry in entries.items() if int(entry.source) in (1, 2, 3)
        }
    return found


def groups(admin):
    listed = patiently(lambda: admin.list_consumer_groups(request_timeout=10).result())
    found = {}
    for group in listed.valid:
        if group.type not in (ConsumerGroupType.CLASSIC, ConsumerGroupType.CONSUMER):
            continue
        if group.group_id.startswith(UNFINISHED):
            continue
        asked = [ConsumerGroupTopicPartitions(group.group_id)]
        offsets = patiently(
            lambda: admin.list_consumer_group_offsets(asked)[group.group_id].result(10)
        )
        found[group.group_id] = group.type.name, sorted(
            (place.topic, place.partition, place.offset, place.metadata or "")
            for place in offsets.topic_partitions
        )
    return found


def differences(before, after):
    """What is not the same, in words, shortest first."""
    for kind in before:
        for name in sorted({*before[kind], *after[kind]}, key=str):
            one, other = before[kind].get(name), after[kind].get(name)
            if one != other:
                yield f"{kind} of {name}: {brief(one)} became {brief(other)}"


def brief(value):
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} entries, the first {value[:2]}, the last {value[-1]}"[:400]
    return str(value)[:400]
