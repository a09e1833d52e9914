"""The coordinators' figures: ends of transactions, commits of offsets, and a large group of the consumer protocol
(KIP-848). The clients speak Kafka's protocol themselves, so that the same requests meet both brokers; the CPU time
is of the broker's process alone."""

import os
import random
import selectors
import socket
import statistics
import struct
import time

import wire
from flexible import Reader, Writer, batch, uuid_text
from processes import create, delete

PRODUCE, LIST_OFFSETS, OFFSET_COMMIT, FIND_COORDINATOR = 0, 2, 8, 10
INIT_PRODUCER_ID, END_TXN, HEARTBEAT = 22, 26, 68
CONCURRENT_TRANSACTIONS, LOADING = 51, 14
# The coordinator is being loaded, elected, or made.
NOT_YET = (14, 15, 16)
PARTITIONS_OF_A_TRANSACTION = 10


class Connection(wire.Connection):
    """Requests with flexible headers."""

    def ask_flexible(self, api_key, version, body):
        self.socket.sendall(framed(api_key, version, body))
        (size,) = struct.unpack(">i", self.receive(4))
        # Correlation id and tagged fields of the header.
        return Reader(self.receive(size)[5:])


def framed(api_key, version, body):
    request = struct.pack(">hhih", api_key, version, 1, 5) + b"bench" + b"\0" + body
    return struct.pack(">i", len(request)) + request


def coordinator_is_ready(connection, name, kind):
    """Asks for the coordinator until there is one, which makes its topic."""
    body = Writer().i8(kind).array([name], lambda w, key: w.text(key)).tags()
    deadline = time.monotonic() + 60
    while True:
        reader = connection.ask_flexible(FIND_COORDINATOR, 4, body.bytes())
        reader.i32()
        if reader.array(lambda: found_coordinator(reader)) == [0]:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} has no coordinator")
        time.sleep(0.05)


def found_coordinator(reader):
    """The error of one of the coordinators of a FindCoordinator response."""
    reader.text(), reader.i32(), reader.text(), reader.i32()
    error = reader.i16()
    reader.text(), reader.tags()
    return error


class Transactions:
    """A transactional producer over some partitions of one topic (transaction.version 2)."""

    def __init__(self, broker, topic):
        self.connection = Connection(broker.port)
        self.topic, self.name = topic, f"bench-{topic}"
        self.sequence = 0
        coordinator_is_ready(self.connection, self.name, 1)
        body = Writer().text(self.name).i32(60_000).i64(-1).i16(-1).tags().bytes()
        deadline = time.monotonic() + 60
        while True:
            reader = self.connection.ask_flexible(INIT_PRODUCER_ID, 4, body)
            reader.i32()
            error, self.producer_id, self.epoch = reader.i16(), reader.i64(), reader.i16()
            if error == 0:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"InitProducerId: error {error}")
            time.sleep(0.05)

    def produce(self):
        """One record to each partition."""
        records = batch(self.producer_id, self.epoch, self.sequence)
        self.sequence += 1
        body = Writer().text(self.name).i16(-1).i32(30_000)

        def partition(writer, index):
            writer.i32(index).data(records).tags()

        def topic(writer, name):
            writer.text(name).array(range(PARTITIONS_OF_A_TRANSACTION), partition).tags()

        body.array([self.topic], topic).tags()
        while True:
            reader = self.connection.ask_flexible(PRODUCE, 12, body.bytes())
            errors = produced(reader)
            if not any(errors):
                return
            # The transaction before has not ended everywhere.
            if set(errors) - {0, CONCURRENT_TRANSACTIONS}:
                raise RuntimeError(f"Produce: errors {errors}")
            time.sleep(0.001)

    def end(self, committed):
        """Milliseconds until the end is answered, and until every partition has seen it."""
        body = Writer().text(self.name).i64(self.producer_id).i16(self.epoch)
        body = body.i8(int(committed)).tags().bytes()
        started = time.monotonic()
        reader = self.connection.ask_flexible(END_TXN, 5, body)
        reader.i32()
        error, producer_id, epoch = reader.i16(), reader.i64(), reader.i16()
        answered = time.monotonic()
        if error != 0:
            raise RuntimeError(f"EndTxn: error {error}")
        while not self.has_ended():
            pass
        ended = time.monotonic()
        if epoch >= 0:
            self.producer_id, self.epoch, self.sequence = producer_id, epoch, 0
        return (answered - started) * 1000, (ended - started) * 1000

    def has_ended(self):
        """Whether nothing is open in any partition: what is stable goes as far as what there is."""
        stable, known = (self.offsets(level) for level in (1, 0))
        return stable == known

    def offsets(self, isolation_level):
        body = struct.pack(">ib", -1, isolation_level)
        body += struct.pack(">ih", 1, len(self.topic)) + self.topic.encode()
        body += struct.pack(">i", PARTITIONS_OF_A_TRANSACTION)
        for index in range(PARTITIONS_OF_A_TRANSACTION):
            body += struct.pack(">iq", index, -1)
        fields = wire.Fields(self.connection.ask(LIST_OFFSETS, 2, body))
        fields.take("i")
        found = []
        fields.repeat(
            lambda: (fields.string(), fields.repeat(lambda: found.append(fields.take("ihqq"))))
        )
        return [offset for _, _, _, offset in found]


