"""Programs of Apache Kafka that live on a cluster: Kafka Streams, Kafka Connect, MirrorMaker 2. Each runs
unmodified, brokers and workers end in the middle, and its result is compared with a plain one."""

import json
import random
import subprocess
import time
import urllib.request

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from brokers import free_ports
from clients import java

PATIENCE_SECONDS = 120


def streams(report, broker, protocol, seconds, seed, suite="Kafka Streams"):
    """A word count and a windowed join, exactly once; see Streams.java."""
    chance = random.Random(seed)
    program = java("ottla.conformance.Streams", broker.bootstrap, f"streams-{protocol}", protocol)
    running = subprocess.Popen(
        [*program, str(seconds), str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        # In the first third of its time, and every twelve seconds from then.
        pause = chance.uniform(0.2, 0.35) * min(seconds, 30)
        until = time.monotonic() + seconds
        while time.monotonic() + pause < until:
            time.sleep(pause)
            broker.kill()
            broker.start()
            pause = chance.uniform(8, 16)
        output, errors = running.communicate(timeout=seconds + 4 * PATIENCE_SECONDS)
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
    cases = [line for line in output.splitlines() if line.startswith(("ok ", "not ok "))]
    for line in cases:
        name, _, failure = line.removeprefix("not ").removeprefix("ok ").partition(": ")
        report.add(suite, name, failure or None)
    if len(cases) != 3:
        report.add(suite, "all cases", f"only {len(cases)} cases were run: {errors[-800:]}")


class Worker:
    """A worker of Kafka Connect, distributed: its state is in the cluster, so another takes it over."""

    def __init__(self, broker, folder):
        self.port = free_ports(1)[0]
        self.folder = folder
        settings = {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "connect",
            "listeners": f"http://127.0.0.1:{self.port}",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "config.storage.topic": "connect-configs",
            "offset.storage.topic": "connect-offsets",
            "status.storage.topic": "connect-status",
            "config.storage.replication.factor": "1",
            "offset.storage.replication.factor": "1",
            "status.storage.replication.factor": "1",
            "offset.storage.partitions": "3",
            "status.storage.partitions": "1",
            "offset.flush.interval.ms": "500",
            "exactly.once.source.support": "enabled",
            "plugin.discovery": "service_load",
            "reconnect.backoff.max.ms": "500",
            "heartbeat.interval.ms": "300",
            "session.timeout.ms": "6000",
            "scheduled.rebalance.max.delay.ms": "0",
        }
        self.config = folder / "worker.properties"
        self.config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def start(self):
        log = open(self.folder / "worker.log", "ab")  # noqa: SIM115
        program = java("org.apache.kafka.connect.cli.ConnectDistributed", str(self.config))
        self.process = subprocess.Popen(program, stdout=log, stderr=log, cwd=self.folder)
        until("the worker answers", lambda: self.ask("/connectors") is not None)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, path, content=None):
        """The answer of its REST interface, or None while it has none."""
        assert self.process.poll() is None, f"the worker ended with {self.process.returncode}"
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            return None

    def runs(self, name):
        status = self.ask(f"/connectors/{name}/status")
        tasks = status["tasks"] if status else []
        failed = [task["trace"] for task in tasks if task["state"] == "FAILED"]
        assert not failed, failed[0][:800]
        return tasks and all(task["state"] == "RUNNING" for task in tasks)


def until(what, condition):
    """Wait until it holds; what it gives."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not seen within {PATIENCE_SECONDS} s: {what}")


def connect(broker, folder, long):
    """Lines of one file go through a topic into another, while worker and broker end on the way."""
    folder.mkdir(parents=True)
    source, sink = folder / "source.txt", folder / "sink.txt"
    lines = [f"{number} of {folder.name}" for number in range(5000)]
    parts = [lines[:1000], lines[1000:2000], lines[2000:3500], lines[3500:]]
    worker = Worker(broker, folder)

    def add(part):
        with source.open("a") as file:
            file.writelines(f"{line}\n" for line in part)

    def arrived(count):
        return lambda: sink.exists() and len(set(sink.read_text().splitlines())) >= count

    add(parts[0])
    try:
        worker.start()
        for name, kind, more in (
            ("source", "Source", {"topic": "lines", "file": str(source), "batch.size": "100"}),
            ("sink", "Sink", {"topics": "lines", "file": str(sink)}),
        ):
            config = {"connector.class": f"org.apache.kafka.connect.file.FileStream{kind}Connector"}
            config |= {"tasks.max": "1", "consumer.override.isolation.level": "read_committed"}
            if kind == "Source":
                del config["consumer.override.isolation.level"]
            made = until(f"{name} is made", lambda: worker.ask("/connectors", {"name": name, "config": config | more}))
            assert made["name"] == name, made
        until("the first lines arrive", arrived(1000))
        add(parts[1])
        broker.kill()
        broker.start()
        until("lines arrive after kill -9 of the broker", arrived(2000))
        add(parts[2])
        if long:
            worker.stop()
            worker.start()
        until("more lines arrive", arrived(3500))
        until("the source runs", lambda: worker.runs("source"))
        until("the sink runs", lambda: worker.runs("sink"))
        worker.kill()
        add(parts[3])
        worker.start()
        until("lines arrive after kill -9 of the worker", arrived(5000))
        worker.stop()
    except AssertionError as failure:
        raise AssertionError(f"{failure}; the worker: {tail(folder / 'worker.log')}") from failure
    finally:
        worker.kill()
    through = read_committed(broker, "lines", len(lines))
    assert through == lines, f"the topic has {len(through)} lines, of {len(set(through))} kinds"
    # The sink may write again what it wrote before it was killed, from where it had committed.
    written = sink.read_text().splitlines()
    first = list(dict.fromkeys(written))
    assert first == lines, f"the sink wrote {len(first)} lines of {len(lines)}, or in another order"


def read_committed(broker, topic, count):
    """The values of a partition's records; those beyond `count` too."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "programs",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for message in consumer.consume(1000, 1):
            if message.error() is None:
                values.append(message.value().decode())
            elif message.error().code() == KafkaError._PARTITION_EOF and len(values) >= count:
                consumer.close()
                return values
    raise AssertionError(f"{topic} has {len(values)} committed records of {count}")


def tail(path):
    return path.read_text(errors="replace")[-1500:] if path.exists() else "no word"


def mirror(brokers, folder):
    """MirrorMaker 2 between two clusters, both ways: records, and the offsets of groups."""
    folder.mkdir(parents=True)
    for broker in brokers:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        topic = NewTopic(f"from-{broker.name}", 2, 1, config={"retention.ms": "77777777"})
        admin.create_topics([topic])[topic.topic].result(PATIENCE_SECONDS)
        send_numbers(broker, topic.topic, 0, 1000)
        commit(broker, topic.topic, [500, 400])
    names = [broker.name for broker in brokers]
    settings = {"clusters": ", ".join(names)}
    for broker in brokers:
        settings[f"{broker.name}.bootstrap.servers"] = broker.bootstrap
        for internal in ("offset.storage", "status.storage", "config.storage"):
            settings[f"{broker.name}.{internal}.replication.factor"] = "1"
    for one, two in (names, names[::-1]):
        settings |= {f"{one}->{two}.enabled": "true", f"{one}->{two}.topics": f"from-{one}"}
    settings |= {
        "replication.factor": "1",
        "checkpoints.topic.replication.factor": "1",
        "heartbeats.topic.replication.factor": "1",
        "offset-syncs.topic.replication.factor": "1",
        "emit.checkpoints.interval.seconds": "1",
        "sync.group.offsets.enabled": "true",
        "sync.group.offsets.interval.seconds": "1",
        "refresh.topics.interval.seconds": "2",
        "refresh.groups.interval.seconds": "2",
        "sync.topic.acls.enabled": "false",
        "offset.flush.interval.ms": "500",
        "offset.lag.max": "0",
        "consumer.auto.offset.reset": "earliest",
        "plugin.discovery": "service_load",
    }
    config = folder / "mirror.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    with open(folder / "mirror.log", "wb") as log:
        process = subprocess.Popen(
            java("org.apache.kafka.connect.mirror.MirrorMaker", str(config)), stdout=log, stderr=log
        )
        try:
            for one, two in (brokers, brokers[::-1]):
                topic, copy = f"from-{one.name}", f"{one.name}.from-{one.name}"
                until(f"{copy} is there", lambda: copy in topics(two))
                until(f"a thousand records of {copy}", lambda: ends(two, copy) == ends(one, topic))
                send_numbers(one, topic, 1000, 1500)
                until(f"more records of {copy}", lambda: ends(two, copy) == ends(one, topic))
                assert numbers(two, copy) == numbers(one, topic), f"{copy} is not what {topic} is"
                # Of a place in the middle MirrorMaker may know one before it or none, of the end the end.
                known = zip(position(two, copy), position(one, topic), strict=True)
                assert all(at <= of for at, of in known), f"the group would miss records of {copy}"
                commit(one, topic, ends(one, topic))
                until(
                    f"the group's offsets are known for {copy}",
                    lambda: position(two, copy) == position(one, topic),
                )
            assert process.poll() is None, f"MirrorMaker ended with {process.returncode}"
        except AssertionError as failure:
            raise AssertionError(f"{failure}; MirrorMaker: {tail(folder / 'mirror.log')}") from failure
        finally:
            process.kill()
            process.wait()


def topics(broker):
    return AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=30).topics


