package ottla.conformance;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.ConsumerGroupPartitionAssignor;
import org.apache.kafka.coordinator.group.api.assignor.GroupAssignment;
import org.apache.kafka.coordinator.group.api.assignor.SubscribedTopicDescriber;
import org.apache.kafka.coordinator.group.api.assignor.SubscriptionType;
import org.apache.kafka.coordinator.group.assignor.RangeAssignor;
import org.apache.kafka.coordinator.group.assignor.UniformAssignor;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupTargetAssignmentMemberValue;
import org.apache.kafka.coordinator.group.modern.Assignment;
import org.apache.kafka.coordinator.group.modern.GroupSpecImpl;
import org.apache.kafka.coordinator.group.modern.MemberSubscriptionAndAssignmentImpl;

/**
 * Asks Apache Kafka's server-side assignors what they make of random groups, and prints question
 * and answer: members come and go and change their subscriptions, topics grow.
 */
public final class AssignmentVectors {
    private final Random random;
    private final Map<Uuid, Integer> topics = new LinkedHashMap<>();
    private final List<Member> members = new ArrayList<>();

    private static final class Member {
        String id;
        Optional<String> instanceId = Optional.empty();
        List<Uuid> subscribed = List.of();
        Map<Uuid, List<Integer>> target = new LinkedHashMap<>();
    }

    private AssignmentVectors(long seed) {
        random = new Random(seed);
    }

    public static void main(String[] args) {
        for (int seed = 0; seed < Integer.parseInt(args[0]); seed++) {
            new AssignmentVectors(seed).run();
        }
    }

    private void run() {
        ConsumerGroupPartitionAssignor assignor =
            random.nextInt(3) == 0 ? new RangeAssignor() : new UniformAssignor();
        boolean homogeneous = random.nextBoolean();
        for (int i = 1 + random.nextInt(random.nextInt(4) == 0 ? 30 : 6); i > 0; i--) {
            topics.put(new Uuid(random.nextLong(), random.nextLong()), 1 + random.nextInt(30));
        }
        for (int round = 0; round < 6; round++) {
            change();
            subscribe(homogeneous);
            ask(assignor, homogeneous);
        }
    }

    private void change() {
        for (int i = random.nextInt(1 + members.size()); i > 0 && random.nextBoolean(); i--) {
            members.remove(random.nextInt(members.size()));
        }
        for (int i = 1 + random.nextInt(random.nextInt(5) == 0 ? 40 : 5); i > 0; i--) {
            Member member = new Member();
            member.id = new Uuid(random.nextLong(), random.nextLong()).toString();
            if (random.nextInt(4) == 0) {
                member.instanceId = Optional.of("instance-" + random.nextInt(1000000));
            }
            members.add(member);
        }
        for (Map.Entry<Uuid, Integer> topic : topics.entrySet()) {
            if (random.nextInt(8) == 0) {
                topic.setValue(topic.getValue() + random.nextInt(10));
            }
        }
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

    private void ask(ConsumerGroupPartitionAssignor assignor, boolean homogeneous) {
        System.out.println("group " + assignor.name() + " " + (homogeneous ? "same" : "different"));
        topics.forEach((id, count) -> System.out.println("topic " + id + " " + count));
        Map<String, MemberSubscriptionAndAssignmentImpl> specs = new HashMap<>();
        Map<Uuid, Map<Integer, String>> owners = new HashMap<>();
        for (Member member : members) {
            System.out.println("member " + member.id + " " + member.instanceId.orElse("-"));
            member.subscribed.forEach(id -> System.out.println("subscribed " + id));
            print("has", member.target);
            member.target.forEach((id, partitions) -> partitions.forEach(partition ->
                owners.computeIfAbsent(id, __ -> new HashMap<>()).put(partition, member.id)));
            specs.put(member.id, new MemberSubscriptionAndAssignmentImpl(
                Optional.empty(), member.instanceId, new LinkedHashSet<>(member.subscribed), fromRecord(member)));
        }
        GroupAssignment answer = assignor.assign(
            new GroupSpecImpl(
                Collections.unmodifiableMap(specs),
                homogeneous ? SubscriptionType.HOMOGENEOUS : SubscriptionType.HETEROGENEOUS,
                owners),
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
        List<ConsumerGroupTargetAssignmentMemberValue.TopicPartition> list = new ArrayList<>();
        member.target.forEach((id, partitions) -> list.add(
            new ConsumerGroupTargetAssignmentMemberValue.TopicPartition().setTopicId(id).setPartitions(partitions)));
        return Assignment.fromRecord(new ConsumerGroupTargetAssignmentMemberValue().setTopicPartitions(list));
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
