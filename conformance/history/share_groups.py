"""What must never be seen of a share group: a record that was accepted, delivered again; one that nobody accepts."""

from dataclasses import dataclass, field

# After so many deliveries a record is given up; no kill may bring one there.
DELIVERIES_MAX = 5


@dataclass
class Shared:
    """What the consumers of one group wrote down; a place is (partition, offset)."""

    sent: list = field(default_factory=list)
    reads: list = field(default_factory=list)  # (began, ended, place, delivery)
    accepts: list = field(default_factory=list)  # (began, ended, place, is answered)
    lags: dict = field(default_factory=dict)

    @classmethod
    def parse(cls, lines):
        """The lines of ShareLoad.java."""
        shared = cls()
        for line in lines:
            word, *rest = line.split()
            if word == "sent":
                shared.sent.append((int(rest[0]), int(rest[1])))
            elif word == "read":
                began, ended, partition, offset, delivery = map(int, rest)
                shared.reads.append((began, ended, (partition, offset), delivery))
            elif word == "accept":
                began, ended, partition, offset = map(int, rest[:4])
                shared.accepts.append((began, ended, (partition, offset), rest[4] == "answered"))
            elif word == "lag":
                shared.lags[int(rest[0])] = int(rest[1])
            else:
                raise ValueError(line)
        return shared

    def faults(self):
        """Each in a sentence."""
        answered = {}
        for _, ended, place, is_answered in self.accepts:
            if not is_answered:
                continue
            if place in answered:
                yield f"{place} was accepted twice"
            answered[place] = min(ended, answered.get(place, ended))
        for began, _, place, delivery in self.reads:
            # A poll that began before may have been given the record before, by the broker that died.
            if began > answered.get(place, began):
                yield f"{place} was delivered again after its acceptance was answered"
            if not 1 <= delivery <= DELIVERIES_MAX:
                yield f"{place} was delivered as its delivery {delivery}"
        accepted = {place for _, _, place, _ in self.accepts}
        for place in self.sent:
            if place not in accepted:
                yield f"{place} was never accepted"
        if not self.lags:
            yield "the group has no offsets"
        for partition, lag in self.lags.items():
            if lag != 0:
                yield f"the group is not done with {lag} records of partition {partition}"
