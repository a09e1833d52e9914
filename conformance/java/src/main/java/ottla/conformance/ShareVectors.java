package ottla.conformance;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.GroupAssignment;
import org.apache.kafka.coordinator.group.api.assignor.SubscribedTopicDescriber;
import org.apache.kafka.coordinator.group.api.assignor.SubscriptionType;
import org.apache.kafka.coordinator.group.assignor.SimpleAssignor;
import org.apache.kafka.coordinator.group.generated.ShareGroupTargetAssignmentMemberValue;
import org.apache.kafka.coordinator.group.modern.Assignment;
import org.apache.kafka.coordinator.group.modern.GroupSpecImpl;
import org.apache.kafka.coordinator.group.modern.MemberSubscriptionAndAssignmentImpl;
import org.apache.kafka.coordinator.share.PersisterStateBatchCombiner;
import org.apache.kafka.server.share.persister.PersisterStateBatch;

/**
 * Asks Apache Kafka what its assignor for share groups makes of random groups ({@code assignments N}),
 * and what becomes of random batches of share partitions' state ({@code batches N}).
 */
public final class ShareVectors {
    private final Random random;
    private final Map<Uuid, Integer> topics = new LinkedHashMap<>();
    private final Map<Uuid, Set<Integer>> assignable = new LinkedHashMap<>();
    private final List<Member> members = new ArrayList<>();

    private static final class Member {
        String id;
        List<Uuid> subscribed = List.of();
        Map<Uuid, List<Integer>> target = new LinkedHashMap<>();
    }

    private ShareVectors(long seed) {
        random = new Random(seed);
    }

    public static void main(String[] args) {
        int count = Integer.parseInt(args[1]);
        for (int seed = 0; seed < count; seed++) {
            if (args[0].equals("batches")) {
                new ShareVectors(seed).batches();
            } else {
                new ShareVectors(seed).groups();
            }
        }
    }

    private void batches() {
        List<PersisterStateBatch> earlier = new ArrayList<>();
        for (int round = 0; round < 8; round++) {
            List<PersisterStateBatch> later = new ArrayList<>();
            for (int i = random.nextInt(5); i > 0; i--) {
                long first = random.nextInt(40);
                byte[] states = {0, 2, 4};
                later.add(new PersisterStateBatch(
                    first, first + random.nextInt(12), states[random.nextInt(3)], (short) random.nextInt(4)));
            }
            long start = random.nextInt(3) == 0 ? -1 : random.nextInt(5 * round + 1);
            System.out.println("start " + start);
            print("earlier", earlier);
            print("later", later);
            earlier = new PersisterStateBatchCombiner(earlier, later, start).combineStateBatches();
            print("combined", earlier);
            System.out.println();
        }
    }

    private static void print(String word, List<PersisterStateBatch> batches) {
        for (PersisterStateBatch batch : batches) {
            System.out.println(word + " " + batch.firstOffset() + " " + batch.lastOffset() + " "
                + batch.deliveryState() + " " + batch.deliveryCount());
        }
    }

    private void groups() {
        boolean homogeneous = random.nextBoolean();
        for (int i = 1 + random.nextInt(random.nextInt(4) == 0 ? 20 : 4); i > 0; i--) {
            topics.put(new Uuid(random.nextLong(), random.nextLong()), 1 + random.nextInt(30));
        }
        for (int round = 0; round < 6; round++) {
            change();
            subscribe(homogeneous);
            ask(homogeneous);
        }
    }

    private void change() {
        for (int i = random.nextInt(1 + members.size()); i > 0 && random.nextBoolean(); i--) {
            members.remove(random.nextInt(members.size()));
        }
        for (int i = 1 + random.nextInt(random.nextInt(5) == 0 ? 40 : 5); i > 0; i--) {
            Member member = new Member();
            member.id = new Uuid(random.nextLong(), random.nextLong()).toString();
            members.add(member);
        }
        topics.forEach((id, count) -> {
            Set<Integer> some = assignable.computeIfAbsent(id, __ -> new TreeSet<>());
            for (int partition = 0; partition < count; partition++) {
                if (random.nextInt(3) > 0) {
                    some.add(partition);
                } else if (random.nextInt(10) == 0) {
                    some.remove(partition);
                }
            }
        });
    }

