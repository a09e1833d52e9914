package ottla.conformance;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;

/**
 * A Kafka Streams application that counts words and joins two streams within a window, exactly once,
 * while its instances come and go; what it put out is compared with what a plain computation makes of
 * the same input. Whoever runs it may kill brokers meanwhile.
 *
 * <p>{@code Streams BOOTSTRAP PREFIX PROTOCOL SECONDS SEED}, with {@code classic} or {@code streams} for
 * the group's protocol. It prints {@code fed} when all input is in, and then a line for each case, as
 * the clients do.
 */
public final class Streams {
    private static final Duration PATIENCE = Duration.ofSeconds(120);
    private static final Duration WINDOW = Duration.ofMillis(500);
    private static final int PARTITIONS = 3;
    private static final List<String> WORDS =
        List.of("airport", "runway", "tower", "gate", "wing", "cloud", "fog", "wind", "rain", "sun");

    private final String bootstrap;
    private final String prefix;
    private final String protocol;
    private final Random random;
    private final Deque<KafkaStreams> instances = new ArrayDeque<>();
    private final List<String> failures = Collections.synchronizedList(new ArrayList<>());
    private final Path folder = Files.createTempDirectory("streams-");
    // What is to be joined is of today: retention would take older records from the topics and from the
    // changelogs of the windows.
    private final long firstTime = System.currentTimeMillis();

    private final Map<String, Long> counts = new TreeMap<>();
    private final Map<String, List<Long>> left = new HashMap<>();
    private final Map<String, List<Long>> right = new HashMap<>();

    private Streams(String[] args) throws Exception {
        bootstrap = args[0];
        prefix = args[1];
        protocol = args[2];
        random = new Random(Long.parseLong(args[4]));
    }

    public static void main(String[] args) throws Exception {
        Streams streams = new Streams(args);
        try {
            streams.createTopics();
            streams.feedWhileInstancesComeAndGo(Double.parseDouble(args[3]));
            System.out.println("fed");
            streams.report("word count, exactly once", streams::checkCounts);
            streams.report("windowed join, exactly once", streams::checkJoin);
            streams.report("every instance closes", streams::closeAll);
        } finally {
            try (Stream<Path> files = Files.walk(streams.folder)) {
                files.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
            }
        }
        System.exit(0);
    }

    private interface Case {
        void run() throws Exception;
    }

    private void report(String name, Case run) {
        String full = name + ", group.protocol=" + protocol;
        try {
            run.run();
            System.out.println("ok " + full);
        } catch (Exception | AssertionError failure) {
            String text = (failure + "; the instances: " + failures).replaceAll("\\s+", " ");
            System.out.println("not ok " + full + ": " + text);
        }
    }

    private String topic(String name) {
        return prefix + "-" + name;
    }

