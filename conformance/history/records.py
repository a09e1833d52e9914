"""What clients must never see of records: of their places, their order, and their transactions."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import accumulate

NEVER = float("inf")


class Transaction:
    """What the clients know of one transaction."""

    __slots__ = ("committed_at", "asked_at", "values", "outcome", "abort_asked_at")

    def __init__(self):
        self.values = []
        # When commit was first asked; without that nothing of it may ever be visible.
        self.asked_at = NEVER
        self.abort_asked_at = NEVER
        self.committed_at = NEVER
        self.outcome = None

    @property
    def may_be_visible(self):
        return self.asked_at < NEVER and self.outcome != "abort"


class Records:
    """Takes the events of sends, transactions and reads, and then gives the faults in them."""

    def __init__(self):
        self.sent = {}  # value: (time, partition, transaction, number in its client's order, client)
        self.sources = {}
        self.acknowledged = {}
        self.failed = set()
        self.transactions = defaultdict(Transaction)
        self.reads = defaultdict(list)  # (reader, isolation, partition): [(time, records)]
        self.log = {"committed": defaultdict(dict), "uncommitted": defaultdict(dict)}
        self.operations = 0

    # The events.

    def send(self, event):
        time, partition = event["time"], event["partition"]
        transaction, client = event.get("transaction"), event["client"]
        values = event["values"]
        self.operations += len(values)
        sent = self.sent
        for value in values:
            assert value not in sent, f"the history sends {value} twice"
            sent[value] = (time, partition, transaction, len(sent), client)
        if transaction is not None:
            self.transactions[transaction].values.extend(values)
        if "sources" in event:
            self.sources.update(zip(values, event["sources"], strict=True))

    def acknowledge(self, event):
        self.acknowledged.update(event["offsets"])
        self.failed.update(event.get("failed", ()))

    def end(self, event):
        transaction = self.transactions[event["transaction"]]
        if event["outcome"] == "commit":
            transaction.asked_at = min(transaction.asked_at, event["time"])
        else:
            transaction.abort_asked_at = min(transaction.abort_asked_at, event["time"])

    def ended(self, event):
        transaction = self.transactions[event["transaction"]]
        transaction.outcome = event["outcome"]
        if event["outcome"] == "commit":
            transaction.committed_at = event["time"]

    def read(self, event):
        records, isolation, partition = event["records"], event["isolation"], event["partition"]
        self.operations += len(records)
        if event.get("final"):
            self.log[isolation][partition].update(records)
        self.reads[event["reader"], isolation, partition].append((event["time"], records))

    # The faults.

    def faults(self):
        """Each as (name, sentence)."""
        self.places = defaultdict(dict)
        for partition, log in self.log["uncommitted"].items():
            for offset, value in log.items():
                self.places[value].setdefault((partition, offset))
        self.visible = {v for log in self.log["committed"].values() for v in log.values()}
        yield from self.faults_of_places()
        yield from self.faults_of_order()
        yield from self.faults_of_transactions()
        yield from self.faults_of_reads()

    def faults_of_places(self):
        for value, places in self.places.items():
            if len(places) > 1:
                yield "duplicated", f"{value} is stored at {' and '.join(map(at, places))}"
            if value in self.failed:
                yield "from nowhere", f"{value} failed and is stored at {at(next(iter(places)))}"
        for value, offset in self.acknowledged.items():
            partition = self.sent[value][1]
            places = self.places.get(value, ())
            if not places:
                yield "lost", f"{value} was acknowledged at {at((partition, offset))}"
            elif (partition, offset) not in places:
                was = f"{value} was acknowledged at {at((partition, offset))}"
                yield "moved", f"{was} and stands at {at(next(iter(places)))}"
            elif value not in self.visible and self.sent[value][2] is None:
                yield "lost", f"{value} is at {at((partition, offset))}, and no committed read shows it"

    def faults_of_order(self):
        for partition, log in self.log["uncommitted"].items():
            last = {}
            for offset in sorted(log):
                value = log[offset]
                if value not in self.sent:
                    continue  # a fault of reads says so
                _, _, _, number, client = self.sent[value]
                before = last.get(client)
                # One that is stored twice is a fault of its own.
                if before is not None and number < before[0] and len(self.places[value]) == 1:
                    yield "reordered", f"{value} was sent before {before[1]} and stands behind it in {partition}"
                else:
                    last[client] = (number, value)

    def faults_of_transactions(self):
        for name, transaction in self.transactions.items():
            acknowledged = [value for value in transaction.values if value in self.acknowledged]
            seen = [value for value in transaction.values if value in self.visible]
            if not transaction.may_be_visible:
                continue  # what is seen of it is a fault of reads
            hidden = [value for value in acknowledged if value not in self.visible]
            if seen and hidden:
                yield "torn", f"of {name} {seen[0]} is visible and {hidden[0]} is not"
            elif hidden and transaction.outcome == "commit":
                yield "lost", f"{name} was committed and nothing of it is visible, as {hidden[0]}"

    def faults_of_reads(self):
        logs = {
            isolation: {partition: sorted(log) for partition, log in logs.items()}
            for isolation, logs in self.log.items()
        }
        barriers = {partition: self.barriers(log) for partition, log in self.log["uncommitted"].items()}
        for (reader, isolation, partition), reads in self.reads.items():
            offsets = logs[isolation].get(partition, [])
            contents = self.log["uncommitted"][partition]
            last = None
            for time, records in reads:
                if not records:
                    continue
                yield from self.faults_of_values(reader, isolation, partition, time, records, contents)
                yield from faults_of_delivery(reader, partition, records, offsets, last)
                if isolation == "committed":
                    yield from self.read_past(reader, partition, time, records, barriers)
                last = records[-1][0]

    def faults_of_values(self, reader, isolation, partition, time, records, contents):
        sent, committed = self.sent, isolation == "committed"
        for offset, value in records:
            known = sent.get(value)
            if known is None or known[0] > time or known[1] != partition:
                yield "from nowhere", f"{reader} read {value} at {at((partition, offset))}, which nobody had sent"
                continue
            if contents.get(offset, value) != value:
                yield "moved", f"{reader} read {value} at {at((partition, offset))}, where {contents[offset]} is now"
            elif offset not in contents and value not in self.places:
                yield "lost", f"{reader} read {value} at {at((partition, offset))}, and it is gone"
            if committed and known[2] is not None:
                transaction = self.transactions[known[2]]
                if not transaction.may_be_visible:
                    yield "aborted", f"{reader} read {value} of {known[2]}, which was never committed"
                elif transaction.asked_at > time:
                    yield "too early", f"{reader} read {value} before {known[2]} was asked to commit"

    def barriers(self, log):
        """The first offset of each transaction in a partition, ascending, and up to each the latest
        moment at which one of them was first asked to end."""
        first = {}
        for offset in sorted(log):
            known = self.sent.get(log[offset])
            if known is not None and known[2] is not None:
                first.setdefault(known[2], offset)
        offsets, asked = [], []
        for name, offset in first.items():
            transaction = self.transactions[name]
            moment = min(transaction.asked_at, transaction.abort_asked_at)
            if moment < NEVER:  # else the broker ended it, nobody knows when
                offsets.append(offset)
                asked.append(moment)
        return offsets, list(accumulate(asked, max))

    def read_past(self, reader, partition, time, records, barriers):
        offsets, asked = barriers.get(partition, ((), ()))
        before = bisect_left(offsets, records[-1][0])
        if before and asked[before - 1] > time:
            yield "too early", f"{reader} read up to {at((partition, records[-1][0]))} past an open transaction"

    # Exactly once, from one topic to another.

    def faults_of_copies(self, group, source_topic, target_topic, positions):
        """What lies before the group's committed offsets is in the copy once, and the rest is not."""
        copied = defaultdict(list)
        for partition, log in self.log["committed"].items():
            if topic_of(partition) == target_topic:
                for value in log.values():
                    copied[self.sources.get(value)].append(value)
        for partition, log in self.log["committed"].items():
            if topic_of(partition) != source_topic:
                continue
            end = positions.get(partition, 0)
            for offset, value in log.items():
                copies = copied.get(value, ())
                if len(copies) > 1:
                    yield "duplicated", f"{value} is copied by {group} as {' and '.join(copies)}"
                elif offset < end and not copies:
                    yield "torn", f"{group} has committed {at((partition, end))}, and {value} at {offset} is not copied"
                elif offset >= end and copies:
                    yield "torn", f"{value} at {at((partition, offset))} is copied, and {group} is at {end}"


def faults_of_delivery(reader, partition, records, offsets, last):
    """A reader is given what is there, each once, in the order of the offsets."""
    given = [offset for offset, _ in records]
    if last is not None:
        given.insert(0, last)
    if any(left >= right for left, right in zip(given, given[1:], strict=False)):
        yield "reordered", f"{reader} was given the offsets {brief(given)} of {partition}"
        return
    there = offsets[bisect_left(offsets, given[0]) : bisect_right(offsets, given[-1])]
    if len(there) > len(given) or (len(there) == len(given) and there != given):
        missing = sorted(set(there) - set(given))
        if missing:
            yield "skipped", f"{reader} was not given {brief(missing)} between {given[0]} and {given[-1]} of {partition}"


def topic_of(partition):
    return partition.rpartition("-")[0]


def at(place):
    return f"{place[0]}@{place[1]}"


def brief(numbers):
    shown = ", ".join(map(str, numbers[:5]))
    return shown + " …" if len(numbers) > 5 else shown
