"""What must never be seen of a group: two owners of one partition, and offsets that go back."""

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate

NEVER = float("inf")


class Groups:
    """Takes the events of assignments and committed offsets, and then gives the faults in them."""

    def __init__(self):
        self.owned = {}  # (group, member, partition): when it was assigned
        self.ownerships = defaultdict(list)  # (group, partition): [(from, until, member)]
        self.commits = defaultdict(list)  # (group, partition): [(asked, done, offset, transaction, member)]
        self.asked = defaultdict(list)
        self.positions = defaultdict(list)  # (group, partition): [(began, ended, offset)]
        self.final = defaultdict(dict)
        self.operations = 0

    # The events.

    def assigned(self, event):
        self.operations += 1
        for partition in event["partitions"]:
            self.owned[event["group"], event["member"], partition] = event["time"]

    def revoked(self, event):
        """Given up in order: it was owned until now."""
        self.operations += 1
        for partition in event["partitions"]:
            self.close(event["group"], event["member"], partition, event["time"])

    def lost(self, event):
        """Taken by the group, nobody knows when: it was owned as long as commits succeeded."""
        self.operations += 1
        for partition in event["partitions"]:
            self.close(event["group"], event["member"], partition, None)

    def close(self, group, member, partition, until):
        since = self.owned.pop((group, member, partition), None)
        if since is None:
            return
        if until is None:
            commits = self.commits[group, partition]
            until = max((asked for asked, _, _, _, who in commits if who == member), default=since)
        if until > since:
            self.ownerships[group, partition].append((since, until, member))

    def commit(self, event):
        self.operations += 1
        for partition, offset in event["offsets"].items():
            self.asked[event["group"], partition].append((event["time"], offset, event.get("transaction")))

    def committed(self, event):
        for partition, offset in event["offsets"].items():
            self.commits[event["group"], partition].append(
                (event["began"], event["time"], offset, event.get("transaction"), event["member"])
            )

    def position(self, event):
        self.operations += 1
        for partition, offset in event["offsets"].items():
            self.positions[event["group"], partition].append((event["began"], event["time"], offset))
            if event.get("final"):
                self.final[event["group"]][partition] = max(offset, 0)

    # The faults.

    def faults(self, transactions):
        """Each as (name, sentence); `transactions` are what is known of them."""
        for group, member, partition in list(self.owned):
            # It died: as with what is lost, its commits say how long it owned.
            self.close(group, member, partition, None)
        yield from self.two_owners()
        for (group, partition), positions in self.positions.items():
            yield from self.faults_of_offsets(group, partition, positions, transactions)

    def two_owners(self):
        for (group, partition), ownerships in self.ownerships.items():
            until, owner = 0, None
            for since, end, member in sorted(ownerships):
                if since < until and member != owner:
                    yield "assigned twice", f"{partition} of {group} to {owner} and {member} at once"
                if end > until:
                    until, owner = end, member

    def faults_of_offsets(self, group, partition, positions, transactions):
        known = [(ended, offset) for _, ended, offset in positions]
        for _, done, offset, transaction, _ in self.commits[group, partition]:
            when = done if transaction is None else transactions[transaction].committed_at
            if when < NEVER:
                known.append((when, offset))
        known.sort()
        times = [time for time, _ in known]
        highest = list(accumulate((offset for _, offset in known), max))
        first_asked = {}
        for time, offset, transaction in self.asked[group, partition]:
            if transaction is not None:
                if not transactions[transaction].may_be_visible:
                    continue
                time = transactions[transaction].asked_at
            first_asked[offset] = min(time, first_asked.get(offset, NEVER))
        for began, ended, offset in positions:
            before = bisect_left(times, began)
            if before and highest[before - 1] > offset:
                yield "gone back", f"{group} was at {partition}@{highest[before - 1]}, and then at {offset}"
            if offset >= 0 and first_asked.get(offset, NEVER) > ended:
                yield "from nowhere", f"{group} is at {partition}@{offset}, which nobody had committed"
