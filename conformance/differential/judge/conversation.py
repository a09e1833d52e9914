"""Speaks a script's requests to one broker, and keeps what it answered."""

import re
import socket
import struct
import time
import uuid
import base64

from . import records
from .schema import (
    NotDecodable,
    NotEncodable,
    Reader,
    Writer,
    decode,
    encode,
    finished,
    message,
)
from .script import Marked, Text

ANSWER_SECONDS = 8
UNTIL_SECONDS = 10
CLOSED = {"(connection)": "closed"}
API_VERSIONS = 18


class Connection:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), 10)
        self.socket.settimeout(ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0
        self.waiting = []

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # the read that follows sees it

    def frame(self):
        """The next frame, or None where the broker closed the connection."""
        size = self.exactly(4)
        if size is None:
            return None
        return self.exactly(struct.unpack(">i", size)[0])

    def exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except TimeoutError:
                raise
            except OSError:
                return None
            if not piece:
                return None
            data += piece
        return data


class Conversation:
    """One script with one broker."""

    def __init__(self, address, case, version):
        address, _, controller_port = address.partition("/")
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)
        # Where the node's controller listens, if that was said.
        self.controller_port = int(controller_port) if controller_port else None
        self.case, self.version = case, version
        self.connections = {}
        # What was asked, as (API, version), and whether any answer was an error.
        self.asked = set()
        self.was_refused = False
        self.variables = {"now": records.DEFAULT_TIMESTAMP, "case": case}

    def close(self):
        for connection in self.connections.values():
            connection.socket.close()

    def connection(self, name):
        if name not in self.connections:
            self.connections[name] = Connection(self.host, self.port_of(name))
        return self.connections[name]

    def port_of(self, name):
        """A connection whose name begins with `controller` goes to the controller's listener."""
        if not name.startswith("controller"):
            return self.port
        if self.controller_port is None:
            raise NotEncodable("the port of the controller is not known: give HOST:PORT/PORT")
        return self.controller_port

    def drop(self, name):
        connection = self.connections.pop(name, None)
        if connection:
            connection.socket.close()

    # Values: the script's words, with this broker's own ids in place of the variables.

    def variable(self, name):
        if name in self.variables:
            return self.variables[name]
        if name.endswith(".id"):
            raise NotEncodable(f"${name} is not known yet")
        return f"{self.case}-{name}"

    def value(self, written):
        if isinstance(written, dict):
            return {name: self.value(value) for name, value in written.items()}
        if isinstance(written, list):
            items = [self.value(item) for item in written]
            if items and all(isinstance(item, Batch) for item in items):
                return Batch(b"".join(items))
            return items
        if isinstance(written, Marked):
            return self.marked(written)
        return self.text(written)

    def marked(self, written):
        inner = self.value(written.value)
        if written.kind == "batch":
            return Batch(records.encode_batch(inner))
        version = int(written.version[1:])
        writer = Writer()
        writer.fixed(">h", version)
        body = message(written.name)
        encode(writer, body.fields, inner, version, body.is_flexible(version))
        return bytes(writer.parts)

    def text(self, written):
        raw = written.raw
        if not written.quoted:
            if re.fullmatch(r"-?\d+", raw):
                return int(raw)
            if re.fullmatch(r"-?\d+\.\d+", raw):
                return float(raw)
            if raw in ("true", "false", "null"):
                return {"true": True, "false": False, "null": None}[raw]
            if raw.startswith("hex:"):
                return bytes.fromhex(raw[4:])
            if raw.startswith("id:"):
                return uuid.UUID(bytes=base64.urlsafe_b64decode(raw[3:] + "=="))
            match = re.fullmatch(r"\$([a-z]\w*(?:\.id)?)(?:([+-]\d+))?", raw)
            if match:
                value = self.variable(match[1])
                if match[2] and isinstance(value, int):
                    return value + int(match[2])
                return value if not match[2] else f"{value}{match[2]}"
        replaced = re.sub(
            r"\$(?:\{(\w+(?:\.id)?)\}|([a-z]\w*(?:\.id)?))",
            lambda match: words(self.variable(match[1] or match[2])),
            raw,
        )
        return replaced * written.times

    # Requests and answers.

    def send(self, step):
        connection = self.connection(step.connection)
        version = self.version if step.version == "N" else int(step.version)
        self.asked.add((step.api, version))
        request = message(step.api + "Request")
        last = request.versions.last
        within = version if version in request.versions else max(last, 0)
        header, writer = message("RequestHeader"), Writer()
        flexible = request.is_flexible(version)
        connection.correlation += 1
        values = {
            "RequestApiKey": request.api_key,
            "RequestApiVersion": version,
            "CorrelationId": connection.correlation,
            "ClientId": "judge",
        }
        encode(writer, header.fields, values, 2 if flexible else 1, flexible)
        body = self.value(step.fields)
        encode(writer, request.fields, body, within, request.is_flexible(within))
        connection.send(struct.pack(">i", len(writer.parts)) + writer.parts)
        if not step.silent:
            connection.waiting.append((step, version, connection.correlation))

    def receive(self, name):
        """The answer to the oldest request on a connection, as a tree."""
        connection = self.connection(name)
        step, version, correlation = connection.waiting.pop(0)
        try:
            frame = connection.frame()
        except TimeoutError:
            self.drop(name)
            return step, {"(connection)": f"no answer in {ANSWER_SECONDS} s"}
        if frame is None:
            self.drop(name)
            self.was_refused = True
            return step, dict(CLOSED)
        answer = self.decoded(step, version, correlation, frame)
        self.was_refused |= holds_an_error(answer)
        return step, answer

    def decoded(self, step, version, correlation, frame):
        response = message(step.api + "Response")
        if response.api_key == API_VERSIONS and version not in message("ApiVersionsRequest").versions:
            version = 0
        reader = Reader(frame)
        try:
            if reader.fixed(">i") != correlation:
                return {"(answer)": "another correlation id"}
            if response.is_flexible(version) and response.api_key != API_VERSIONS:
                if reader.varint() != 0:
                    return {"(answer)": "tagged fields in its header"}
            answer = decode(reader, response.fields, version, response.is_flexible(version))
            finished(reader)
            read_records(answer)
        except (NotDecodable, struct.error, IndexError) as error:
            return {"(answer)": f"not decodable at version {version}: {error}"}
        for path, name, prefix in step.only:
            keep_only(answer, path, name, words(self.text(Text(prefix))))
        for name, path in step.keeps:
            self.variables[name] = at_path(answer, path)
        return answer

    def again(self, step, answer):
        """Ask again until the answer is what the script waits for; the last answer."""
        deadline = time.monotonic() + UNTIL_SECONDS
        path, wanted = step.until
        wanted = words(self.text(Text(wanted)))
        while words(at_path(answer, path)) != wanted and time.monotonic() < deadline:
            time.sleep(0.02)
            self.send(step)
            _, answer = self.receive(step.connection)
        return answer

    def topic(self, step):
        """Create a topic and wait until it can be written to; its id is kept as `$NAME.id`."""
        name = step.words[0]
        fields = self.value(step.fields)
        given = {"Name": self.variable(name), "NumPartitions": fields.get("Partitions", 1)}
        configs = fields.get("Configs", {}).items()
        given |= {
            "ReplicationFactor": 1,
            "Configs": [{"Name": key, "Value": words(value)} for key, value in configs],
        }
        answer = self.ask("CreateTopics", 7, {"Topics": [given], "TimeoutMs": 30000})
        topic = at_path(answer, "Topics[0]")
        if not topic or topic["ErrorCode"]:
            return {"(topic)": f"not created: {topic or answer}"}
        self.variables[f"{name}.id"] = topic["TopicId"]
        wanted = {"Topics": [{"Name": given["Name"]}]}
        deadline = time.monotonic() + UNTIL_SECONDS
        while time.monotonic() < deadline:
            partitions = at_path(self.ask("Metadata", 12, wanted), "Topics[0].Partitions") or []
            leaders = [partition["LeaderId"] >= 0 for partition in partitions]
            if len(leaders) == given["NumPartitions"] and all(leaders):
                if self.every_leader_answers(given):
                    return {"(topic)": "created"}
            time.sleep(0.01)
        return {"(topic)": "without leaders"}

    def every_leader_answers(self, topic):
        """A broker may know the leader a moment before the leader knows it."""
        indexes = range(topic["NumPartitions"])
        asked = [{"PartitionIndex": index, "Timestamp": -1} for index in indexes]
        topics = [{"Name": topic["Name"], "Partitions": asked}]
        answer = self.ask("ListOffsets", 5, {"ReplicaId": -1, "Topics": topics})
        partitions = at_path(answer, "Topics[0].Partitions") or [{"ErrorCode": -1}]
        return all(partition["ErrorCode"] == 0 for partition in partitions)

    def ask(self, api, version, body):
        """One request of the runner's own."""
        writer = Writer()
        request, connection = message(api + "Request"), self.connection("runner")
        connection.correlation += 1
        writer.fixed(">h", request.api_key)
        writer.fixed(">h", version)
        writer.fixed(">i", connection.correlation)
        writer.fixed(">h", -1)
        flexible = request.is_flexible(version)
        if flexible:
            writer.varint(0)
        encode(writer, request.fields, body, version, flexible)
        connection.send(struct.pack(">i", len(writer.parts)) + writer.parts)
        frame = connection.frame()
        if frame is None:
            self.drop("runner")
            return dict(CLOSED)
        response = message(api + "Response")
        reader = Reader(frame)
        reader.take(5 if response.is_flexible(version) else 4)
        return decode(reader, response.fields, version, response.is_flexible(version))

    def raw(self, step):
        """Bytes as they are; what comes back is a frame in hex, or the end of the connection."""
        connection = self.connection(step.connection)
        connection.send(bytes.fromhex("".join(step.words)))
        try:
            frame = connection.frame()
        except TimeoutError:
            frame = b"nothing"
        if frame is None:
            self.drop(step.connection)
            self.was_refused = True
            return dict(CLOSED)
        return {"(frame)": frame.hex()}


class Batch(bytes):
    """Encoded records; a list of them is one after the other."""


def holds_an_error(tree):
    """Whether an error code anywhere in the answer is not 0."""
    if isinstance(tree, dict):
        return bool(tree.get("ErrorCode")) or any(map(holds_an_error, tree.values()))
    return isinstance(tree, list) and any(map(holds_an_error, tree))


def words(value):
    """A value as a script writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def at_path(tree, path):
    """The value at `Topics[0].Partitions[1].ErrorCode`, or None."""
    for name, index in re.findall(r"([A-Za-z()]+)|\[(\d+)\]", path):
        try:
            tree = tree[name] if name else tree[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def keep_only(tree, path, name, prefix):
    """Leave in the array at `path` only what has a `name` that starts with `prefix`."""
    array = at_path(tree, path)
    if isinstance(array, list):
        array[:] = [item for item in array if words(item.get(name)).startswith(prefix)]


def read_records(tree):
    """Replace the bytes of records by what they hold."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == "Records" and isinstance(value, bytes):
                tree[name] = records.decode_batches(value)
            else:
                read_records(value)
    elif isinstance(tree, list):
        for item in tree:
            read_records(item)
