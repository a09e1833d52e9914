"""Reads the histories of many clients, and says what no cluster that keeps its promises could have done."""

import gc
import sys
import time
from collections import Counter

import events
from groups import Groups
from records import Records

SHOWN = 5
# A history in which nothing happened shows nothing.
ACKNOWLEDGED_MIN = 100


class History:
    """What clients wrote down, taken in event by event."""

    def __init__(self, history=()):
        self.records, self.groups = Records(), Groups()
        self.copies = []
        self.take = {
            "send": self.records.send,
            "sent": self.records.acknowledge,
            "end": self.records.end,
            "ended": self.records.ended,
            "read": self.records.read,
            "assigned": self.groups.assigned,
            "revoked": self.groups.revoked,
            "lost": self.groups.lost,
            "commit": self.groups.commit,
            "committed": self.groups.committed,
            "position": self.groups.position,
            "copies": self.copies.append,
        }
        for event in history:
            self.take[event["type"]](event)

    @property
    def operations(self):
        return self.records.operations + self.groups.operations

    def faults(self):
        """Each as (name, sentence)."""
        yield from self.records.faults()
        yield from self.groups.faults(self.records.transactions)
        for copy in self.copies:
            positions = self.groups.final[copy["group"]]
            yield from self.records.faults_of_copies(copy["group"], copy["from"], copy["to"], positions)


def summary(history):
    """How much was seen."""
    records, groups = history.records, history.groups
    outcomes = Counter(one.outcome or "unknown" for one in records.transactions.values())
    ended = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    return (
        f"{history.operations} operations: {len(records.sent)} records sent,"
        f" {len(records.acknowledged)} acknowledged; transactions: {ended or 'none'};"
        f" {sum(map(len, records.reads.values()))} reads by {len(records.reads)} readers;"
        f" {sum(map(len, groups.ownerships.values()))} ownerships,"
        f" {sum(map(len, groups.commits.values()))} commits, {sum(map(len, groups.positions.values()))} positions"
    )


def check(paths):
    """The counts of the faults, and lines to show."""
    # A history is millions of small objects that all live to the end.
    gc.disable()
    began = time.monotonic()
    history = History(events.read(paths))
    counts, lines = Counter(), []
    for name, sentence in history.faults():
        counts[name] += 1
        if counts[name] <= SHOWN:
            lines.append(f"{name}: {sentence}")
    lines.append(f"{summary(history)}; checked in {time.monotonic() - began:.1f} s")
    return history, counts, lines


def main():
    history, counts, lines = check(sys.argv[1:])
    print("\n".join(lines))
    found = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"faults: {found or 'none'}")
    if len(history.records.acknowledged) < ACKNOWLEDGED_MIN:
        sys.exit("too little was acknowledged to show anything")
    sys.exit(1 if counts else 0)


if __name__ == "__main__":
    main()
