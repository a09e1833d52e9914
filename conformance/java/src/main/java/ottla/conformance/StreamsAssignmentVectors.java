package ottla.conformance;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.streams.assignor.AssignmentMemberSpec;
import org.apache.kafka.coordinator.group.streams.assignor.GroupAssignment;
import org.apache.kafka.coordinator.group.streams.assignor.GroupSpecImpl;
import org.apache.kafka.coordinator.group.streams.assignor.MemberAssignment;
import org.apache.kafka.coordinator.group.streams.assignor.StickyTaskAssignor;
import org.apache.kafka.coordinator.group.streams.assignor.TopologyDescriber;

/**
 * Asks Apache Kafka's task assignor what it makes of random streams groups, and prints question and
 * answer: processes with several members come and go, subtopologies grow, the number of standbys changes.
 */
public final class StreamsAssignmentVectors {
    private final Random random;
    private final Map<String, Subtopology> subtopologies = new TreeMap<>();
    private final List<Member> members = new ArrayList<>();
    private int standbys;

    private static final class Subtopology {
        int tasks;
        boolean stateful;
    }

    private static final class Member {
        String id;
        String process;
        Map<String, Set<Integer>> active = new TreeMap<>();
        Map<String, Set<Integer>> standby = new TreeMap<>();
    }

    private StreamsAssignmentVectors(long seed) {
        random = new Random(seed);
    }

    public static void main(String[] args) {
        for (int seed = 0; seed < Integer.parseInt(args[0]); seed++) {
            new StreamsAssignmentVectors(seed).run();
        }
    }

    private void run() {
        for (int i = random.nextInt(random.nextInt(4) == 0 ? 12 : 3); i >= 0; i--) {
            Subtopology subtopology = new Subtopology();
            subtopology.tasks = 1 + random.nextInt(random.nextInt(4) == 0 ? 40 : 8);
            subtopology.stateful = random.nextBoolean();
            subtopologies.put(String.valueOf(i), subtopology);
        }
        standbys = random.nextInt(3);
        for (int round = 0; round < 8; round++) {
            change();
            ask();
        }
    }

    private void change() {
        for (int i = random.nextInt(1 + members.size()); i > 0 && random.nextBoolean(); i--) {
            members.remove(random.nextInt(members.size()));
        }
        for (int i = random.nextInt(4); i > 0 || members.isEmpty(); i--) {
            String process = new Uuid(random.nextLong(), random.nextLong()).toString();
            if (!members.isEmpty() && random.nextInt(3) == 0) {
                process = members.get(random.nextInt(members.size())).process;
            }
            for (int threads = 1 + random.nextInt(4); threads > 0; threads--) {
                Member member = new Member();
                member.id = new Uuid(random.nextLong(), random.nextLong()).toString();
                member.process = process;
                members.add(member);
            }
        }
        if (random.nextInt(4) == 0) {
            standbys = random.nextInt(3);
        }
        for (Subtopology subtopology : subtopologies.values()) {
            if (random.nextInt(10) == 0) {
                subtopology.tasks += random.nextInt(5);
            }
        }
    }

    private void ask() {
        System.out.println("standbys " + standbys);
        subtopologies.forEach((id, subtopology) -> System.out.println(
            "subtopology " + id + " " + subtopology.tasks + " " + (subtopology.stateful ? "stateful" : "stateless")));
        Map<String, AssignmentMemberSpec> specs = new HashMap<>();
        for (Member member : members) {
            System.out.println("member " + member.id + " " + member.process);
            print("active", member.active);
            print("standby", member.standby);
            specs.put(member.id, new AssignmentMemberSpec(
                Optional.empty(), Optional.empty(), member.active, member.standby, Map.of(), member.process,
                Map.of(), Map.of(), Map.of()));
        }
        GroupAssignment answer = new StickyTaskAssignor().assign(
            new GroupSpecImpl(
                Collections.unmodifiableMap(specs), Map.of("num.standby.replicas", String.valueOf(standbys))),
            describer());
        for (Member member : members) {
            MemberAssignment assignment = answer.members().get(member.id);
            member.active = sorted(assignment.activeTasks());
            member.standby = sorted(assignment.standbyTasks());
            System.out.println("answer " + member.id);
            print("gets-active", member.active);
            print("gets-standby", member.standby);
        }
        System.out.println();
    }

    private static Map<String, Set<Integer>> sorted(Map<String, Set<Integer>> tasks) {
        Map<String, Set<Integer>> sorted = new TreeMap<>();
        tasks.forEach((id, partitions) -> sorted.put(id, new HashSet<>(partitions)));
        return sorted;
    }

    private static void print(String word, Map<String, Set<Integer>> tasks) {
        tasks.forEach((id, partitions) -> {
            StringBuilder line = new StringBuilder(word + " " + id);
            new TreeSet<>(partitions).forEach(partition -> line.append(' ').append(partition));
            System.out.println(line);
        });
    }

    private TopologyDescriber describer() {
        return new TopologyDescriber() {
            @Override
            public List<String> subtopologies() {
                return List.copyOf(subtopologies.keySet());
            }

            @Override
            public int maxNumInputPartitions(String id) throws NoSuchElementException {
                return subtopologies.get(id).tasks;
            }

            @Override
            public boolean isStateful(String id) {
                return subtopologies.get(id).stateful;
            }
        };
    }
}
