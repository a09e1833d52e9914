"""Each fault of a share group is found, and nothing in a history without one."""

import unittest

from share_groups import Shared

CLEAN = """
sent 0 0
sent 0 1
sent 1 0
read 10 20 0 0 1
read 10 20 0 1 1
accept 21 30 0 0 answered
read 31 40 0 1 2
accept 41 50 0 1 unknown
read 51 60 0 1 2
accept 61 70 0 1 answered
read 10 20 1 0 1
accept 21 30 1 0 answered
lag 0 0
lag 1 0
"""


def faults(*more, without=()):
    lines = [line for line in CLEAN.split("\n") if line and line not in without]
    return list(Shared.parse([*lines, *more]).faults())


class ShareGroups(unittest.TestCase):
    def test_clean_history_has_no_fault(self):
        self.assertEqual(faults(), [])

    def test_finds_a_record_that_comes_after_its_acceptance(self):
        self.assertEqual(
            faults("read 31 32 0 0 2"), ["(0, 0) was delivered again after its acceptance was answered"]
        )

    def test_a_poll_that_began_before_may_bring_it(self):
        self.assertEqual(faults("read 29 32 0 0 2"), [])

    def test_finds_what_was_accepted_twice(self):
        self.assertEqual(faults("accept 22 33 1 0 answered"), ["(1, 0) was accepted twice"])

    def test_finds_what_nobody_accepted(self):
        self.assertEqual(faults("sent 1 1"), ["(1, 1) was never accepted"])

    def test_finds_a_delivery_beyond_the_limit(self):
        self.assertEqual(
            faults("sent 1 1", "read 1 2 1 1 6", "accept 3 4 1 1 answered"),
            ["(1, 1) was delivered as its delivery 6"],
        )

    def test_finds_a_group_that_is_not_done(self):
        self.assertEqual(
            faults("lag 1 2", without=("lag 1 0",)),
            ["the group is not done with 2 records of partition 1"],
        )

    def test_finds_a_group_without_offsets(self):
        self.assertEqual(faults(without=("lag 0 0", "lag 1 0")), ["the group has no offsets"])


if __name__ == "__main__":
    unittest.main()
