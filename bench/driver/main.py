"""Apache Kafka and Ottla by turns on one machine, driven by the same clients; see README.md."""

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

import clustered
import coordinated
import failover
import table
from figures import FIGURES
from processes import BENCH, LIBS, Pair


@dataclasses.dataclass
class Form:
    """How much is measured."""

    name: str
    rounds: int
    # Data of a figure over all rounds, a broker and a way: of records of 1 KiB, and of all others.
    gib: float
    gib_of_others: float
    # What warms up beforehand: brokers that have just started, and those that have served other figures.
    warm_gib: float
    warm_again_gib: float
    flushed_gib: float
    latency_seconds: int
    floor_seconds: int
    end_to_end_records: int
    memory_rounds: int
    memory_gib: float
    idle_seconds: int
    partitions: int
    restart_gib: float
    restart_tail_mib: float
    transactions: int
    commit_seconds: float
    group_members: int
    group_partitions: int
    group_rounds: int
    group_idle_seconds: float
    figures: list
    # Minutes by figure, on two cores.
    minutes: dict

    def of_records(self, size, codec):
        return self.gib if (size, codec) == (1024, "none") else self.gib_of_others

    def estimate(self, figures):
        return sum(self.minutes[figure] for figure in figures)


QUICK = Form(
    "quick",
    rounds=1,
    gib=0.5,
    gib_of_others=0.5,
    warm_gib=1,
    warm_again_gib=0.1,
    flushed_gib=0.05,
    latency_seconds=4,
    floor_seconds=3,
    end_to_end_records=2000,
    memory_rounds=1,
    memory_gib=0.5,
    idle_seconds=4,
    partitions=600,
    restart_gib=0.1,
    restart_tail_mib=20,
    transactions=400,
    commit_seconds=5,
    group_members=100,
    group_partitions=400,
    group_rounds=1,
    group_idle_seconds=10,
    figures=["limits", "records-1k", "latency", "flushed-latency", "memory", "restart"],
    minutes=dict.fromkeys(FIGURES, 0.7),
)
FULL = Form(
    "full",
    rounds=5,
    gib=8,
    gib_of_others=4,
    warm_gib=2,
    warm_again_gib=0.3,
    flushed_gib=0.5,
    latency_seconds=10,
    floor_seconds=5,
    end_to_end_records=5_000,
    memory_rounds=3,
    memory_gib=3,
    idle_seconds=10,
    partitions=3000,
    restart_gib=3,
    restart_tail_mib=100,
    transactions=2_000,
    commit_seconds=15,
    group_members=500,
    group_partitions=2_000,
    group_rounds=3,
    group_idle_seconds=60,
    figures=list(FIGURES),
    minutes={
        "limits": 1,
        "records-1k": 5,
        "records-100b": 5,
        "records-1k-lz4": 3,
        "records-1k-zstd": 3,
        "records-100b-lz4": 4,
        "latency": 4,
        "end-to-end": 3,
        "flushed": 2,
        "flushed-latency": 4,
        "memory": 6,
        "restart": 9,
        **coordinated.MINUTES,
        **clustered.MINUTES,
        **failover.MINUTES,
    },
)


class Session:
    """One run: its form, and the brokers that several figures share once they are warm."""

    def __init__(self, form, folder):
        self.form, self.folder = form, folder
        self.shared = None
        # Whether the shared brokers have taken in and served enough for Java's compiler to have seen the code.
        self.is_warm = False

    def pair(self):
        if self.shared is None:
            self.shared = Pair(self.folder).start()
        return self.shared

    def end(self):
        if self.shared is not None:
            self.shared.remove()
            self.shared = None
            self.is_warm = False


def measure(session, name, results):
    """Takes one figure, and keeps what was taken so far after each value."""
    path = results / f"{session.form.name}-{name}.json"
    started = time.time()
    rows = {}
    print(f"{name}: about {session.form.minutes[name]:g} minutes", file=sys.stderr, flush=True)
    if name in ("memory", "restart", *clustered.FIGURES, *failover.FIGURES):
        # These have brokers of their own, and the shared ones would take part of the cores.
        session.end()
    for row, broker, value in FIGURES[name](session):
        rows.setdefault(row, {}).setdefault(broker, []).append(value)
        print(f"  {broker:6} {value:10.4f}  {row}", file=sys.stderr, flush=True)
    content = {
        "figure": name,
        "form": dataclasses.asdict(session.form),
        "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
        "machine": table.machine(session.folder),
        "rows": rows,
    }
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1))
    unfinished.replace(path)
    print(f"{name}: took {content['seconds'] / 60:.1f} minutes", file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", action="store_true", help="under five minutes; the default")
    form.add_argument("--full", action="store_true", help="as figures that are quoted are taken")
    parser.add_argument("--only", action="append", choices=list(FIGURES), metavar="FIGURE",
                        help=f"only this figure, of {', '.join(FIGURES)}; may be repeated")
    parser.add_argument("--again", action="store_true", help="also figures that have a result")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table")
    parser.add_argument("--results", type=Path, default=BENCH / ".work/results")
    parser.add_argument("--folder", help="where the brokers keep their data; a temporary folder")
    return parser.parse_args()


def main():
    options = arguments()
    # A run that is ended takes its brokers along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    form = FULL if options.full else QUICK
    os.environ["KAFKA_LIBS"] = os.environ.get("KAFKA_LIBS", str(LIBS))
    options.results.mkdir(parents=True, exist_ok=True)
    wanted = options.only or form.figures
    if not options.table:
        is_taken = lambda name: (options.results / f"{form.name}-{name}.json").exists()  # noqa: E731
        # The quick form is for the change at hand: it is always taken anew.
        keeps = form is FULL and not options.again
        missing = [name for name in wanted if not (keeps and is_taken(name))]
        print(f"{form.name}: {', '.join(missing) or 'nothing'} to take, about "
              f"{form.estimate(missing):.0f} minutes", file=sys.stderr, flush=True)
        session = Session(form, options.folder)
        try:
            for name in missing:
                measure(session, name, options.results)
        finally:
            session.end()
    print(table.markdown(options.results, form.name, list(FIGURES)))


if __name__ == "__main__":
    main()
