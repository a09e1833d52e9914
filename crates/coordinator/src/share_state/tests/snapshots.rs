//! When all is said again, and what may be forgotten then.

use proptest::prelude::*;

use super::*;

fn config(updates_per_snapshot: i32) -> ShareStateConfig {
    ShareStateConfig {
        updates_per_snapshot,
        ..ShareStateConfig::default()
    }
}

fn kinds(log: &[ShareStateRecord]) -> String {
    let kind = |record: &ShareStateRecord| match record {
        ShareStateRecord::Snapshot(_, Some(_)) => 'S',
        ShareStateRecord::Snapshot(_, None) => 'x',
        ShareStateRecord::Update(..) => 'u',
    };
    log.iter().map(kind).collect()
}

#[test]
fn after_so_many_updates_comes_a_snapshot() {
    let mut world = World::new(config(2));
    world.initialize(0, 0).unwrap();
    for offset in 0..7 {
        world
            .write(&write_of(vec![batch(offset, offset, 2, 1)]))
            .unwrap();
    }
    assert_eq!(kinds(&world.log), "SuuSuuSu");
    let state = world.state();
    assert_eq!(state.snapshot_epoch, 2);
    assert_eq!(state.batches, [batch(0, 6, 2, 1)]);
    let mut always = World::new(config(0));
    always.initialize(0, 0).unwrap();
    always.write(&write_of(Vec::new())).unwrap();
    assert_eq!(kinds(&always.log), "SS");
}

#[test]
fn an_update_moves_the_start_and_drops_what_is_before() {
    let mut world = World::new(config(500));
    world.initialize(0, 0).unwrap();
    world
        .write(&write_of(vec![batch(0, 9, 0, 1), batch(10, 12, 4, 1)]))
        .unwrap();
    let moved = WriteState {
        start_offset: 5,
        delivery_complete_count: 3,
        ..write_of(vec![batch(2, 5, 2, 2)])
    };
    world.write(&moved).unwrap();
    let state = world.state();
    assert_eq!((state.start_offset, state.delivery_complete_count), (5, 3));
    assert_eq!(
        state.batches,
        [batch(5, 5, 2, 2), batch(6, 9, 0, 1), batch(10, 12, 4, 1)]
    );
    let ShareStateRecord::Update(_, update) = &world.log[2] else {
        panic!("an update");
    };
    assert_eq!(update.batches, [batch(5, 5, 2, 2)]);
}

#[test]
fn a_partition_that_rests_is_put_into_a_snapshot_once() {
    let mut world = World::new(ShareStateConfig::default());
    world.initialize(0, 0).unwrap();
    world.write(&write_of(vec![batch(0, 0, 2, 1)])).unwrap();
    world.advance(300_000);
    assert_eq!(kinds(&world.log), "SuS");
    let state = world.state();
    assert_eq!(state.snapshot_epoch, 1);
    assert!(state.write_timestamp > state.create_timestamp);
    world.advance(900_000);
    assert_eq!(kinds(&world.log), "SuS", "all of them are cold");
}

#[test]
fn what_is_before_every_last_snapshot_is_pruned() {
    let mut world = World::new(config(1));
    world.initialize(0, 0).unwrap();
    let start = (0, 0);
    let decision = world
        .coordinator
        .initialize(world.now(), &partition(1), start);
    world.apply(decision).unwrap();
    for offset in 0..4 {
        world
            .write(&write_of(vec![batch(offset, offset, 2, 1)]))
            .unwrap();
    }
    assert_eq!(kinds(&world.log), "SSuSuS");
    world.advance(300_000);
    assert_eq!(kinds(&world.log), "SSuSuSSS", "both rest");
    // By then the second partition's first snapshot is the earliest that is needed.
    assert_eq!(world.pruned, [6]);
    let decision = world.coordinator.delete(&partition(0));
    world.apply(decision).unwrap();
    world.advance(300_000);
    assert_eq!(world.pruned, [6, 7]);
}

#[derive(Clone, Debug)]
enum Step {
    Write(i64, i64, i8, i16),
    Start(i64),
    Read(i32),
    Wait(i64),
    Delete,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_i64..30, 0_i64..5, prop_oneof![Just(0_i8), Just(2), Just(4)], 1_i16..4)
            .prop_map(|(first, more, state, count)| Step::Write(first, more, state, count)),
        1 => (0_i64..30).prop_map(Step::Start),
        1 => (0_i32..5).prop_map(Step::Read),
        1 => (0_i64..400_000).prop_map(Step::Wait),
        1 => Just(Step::Delete),
    ]
}

proptest! {
    /// Whatever happens, the log from where it may be cut on gives the same state.
    #[test]
    fn what_is_left_of_the_log_says_it_all(steps in prop::collection::vec(step(), 0..30)) {
        let mut world = World::new(config(3));
        world.initialize(0, 0).unwrap();
        for step in steps {
            match step {
                Step::Write(first, more, state, count) => {
                    let _ = world.write(&write_of(vec![batch(first, first + more, state, count)]));
                }
                Step::Start(offset) => {
                    let _ = world.initialize(-1, offset);
                }
                Step::Read(leader_epoch) => {
                    let _ = world.read(leader_epoch);
                }
                Step::Wait(duration_ms) => world.advance(duration_ms),
                Step::Delete => {
                    let decision = world.coordinator.delete(&partition(0));
                    let _ = world.apply(decision);
                }
            }
            let mut cut = ShareStateCoordinator::new(Arc::clone(&world.config));
            cut.observe_metadata(&image(), 1);
            let from = world.pruned.last().copied().unwrap_or(0);
            for (offset, record) in (0_i64..).zip(&world.log) {
                if offset >= from {
                    cut.replay(offset, record);
                }
            }
            let held = world.coordinator.read(world.now(), &partition(0), -1).response;
            let of_cut = cut.read(world.now(), &partition(0), -1).response;
            prop_assert_eq!(held, of_cut);
        }
    }
}
