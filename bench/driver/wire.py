"""Three requests of Kafka's protocol, to see when a broker that starts has its answers."""

import socket
import struct


class Connection:
    """One connection; requests one after the other."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, api_key, version, body=b""):
        """The response to a request, after its correlation id."""
        request = struct.pack(">hhih", api_key, version, 1, -1) + body
        self.socket.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", self.receive(4))
        return self.receive(size)[4:]

    def receive(self, size):
        received = bytearray()
        while len(received) < size:
            chunk = self.socket.recv(size - len(received))
            if not chunk:
                raise ConnectionResetError("the broker closed the connection")
            received += chunk
        return bytes(received)


class Fields:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        values = struct.unpack_from(">" + layout, self.data, self.at)
        self.at += struct.calcsize(">" + layout)
        return values if len(values) > 1 else values[0]

    def string(self):
        length = self.take("h")
        value = self.data[self.at : self.at + max(length, 0)]
        self.at += max(length, 0)
        return value.decode()

    def repeat(self, one):
        return [one() for _ in range(self.take("i"))]


def answers(connection):
    """Whether ApiVersions is answered."""
    (error,) = struct.unpack_from(">h", connection.ask(18, 0))
    return error == 0


def leaders(connection, topic):
    """Error and leader of each partition of a topic, by Metadata 1."""
    name = struct.pack(">ih", 1, len(topic)) + topic.encode()
    fields = Fields(connection.ask(3, 1, name))
    fields.repeat(lambda: (fields.take("i"), fields.string(), fields.take("i"), fields.string()))
    fields.take("i")
    found = []

    def partition():
        error, _, leader = fields.take("hii")
        fields.repeat(lambda: fields.take("i"))
        fields.repeat(lambda: fields.take("i"))
        found.append((error, leader))

    fields.repeat(lambda: (fields.take("h"), fields.string(), fields.take("b"), fields.repeat(partition)))
    return found


def ends(connection, topic, count):
    """Error and end offset of each partition, by ListOffsets 1."""
    body = struct.pack(">iih", -1, 1, len(topic)) + topic.encode() + struct.pack(">i", count)
    body += b"".join(struct.pack(">iq", partition, -1) for partition in range(count))
    fields = Fields(connection.ask(2, 1, body))
    found = []
    fields.repeat(lambda: (fields.string(), fields.repeat(lambda: found.append(fields.take("ihqq")))))
    return [(error, offset) for _, error, _, offset in found]


def is_described(topic, count):
    def check(connection):
        found = leaders(connection, topic)
        return len(found) == count and all(error == 0 and leader >= 0 for error, leader in found)

    return check


def has_ends(topic, count):
    def check(connection):
        found = ends(connection, topic, count)
        return len(found) == count and all(error == 0 for error, _ in found)

    return check
