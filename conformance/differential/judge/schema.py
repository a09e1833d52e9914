"""Reads the project's schema files (crates/protocol/schema) into messages, and encodes and decodes
them. It shares no code with Ottla's own codec, so that a fault in one is not hidden by the other."""

import struct
import uuid
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

SCHEMA = Path(__file__).resolve().parents[3] / "crates/protocol/schema"
FIXED = {
    "int8": ">b",
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "float64": ">d",
}


class NotEncodable(Exception):
    """The script asks for something that the protocol has no bytes for."""


class NotDecodable(Exception):
    """The answer's bytes are not what the schema says."""


@dataclass(frozen=True)
class Versions:
    first: int
    last: int

    @classmethod
    def parse(cls, text):
        if text == "none":
            return cls(1, 0)
        if text.endswith("+"):
            return cls(int(text[:-1]), 32767)
        first, _, last = text.partition("-")
        return cls(int(first), int(last or first))

    def __contains__(self, version):
        return self.first <= version <= self.last


NEVER = Versions(1, 0)


@dataclass
class Field:
    name: str
    type: str
    versions: Versions
    nullable: Versions = NEVER
    default: str | None = None
    tag: int | None = None
    tagged: Versions = NEVER
    never_compact: bool = False
    fields: list = field(default_factory=list)

    @property
    def element(self):
        return self.type[2:] if self.type.startswith("[]") else self.type


@dataclass
class Message:
    kind: str
    name: str
    api_key: int
    versions: Versions
    flexible: Versions
    fields: list

    def is_flexible(self, version):
        return version in self.flexible


def parse_field(line):
    name, kind, versions, *facts = line.split()
    # Kafka writes a few names with a small first letter; scripts need not know which.
    made = Field(name[0].upper() + name[1:], kind, Versions.parse(versions))
    for fact in facts:
        word, _, value = fact.partition("=")
        if word == "nullable":
            made.nullable = Versions.parse(value)
        elif word == "default":
            made.default = value
        elif word == "tag":
            tag, _, range_ = value.partition(":")
            made.tag, made.tagged = int(tag), Versions.parse(range_)
        elif word == "flexible":
            made.never_compact = True
    return made


def parse_fields(lines):
    """Fields by indentation; a list of (depth, field) becomes a tree."""
    top, stack = [], []
    for line in lines:
        depth = len(line) - len(line.lstrip())
        made = parse_field(line)
        while stack and stack[-1][0] >= depth:
            stack.pop()
        (stack[-1][1].fields if stack else top).append(made)
        stack.append((depth, made))
    return top


def parse_message(text):
    head, _, body = text.partition("\nfields\n")
    facts = dict(line.split(" ", 1) for line in head.splitlines() if " " in line)
    kind, name = head.splitlines()[0].split()
    blocks, structs = [("", [])], {}
    for line in body.splitlines():
        if line.startswith("struct "):
            blocks.append((line.split()[1], []))
        elif line.strip():
            blocks[-1][1].append(line)
    for struct_name, lines in blocks:
        structs[struct_name] = parse_fields(lines)
    share(structs[""], structs)
    for fields in list(structs.values()):
        share(fields, structs)
    flexible = Versions.parse(facts["flexible"]) if facts.get("flexible") else NEVER
    versions = Versions.parse(facts["versions"].split()[0])
    return Message(kind, name, int(facts.get("api-key", -1)), versions, flexible, structs[""])


def share(fields, structs):
    for one in fields:
        if not one.fields and one.element in structs:
            one.fields = structs[one.element]
        elif one.fields:
            share(one.fields, structs)


@lru_cache(maxsize=None)
def message(name):
    """The message of Kafka's name, e.g. FetchRequest."""
    for path in SCHEMA.iterdir():
        if path.name.replace("_", "") == name.lower():
            return parse_message(path.read_text())
    raise NotEncodable(f"there is no message {name}")


def apis():
    """The name of each API by its key."""
    requests = (parse_message(path.read_text()) for path in SCHEMA.glob("*_request"))
    return {request.api_key: request.name.removesuffix("Request") for request in requests}