def produced(reader):
    """The errors of a Produce response of version 12."""
    errors = []

    def partition():
        reader.i32()
        errors.append(reader.i16())
        reader.i64(), reader.i64(), reader.i64()
        reader.array(lambda: (reader.i32(), reader.text(), reader.tags()))
        reader.text()
        reader.tags()

    reader.array(lambda: (reader.text(), reader.array(partition), reader.tags()))
    return errors


def transactions(session):
    """How long the end of a transaction over ten partitions takes."""
    form = session.form
    pair = session.pair()
    for number in range(form.rounds + 1):
        for broker in pair:
            topic = f"transactions-{number}"
            create(broker, topic, partitions=PARTITIONS_OF_A_TRANSACTION)
            producer = Transactions(broker, topic)
            found = {True: [], False: []}
            for count in range(form.transactions):
                producer.produce()
                found[count % 2 == 0].append(producer.end(count % 2 == 0))
            delete(broker, topic)
            if number == 0:
                continue
            for committed, name in ((True, "commit"), (False, "abort")):
                answered, ended = zip(*found[committed])
                where = f"{name} over {PARTITIONS_OF_A_TRANSACTION} partitions"
                yield f"ms p50 until answered, {where}", broker.name, statistics.median(answered)
                yield f"ms p50 until ended, {where}", broker.name, statistics.median(ended)


def offset_commits(session):
    """Commits of six offsets each, one after the other on each of several connections."""
    form = session.form
    pair = session.pair()
    for number in range(form.rounds + 1):
        for broker in pair:
            topic = f"committed-{number}"
            create(broker, topic)
            before = broker.cpu_seconds()
            started = time.monotonic()
            count = commit_for(broker, topic, form.commit_seconds)
            seconds = time.monotonic() - started
            cpu = broker.cpu_seconds() - before
            delete(broker, topic)
            if number > 0:
                yield "offset commits per CPU-s", broker.name, count / cpu
                yield "offset commits per s", broker.name, count / seconds


def commit_for(broker, topic, seconds):
    """How many commits were answered; each connection has a group of its own."""
    selector = selectors.DefaultSelector()
    for index in range(16):
        group = f"{topic}-{index}"
        connection = Connection(broker.port)
        coordinator_is_ready(connection, group, 0)
        request = framed(OFFSET_COMMIT, 8, commit_body(group, topic))
        connection.socket.sendall(request)
        selector.register(connection.socket, selectors.EVENT_READ, (connection, request))
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key, _ in selector.select(1):
            connection, request = key.data
            (size,) = struct.unpack(">i", connection.receive(4))
            answer = connection.receive(size)
            # Of a group whose coordinator is being loaded all answers are the same error.
            count += not answer.endswith(struct.pack(">h", LOADING) + b"\0\0\0")
            connection.socket.sendall(request)
    for key in list(selector.get_map().values()):
        key.data[0].socket.close()
    return count


def commit_body(group, topic):
    def partition(writer, index):
        writer.i32(index).i64(42).i32(-1).text("").tags()

    def of_topic(writer, name):
        writer.text(name).array(range(6), partition).tags()

    writer = Writer().text(group).i32(-1).text("").null()
    return writer.array([topic], of_topic).tags().bytes()


