"""Sends every script to Apache Kafka and to Ottla, and says where their answers differ."""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from . import logs
from .compare import Allowed, brief, differences, named, variables_of
from .conversation import UNTIL_SECONDS, Conversation, at_path
from .coverage import unreached
from .schema import NotEncodable
from .script import read

HERE = Path(__file__).resolve().parents[1]
SCRIPTS = HERE / "scripts"
WORKERS = 6
# Names of topics and groups begin with it, so that scripts can run again on brokers that live on.
RUN = os.environ.get("RUN", "")


@dataclass
class Result:
    name: str
    differences: list = field(default_factory=list)
    broken: str = ""
    seconds: float = 0.0
    script: str = ""
    asked: set = field(default_factory=set)
    was_refused: bool = False
    # The case's name in topics and groups, and both conversations.
    case: str = ""
    sides: list = field(default_factory=list)


def cases(scripts):
    """A script is run once with each of its versions."""
    for script in scripts:
        for version in script.versions:
            suffix = "" if version is None else f" v{version}"
            yield script, version, script.name + suffix


def run_case(addresses, allowed, script, version, name):
    result = Result(name, script=script.name)
    started = time.monotonic()
    case = RUN + name.replace("/", "-").replace("_", "-").replace(" ", "-")
    sides = [Conversation(address, case, version) for address in addresses]
    if not script.unwritten:
        result.case, result.sides = case, sides
    try:
        for step in script.steps:
            for path, theirs, ours in compare_step(sides, step, allowed):
                result.differences.append((step.line, path, theirs, ours))
    except Exception as error:  # one broken script must not hide the others
        result.broken = f"{type(error).__name__}: {error}"
    finally:
        for side in sides:
            side.close()
    result.asked, result.was_refused = sides[0].asked, sides[0].was_refused
    result.seconds = time.monotonic() - started
    return result


def compare_step(sides, step, allowed):
    answers, asked = take_step(sides, step)
    if answers[0] is None and answers[1] is None:
        return
    answers = [
        named(answer, variables_of(side)) for answer, side in zip(answers, sides, strict=True)
    ]
    api = asked.api or step.action
    for path, theirs, ours in differences(*answers, api, allowed):
        if not any(path.startswith(f"{api}.{ignored}") for ignored in asked.ignored):
            yield path, theirs, ours


def take_step(sides, step):
    """Do the step on both sides; their answers, and the step that asked for them."""
    if step.action == "sleep":
        time.sleep(int(step.words[0]) / 1000)
        return (None, None), step
    if step.action == "close":
        for side in sides:
            side.drop(step.connection)
        return (None, None), step
    if step.action == "topic":
        return [side.topic(step) for side in sides], step
    if step.action == "bytes":
        return [side.raw(step) for side in sides], step
    if step.action == "answer":
        answered = [side.receive(step.connection) for side in sides]
        return [answer for _, answer in answered], answered[0][0]
    for side in sides:
        side.send(step)
    if step.silent or step.later:
        return (None, None), step
    answers = [side.receive(step.connection)[1] for side in sides]
    if step.until:
        answers = [side.again(step, one) for side, one in zip(sides, answers, strict=True)]
    return answers, step


def warm_up(address):
    """Until the coordinators answer: both brokers must have their internal topics."""
    runner = Conversation(address, "warm-up", None)
    deadline = time.monotonic() + 3 * UNTIL_SECONDS
    wanted = {"CoordinatorKeys": ["warm-up"]}
    try:
        while time.monotonic() < deadline:
            found = runner.ask("FindCoordinator", 4, wanted)
            group = {"GroupId": "warm-up", "Topics": None, "RequireStable": False}
            offsets = runner.ask("OffsetFetch", 7, group)
            producer = {"TransactionalId": None, "TransactionTimeoutMs": 60000}
            made = runner.ask("InitProducerId", 4, producer)
            ids = {"KeyType": 1, "CoordinatorKeys": ["warm-up"]}
            coordinator = runner.ask("FindCoordinator", 4, ids)
            transactional = {"TransactionalId": "warm-up", "TransactionTimeoutMs": 60000}
            taken_over = runner.ask("InitProducerId", 4, transactional)
            codes = (
                at_path(found, "Coordinators[0].ErrorCode"),
                at_path(offsets, "ErrorCode"),
                at_path(made, "ErrorCode"),
                at_path(coordinator, "Coordinators[0].ErrorCode"),
                at_path(taken_over, "ErrorCode"),
            )
            if not any(codes):
                return
            time.sleep(0.1)
        print(f"the coordinators of {address} are not ready; going on", file=sys.stderr)
    except (OSError, NotEncodable) as error:
        print(f"warming {address} up: {error}", file=sys.stderr)
    finally:
        runner.close()


