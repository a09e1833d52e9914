package ottla.conformance;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListStreamsGroupOffsetsSpec;
import org.apache.kafka.clients.admin.StreamsGroupDescription;
import org.apache.kafka.clients.admin.StreamsGroupSubtopologyDescription;
import org.apache.kafka.common.GroupType;

/**
 * What only Java has of the things that are under way while one program takes over another's directories:
 * share groups in the middle of their deliveries, streams groups, and transactions of today's protocol. A group of
 * each kind keeps its member through it all, and another is left by its members.
 *
 * <p>{@code Unfinished BOOTSTRAP}; each line of standard input is a command, and is answered by a line that
 * begins with {@code ok} or {@code failed}: {@code begin} before one program ends, {@code groups} for all that
 * is known of groups, {@code go on} when the other has taken over, {@code close} in the end.
 */
public final class Unfinished {
    private static final long PATIENCE_NS = 60_000_000_000L;

    private final String bootstrap;
    private final Path folder = Files.createTempDirectory("unfinished-");
    private final List<Participant> participants;

    /** Somebody who is in the middle of something. */
    interface Participant {
        void begin() throws Exception;

        void goOn() throws Exception;

        void close() throws Exception;
    }

    private Unfinished(String bootstrap) throws Exception {
        this.bootstrap = bootstrap;
        participants = List.of(
            new UnfinishedShare(bootstrap, "unfinished-share", true),
            new UnfinishedShare(bootstrap, "left-share", false),
            new UnfinishedStreams(bootstrap, "unfinished-streams", true, folder),
            new UnfinishedStreams(bootstrap, "left-streams", false, folder),
            // Last: what it writes last is taken from the disk.
            new UnfinishedTransaction(bootstrap));
    }

    public static void main(String[] args) throws Exception {
        Unfinished unfinished = new Unfinished(args[0]);
        BufferedReader commands =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String answer;
            try {
                answer = "ok " + unfinished.run(line);
            } catch (Exception | AssertionError failure) {
                StackTraceElement at = Stream.of(failure.getStackTrace())
                    .filter(element -> element.getClassName().startsWith("ottla"))
                    .findFirst()
                    .orElse(failure.getStackTrace()[0]);
                answer = "failed " + (failure + " at " + at).replaceAll("\\s+", " ");
            }
            System.out.println(answer);
        }
        try (Stream<Path> files = Files.walk(unfinished.folder)) {
            files.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        }
        System.exit(0);
    }

    private String run(String command) throws Exception {
        switch (command) {
            case "begin" -> {
                for (Participant participant : participants) {
                    participant.begin();
                }
            }
            case "go on" -> {
                for (Participant participant : participants) {
                    participant.goOn();
                }
            }
            case "close" -> {
                for (Participant participant : participants) {
                    participant.close();
                }
            }
            case "groups" -> {
                return until("groups are described", this::groups);
            }
            default -> throw new IllegalArgumentException(command);
        }
        return "";
    }

    /** Asks until there is an answer, or time is over: coordinators are loaded after a start. */
    static <T> T until(String what, Callable<T> ask) throws Exception {
        long end = System.nanoTime() + PATIENCE_NS;
        Exception last = null;
        while (System.nanoTime() < end) {
            try {
                T found = ask.call();
                if (found != null) {
                    return found;
                }
            } catch (java.util.concurrent.ExecutionException failure) {
                last = failure;
            }
            Thread.sleep(50);
        }
        throw new AssertionError("not seen within " + PATIENCE_NS / 1_000_000_000L + " s: " + what + "; " + last);
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    /** All that is known of each group that is there, and does not depend on the moment; " | " is between two. */
    private String groups() throws Exception {
        Map<String, String> found = new TreeMap<>();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            for (GroupListing group : admin.listGroups().all().get()) {
                String id = group.groupId();
                List<Object> facts = new ArrayList<>();
                facts.add(group.type().orElseThrow());
                facts.add(group.protocol());
                if (id.startsWith("left-")) {
                    facts.add(group.groupState().orElseThrow());
                }
                if (group.type().get() == GroupType.SHARE) {
                    var asked = Map.of(id, new ListShareGroupOffsetsSpec());
                    facts.add(byName(admin.listShareGroupOffsets(asked).partitionsToOffsetInfo(id).get()));
                } else if (group.type().get() == GroupType.STREAMS) {
                    var asked = Map.of(id, new ListStreamsGroupOffsetsSpec());
                    facts.add(byName(
                        admin.listStreamsGroupOffsets(asked).partitionsToOffsetAndMetadata(id).get()));
                    facts.add(topology(admin.describeStreamsGroups(List.of(id)).all().get().get(id)));
                }
                found.put(id, facts.toString());
            }
        }
        List<String> lines = new ArrayList<>();
        found.forEach((id, facts) -> lines.add(id + ": " + facts));
        return String.join(" | ", lines);
    }

    private static Map<String, String> byName(Map<?, ?> facts) {
        Map<String, String> named = new TreeMap<>();
        facts.forEach((key, value) -> named.put(key.toString(), String.valueOf(value)));
        return named;
    }

    private static String topology(StreamsGroupDescription group) {
        List<String> parts = group.subtopologies().stream()
            .sorted(Comparator.comparing(StreamsGroupSubtopologyDescription::subtopologyId))
            .map(part -> part.subtopologyId() + part.sourceTopics() + part.repartitionSinkTopics()
                + settings(part.stateChangelogTopics()) + settings(part.repartitionSourceTopics()))
            .toList();
        return group.topologyEpoch() + parts.toString();
    }

    /** Internal topics; how many partitions they are to have is known once a member has spoken. */
    private static Map<String, String> settings(Map<String, StreamsGroupSubtopologyDescription.TopicInfo> topics) {
        Map<String, String> found = new TreeMap<>();
        topics.forEach((topic, info) -> found.put(topic, info.replicationFactor() + " " + info.topicConfigs()));
        return found;
    }
}
