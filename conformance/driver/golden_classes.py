"""Golden files that Apache Kafka's own classes make, made anew and compared."""

import shutil

from clients import CONFORMANCE, java, run

CRATES = CONFORMANCE.parent / "crates"


def cleaned_logs(folder):
    """Logs filled at random, and what Apache Kafka's own cleaner leaves of them; `crates/log` reads both."""
    golden = CRATES / "log/testdata/kafka-4.3.1/cleaned"
    made = folder / "cleaned"
    cases = sum(entry.is_dir() for entry in golden.iterdir())
    run(java(str(CRATES / "log/testdata/CleanedLogs.java"), str(made), str(cases)))
    different = list(differences(golden, made))
    assert not different, f"{different[:5]} are not the same"


def expressions(folder):
    """What RE2J says of the expressions that `crates/coordinator` reads in its place."""
    golden = CRATES / "coordinator/testdata/kafka-4.3.1/expressions.txt"
    made = folder / golden.name
    shutil.copy(golden, made)
    run(java("ottla.conformance.ExpressionVectors", str(made)))
    pairs = zip(golden.read_text().splitlines(), made.read_text().splitlines(), strict=True)
    different = [line for line, other in pairs if line != other]
    assert not different, f"{len(different)} expressions are judged otherwise, as {different[:3]}"


def files(folder):
    return {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}


def differences(golden, made):
    """Files that only one has, or whose bytes differ."""
    before, after = files(golden), files(made)
    yield from map(str, before.keys() ^ after.keys())
    for name in sorted(before.keys() & after.keys()):
        if before[name].read_bytes() != after[name].read_bytes():
            yield str(name)
