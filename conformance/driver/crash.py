"""kill -9 of the broker under load: nothing acknowledged is lost, nothing is stored twice."""

import random
import subprocess
import threading
import time

from clients import run

LOAD_SECONDS = 6
COPY_LOAD_SECONDS = 6
COPY_SECONDS = 120
FIRST_ACKNOWLEDGEMENT_SECONDS = 30
LOAD_END_SECONDS = 180


def acked_and_read(load_output, drain_output):
    """The acknowledged places by value, and every (place, value) that was read."""
    acked = {}
    for line in load_output.splitlines():
        word, partition, offset, value = line.split()
        assert word == "acked", line
        acked[value] = (partition, offset)
    read = []
    for line in drain_output.splitlines():
        word, partition, offset, value = line.split()
        assert word == "read", line
        read.append(((partition, offset), value))
    return acked, read


def check(acked, read):
    """The two promises, and that each record is read where its acknowledgement put it."""
    assert len(acked) > 100, f"only {len(acked)} records were acknowledged: no load"
    by_value = {}
    for place, value in read:
        by_value.setdefault(value, []).append(place)
    lost = [value for value in acked if value not in by_value]
    assert not lost, f"{len(lost)} acknowledged records are lost, as {lost[:5]}"
    twice = {value: places for value, places in by_value.items() if len(places) > 1}
    assert not twice, f"{len(twice)} records are stored twice, as {list(twice.items())[:3]}"
    moved = [v for v, place in acked.items() if by_value[v] != [place]]
    assert not moved, f"{len(moved)} records are not where they were acknowledged, as {moved[:5]}"


class Load:
    """A client that sends the numbers of a topic for so many seconds, and tells of each acknowledgement."""

    def __init__(self, client, bootstrap, topic, seconds):
        self.command = [*client, "load", bootstrap, topic, str(seconds)]
        self.lines, self.arrivals = [], []
        self.has_begun = threading.Event()

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.errors = ""
        self.readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self.readers:
            reader.start()
        assert self.has_begun.wait(FIRST_ACKNOWLEDGEMENT_SECONDS), f"no load: {self.errors[-800:]}"
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self.arrivals.append(time.monotonic())
            self.has_begun.set()

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors += line

    def end(self):
        """What it wrote, once it has ended by itself; it fails where an error was not to be retried."""
        try:
            code = self.process.wait(LOAD_END_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the load did not end in {LOAD_END_SECONDS} s") from None
        for reader in self.readers:
            reader.join()
        assert code == 0, f"the load ended with {code}: {self.errors[-800:]}"
        return "".join(self.lines)

    def longest_stall(self):
        """The longest time in seconds from one acknowledgement to the next."""
        gaps = zip(self.arrivals, self.arrivals[1:], strict=False)
        return max((later - earlier for earlier, later in gaps), default=0.0)


def check_against(load_output, client, bootstrap, topic):
    """All that was acknowledged is read by `client` where it was acknowledged, and once."""
    count = len(load_output.splitlines())
    drain_output = run([*client, "drain", bootstrap, topic, str(count)]).decode()
    check(*acked_and_read(load_output, drain_output))


def kill_under_load(broker, client, topic, create_topic, seed):
    """Load by `client`, kill -9 at a random moment, restart, drain by the same client."""
    moment = random.Random(seed).uniform(0.8, LOAD_SECONDS * 0.6)
    create_topic(topic, 3)
    with Load(client, broker.bootstrap, topic, LOAD_SECONDS) as load:
        time.sleep(moment)
        broker.kill()
        broker.start()
        load_output = load.end()
    check_against(load_output, client, broker.bootstrap, topic)


def copy_under_kills(broker, client, copied, create_topic, seed):
    """A topic is copied in transactions, by the group protocol in the third place of `copied`; broker and client are killed with kill -9 on the way.

    Whoever reads what is committed finds every record in the copy exactly once.
    """
    source, target = copied[:2]
    chance = random.Random(seed)
    for topic in (source, target):
        create_topic(topic, 3)
    loaded = run([*client, "load", broker.bootstrap, source, str(COPY_LOAD_SECONDS)]).decode()
    wanted = sorted(line.split()[3] for line in loaded.splitlines())
    assert len(wanted) > 100, f"only {len(wanted)} records were acknowledged: no load"
    command = [*client, "copy", broker.bootstrap, *copied]
    deadline = time.monotonic() + COPY_SECONDS
    kills = [kill_broker, kill_client, kill_broker]
    while True:
        copying = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            while kills:
                time.sleep(chance.uniform(0.5, 2.5))
                if kills.pop(0)(broker, copying) == "again":
                    break
            output, errors = copying.communicate(timeout=max(deadline - time.monotonic(), 1))
        finally:
            if copying.poll() is None:
                copying.kill()
                copying.wait()
        if output.split() == [b"copied"]:
            break
        # An application whose producer has failed for good begins anew.
        assert time.monotonic() < deadline, f"not copied: {errors[-800:].decode(errors='replace')}"
    drained = run([*client, "drain", broker.bootstrap, target, str(len(wanted))]).decode()
    read = sorted(line.split()[3] for line in drained.splitlines())
    missing = set(wanted) - set(read)
    assert not missing, f"{len(missing)} records are not in the copy, as {sorted(missing)[:5]}"
    assert read == wanted, f"{len(read) - len(set(read))} records are in the copy twice"


def kill_broker(broker, _):
    broker.kill()
    broker.start()
    return "on"


def kill_client(_, copying):
    copying.kill()
    return "again"
