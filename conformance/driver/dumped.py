"""Apache Kafka's kafka-dump-log reads every file of a node's directories without complaint."""

import re

DUMP = "org.apache.kafka.tools.DumpLogSegments"
COMPLAINTS = re.compile(
    r"isvalid: false|isValid: false|Mismatches in|Non consecutive|[Oo]ut of order|Found timestamp"
    r"|Error at|Could not|[Ss]kipping|Unknown record|failed sanity|Exception|Found \d+ invalid",
)


def files(directories, pattern):
    found = [path for directory in directories for path in sorted(directory.glob(pattern))]
    return [path for path in found if path.stat().st_size > 0]


def decoder_of(path):
    """The decoder for the log that a file belongs to."""
    topic = path.parent.name.rpartition("-")[0]
    return {
        "__cluster_metadata": ("--cluster-metadata-decoder",),
        "__consumer_offsets": ("--offsets-decoder",),
        "__transaction_state": ("--transaction-log-decoder",),
        "__share_group_state": ("--share-group-state-decoder",),
    }.get(topic, ())


def dump(tools, paths, *options):
    """Kafka's tool over some files at once; its words, in which there must be no complaint."""
    if not paths:
        return ""
    printed = tools.must(DUMP, "--files", ",".join(map(str, paths)), *options)
    complaint = COMPLAINTS.search(printed)
    if complaint:
        around = printed[max(0, complaint.start() - 300) : complaint.end() + 200]
        raise AssertionError(f"kafka-dump-log complains: {around}")
    return printed


def read_every_file(tools, directories, stopped_cleanly):
    """How many files were read, by kind."""
    counts = {}
    logs = files(directories, "*/*.log") + files(directories, "*/*.checkpoint")
    for decoder in {decoder_of(path) for path in logs}:
        chosen = [path for path in logs if decoder_of(path) == decoder]
        printed = dump(tools, chosen, "--deep-iteration", *decoder)
        assert printed.count("Dumping") == len(chosen), printed[-300:]
        counts[" ".join(decoder) or "logs"] = len(chosen)
    for kind in ("snapshot", "txnindex"):
        chosen = files(directories, f"*/*.{kind}")
        dump(tools, chosen)
        counts[kind] = len(chosen)
    # What stands in the index of an active segment after a crash is for recovery to put right.
    if stopped_cleanly:
        for kind in ("index", "timeindex"):
            chosen = files(directories, f"*/*.{kind}")
            dump(tools, chosen, "--verify-index-only")
            sane = dump(tools, chosen, "--index-sanity-check")
            assert sane.count("passed sanity check") == len(chosen), sane[-300:]
            counts[kind] = len(chosen)
    return counts
