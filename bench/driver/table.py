"""Results as a table in markdown."""

import json
import os
import re
import statistics
import subprocess
from pathlib import Path

# What is to be reached: part of a row's name, and the ratio that is allowed (at least, for throughput).
GOALS = [
    (r"^CPU-s per GiB in, 1 KiB$", 0.35),
    (r"^CPU-s per GiB out, (1 KiB|100 bytes)$", 0.3),
    (r"^MiB resident", 0.035),
    (r"^s from start", 0.025),
    (r"^ms p99 until .*, 10,000", 0.7),
    (r"^ms p99 until .*, 2,000", 0.5),
    (r"^MiB/s in, .*flush.messages=1", 1.3),
    (r"^ms p50 until ended", 0.5),
    (r"^CPU-s of start, join and leave", 0.3),
    (r"^s until (a group has|it has) settled", 1.05),
    (r"^CPU-s of three nodes per GiB in", 0.4),
    (r"^s until all are led", 0.3),
    (r"^s without a leader$", 0.1),
    (r"^s without a leader, the active", 0.2),
    (r"^s until (metadata|all end offsets)", 0.15),
    (r"^offset commits per CPU-s", 3),
]


def is_rate(row):
    return row.startswith(("MiB/s", "offset commits"))


def goal(row):
    for pattern, ratio in GOALS:
        if re.search(pattern, row):
            return ratio
    return None


def machine(folder):
    """Cores, memory, disk and kernel, without names."""
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    where = subprocess.run(
        ["df", "--output=fstype", folder or "/tmp"], capture_output=True, text=True, check=True
    )
    kernel = re.match(r"\d+\.\d+", os.uname().release)[0]
    return (
        f"{os.cpu_count()} cores ({cpu[1] if cpu else os.uname().machine}), "
        f"{memory / (1 << 20):.0f} GiB of memory, {where.stdout.split()[-1]} on "
        f"{disk(folder or '/tmp')}, Linux {kernel}, loopback"
    )


def disk(folder):
    """What kind of disk a folder is on, as far as the system tells."""
    number = os.stat(folder).st_dev
    block = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    for place in (block, block.parent):
        rotational = place / "queue/rotational"
        if rotational.exists():
            kind = "a rotating disk" if rotational.read_text().strip() == "1" else "an SSD"
            return "a virtual disk" if place.name.startswith("vd") else kind
    return "a disk of unknown kind"


def spread(values, digits):
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def number(value):
    digits = 4 if value < 0.1 else 3 if value < 1 else 2 if value < 100 else 0
    return f"{value:.{digits}f}"


def line(row, values):
    theirs, ours = values.get("kafka"), values.get("ottla")
    floor = values.get("limit")
    limit = number(statistics.median(floor)) if floor else ""
    if not theirs or not ours:
        return f"| {row} | | | | | {limit} | |"
    if not all(theirs):
        # EndToEndLatency counts whole milliseconds: of none there is no ratio.
        values = f"{number(statistics.median(theirs))} | {number(statistics.median(ours))}"
        return f"| {row} | {values} | | | {limit} | |"
    ratios = [our / their for our, their in zip(ours, theirs)]
    ratio = statistics.median(ratios)
    wanted = goal(row)
    verdict = ""
    if wanted:
        reached = ratio >= wanted if is_rate(row) else ratio <= wanted
        sign = "≥" if is_rate(row) else "≤"
        verdict = f"{sign} {wanted:g}: {'reached' if reached else '**not reached**'}"
    return (
        f"| {row} | {number(statistics.median(theirs))} | {number(statistics.median(ours))} "
        f"| **{ratio:.3f}** | {spread(ratios, 3)} | {limit} | {verdict} |"
    )


def with_limits(rows):
    """The physical limits beside what they bound: uncompressed records."""
    for way in ("in", "out"):
        limit = rows.pop(f"CPU-s per GiB {way}, physical limit", None)
        for label in ("1 KiB", "100 bytes"):
            row = rows.get(f"CPU-s per GiB {way}, {label}")
            if limit and row:
                row["limit"] = limit["limit"]
        if limit and f"CPU-s per GiB {way}, 1 KiB" not in rows:
            rows[f"CPU-s per GiB {way}, physical limit"] = limit
    return rows


def markdown(results, form, order):
    """The table of all figures that were taken in a form."""
    taken = []
    for name in order:
        path = results / f"{form}-{name}.json"
        if path.exists():
            taken.append(json.loads(path.read_text()))
    if not taken:
        return "nothing was measured yet"
    rows = {}
    for figure in taken:
        rows.update(figure["rows"])
    dates = sorted({figure["date"] for figure in taken})
    rounds = taken[0]["form"]["rounds"]
    lines = [
        f"Apache Kafka 4.3.1 and Ottla by turns, {rounds} alternation{'s' if rounds > 1 else ''}, "
        f"{' to '.join(sorted({dates[0], dates[-1]}))}; {taken[-1]['machine']}.",
        "",
        "| | Apache Kafka | Ottla | ratio | spread | limit or floor | to reach |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    lines += [line(row, values) for row, values in with_limits(rows).items()]
    return "\n".join(lines)
