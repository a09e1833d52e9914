"""Directories whose topics are compacted, opened by Ottla and by Apache Kafka in turn: each finds of every key what
was written last, whatever the other's cleaner has left out, and cleans on where the other's has stopped."""

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from brokers import Kafka, Ottla
from dumped import read_every_file
from populate import CODECS, producer, results, send

PATIENCE_SECONDS = 90
KEYS = 60
# Written over and over, so that what is before it is not in the active segment.
ROLL = b"roll"
PROPERTIES = {"log.cleaner.backoff.ms": "100"}
COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.01",
    "segment.ms": "50",
    "file.delete.delay.ms": "100",
}
# How long tombstones stay: for the one longer than the test, for the other hardly at all.
TOPICS = {
    "tombstones-stay": {**COMPACTED, "delete.retention.ms": "86400000"},
    "tombstones-go": {**COMPACTED, "delete.retention.ms": "100"},
}


class Compacted:
    """What was written, and what has to be there."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.rounds = 0
        # By topic and key; None is a tombstone.
        self.last = {topic: {} for topic in TOPICS}
        topics = [NewTopic(topic, 1, 1, config=config) for topic, config in TOPICS.items()]
        admin = AdminClient({"bootstrap.servers": bootstrap})
        results(admin.create_topics(topics, operation_timeout=20))

    def write(self):
        """Each key several times by each codec, some of them deleted, some in transactions."""
        self.rounds += 1
        for topic in TOPICS:
            for number, codec in enumerate(CODECS):
                self.write_values(producer(self.bootstrap, codec), topic, number)
            self.in_transaction(topic, "commit_transaction")
            self.in_transaction(topic, "abort_transaction")

    def write_values(self, client, topic, number):
        records = {}
        for index in range(KEYS):
            # Another third of the keys each time, so that some were written long ago.
            if index % 3 != (number + self.rounds) % 3:
                key = b"key-%d" % index
                is_deleted = index % 5 == self.rounds % 5
                records[key] = None if is_deleted else b"%d-%d-%d" % (self.rounds, number, index)
        send(client, topic, [(0, key, value, [], 0) for key, value in records.items()])
        self.last[topic] |= records

    def in_transaction(self, topic, end):
        client = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "transactional.id": f"{topic}-{end}",
                "transaction.timeout.ms": 600_000,
                "log_level": 0,
            }
        )
        client.init_transactions(PATIENCE_SECONDS)
        client.begin_transaction()
        records = {b"key-%d" % n: b"%d-%s" % (self.rounds, end.encode()) for n in range(0, KEYS, 4)}
        send(client, topic, [(0, key, value, [], 0) for key, value in records.items()])
        getattr(client, end)(PATIENCE_SECONDS)
        if end.startswith("commit"):
            self.last[topic] |= records

    def found(self, topic):
        """[(offset, key, value)] of all committed records but those that only roll segments."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "compacted",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "check.crcs": True,
            }
        )
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        found = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.5):
                if message.error():
                    consumer.close()
                    return found
                if message.key() != ROLL:
                    found.append((message.offset(), message.key(), message.value()))
        raise AssertionError(f"the end of {topic} was not reached")

    def wanted(self, topic):
        stays = topic == "tombstones-stay"
        return {key: value for key, value in self.last[topic].items() if stays or value is not None}

    def wait_until_cleaned(self):
        """Until each key is there once, with its last value, and a deleted one as it should be."""
        client = producer(self.bootstrap)
        for topic in TOPICS:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                send(client, topic, [(0, ROLL, b"", [], 0)])
                time.sleep(0.2)
                found = self.found(topic)
                last = {key: value for _, key, value in found}
                must_not_miss(topic, last, self.last[topic])
                if len(found) == len(last) and last == self.wanted(topic):
                    break
                assert time.monotonic() < deadline, (
                    f"{topic} has {len(found)} records of {len(last)} keys, and not"
                    f" {len(self.wanted(topic))}: it is not cleaned"
                )


def must_not_miss(topic, last, wanted):
    """However far the cleaner is: what is last of a key is what was written last, or it is deleted and gone."""
    wrong = {key: (last.get(key), value) for key, value in wanted.items() if last.get(key) != value}
    assert not wrong, f"of {len(wrong)} keys of {topic} another value is the last, as {list(wrong.items())[:3]}"


def checkpoints(directory):
    """How far the cleaner is with each partition of these topics."""
    _, _, *lines = (directory / "cleaner-offset-checkpoint").read_text().splitlines()
    offsets = {}
    for line in lines:
        topic, partition, offset = line.rsplit(" ", 2)
        if topic in TOPICS:
            offsets[topic, partition] = int(offset)
    assert len(offsets) == len(TOPICS), f"the cleaner's checkpoint has {lines}"
    return offsets


def there_and_back(folder, first, crash, tools):
    nodes = [first(folder, PROPERTIES)]
    directory = folder / "data"
    try:
        nodes[0].format()
        nodes[0].start()
        compacted = Compacted(nodes[0].bootstrap)
        for make in (Kafka if first is Ottla else Ottla, first):
            compacted.write()
            compacted.wait_until_cleaned()
            # Some that nobody has cleaned yet.
            compacted.write()
            end(nodes[-1], crash, tools, directory)
            cleaned = checkpoints(directory)
            nodes.append(nodes[-1].taken_over_by(make))
            nodes[-1].start()
            compacted.wait_until_cleaned()
            now = checkpoints(directory)
            back = {place: (at, now[place]) for place, at in cleaned.items() if now[place] < at}
            assert not back, f"the cleaner of {make.name} has gone back: {back}"
        end(nodes[-1], False, tools, directory)
    finally:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                node.kill()
    nodes[-1].remove()


def end(node, crash, tools, directory):
    if crash:
        node.kill()
    else:
        node.stop()
    if isinstance(node, Ottla):
        read_every_file(tools, [directory], stopped_cleanly=not crash)
