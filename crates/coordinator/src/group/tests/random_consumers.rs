//! Consumers that come, go, fall silent and answer late, while the coordinator fails over.

use proptest::prelude::*;

use super::consumer_world::{Consumer, TOPIC_ID, world_with_topic};
use super::*;

const PARTITIONS: i32 = 7;
const CONSUMERS: usize = 5;

#[derive(Clone, Debug)]
enum Act {
    Join(usize),
    Beat(usize),
    Leave(usize),
    /// The process dies: it neither works on partitions nor says so.
    Die(usize),
    Wait(i64),
    FailOver,
}

fn act() -> impl Strategy<Value = Act> {
    let consumer = 0..CONSUMERS;
    prop_oneof![
        2 => consumer.clone().prop_map(Act::Join),
        8 => consumer.clone().prop_map(Act::Beat),
        1 => consumer.clone().prop_map(Act::Leave),
        1 => consumer.prop_map(Act::Die),
        2 => (0..20_000_i64).prop_map(Act::Wait),
        1 => Just(Act::FailOver),
    ]
}

struct Play {
    world: World,
    consumers: Vec<Option<Consumer>>,
    last_id: usize,
}

impl Play {
    fn perform(&mut self, act: &Act) {
        match act {
            Act::Join(place) if self.consumers[*place].is_none() => {
                self.last_id += 1;
                let mut consumer = Consumer::new(&format!("member-{}", self.last_id));
                consumer.join(&mut self.world);
                self.consumers[*place] = Some(consumer);
            }
            Act::Beat(place) => self.beat(*place),
            Act::Leave(place) => {
                if let Some(consumer) = self.consumers[*place].take() {
                    self.world.consumer_heartbeat(&consumer.beating(-1));
                }
            }
            Act::Die(place) => self.consumers[*place] = None,
            Act::Wait(ms) => self.world.advance(*ms),
            Act::FailOver => {
                self.world.fail_over();
                self.world.topics(&[(TOPIC, TOPIC_ID, PARTITIONS)], 2);
            }
            Act::Join(_) => {}
        }
    }

    fn beat(&mut self, place: usize) {
        if let Some(consumer) = &mut self.consumers[place]
            && consumer.beat(&mut self.world) != ErrorCode::NONE
        {
            // It has dropped all its partitions, and joins again.
            consumer.join(&mut self.world);
        }
    }

    /// A consumer that has been out for so long that its session is over drops what it has, as
    /// clients do when they get no answer.
    fn owned(&self) -> Vec<i32> {
        let described = self
            .world
            .coordinator
            .describe_consumer_groups(&[GROUP.into()]);
        let is_member = |consumer: &&Consumer| {
            let mut members = described[0].members.iter();
            members.any(|member| member.member_id == consumer.member_id)
        };
        let consumers = self.consumers.iter().flatten().filter(is_member);
        consumers
            .flat_map(|consumer| consumer.owned.clone())
            .collect()
    }

    /// No partition is worked on by two members.
    fn check(&self) {
        let mut owned = self.owned();
        let count = owned.len();
        owned.sort_unstable();
        owned.dedup();
        assert_eq!(owned.len(), count, "a partition is with two members");
        let mut replayed = self.world.replayed();
        let described = |coordinator: &GroupCoordinator| {
            let mut groups = coordinator.describe_consumer_groups(&[GROUP.into()]);
            for group in &mut groups {
                group.members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
                for member in &mut group.members {
                    // Names of topics come from metadata, which is not in the log.
                    member.assignment = Default::default();
                    member.target_assignment = Default::default();
                }
            }
            groups
        };
        assert_eq!(described(&replayed), described(&self.world.coordinator));
        replayed.loaded(self.world.now);
    }
}

proptest! {
    #[test]
    fn no_partition_has_two_members_and_all_have_one_in_the_end(
        acts in prop::collection::vec(act(), 1..150),
    ) {
        let mut play = Play {
            world: world_with_topic(PARTITIONS),
            consumers: vec![None; CONSUMERS],
            last_id: 0,
        };
        for act in &acts {
            play.perform(act);
            play.check();
        }
        // When membership stops changing, heartbeats bring the group to rest.
        play.perform(&Act::Join(0));
        for _ in 0..20 {
            play.world.advance(5_000);
            for place in 0..CONSUMERS {
                play.beat(place);
            }
        }
        let mut owned = play.owned();
        owned.sort_unstable();
        prop_assert_eq!(owned, (0..PARTITIONS).collect::<Vec<_>>());
        prop_assert_eq!(play.world.consumer_state(), "Stable");
    }
}