class Member:
    """A member of a group of the consumer protocol: it gives up at once what it is told to, and says so."""

    def __init__(self, group, port):
        self.group, self.id = group, uuid_text(random.randbytes(16))
        self.epoch, self.owned = 0, {}
        self.connection = Connection(port)
        self.due = 0
        self.interval = 5.0
        self.waits = False
        self.has_news = True

    def send(self, topic=None, leaves=False):
        """A heartbeat; the first and the last say more."""
        body = Writer().text(self.group.name).text(self.id).i32(-1 if leaves else self.epoch)
        joins = self.epoch == 0 and not leaves
        body.null().null().i32(300_000 if joins else -1)
        body.array([topic], lambda w, name: w.text(name)) if joins else body.null()
        body.null().null()
        if self.has_news and not leaves:
            body.array(sorted(self.owned), self.write_owned)
        else:
            body.null()
        self.has_news = False
        request = framed(HEARTBEAT, 1, body.tags().bytes())
        self.connection.socket.sendall(request)
        self.waits = True

    def write_owned(self, writer, topic_id):
        writer.raw(topic_id).array(sorted(self.owned[topic_id]), lambda w, index: w.i32(index)).tags()

    def take(self, now):
        """The answer; says whether there is anything new in it."""
        (size,) = struct.unpack(">i", self.connection.receive(4))
        reader = Reader(self.connection.receive(size)[5:])
        self.waits = False
        reader.i32()
        error, message = reader.i16(), reader.text()
        if error in NOT_YET:
            self.due, self.has_news = now + 0.05, True
            return False
        if error != 0:
            raise RuntimeError(f"ConsumerGroupHeartbeat: error {error}: {message}")
        reader.text()
        before = self.epoch
        self.epoch = reader.i32()
        self.interval = reader.i32() / 1000
        self.due = now + self.interval
        changed = False
        if reader.i8() >= 0:
            owned = {}

            def topic():
                topic_id = reader.raw(16)
                owned[topic_id] = set(reader.array(reader.i32))
                reader.tags()

            reader.array(topic)
            changed = owned != self.owned
            self.owned = owned
        if changed:
            # It has nothing to finish first: it has given up and taken over at once.
            self.due = now
            self.has_news = True
        return changed or before != self.epoch


class Group:
    """Many members in one process, each with a connection of its own."""

    def __init__(self, broker, topic, partitions):
        self.broker, self.topic, self.partitions = broker, topic, partitions
        self.name = f"group-{topic}"
        self.members = []
        self.selector = selectors.DefaultSelector()

    def join(self, count):
        now = time.monotonic()
        for index in range(count):
            member = Member(self, self.broker.port)
            # As instances of an application that is rolled out: over a second.
            member.due = now + index / count
            self.members.append(member)
            self.selector.register(member.connection.socket, selectors.EVENT_READ, member)

    def leave(self):
        member = self.members.pop()
        while member.waits:
            member.take(time.monotonic())
        member.send(leaves=True)
        member.take(time.monotonic())
        self.selector.unregister(member.connection.socket)
        member.connection.socket.close()

    def settle(self):
        """Seconds until every partition has an owner, in the group's last epoch."""
        started = time.monotonic()
        while not self.is_settled():
            self.run_for(0.02)
            if time.monotonic() - started > 300:
                raise RuntimeError("the group does not settle")
        return time.monotonic() - started

    def is_settled(self):
        if len({member.epoch for member in self.members}) != 1 or self.members[0].epoch == 0:
            return False
        owned = sum(len(indexes) for member in self.members for indexes in member.owned.values())
        sizes = [sum(map(len, member.owned.values())) for member in self.members]
        return owned == self.partitions and max(sizes) - min(sizes) <= 1

    def run_for(self, seconds):
        """Heartbeats when they are due, and answers as they come."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for member in self.members:
                if member.due <= now and not member.waits:
                    member.send(self.topic)
            for key, _ in self.selector.select(0.005):
                key.data.take(time.monotonic())

    def close(self):
        for member in self.members:
            member.connection.socket.close()


def large_group(session):
    """A group of many members over many partitions: it starts, one joins, one leaves."""
    form = session.form
    pair = session.pair()
    where = f"{form.group_members} members, {form.group_partitions} partitions"
    for number in range(form.group_rounds):
        for broker in pair:
            topic = f"grouped-{number}"
            create(broker, topic, partitions=form.group_partitions)
            with Connection(broker.port) as connection:
                coordinator_is_ready(connection, f"group-{topic}", 0)
            group = Group(broker, topic, form.group_partitions)
            before = broker.cpu_seconds()
            group.join(form.group_members)
            yield f"s until a group has settled, {where}", broker.name, group.settle()
            group.join(1)
            yield f"s until it has settled after a join, {where}", broker.name, group.settle()
            group.leave()
            yield f"s until it has settled after a leave, {where}", broker.name, group.settle()
            yield f"CPU-s of start, join and leave, {where}", broker.name, broker.cpu_seconds() - before
            # What heartbeats alone cost.
            before = broker.cpu_seconds()
            group.run_for(form.group_idle_seconds)
            cpu = (broker.cpu_seconds() - before) / form.group_idle_seconds * 60
            yield f"CPU-s a minute of heartbeats, {where}", broker.name, cpu
            group.close()
            delete(broker, topic)
            os.sync()


FIGURES = {
    "transactions": transactions,
    "offset-commits": offset_commits,
    "large-group": large_group,
}
MINUTES = {"transactions": 2, "offset-commits": 3, "large-group": 6}
