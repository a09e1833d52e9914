"""Runs the suites: clients that others wrote, the tour, and what only Apache Kafka can judge."""

import argparse
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import brokers
import cluster.suite
import compacted
import crash
import directories
import golden_classes
import golden_tools
import histories
import programs
import sharing
import swap
import tour
from clients import CLIENTS, CONFORMANCE, CONSUMER_PROTOCOL, LIBS, run, tool
from kafka_tools import KafkaTools
from report import Report

STREAMS_GROUP_HEARTBEAT = 88


# Members of the consumer protocol learn of each other by heartbeats, and are missed after a session.
PACE = {
    f"group.consumer.{least}{name}": value
    for least in ("min.", "")
    for name, value in (("heartbeat.interval.ms", "200"), ("session.timeout.ms", "6000"))
}


def cases(report, broker, client_name, client, seed):
    """The cases of one client; the client prints a line for each."""
    prefix = f"c{seed}-{short(client_name)}"
    seen = 0
    try:
        done = subprocess.run(
            [*client, "cases", broker.bootstrap, prefix], capture_output=True, text=True, timeout=600
        )
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        output, errors = (late.stdout or b"").decode(), "it did not end in 600 s"
    for line in output.splitlines():
        if line.startswith("ok "):
            report.add(client_name, line[3:])
        elif line.startswith("not ok "):
            name, _, failure = line[7:].partition(": ")
            report.add(client_name, name, failure or "no reason given")
        else:
            continue
        seen += 1
    if seen < 8:
        report.add(client_name, "all cases", f"only {seen} cases were run: {errors[-600:]}")


def short(name):
    """The name as it may stand in a topic or a folder."""
    return "".join(c for c in name if c.isalnum())


@contextlib.contextmanager
def started(report, suite, make, folder):
    """A node of the suite's own, that must stop cleanly in the end."""
    broker = make(folder, PACE)
    try:
        broker.format()
        broker.start()
        yield broker
        report.run(suite, "a clean stop", broker.stop)
    finally:
        broker.remove()


def client_suite(report, make, folder, name, options):
    client, seed = CLIENTS[name], options.seed
    with started(report, name, make, folder) as broker:
        cases(report, broker, name, client, seed)
        for number in range(20 if options.long else 1):
            kills(report, broker, name, f"crash-{short(name)}-{number}", seed + number)


def kills(report, broker, name, topic, seed):
    """One round of kill -9 under what the client sends and copies."""
    client = CLIENTS[name]

    def create_topic(topic, partitions):
        run(
            tool(
                "TopicCommand",
                *("--bootstrap-server", broker.bootstrap, "--create", "--topic", topic),
                *("--partitions", str(partitions)),
            )
        )

    report.run(
        name,
        f"kill -9 under load, seed {seed}",
        lambda: crash.kill_under_load(broker, client, topic, create_topic, seed),
    )
    protocols = ["classic", "consumer"] if name in CONSUMER_PROTOCOL else ["classic"]
    for protocol in protocols:
        copied = [f"{topic}-from-{protocol}", f"{topic}-to-{protocol}"]
        by = ""
        if protocol == "consumer":
            copied.append(protocol)
            by = ", group.protocol=consumer"
        report.run(
            name,
            f"read, process and write in transactions under kill -9{by}, seed {seed}",
            lambda: crash.copy_under_kills(broker, client, copied, create_topic, seed),
        )


