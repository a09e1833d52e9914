"""Clients that write down what they do: `clients.py ROLE BOOTSTRAP HISTORY NAME SEED`, until the process is
told to stop by the end of its standard input. README.md beside this file describes the history."""

import contextlib
import faulthandler
import os
import random
import sys
import threading
import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from events import Recorder

PARTITIONS = 3
MIXED, COPY = "mixed", "copy"
COPIERS, CLASSIC, NEXT = "copiers", "classic-readers", "consumer-readers"
PATIENCE_SECONDS = 30
LATE = (KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT)

stopping = threading.Event()


def quiet(settings):
    """It sees brokers come and go, and need not tell."""
    return {
        "log_level": 0,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 250,
        # With "rebootstrap" librdkafka 2.16 forgets, while the only broker is away, that it has offsets to
        # send in a transaction, and its call never returns.
        "metadata.recovery.strategy": "none",
        **settings,
    }


def now():
    return time.monotonic_ns()


def by_partition(messages):
    """[(offset, value)] of each partition, in the order in which they came; an error is raised."""
    found = {}
    for message in messages:
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF or message.error().retriable():
                continue
            raise KafkaException(message.error())
        name = f"{message.topic()}-{message.partition()}"
        found.setdefault(name, []).append((message.offset(), message.value().decode()))
    return found


def slot(name):
    """What stays when a process that was killed is started again, as `copier0~2` for `copier0`."""
    return name.partition("~")[0]


class Sender:
    """An idempotent producer, perhaps transactional, whose every record is written down."""

    def __init__(self, recorder, bootstrap, name, transactional_id=None):
        settings = {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 2,
            "message.timeout.ms": PATIENCE_SECONDS * 1000,
        }
        if transactional_id is not None:
            settings |= {"transactional.id": transactional_id, "transaction.timeout.ms": 20_000}
            settings["message.timeout.ms"] = 20_000
            # librdkafka 2.16 sends offsets to the coordinator that it remembers, and where that has left the
            # cluster waits for the state of any connection to change, with no regard to its own time-out
            # (confluentinc/librdkafka#5511, #5456). Connections that nothing uses change it.
            settings["connections.max.idle.ms"] = 4000
        self.producer = Producer(quiet(settings))
        self.recorder, self.name = recorder, name
        self.number = 0
        if transactional_id is not None:
            self.producer.init_transactions(PATIENCE_SECONDS)

    def send(self, topic, partition, count=0, transaction=None, sources=None):
        """Send `count` records, or one for each source, and wait for their acknowledgements."""
        count = count if sources is None else len(sources)
        values = [f"{self.name}/{self.number + index}" for index in range(count)]
        self.number += count
        fields = {"client": self.name, "partition": f"{topic}-{partition}", "values": values}
        if transaction is not None:
            fields["transaction"] = transaction
        if sources is not None:
            fields["sources"] = sources
        self.recorder.write("send", **fields)
        offsets, failures = [], []

        def delivered(error, message):
            if error is None:
                offsets.append((message.value().decode(), message.offset()))
            else:
                failures.append(error)

        for value in values:
            self.producer.produce(topic, value, partition=partition, on_delivery=delivered)
        self.producer.flush(PATIENCE_SECONDS)
        if offsets:
            self.recorder.write("sent", offsets=offsets)
        if failures:
            raise KafkaException(failures[0])


