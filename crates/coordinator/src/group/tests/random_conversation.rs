//! Random members that join, leave, fall silent and commit: what must always hold holds.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A client, with what it knows of its membership.
#[derive(Clone, Debug, Default)]
struct Actor {
    instance_id: Option<KafkaString>,
    member_id: KafkaString,
    generation_id: i32,
    joining: Option<RequestToken>,
    syncing: Option<RequestToken>,
}

#[derive(Clone, Debug)]
enum Act {
    Join(usize),
    Forget(usize),
    Sync(usize),
    Heartbeat(usize),
    Leave(usize),
    Commit(usize, i64),
    Pass(i64),
    FailOver,
}

fn act() -> impl Strategy<Value = Act> {
    let actor = 0..5_usize;
    prop_oneof![
        6 => actor.clone().prop_map(Act::Join),
        1 => actor.clone().prop_map(Act::Forget),
        6 => actor.clone().prop_map(Act::Sync),
        4 => actor.clone().prop_map(Act::Heartbeat),
        1 => actor.clone().prop_map(Act::Leave),
        3 => (actor, 0..1_000_i64).prop_map(|(actor, offset)| Act::Commit(actor, offset)),
        6 => (0..12_000_i64).prop_map(Act::Pass),
        1 => Just(Act::FailOver),
    ]
}

struct Play {
    world: World,
    actors: Vec<Actor>,
    /// Each assignment that was handed out, by generation and instance id, or else member id.
    assigned: BTreeMap<(i32, KafkaString), Bytes>,
    last_commit: Option<i64>,
    trace: Vec<String>,
}

impl Play {
    fn new() -> Self {
        let actors = (0..5).map(|index| Actor {
            instance_id: (index >= 3).then(|| KafkaString::from(format!("instance-{index}"))),
            ..Actor::default()
        });
        Self {
            world: World::new(),
            actors: actors.collect(),
            assigned: BTreeMap::new(),
            last_commit: None,
            trace: Vec::new(),
        }
    }

    fn perform(&mut self, act: &Act) {
        match act {
            Act::Join(index) => self.join(*index),
            Act::Forget(index) => {
                let instance_id = self.actors[*index].instance_id.clone();
                self.actors[*index] = Actor {
                    instance_id,
                    ..Actor::default()
                };
            }
            Act::Sync(index) => self.sync(*index),
            Act::Heartbeat(index) => {
                let actor = self.actors[*index].clone();
                let error = self.world.heartbeat_as(
                    &actor.member_id,
                    actor.instance_id.as_deref(),
                    actor.generation_id,
                );
                self.trace.push(format!("heartbeat {error}"));
            }
            Act::Leave(index) => {
                let actor = self.actors[*index].clone();
                self.world
                    .leave(&[(&actor.member_id, actor.instance_id.as_deref())]);
            }
            Act::Commit(index, offset) => self.commit(*index, *offset),
            Act::Pass(ms) => self.world.advance(*ms),
            Act::FailOver => self.world.fail_over(),
        }
        self.hear();
    }

    fn join(&mut self, index: usize) {
        let actor = &mut self.actors[index];
        if actor.joining.is_some() {
            return;
        }
        let token = self.world.join(Joining {
            member_id: actor.member_id.clone(),
            instance_id: actor.instance_id.clone(),
            ..Joining::default()
        });
        actor.joining = Some(token);
    }

