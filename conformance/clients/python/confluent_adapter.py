"""librdkafka, by way of confluent-kafka, behind the shape that `cases.py` drives."""

import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from cases import PATIENCE_SECONDS
from records import arguments, of_messages


class Producer:
    def __init__(self, bootstrap, codec="none"):
        self.producer = KafkaProducer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "compression.type": codec,
                "linger.ms": 5,
                "message.timeout.ms": PATIENCE_SECONDS * 1000,
                "reconnect.backoff.max.ms": 500,
            }
        )

    def send_all(self, topic, records):
        """Send the records and return the partition and offset of each, in order."""
        acked = [None] * len(records)

        def delivered(index):
            def callback(error, message):
                if error:
                    raise RuntimeError(f"delivery failed: {error}")
                acked[index] = (message.partition(), message.offset())

            return callback

        for index, record in enumerate(records):
            self.producer.produce(
                topic,
                **arguments(record),
                timestamp=record.timestamp_ms or 0,
                on_delivery=delivered(index),
            )
        left = self.producer.flush(PATIENCE_SECONDS)
        if left or None in acked:
            raise RuntimeError(f"{left} of {len(records)} records were not acknowledged")
        return acked

    def close(self):
        self.producer.flush(PATIENCE_SECONDS)


class Consumer:
    def __init__(self, bootstrap, group, topics, protocol="classic"):
        settings = {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
        }
        # By the consumer protocol the broker decides about it.
        if protocol == "classic":
            settings["session.timeout.ms"] = 10000
        self.consumer = KafkaConsumer(settings)
        self.consumer.subscribe(topics)

    def poll(self, seconds):
        """What arrives within `seconds`, as records."""
        return of_messages(self.consumer.consume(500, seconds))

    def commit(self):
        """Commit the position, synchronously; nothing to commit is no error."""
        try:
            self.consumer.commit(asynchronous=False)
        except Exception as error:
            if "NO_OFFSET" not in str(error) and "REBALANCE" not in str(error).upper():
                raise

    def assignment(self):
        return self.consumer.assignment()

    def close(self):
        self.consumer.close()


class Admin:
    def __init__(self, bootstrap):
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def create_topic(self, topic, partitions, configs):
        new = NewTopic(topic, partitions, 1, config=configs)
        self.admin.create_topics([new])[topic].result(PATIENCE_SECONDS)

    def create_topic_fails(self, topic):
        try:
            self.create_topic(topic, 1, {})
        except Exception as error:
            return "TOPIC_ALREADY_EXISTS" in str(error)
        return False

    def topics(self):
        return self.admin.list_topics(timeout=PATIENCE_SECONDS).topics

    def partitions(self, topic):
        return len(self.topics()[topic].partitions)

    def topic_configs(self, topic):
        resource = ConfigResource(ResourceType.TOPIC, topic)
        entries = self.admin.describe_configs([resource])[resource].result(PATIENCE_SECONDS)
        return {name: entry.value for name, entry in entries.items()}

    def alter_topic_config(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(PATIENCE_SECONDS)

    def create_partitions(self, topic, count):
        self.admin.create_partitions([NewPartitions(topic, count)])[topic].result(PATIENCE_SECONDS)

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])[topic].result(PATIENCE_SECONDS)

    def groups(self):
        return {g.group_id for g in self.admin.list_consumer_groups().result(PATIENCE_SECONDS).valid}

    def committed(self, group, topic, partition):
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition)])
        answer = self.admin.list_consumer_group_offsets([asked])[group].result(PATIENCE_SECONDS)
        return answer.topic_partitions[0].offset

    def delete_group(self, group):
        try:
            self.admin.delete_consumer_groups([group])[group].result(PATIENCE_SECONDS)
        except Exception as error:
            if "NON_EMPTY_GROUP" in str(error):
                return False
            raise
        return True


PROTOCOLS = ("classic", "consumer")


def copy(bootstrap, source, target, protocol="classic"):
    """Copy a topic in transactions, every fifth of which is aborted and done again."""
    name = f"copy-{target}"
    producer = KafkaProducer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": name,
            # Without, it may wait for ever for a coordinator that has left; see ../../history/clients.py.
            "connections.max.idle.ms": 4000,
        }
    )
    consumer = Consumer(bootstrap, name, [source], protocol).consumer
    producer.init_transactions(PATIENCE_SECONDS)
    number = 1
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        messages = consumer.consume(200, 0.3)
        if not messages:
            if is_copied(consumer):
                print("copied")
                consumer.close()
                return
            continue
        producer.begin_transaction()
        try:
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                producer.produce(target, message.value())
            producer.send_offsets_to_transaction(
                consumer.position(consumer.assignment()),
                consumer.consumer_group_metadata(),
                PATIENCE_SECONDS,
            )
            if number % 5 == 0:
                producer.abort_transaction(PATIENCE_SECONDS)
                rewind(consumer)
            else:
                producer.commit_transaction(PATIENCE_SECONDS)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            producer.abort_transaction(PATIENCE_SECONDS)
            rewind(consumer)
        number += 1
    raise AssertionError("the topic is not copied in time")


def is_copied(consumer):
    committed = consumer.committed(consumer.assignment(), PATIENCE_SECONDS)
    return bool(committed) and all(
        max(partition.offset, 0) == consumer.get_watermark_offsets(partition, PATIENCE_SECONDS)[1]
        for partition in committed
    )


def rewind(consumer):
    for partition in consumer.committed(consumer.assignment(), PATIENCE_SECONDS):
        if partition.offset < 0:
            partition.offset = OFFSET_BEGINNING
        consumer.seek(partition)