class Transactions:
    """Transactions of one producer after the other, each written down with its end."""

    def __init__(self, recorder, bootstrap, name):
        self.recorder, self.bootstrap, self.name = recorder, bootstrap, name
        self.transactional_id = slot(name)
        self.sender, self.producers, self.number = None, 0, 0

    def begin(self):
        if self.sender is None:
            self.producers += 1
            name = f"{self.name}.{self.producers}"
            self.sender = Sender(self.recorder, self.bootstrap, name, self.transactional_id)
        self.number += 1
        self.sender.producer.begin_transaction()
        return f"{self.sender.name}:{self.number}"

    def end(self, transaction, outcome):
        """Raises where it is not known how it ended."""
        self.recorder.write("end", transaction=transaction, outcome=outcome)
        producer = self.sender.producer
        end = producer.commit_transaction if outcome == "commit" else producer.abort_transaction
        for _ in range(10):
            try:
                end(PATIENCE_SECONDS)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
            else:
                self.recorder.write("ended", transaction=transaction, outcome=outcome)
                return
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def run(self, work, outcome):
        """One transaction around `work(sender, transaction)`; whether it ended as wanted."""
        transaction = None
        try:
            transaction = self.begin()
            work(self.sender, transaction)
            self.end(transaction, outcome)
            return True
        except KafkaException as error:
            if transaction is not None and error.args[0].txn_requires_abort():
                with contextlib.suppress(KafkaException):
                    # Where commit was asked before, the history leaves open how it ended.
                    self.recorder.write("end", transaction=transaction, outcome="abort")
                    self.sender.producer.abort_transaction(PATIENCE_SECONDS)
                    return False
            self.sender = None
            return False


def plain_producer(recorder, bootstrap, name, chance):
    producers = 0
    while not stopping.is_set():
        producers += 1
        sender = Sender(recorder, bootstrap, f"{name}.{producers}")
        with contextlib.suppress(KafkaException):
            while not stopping.is_set():
                sender.send(MIXED, chance.randrange(PARTITIONS), chance.randint(1, 40))
                stopping.wait(chance.uniform(0, 0.04))


def transactional_producer(recorder, bootstrap, name, chance):
    transactions = Transactions(recorder, bootstrap, name)

    def work(sender, transaction):
        for _ in range(chance.randint(1, 4)):
            sender.send(MIXED, chance.randrange(PARTITIONS), chance.randint(1, 15), transaction)
            # Some stay open for a while.
            stopping.wait(chance.choice([0, 0, 0.005, 0.1]))

    while not stopping.is_set():
        transactions.run(work, "abort" if chance.random() < 0.25 else "commit")
        stopping.wait(chance.uniform(0, 0.03))


def reader(recorder, bootstrap, name, chance, isolation):
    """Reads on from some offset of each partition, and after a while from another."""
    consumer = Consumer(reading(bootstrap, name, isolation))
    sessions = 0
    while not stopping.is_set():
        sessions += 1
        here = []
        for topic in (MIXED, COPY):
            for partition in range(PARTITIONS):
                one = TopicPartition(topic, partition)
                with contextlib.suppress(KafkaException):
                    _, end = consumer.get_watermark_offsets(one, PATIENCE_SECONDS)
                    one.offset = max(end - chance.randint(0, 2000), 0)
                    here.append(one)
        consumer.assign(here)
        until = time.monotonic() + chance.uniform(3, 8)
        while not stopping.is_set() and time.monotonic() < until:
            for partition, records in by_partition(consumer.consume(200, 0.1)).items():
                fields = {"reader": f"{name}.{sessions}", "isolation": isolation}
                recorder.write("read", partition=partition, records=records, **fields)
    consumer.close()


def reading(bootstrap, group, isolation, **more):
    return quiet(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "isolation.level": f"read_{isolation}",
            **{name.replace("_", "."): value for name, value in more.items()},
        }
    )


# Processes of copiers are killed: every second one is known again by its name when it comes back, and
# the group finds out by itself that another is gone.
PROTOCOLS = {
    COPIERS: lambda name: {
        "session_timeout_ms": 6_000,
        "heartbeat_interval_ms": 300,
        **({"group_instance_id": slot(name)} if slot(name).endswith("0") else {}),
    },
    CLASSIC: lambda _: {
        "session_timeout_ms": 20_000,
        "heartbeat_interval_ms": 300,
        "partition_assignment_strategy": "cooperative-sticky",
    },
    NEXT: lambda _: {"group_protocol": "consumer"},
}