def send_numbers(broker, topic, first, end):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True})
    for number in range(first, end):
        producer.produce(topic, b"%d" % number, key=b"k%d" % number, partition=number % 2, headers=[("h", b"%d" % number)])
    assert producer.flush(PATIENCE_SECONDS) == 0, f"records to {broker.name} were not acknowledged"


def consumer(broker, group):
    return Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})


def commit(broker, topic, offsets):
    """A group of the cluster's own has read as much."""
    offsets = [TopicPartition(topic, number, offset) for number, offset in enumerate(offsets)]
    consumer(broker, f"group-{topic}").commit(offsets=offsets, asynchronous=False)


def position(broker, topic):
    """The offsets of the group of that topic, whichever cluster they are asked of."""
    group = f"group-{topic.rpartition('.')[2]}"
    partitions = [TopicPartition(topic, number) for number in range(2)]
    return [one.offset for one in consumer(broker, group).committed(partitions, 30)]


def ends(broker, topic):
    reader = consumer(broker, "ends")
    return [reader.get_watermark_offsets(TopicPartition(topic, n), 30)[1] for n in range(2)]


def numbers(broker, topic):
    """Every record: partition, offset, key, value, headers, timestamp."""
    reader = consumer(broker, "numbers")
    reader.assign([TopicPartition(topic, number, 0) for number in range(2)])
    wanted, found = sum(ends(broker, topic)), []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < wanted and time.monotonic() < deadline:
        for message in reader.consume(1000, 1):
            if message.error() is None:
                place = (message.partition(), message.offset())
                found.append((place, message.key(), message.value(), message.headers(), message.timestamp()))
    return sorted(found)
