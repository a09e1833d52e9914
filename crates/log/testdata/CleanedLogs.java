import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.ScheduledFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.server.common.RequestLocal;
import org.apache.kafka.server.util.Scheduler;
import org.apache.kafka.storage.internals.log.AbortedTxn;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.Cleaner;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.LogSegment;
import org.apache.kafka.storage.internals.log.LogToClean;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.SkimpyOffsetMap;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.internals.log.VerificationGuard;
import org.apache.kafka.storage.internals.utils.Throttler;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/** Fills logs at random, lets Apache Kafka's own cleaner clean them a few times, and writes down what is left. */
public class CleanedLogs {
    static final long NOW = 1_700_000_000_000L;
    static final CompressionType[] CODECS = CompressionType.values();
    static final CompressionType[] LEGACY_CODECS =
        {CompressionType.NONE, CompressionType.GZIP, CompressionType.SNAPPY, CompressionType.LZ4};
    /** So many logs have today's message format only; those after them the old ones too. */
    static final int TODAYS = 12;

    /** Runs nothing later. */
    static class NoScheduler implements Scheduler {
        public void startup() {}
        public void shutdown() {}
        public ScheduledFuture<?> schedule(String name, Runnable task, long delay, long period) { return null; }
        public void resizeThreadPool(int size) {}
    }

    public static void main(String[] arguments) throws Exception {
        Path target = Path.of(arguments[0]);
        int cases = Integer.parseInt(arguments[1]);
        for (int seed = 0; seed < cases; seed++) {
            Path work = Files.createTempDirectory("cleaned-logs");
            File directory = work.resolve("topic-0").toFile();
            directory.mkdir();
            Path out = target.resolve(String.format("%02d", seed));
            Files.createDirectories(out);
            new CleanedLogs(new Random(seed), directory, out, seed >= TODAYS).run();
            Utils.delete(work.toFile());
        }
    }

    final Random random;
    final File directory;
    final Path out;
    final boolean legacy;
    final UnifiedLog log;
    final Map<Long, Integer> sequences = new HashMap<>();
    final Map<Long, Boolean> open = new HashMap<>();
    int values = 0;

    CleanedLogs(Random random, File directory, Path out, boolean legacy) throws IOException {
        this.legacy = legacy;
        this.random = random;
        this.directory = directory;
        this.out = out;
        Map<String, Object> settings = new HashMap<>();
        settings.put("internal.segment.bytes", 2000);
        settings.put("segment.ms", Long.MAX_VALUE);
        settings.put("cleanup.policy", "compact");
        settings.put("delete.retention.ms", 1000L);
        settings.put("index.interval.bytes", 300);
        settings.put("segment.index.bytes", 1024);
        log = UnifiedLog.create(directory, new LogConfig(settings), 0L, 0L, new NoScheduler(), new BrokerTopicStats(),
            Time.SYSTEM, 300_000, new ProducerStateManagerConfig(86_400_000, false), 600_000,
            new LogDirFailureChannel(1), true, Optional.empty());
    }

    Compression codec() {
        return Compression.of(random.nextInt(3) > 0 ? CompressionType.NONE : CODECS[random.nextInt(CODECS.length)]).build();
    }

    SimpleRecord[] records() {
        SimpleRecord[] records = new SimpleRecord[1 + random.nextInt(4)];
        for (int i = 0; i < records.length; i++) {
            String key = "key" + random.nextInt(legacy ? 60 : 8);
            boolean tombstone = random.nextInt(4) == 0;
            String value = "value" + values++ + "x".repeat(random.nextInt(40));
            records[i] = new SimpleRecord(NOW + random.nextInt(500), key.getBytes(StandardCharsets.UTF_8),
                tombstone ? null : value.getBytes(StandardCharsets.UTF_8));
        }
        return records;
    }

