import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

// Makes the topics of which testdata/kafka-4.3.1 holds the logs; see README.md there.
public class GoldenLogs {
  static KafkaProducer<byte[],byte[]> producer(String servers, String txn, String codec) {
    Properties p = new Properties();
    p.put("bootstrap.servers", servers);
    p.put("compression.type", codec);
    p.put("linger.ms", "0");
    p.put("acks", "all");
    if (txn != null) p.put("transactional.id", txn);
    return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
  }
  static byte[] value(int i, int size) {
    byte[] b = new byte[size];
    for (int j = 0; j < size; j++) b[j] = (byte) ('a' + (i * 7 + j) % 26);
    return b;
  }
  public static void main(String[] a) throws Exception {
    String servers = a[0];
    Properties ap = new Properties();
    ap.put("bootstrap.servers", servers);
    try (Admin admin = Admin.create(ap)) {
      Map<String,String> c = new HashMap<>();
      c.put("internal.segment.bytes", "16384");
      c.put("index.interval.bytes", "1024");
      c.put("segment.index.bytes", "4096");
      c.put("retention.ms", "-1");
      c.put("retention.bytes", "-1");
      admin.createTopics(List.of(
        new NewTopic("plain", 1, (short)1).configs(c),
        new NewTopic("transactions", 1, (short)1).configs(c),
        new NewTopic("codecs", 1, (short)1).configs(c),
        new NewTopic("started", 1, (short)1).configs(c))).all().get();
      long t0 = 1700000000000L;
      try (var p = producer(servers, null, "none")) {
        for (int i = 0; i < 120; i++)
          p.send(new ProducerRecord<>("plain", 0, t0 + (i % 7 == 3 ? i * 1000L - 5000 : i * 1000L), value(i, 4), value(i, 300))).get();
      }
      try (var p = producer(servers, null, "none")) {
        for (int i = 0; i < 20; i++)
          p.send(new ProducerRecord<>("plain", 0, t0 + 500000 + i * 1000L, value(i, 4), value(i, 300))).get();
        for (int i = 0; i < 60; i++)
          p.send(new ProducerRecord<>("started", 0, t0 + i * 1000L, value(i, 4), value(i, 700))).get();
      }
      admin.deleteRecords(Map.of(new org.apache.kafka.common.TopicPartition("started", 0), RecordsToDelete.beforeOffset(35))).all().get();
      for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
        Properties pp = new Properties();
        try (var p = producer(servers, null, codec)) {
          for (int i = 0; i < 12; i++) p.send(new ProducerRecord<>("codecs", 0, t0 + i * 1000L, value(i, 4), value(i, 900)));
          p.flush();
        }
      }
      try (var one = producer(servers, "first", "none"); var two = producer(servers, "second", "none")) {
        one.initTransactions(); two.initTransactions();
        for (int r = 0; r < 8; r++) {
          one.beginTransaction();
          for (int i = 0; i < 5; i++) one.send(new ProducerRecord<>("transactions", 0, t0 + r * 10000L + i, value(i, 4), value(i, 400))).get();
          two.beginTransaction();
          for (int i = 0; i < 4; i++) two.send(new ProducerRecord<>("transactions", 0, t0 + r * 10000L + i, value(i, 4), value(i, 400))).get();
          if (r % 3 == 1) one.abortTransaction(); else one.commitTransaction();
          for (int i = 0; i < 2; i++) two.send(new ProducerRecord<>("transactions", 0, t0 + r * 10000L + i, value(i, 4), value(i, 400))).get();
          if (r % 2 == 0) two.abortTransaction(); else two.commitTransaction();
        }
        // an open transaction at the end
        one.beginTransaction();
        one.send(new ProducerRecord<>("transactions", 0, t0 + 900000L, value(1, 4), value(1, 400))).get();
        two.beginTransaction();
        for (int i = 0; i < 3; i++) two.send(new ProducerRecord<>("transactions", 0, t0 + 900001L + i, value(1, 4), value(1, 400))).get();
        two.commitTransaction();
        System.out.println("READY");
        System.out.flush();
        Runtime.getRuntime().halt(0);
      }
    }
  }
}