    fn sync(&mut self, index: usize) {
        let actor = &self.actors[index];
        if actor.syncing.is_some() || actor.joining.is_some() {
            return;
        }
        // Whoever asks hands in an assignment for everybody; only the leader's is taken.
        let described = self.world.coordinator.describe_groups(6, &[GROUP.into()]);
        let assignments = described[0]
            .members
            .iter()
            .map(|member| SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: assignment(&member.member_id, actor.generation_id),
                ..SyncGroupRequestAssignment::default()
            });
        let request = SyncGroupRequest {
            assignments: assignments.collect(),
            group_instance_id: actor.instance_id.clone(),
            ..sync_request(&actor.member_id, actor.generation_id)
        };
        self.actors[index].syncing = Some(self.world.sync(&request));
    }

    fn commit(&mut self, index: usize, offset: i64) {
        let actor = &self.actors[index];
        let request = OffsetCommitRequest {
            group_instance_id: actor.instance_id.clone(),
            ..commit_request(GROUP, &actor.member_id, actor.generation_id, offset)
        };
        let error = self.world.commit_with(9, &request);
        self.trace.push(format!("commit {error}"));
        if error == ErrorCode::NONE {
            self.last_commit = Some(offset);
        }
    }

    /// Clients take the responses that have come, and believe them.
    fn hear(&mut self) {
        for actor in &mut self.actors {
            if let Some(response) = actor
                .joining
                .and_then(|token| self.world.joined.get(&token))
            {
                self.trace.push(format!("joined {response:?}"));
                actor.joining = None;
                match ErrorCode(response.error_code) {
                    ErrorCode::NONE => {
                        actor.member_id = response.member_id.clone();
                        actor.generation_id = response.generation_id;
                    }
                    ErrorCode::MEMBER_ID_REQUIRED => actor.member_id = response.member_id.clone(),
                    _ => actor.member_id = KafkaString::new(),
                }
            }
            if let Some(response) = actor
                .syncing
                .and_then(|token| self.world.synced.get(&token))
            {
                self.trace.push(format!("synced {response:?}"));
                actor.syncing = None;
                if response.error_code == 0 && !response.assignment.is_empty() {
                    // A static member inherits what it had under its earlier member id.
                    let identity = actor.instance_id.as_ref().unwrap_or(&actor.member_id);
                    let place = (actor.generation_id, identity.clone());
                    let earlier = self.assigned.insert(place, response.assignment.clone());
                    assert!(
                        earlier.is_none_or(|earlier| earlier == response.assignment),
                        "a member has one assignment in a generation"
                    );
                }
            }
        }
    }

    fn check(&self) {
        // No two members have the same assignment in a generation.
        let mut seen = BTreeSet::new();
        for ((generation_id, _), assignment) in &self.assigned {
            assert!(seen.insert((*generation_id, assignment.clone())));
        }
        if let Some(offset) = self.last_commit {
            assert_eq!(self.world.committed(), offset, "the last commit counts");
        }
        // Another coordinator reads the same offsets and, of a group at rest, the same members.
        let replayed = self.world.replayed();
        assert_eq!(replayed.offsets, self.world.coordinator.offsets);
        let here = &self.world.coordinator.describe_groups(6, &[GROUP.into()])[0];
        let there = &replayed.describe_groups(6, &[GROUP.into()])[0];
        if here.group_state == "Stable" {
            assert_eq!(here, there);
        }
        for group in self.world.coordinator.groups.values() {
            if let Group::Classic(group) = group {
                group.check_invariants();
            }
        }
    }
}

proptest! {
    #[test]
    fn what_must_always_hold_holds(acts in prop::collection::vec(act(), 1..120)) {
        let mut play = Play::new();
        for act in &acts {
            play.perform(act);
            play.check();
        }
        // When membership stops changing the group converges.
        play.world.advance(2_000_000);
        play.hear();
        prop_assert!(["Empty", "Dead"].contains(&play.world.state().as_str()));
        for actor in &play.actors {
            prop_assert!(actor.joining.is_none(), "a request is left without answer");
        }
    }

    #[test]
    fn the_same_conversation_goes_the_same_way(acts in prop::collection::vec(act(), 1..60)) {
        let run = || {
            let mut play = Play::new();
            acts.iter().for_each(|act| play.perform(act));
            (play.trace, play.world.log)
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn a_plain_conversation_ends_in_assignments() {
    let mut play = Play::new();
    let acts = [
        Act::Join(0),
        Act::Join(0),
        Act::Join(3),
        Act::Pass(1),
        Act::Sync(3),
        Act::Sync(0),
        Act::Commit(0, 7),
        Act::FailOver,
        Act::Heartbeat(3),
    ];
    for act in &acts {
        play.perform(act);
        play.check();
    }
    assert_eq!(play.assigned.len(), 2);
    assert_eq!(play.last_commit, Some(7));
    assert_eq!(
        play.trace.last().map(String::as_str),
        Some("heartbeat NONE")
    );
}
