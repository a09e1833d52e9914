"""Two programs never open one live log directory."""

import re
import subprocess

import brokers


def refuses(holder, other):
    """While `holder` runs, `other`, started on the same directory, ends with an error about it."""
    other.folder.joinpath("server.properties").write_text(
        other.config.read_text().replace(str(other.folder / "data"), str(holder.folder / "data"))
    )
    done = subprocess.run(
        other.start_command(), capture_output=True, text=True, timeout=60, cwd=other.folder
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0, "both programs run on one directory"
    assert re.search(r"(?i)lock on .*\.lock|\.lock.* lock", output), f"no word of the lock: {output[-600:]}"


def each_refuses_the_others_directory(folder):
    ottla, kafka = brokers.Ottla(folder / "held-by-ottla"), brokers.Kafka(folder / "held-by-kafka")
    kafka.logs = True
    try:
        for holder, other in ((ottla, kafka), (kafka, ottla)):
            holder.format()
            holder.start()
            refuses(holder, other)
            holder.stop()
            holder.write_properties({})
            other.write_properties({})
    finally:
        ottla.remove()
        kafka.remove()
