package ottla.conformance;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A transaction, of a client that knows transaction.version 2, whose commit was answered: whoever takes over
 * completes it, even if nothing of its completion is on the disk (see prepared.py).
 */
final class UnfinishedTransaction implements Unfinished.Participant {
    private static final String NAME = "prepared-java";
    private static final int COUNT = 20;

    private final String bootstrap;
    private final KafkaProducer<byte[], byte[]> producer;
    private final List<String> committed = new ArrayList<>();
    private int transactions;

    UnfinishedTransaction(String bootstrap) throws Exception {
        this.bootstrap = bootstrap;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(NAME, 1, (short) 1))).all().get();
        }
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap, "transactional.id", NAME, "reconnect.backoff.max.ms", 500);
        producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        producer.initTransactions();
    }

    @Override
    public void begin() {
        commitOne();
    }

    @Override
    public void goOn() {
        check();
        commitOne();
        check();
    }

    @Override
    public void close() {
        producer.close();
    }

    private void commitOne() {
        transactions++;
        producer.beginTransaction();
        for (int number = 0; number < COUNT; number++) {
            String value = transactions + "-" + number;
            producer.send(new ProducerRecord<>(NAME, value.getBytes(StandardCharsets.UTF_8)));
            committed.add(value);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            producer.sendOffsetsToTransaction(
                Map.of(new TopicPartition(NAME, 0), new OffsetAndMetadata(transactions)),
                consumer.groupMetadata());
        }
        producer.commitTransaction();
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap,
            "group.id", NAME,
            "enable.auto.commit", false,
            "isolation.level", "read_committed");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void check() {
        TopicPartition partition = new TopicPartition(NAME, 0);
        List<String> found = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long deadline = System.nanoTime() + 60_000_000_000L;
            while (found.size() < committed.size() && System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    found.add(new String(record.value(), StandardCharsets.UTF_8));
                }
            }
            Unfinished.check(found.equals(committed), "committed are " + committed + ", and read are " + found);
            long at = consumer.committed(java.util.Set.of(partition)).get(partition).offset();
            Unfinished.check(at == transactions, "the transaction's offset is " + at + ", not " + transactions);
        }
    }
}
