"""Runs the suites: clients that others wrote, the tour, and what only Apache Kafka can judge."""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import brokers
import crash
import directories
import golden_tools
import swap
import tour
from clients import CLIENTS, CONFORMANCE, LIBS, TRANSACTIONAL, run, tool
from kafka_tools import KafkaTools
from report import Report


def cases(report, broker, client_name, client, seed):
    """The cases of one client; the client prints a line for each."""
    prefix = f"c{seed}-{''.join(c for c in client_name if c.isalnum())}"
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


def client_suite(report, broker, name, seed, rounds):
    client = CLIENTS[name]
    cases(report, broker, name, client, seed)

    def create_topic(topic, partitions):
        run(
            tool(
                "TopicCommand",
                *("--bootstrap-server", broker.bootstrap, "--create", "--topic", topic),
                *("--partitions", str(partitions)),
            )
        )

    for number in range(rounds):
        topic = f"crash-{''.join(c for c in name if c.isalnum())}-{number}"
        report.run(
            name,
            f"kill -9 under load, seed {seed + number}",
            lambda: crash.kill_under_load(broker, client, topic, create_topic, seed + number),
        )
        if name not in TRANSACTIONAL:
            continue
        copied = (f"{topic}-from", f"{topic}-to")
        report.run(
            name,
            f"read, process and write in transactions under kill -9, seed {seed + number}",
            lambda: crash.copy_under_kills(broker, client, copied, create_topic, seed + number),
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
        [sys.executable, "-m", "judge.run"],
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
    print(f"differential: {seen} scripts were run")
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


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=["ottla", "kafka"], default="ottla")
    parser.add_argument("--client", action="append", help="only this client; may be repeated")
    parser.add_argument("--long", action="store_true", help="many kills, not one")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--result", type=Path, help="write the counts there, as JSON")
    return parser.parse_args()


def main():
    options = arguments()
    os.environ.setdefault("OTTLA", str(CONFORMANCE.parent / "target/release/ottla"))
    os.environ["KAFKA_LIBS"] = str(LIBS)
    make = {"ottla": brokers.Ottla, "kafka": brokers.Kafka}[options.broker]
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    print(f"conformance against {make.name}, seed {options.seed}")
    broker = make(folder / "node")
    try:
        broker.format()
        broker.start()
        for name in CLIENTS:
            if not options.client or name in options.client:
                client_suite(report, broker, name, options.seed, 20 if options.long else 1)
        if make is brokers.Ottla and not options.client:
            tour.walk(broker, report, "tour")
            rounds = 500 if options.long else 20
            judged_by_classes(report, "messages", 4, options.seed, rounds)
            judged_by_classes(report, "records", 2, options.seed)
            differential(report)
            files_both_ways(
                report, folder, swap.LONG if options.long else swap.SHORT, options.seed
            )
            report.run(
                "golden files",
                "the tools' is what Apache Kafka's print",
                lambda: golden_tools.compare(folder),
            )
            report.run(
                "directories",
                "Ottla and Apache Kafka refuse each other's live directory",
                lambda: directories.each_refuses_the_others_directory(folder),
            )
        report.run("broker", "a clean stop", broker.stop)
    finally:
        broker.remove()
        if report.failed() == 0:
            shutil.rmtree(folder, ignore_errors=True)
    report.summary()
    if options.result:
        report.write(options.result)
    sys.exit(1 if report.failed() or not report.results else 0)


if __name__ == "__main__":
    main()
