"""aiokafka behind the shape that `cases.py` drives; one event loop in a thread of its own."""

import asyncio
import threading

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError, KafkaError, TopicAlreadyExistsError

from cases import PATIENCE_SECONDS
from records import arguments, of_polled

_loop = asyncio.new_event_loop()
threading.Thread(target=_loop.run_forever, daemon=True).start()


def wait(coroutine):
    """Run `coroutine` on the loop and return what it returns."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop).result(PATIENCE_SECONDS)


async def started(make):
    """A client that must be made inside the loop, started."""
    client = make()
    await client.start()
    return client


class Producer:
    def __init__(self, bootstrap, codec="none"):
        self.producer = wait(
            started(
                lambda: AIOKafkaProducer(
                    bootstrap_servers=bootstrap,
                    enable_idempotence=True,
                    compression_type=None if codec == "none" else codec,
                    linger_ms=5,
                )
            )
        )

    async def _send(self, topic, records):
        futures = [
            await self.producer.send(
                topic, **arguments(record), timestamp_ms=record.timestamp_ms
            )
            for record in records
        ]
        return [await future for future in futures]

    def send_all(self, topic, records):
        """Send the records and return the partition and offset of each, in order."""
        return [(sent.partition, sent.offset) for sent in wait(self._send(topic, records))]

    def close(self):
        wait(self.producer.stop())


class Consumer:
    def __init__(self, bootstrap, group, topics):
        self.consumer = wait(
            started(
                lambda: AIOKafkaConsumer(
                    *topics,
                    bootstrap_servers=bootstrap,
                    group_id=group,
                    auto_offset_reset="earliest",
                    isolation_level="read_committed",
                    enable_auto_commit=False,
                    session_timeout_ms=10000,
                    heartbeat_interval_ms=500,
                    fetch_max_wait_ms=100,
                )
            )
        )

    def poll(self, seconds):
        """What arrives within `seconds`, as records."""
        arrived = wait(self.consumer.getmany(timeout_ms=int(seconds * 1000)))
        return of_polled(arrived)

    def commit(self):
        """Commit the position; a commit that a rebalance overtook is left to the next one."""
        try:
            wait(self.consumer.commit())
        except CommitFailedError:
            pass

    def assignment(self):
        return self.consumer.assignment()

    def close(self):
        wait(self.consumer.stop())


class Admin:
    def __init__(self, bootstrap):
        self.admin = wait(started(lambda: AIOKafkaAdminClient(bootstrap_servers=bootstrap)))

    def create_topic(self, topic, partitions, configs):
        answer = wait(
            self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        )
        for name, code, *message in answer.topic_errors:
            if code == 36:
                raise TopicAlreadyExistsError(name)
            assert code == 0, f"creating {name}: error {code} {message}"

    def create_topic_fails(self, topic):
        try:
            self.create_topic(topic, 1, {})
        except TopicAlreadyExistsError:
            return True
        return False

    def topics(self):
        return set(wait(self.admin.list_topics()))

    def partitions(self, topic):
        return len(wait(self.admin.describe_topics([topic]))[0]["partitions"])

    def topic_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        answer = wait(self.admin.describe_configs([resource]))[0].to_object()
        return {e["config_names"]: e["config_value"] for e in answer["resources"][0]["config_entries"]}

    def alter_topic_config(self, topic, name, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: value})
        wait(self.admin.alter_configs([resource]))

    def create_partitions(self, topic, count):
        wait(self.admin.create_partitions({topic: NewPartitions(count)}))

    def delete_topic(self, topic):
        wait(self.admin.delete_topics([topic]))

    def groups(self):
        return {group for group, _ in wait(self.admin.list_consumer_groups())}

    def committed(self, group, topic, partition):
        offsets = wait(self.admin.list_consumer_group_offsets(group))
        return offsets[TopicPartition(topic, partition)].offset


def copy(bootstrap, source, target):
    """Copy a topic in transactions, every fifth of which is aborted and done again."""
    asyncio.run_coroutine_threadsafe(_copy(bootstrap, source, target), _loop).result()


async def _copy(bootstrap, source, target):
    name = f"copy-{target}"
    producer = await started(
        lambda: AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name)
    )
    consumer = await started(
        lambda: AIOKafkaConsumer(
            source,
            bootstrap_servers=bootstrap,
            group_id=name,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            session_timeout_ms=10000,
            heartbeat_interval_ms=500,
        )
    )
    number = 1
    deadline = _loop.time() + PATIENCE_SECONDS
    while _loop.time() < deadline:
        arrived = await consumer.getmany(timeout_ms=300, max_records=200)
        if not arrived:
            if await _is_copied(consumer):
                print("copied", flush=True)
                return
            continue
        await producer.begin_transaction()
        try:
            for messages in arrived.values():
                for message in messages:
                    await producer.send(target, message.value)
            positions = {p: await consumer.position(p) for p in arrived}
            await producer.send_offsets_to_transaction(positions, name)
            committing = number % 5 != 0
            if committing:
                await producer.commit_transaction()
        except KafkaError:
            committing = False
        if not committing:
            await producer.abort_transaction()
            await consumer.seek_to_committed()
        number += 1
    raise AssertionError("the topic is not copied in time")


async def _is_copied(consumer):
    assigned = consumer.assignment()
    ends = await consumer.end_offsets(list(assigned))
    committed = {partition: await consumer.committed(partition) or 0 for partition in assigned}
    return bool(assigned) and committed == ends
