"""A record, as the cases send and compare it, and as the libraries write and show it."""

from dataclasses import dataclass, field


@dataclass
class Record:
    """One record, as it is sent and as it comes back."""

    value: bytes | None
    key: bytes | None = None
    headers: list = field(default_factory=list)
    timestamp_ms: int | None = None
    topic: str = ""
    partition: int = 0
    offset: int = -1


def arguments(record):
    """What every library's producer calls the same; the timestamp has a name of its own in each."""
    return {
        "value": record.value,
        "key": record.key,
        "headers": record.headers,
        "partition": record.partition,
    }


def of_polled(arrived):
    """The records in what kafka-python and aiokafka hand out, lists by partition."""
    return [
        Record(
            value=one.value,
            key=one.key,
            headers=list(one.headers or []),
            timestamp_ms=one.timestamp,
            topic=one.topic,
            partition=one.partition,
            offset=one.offset,
        )
        for records in arrived.values()
        for one in records
    ]


def of_messages(messages):
    """The records in what confluent-kafka hands out; an error among them is raised."""
    for message in messages:
        if message.error():
            raise RuntimeError(str(message.error()))
    return [
        Record(
            value=message.value(),
            key=message.key(),
            headers=message.headers() or [],
            timestamp_ms=message.timestamp()[1],
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
        )
        for message in messages
    ]
