"""Each fault is found in a history made by hand and in a real one that was spoilt, and nothing else is."""

import copy
import lzma
import json
import unittest
from collections import Counter
from pathlib import Path

from checker import History

REAL = Path(__file__).parent / "testdata/clean.history.xz"


def faults(events):
    return Counter(name for name, _ in History(events).faults())


class Made:
    """A history by hand; the clock goes on by one with each event."""

    def __init__(self):
        self.events = []

    def add(self, kind, **fields):
        self.events.append({"type": kind, "time": len(self.events), **fields})
        return self

    def send(self, *values, transaction=None, partition="t-0", client="p", **more):
        fields = {"client": client, "partition": partition, "values": list(values), **more}
        return self.add("send", transaction=transaction, **fields)

    def sent(self, *offsets, **more):
        return self.add("sent", offsets=[list(pair) for pair in offsets], **more)

    def end(self, transaction, outcome="commit", known=True):
        self.add("end", transaction=transaction, outcome=outcome)
        return self.add("ended", transaction=transaction, outcome=outcome) if known else self

    def read(self, *records, isolation="committed", reader="r", partition="t-0"):
        fields = {"reader": reader, "isolation": isolation, "partition": partition}
        return self.add("read", records=[list(pair) for pair in records], **fields)

    def log(self, *records, hidden=(), partition="t-0"):
        """What is there in the end; a committed read does not show what is hidden."""
        for isolation in ("uncommitted", "committed"):
            shown = [list(one) for one in records if isolation == "uncommitted" or one[1] not in hidden]
            fields = {"reader": "last", "isolation": isolation, "partition": partition}
            self.add("read", records=shown, final=True, **fields)
        return self

    def owns(self, member, *kinds):
        for kind in kinds:
            self.add(kind, group="g", member=member, partitions=["t-0"])
        return self

    def commit(self, offset, member="m", **more):
        fields = {"group": "g", "member": member, "offsets": {"t-0": offset}, **more}
        began = len(self.events)
        return self.add("commit", **fields).add("committed", began=began, **fields)

    def position(self, offset, **more):
        fields = {"group": "g", "offsets": {"t-0": offset}, **more}
        return self.add("position", began=len(self.events) - 0.5, **fields)