    /** As a broker of long ago has written it, which a follower takes over as it is. */
    void appendLegacy() throws IOException {
        byte magic = (byte) random.nextInt(2);
        SimpleRecord[] records = records();
        long first = log.logEndOffset();
        if (magic == RecordBatch.MAGIC_VALUE_V0) {
            for (int i = 0; i < records.length; i++) {
                records[i] = new SimpleRecord(RecordBatch.NO_TIMESTAMP, records[i].key(), records[i].value());
            }
        }
        boolean byBroker = magic == RecordBatch.MAGIC_VALUE_V1 && random.nextInt(3) == 0;
        Compression codec = Compression.of(LEGACY_CODECS[random.nextInt(LEGACY_CODECS.length)]).build();
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(4096), magic, codec,
            byBroker ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME, first, NOW + random.nextInt(500));
        for (SimpleRecord record : records) builder.append(record);
        log.appendAsFollower(builder.build(), 0);
    }

    void append() throws IOException {
        if (legacy && random.nextInt(3) > 0) {
            appendLegacy();
            return;
        }
        int kind = random.nextInt(10);
        if (kind < 4) {
            log.appendAsLeader(MemoryRecords.withRecords(codec(), records()), 0);
        } else if (kind < 6) {
            long id = 100 + random.nextInt(2);
            SimpleRecord[] records = records();
            int sequence = sequences.getOrDefault(id, 0);
            log.appendAsLeader(MemoryRecords.withIdempotentRecords(codec(), id, (short) 0, sequence, records), 0);
            sequences.put(id, sequence + records.length);
        } else {
            long id = 200 + random.nextInt(2);
            if (open.getOrDefault(id, false) && random.nextInt(2) == 0) {
                end(id);
            } else {
                SimpleRecord[] records = records();
                int sequence = sequences.getOrDefault(id, 0);
                log.appendAsLeader(MemoryRecords.withTransactionalRecords(codec(), id, (short) 0, sequence, records), 0);
                sequences.put(id, sequence + records.length);
                open.put(id, true);
            }
        }
    }

    void end(long id) throws IOException {
        ControlRecordType type = random.nextBoolean() ? ControlRecordType.COMMIT : ControlRecordType.ABORT;
        log.appendAsLeader(MemoryRecords.withEndTransactionMarker(0L, NOW, 0, id, (short) 0, new EndTransactionMarker(type, 0)),
            0, AppendOrigin.COORDINATOR, RequestLocal.noCaching(), VerificationGuard.SENTINEL, (short) 0);
        open.put(id, false);
    }

    void run() throws Exception {
        for (int i = 20 + random.nextInt(60); i > 0; i--) append();
        if (random.nextInt(4) > 0) for (long id : List.of(200L, 201L)) if (open.getOrDefault(id, false)) end(id);
        log.roll();
        log.updateHighWatermark(log.logEndOffset());
        List<String> lines = new ArrayList<>();
        for (LogSegment segment : log.logSegments()) {
            String name = String.format("%020d.log", segment.baseOffset());
            Files.copy(directory.toPath().resolve(name), out.resolve(name));
            if (legacy) {
                // By it tombstones of the old formats go.
                long modified = NOW + random.nextInt(3000);
                Files.setLastModifiedTime(directory.toPath().resolve(name), FileTime.fromMillis(modified));
                lines.add("modified " + segment.baseOffset() + " " + modified);
            }
        }
        int keys = random.nextInt(2) == 0 ? 5 : 1000;
        long dirty = 0;
        long now = NOW;
        for (int pass = 0; pass < 4; pass++) {
            Cleaner cleaner = new Cleaner(0, new SkimpyOffsetMap(keys * 24), 8192, 8192, 1.0,
                new Throttler(Double.MAX_VALUE, 300, "x", "x", Time.SYSTEM), Time.SYSTEM, partition -> {});
            long bound = Math.min(log.lastStableOffset(), log.activeSegment().baseOffset());
            LogToClean toClean = new LogToClean(log, dirty, Math.max(dirty, bound), false);
            if (toClean.cleanableBytes() == 0 && pass > 0 && dirty < toClean.firstUncleanableOffset()) break;
            lines.add("clean " + dirty + " " + toClean.firstUncleanableOffset() + " " + keys + " " + now);
            dirty = cleaner.doClean(toClean, now).getKey();
            lines.add("cleaned " + dirty);
            dump(lines);
            now += random.nextInt(1200);
            if (dirty >= toClean.firstUncleanableOffset()) dirty = 0;
        }
        Files.write(out.resolve("expected.txt"), lines);
    }

    /** A batch of a file, in memory. */
    static MutableRecordBatch whole(RecordBatch batch) {
        ByteBuffer buffer = ByteBuffer.allocate(batch.sizeInBytes());
        batch.writeTo(buffer);
        buffer.flip();
        return MemoryRecords.readableRecords(buffer).batches().iterator().next();
    }

    void dump(List<String> lines) throws IOException {
        for (LogSegment segment : log.logSegments()) {
            lines.add("segment " + segment.baseOffset());
            for (RecordBatch each : segment.log().batches()) {
                MutableRecordBatch batch = whole(each);
                boolean plain = batch.compressionType() == CompressionType.NONE;
                if (batch.magic() < RecordBatch.MAGIC_VALUE_V2) {
                    lines.add("message " + batch.magic() + " " + batch.baseOffset() + " " + batch.lastOffset() + " "
                        + batch.compressionType().id + " " + batch.maxTimestamp() + " " + (plain ? batch.checksum() : 0));
                } else lines.add("batch " + batch.baseOffset() + " " + batch.lastOffset() + " " + batch.producerId() + " "
                    + batch.baseSequence() + " " + batch.compressionType().id + " " + batch.maxTimestamp() + " "
                    + batch.deleteHorizonMs().orElse(-1) + " " + (plain ? batch.checksum() : 0));
                for (Record record : batch) {
                    lines.add("record " + record.offset() + " " + record.timestamp() + " " + record.sequence());
                }
            }
            for (AbortedTxn aborted : segment.txnIndex().allAbortedTxns()) {
                lines.add("aborted " + aborted.producerId() + " " + aborted.firstOffset() + " " + aborted.lastOffset());
            }
        }
    }
}
