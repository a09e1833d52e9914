"""What is under way while one program takes over from the other: transactions that are open, and members
that wait for records. Their clients live through it, and go on."""

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from populate import results, send

PATIENCE_SECONDS = 60
IN_TRANSACTIONS, PLAIN = "unfinished-transactions", "unfinished-plain"
RECORDS = 20


class Unfinished:
    """`begin` before one program ends, `go_on` when the other has taken over; again and again."""

    def __init__(self, bootstrap, protocols):
        self.bootstrap = bootstrap
        admin = AdminClient({"bootstrap.servers": bootstrap})
        topics = [NewTopic(IN_TRANSACTIONS, 2, 1), NewTopic(PLAIN, 2, 1)]
        results(admin.create_topics(topics, operation_timeout=20))
        self.members = {name: self.member(name) for name in protocols}
        # A group without members, for its offsets only.
        self.positions = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "unfinished-offsets", "log_level": 0}
        )
        self.committed = []
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

    def go_on(self):
        """Each transaction ends as it should, and the members read on where they were."""
        self.committing.commit_transaction(PATIENCE_SECONDS)
        self.committed += self.values(0)
        # Who comes with its id aborts what the one before has left.
        self.transactional("abandoned").init_transactions(PATIENCE_SECONDS)
        found = self.read_committed()
        assert found == self.committed, f"committed are {self.committed}, and read are {found}"
        at = self.positions.committed([TopicPartition(PLAIN, 0)], PATIENCE_SECONDS)[0].offset
        assert at == self.rounds, f"the transaction's offset is {at}, not {self.rounds}"
        self.all_members_read_more()

    def transactional(self, name):
        return Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "transactional.id": f"unfinished-{name}",
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

    def read_committed(self):
        """All committed values of both partitions, up to where nothing is open."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "unfinished-reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        consumer.assign([TopicPartition(IN_TRANSACTIONS, p, OFFSET_BEGINNING) for p in (0, 1)])
        found, at_end = [], set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(at_end) < 2 or len(found) < len(self.committed):
            for message in consumer.consume(500, 0.2):
                if message.error():
                    at_end.add(message.partition())
                else:
                    found.append(message.value())
            assert time.monotonic() < deadline, f"{len(found)} of {len(self.committed)} are read"
        consumer.close()
        return sorted(found, key=lambda value: self.committed.index(value))

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
