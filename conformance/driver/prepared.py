"""Transactions whose commit was decided and answered, and of whose completion nothing is on the disk: the state
that a power failure leaves when what was written last did not get there. The bytes are the broker's own, cut
where it wrote the record that all markers are written, and before the markers.
"""

import struct

# Byte 16 of a transaction's state: after version, producer id and epoch, and timeout.
STATUS_AT = 16
PREPARE_COMMIT, COMPLETE_COMMIT = 2, 4
CONTROL = 1 << 5
HEADER_BYTES = 61


def batches(path):
    """(position, batch) of each whole batch of a log file; a tail of zeros is not one."""
    content, position = path.read_bytes(), 0
    while position + HEADER_BYTES <= len(content):
        (length,) = struct.unpack_from(">i", content, position + 8)
        end = position + 12 + length
        if length <= 0 or end > len(content):
            break
        yield position, content[position:end]
        position = end


def varint(content, position):
    """A signed integer of variable length, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7


def first_record(batch):
    """Key and value of the first record of a batch that is not compressed."""
    _, position = varint(batch, HEADER_BYTES)
    position += 1
    for _ in range(2):
        _, position = varint(batch, position)
    fields = []
    for _ in range(2):
        size, position = varint(batch, position)
        fields.append(None if size < 0 else batch[position : position + size])
        position += max(size, 0)
    return fields


def status(batch, name):
    """What a batch of the transactions' log says of that transactional id; None where it is of others."""
    key, value = first_record(batch)
    (length,) = struct.unpack_from(">h", key, 2)
    if value is None or key[4 : 4 + length] != name.encode():
        return None
    return value[STATUS_AT], struct.unpack_from(">q", value, 2)[0]


def newest_logs(directories, topic):
    """The last segment of each partition of a topic."""
    for directory in directories:
        for partition in directory.glob(f"{topic}-*"):
            if partition.name[len(topic) + 1 :].isdigit():
                yield max(partition.glob("*.log"))


def cut(path, position):
    with path.open("r+b") as file:
        file.truncate(position)


def forget_completion(directories, names):
    """Take the completion of the last transactions of these ids, and their markers, from the disk of a node that
    was killed. Nothing else may have been written after them to the same partitions of the transactions' log."""
    producers = set()
    for path in newest_logs(directories, "__transaction_state"):
        found = list(batches(path))
        tail = None
        for position, batch in reversed(found):
            ended = [one for name in names if (one := status(batch, name))]
            if not ended or ended[0][0] != COMPLETE_COMMIT:
                break
            producers.add(ended[0][1])
            tail = position
        if tail is not None:
            cut(path, tail)
    left = [last_status(directories, name) for name in names]
    assert left == [PREPARE_COMMIT] * len(names), f"the states of {names} are {left}"
    for topic in (*names, "__consumer_offsets"):
        for path in newest_logs(directories, topic):
            for position, batch in reversed(list(batches(path))):
                (attributes,) = struct.unpack_from(">h", batch, 21)
                (producer,) = struct.unpack_from(">q", batch, 43)
                if not attributes & CONTROL or producer not in producers:
                    break
                cut(path, position)


def last_status(directories, name):
    """What the log of transactions says last of an id."""
    said = [
        found[0]
        for path in newest_logs(directories, "__transaction_state")
        for _, batch in batches(path)
        if (found := status(batch, name))
    ]
    return said[-1] if said else None
