"""Record batches, written from a script's notation with any field made wrong on purpose, and read
back from answers. Compression is by stored blocks where a format allows it: any reader must take
them, and the script's bytes are the same on every machine."""

import gzip
import struct
import time

from .schema import NotDecodable, Reader, Writer

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
# Both brokers are sent the same time, close enough to theirs to be neither too old nor too new.
DEFAULT_TIMESTAMP = int(time.time()) * 1000


def table():
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        yield number


CRC32C = tuple(table())


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = CRC32C[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def xxh32(data):
    """The hash in the header of an LZ4 frame, for inputs below 16 bytes."""
    prime1, prime2, prime3, prime4, prime5 = (
        *(0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D),
        *(0x27D4EB2F, 0x165667B1),
    )
    mask = 0xFFFFFFFF

    def rotate(value, by):
        return (value << by | value >> 32 - by) & mask

    value = (prime5 + len(data)) & mask
    while len(data) >= 4:
        value = value + struct.unpack("<I", data[:4])[0] * prime3 & mask
        value = rotate(value, 17) * prime4 & mask
        data = data[4:]
    for byte in data:
        value = rotate(value + byte * prime5 & mask, 11) * prime1 & mask
    value = (value ^ value >> 15) * prime2 & mask
    value = (value ^ value >> 13) * prime3 & mask
    return value ^ value >> 16


def compress(codec, data):
    if codec == "gzip":
        return gzip.compress(data, mtime=0)
    if codec == "snappy":
        return compress_snappy(data)
    if codec == "lz4":
        descriptor = bytes([0x60, 0x40])
        check = xxh32(descriptor) >> 8 & 0xFF
        block = struct.pack("<I", len(data) | 0x80000000) + data if data else b""
        return struct.pack("<I", 0x184D2204) + descriptor + bytes([check]) + block + bytes(4)
    if codec == "zstd":
        head = struct.pack("<I", 0xFD2FB528) + bytes([0x00, 0x38])
        return head + ((len(data) << 3) | 1).to_bytes(3, "little") + data
    return data


def compress_snappy(data):
    """Literals only."""
    writer = Writer()
    writer.varint(len(data))
    for start in range(0, len(data), 65536):
        piece = data[start : start + 65536]
        writer.parts += bytes([61 << 2]) + struct.pack("<H", len(piece) - 1) + piece
    return bytes(writer.parts)


def decompress(codec, data):
    if codec == 1:
        return gzip.decompress(data)
    if codec == 2:
        return decompress_snappy(data)
    if codec == 3:
        import lz4.frame

        return lz4.frame.decompress(data)
    if codec == 4:
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


def decompress_snappy(data):
    import snappy

    if not data.startswith(b"\x82SNAPPY\x00"):
        return snappy.decompress(data)
    plain, at = b"", 16
    while at < len(data):
        (count,) = struct.unpack(">i", data[at : at + 4])
        plain += snappy.decompress(data[at + 4 : at + 4 + count])
        at += 4 + count
    return plain


def zigzag(writer, value):
    writer.varint((value << 1 ^ value >> 63) & 0xFFFFFFFFFFFFFFFF)


def sized(writer, data):
    if data is None:
        zigzag(writer, -1)
    else:
        zigzag(writer, len(data))
        writer.parts += data


def as_bytes(value):
    return value.encode() if isinstance(value, str) else value


def as_record(value):
    """A record in the notation: a structure, a value alone, or key=value."""
    if isinstance(value, dict):
        return value
    key, equals, rest = value.partition("=")
    return {"Key": key, "Value": rest} if equals else {"Value": value}


def encode_record(record, index, base_timestamp):
    body = Writer()
    body.fixed(">b", record.get("Attributes", 0))
    zigzag(body, record.get("Timestamp", base_timestamp) - base_timestamp)
    zigzag(body, record.get("OffsetDelta", index))
    sized(body, as_bytes(record.get("Key")))
    sized(body, as_bytes(record.get("Value", "")))
    headers = record.get("Headers", [])
    zigzag(body, record.get("HeaderCount", len(headers)))
    for header in headers:
        sized(body, as_bytes(header["Key"]))
        sized(body, as_bytes(header.get("Value")))
    whole = Writer()
    zigzag(whole, record.get("Length", len(body.parts)))
    return bytes(whole.parts + body.parts)


def expand(records):
    for value in records:
        record = as_record(value)
        for _ in range(record.get("Times", 1)):
            yield record


def encode_batch(batch):
    """A batch of format 2, or with `Magic 0` or `Magic 1` messages of the old formats."""
    records = list(expand(batch.get("Records", [])))
    if batch.get("Legacy") is not None:
        return encode_legacy(batch, records)
    base = batch.get("BaseTimestamp", DEFAULT_TIMESTAMP)
    stamps = [record.get("Timestamp", base) for record in records] or [base]
    codec = batch.get("Codec", "none")
    plain = b"".join(encode_record(record, at, base) for at, record in enumerate(records))
    body = struct.pack(
        ">hiqqqhii",
        batch.get("Attributes", CODECS[codec]),
        batch.get("LastOffsetDelta", len(records) - 1),
        base,
        batch.get("MaxTimestamp", max(stamps)),
        batch.get("ProducerId", -1),
        batch.get("ProducerEpoch", -1),
        batch.get("BaseSequence", -1),
        batch.get("Count", len(records)),
    )
    body += compress(codec, plain) if "Payload" not in batch else as_bytes(batch["Payload"])
    crc = batch.get("Crc", crc32c(body))
    head = struct.pack(">iBI", batch.get("LeaderEpoch", -1), batch.get("Magic", 2), crc)
    length = batch.get("Length", len(head) + len(body))
    whole = struct.pack(">qi", batch.get("BaseOffset", 0), length) + head + body
    return whole[: len(whole) - batch.get("Cut", 0)]


def encode_legacy(batch, records):
    """Messages of format 0 or 1, uncompressed."""
    import zlib

    whole = b""
    for at, record in enumerate(records):
        body = struct.pack(">bb", batch["Legacy"], batch.get("Attributes", 0))
        if batch["Legacy"] == 1:
            body += struct.pack(">q", record.get("Timestamp", DEFAULT_TIMESTAMP))
        for data in (as_bytes(record.get("Key")), as_bytes(record.get("Value", ""))):
            body += struct.pack(">i", -1 if data is None else len(data)) + (data or b"")
        crc = batch.get("Crc", zlib.crc32(body))
        whole += struct.pack(">qiI", batch.get("BaseOffset", at), len(body) + 4, crc) + body
    return whole


def text(data):
    return None if data is None else data.decode(errors="backslashreplace")


def decode_batches(data, part=text):
    """What a Fetch answer's records hold; a batch cut short at the end is its length only.

    `part` makes of the bytes of a key or a value what is to be seen of them.
    """
    batches, at = [], 0
    while at + 17 <= len(data):
        base_offset, length = struct.unpack(">qi", data[at : at + 12])
        end = at + 12 + length
        if end > len(data):
            break
        magic = data[at + 16]
        if magic == 2:
            batches.append(decode_batch(data[at:end], part))
        else:
            batches.append({"BaseOffset": base_offset, "Magic": magic, "Bytes": data[at + 12 : end]})
        at = end
    if at < len(data):
        batches.append({"Partial": len(data) - at})
    return batches


def decode_batch(data, part=text):
    names = "BaseOffset Length LeaderEpoch Magic Crc Attributes LastOffsetDelta BaseTimestamp "
    names += "MaxTimestamp ProducerId ProducerEpoch BaseSequence Count"
    batch = dict(zip(names.split(), struct.unpack(">qiiBIhiqqqhii", data[:61])))
    batch["CrcIsRight"] = crc32c(data[21:]) == batch["Crc"]
    try:
        reader = Reader(decompress(batch["Attributes"] & 7, data[61:]))
        batch["Records"] = [decode_record(reader, part) for _ in range(batch["Count"])]
    except ImportError:
        batch["Payload"] = data[61:]
    if batch["Attributes"] & 7:
        # Two compressors need not write the same bytes for the same records.
        del batch["Crc"], batch["Length"]
    elif batch["ProducerId"] >= 0:
        # Two brokers give out two ids, and the checksum covers them.
        del batch["Crc"]
    return batch


def decode_record(reader, part=text):
    start = reader.at
    length = reader.zigzag()
    if length < 0:
        raise NotDecodable(f"a record of length {length} at {start}")
    record = {"Attributes": reader.fixed(">b")}
    record["TimestampDelta"], record["OffsetDelta"] = reader.zigzag(), reader.zigzag()
    for name in ("Key", "Value"):
        count = reader.zigzag()
        record[name] = part(None if count < 0 else bytes(reader.take(count)))
    headers = []
    for _ in range(reader.zigzag()):
        key = text(bytes(reader.take(reader.zigzag())))
        count = reader.zigzag()
        headers.append({"Key": key, "Value": text(None if count < 0 else bytes(reader.take(count)))})
    record["Headers"] = headers
    return record
