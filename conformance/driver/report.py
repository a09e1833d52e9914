"""What passed and what failed, by suite."""

import json
import textwrap
import threading
import time
import traceback

# What is said of a failed case at the end, where the whole of it stands further up.
REASON_CHARACTERS = 500


class Report:
    """Filled by several suites at a time; each line is whole."""

    def __init__(self):
        self.results = []
        self.printing = threading.Lock()

    def say(self, line):
        with self.printing:
            print(line, flush=True)

    def add(self, suite, name, failure=None):
        self.results.append((suite, name, failure))
        self.say(f"ok      {suite}: {name}" if failure is None else f"FAILED  {suite}: {name}: {failure}")

    def add_quietly(self, suite, name, failure=None):
        """As `add`, for suites of a thousand cases: only what fails is shown."""
        if failure is not None:
            self.add(suite, name, failure)
        else:
            self.results.append((suite, name, None))

    def run(self, suite, name, case):
        """Run one case; what it raises is its failure."""
        started = time.monotonic()
        try:
            case()
        except Exception as error:  # one failing case must not hide the others
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.add(suite, name, f"{error} ({where.name}, line {where.lineno})")
        else:
            self.add(suite, f"{name} ({time.monotonic() - started:.1f} s)")

    def failed(self):
        return sum(failure is not None for _, _, failure in self.results)

    def summary(self):
        by_suite = {}
        for suite, _, failure in self.results:
            passed, failed = by_suite.get(suite, (0, 0))
            by_suite[suite] = (passed + (failure is None), failed + (failure is not None))
        width = max(map(len, by_suite), default=0)
        for suite, (passed, failed) in by_suite.items():
            print(f"{suite:{width}}  {passed:3} passed, {failed} failed")
        print()
        # Last, where they are seen although the output may be long.
        for suite, name, failure in self.results:
            if failure is not None:
                print(f"failed: {suite}: {name}: {textwrap.shorten(failure, REASON_CHARACTERS)}")
        print(f"conformance: {len(self.results) - self.failed()} passed, {self.failed()} failed")

    def write(self, path):
        passed = len(self.results) - self.failed()
        path.write_text(json.dumps({"passed": passed, "failed": self.failed()}))