class Member:
    """A member of a group whose assignments and commits are written down."""

    def __init__(self, recorder, bootstrap, group, name, topic):
        self.consumer = Consumer(reading(bootstrap, group, "committed", **PROTOCOLS[group](name)))
        self.recorder, self.group, self.name = recorder, group, name
        self.sessions = {}
        self.assignments = 0
        self.consumer.subscribe(
            [topic],
            on_assign=lambda _, partitions: self.changed("assigned", partitions),
            on_revoke=lambda _, partitions: self.changed("revoked", partitions),
            on_lost=lambda _, partitions: self.changed("lost", partitions),
        )

    def changed(self, kind, partitions):
        self.assignments += 1
        names = [f"{one.topic}-{one.partition}" for one in partitions]
        self.recorder.write(kind, group=self.group, member=self.name, partitions=names)
        for name in names:
            if kind == "assigned":
                self.sessions[name] = f"{self.name}.{self.assignments}"
            else:
                self.sessions.pop(name, None)

    def poll(self, count):
        """[(offset, value)] of each partition that it owns."""
        found = by_partition(self.consumer.consume(count, 0.2))
        found = {name: records for name, records in found.items() if name in self.sessions}
        for name, records in found.items():
            session = {"reader": self.sessions[name], "isolation": "committed"}
            self.recorder.write("read", partition=name, records=records, **session)
        return found

    def rewind(self):
        """To what is committed; reading begins anew there."""
        self.assignments += 1
        for one in self.consumer.committed(self.consumer.assignment(), PATIENCE_SECONDS):
            self.sessions[f"{one.topic}-{one.partition}"] = f"{self.name}.{self.assignments}"
            if one.offset < 0:
                one.offset = OFFSET_BEGINNING
            self.consumer.seek(one)

    def commit(self, offsets, how, transaction=None):
        fields = {"group": self.group, "member": self.name, "offsets": offsets}
        if transaction is not None:
            fields["transaction"] = transaction
        began = now()
        self.recorder.write("commit", **fields)
        how([TopicPartition(*split(name), offset) for name, offset in offsets.items()])
        self.recorder.write("committed", began=began, **fields)


def split(partition):
    topic, _, number = partition.rpartition("-")
    return topic, int(number)


def ends(found):
    return {name: records[-1][0] + 1 for name, records in found.items()}


def group_member(recorder, bootstrap, name, chance, group):
    """Members one after the other; each reads, commits, and leaves."""
    lives = 0
    while not stopping.is_set():
        lives += 1
        member = Member(recorder, bootstrap, group, f"{name}.{lives}", MIXED)
        until = time.monotonic() + chance.uniform(3, 10)

        def commit(offsets, consumer=member.consumer):
            answers = consumer.commit(offsets=offsets, asynchronous=False)
            for answer in answers:
                if answer.error:
                    raise KafkaException(answer.error)

        while not stopping.is_set() and time.monotonic() < until:
            with contextlib.suppress(KafkaException):
                found = member.poll(200)
                if found:
                    member.commit(ends(found), commit)
        member.consumer.close()


def copier(recorder, bootstrap, name, chance):
    """Copies in transactions exactly once; what is aborted is read again."""
    member = Member(recorder, bootstrap, COPIERS, name, MIXED)
    transactions = Transactions(recorder, bootstrap, name)
    while not stopping.is_set():
        try:
            found = member.poll(100)
        except KafkaException:
            continue
        if not found:
            continue

        def work(sender, transaction, found=found):
            for partition, records in found.items():
                values = [value for _, value in records]
                sender.send(COPY, split(partition)[1], transaction=transaction, sources=values)

            def in_transaction(offsets):
                sender.producer.send_offsets_to_transaction(
                    offsets, member.consumer.consumer_group_metadata(), PATIENCE_SECONDS
                )

            member.commit(ends(found), in_transaction, transaction)

        wanted = "abort" if chance.random() < 0.2 else "commit"
        if transactions.run(work, wanted) and wanted == "commit":
            continue
        while not stopping.is_set():
            with contextlib.suppress(KafkaException):
                member.rewind()
                break
    member.consumer.close()


