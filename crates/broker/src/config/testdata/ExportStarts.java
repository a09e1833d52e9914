// Writes what Apache Kafka says to whole configuration files, one case a line (settings separated by `;`):
//   java -cp 'LIBS/*' ExportStarts.java > starts.txt
import java.util.*;

public class ExportStarts {
    static final String BASE = "process.roles=broker,controller;node.id=1;controller.listener.names=CONTROLLER;"
        + "controller.quorum.bootstrap.servers=localhost:9093;listeners=PLAINTEXT://:9092,CONTROLLER://:9093;";

    static final String[] CASES = {
        "", "node.id=1", "process.roles=broker", "process.roles=broker;node.id=1",
        "process.roles=broker;node.id=1;controller.listener.names=CONTROLLER",
        "process.roles=broker;node.id=1;controller.listener.names=CONTROLLER;controller.quorum.voters=1@localhost:9093",
        "process.roles=broker;node.id=1;controller.listener.names=CONTROLLER;controller.quorum.voters=2@localhost:9093",
        "process.roles=broker;node.id=1;controller.listener.names=PLAINTEXT;controller.quorum.voters=2@localhost:9093",
        "process.roles=controller;node.id=1;controller.listener.names=CONTROLLER;controller.quorum.voters=1@localhost:9093;listeners=CONTROLLER://:9093",
        "process.roles=controller;node.id=1;controller.listener.names=CONTROLLER;controller.quorum.voters=1@localhost:9093;listeners=CONTROLLER://:9093,PLAINTEXT://:9092",
        "process.roles=controller;node.id=1;controller.listener.names=CONTROLLER;controller.quorum.voters=2@localhost:9093;listeners=CONTROLLER://:9093",
        "process.roles=controller;node.id=1;controller.listener.names=CONTROLLER;controller.quorum.voters=1@localhost:9093;listeners=CONTROLLER://:9093;inter.broker.listener.name=CONTROLLER",
        "process.roles=broker,controller;node.id=1;controller.listener.names=CONTROLLER;listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
        "process.roles=broker,controller;node.id=1;controller.listener.names=CONTROLLER;controller.quorum.voters=1@localhost:9093",
        "process.roles=broker,broker;node.id=1", "process.roles=;node.id=1", "process.roles=zookeeper;node.id=1",
        BASE, BASE + "broker.id=2", BASE + "node.id=-1", BASE + "node.id=abc", BASE + "controller.listener.names=",
        BASE + "controller.listener.names=OTHER", BASE + "controller.listener.names=CONTROLLER,OTHER",
        BASE + "advertised.listeners=PLAINTEXT://localhost:9092",
        BASE + "advertised.listeners=PLAINTEXT://0.0.0.0:9092",
        BASE + "advertised.listeners=CONTROLLER://localhost:9093",
        BASE + "advertised.listeners=EXTERNAL://localhost:9094",
        BASE + "advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
        BASE + "listeners=PLAINTEXT://:9092,PLAINTEXT://:9093", BASE + "listeners=PLAINTEXT://:9092,CONTROLLER://:9092",
        BASE + "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://:9093,SSL://[::1]:9092",
        BASE + "listeners=PLAINTEXT:9092,CONTROLLER://:9093", BASE + "listeners=", BASE + "listeners=FOO://:9092,CONTROLLER://:9093",
        BASE + "listeners=plaintext://:9092,CONTROLLER://:9093", BASE + "listeners=PLAINTEXT://:0,CONTROLLER://:0",
        BASE + "listeners=PLAINTEXT://localhost:99999,CONTROLLER://:9093",
        BASE + "listener.security.protocol.map=PLAINTEXT:PLAINTEXT",
        BASE + "listener.security.protocol.map=PLAINTEXT:FOO,CONTROLLER:PLAINTEXT",
        BASE + "listener.security.protocol.map=PLAINTEXT,CONTROLLER:PLAINTEXT",
        BASE + "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,A:SSL",
        BASE + "listener.security.protocol.map=A:SSL",
        BASE + "inter.broker.listener.name=PLAINTEXT", BASE + "inter.broker.listener.name=OTHER",
        BASE + "inter.broker.listener.name=CONTROLLER", BASE + "inter.broker.listener.name=PLAINTEXT;security.inter.broker.protocol=PLAINTEXT",
        BASE + "security.inter.broker.protocol=SSL", BASE + "security.inter.broker.protocol=FOO",
        BASE + "log.dirs=", BASE + "log.dirs=/a,/a", BASE + "log.dirs=/a,/b", BASE + "log.dir=",
        BASE + "log.roll.ms=0", BASE + "log.roll.hours=0", BASE + "log.roll.jitter.ms=-1", BASE + "log.retention.ms=0",
        BASE + "log.retention.ms=-5", BASE + "log.retention.hours=0", BASE + "log.retention.minutes=-3",
        BASE + "replica.fetch.wait.max.ms=40000", BASE + "replica.lag.time.max.ms=100;replica.fetch.wait.max.ms=200",
        BASE + "queued.max.request.bytes=5", BASE + "max.connections.per.ip=0",
        BASE + "max.connections.per.ip=0;max.connections.per.ip.overrides=127.0.0.1:5",
        BASE + "max.connections.per.ip.overrides=127.0.0.1", BASE + "max.connections.per.ip.overrides=127.0.0.1:x",
        BASE + "connection.failed.authentication.delay.ms=700000", BASE + "early.start.listeners=FOO",
        BASE + "early.start.listeners=CONTROLLER", BASE + "broker.heartbeat.interval.ms=5000",
        BASE + "controller.quorum.auto.join.enable=true", BASE + "group.coordinator.rebalance.protocols=consumer",
        BASE + "group.consumer.max.session.timeout.ms=1", BASE + "group.consumer.heartbeat.interval.ms=50000",
        BASE + "group.min.session.timeout.ms=9;group.max.session.timeout.ms=5", BASE + "cordoned.log.dirs=*",
        BASE + "cordoned.log.dirs=/nowhere", BASE + "log.cleaner.dedupe.buffer.size=5", BASE + "num.partitions=0",
        BASE + "offsets.topic.replication.factor=0", BASE + "offsets.topic.replication.factor=100000",
        BASE + "offsets.topic.compression.codec=9", BASE + "unknown.setting=5", BASE + "sasl.enabled.mechanisms=",
        BASE + "compression.type=brotli", BASE + "log.cleaner.min.compaction.lag.ms=10;log.cleaner.max.compaction.lag.ms=5",
        BASE + "transaction.two.phase.commit.enable=true", BASE + "metadata.log.segment.bytes=1",
        BASE + "controller.quorum.voters=1@localhost:9093", BASE + "controller.quorum.voters=2@localhost:9093",
        BASE + "controller.quorum.voters=1@0.0.0.0:0", BASE + "controller.quorum.voters=1@0.0.0.0:9093",
        BASE + "listener.name.plaintext.max.connections=abc",
    };

    public static void main(String[] arguments) {
        System.out.println("# settings|outcome, as Apache Kafka 4.3.1 answers. Written by ExportStarts.java.");
        for (String text : CASES) {
            Properties properties = new Properties();
            for (String setting : text.split(";")) {
                int equals = setting.indexOf('=');
                if (equals > 0) properties.setProperty(setting.substring(0, equals), setting.substring(equals + 1));
            }
            String outcome;
            try {
                kafka.server.KafkaConfig config = new kafka.server.KafkaConfig(properties, false);
                outcome = "ok " + config.effectiveAdvertisedBrokerListeners();
            } catch (Exception e) {
                outcome = "error " + e.getMessage();
            }
            System.out.println(text + "|" + outcome.replace("\n", " "));
        }
    }
}
