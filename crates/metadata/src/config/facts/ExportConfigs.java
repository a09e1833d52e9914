// Writes `definitions.txt` and `../testdata/validation.txt` from the jars of Apache Kafka:
//   java -cp 'LIBS/*' ExportConfigs.java crates/metadata/src/config/facts
// The facts are taken over (names, types, defaults, ranges, update modes, synonyms); no sentence is.
import java.io.PrintWriter;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.*;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigException;

public class ExportConfigs {
    static Object field(Object owner, String name) throws Exception {
        Class<?> type = owner instanceof Class ? (Class<?>) owner : owner.getClass();
        Field field = type.getDeclaredField(name);
        field.setAccessible(true);
        return field.get(owner instanceof Class ? null : owner);
    }

    static Object constant(String type, String name) throws Exception {
        return field(Class.forName(type), name);
    }

    static String validator(ConfigDef.Validator validator) throws Exception {
        if (validator == null) return "any";
        switch (validator.getClass().getSimpleName()) {
            case "Range": {
                Object min = field(validator, "min"), max = field(validator, "max");
                return "range " + (min == null ? "" : min) + ".." + (max == null ? "" : max);
            }
            case "ValidString":
                return "one-of " + String.join(",", (List<String>) field(validator, "validStrings"));
            case "CaseInsensitiveValidString":
                return "one-of-any-case " + validator.toString().replaceAll(".*\\[|\\]| ", "");
            case "ValidList": {
                List<String> values = (List<String>) field(field(validator, "validString"), "validStrings");
                return "list " + (((Boolean) field(validator, "isEmptyAllowed")) ? "empty" : "filled") + " "
                    + String.join(",", values);
            }
            case "NonEmptyString": return "non-empty";
            case "NonNullValidator": return "non-null";
            case "LambdaValidator": return "gzip-level";
            case "ThrottledReplicaListValidator": return "throttled-replicas";
            case "ControllerQuorumBootstrapServersValidator": return "bootstrap-servers";
            case "ControllerQuorumVotersValidator": return "quorum-voters";
            case "Validator": return "offset-reset";
            default: throw new IllegalStateException(validator.getClass().getName());
        }
    }

    static String defaultOf(ConfigDef.ConfigKey key) {
        if (!key.hasDefault()) return "required";
        String text = ConfigDef.convertToString(key.defaultValue, key.type);
        return text == null ? "null" : "=" + text;
    }

    static void define(PrintWriter out, String scope, ConfigDef def, Map<String, String> updates,
                       Map<String, String> synonyms) throws Exception {
        for (ConfigDef.ConfigKey key : new TreeMap<>(def.configKeys()).values()) {
            out.println(String.join("|", scope, key.name, key.type.toString().toLowerCase(), defaultOf(key),
                key.importance.toString().toLowerCase(), updates.getOrDefault(key.name, "read-only"),
                key.internalConfig ? "internal" : "public", validator(key.validator),
                synonyms.getOrDefault(key.name, "")));
        }
    }

    static Map<String, String> topicSynonyms() throws Exception {
        Map<String, List<?>> all = (Map<String, List<?>>) constant(
            "org.apache.kafka.server.config.ServerTopicConfigSynonyms", "ALL_TOPIC_CONFIG_SYNONYMS");
        Map<String, String> result = new TreeMap<>();
        for (Map.Entry<String, List<?>> entry : all.entrySet()) {
            List<String> names = new ArrayList<>();
            for (Object synonym : entry.getValue()) {
                String unit = ((java.util.function.Function<String, String>) field(synonym, "converter")).apply("1");
                names.add(field(synonym, "name") + (unit.equals("1") ? "" : "*" + unit));
            }
            result.put(entry.getKey(), String.join(",", names));
        }
        return result;
    }

    static final String[] NUMBERS = {"", " 7 ", "abc", "-3", "-2", "-1", "0", "1", "3", "10", "12", "18", "23", "100",
        "5.5", "1e3", "+4", "0x10", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "NaN"};
    static final String[] FEW_NUMBERS = {"-3", "0", "1", "23", "2147483647"};
    static final String[] WORDS = {"", "  ", "true", "FALSE", "yes", "gzip", "GZIP", " zstd ", "CreateTime", "none", "upgrade", "es256",
        "delete", "delete,compact", "delete, compact", "compact,compact", "delete,", ",", "purge", "PLAINTEXT", "broker",
        "*", "none", "1:2", "1:2,3:4", "1:a", "1@localhost:9093", "1@localhost", "localhost:9092", "localhost",
        "latest", "earliest", "by_duration:PT1H", "by_duration:x", "by_duration:",
        "by_duration:P1DT2H3M4.5S", "by_duration:-PT1H", "by_duration:PT-1H", "BY_DURATION:PT1H", "by_duration:pt1h",
        "by_duration:P", "by_duration:PT", "by_duration:P1D", "1:2,1:2", "*,1:2"};

