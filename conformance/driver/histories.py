"""Many clients write down what they do while brokers are killed with kill -9, at moments from a seed;
then the checker of `../history` looks for what Kafka promises never to do."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from clients import CONFORMANCE, run, tool

HISTORY = CONFORMANCE / "history"
CLIENT_SECONDS = 120
COPIERS = 2


def kill_one(brokers, chance):
    """kill -9 of a broker; it is started again."""
    broker = chance.choice(brokers)
    broker.kill()
    return broker.start


@dataclass
class Storm:
    """How long, from which seed, and over how many brokers the topics are spread."""

    seconds: float
    seed: int
    replicas: int = 1
    # Between the end of one restart and the next kill.
    calm_seconds: tuple = (0.5, 4)
    # Begins a fault among the brokers, by a chance from the seed; gives the function that ends it.
    strike: Callable = kill_one
    # Whether all has happened that was to happen, before the time is up.
    is_over: Callable = lambda: False


class Processes:
    """The client processes, each with a history of its own."""

    def __init__(self, bootstrap, folder, seed):
        self.bootstrap, self.folder, self.seed = bootstrap, folder, seed
        self.running, self.histories = {}, []

    def start(self, role, name):
        history = self.folder / f"{name}.history"
        self.histories.append(history)
        errors = open(self.folder / f"{name}.errors", "wb")  # noqa: SIM115
        self.running[name] = subprocess.Popen(
            [sys.executable, "clients.py", role, self.bootstrap, str(history), name]
            + [f"{self.seed} {name}"],
            cwd=HISTORY,
            stdin=subprocess.PIPE,
            stderr=errors,
        )

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.communicate()

    def stop(self):
        """Each ends in order what it does; one that fails is an error."""
        for process in self.running.values():
            process.stdin.close()
            process.stdin = None
        for name, process in self.running.items():
            try:
                process.wait(CLIENT_SECONDS)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)
                process.wait()
            words = (self.folder / f"{name}.errors").read_text(errors="replace")
            assert process.returncode == 0, f"{name} ended with {process.returncode}: {words[-2000:]}"
        self.running.clear()

    def remove(self):
        for name in list(self.running):
            self.kill(name)


def create_topics(bootstrap, replicas):
    for topic in ("mixed", "copy"):
        run(
            tool(
                "TopicCommand",
                *("--bootstrap-server", bootstrap, "--create", "--topic", topic),
                *("--partitions", "3", "--replication-factor", str(replicas)),
                *("--config", f"min.insync.replicas={(replicas + 2) // 2 if replicas > 1 else 1}"),
            )
        )


def record(brokers, folder, storm):
    """The histories of clients through a storm of faults, and how many faults there were."""
    folder.mkdir()
    chance = random.Random(storm.seed)
    bootstrap = ",".join(broker.bootstrap for broker in brokers)
    create_topics(bootstrap, storm.replicas)
    clients = Processes(bootstrap, folder, storm.seed)
    faults = 0
    try:
        for role in ("producers", "readers", "members"):
            clients.start(role, role)
        copiers = [f"copier{number}" for number in range(COPIERS)]
        for name in copiers:
            clients.start("copier", name)
        until = time.monotonic() + storm.seconds
        while (left := until - time.monotonic()) > 0 and not storm.is_over():
            time.sleep(min(chance.uniform(*storm.calm_seconds), left))
            end_fault = storm.strike(brokers, chance)
            if faults % 3 == 2:
                dead = copiers.pop(0)
                clients.kill(dead)
                # With the same transactional id, so that its open transaction ends; see `slot` there.
                copiers.append(f"{dead.partition('~')[0]}~{faults}")
                clients.start("copier", copiers[-1])
            end_fault()
            faults += 1
        clients.stop()
        clients.start("last look", "last-look")
        clients.stop()
    finally:
        clients.remove()
    return clients.histories, faults


def judge(brokers, folder, storm):
    """What was seen, in a line; a fault is an error."""
    histories, faults = record(brokers, folder, storm)
    done = subprocess.run(
        [sys.executable, "checker.py", *map(str, histories)],
        cwd=HISTORY,
        capture_output=True,
        text=True,
    )
    words = f"{done.stdout}{done.stderr}".strip()
    assert done.returncode == 0, f"{faults} faults, seed {storm.seed}, in {folder}: {words[-3000:]}"
    return f"{faults} faults; {words.splitlines()[-2]}"
