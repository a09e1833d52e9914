"""Two programs never open one live log directory."""

import re
import subprocess

import brokers


def refuses(holder, other):
    """While `holder` runs, `other`, started on the same directory, ends with an error about it."""
    other.folder.joinpath("server.properties").write_text(
        other.config.read_text().replace(str(other.folder), str(holder.folder))
    )
    done = subprocess.run(
        other.start_command(), capture_output=True, text=True, timeout=60, cwd=other.folder
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0, "both programs run on one directory"
    assert re.search(r"(?i)lock on .*\.lock|\.lock.* lock", output), f"no word of the lock: {output[-600:]}"


def own_metadata(folder):
    """With its metadata in the log directory, Apache Kafka takes part in the quorum before it asks for the
    lock, and may die of what it then reads."""
    return {"metadata.log.dir": str(folder / "metadata")}


def each_refuses_the_others_directory(folder):
    ottla, kafka = (
        make(folder / name, own_metadata(folder / name))
        for make, name in ((brokers.Ottla, "held-by-ottla"), (brokers.Kafka, "held-by-kafka"))
    )
    kafka.logs = True
    try:
        for holder, other in ((ottla, kafka), (kafka, ottla)):
            holder.format()
            holder.start()
            refuses(holder, other)
            holder.stop()
            other.write_properties(own_metadata(other.folder))
    finally:
        ottla.remove()
        kafka.remove()