    static String[] words(ConfigDef.ConfigKey key) throws Exception {
        boolean simple = key.type == ConfigDef.Type.BOOLEAN || validator(key.validator).matches("any|non-.*|one-of.*");
        return simple ? Arrays.copyOf(WORDS, 12) : WORDS;
    }

    static void examples(PrintWriter out, String scope, ConfigDef def) throws Exception {
        Set<String> seen = new HashSet<>();
        for (ConfigDef.ConfigKey key : new TreeMap<>(def.configKeys()).values()) {
            if (!seen.add(key.type + validator(key.validator)) || key.type == ConfigDef.Type.CLASS) continue;
            boolean number = Set.of("INT", "LONG", "SHORT", "DOUBLE").contains(key.type.toString());
            boolean first = seen.add(key.type.toString());
            for (String value : number ? (first ? NUMBERS : FEW_NUMBERS) : words(key)) {
                String outcome;
                try {
                    ConfigDef single = new ConfigDef();
                    single.define(key);
                    Object parsed = single.parse(Map.of(key.name, value)).get(key.name);
                    outcome = "ok " + (key.type == ConfigDef.Type.PASSWORD ? value : ConfigDef.convertToString(parsed, key.type));
                } catch (ConfigException e) {
                    outcome = "error " + e.getMessage();
                }
                out.println(String.join("|", scope, key.name, value, outcome));
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        ConfigDef broker = (ConfigDef) constant("org.apache.kafka.server.config.AbstractKafkaConfig", "CONFIG_DEF");
        ConfigDef dynamic = (ConfigDef) constant("org.apache.kafka.server.config.DynamicConfig$Broker", "BROKER_CONFIGS");
        ConfigDef topic = (ConfigDef) constant("org.apache.kafka.storage.internals.log.LogConfig", "CONFIG");
        ConfigDef group = (ConfigDef) constant("org.apache.kafka.coordinator.group.GroupConfig", "CONFIG_DEF");
        Map<String, String> updates = (Map<String, String>) Class.forName("org.apache.kafka.server.config.DynamicBrokerConfig")
            .getMethod("dynamicConfigUpdateModes").invoke(null);
        ConfigDef clientMetrics = (ConfigDef) constant("org.apache.kafka.server.metrics.ClientMetricsConfigs", "CONFIG");
        ConfigDef dynamicOnly = new ConfigDef();
        Map<String, String> dynamicModes = new TreeMap<>();
        Map<String, String> entity = new TreeMap<>();
        for (ConfigDef.ConfigKey key : dynamic.configKeys().values()) {
            if (broker.configKeys().containsKey(key.name)) continue;
            dynamicOnly.define(key);
            dynamicModes.put(key.name, "cluster-wide");
        }
        for (ConfigDef def : List.of(topic, group, clientMetrics)) for (String name : def.names()) entity.put(name, "per-entity");
        Map<String, String> groupSynonyms = new TreeMap<>();
        for (String name : group.names()) {
            if (broker.configKeys().containsKey("group." + name)) groupSynonyms.put(name, "group." + name);
        }
        try (PrintWriter out = new PrintWriter(Files.newBufferedWriter(folder.resolve("definitions.txt")))) {
            out.println("# scope|name|type|default|importance|update|visibility|valid values|broker synonyms (*N: times N)");
            out.println("# Written by ExportConfigs.java from Apache Kafka 4.3.1.");
            define(out, "broker", broker, updates, Map.of());
            define(out, "broker", dynamicOnly, dynamicModes, Map.of());
            define(out, "topic", topic, entity, topicSynonyms());
            define(out, "group", group, entity, groupSynonyms);
            define(out, "client-metrics", clientMetrics, entity, Map.of());
        }
        try (PrintWriter out = new PrintWriter(Files.newBufferedWriter(folder.resolve("../testdata/validation.txt")))) {
            out.println("# scope|name|value|outcome, as Apache Kafka 4.3.1 answers. Written by ExportConfigs.java.");
            examples(out, "broker", broker);
            examples(out, "topic", topic);
            examples(out, "group", group);
        }
    }
}
