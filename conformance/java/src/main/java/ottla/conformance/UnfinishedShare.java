package ottla.conformance;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A share group in the middle of its deliveries: of the records that it got some were accepted, some rejected, some
 * released, and some are still acquired. What is to come, and as which delivery, is known of each record.
 */
final class UnfinishedShare implements Unfinished.Participant {
    private static final long PATIENCE_NS = 60_000_000_000L;
    private static final int COUNT = 40;
    /** The default of {@code group.share.delivery.count.limit}. */
    private static final int DELIVERIES_MAX = 5;

    private final String bootstrap;
    private final String name;
    private final boolean stays;
    /** The next delivery of each record that is not done with, by offset. */
    private final Map<Long, Integer> next = new TreeMap<>();
    private KafkaShareConsumer<byte[], byte[]> consumer;
    private List<ConsumerRecord<byte[], byte[]>> held = List.of();
    /** The offsets of what was acquired when the program ended; not known how often since. */
    private final Set<Long> acquired = new TreeSet<>();
    private long end;

    UnfinishedShare(String bootstrap, String name, boolean stays) throws Exception {
        this.bootstrap = bootstrap;
        this.name = name;
        this.stays = stays;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all().get();
            ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, name);
            ConfigEntry earliest = new ConfigEntry("share.auto.offset.reset", "earliest");
            admin.incrementalAlterConfigs(
                Map.of(group, List.of(new AlterConfigOp(earliest, AlterConfigOp.OpType.SET)))).all().get();
        }
    }

    @Override
    public void begin() throws Exception {
        send();
        open();
        held = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> record : everything()) {
            switch ((int) (record.offset() % 4)) {
                case 0 -> acknowledge(record, AcknowledgeType.ACCEPT);
                case 1 -> acknowledge(record, AcknowledgeType.REJECT);
                case 2 -> acknowledge(record, AcknowledgeType.RELEASE);
                default -> held.add(record);
            }
        }
        // What was released may be with the consumer again, which fetches ahead.
        acquired.addAll(next.keySet());
        commit();
        if (!stays) {
            // What it holds goes back, and does not count as delivered.
            consumer.close();
            consumer = null;
        }
    }

    @Override
    public void goOn() throws Exception {
        if (stays) {
            // Who takes over knows nothing of what was acquired.
            held.forEach(record -> consumer.acknowledge(record, AcknowledgeType.ACCEPT));
            Map<?, Optional<org.apache.kafka.common.KafkaException>> answers = consumer.commitSync();
            Unfinished.check(
                answers.values().stream().anyMatch(Optional::isPresent),
                "acknowledgements of what another has acquired are answered by " + answers);
            consumer.close();
            consumer = null;
        }
        open();
        for (ConsumerRecord<byte[], byte[]> record : everything()) {
            // Some are released again and again, until they are given up.
            boolean again = record.offset() % 8 == 2;
            acknowledge(record, again ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
        }
        commit();
        consumer.close();
        consumer = null;
    }

    @Override
    public void close() throws Exception {
        open();
        while (!next.isEmpty()) {
            everything().forEach(record -> acknowledge(record, AcknowledgeType.RELEASE));
            commit();
        }
        ConsumerRecords<byte[], byte[]> more = consumer.poll(Duration.ofMillis(500));
        Unfinished.check(more.isEmpty(), more.count() + " records come that were done with");
        consumer.close();
    }

    private void acknowledge(ConsumerRecord<byte[], byte[]> record, AcknowledgeType type) {
        consumer.acknowledge(record, type);
        int delivery = next.get(record.offset());
        if (type == AcknowledgeType.RELEASE && delivery < DELIVERIES_MAX) {
            next.put(record.offset(), delivery + 1);
        } else {
            next.remove(record.offset());
        }
    }

    private void commit() {
        consumer.commitSync().forEach((partition, error) ->
            Unfinished.check(error.isEmpty(), name + ": acknowledged, and answered by " + error));
    }

    /** The records of one poll that has all that are to come. */
    private List<ConsumerRecord<byte[], byte[]>> everything() {
        long deadline = System.nanoTime() + PATIENCE_NS;
        while (System.nanoTime() < deadline) {
            List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
            consumer.poll(Duration.ofMillis(200)).forEach(found::add);
            for (ConsumerRecord<byte[], byte[]> record : found) {
                Integer wanted = next.get(record.offset());
                int delivery = record.deliveryCount().orElse((short) 0);
                Unfinished.check(
                    wanted != null, name + ": offset " + record.offset() + " comes, as delivery "
                        + delivery + ", and was done with");
                // What was acquired when the program ended may have been so once more in between.
                boolean isOnceMore = acquired.contains(record.offset()) && delivery == wanted + 1;
                Unfinished.check(
                    wanted == delivery || isOnceMore, name + ": offset " + record.offset()
                        + " comes as delivery " + delivery + ", and not as " + wanted);
                next.put(record.offset(), delivery);
            }
            if (found.size() == next.size()) {
                return found;
            }
            if (!found.isEmpty()) {
                // A part of it only: back, which counts.
                found.forEach(record -> acknowledge(record, AcknowledgeType.RELEASE));
                commit();
            }
        }
        throw new AssertionError(name + ": of " + next + " not all came at once");
    }

    /** In one batch, so that it comes at once. */
    private void send() throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "linger.ms", 1000);
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<?>> sent = new ArrayList<>();
            for (int number = 0; number < COUNT; number++, end++) {
                byte[] value = Long.toString(end).getBytes(StandardCharsets.UTF_8);
                sent.add(producer.send(new ProducerRecord<>(name, 0, null, value)));
                next.put(end, 1);
            }
            producer.flush();
            for (Future<?> one : sent) {
                one.get();
            }
        }
    }

    private void open() {
        if (consumer != null) {
            return;
        }
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap,
            "group.id", name,
            "share.acknowledgement.mode", "explicit",
            "fetch.max.wait.ms", 100,
            "reconnect.backoff.max.ms", 500);
        consumer = new KafkaShareConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.subscribe(List.of(name));
    }
}
