"""Two programs never open one live log directory."""

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
    assert "lock" in output.lower(), f"no word of the lock: {output[-600:]}"


def each_refuses_the_others_directory(folder):
    ottla, kafka = brokers.Ottla(folder / "lock-ottla"), brokers.Kafka(folder / "lock-kafka")
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
