"""kafka-python behind the shape that `cases.py` drives."""

import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.structs import OffsetAndMetadata
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError, TopicAlreadyExistsError

from cases import PATIENCE_SECONDS
from records import arguments, of_polled


class Producer:
    def __init__(self, bootstrap, codec="none"):
        self.producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            enable_idempotence=True,
            compression_type=None if codec == "none" else codec,
            linger_ms=5,
            delivery_timeout_ms=PATIENCE_SECONDS * 1000,
            max_block_ms=PATIENCE_SECONDS * 1000,
            reconnect_backoff_max_ms=500,
        )

    def send_all(self, topic, records):
        """Send the records and return the partition and offset of each, in order."""
        futures = [
            self.producer.send(
                topic, **arguments(record), timestamp_ms=record.timestamp_ms
            )
            for record in records
        ]
        acked = [future.get(PATIENCE_SECONDS) for future in futures]
        return [(sent.partition, sent.offset) for sent in acked]

    def close(self):
        self.producer.close(PATIENCE_SECONDS)


class Consumer:
    def __init__(self, bootstrap, group, topics):
        self.consumer = KafkaConsumer(
            *topics,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            enable_auto_commit=False,
            session_timeout_ms=10000,
            fetch_max_wait_ms=100,
        )

    def poll(self, seconds):
        """What arrives within `seconds`, as records."""
        arrived = self.consumer.poll(timeout_ms=int(seconds * 1000))
        return of_polled(arrived)

    def commit(self):
        """Commit the position; a commit that a rebalance overtook is left to the next one."""
        try:
            self.consumer.commit()
        except (CommitFailedError, RebalanceInProgressError):
            pass

    def assignment(self):
        return self.consumer.assignment()

    def close(self):
        self.consumer.close()


class Admin:
    def __init__(self, bootstrap):
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def create_topic(self, topic, partitions, configs):
        wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        self.admin.create_topics({topic: wanted})

    def create_topic_fails(self, topic):
        try:
            self.create_topic(topic, 1, {})
        except TopicAlreadyExistsError:
            return True
        return False

    def topics(self):
        return set(self.admin.list_topics())

    def partitions(self, topic):
        return len(self.admin.describe_topics([topic])[0]["partitions"])

    def topic_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        described = self.admin.describe_configs([resource], config_filter="all")
        entries = next(iter(described.values()))
        if topic in entries:
            entries = entries[topic]
        return {name: entry["value"] for name, entry in entries.items()}

    def alter_topic_config(self, topic, name, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: value})
        self.admin.alter_configs([resource])

    def create_partitions(self, topic, count):
        self.admin.create_partitions({topic: count})

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    def groups(self):
        return {group["group_id"] for group in self.admin.list_groups()}

    def committed(self, group, topic, partition):
        offsets = self.admin.list_group_offsets({group: None})[group]
        return offsets[TopicPartition(topic, partition)].offset

    def delete_group(self, group):
        answer = self.admin.delete_groups([group])
        outcome = dict(answer)[group]
        if outcome in (None, "OK") or getattr(outcome, "errno", None) == 0:
            return True
        if getattr(outcome, "errno", None) == 68:  # NON_EMPTY_GROUP
            return False
        raise KafkaError(str(outcome))


def copy(bootstrap, source, target):
    """Copy a topic in transactions, every fifth of which is aborted and done again."""
    name = f"copy-{target}"
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=name)
    consumer = Consumer(bootstrap, name, [source]).consumer
    producer.init_transactions()
    number = 1
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        arrived = consumer.poll(timeout_ms=300, max_records=200)
        if not arrived:
            if is_copied(consumer):
                print("copied")
                return
            continue
        producer.begin_transaction()
        try:
            for messages in arrived.values():
                for message in messages:
                    producer.send(target, message.value)
            positions = {
                partition: OffsetAndMetadata(consumer.position(partition), "", -1)
                for partition in consumer.assignment()
            }
            producer.send_offsets_to_transaction(positions, consumer.group_metadata())
            committing = number % 5 != 0
            if committing:
                producer.commit_transaction()
        except KafkaError as error:
            print(f"aborted: {error!r}", file=sys.stderr)
            committing = False
        if not committing:
            producer.abort_transaction()
            for partition in consumer.assignment():
                consumer.seek(partition, consumer.committed(partition) or 0)
        number += 1
    raise AssertionError("the topic is not copied in time")


def is_copied(consumer):
    assigned = consumer.assignment()
    ends = consumer.end_offsets(assigned)
    return bool(assigned) and all(
        (consumer.committed(partition) or 0) == ends[partition] for partition in assigned
    )
