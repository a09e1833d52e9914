"""Replicas of a partition are the same, byte for byte, once nothing is written any more."""

import hashlib
import time

from .nodes import METADATA_LOG, PATIENCE_SECONDS


def log_files(node, partition):
    """The segments of a partition in the order of their offsets."""
    return sorted((node.folder / "data" / str(partition)).glob("*.log"))


def digest(node, partition):
    """The sum over a node's records of a partition, and how many bytes they are."""
    sum_, size = hashlib.sha256(), 0
    for path in log_files(node, partition):
        content = path.read_bytes()
        sum_.update(content)
        size += len(content)
    return sum_.hexdigest(), size


def compare(cluster, topic=None):
    """Wait until all replicas of one topic or of all are equal; the number of bytes of each."""
    cluster.until_in_sync(topic)
    partitions = cluster.partitions(topic)
    assert partitions, "there is nothing to compare"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        different, total = {}, 0
        for partition in partitions:
            found = {number: digest(cluster.nodes[number], partition) for number in partition.replicas}
            if len(set(found.values())) > 1:
                different[str(partition)] = {number: size for number, (_, size) in found.items()}
            total += found[partition.leader][1]
        if not different:
            return total
        assert time.monotonic() < deadline, f"replicas differ; bytes by node: {different}"
        time.sleep(0.2)


def compare_metadata(cluster):
    """Each node's metadata log is the beginning of the longest one; a node may have cut its own after a snapshot."""
    name = f"{METADATA_LOG}-0"
    for base in {path.name for node in cluster.nodes.values() for path in log_files(node, name)}:
        paths = [node.folder / "data" / name / base for node in cluster.nodes.values()]
        logs = sorted((path.read_bytes() for path in paths if path.exists()), key=len)
        for log in logs:
            assert logs[-1].startswith(log), f"{base} of the metadata differs between nodes"
