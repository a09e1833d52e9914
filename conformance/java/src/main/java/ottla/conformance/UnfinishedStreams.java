package ottla.conformance;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
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
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;

/**
 * A Kafka Streams application of the streams protocol that counts words exactly once, in memory: whoever starts
 * again has its counts from the changelog. It goes on counting where it was.
 */
final class UnfinishedStreams implements Unfinished.Participant {
    private static final int PARTITIONS = 2;
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final String bootstrap;
    private final String name;
    private final boolean stays;
    private final Path folder;
    private final Map<String, Long> counts = new TreeMap<>();
    private KafkaStreams instance;
    private int instances;

    UnfinishedStreams(String bootstrap, String name, boolean stays, Path folder) throws Exception {
        this.bootstrap = bootstrap;
        this.name = name;
        this.stays = stays;
        this.folder = folder;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(
                new NewTopic(name + "-in", PARTITIONS, (short) 1),
                new NewTopic(name + "-out", PARTITIONS, (short) 1))).all().get();
        }
    }

    @Override
    public void begin() throws Exception {
        countMore();
        if (!stays) {
            leave();
        }
    }

    @Override
    public void goOn() throws Exception {
        countMore();
    }

    @Override
    public void close() {
        leave();
    }

    private void leave() {
        boolean closed = instance.close(
            CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP)
                .withTimeout(PATIENCE));
        Unfinished.check(closed, name + " did not close");
        instance = null;
    }

    private void countMore() throws Exception {
        start();
        Map<String, Object> settings =
            Map.of("bootstrap.servers", bootstrap, "reconnect.backoff.max.ms", 500);
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            List<Future<?>> sent = new ArrayList<>();
            for (int number = 0; number < 60; number++) {
                String word = "word-" + number % 7;
                counts.merge(word, 1L, Long::sum);
                sent.add(producer.send(new ProducerRecord<>(name + "-in", number % PARTITIONS, null, word)));
            }
            for (Future<?> one : sent) {
                one.get();
            }
        }
        checkCounts();
    }

    private void checkCounts() {
        Map<String, Long> seen = new TreeMap<>();
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap, "isolation.level", "read_committed", "fetch.max.wait.ms", 50);
        try (KafkaConsumer<String, Long> consumer =
                new KafkaConsumer<>(settings, new StringDeserializer(), new LongDeserializer())) {
            List<TopicPartition> partitions = List.of(
                new TopicPartition(name + "-out", 0), new TopicPartition(name + "-out", 1));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (!seen.equals(counts) && System.nanoTime() < deadline) {
                for (ConsumerRecord<String, Long> record : consumer.poll(Duration.ofMillis(100))) {
                    Long before = seen.put(record.key(), record.value());
                    Unfinished.check(
                        before == null || before < record.value(),
                        name + ": " + record.key() + " was " + before + ", and then " + record.value());
                }
            }
        }
        Unfinished.check(seen.equals(counts), name + ": counted were " + seen + ", and there are " + counts);
    }

    private Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(name + "-in", Consumed.with(Serdes.String(), Serdes.String()))
            .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
            .count()
            .toStream()
            .to(name + "-out", Produced.with(Serdes.String(), Serdes.Long()));
        return builder.build();
    }

    private void start() {
        if (instance != null) {
            return;
        }
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.GROUP_PROTOCOL_CONFIG, "streams");
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, folder.resolve(name + instances++).toString());
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(
            StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
            BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.consumerPrefix("fetch.max.wait.ms"), 50);
        settings.put("reconnect.backoff.max.ms", 500);
        instance = new KafkaStreams(topology(), settings);
        instance.setUncaughtExceptionHandler(failure -> StreamThreadExceptionResponse.REPLACE_THREAD);
        instance.start();
    }
}
