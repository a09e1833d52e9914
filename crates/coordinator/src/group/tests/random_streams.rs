//! Threads that come, go, fall silent and answer late, while the coordinator fails over.

use proptest::prelude::*;

use super::streams_world::{INITIAL_DELAY_MS, Task, Thread, word_count};
use super::*;

const TOPICS: [(&str, i32); 3] = [("lines", 3), ("words", 3), ("counts", 3)];
const THREADS: usize = 5;
const PROCESSES: [&str; 3] = ["p", "q", "r"];

#[derive(Clone, Debug)]
enum Act {
    Join(usize),
    Beat(usize),
    Leave(usize),
    /// The thread dies: it neither works on tasks nor says so.
    Die(usize),
    Wait(i64),
    FailOver,
}

fn act() -> impl Strategy<Value = Act> {
    let thread = 0..THREADS;
    prop_oneof![
        2 => thread.clone().prop_map(Act::Join),
        8 => thread.clone().prop_map(Act::Beat),
        1 => thread.clone().prop_map(Act::Leave),
        1 => thread.prop_map(Act::Die),
        2 => (0..20_000_i64).prop_map(Act::Wait),
        1 => Just(Act::FailOver),
    ]
}

struct Play {
    world: World,
    threads: Vec<Option<Thread>>,
    last_id: usize,
}

impl Play {
    fn new(standby_replicas: i32) -> Self {
        let mut config = GroupCoordinatorConfig::default();
        config.streams.assignment_interval_ms.default = 0;
        config.streams.standby_replicas.default = standby_replicas;
        let mut world = World::with(config);
        world.have_topics(&TOPICS);
        Self {
            world,
            threads: vec![None; THREADS],
            last_id: 0,
        }
    }

    fn perform(&mut self, act: &Act) {
        match act {
            Act::Join(place) if self.threads[*place].is_none() => {
                self.last_id += 1;
                let process_id = PROCESSES[*place % PROCESSES.len()];
                let mut thread = Thread::new(&format!("member-{}", self.last_id), process_id);
                thread.join(&mut self.world);
                self.threads[*place] = Some(thread);
            }
            Act::Beat(place) => self.beat(*place),
            Act::Leave(place) => {
                if let Some(thread) = self.threads[*place].take() {
                    self.world.streams_heartbeat(&thread.beating(-1));
                }
            }
            Act::Die(place) => self.threads[*place] = None,
            Act::Wait(ms) => self.world.advance(*ms),
            Act::FailOver => {
                self.world.fail_over();
                self.world.have_topics(&TOPICS);
            }
            Act::Join(_) => {}
        }
    }

    fn beat(&mut self, place: usize) {
        if let Some(thread) = &mut self.threads[place]
            && thread.beat(&mut self.world) != ErrorCode::NONE
        {
            // It has dropped all its tasks, and joins again.
            thread.join(&mut self.world);
        }
    }

    /// The threads that are in the group: one that has been out for so long that its session is over
    /// drops what it has, as clients do when they get no answer.
    fn members(&self) -> impl Iterator<Item = &Thread> {
        let coordinator = &self.world.coordinator;
        let described = coordinator.describe_streams_groups(&[GROUP.into()]);
        let is_member = move |thread: &&Thread| {
            let mut members = described[0].members.iter();
            members.any(|member| member.member_id == thread.member_id)
        };
        self.threads.iter().flatten().filter(is_member)
    }

    fn active(&self) -> Vec<Task> {
        let mut active: Vec<Task> = self
            .members()
            .flat_map(|thread| thread.active.clone())
            .collect();
        active.sort();
        active
    }

    /// No task is processed twice, and no process has two copies of a task's state.
    fn check_tasks(&self) {
        let mut active = self.active();
        let count = active.len();
        active.dedup();
        assert_eq!(active.len(), count, "a task is with two members");
        for process_id in PROCESSES {
            let of_process = self
                .members()
                .filter(|thread| thread.process_id == process_id);
            let mut copies: Vec<Task> = of_process
                .flat_map(|thread| thread.active.iter().chain(&thread.standby).cloned())
                .collect();
            let count = copies.len();
            copies.sort();
            copies.dedup();
            assert_eq!(copies.len(), count, "{process_id} has a task's state twice");
        }
    }

    /// Another coordinator that reads the log would know the same.
    fn check_log(&self) {
        let described = |coordinator: &GroupCoordinator| {
            let mut groups = coordinator.describe_streams_groups(&[GROUP.into()]);
            for group in &mut groups {
                group.members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
                // How many partitions its topics have comes from metadata, which is not in the log.
                group.topology = None;
            }
            groups
        };
        let replayed = self.world.replayed();
        assert_eq!(described(&replayed), described(&self.world.coordinator));
    }
}

/// As many cases as every random test if `PROPTEST_CASES` says how many, else a few.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 48;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_task_has_two_members_and_all_have_one_in_the_end(
        acts in prop::collection::vec(act(), 1..150),
        standby_replicas in 0..3,
    ) {
        let mut play = Play::new(standby_replicas);
        for act in &acts {
            play.perform(act);
            play.check_tasks();
        }
        play.check_log();
        // When membership stops changing, heartbeats bring the group to rest.
        play.perform(&Act::Join(0));
        play.world.advance(INITIAL_DELAY_MS);
        for _ in 0..24 {
            play.world.advance(5_000);
            for place in 0..THREADS {
                play.beat(place);
                play.check_tasks();
            }
        }
        let subtopologies = word_count().subtopologies;
        let all: Vec<Task> = subtopologies
            .iter()
            .flat_map(|subtopology| (0..3).map(|task| (subtopology.subtopology_id.to_string(), task)))
            .collect();
        prop_assert_eq!(play.active(), all);
        prop_assert_eq!(play.world.streams_state(), "Stable");
    }
}
