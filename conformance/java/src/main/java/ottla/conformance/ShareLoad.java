package ottla.conformance;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Share consumers at work while somebody kills the broker: {@code ShareLoad BOOTSTRAP TOPIC SECONDS}
 * sends numbers to three partitions for so long, and reads them by share consumers, of whom one accepts by
 * its next poll, and the others acknowledge each record, a few of them by release. It ends once all are
 * accepted. What it did it writes down, a line each, with the time in nanoseconds before and after:
 *
 * <pre>
 * sent PARTITION OFFSET
 * read BEGAN ENDED PARTITION OFFSET DELIVERY
 * accept BEGAN ENDED PARTITION OFFSET answered|unknown
 * lag PARTITION RECORDS              what the group has not done yet, in the end
 * </pre>
 */
public final class ShareLoad {
    private static final Duration PATIENCE = Duration.ofSeconds(90);
    private static final int PARTITIONS = 3;

    private final String bootstrap;
    private final String topic;
    private final Set<String> sent = ConcurrentHashMap.newKeySet();
    private final Set<String> accepted = ConcurrentHashMap.newKeySet();
    private final Set<String> unknown = ConcurrentHashMap.newKeySet();
    private volatile boolean done;

    private ShareLoad(String bootstrap, String topic) {
        this.bootstrap = bootstrap;
        this.topic = topic;
    }

    public static void main(String[] args) throws Exception {
        ShareLoad load = new ShareLoad(args[0], args[1]);
        load.prepare();
        List<Thread> consumers = new ArrayList<>();
        List<Throwable> failures = new ArrayList<>();
        for (String mode : List.of("explicit", "explicit", "implicit")) {
            Thread consumer = new Thread(() -> load.consume(mode));
            consumer.setUncaughtExceptionHandler((thread, failure) -> {
                failure.printStackTrace();
                failures.add(failure);
            });
            consumer.start();
            consumers.add(consumer);
        }
        load.send(Double.parseDouble(args[2]));
        long end = System.nanoTime() + PATIENCE.toNanos();
        // A few polls more: what comes again would come now.
        for (int quiet = 0; quiet < 10 && failures.isEmpty() && System.nanoTime() < end;) {
            Thread.sleep(200);
            quiet = load.isDone() ? quiet + 1 : 0;
        }
        load.done = true;
        for (Thread consumer : consumers) {
            consumer.join();
        }
        load.lags().forEach((partition, lag) -> System.out.println("lag " + partition + " " + lag));
        System.exit(failures.isEmpty() ? 0 : 1);
    }

    private boolean isDone() throws Exception {
        return sent.stream().allMatch(place -> accepted.contains(place) || unknown.contains(place))
            && lags().values().stream().allMatch(lag -> lag == 0);
    }

    private void prepare() throws Exception {
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 1))).all().get();
            ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, topic);
            ConfigEntry earliest = new ConfigEntry("share.auto.offset.reset", "earliest");
            admin.incrementalAlterConfigs(
                Map.of(group, List.of(new AlterConfigOp(earliest, AlterConfigOp.OpType.SET)))).all().get();
        }
    }

    private Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    private void send(double seconds) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap,
            "reconnect.backoff.max.ms", 500,
            "delivery.timeout.ms", (int) PATIENCE.toMillis(),
            "request.timeout.ms", 10_000);
        long end = System.nanoTime() + (long) (seconds * 1e9);
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int number = 0; System.nanoTime() < end; Thread.sleep(10)) {
                List<Future<RecordMetadata>> some = new ArrayList<>();
                for (int count = 0; count < 20; count++, number++) {
                    byte[] value = Integer.toString(number).getBytes(StandardCharsets.UTF_8);
                    some.add(producer.send(new ProducerRecord<>(topic, number % PARTITIONS, null, value)));
                }
                for (Future<RecordMetadata> one : some) {
                    RecordMetadata place = one.get();
                    sent.add(place.partition() + " " + place.offset());
                    System.out.println("sent " + place.partition() + " " + place.offset());
                }
            }
        }
    }

    private void consume(String mode) {
        boolean isExplicit = mode.equals("explicit");
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", topic);
        settings.put("share.acknowledgement.mode", mode);
        settings.put("fetch.max.wait.ms", 100);
        settings.put("reconnect.backoff.max.ms", 500);
        // All that was fetched is taken by one poll: none waits in the consumer while another gets it.
        settings.put("max.poll.records", 100_000);
        try (KafkaShareConsumer<byte[], byte[]> consumer =
                new KafkaShareConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (!done) {
                long began = System.nanoTime();
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                long ended = System.nanoTime();
                List<ConsumerRecord<byte[], byte[]>> accepting = new ArrayList<>();
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    int delivery = record.deliveryCount().orElse((short) 0);
                    System.out.println(
                        "read " + began + " " + ended + " " + place(record) + " " + delivery);
                    boolean releases = isExplicit && delivery == 1 && record.offset() % 7 == 3;
                    if (isExplicit) {
                        consumer.acknowledge(
                            record, releases ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
                    }
                    if (!releases) {
                        accepting.add(record);
                    }
                }
                commit(consumer, accepting);
            }
        }
    }

    private void commit(
            KafkaShareConsumer<byte[], byte[]> consumer, List<ConsumerRecord<byte[], byte[]>> accepting) {
        long began = System.nanoTime();
        Map<TopicIdPartition, Optional<KafkaException>> answers = consumer.commitSync();
        long ended = System.nanoTime();
        Map<TopicPartition, Boolean> succeeded = new HashMap<>();
        answers.forEach((partition, error) -> succeeded.put(partition.topicPartition(), error.isEmpty()));
        for (ConsumerRecord<byte[], byte[]> record : accepting) {
            boolean answered =
                succeeded.getOrDefault(new TopicPartition(record.topic(), record.partition()), false);
            System.out.println("accept " + began + " " + ended + " " + place(record)
                + (answered ? " answered" : " unknown"));
            (answered ? accepted : unknown).add(place(record));
        }
    }

    private static String place(ConsumerRecord<byte[], byte[]> record) {
        return record.partition() + " " + record.offset();
    }

    /** How many records of each partition the group has yet to deal with; -1 is not known. */
    private Map<Integer, Long> lags() throws Exception {
        try (Admin admin = admin()) {
            var asked = Map.of(topic, new ListShareGroupOffsetsSpec());
            Map<Integer, Long> lags = new TreeMap<>();
            admin.listShareGroupOffsets(asked).partitionsToOffsetInfo(topic).get().forEach(
                (partition, info) ->
                    lags.put(partition.partition(), info == null ? -1 : info.lag().orElse(-1L)));
            return lags;
        }
    }
}