@contextlib.contextmanager
def brokers(options):
    """The addresses of Apache Kafka and of Ottla, started here unless they are given."""
    sys.path.insert(0, str(HERE.parent / "driver"))
    import brokers as made

    libs = HERE.parent / ".work/libs"
    os.environ.setdefault("KAFKA_LIBS", str(libs))
    release = HERE.parents[1] / "target/release/ottla"
    os.environ.setdefault("OTTLA", str(release))
    properties = {
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "100",
        "group.streams.assignment.interval.ms": "0",
        "group.streams.initial.rebalance.delay.ms": "0",
        # A member whose session ended while the logs are read would have its end in one of them only.
        **{
            f"group.{kind}.{most}session.timeout.ms": "600000"
            for kind in ("consumer", "share", "streams")
            for most in ("", "max.")
        },
    }
    ours = made.Kafka if options.kafka_twice else made.Ottla
    started = []
    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        try:
            addresses = []
            for given, make, name in (
                (options.kafka, made.Kafka, "theirs"),
                (options.ottla, ours, "ours"),
            ):
                if given:
                    addresses.append(given)
                    continue
                broker = make(Path(folder) / name, properties)
                started.append(broker)
                broker.format()
                broker.start()
                addresses.append(f"{broker.bootstrap}/{broker.controller_port}")
            yield addresses
        finally:
            for broker in started:
                if options.logs:
                    options.logs.mkdir(parents=True, exist_ok=True)
                    log = broker.folder / "broker.log"
                    if log.exists():
                        (options.logs / f"{broker.folder.name}.log").write_bytes(log.read_bytes())
                broker.remove()


def scripts_named(patterns):
    """All scripts, or those whose path contains one of the given words."""
    for path in sorted(SCRIPTS.glob("*/*")):
        script = read(path, SCRIPTS)
        if not patterns or any(pattern in script.name for pattern in patterns):
            yield script


def judge(options):
    """Run the scripts; their results."""
    allowed = Allowed(HERE / "allowed_differences")
    scripts = list(scripts_named(options.scripts))
    with brokers(options) as addresses:
        for address in addresses:
            warm_up(address)
        alone = [script for script in scripts if script.alone]
        others = [script for script in scripts if not script.alone]
        results = [run_case(addresses, allowed, *case) for case in cases(alone)]
        with ThreadPoolExecutor(WORKERS) as pool:
            running = [
                pool.submit(run_case, addresses, allowed, *case) for case in cases(others)
            ]
            results += [one.result() for one in running]
        if options.records:
            results += unlike_records(addresses, results, allowed)
        if not options.scripts and not options.kafka_twice:
            results += uncovered(addresses[1], results)
    return results, allowed


def unlike_records(addresses, results, allowed):
    """A result for each group and transactional id of a script: whether the same was written about it."""
    sides_of = {result.case: result.sides for result in results if result.case}
    for case, owner, found in logs.compare(addresses, sides_of, allowed):
        result = Result(f"what is written of {owner}")
        result.differences = [(0, *difference) for difference in found]
        yield result


def uncovered(address, results):
    """A failure for each API of the broker that the scripts leave out."""
    asked = set().union(*(result.asked for result in results))
    for api, missing in unreached(address, asked):
        yield Result(f"coverage of {api}", broken=f"no script asks for {missing}")


def show(result, every):
    if result.broken:
        print(f"BROKEN    {result.name}: {result.broken}")
    shown = result.differences if every else result.differences[:1]
    for line, path, theirs, ours in shown:
        print(f"DIFFERS   {result.name}, line {line}: {path}")
        print(f"            theirs: {brief(theirs)}")
        print(f"            ours:   {brief(ours)}")
    if not result.broken and not result.differences:
        print(f"ok        {result.name}")


def arguments(given=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", help="only scripts whose path contains one of these")
    where = "HOST:PORT[/PORT]"
    parser.add_argument("--kafka", metavar=where, help="an Apache Kafka that runs already")
    parser.add_argument("--ottla", metavar=where, help="an Ottla that runs already")
    parser.add_argument(
        "--kafka-twice", action="store_true", help="Apache Kafka against itself judges the scripts"
    )
    parser.add_argument("--all", action="store_true", help="every difference, not the first")
    parser.add_argument("--failed", action="store_true", help="do not show what is the same")
    parser.add_argument(
        "--records", action="store_true", help="compare what the coordinators have written too"
    )
    parser.add_argument("--logs", type=Path, help="keep the brokers' logs there")
    return parser.parse_args(given)


def main():
    options = arguments()
    results, allowed = judge(options)
    for result in results:
        if result.differences or result.broken or not options.failed:
            show(result, options.all)
    unused = [rule for rule in allowed.rules if not rule.used]
    if not options.scripts:
        for rule in unused:
            print(f"note: no answer has {rule.pattern.pattern} ({rule.kind})")
    bad = sum(bool(result.differences or result.broken) for result in results)
    scripts = {result.script for result in results if result.script}
    refused = {result.script for result in results if result.was_refused}
    print(f"{len(scripts)} scripts; in {len(refused)} of them Apache Kafka refuses something")
    slowest = sorted(results, key=lambda one: -one.seconds)[:3]
    print("slowest:", ", ".join(f"{one.name} {one.seconds:.1f} s" for one in slowest))
    print(f"differential: {len(results) - bad} passed, {bad} failed")
    sys.exit(1 if bad or not results else 0)


if __name__ == "__main__":
    main()