    private void createTopics() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(
                    Stream.of("lines", "left", "right", "counts", "joined")
                        .map(name -> new NewTopic(topic(name), PARTITIONS, (short) -1))
                        .toList())
                .all()
                .get();
        }
    }

    // The application.

    private Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        Consumed<String, String> strings = Consumed.with(Serdes.String(), Serdes.String());
        builder.stream(topic("lines"), strings)
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
            .count()
            .toStream()
            .to(topic("counts"), Produced.with(Serdes.String(), Serdes.Long()));
        KStream<String, String> other = builder.stream(topic("right"), strings);
        builder.stream(topic("left"), strings)
            .join(
                other,
                (one, two) -> one + "/" + two,
                JoinWindows.ofTimeDifferenceAndGrace(WINDOW, Duration.ofDays(1)),
                StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String()))
            .to(topic("joined"), Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }

    private void start(int number) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, topic("application"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.GROUP_PROTOCOL_CONFIG, protocol);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 200);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, folder.resolve("instance-" + number).toString());
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(
            StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
            BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.consumerPrefix("fetch.max.wait.ms"), 100);
        settings.put("reconnect.backoff.max.ms", 500);
        if (protocol.equals("classic")) {
            settings.put(StreamsConfig.consumerPrefix("heartbeat.interval.ms"), 300);
        }
        KafkaStreams instance = new KafkaStreams(topology(), settings);
        instance.setUncaughtExceptionHandler(
            failure -> {
                failures.add(String.valueOf(failure));
                return StreamThreadExceptionResponse.REPLACE_THREAD;
            });
        instance.start();
        instances.add(instance);
    }

    private void close(KafkaStreams instance) {
        boolean closed =
            instance.close(
                CloseOptions.groupMembershipOperation(
                        CloseOptions.GroupMembershipOperation.LEAVE_GROUP)
                    .withTimeout(PATIENCE));
        if (!closed) {
            throw new AssertionError("an instance did not close within " + PATIENCE);
        }
    }

    private void closeAll() {
        while (!instances.isEmpty()) {
            close(instances.remove());
        }
    }

    // The input.

    private void feedWhileInstancesComeAndGo(double seconds) throws Exception {
        start(0);
        List<Case> changes = List.of(() -> start(1), () -> { close(instances.remove()); start(2); },
            () -> close(instances.remove()));
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("delivery.timeout.ms", (int) PATIENCE.toMillis());
        settings.put("reconnect.backoff.max.ms", 500);
        try (KafkaProducer<String, String> producer =
            new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            long began = System.nanoTime();
            int changed = 0;
            for (double spent = 0; spent < seconds; spent = (System.nanoTime() - began) / 1e9) {
                feed(producer);
                if (changed < changes.size() && spent > seconds * (changed + 1) / (changes.size() + 1)) {
                    changes.get(changed++).run();
                }
            }
        }
    }

    private void feed(KafkaProducer<String, String> producer) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int number = 0; number < 20; number++) {
            StringBuilder line = new StringBuilder();
            for (int words = 1 + random.nextInt(6); words > 0; words--) {
                String word = WORDS.get(random.nextInt(WORDS.size())) + random.nextInt(20);
                counts.merge(word, 1L, Long::sum);
                line.append(word).append(' ');
            }
            sent.add(producer.send(new ProducerRecord<>(topic("lines"), null, line.toString())));
        }
        for (int number = 0; number < 10; number++) {
            boolean first = random.nextBoolean();
            String key = "key-" + random.nextInt(10);
            Map<String, List<Long>> side = first ? left : right;
            List<Long> times = side.computeIfAbsent(key, ignored -> new ArrayList<>());
            // The value is the number of the record of its key, so that every pair is another.
            long time = firstTime + 20L * (left.size() + right.size()) + 40L * times.size();
            String value = (first ? "l" : "r") + times.size();
            times.add(time);
            sent.add(
                producer.send(
                    new ProducerRecord<>(topic(first ? "left" : "right"), null, time, key, value)));
        }
        for (Future<RecordMetadata> one : sent) {
            one.get();
        }
        Thread.sleep(20);
    }

    // The output.

    private void checkCounts() throws Exception {
        Map<String, Long> seen = new TreeMap<>();
        readUntil(
            "counts",
            new LongDeserializer(),
            record -> {
                Long before = seen.put(record.key(), record.value());
                if (before != null && before >= record.value()) {
                    throw new AssertionError(
                        record.key() + " was counted " + before + " and then " + record.value());
                }
            },
            () -> seen.equals(counts));
        if (!seen.equals(counts)) {
            throw new AssertionError("counted were " + seen + ", and there are " + counts);
        }
    }

    private Map<String, Integer> pairs() {
        Map<String, Integer> pairs = new HashMap<>();
        left.forEach(
            (key, lefts) -> {
                List<Long> rights = right.getOrDefault(key, List.of());
                for (int one = 0; one < lefts.size(); one++) {
                    for (int two = 0; two < rights.size(); two++) {
                        if (Math.abs(lefts.get(one) - rights.get(two)) <= WINDOW.toMillis()) {
                            pairs.put(key + "=l" + one + "/r" + two, 1);
                        }
                    }
                }
            });
        return pairs;
    }

    private void checkJoin() throws Exception {
        Map<String, Integer> wanted = pairs();
        Map<String, Integer> seen = new HashMap<>();
        readUntil(
            "joined",
            new StringDeserializer(),
            record -> seen.merge(record.key() + "=" + record.value(), 1, Integer::sum),
            () -> seen.size() >= wanted.size());
        if (!seen.equals(wanted)) {
            List<String> missing = new ArrayList<>(wanted.keySet());
            missing.removeAll(seen.keySet());
            List<String> wrong = new ArrayList<>();
            seen.forEach((pair, times) -> {
                if (!Integer.valueOf(times).equals(wanted.get(pair))) {
                    wrong.add(times + " times " + pair);
                }
            });
            throw new AssertionError(
                missing.size() + " of " + wanted.size() + " pairs are missing, as "
                    + missing.subList(0, Math.min(3, missing.size())) + "; wrong are "
                    + wrong.subList(0, Math.min(3, wrong.size())));
        }
    }

    private interface Taker<V> {
        void take(ConsumerRecord<String, V> record);
    }

    private interface Condition {
        boolean holds();
    }

    /** Reads what is committed until the condition holds, and then a little more: too much is wrong too. */
    private <V> void readUntil(
        String name,
        org.apache.kafka.common.serialization.Deserializer<V> values,
        Taker<V> taker,
        Condition condition) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        try (KafkaConsumer<String, V> consumer =
            new KafkaConsumer<>(settings, new StringDeserializer(), values)) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (int partition = 0; partition < PARTITIONS; partition++) {
                partitions.add(new TopicPartition(topic(name), partition));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long end = System.nanoTime() + PATIENCE.toNanos();
            int quiet = 0;
            while (System.nanoTime() < end && quiet < 5) {
                boolean anything = false;
                for (ConsumerRecord<String, V> record : consumer.poll(Duration.ofMillis(200))) {
                    taker.take(record);
                    anything = true;
                }
                quiet = !anything && condition.holds() ? quiet + 1 : 0;
            }
        }
    }
}
