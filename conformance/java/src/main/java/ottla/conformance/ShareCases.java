package ottla.conformance;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Share consumers (KIP-932): each record goes to one of them, until it is done with. */
final class ShareCases {
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final int COUNT = 60;

    private final String bootstrap;

    ShareCases(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    /** Records that are read are accepted by the next poll, and never come again. */
    void implicitAcceptance(String name) throws Exception {
        prepare(name);
        Map<Long, Integer> deliveries = new TreeMap<>();
        try (KafkaShareConsumer<byte[], byte[]> consumer = consumer(name, Map.of())) {
            readAll(List.of(consumer), deliveries, COUNT);
        }
        checkOnce(deliveries);
        send(name, 1);
        try (KafkaShareConsumer<byte[], byte[]> consumer = consumer(name, Map.of())) {
            readAll(List.of(consumer), deliveries, COUNT + 1);
        }
        checkOnce(deliveries);
    }

    /** A third is accepted, a third released and so delivered a second time, a third rejected. */
    void explicitAcknowledgement(String name) throws Exception {
        prepare(name);
        Map<String, Object> explicit = Map.of("share.acknowledgement.mode", "explicit");
        Map<Long, Integer> deliveries = new TreeMap<>();
        try (KafkaShareConsumer<byte[], byte[]> consumer = consumer(name, explicit)) {
            long end = System.nanoTime() + PATIENCE.toNanos();
            int done = 0;
            while (done < COUNT && System.nanoTime() < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    int delivery = deliveries.merge(record.offset(), 1, Integer::sum);
                    check(record.deliveryCount().orElse((short) 0) == delivery, "delivery count of " + record);
                    AcknowledgeType type = acknowledgement(record.offset(), delivery);
                    done += type == AcknowledgeType.RELEASE ? 0 : 1;
                    consumer.acknowledge(record, type);
                }
                consumer.commitSync().values().forEach(error -> check(error.isEmpty(), "commit: " + error));
            }
            check(done == COUNT, done + " records are done with");
            check(consumer.poll(Duration.ofMillis(300)).isEmpty(), "records come again");
        }
        deliveries.forEach((offset, count) ->
            check(count == (offset % 3 == 1 ? 2 : 1), "offset " + offset + " came " + count + " times"));
    }

    private static AcknowledgeType acknowledgement(long offset, int delivery) {
        if (offset % 3 == 1 && delivery == 1) {
            return AcknowledgeType.RELEASE;
        }
        return offset % 3 == 2 ? AcknowledgeType.REJECT : AcknowledgeType.ACCEPT;
    }

    /** A lock that is renewed outlives its time; one that is not runs out. */
    void renewal(String name) throws Exception {
        prepare(name);
        Map<String, Object> explicit = Map.of("share.acknowledgement.mode", "explicit");
        try (KafkaShareConsumer<byte[], byte[]> consumer = consumer(name, explicit)) {
            Set<Long> renewed = new HashSet<>();
            int accepted = 0;
            long end = System.nanoTime() + PATIENCE.toNanos();
            while (accepted < COUNT && System.nanoTime() < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    if (renewed.add(record.offset())) {
                        consumer.acknowledge(record, AcknowledgeType.RENEW);
                    } else {
                        consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                        accepted++;
                    }
                }
                consumer.commitSync().values().forEach(error -> check(error.isEmpty(), "commit: " + error));
            }
            check(accepted == COUNT, renewed.size() + " records were renewed, " + accepted + " accepted");
            check(consumer.poll(Duration.ofMillis(300)).isEmpty(), "records come again");
        }
    }

    /** Several consumers read one partition, and each record goes to one of them. */
    void severalConsumers(String name) throws Exception {
        prepare(name);
        Map<Long, Integer> deliveries = new TreeMap<>();
        Map<String, Object> few = Map.of("share.acquire.mode", "record_limit", "max.poll.records", 5);
        try (KafkaShareConsumer<byte[], byte[]> first = consumer(name, few);
                KafkaShareConsumer<byte[], byte[]> second = consumer(name, few)) {
            List<Integer> shares = readAll(List.of(first, second), deliveries, COUNT);
            check(shares.stream().allMatch(share -> share > 0), "one consumer got nothing: " + shares);
        }
        checkOnce(deliveries);
    }

    /** What a consumer leaves behind that is closed goes to the next. */
    void closedConsumer(String name) throws Exception {
        prepare(name);
        Map<String, Object> explicit = Map.of("share.acknowledgement.mode", "explicit");
        Map<Long, Integer> deliveries = new TreeMap<>();
        try (KafkaShareConsumer<byte[], byte[]> consumer = consumer(name, explicit)) {
            long end = System.nanoTime() + PATIENCE.toNanos();
            while (consumer.poll(Duration.ofMillis(200)).isEmpty()) {
                check(System.nanoTime() < end, "nothing came");
            }
        }
        try (KafkaShareConsumer<byte[], byte[]> consumer = consumer(name, Map.of())) {
            readAll(List.of(consumer), deliveries, COUNT);
        }
        checkOnce(deliveries);
    }

    private static List<Integer> readAll(
            List<KafkaShareConsumer<byte[], byte[]>> consumers, Map<Long, Integer> deliveries, int count) {
        long end = System.nanoTime() + PATIENCE.toNanos();
        int[] shares = new int[consumers.size()];
        while (deliveries.size() < count) {
            check(System.nanoTime() < end, "read only " + deliveries.size() + " of " + count);
            for (int index = 0; index < shares.length; index++) {
                for (ConsumerRecord<byte[], byte[]> record : consumers.get(index).poll(Duration.ofMillis(100))) {
                    String value = new String(record.value(), StandardCharsets.UTF_8);
                    check(value.startsWith("v"), "value " + value);
                    deliveries.merge(record.offset(), 1, Integer::sum);
                    shares[index]++;
                }
            }
        }
        consumers.forEach(KafkaShareConsumer::commitSync);
        List<Integer> counts = new ArrayList<>();
        for (int share : shares) {
            counts.add(share);
        }
        return counts;
    }

    private static void checkOnce(Map<Long, Integer> deliveries) {
        deliveries.forEach((offset, count) -> check(count == 1, "offset " + offset + " came " + count + " times"));
    }

    private static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    /** A topic of one partition with records, and a group that begins with the first of them. */
    private void prepare(String name) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all().get();
            ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, name);
            ConfigEntry earliest = new ConfigEntry("share.auto.offset.reset", "earliest");
            admin.incrementalAlterConfigs(
                Map.of(group, List.of(new AlterConfigOp(earliest, AlterConfigOp.OpType.SET)))).all().get();
        }
        send(name, COUNT);
    }

    private void send(String topic, int count) throws Exception {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("batch.size", 200);
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<?>> sent = new ArrayList<>();
            for (int number = 0; number < count; number++) {
                byte[] value = ("v" + number).getBytes(StandardCharsets.UTF_8);
                sent.add(producer.send(new ProducerRecord<>(topic, 0, null, value)));
            }
            for (Future<?> future : sent) {
                future.get();
            }
        }
    }

    private KafkaShareConsumer<byte[], byte[]> consumer(String group, Map<String, Object> more) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", group);
        settings.put("fetch.max.wait.ms", 100);
        settings.putAll(more);
        KafkaShareConsumer<byte[], byte[]> consumer =
            new KafkaShareConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.subscribe(List.of(group));
        return consumer;
    }
}