class Writer:
    def __init__(self):
        self.parts = bytearray()

    def fixed(self, layout, value):
        try:
            self.parts += struct.pack(layout, value)
        except struct.error as error:
            raise NotEncodable(f"{value!r}: {error}") from error

    def varint(self, value):
        while value >= 0x80:
            self.parts.append(value & 0x7F | 0x80)
            value >>= 7
        self.parts.append(value)

    def length(self, value, compact, layout):
        """A length, or null where `value` is None."""
        if compact:
            self.varint(0 if value is None else value + 1)
        else:
            self.fixed(layout, -1 if value is None else value)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count < 0 or self.at + count > len(self.data):
            raise NotDecodable(f"{count} bytes at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def fixed(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def zigzag(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def length(self, compact, layout):
        value = self.varint() - 1 if compact else self.fixed(layout)
        return None if value < 0 else value


def default_of(one, version):
    if one.default == "null":
        return None
    if one.type.startswith("[]"):
        return []
    if one.type in FIXED:
        return float(one.default or 0) if one.type == "float64" else int(one.default or 0)
    if one.type == "bool":
        return one.default == "true"
    if one.type == "uuid":
        return uuid.UUID(int=0)
    if one.type == "string":
        return one.default or ""
    return b"" if one.type in ("bytes", "records") else {}


def encode(writer, fields, values, version, flexible):
    """Write the fields that `version` has; a field that is not given has its default."""
    unknown = set(values) - {one.name for one in fields} - {"_tags"}
    if unknown:
        raise NotEncodable(f"no such fields: {', '.join(sorted(unknown))}")
    tagged = []
    for one in fields:
        if version not in one.versions:
            continue
        value = values.get(one.name, default_of(one, version))
        if version in one.tagged:
            if one.name in values:
                tagged.append((one.tag, one, value))
            continue
        encode_field(writer, one, value, version, flexible)
    if flexible:
        encode_tags(writer, tagged, values.get("_tags", {}), version)


def encode_tags(writer, tagged, raw, version):
    pieces = []
    for tag, one, value in tagged:
        inner = Writer()
        encode_field(inner, one, value, version, True)
        pieces.append((tag, bytes(inner.parts)))
    pieces += [(int(tag), data) for tag, data in raw.items()]
    writer.varint(len(pieces))
    for tag, data in sorted(pieces):
        writer.varint(tag)
        writer.varint(len(data))
        writer.parts += data


def encode_field(writer, one, value, version, flexible):
    compact = flexible and not one.never_compact
    if one.type.startswith("[]"):
        writer.length(None if value is None else len(value), compact, ">i")
        for item in value or ():
            encode_value(writer, one, one.element, item, version, compact)
    elif one.fields:
        if version in one.nullable:
            writer.fixed(">b", -1 if value is None else 1)
            if value is None:
                return
        encode(writer, one.fields, value or {}, version, flexible)
    else:
        encode_value(writer, one, one.type, value, version, compact)


def encode_value(writer, one, kind, value, version, compact):
    if one.fields:
        encode(writer, one.fields, value, version, compact)
    elif kind in FIXED:
        writer.fixed(FIXED[kind], value)
    elif kind == "bool":
        writer.fixed(">b", int(value))
    elif kind == "uuid":
        writer.parts += value.bytes
    else:
        if isinstance(value, bool | int | float):
            value = str(value).lower()
        data = value.encode() if isinstance(value, str) else value
        layout = ">h" if kind == "string" else ">i"
        writer.length(None if data is None else len(data), compact, layout)
        writer.parts += data or b""


def decode(reader, fields, version, flexible):
    values = {}
    for one in fields:
        if version not in one.versions:
            continue
        if version in one.tagged:
            values[one.name] = default_of(one, version)
            continue
        values[one.name] = decode_field(reader, one, version, flexible)
    if flexible:
        by_tag = {one.tag: one for one in fields if version in one.tagged}
        for _ in range(reader.varint()):
            tag, data = reader.varint(), reader.take(reader.varint())
            if tag in by_tag:
                inner = Reader(data)
                values[by_tag[tag].name] = decode_tagged(inner, by_tag[tag], version)
                finished(inner)
            else:
                values.setdefault("_tags", {})[tag] = data
    return values


def decode_tagged(reader, one, version):
    """A field behind a tag; whether a structure is there is a varint then."""
    if one.fields and not one.type.startswith("[]") and version in one.nullable:
        return decode(reader, one.fields, version, True) if reader.varint() else None
    return decode_field(reader, one, version, True)


def decode_field(reader, one, version, flexible):
    compact = flexible and not one.never_compact
    if one.type.startswith("[]"):
        count = reader.length(compact, ">i")
        if count is None:
            return None
        return [decode_value(reader, one, one.element, version, compact) for _ in range(count)]
    if one.fields:
        if version in one.nullable and reader.fixed(">b") < 0:
            return None
        return decode(reader, one.fields, version, flexible)
    return decode_value(reader, one, one.type, version, compact)


def decode_value(reader, one, kind, version, compact):
    if one.fields:
        return decode(reader, one.fields, version, compact)
    if kind in FIXED:
        return reader.fixed(FIXED[kind])
    if kind == "bool":
        return reader.fixed(">b") != 0
    if kind == "uuid":
        return uuid.UUID(bytes=bytes(reader.take(16)))
    count = reader.length(compact, ">h" if kind == "string" else ">i")
    if count is None:
        return None
    data = bytes(reader.take(count))
    return data.decode(errors="backslashreplace") if kind == "string" else data


def finished(reader):
    if reader.at != len(reader.data):
        raise NotDecodable(f"{len(reader.data) - reader.at} bytes too many")
