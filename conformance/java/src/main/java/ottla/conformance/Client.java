package ottla.conformance;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The Java client's view of a broker: the cases that conformance/README.md lists, with the same
 * commands and the same lines of output as every other client here.
 */
public final class Client {
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final String bootstrap;

    private Client(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] args) throws Exception {
        Client client = new Client(args[1]);
        switch (args[0]) {
            case "cases" -> client.cases(args[2]);
            case "load" -> client.load(args[2], Double.parseDouble(args[3]));
            case "copy" -> client.copy(args[2], args[3], args.length > 4 ? args[4] : "classic");
            case "drain" -> client.drain(args[2], Integer.parseInt(args[3]));
            default -> throw new IllegalArgumentException("no command " + args[0]);
        }
        System.exit(0);
    }

    private static final Map<String, Object> CONSUMER = Map.of("group.protocol", "consumer");

    private interface Case {
        void run() throws Exception;
    }

    private void cases(String prefix) {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            report("round trip, " + codec, () -> roundTrip(prefix + "-round-trip-" + codec, codec));
        }
        for (String assignor : List.of("RangeAssignor", "CooperativeStickyAssignor")) {
            report(
                "group rebalances while members come and go, " + assignor,
                () -> groupRebalances(prefix + "-" + assignor, Map.of(
                    "partition.assignment.strategy",
                    "org.apache.kafka.clients.consumer." + assignor)));
        }
        report(
            "group rebalances while members come and go, group.protocol=consumer",
            () -> groupRebalances(prefix + "-consumer", CONSUMER));
        report(
            "a group goes from one protocol to the other and back with its members",
            () -> groupMigrates(prefix + "-migrating"));
        report("static member returns without a rebalance", () -> staticMember(prefix + "-static"));
        report("commit and resume", () -> commitAndResume(prefix + "-commit"));
        report("look-up by timestamp", () -> lookUpByTimestamp(prefix + "-timestamp"));
        report("admin calls", () -> adminCalls(prefix + "-admin"));
        share(prefix);
    }

    private void share(String prefix) {
        ShareCases share = new ShareCases(bootstrap);
        report("share consumer accepts what it reads", () -> share.implicitAcceptance(prefix + "-share"));
        report(
            "share consumer accepts, releases and rejects",
            () -> share.explicitAcknowledgement(prefix + "-share-explicit"));
        report("share consumer renews its locks", () -> share.renewal(prefix + "-share-renewal"));
        report("share consumers share a partition", () -> share.severalConsumers(prefix + "-share-several"));
        report("closed share consumer leaves records to others", () -> share.closedConsumer(prefix + "-share-closed"));
    }

    private void report(String name, Case run) {
        try {
            run.run();
            System.out.println("ok " + name);
        } catch (Exception | AssertionError failure) {
            String text = String.valueOf(failure).replaceAll("\\s+", " ");
            System.out.println("not ok " + name + ": " + text);
        }
    }

    private static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    private static void until(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (System.nanoTime() < end) {
            if (condition.call()) {
                return;
            }
            Thread.sleep(50);
        }
        throw new AssertionError("not seen within " + PATIENCE + ": " + what);
    }

    private KafkaProducer<byte[], byte[]> producer(String codec) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("compression.type", codec);
        settings.put("delivery.timeout.ms", (int) PATIENCE.toMillis());
        settings.put("request.timeout.ms", 10_000);
        settings.put("reconnect.backoff.max.ms", 500);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(String group, Map<String, Object> more) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("fetch.max.wait.ms", 100);
        settings.putAll(more);
        // By the consumer protocol the broker decides about these.
        if (!"consumer".equals(more.get("group.protocol"))) {
            settings.putIfAbsent("session.timeout.ms", 10_000);
            settings.putIfAbsent("heartbeat.interval.ms", 200);
        }
        return new KafkaConsumer<>(
            settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    private void createTopic(String topic, int partitions) throws Exception {
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
        }
    }

    private List<RecordMetadata> send(String topic, int partitions, int first, int end)
            throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer("none")) {
            for (int n = first; n < end; n++) {
                byte[] value = Integer.toString(n).getBytes();
                sent.add(producer.send(new ProducerRecord<>(topic, n % partitions, null, value)));
            }
        }
        List<RecordMetadata> acked = new ArrayList<>();
        for (Future<RecordMetadata> future : sent) {
            acked.add(future.get());
        }
        return acked;
    }

    private List<ConsumerRecord<byte[], byte[]>> read(
            KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (records.size() < count && System.nanoTime() < end) {
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        }
        check(records.size() == count, "read " + records.size() + " records of " + count);
        return records;
    }

    private void roundTrip(String topic, String codec) throws Exception {
        createTopic(topic, 3);
        Map<String, ProducerRecord<byte[], byte[]>> sent = new HashMap<>();
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        List<Future<RecordMetadata>> acks = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(codec)) {
            for (int n = 0; n < 300; n++) {
                byte[] value = n % 50 == 7 ? null : ("value " + n + " ").repeat(1 + n % 40).getBytes();
                byte[] key = n % 3 == 0 ? null : ("key-" + n).getBytes();
                List<Header> headers = new ArrayList<>();
                if (n % 5 == 0) {
                    headers.add(new RecordHeader("trace", new byte[] {0, (byte) 255}));
                    headers.add(new RecordHeader("trace", "again".getBytes()));
                    headers.add(new RecordHeader("empty", new byte[0]));
                    headers.add(new RecordHeader("null", (byte[]) null));
                }
                long timestamp = 1_700_000_000_000L + n;
                var record = new ProducerRecord<>(topic, n % 3, timestamp, key, value, headers);
                records.add(record);
                acks.add(producer.send(record));
            }
        }
        for (int n = 0; n < records.size(); n++) {
            RecordMetadata ack = acks.get(n).get();
            sent.put(ack.partition() + "/" + ack.offset(), records.get(n));
        }
        try (var consumer = consumer(topic + "-reader", Map.of())) {
            consumer.subscribe(List.of(topic));
            for (var back : read(consumer, 300)) {
                var record = sent.remove(back.partition() + "/" + back.offset());
                check(record != null, "nothing was sent to " + back);
                check(Arrays.equals(back.value(), record.value()), "value of " + back);
                check(Arrays.equals(back.key(), record.key()), "key of " + back);
                check(back.timestamp() == record.timestamp(), "timestamp of " + back);
                check(back.headers().equals(record.headers()), "headers of " + back);
            }
        }
        check(sent.isEmpty(), sent.size() + " records never came back");
    }

    /** A group member that polls and commits in a thread of its own until it is told to leave. */
    private final class Member extends Thread {
        private final Map<String, Object> settings;
        private final String topic;
        private final Set<String> values = Collections.synchronizedSet(new HashSet<>());
        private volatile int owned;
        private volatile boolean leaving;
        private volatile Exception failure;

        private Member(String topic, Map<String, Object> settings) {
            this.topic = topic;
            this.settings = settings;
            start();
        }

        @Override
        public void run() {
            try (var consumer = consumer(topic + "-group", settings)) {
                consumer.subscribe(List.of(topic));
                while (!leaving) {
                    var records = consumer.poll(Duration.ofMillis(100));
                    records.forEach(record -> values.add(new String(record.value())));
                    owned = consumer.assignment().size();
                    if (!records.isEmpty()) {
                        consumer.commitAsync();
                    }
                }
                consumer.commitSync();
            } catch (Exception thrown) {
                failure = thrown;
            }
        }

        private void leave() throws Exception {
            leaving = true;
            join(PATIENCE.toMillis());
            if (failure != null) {
                throw failure;
            }
        }
    }

    private static boolean readTo(int end, Member... members) {
        for (int n = 0; n < end; n++) {
            String value = Integer.toString(n);
            if (Arrays.stream(members).noneMatch(member -> member.values.contains(value))) {
                return false;
            }
        }
        return true;
    }

    private void groupRebalances(String topic, Map<String, Object> settings) throws Exception {
        createTopic(topic, 4);
        Member first = new Member(topic, settings);
        until("the first member owns all", () -> first.owned == 4);
        send(topic, 4, 0, 200);
        until("the first member reads all", () -> readTo(200, first));
        Member second = new Member(topic, settings);
        until("two members share", () -> first.owned == 2 && second.owned == 2);
        send(topic, 4, 200, 400);
        until("both read all", () -> readTo(400, first, second));
        first.leave();
        until("the second member owns all", () -> second.owned == 4);
        send(topic, 4, 400, 600);
        until("the second reads all", () -> readTo(600, first, second));
        second.leave();
    }

    /** Members of both protocols in one group: whoever comes and goes, every record is read. */
    private void groupMigrates(String topic) throws Exception {
        createTopic(topic, 4);
        Member classic = new Member(topic, Map.of());
        until("the classic member owns all", () -> classic.owned == 4);
        Member consumer = new Member(topic, CONSUMER);
        until("both share", () -> classic.owned == 2 && consumer.owned == 2);
        check(typeOf(topic) == GroupType.CONSUMER, "the group is " + typeOf(topic));
        send(topic, 4, 0, 200);
        until("both read all", () -> readTo(200, classic, consumer));
        classic.leave();
        until("the consumer owns all", () -> consumer.owned == 4);
        Member later = new Member(topic, Map.of());
        until("both share again", () -> later.owned == 2 && consumer.owned == 2);
        send(topic, 4, 200, 400);
        until("both read all again", () -> readTo(400, classic, consumer, later));
        consumer.leave();
        until("the later classic member owns all", () -> later.owned == 4);
        check(typeOf(topic) == GroupType.CLASSIC, "the group is " + typeOf(topic));
        send(topic, 4, 400, 600);
        until("it reads all", () -> readTo(600, classic, consumer, later));
        later.leave();
    }

    private GroupType typeOf(String topic) throws Exception {
        try (Admin admin = admin()) {
            for (var listing : admin.listGroups().all().get()) {
                if (listing.groupId().equals(topic + "-group")) {
                    return listing.type().orElseThrow();
                }
            }
        }
        throw new AssertionError("the group is not listed");
    }

    private void staticMember(String topic) throws Exception {
        createTopic(topic, 2);
        Map<String, Object> settings = Map.of("group.instance.id", "first");
        Member first = new Member(topic, settings);
        Member second = new Member(topic, Map.of("group.instance.id", "second"));
        until("both own one", () -> first.owned == 1 && second.owned == 1);
        try (Admin admin = admin()) {
            String group = topic + "-group";
            int before = generationMembers(admin, group);
            first.leave();
            check(generationMembers(admin, group) == before, "a static member left the group");
        }
        Member again = new Member(topic, settings);
        until("the member is back", () -> again.owned == 1);
        check(second.owned == 1, "the other member was disturbed");
        again.leave();
        second.leave();
    }

    private static int generationMembers(Admin admin, String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).all().get().get(group).members().size();
    }

    private void commitAndResume(String topic) throws Exception {
        createTopic(topic, 1);
        String group = topic + "-group";
        for (int[] range : new int[][] {{0, 100}, {100, 150}}) {
            send(topic, 1, range[0], range[1]);
            try (var consumer = consumer(group, Map.of())) {
                consumer.subscribe(List.of(topic));
                int expected = range[0];
                for (var record : read(consumer, range[1] - range[0])) {
                    check(record.offset() == expected++, "offset of " + record);
                }
                consumer.commitSync();
            }
        }
        try (Admin admin = admin()) {
            TopicPartition partition = new TopicPartition(topic, 0);
            var committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata();
            check(committed.get().get(partition).offset() == 150, "committed " + committed.get());
            until("the group is listed", () -> admin.listGroups().all().get().stream()
                .anyMatch(listing -> listing.groupId().equals(group)));
            until("the group is deleted", () -> {
                try {
                    admin.deleteConsumerGroups(List.of(group)).all().get();
                    return true;
                } catch (ExecutionException thrown) {
                    if (thrown.getCause() instanceof GroupNotEmptyException) {
                        return false;
                    }
                    throw thrown;
                }
            });
        }
    }

    private void lookUpByTimestamp(String topic) throws Exception {
        createTopic(topic, 1);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer("lz4")) {
            for (int n = 0; n < 100; n++) {
                long timestamp = 1_700_000_000_000L + (n == 50 ? 100_000 : n * 10);
                producer.send(new ProducerRecord<>(topic, 0, timestamp, null, new byte[10]));
            }
        }
        try (var consumer = consumer(topic + "-group", Map.of()); Admin admin = admin()) {
            var found = consumer.offsetsForTimes(Map.of(partition, 1_700_000_000_251L));
            check(found.get(partition).offset() == 26, "first at or after: " + found);
            var after = consumer.offsetsForTimes(Map.of(partition, 1_800_000_000_000L));
            check(after.get(partition) == null, "after the end: " + after);
            check(consumer.beginningOffsets(List.of(partition)).get(partition) == 0, "the beginning");
            check(consumer.endOffsets(List.of(partition)).get(partition) == 100, "the end");
            var max = admin.listOffsets(Map.of(partition, OffsetSpec.maxTimestamp()));
            check(max.partitionResult(partition).get().offset() == 50, "the maximum timestamp");
        }
    }

    private void adminCalls(String topic) throws Exception {
        try (Admin admin = admin()) {
            NewTopic wanted = new NewTopic(topic, Optional.of(2), Optional.empty())
                .configs(Map.of("retention.ms", "123456789", "cleanup.policy", "delete"));
            admin.createTopics(List.of(wanted)).all().get();
            try {
                admin.createTopics(List.of(wanted)).all().get();
                throw new AssertionError("created twice");
            } catch (ExecutionException thrown) {
                check(thrown.getCause() instanceof TopicExistsException, "created twice: " + thrown);
            }
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            check(setting(admin, resource, "retention.ms").equals("123456789"), "retention.ms");
            check(setting(admin, resource, "cleanup.policy").equals("delete"), "policy");
            Collection<AlterConfigOp> change = List.of(new AlterConfigOp(
                new ConfigEntry("retention.ms", "987654321"), AlterConfigOp.OpType.SET));
            admin.incrementalAlterConfigs(Map.of(resource, change)).all().get();
            until("the altered setting",
                () -> setting(admin, resource, "retention.ms").equals("987654321"));
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            until("five partitions", () -> admin.describeTopics(List.of(topic)).allTopicNames()
                .get().get(topic).partitions().size() == 5);
            send(topic, 5, 0, 100);
            TopicPartition first = new TopicPartition(topic, 0);
            admin.deleteRecords(Map.of(first, RecordsToDelete.beforeOffset(7))).all().get();
            var start = admin.listOffsets(Map.of(first, OffsetSpec.earliest()));
            check(start.partitionResult(first).get().offset() == 7, "the log start offset");
            var directories = admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1);
            check(directories.values().stream().anyMatch(
                directory -> directory.replicaInfos().containsKey(first)), "log directories");
            var quorum = admin.describeMetadataQuorum().quorumInfo().get();
            check(quorum.leaderId() == 1 && quorum.voters().size() == 1, "quorum " + quorum);
            check(admin.describeCluster().nodes().get().size() == 1, "nodes");
            check(admin.describeFeatures().featureMetadata().get().finalizedFeatures()
                .containsKey("metadata.version"), "features");
            check(admin.listPartitionReassignments().reassignments().get().isEmpty(), "moves");
            admin.deleteTopics(List.of(topic)).all().get();
            until("the topic is gone", () -> !admin.listTopics().names().get().contains(topic));
        }
    }

    private static String setting(Admin admin, ConfigResource resource, String name)
            throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource).get(name).value();
    }

    private void load(String topic, double seconds) throws Exception {
        long end = System.nanoTime() + (long) (seconds * 1e9);
        try (KafkaProducer<byte[], byte[]> producer = producer("zstd")) {
            for (int number = 0; System.nanoTime() < end; number += 50) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int n = number; n < number + 50; n++) {
                    byte[] value = Integer.toString(n).getBytes();
                    sent.add(producer.send(new ProducerRecord<>(topic, n % 3, null, value)));
                }
                for (int i = 0; i < sent.size(); i++) {
                    RecordMetadata ack = sent.get(i).get();
                    System.out.println(
                        "acked " + ack.partition() + " " + ack.offset() + " " + (number + i));
                }
            }
        }
    }

    /** Copies a topic in transactions, every fifth of which is aborted and done again. */
    private void copy(String from, String to, String protocol) {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", bootstrap, "transactional.id", "copy-" + to);
        var committed = Map.<String, Object>of(
            "isolation.level", "read_committed", "group.protocol", protocol);
        var serializer = new ByteArraySerializer();
        try (var producer = new KafkaProducer<>(config, serializer, serializer);
                var consumer = consumer("copy-" + to, committed)) {
            producer.initTransactions();
            consumer.subscribe(List.of(from));
            long end = System.nanoTime() + PATIENCE.toNanos();
            for (int number = 1; System.nanoTime() < end;) {
                var records = consumer.poll(Duration.ofMillis(200));
                if (records.isEmpty()) {
                    if (isCopied(consumer)) {
                        System.out.println("copied");
                        return;
                    }
                    continue;
                }
                producer.beginTransaction();
                try {
                    for (var record : records) {
                        producer.send(new ProducerRecord<>(to, record.value()));
                    }
                    producer.sendOffsetsToTransaction(
                        positions(consumer), consumer.groupMetadata());
                    if (number++ % 5 == 0) {
                        producer.abortTransaction();
                        rewind(consumer);
                    } else {
                        producer.commitTransaction();
                    }
                } catch (org.apache.kafka.common.errors.TransactionAbortableException
                        | org.apache.kafka.clients.consumer.CommitFailedException retry) {
                    producer.abortTransaction();
                    rewind(consumer);
                }
            }
            throw new AssertionError("the topic is not copied in time");
        }
    }

    private static Map<TopicPartition, OffsetAndMetadata> positions(
            KafkaConsumer<byte[], byte[]> consumer) {
        Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
        for (TopicPartition partition : consumer.assignment()) {
            positions.put(partition, new OffsetAndMetadata(consumer.position(partition)));
        }
        return positions;
    }

    private static boolean isCopied(KafkaConsumer<byte[], byte[]> consumer) {
        var assigned = consumer.assignment();
        var ends = consumer.endOffsets(assigned);
        var committed = consumer.committed(assigned);
        return !assigned.isEmpty() && assigned.stream().allMatch(partition -> ends.get(partition)
            .equals(committed.get(partition) == null ? 0L : committed.get(partition).offset()));
    }

    private static void rewind(KafkaConsumer<byte[], byte[]> consumer) {
        consumer.committed(consumer.assignment()).forEach((partition, offset) -> {
            if (offset == null) {
                consumer.seekToBeginning(List.of(partition));
            } else {
                consumer.seek(partition, offset.offset());
            }
        });
    }

    private void drain(String topic, int count) {
        var committed = Map.<String, Object>of("isolation.level", "read_committed");
        try (var consumer = consumer("drain-" + System.nanoTime(), committed)) {
            consumer.subscribe(List.of(topic));
            int seen = 0;
            int quiet = 0;
            long end = System.nanoTime() + PATIENCE.toNanos();
            while (System.nanoTime() < end && (seen < count || quiet < 10)) {
                var records = consumer.poll(Duration.ofMillis(200));
                for (var record : records) {
                    String value = new String(record.value());
                    System.out.println(
                        "read " + record.partition() + " " + record.offset() + " " + value);
                }
                seen += records.count();
                quiet = records.isEmpty() ? quiet + 1 : 0;
            }
        }
    }
}