class ByHand(unittest.TestCase):
    def found(self, made, *names):
        self.assertEqual(sorted(faults(made.events)), sorted(names))

    def test_what_is_promised_is_no_fault(self):
        made = Made().send("a", "b", "c").sent(("a", 0), ("b", 1))
        made.send("x", "y", transaction="T", client="q").sent(("x", 2), ("y", 3)).end("T")
        made.read((0, "a"), (1, "b"), (2, "x")).read((3, "y"))
        made.send("z", transaction="U", client="q").sent(("z", 5)).end("U", "abort")
        self.found(made.log((0, "a"), (1, "b"), (2, "x"), (3, "y"), (5, "z"), hidden="z"))

    def test_what_was_not_acknowledged_may_be_stored_or_not(self):
        self.found(Made().send("a", "b").log((0, "b")))

    def test_a_transaction_without_an_answer_may_have_ended_either_way(self):
        made = Made().send("x", "y", transaction="T").sent(("x", 0), ("y", 1)).end("T", known=False)
        self.found(copy.deepcopy(made).log((0, "x"), (1, "y")))
        self.found(made.log((0, "x"), (1, "y"), hidden="xy"))

    def test_lost(self):
        self.found(Made().send("a", "b").sent(("a", 0), ("b", 1)).log((1, "b")), "lost")
        self.found(Made().send("a").sent(("a", 0)).log((0, "a"), hidden="a"), "lost")
        made = Made().send("x", transaction="T").sent(("x", 0)).end("T")
        self.found(made.log((0, "x"), hidden="x"), "lost")
        self.found(Made().send("a").read((0, "a")).log(), "lost")

    def test_duplicated(self):
        self.found(Made().send("a").sent(("a", 0)).log((0, "a"), (1, "a")), "duplicated")

    def test_moved(self):
        self.found(Made().send("a").sent(("a", 0)).log((1, "a")), "moved")
        self.found(Made().send("a", "b").read((0, "a")).log((0, "b")), "moved")

    def test_reordered(self):
        self.found(Made().send("a").send("b").log((0, "b"), (1, "a")), "reordered")
        made = Made().send("a", "b").read((1, "b")).read((0, "a")).log((0, "a"), (1, "b"))
        self.found(made, "reordered")

    def test_skipped(self):
        made = Made().send("a", "b", "c").read((0, "a"), (2, "c"))
        self.found(made.log((0, "a"), (1, "b"), (2, "c")), "skipped")

    def test_skipped_between_two_reads(self):
        made = Made().send("a", "b", "c").read((0, "a")).read((2, "c"))
        self.found(made.log((0, "a"), (1, "b"), (2, "c")), "skipped")

    def test_aborted(self):
        made = Made().send("x", transaction="T").sent(("x", 0)).end("T", "abort").read((0, "x"))
        self.found(made.log((0, "x"), hidden="x"), "aborted")

    def test_never_asked_to_commit(self):
        self.found(Made().send("x", transaction="T").log((0, "x")), "aborted")

    def test_torn(self):
        made = Made().send("x", "y", transaction="T").sent(("x", 0), ("y", 1)).end("T")
        self.found(made.log((0, "x"), (1, "y"), hidden="y"), "torn")

    def test_torn_over_partitions_with_an_unknown_end(self):
        made = Made().send("x", transaction="T").sent(("x", 0))
        made.send("y", transaction="T", partition="t-1").sent(("y", 0)).end("T", known=False)
        self.found(made.log((0, "x")).log((0, "y"), hidden="y", partition="t-1"), "torn")

    def test_too_early(self):
        made = Made().send("x", transaction="T").read((0, "x")).sent(("x", 0)).end("T")
        self.found(made.log((0, "x")), "too early")

    def test_too_early_past_an_open_transaction(self):
        made = Made().send("x", transaction="T").sent(("x", 0)).send("a", client="q").read((1, "a"))
        made.end("T", "abort")
        self.found(made.log((0, "x"), (1, "a"), hidden="x"), "too early")

    def test_an_uncommitted_read_may_show_what_is_open(self):
        made = Made().send("x", transaction="T").read((0, "x"), isolation="uncommitted").end("T")
        self.found(made.log((0, "x")))

    def test_from_nowhere(self):
        self.found(Made().read((0, "a")).send("a").log((0, "a")), "from nowhere")
        self.found(Made().send("a").sent(failed=["a"]).log((0, "a")), "from nowhere")
        self.found(Made().position(5).commit(5), "from nowhere")
        made = Made().commit(5, transaction="T").position(5).end("T")
        self.found(made, "from nowhere")

    def test_assigned_twice(self):
        made = Made().owns("m", "assigned").owns("n", "assigned").owns("m", "revoked")
        self.found(made.owns("n", "revoked"), "assigned twice")

    def test_one_after_the_other_is_no_fault(self):
        self.found(Made().owns("m", "assigned", "revoked").owns("n", "assigned", "revoked"))

    def test_who_lost_its_partitions_without_knowing_is_no_second_owner(self):
        for end in (["lost"], []):
            made = Made().owns("m", "assigned").owns("n", "assigned").owns("m", *end)
            self.found(made.owns("n", "revoked"))

    def test_who_could_still_commit_is(self):
        made = Made().owns("m", "assigned").owns("n", "assigned").commit(1).owns("m", "lost")
        self.found(made.owns("n", "revoked"), "assigned twice")

    def test_gone_back(self):
        self.found(Made().commit(7).commit(9).position(7), "gone back")
        self.found(Made().commit(7).position(7).position(-1), "gone back")
        made = Made().commit(7).commit(9, transaction="T").end("T").position(7)
        self.found(made, "gone back")

    def test_offsets_of_an_aborted_transaction_do_not_count(self):
        self.found(Made().commit(7).commit(9, transaction="T").end("T", "abort").position(7))

    def copied(self, *copies, position):
        made = Made().add("copies", group="g", **{"from": "t", "to": "u"}).send("a", "b")
        made.send(*copies, partition="u-0", client="c", sources=["a"] * len(copies))
        made.commit(position).position(position, final=True)
        return made.log((0, "a"), (1, "b")).log(*enumerate(copies), partition="u-0")

    def test_a_copy_is_there_once_and_with_its_offset(self):
        self.found(self.copied("1", position=1))
        self.found(self.copied("1", "2", position=1), "duplicated")
        self.found(self.copied("1", position=0), "torn")
        self.found(self.copied(position=1), "torn")
        self.found(self.copied("1", position=2), "torn")


