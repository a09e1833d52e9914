"""What is under way while one program takes over from the other: transactions that are open or about to be
completed, members that wait for records, and groups without members. Their clients live through it, and go on."""

import subprocess
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from clients import java
from populate import consume_as_member, results, send

PATIENCE_SECONDS = 60
IN_TRANSACTIONS, PLAIN = "unfinished-transactions", "unfinished-plain"
PREPARED = "unfinished-prepared"
# A group of the consumer protocol whose members have gone; `contents` has its offsets.
LEFT = "members-of-consumer-protocol"
RECORDS = 20


class InJava:
    """What only Java's clients have, by Unfinished.java: share groups in the middle of their deliveries, streams
    groups, and a transaction of today's protocol."""

    # The transactional ids whose last commit may be left without its completion.
    prepared = ("prepared-java",)

    def __init__(self, bootstrap):
        self.process = subprocess.Popen(
            java("ottla.conformance.Unfinished", bootstrap),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        word, _, answer = self.process.stdout.readline().rstrip("\n").partition(" ")
        assert word == "ok", f"{command!r} of Java's clients: {answer or 'the program has ended'}"
        return answer

    def remove(self):
        self.process.kill()
        self.process.communicate()


class Unfinished:
    """`begin` before one program ends, `go_on` when the other has taken over; again and again.

    Clusters with today's features have groups of every type; those of older releases only classic ones.
    """

    def __init__(self, bootstrap, has_every_type):
        self.bootstrap = bootstrap
        protocols = ["classic", "consumer"] if has_every_type else ["classic"]
        self.in_java = InJava(bootstrap) if has_every_type else None
        # Transactional ids, and topics, whose last commit may be left without its completion.
        self.prepared = [PREPARED, *(self.in_java.prepared if self.in_java else [])]
        admin = AdminClient({"bootstrap.servers": bootstrap})
        topics = [NewTopic(name, 2, 1) for name in (IN_TRANSACTIONS, PLAIN, PREPARED)]
        results(admin.create_topics(topics, operation_timeout=20))
        self.members = {name: self.member(name) for name in protocols}
        # A group without members, for its offsets only.
        self.positions = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "unfinished-offsets", "log_level": 0}
        )
        self.committed, self.prepared_values = [], []
        self.preparing = None
        self.sent = 0
        self.rounds = 0

    def member(self, protocol):
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"unfinished-{protocol}",
                "group.protocol": protocol,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        consumer.subscribe([PLAIN])
        return consumer

    def begin(self):
        """Leave a transaction open that is to be committed, and one that nobody comes back for."""
        self.all_members_read_more()
        self.rounds += 1
        self.committing = self.in_transaction("committing", 0)
        position = [TopicPartition(PLAIN, 0, self.rounds)]
        group = self.positions.consumer_group_metadata()
        self.committing.send_offsets_to_transaction(position, group, PATIENCE_SECONDS)
        self.abandoned = self.in_transaction("abandoned", 1)
        if self.in_java:
            consume_as_member(self.bootstrap, LEFT, "codecs", "consumer")
            self.in_java.ask("begin")
        # Last: see prepared.py.
        self.commit_prepared()

    def commit_prepared(self):
        if self.preparing is None:
            self.preparing = self.transactional("prepared")
            self.preparing.init_transactions(PATIENCE_SECONDS)
        self.preparing.begin_transaction()
        values = self.values(0) + self.values(1)
        for number, value in enumerate(values):
            self.preparing.produce(PREPARED, value, partition=number % 2)
        place = [TopicPartition(PREPARED, 0, self.rounds)]
        group = self.positions.consumer_group_metadata()
        self.preparing.send_offsets_to_transaction(place, group, PATIENCE_SECONDS)
        self.preparing.commit_transaction(PATIENCE_SECONDS)
        self.prepared_values += values

    def groups(self):
        """What Java knows of each group, in words."""
        return set(self.in_java.ask("groups").split(" | ")) if self.in_java else set()

    def go_on(self):
        """Each transaction ends as it should, and the members read on where they were."""
        self.committing.commit_transaction(PATIENCE_SECONDS)
        self.committed += self.values(0)
        # Who comes with its id aborts what the one before has left.
        self.transactional("abandoned").init_transactions(PATIENCE_SECONDS)
        self.must_read(IN_TRANSACTIONS, self.committed)
        self.must_read(PREPARED, self.prepared_values)
        # Its client goes on with the next.
        self.commit_prepared()
        self.must_read(PREPARED, self.prepared_values)
        for topic in (PLAIN, PREPARED):
            at = self.positions.committed([TopicPartition(topic, 0)], PATIENCE_SECONDS)[0].offset
            assert at == self.rounds, f"the transaction's offset in {topic} is {at}, not {self.rounds}"
        self.all_members_read_more()
        if self.in_java:
            self.in_java.ask("go on")

    def transactional(self, name):
        return Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "transactional.id": f"unfinished-{name}",
                # With "rebootstrap" it forgets, while the only broker is away, that it has offsets to send.
                "metadata.recovery.strategy": "none",
                # However long the other program takes to start.
                "transaction.timeout.ms": 600_000,
                "log_level": 0,
            }
        )

    def values(self, partition):
        return [b"%d-%d-%d" % (self.rounds, partition, number) for number in range(RECORDS)]

    def in_transaction(self, name, partition):
        client = self.transactional(name)
        client.init_transactions(PATIENCE_SECONDS)
        client.begin_transaction()
        for value in self.values(partition):
            client.produce(IN_TRANSACTIONS, value, partition=partition)
        left = client.flush(PATIENCE_SECONDS)
        assert left == 0, f"{left} records of a transaction were not acknowledged"
        return client

    def must_read(self, topic, wanted):
        """What is committed in both partitions, up to where nothing is open, is this."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "unfinished-reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in (0, 1)])
        found, at_end = [], set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(at_end) < 2 or len(found) < len(wanted):
            for message in consumer.consume(500, 0.2):
                if message.error():
                    at_end.add(message.partition())
                else:
                    found.append(message.value())
            assert time.monotonic() < deadline, f"{len(found)} of {len(wanted)} of {topic} are read"
        consumer.close()
        assert sorted(found) == sorted(wanted), f"committed are {wanted}, and read are {found}"

    def all_members_read_more(self):
        client = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0})
        send(client, PLAIN, [(n % 2, None, b"%d" % n, [], 0) for n in range(RECORDS)])
        self.sent += RECORDS
        for name, member in self.members.items():
            self.read_on(name, member)

    def read_on(self, name, member):
        """The member reads what was just sent, nothing else, and commits where it is."""
        seen = 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while seen < RECORDS:
            seen += sum(not message.error() for message in member.consume(500, 0.2))
            assert time.monotonic() < deadline, f"the member of {name} has read {seen} records"
        assert seen == RECORDS, f"the member of {name} has read {seen} records, not {RECORDS}"
        for place in member.commit(asynchronous=False):
            assert place.error is None, place.error
            assert place.offset == self.sent // 2, f"{name} is at {place}"

    def close(self):
        for consumer in [*self.members.values(), self.positions]:
            consumer.close()
        if self.in_java:
            self.in_java.ask("close")

    def remove(self):
        """Whatever became of it."""
        if self.in_java:
            self.in_java.remove()
