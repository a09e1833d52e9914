package ottla.conformance;

import java.io.InputStream;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.function.Supplier;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.KRaftVersionRecord;
import org.apache.kafka.common.message.LeaderChangeMessage;
import org.apache.kafka.common.message.SnapshotFooterRecord;
import org.apache.kafka.common.message.SnapshotHeaderRecord;
import org.apache.kafka.common.message.VotersRecord;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.ProduceResponse;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.ByteBufferOutputStream;
import org.apache.kafka.common.utils.Crc32C;
import org.apache.kafka.common.utils.PrimitiveRef;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.LogValidator;
import org.apache.kafka.storage.internals.log.RecordValidationException;

/**
 * Exchanges record batches with Apache Kafka's own classes; {@code conformance/records} runs it.
 *
 * <p>{@code golden DIRECTORY} writes batches that its builder makes, messages of the old formats,
 * and what its validator says to batches that are right or wrong in some way; the random choices
 * come from fixed seeds. {@code check FILE} reads batches that Ottla built, and compares their
 * records with those that the file says they hold.
 */
public final class RecordVectors {
    private static final HexFormat HEX = HexFormat.of();
    private static final long NOW = 1_700_000_000_000L;

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "golden" -> golden(Path.of(args[1]));
            case "check" -> System.exit(check(Path.of(args[1])) ? 0 : 1);
            default -> throw new IllegalArgumentException("golden DIRECTORY | check FILE");
        }
    }

    private static void golden(Path directory) throws Exception {
        Files.createDirectories(directory);
        try (PrintWriter out = new PrintWriter(directory.resolve("batches.txt").toFile())) {
            new Batches(out).write();
        }
        try (PrintWriter out = new PrintWriter(directory.resolve("legacy.txt").toFile())) {
            new Legacy(out).write();
        }
        try (PrintWriter out = new PrintWriter(directory.resolve("validation.txt").toFile())) {
            new Validation(out).write();
        }
    }

    private static boolean check(Path file) throws Exception {
        String name = "";
        List<String> expected = new ArrayList<>();
        int same = 0;
        int different = 0;
        for (String line : Files.readAllLines(file)) {
            if (line.startsWith("batch ")) {
                name = line;
                expected.clear();
            } else if (line.startsWith("record ")) {
                expected.add(line);
            } else if (line.startsWith("bytes ")) {
                List<String> read;
                try {
                    read = read(HEX.parseHex(line.substring(6)));
                } catch (RuntimeException e) {
                    read = List.of(e.toString());
                }
                if (read.equals(expected)) {
                    same++;
                } else {
                    different++;
                    System.err.println(name + ":\n  written " + expected + "\n  read    " + read);
                }
            }
        }
        System.out.println(same + " batches the same, " + different + " not");
        return different == 0 && same > 0;
    }

    private static List<String> read(byte[] bytes) {
        List<String> lines = new ArrayList<>();
        for (RecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) {
            batch.ensureValid();
            for (org.apache.kafka.common.record.internal.Record record : batch) {
                StringBuilder line = new StringBuilder("record " + record.offset() + " " + record.timestamp() + " "
                    + (record.hasKey() ? hex(record.key()) : "null") + " "
                    + (record.hasValue() ? hex(record.value()) : "null"));
                for (Header header : record.headers()) {
                    line.append(' ').append(hex(header.key().getBytes())).append(':').append(hex(header.value()));
                }
                lines.add(line.toString());
            }
        }
        return lines;
    }

    private static String hex(byte[] bytes) {
        return bytes == null ? "null" : bytes.length == 0 ? "-" : HEX.formatHex(bytes);
    }

    private static String hex(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return hex(bytes);
    }

    private static byte[] bytes(Random random, int max) {
        byte[] bytes = new byte[random.nextInt(max + 1)];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) (random.nextInt(8) == 0 ? random.nextInt(256) : 'a' + random.nextInt(4));
        }
        return bytes;
    }

    private static byte[] nullableBytes(Random random, int max) {
        return random.nextInt(5) == 0 ? null : bytes(random, max);
    }

    private static Compression compression(CompressionType type) {
        return Compression.of(type).build();
    }

    /** Batches of the current format. */
    private static final class Batches {
        private final PrintWriter out;
        private final Random random = new Random(1);

        Batches(PrintWriter out) {
            this.out = out;
        }

        void write() {
            for (CompressionType type : CompressionType.values()) {
                for (int i = 0; i < (type == CompressionType.NONE ? 60 : 12); i++) {
                    random(type + "-" + i, type);
                }
            }
            markers();
            quorum();
        }

        private void random(String name, CompressionType type) {
            long baseOffset = random.nextInt(3) == 0 ? 0 : random.nextLong(1L << 40);
            TimestampType timestampType =
                random.nextInt(4) == 0 ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME;
            boolean idempotent = random.nextBoolean();
            boolean transactional = idempotent && random.nextBoolean();
            long producerId = idempotent ? random.nextLong(1L << 50) : RecordBatch.NO_PRODUCER_ID;
            short producerEpoch = (short) (idempotent ? random.nextInt(1 << 15) : -1);
            int baseSequence = idempotent ? random.nextInt(Integer.MAX_VALUE) : -1;
            int leaderEpoch = random.nextInt(50) - 1;
            long deleteHorizon = random.nextInt(6) == 0 ? NOW - random.nextInt(100000) : RecordBatch.NO_TIMESTAMP;
            long appendTime = timestampType == TimestampType.LOG_APPEND_TIME ? NOW + 5 : RecordBatch.NO_TIMESTAMP;
            MemoryRecordsBuilder builder = new MemoryRecordsBuilder(
                new ByteBufferOutputStream(512), RecordBatch.MAGIC_VALUE_V2, compression(type), timestampType,
                baseOffset, appendTime, producerId, producerEpoch, baseSequence, transactional, false,
                leaderEpoch, 1 << 20, deleteHorizon);
            out.println("batch " + name);
            out.printf("options %d %d %d %d %d %d %d %d %b %b %s%n", baseOffset, leaderEpoch, type.id, timestampType.id,
                appendTime, producerId, producerEpoch, baseSequence, transactional, false,
                deleteHorizon == RecordBatch.NO_TIMESTAMP ? "null" : Long.toString(deleteHorizon));
            long offset = baseOffset;
            for (int i = random.nextInt(8) + 1; i > 0; i--) {
                offset += random.nextInt(3) == 0 ? random.nextInt(200) : 0;
                long timestamp = switch (random.nextInt(4)) {
                    case 0 -> RecordBatch.NO_TIMESTAMP;
                    case 1 -> random.nextLong(1L << 45);
                    default -> NOW + random.nextInt(20000) - 10000;
                };
                byte[] key = nullableBytes(random, 12);
                byte[] value = nullableBytes(random, random.nextInt(6) == 0 ? 300 : 40);
                Header[] headers = new Header[random.nextInt(3)];
                StringBuilder line = new StringBuilder();
                for (int h = 0; h < headers.length; h++) {
                    headers[h] = new RecordHeader("k" + random.nextInt(100), nullableBytes(random, 6));
                    line.append(' ').append(hex(headers[h].key().getBytes())).append(':').append(hex(headers[h].value()));
                }
                builder.appendWithOffset(offset, timestamp, key, value, headers);
                out.println("record " + offset + " " + timestamp + " " + hex(key) + " " + hex(value) + line);
                offset++;
            }
            out.println("bytes " + hex(builder.build().buffer()));
        }

        private void markers() {
            for (ControlRecordType type : new ControlRecordType[] {ControlRecordType.ABORT, ControlRecordType.COMMIT}) {
                EndTransactionMarker marker = new EndTransactionMarker(type, 17);
                out.println("batch " + type);
                out.printf("options %d %d 0 0 -1 %d %d -1 true true null%n", 7L, 3, 4000L, 5);
                out.println("control " + (type == ControlRecordType.ABORT ? 0 : 1) + " " + NOW + " " + hex(marker.serializeValue()));
                out.println("bytes " + hex(MemoryRecords.withEndTransactionMarker(7L, NOW, 3, 4000L, (short) 5, marker).buffer()));
            }
        }

        private void quorum() {
            ByteBuffer buffer = ByteBuffer.allocate(512);
            quorum("LEADER_CHANGE", 2, MemoryRecords.withLeaderChangeMessage(9, NOW, 4, buffer,
                new LeaderChangeMessage().setVersion((short) 0).setLeaderId(1)
                    .setVoters(List.of(new LeaderChangeMessage.Voter().setVoterId(1)))
                    .setGrantingVoters(List.of(new LeaderChangeMessage.Voter().setVoterId(1)))));
            quorum("SNAPSHOT_HEADER", 3, MemoryRecords.withSnapshotHeaderRecord(9, NOW, 4, ByteBuffer.allocate(512),
                new SnapshotHeaderRecord().setVersion((short) 0).setLastContainedLogTimestamp(NOW)));
            quorum("SNAPSHOT_FOOTER", 4, MemoryRecords.withSnapshotFooterRecord(9, NOW, 4, ByteBuffer.allocate(512),
                new SnapshotFooterRecord().setVersion((short) 0)));
            quorum("KRAFT_VERSION", 5, MemoryRecords.withKRaftVersionRecord(9, NOW, 4, ByteBuffer.allocate(512),
                new KRaftVersionRecord().setVersion((short) 0).setKRaftVersion((short) 1)));
            quorum("KRAFT_VOTERS", 6, MemoryRecords.withVotersRecord(9, NOW, 4, ByteBuffer.allocate(512),
                new VotersRecord().setVersion((short) 0)));
        }

        private void quorum(String name, int type, MemoryRecords records) {
            out.println("batch " + name);
            out.printf("options %d %d 0 0 -1 -1 -1 -1 false true null%n", 9L, 4);
            out.println("control " + type + " " + NOW + " " + hex(records.records().iterator().next().value()));
            out.println("bytes " + hex(records.buffer()));
        }
    }

    /** Message formats v0 and v1. */
    private static final class Legacy {
        private final PrintWriter out;
        private final Random random = new Random(2);

        Legacy(PrintWriter out) {
            this.out = out;
        }

        void write() {
            for (byte magic = 0; magic < 2; magic++) {
                for (CompressionType type : CompressionType.values()) {
                    if (type == CompressionType.ZSTD) {
                        continue;
                    }
                    for (int i = 0; i < 6; i++) {
                        random(magic, type, i);
                    }
                }
            }
        }

        private void random(byte magic, CompressionType type, int i) {
            boolean appendTime = magic == 1 && i % 3 == 2;
            TimestampType timestampType = magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE
                : appendTime ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME;
            long baseOffset = random.nextInt(1000);
            MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(512), magic, compression(type),
                timestampType, baseOffset, appendTime ? NOW : RecordBatch.NO_TIMESTAMP);
            out.println("messages v" + magic + "-" + type + "-" + i);
            long offset = baseOffset;
            for (int n = random.nextInt(4) + 1; n > 0; n--) {
                long timestamp = magic == 0 ? RecordBatch.NO_TIMESTAMP : NOW + random.nextInt(1000);
                builder.appendWithOffset(offset, timestamp, nullableBytes(random, 8), nullableBytes(random, 60));
                offset += 1 + random.nextInt(3);
            }
            MemoryRecords records = builder.build();
            for (org.apache.kafka.common.record.internal.Record record : records.records()) {
                out.println("message " + record.offset() + " " + record.timestamp() + " "
                    + (record.hasKey() ? hex(record.key()) : "null") + " "
                    + (record.hasValue() ? hex(record.value()) : "null"));
            }
            for (RecordBatch batch : records.batches()) {
                out.println("entry " + batch.baseOffset() + " " + batch.lastOffset() + " " + batch.maxTimestamp() + " "
                    + batch.timestampType().id + " " + batch.compressionType().id + " " + batch.sizeInBytes());
            }
            out.println("bytes " + hex(records.buffer()));
        }
    }

    /** What the broker's validator says. */
    private static final class Validation {
        private final PrintWriter out;
        private Random random;
        private int mutation;

        Validation(PrintWriter out) {
            this.out = out;
        }

        void write() throws Exception {
            for (int i = 0; i < 500; i++) {
                random = new Random(1000 + i);
                one(i);
            }
        }

        private void one(int i) throws Exception {
            CompressionType type = CompressionType.values()[random.nextInt(5)];
            byte[] input = input(type);
            CompressionType target = random.nextInt(3) > 0 ? type : CompressionType.values()[random.nextInt(5)];
            boolean compacted = random.nextInt(4) == 0;
            TimestampType timestampType =
                random.nextInt(4) == 0 ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME;
            long before = random.nextInt(3) == 0 ? 5000 : Long.MAX_VALUE;
            long after = random.nextInt(3) == 0 ? 3000 : 3_600_000;
            int leaderEpoch = random.nextInt(20);
            // A coordinator never writes what is wrong.
            AppendOrigin origin = mutation > 14 && random.nextInt(3) == 0 ? AppendOrigin.COORDINATOR : AppendOrigin.CLIENT;
            short version = (short) (3 + random.nextInt(11));
            long nextOffset = random.nextLong(1L << 35);
            out.println("case " + i);
            out.printf("context %d %d %d %d %d %b %d %d %s %d%n", nextOffset, leaderEpoch, NOW, timestampType.id,
                target.id, compacted, before, after, origin, version);
            out.println("input " + hex(input));
            MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(input));
            try {
                if (origin == AppendOrigin.CLIENT) {
                    ProduceRequest.validateRecords(version, records);
                }
                CompressionType source = CompressionType.NONE;
                for (RecordBatch batch : records.batches()) {
                    source = batch.compressionType();
                }
                PrimitiveRef.LongRef offset = PrimitiveRef.ofLong(nextOffset);
                LogValidator.ValidationResult result = new LogValidator(records, new TopicPartition("topic", 3),
                    new FixedTime(), source, compression(target), compacted, RecordBatch.CURRENT_MAGIC_VALUE,
                    timestampType, before, after, leaderEpoch, origin)
                    .validateMessagesAndAssignOffsets(offset, new NoMetrics(), BufferSupplier.NO_CACHING);
                // The log has trimmed what follows the batch before it asks the validator.
                MemoryRecords all = result.validatedRecords();
                MemoryRecords validated = all.slice(0, all.firstBatchSize());
                out.printf("valid %d %d %b%n", offset.value - 1, result.maxTimestampMs(), result.messageSizeMaybeChanged());
                RecordBatch batch = validated.batches().iterator().next();
                byte[] header = new byte[61];
                validated.buffer().duplicate().get(header);
                for (int at : new int[] {8, 9, 10, 11, 17, 18, 19, 20}) {
                    header[at] = 0;
                }
                out.println("header " + hex(header));
                out.println("payload " + hex(payload(batch, validated.buffer())));
                if (batch.compressionType() == CompressionType.NONE) {
                    out.println("bytes " + hex(validated.buffer()));
                }
            } catch (RecordValidationException e) {
                out.println("invalid " + Errors.forException(e.invalidException()).code() + " " + e.invalidException().getMessage());
                for (ProduceResponse.RecordError error : e.recordErrors()) {
                    out.println("error " + error.batchIndex + " " + error.message);
                }
            } catch (Exception e) {
                out.println("invalid " + Errors.forException(e).code() + " " + e.getMessage());
            }
        }

        private static byte[] payload(RecordBatch batch, ByteBuffer buffer) throws Exception {
            ByteBuffer stored = buffer.duplicate();
            stored.position(61);
            try (InputStream in = compression(batch.compressionType())
                    .wrapForInput(stored.slice(), RecordBatch.MAGIC_VALUE_V2, BufferSupplier.NO_CACHING)) {
                return in.readAllBytes();
            }
        }

        /** A batch that is right, or wrong in one way or another. */
        private byte[] input(CompressionType type) throws Exception {
            boolean idempotent = random.nextBoolean();
            boolean control = random.nextInt(15) == 0;
            boolean transactional = control || idempotent && random.nextBoolean();
            TimestampType timestampType =
                random.nextInt(12) == 0 ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME;
            MemoryRecordsBuilder builder = new MemoryRecordsBuilder(
                new ByteBufferOutputStream(512), RecordBatch.MAGIC_VALUE_V2, Compression.NONE, timestampType,
                0L, NOW - 7, idempotent || control ? 77L : -1L, (short) (idempotent || control ? 2 : -1),
                control ? -1 : idempotent ? random.nextInt(1000) : -1, transactional, control, -1, 1 << 20, RecordBatch.NO_TIMESTAMP);
            boolean spread = random.nextInt(4) == 0;
            boolean gaps = random.nextInt(10) == 0;
            boolean keyless = random.nextInt(4) == 0;
            int count = control ? 1 : random.nextInt(6) + 1;
            long offset = 0;
            for (int i = 0; i < count; i++) {
                long timestamp = random.nextInt(12) == 0 ? -1 : NOW + (spread ? random.nextInt(20000) - 10000 : random.nextInt(2000) - 1000);
                if (control) {
                    builder.appendEndTxnMarker(timestamp, new EndTransactionMarker(ControlRecordType.COMMIT, 1));
                } else {
                    byte[] key = keyless && random.nextBoolean() ? null : bytes(random, 6);
                    Header[] headers = new Header[random.nextInt(4) == 0 ? 1 : 0];
                    for (int h = 0; h < headers.length; h++) {
                        headers[h] = new RecordHeader("h", nullableBytes(random, 3));
                    }
                    builder.appendWithOffset(offset, timestamp, key, nullableBytes(random, 30), headers);
                }
                offset += 1 + (gaps ? random.nextInt(3) : 0);
            }
            byte[] plain = new byte[builder.build().sizeInBytes()];
            builder.build().buffer().duplicate().get(plain);
            byte[] payload = java.util.Arrays.copyOfRange(plain, 61, plain.length);
            byte[] header = java.util.Arrays.copyOf(plain, 61);
            mutation = random.nextInt(24);
            ByteBuffer fields = ByteBuffer.wrap(header);
            switch (mutation) {
                case 0 -> fields.putInt(57, random.nextInt(8) - 1);
                case 1 -> fields.putInt(23, random.nextInt(8) - 2);
                case 2 -> {
                    int n = random.nextInt(8);
                    fields.putInt(57, n);
                    fields.putInt(23, n - 1);
                }
                case 3 -> fields.putInt(53, -2 - random.nextInt(3));
                case 4 -> fields.putShort(21, (short) (fields.getShort(21) | 1 << random.nextInt(5) + 3));
                case 5 -> payload[random.nextInt(payload.length)] ^= (byte) (1 << random.nextInt(8));
                case 6 -> payload[random.nextInt(Math.min(8, payload.length))] = (byte) random.nextInt(256);
                case 7 -> payload = java.util.Arrays.copyOf(payload, Math.max(0, payload.length - 1 - random.nextInt(10)));
                case 8 -> payload = java.util.Arrays.copyOf(payload, payload.length + 1 + random.nextInt(3));
                case 9 -> fields.putLong(27, random.nextBoolean() ? -1L : NOW + 500_000_000L);
                case 10 -> fields.putLong(35, NOW + random.nextInt(5000));
                default -> { }
            }
            ByteBufferOutputStream body = new ByteBufferOutputStream(256);
            try (var stream = compression(type).wrapForOutput(body, RecordBatch.MAGIC_VALUE_V2)) {
                stream.write(payload);
            }
            ByteBuffer compressed = body.buffer();
            compressed.flip();
            fields.putShort(21, (short) (fields.getShort(21) | type.id));
            ByteBuffer whole = ByteBuffer.allocate(61 + compressed.remaining());
            whole.put(header).put(compressed).flip();
            whole.putInt(8, whole.limit() - 12);
            whole.putInt(17, (int) Crc32C.compute(whole, 21, whole.limit() - 21));
            List<byte[]> parts = new ArrayList<>(List.of(whole.array()));
            if (mutation == 11) {
                parts.add(whole.array());
            } else if (mutation == 12) {
                parts.add(java.util.Arrays.copyOf(whole.array(), 40));
            } else if (mutation == 13 && random.nextInt(3) == 0) {
                parts.clear();
            } else if (mutation == 14) {
                parts.get(0)[16] = (byte) random.nextInt(4);
            }
            ByteBuffer all = ByteBuffer.allocate(parts.stream().mapToInt(part -> part.length).sum());
            parts.forEach(all::put);
            return all.array();
        }
    }

    private static final class FixedTime implements Time {
        @Override
        public long milliseconds() {
            return NOW;
        }

        @Override
        public long nanoseconds() {
            return NOW * 1_000_000;
        }

        @Override
        public void sleep(long ms) {
        }

        @Override
        public void waitObject(Object object, Supplier<Boolean> condition, long deadlineMs) {
        }
    }

    private static final class NoMetrics implements LogValidator.MetricsRecorder {
        @Override
        public void recordInvalidMagic() {
        }

        @Override
        public void recordInvalidOffset() {
        }

        @Override
        public void recordInvalidSequence() {
        }

        @Override
        public void recordInvalidChecksums() {
        }

        @Override
        public void recordNoKeyCompactedTopic() {
        }
    }
}