    private void subscribe(boolean homogeneous) {
        List<Uuid> all = some();
        for (Member member : members) {
            if (homogeneous) {
                member.subscribed = all;
            } else if (member.subscribed.isEmpty() || random.nextInt(4) == 0) {
                member.subscribed = some();
            }
        }
    }

    private List<Uuid> some() {
        List<Uuid> ids = new ArrayList<>(topics.keySet());
        Collections.shuffle(ids, random);
        return ids.subList(0, random.nextInt(5) == 0 ? random.nextInt(ids.size() + 1) : ids.size());
    }

    private void ask(boolean homogeneous) {
        PrintStream standard = System.out;
        ByteArrayOutputStream question = new ByteArrayOutputStream();
        System.setOut(new PrintStream(question));
        try {
            answer(homogeneous);
            standard.print(question);
        } catch (NoSuchElementException e) {
            // Apache Kafka's assignor fails where all members are full and a partition still lacks some.
        } finally {
            System.setOut(standard);
        }
    }

    private void answer(boolean homogeneous) {
        System.out.println("group simple " + (homogeneous ? "same" : "different"));
        topics.forEach((id, count) -> System.out.println("topic " + id + " " + count));
        assignable.forEach((id, partitions) -> print("assignable", Map.of(id, new ArrayList<>(partitions))));
        Map<String, MemberSubscriptionAndAssignmentImpl> specs = new HashMap<>();
        for (Member member : members) {
            System.out.println("member " + member.id);
            member.subscribed.forEach(id -> System.out.println("subscribed " + id));
            print("has", member.target);
            specs.put(member.id, new MemberSubscriptionAndAssignmentImpl(
                Optional.empty(), Optional.empty(), new LinkedHashSet<>(member.subscribed), fromRecord(member)));
        }
        GroupAssignment answer = new SimpleAssignor().assign(
            new GroupSpecImpl(
                Collections.unmodifiableMap(specs),
                homogeneous ? SubscriptionType.HOMOGENEOUS : SubscriptionType.HETEROGENEOUS,
                Map.of(),
                Optional.of(assignable)),
            describer());
        for (Member member : members) {
            member.target = new LinkedHashMap<>();
            if (answer.members().containsKey(member.id)) {
                answer.members().get(member.id).partitions().forEach((id, partitions) ->
                    member.target.put(id, new ArrayList<>(partitions)));
            }
            System.out.println("answer " + member.id);
            print("gets", member.target);
        }
        System.out.println();
    }

    private static void print(String word, Map<Uuid, List<Integer>> target) {
        target.forEach((id, partitions) -> {
            StringBuilder line = new StringBuilder(word + " " + id);
            partitions.forEach(partition -> line.append(' ').append(partition));
            System.out.println(line);
        });
    }

    private static Assignment fromRecord(Member member) {
        List<ShareGroupTargetAssignmentMemberValue.TopicPartition> list = new ArrayList<>();
        member.target.forEach((id, partitions) -> list.add(
            new ShareGroupTargetAssignmentMemberValue.TopicPartition().setTopicId(id).setPartitions(partitions)));
        return Assignment.fromRecord(new ShareGroupTargetAssignmentMemberValue().setTopicPartitions(list));
    }

    private SubscribedTopicDescriber describer() {
        return new SubscribedTopicDescriber() {
            @Override
            public int numPartitions(Uuid id) {
                return topics.getOrDefault(id, -1);
            }

            @Override
            public Set<String> racksForPartition(Uuid id, int partition) {
                return Set.of();
            }
        };
    }
}
