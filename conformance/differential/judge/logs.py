"""What coordinators have written: the records of the internal topics, read from each broker when the scripts are
over, and compared record by record for each group and each transactional id that a script has named."""

import re
import struct
from collections import defaultdict
from functools import lru_cache
from itertools import groupby

from . import records
from .compare import differences, named, variables_of
from .conversation import Conversation, at_path
from .schema import SCHEMA, Reader, decode, finished, parse_message

# The topics, and the field of a key that says whose the record is.
OWNERS = {
    "__consumer_offsets": ("Group", "GroupId"),
    "__transaction_state": ("TransactionalId",),
    "__share_group_state": ("GroupId",),
}
# The types of these topics have keys of their own, each from 0 on.
APART = {
    "TransactionLog": "__transaction_state",
    "ShareSnapshot": "__share_group_state",
    "ShareUpdate": "__share_group_state",
}
CONTROL = 1 << 5
BATCH = "(batch)"
FETCH_BYTES = 1 << 24


@lru_cache(maxsize=None)
def types():
    """(topic, number of the type): its name, and the schemas of key and value."""
    found = {}
    for path in SCHEMA.glob("*_key"):
        key = parse_message(path.read_text())
        if key.kind == "coordinator-key":
            name = key.name.removesuffix("Key")
            value = parse_message((SCHEMA / path.name.replace("_key", "_value")).read_text())
            topic = APART.get(name, "__consumer_offsets")
            found[topic, key.api_key] = name, key, value
    return found


def opened(topic, data, schema_of):
    """The name of a type, and the fields that follow its number."""
    reader = Reader(data)
    name, schema, version = schema_of(topic, reader.fixed(">h"))
    fields = decode(reader, schema.fields, version, schema.is_flexible(version))
    finished(reader)
    return name, fields


def key_of(topic, data):
    def schema(topic, number):
        name, key, _ = types()[topic, number]
        return name, key, 0

    return opened(topic, data, schema)


def value_of(topic, number, data):
    def schema(topic, version):
        name, _, value = types()[topic, number]
        return name, value, version

    version = struct.unpack_from(">h", data)[0]
    return {"(version)": version, **opened(topic, data, schema)[1]}


def partitions(conversation, topic):
    answer = conversation.ask("Metadata", 12, {"Topics": [{"Name": topic}]})
    found = at_path(answer, "Topics[0].Partitions") or []
    return sorted(partition["PartitionIndex"] for partition in found)


def batches(conversation, topic, partition):
    """All batches of a partition, in the order of the log."""
    offset = 0
    while True:
        asked = {"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": FETCH_BYTES}
        body = {"MaxBytes": FETCH_BYTES, "Topics": [{"Topic": topic, "Partitions": [asked]}]}
        answer = at_path(conversation.ask("Fetch", 12, body), "Responses[0].Partitions[0]")
        if answer["ErrorCode"] or not answer["Records"]:
            return
        for batch in records.decode_batches(answer["Records"], part=lambda data: data):
            if "Records" in batch and batch["BaseOffset"] + batch["LastOffsetDelta"] >= offset:
                yield batch
                offset = batch["BaseOffset"] + batch["LastOffsetDelta"] + 1


def written(address):
    """{owner: [record]} of all internal topics of a broker; the owner is topic and name."""
    found = defaultdict(list)
    conversation = Conversation(address, "logs", None)
    try:
        for topic in OWNERS:
            for partition in partitions(conversation, topic):
                for batch in batches(conversation, topic, partition):
                    if batch["Attributes"] & CONTROL:
                        continue
                    for record in batch["Records"]:
                        owner, shown = show(topic, batch, record)
                        found[topic, owner].append(shown)
    finally:
        conversation.close()
    return found


def show(topic, batch, record):
    """Whose a record is, and what it says."""
    name, key = key_of(topic, record["Key"])
    (number,) = struct.unpack_from(">h", record["Key"])
    value = record["Value"]
    owner = next(key[field] for field in OWNERS[topic] if field in key)
    return owner, {
        "Type": name,
        "Key": key,
        "Value": None if value is None else value_of(topic, number, value),
        "IsTransactional": bool(batch["Attributes"] & 1 << 4),
        BATCH: batch["BaseOffset"],
    }


def in_order(topic, written):
    """Records of one type that follow each other in one batch by their keys: both brokers take their order from
    a hash map; and each share partition by itself. Which records make a batch depends on the moment, and is left
    out."""
    ordered = []
    if topic == "__share_group_state":
        written = sorted(written, key=lambda record: str(record["Key"]))
    for _, run in groupby(written, lambda record: (record[BATCH], record["Type"])):
        ordered += sorted(run, key=lambda record: str(record["Key"]))
    return [{name: value for name, value in one.items() if name != BATCH} for one in ordered]


def by_case(owners, sides_of):
    """[(case, topic, owner)], an owner being of the case with the longest name that it begins with."""
    for topic, owner in sorted(owners):
        cases = [case for case in sides_of if re.match(re.escape(case) + r"(-|$)", owner)]
        if cases:
            yield max(cases, key=len), topic, owner


def compare(addresses, sides_of, allowed):
    """(case, differences) of each owner; `sides_of` has both conversations of each case by its name."""
    theirs, ours = map(written, addresses)
    for case, topic, owner in by_case({*theirs, *ours}, sides_of):
        one, other = theirs.get((topic, owner), []), ours.get((topic, owner), [])
        names = [variables_of(side) for side in sides_of[case]]
        pair = [in_order(topic, named(side, name)) for side, name in zip((one, other), names, strict=True)]
        yield case, owner, list(differences(*pair, f"Written.{topic}", allowed))