class Spoilt(unittest.TestCase):
    """A real history of clients through kills of a broker, in which one thing is changed."""

    @classmethod
    def setUpClass(cls):
        with lzma.open(REAL, "rt") as file:
            cls.clean = [json.loads(line) for line in file]

    def setUp(self):
        self.events = copy.deepcopy(self.clean)

    def of(self, kind, **wanted):
        """The events of a kind with these fields; None is a field that must be missing."""
        for event in self.events:
            if event["type"] == kind and all(event.get(name) == value for name, value in wanted.items()):
                yield event

    def found(self, name):
        self.assertIn(name, faults(self.events))

    def acknowledged(self, outcome):
        """A value that was acknowledged in a transaction with that end; None is without one."""
        ended = {event["transaction"] for event in self.of("ended", outcome=outcome)}
        stored = {value for event in self.of("sent") for value, _ in event["offsets"]}
        for event in self.of("send", sources=None):
            within = event.get("transaction")
            if (within in ended) if outcome else within is None:
                left = [value for value in event["values"] if value in stored]
                if len(left) > 1:
                    return left[0], event
        raise AssertionError("the history has none")

    def final(self, value, isolation="uncommitted"):
        """The last read that shows it, and its index there."""
        for event in self.of("read", isolation=isolation, final=True):
            for index, (_, shown) in enumerate(event["records"]):
                if shown == value:
                    return event, index
        raise AssertionError(f"{value} is nowhere")

    def test_clean(self):
        self.assertEqual(faults(self.events), {})

    def test_lost(self):
        value, _ = self.acknowledged(None)
        for isolation in ("uncommitted", "committed"):
            event, index = self.final(value, isolation)
            del event["records"][index]
        self.found("lost")

    def test_duplicated(self):
        value, _ = self.acknowledged(None)
        event, _ = self.final(value)
        event["records"].append([event["records"][-1][0] + 1, value])
        self.found("duplicated")

    def test_copied_twice(self):
        partition = next(iter(self.of("send", partition="copy-0")))
        source = partition["sources"][0]
        client, value = "copier", "copier/again"
        fields = {"partition": "copy-0", "values": [value], "sources": [source]}
        self.events.append({"type": "send", "time": 0, "client": client, **fields})
        final = [event for event in self.of("read", partition="copy-0", final=True)]
        for event in final:
            event["records"].append([10**9, value])
        self.found("duplicated")

    def test_moved(self):
        event = next(event for event in self.of("sent") if event["offsets"])
        event["offsets"][0][1] += 1
        self.found("moved")

    def test_reordered(self):
        value, sent = self.acknowledged(None)
        for isolation in ("uncommitted", "committed"):
            one, first = self.final(sent["values"][0], isolation)
            other, second = self.final(sent["values"][1], isolation)
            one["records"][first][1], other["records"][second][1] = sent["values"][1], value
        self.found("reordered")

    def test_skipped(self):
        event = next(e for e in self.of("read", isolation="committed") if len(e["records"]) > 2)
        del event["records"][1]
        self.found("skipped")

    def test_aborted(self):
        value, sent = self.acknowledged("abort")
        event = next(iter(self.of("read", isolation="committed", partition=sent["partition"], final=True)))
        event["records"].append([10**9, value])
        self.found("aborted")

    def test_torn(self):
        value, _ = self.acknowledged("commit")
        event, index = self.final(value, "committed")
        del event["records"][index]
        self.found("torn")

    def test_too_early(self):
        _, sent = self.acknowledged("commit")
        last = max(event["time"] for event in self.events)
        for event in self.of("end", transaction=sent["transaction"]):
            event["time"] = last + 1
        self.found("too early")

    def test_from_nowhere(self):
        event = next(event for event in self.of("read") if event["records"])
        event["records"][0][1] = "nobody/1"
        self.found("from nowhere")

    def test_assigned_twice(self):
        revoked = next(e for e in self.of("revoked") if e["partitions"] and e["member"].startswith("members"))
        again = {**revoked, "member": "another", "partitions": revoked["partitions"]}
        since = {**again, "type": "assigned", "time": revoked["time"] - 1}
        self.events += [since, {**again, "time": revoked["time"] + 1}]
        self.found("assigned twice")

    def test_gone_back(self):
        last = list(self.of("position", final=True))[-1]
        last["offsets"] = {partition: offset - 1 for partition, offset in last["offsets"].items()}
        self.found("gone back")


if __name__ == "__main__":
    unittest.main()