def watcher(recorder, bootstrap, name, _):
    """Asks for the committed offsets of all groups, over and over."""
    # Between the end of a transaction and its marker a group's offsets are as before, for who does not want them stable.
    isolations = {COPIERS: "committed", CLASSIC: "uncommitted", NEXT: "uncommitted"}
    consumers = {
        group: Consumer(reading(bootstrap, group, isolation)) for group, isolation in isolations.items()
    }
    partitions = [TopicPartition(MIXED, number) for number in range(PARTITIONS)]
    while not stopping.wait(0.1):
        for group, consumer in consumers.items():
            positions(recorder, consumer, group, partitions)


def positions(recorder, consumer, group, partitions, **final):
    began = now()
    try:
        answers = consumer.committed(partitions, PATIENCE_SECONDS)
    except KafkaException:
        return False
    if any(answer.error for answer in answers):
        return False
    offsets = {f"{one.topic}-{one.partition}": max(one.offset, -1) for one in answers}
    recorder.write("position", group=group, offsets=offsets, began=began, **final)
    return True


def last_look(recorder, bootstrap, name, _):
    """Everything that is there in the end; both isolations, and the groups' offsets."""
    recorder.write("copies", group=COPIERS, **{"from": MIXED, "to": COPY})
    partitions = [TopicPartition(topic, n, 0) for topic in (MIXED, COPY) for n in range(PARTITIONS)]
    for isolation in ("uncommitted", "committed"):
        settings = reading(bootstrap, name, isolation) | {"enable.partition.eof": True}
        consumer = Consumer(settings)
        consumer.assign(partitions)
        ended = set()
        while len(ended) < len(partitions):
            messages = consumer.consume(5000, 1)
            for message in messages:
                if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add((message.topic(), message.partition()))
            for partition, records in by_partition(messages).items():
                fields = {"reader": name, "isolation": isolation, "final": True}
                recorder.write("read", partition=partition, records=records, **fields)
        consumer.close()
    mixed = [TopicPartition(MIXED, number) for number in range(PARTITIONS)]
    for group in (COPIERS, CLASSIC, NEXT):
        consumer = Consumer(reading(bootstrap, group, "committed"))
        while not positions(recorder, consumer, group, mixed, final=True):
            time.sleep(0.05)
        consumer.close()


# What a process of each role runs, each in a thread of its own.
ROLES = {
    "producers": [plain_producer] * 2 + [transactional_producer] * 3,
    "readers": [
        lambda *given: reader(*given, "committed"),
        lambda *given: reader(*given, "uncommitted"),
        watcher,
    ],
    "members": [lambda *given: group_member(*given, CLASSIC)] * 3
    + [lambda *given: group_member(*given, NEXT)] * 3,
    "copier": [copier],
    "last look": [last_look],
}


def names(process, number):
    """A name for each thread; the process that is killed has one thread, and bears its name."""
    return process if process.startswith("copier") else f"{process}.{number}"


def main():
    role, bootstrap, history, name, seed = sys.argv[1:]
    # Who waits for it in vain ends it by SIGABRT, and finds where it hung.
    faulthandler.enable()
    recorder = Recorder(history)
    failures = []

    def guarded(run, *given):
        try:
            run(*given)
        except BaseException as error:  # told by the exit code; a stopped thread would be a silent loss
            failures.append(error)
            stopping.set()
            raise

    threads = [
        threading.Thread(
            target=guarded,
            args=(run, recorder, bootstrap, names(name, number), random.Random(f"{seed} {number}")),
            daemon=True,
        )
        for number, run in enumerate(ROLES[role])
    ]
    for thread in threads:
        thread.start()
    if role != "last look":
        sys.stdin.read()
        stopping.set()
    for thread in threads:
        thread.join()
    sys.stderr.flush()
    # Not by `sys.exit`: threads of librdkafka may still run while Python takes itself apart, and then the process
    # ends by a signal, after everything was written and closed.
    os._exit(1 if failures else 0)


if __name__ == "__main__":
    main()
