"""Fields of Kafka's flexible versions, and a record batch of one record."""

import base64
import struct


class Writer:
    """Writes fields, each call giving the writer back."""

    def __init__(self):
        self.written = bytearray()

    def bytes(self):
        return bytes(self.written)

    def raw(self, data):
        self.written += data
        return self

    def i8(self, value):
        return self.raw(struct.pack(">b", value))

    def i16(self, value):
        return self.raw(struct.pack(">h", value))

    def i32(self, value):
        return self.raw(struct.pack(">i", value))

    def i64(self, value):
        return self.raw(struct.pack(">q", value))

    def unsigned(self, value):
        while value >= 0x80:
            self.written.append(value & 0x7F | 0x80)
            value >>= 7
        self.written.append(value)
        return self

    def null(self):
        """A text, array or bytes that is not there."""
        return self.unsigned(0)

    def data(self, data):
        return self.unsigned(len(data) + 1).raw(data)

    def text(self, text):
        return self.data(text.encode())

    def array(self, entries, write):
        self.unsigned(len(entries) + 1)
        for entry in entries:
            write(self, entry)
        return self

    def tags(self):
        return self.unsigned(0)


class Reader:
    """Reads fields; what the version does not need may be left."""

    def __init__(self, data):
        self.bytes, self.at = data, 0

    def raw(self, size):
        self.at += size
        return self.bytes[self.at - size : self.at]

    def i8(self):
        return struct.unpack(">b", self.raw(1))[0]

    def i16(self):
        return struct.unpack(">h", self.raw(2))[0]

    def i32(self):
        return struct.unpack(">i", self.raw(4))[0]

    def i64(self):
        return struct.unpack(">q", self.raw(8))[0]

    def unsigned(self):
        value, shift = 0, 0
        while True:
            byte = self.bytes[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self):
        size = self.unsigned()
        return self.raw(size - 1).decode() if size > 0 else None

    def array(self, read):
        return [read() for _ in range(self.unsigned() - 1)]

    def tags(self):
        for _ in range(self.unsigned()):
            self.unsigned()
            self.raw(self.unsigned())


def uuid_text(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


TRANSACTIONAL = 1 << 4


def batch(producer_id=-1, epoch=-1, sequence=-1):
    """A batch of one record without key; a transactional one, if a producer id is given."""
    attributes = TRANSACTIONAL if producer_id >= 0 else 0
    record = b"\0\0\0\x01" + b"\x08" + b"data" + b"\0"
    records = bytes([len(record) << 1]) + record
    now = 1_700_000_000_000
    body = struct.pack(">hiqqqhii", attributes, 0, now, now, producer_id, epoch, sequence, 1) + records
    head = struct.pack(">iB", -1, 2) + struct.pack(">I", crc32c(body))
    return struct.pack(">qi", 0, len(head) + len(body)) + head + body


def table():
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return found


TABLE = table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