def judged_by_classes(report, script, expected, *arguments):
    """What a script beside this folder lets Apache Kafka's own classes judge."""
    done = subprocess.run(
        [str(CONFORMANCE / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "JARS": str(LIBS)},
    )
    judged = [line for line in done.stdout.splitlines() if line.startswith(("pass: ", "FAIL: "))]
    for line in judged:
        failure = None if line.startswith("pass") else done.stderr[-600:]
        report.add(script, line[6:], failure)
    if len(judged) != expected:
        missing = f"{len(judged)} of {expected} given: {done.stderr[-600:]}"
        report.add(script, "all judgements", missing)


def differential(report):
    """The same scripts of requests to Apache Kafka and to Ottla; see differential/README.md."""
    done = subprocess.run(
        [sys.executable, "-m", "judge.run", "--records"],
        capture_output=True,
        text=True,
        cwd=CONFORMANCE / "differential",
    )
    seen = 0
    lines = done.stdout.splitlines()
    for number, line in enumerate(lines):
        word, _, rest = line.partition(" ")
        if word == "ok":
            report.add_quietly("differential", rest.strip())
        elif word == "DIFFERS":
            values = " ".join(value.strip() for value in lines[number + 1 : number + 3])
            name, _, where = rest.strip().partition(", line ")
            report.add_quietly("differential", name, f"line {where}: {values}")
        elif word == "BROKEN":
            name, _, failure = rest.strip().partition(": ")
            report.add_quietly("differential", name, failure)
        else:
            continue
        seen += 1
    report.say(f"differential: {seen} scripts were run")
    if seen < 500:
        report.add("differential", "all scripts", f"{seen} were run: {done.stderr[-600:]}")


def files_both_ways(report, folder, cases, seed):
    """Each directory opened by the program that did not write it; see swap.py."""
    with KafkaTools() as tools:
        for number, case in enumerate(cases):
            report.run(
                "files both ways",
                case.name,
                lambda: swap.there_and_back(folder / f"swap-{number}", case, tools, seed + number),
            )
        for make, crash in ((brokers.Ottla, False), (brokers.Kafka, True)):
            how = "kill -9" if crash else "clean stop"
            report.run(
                "files both ways",
                f"compacted topics, {make.name} first and last, {how}",
                lambda: compacted.there_and_back(folder / f"compacted-{make.name}", make, crash, tools),
            )


def tour_suite(report, folder):
    with started(report, "tour", brokers.Ottla, folder) as broker:
        tour.walk(broker, report, "tour")


def classes_suite(report, options):
    judged_by_classes(report, "messages", 4, options.seed, 500 if options.long else 20)
    judged_by_classes(report, "records", 2, options.seed)


def checker_suite(report):
    """The history checker's own tests: that it finds what is wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-v", "test_checker", "test_share_groups"],
        capture_output=True,
        text=True,
        cwd=CONFORMANCE / "history",
    )
    # A line `test_name (module.Class.test_name) ... ok` for each; a docstring would be in the way.
    judged = re.findall(r"^(test_\w+) .*\.\.\. (\w+)$", done.stderr, re.MULTILINE)
    for name, outcome in judged:
        failure = None if outcome == "ok" else done.stderr[-600:]
        report.add_quietly("history checker", name, failure)
    if len(judged) < 30:
        report.add("history checker", "all tests", f"{len(judged)} were run: {done.stderr[-600:]}")


def history_suite(report, make, folder, options):
    """Ten minutes, or half of one; see ../history/README.md."""
    storm = histories.Storm(600 if options.long else 30, options.seed)
    with started(report, "history", make, folder) as broker:
        report.run(
            "history",
            f"many clients under kill -9, seed {storm.seed}",
            lambda: report.say(histories.judge([broker], folder.parent / "histories", storm)),
        )


def share_suite(report, make, folder, options):
    suite = "share groups"
    with started(report, suite, make, folder) as broker:
        seconds = 120 if options.long else 8
        report.run(
            suite,
            f"share consumers under kill -9, seed {options.seed}",
            lambda: report.say(
                sharing.kill_under_share_consumers(broker, "shared", seconds, options.seed)
            ),
        )
        for number, (name, program) in enumerate(sharing.PROGRAMS.items()):
            report.run(suite, name, lambda: program(broker, f"by-program-{number}"))


def streams_suite(report, make, folder, options):
    with started(report, "Kafka Streams", make, folder) as broker:
        protocols = ["classic"]
        if STREAMS_GROUP_HEARTBEAT in brokers.served(broker.port):
            protocols.append("streams")
        for protocol in protocols:
            programs.streams(report, broker, protocol, 120 if options.long else 12, options.seed)


def connect_suite(report, make, folder, options):
    with started(report, "Kafka Connect", make, folder / "node") as broker:
        report.run(
            "Kafka Connect",
            "a file through a topic into another, worker and broker ending on the way",
            lambda: programs.connect(broker, folder / "connect", options.long),
        )


def mirror_suite(report, folder):
    suite = "MirrorMaker 2"
    with (
        started(report, suite, brokers.Ottla, folder / "ottla") as ours,
        started(report, suite, brokers.Kafka, folder / "kafka") as theirs,
    ):
        report.run(
            suite,
            "records and offsets of groups between Ottla and Apache Kafka, both ways",
            lambda: programs.mirror([ours, theirs], folder / "mirror"),
        )


def single_cases(report, folder):
    folder.mkdir()
    report.run(
        "golden files",
        "the tools' is what Apache Kafka's print",
        lambda: golden_tools.compare(folder),
    )
    report.run(
        "golden files",
        "what Apache Kafka's cleaner leaves of logs is what it left",
        lambda: golden_classes.cleaned_logs(folder),
    )
    report.run(
        "golden files",
        "RE2J says of expressions what it said",
        lambda: golden_classes.expressions(folder),
    )
    report.run(
        "directories",
        "Ottla and Apache Kafka refuse each other's live directory",
        lambda: directories.each_refuses_the_others_directory(folder),
    )


def suites(report, folder, options):
    """Every suite by name, as a function; none needs another, and each has its own brokers.

    The longest come first, so that none is left alone at the end.
    """
    make = {"ottla": brokers.Ottla, "kafka": brokers.Kafka}[options.broker]
    all_of_them = {}
    if make is brokers.Ottla:
        swaps = swap.LONG if options.long else swap.SHORT
        all_of_them = {
            "differential": lambda: differential(report),
            "files both ways": lambda: files_both_ways(report, folder, swaps, options.seed),
            "messages and records": lambda: classes_suite(report, options),
            "history checker": lambda: checker_suite(report),
            "MirrorMaker 2": lambda: mirror_suite(report, folder / "mirrored"),
            "tour": lambda: tour_suite(report, folder / "tour"),
            "golden files and directories": lambda: single_cases(report, folder / "single"),
        }
    all_of_them["history"] = lambda: history_suite(report, make, folder / "history", options)
    all_of_them |= cluster.suite.suites(report, make, folder / "clusters", options)
    all_of_them["share groups"] = lambda: share_suite(report, make, folder / "shared", options)
    all_of_them["Kafka Streams"] = lambda: streams_suite(report, make, folder / "streams", options)
    all_of_them["Kafka Connect"] = lambda: connect_suite(report, make, folder / "connected", options)
    clients = {
        name: lambda name=name: client_suite(report, make, folder / short(name), name, options)
        for name in CLIENTS
    }
    wanted = options.client or options.suite
    return {
        name: suite
        for name, suite in {**all_of_them, **clients}.items()
        if not wanted or name in (options.client or []) + (options.suite or [])
    }


def run_suite(report, name, suite):
    began = time.monotonic()
    try:
        suite()
    except Exception as error:  # the other suites go on
        report.add(name, "the suite", f"{type(error).__name__}: {error}")
    report.say(f"{name} took {time.monotonic() - began:.0f} s")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=["ottla", "kafka"], default="ottla")
    parser.add_argument("--client", action="append", help="only this client; may be repeated")
    parser.add_argument("--suite", action="append", help="only this suite; may be repeated")
    parser.add_argument("--jobs", type=int, default=3, help="suites at a time")
    parser.add_argument("--long", action="store_true", help="many kills, not one")
    parser.add_argument("--storm-seconds", type=int, help="of the cluster's mixture of faults")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--result", type=Path, help="write the counts there, as JSON")
    return parser.parse_args()


def main():
    options = arguments()
    os.environ.setdefault("OTTLA", str(CONFORMANCE.parent / "target/release/ottla"))
    os.environ["KAFKA_LIBS"] = str(LIBS)
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    print(f"conformance against {options.broker}, seed {options.seed}", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for name, suite in suites(report, folder, options).items():
            pool.submit(run_suite, report, name, suite)
    if report.failed() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    report.summary()
    if options.result:
        report.write(options.result)
    sys.exit(1 if report.failed() or not report.results else 0)


if __name__ == "__main__":
    main()
