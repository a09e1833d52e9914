//! Who may change a share partition's state: KIP-932, "Managing durable share-partition state".

use super::*;

fn world() -> World {
    let mut world = World::new(ShareStateConfig::default());
    world.initialize(3, 10).unwrap();
    world
}

#[test]
fn a_share_partition_begins_where_it_is_told() {
    let mut world = world();
    let state = world.state();
    assert_eq!((state.state_epoch, state.start_offset), (3, 10));
    assert_eq!((state.leader_epoch, state.delivery_complete_count), (0, 0));
    world.initialize(4, -1).unwrap();
    let state = world.state();
    assert_eq!((state.state_epoch, state.start_offset), (4, -1));
    assert_eq!(
        (state.snapshot_epoch, state.delivery_complete_count),
        (1, -1)
    );
}

#[test]
fn an_earlier_start_is_fenced() {
    let mut world = world();
    assert_eq!(
        world.initialize(2, 0),
        refused(ErrorCode::FENCED_STATE_EPOCH)
    );
    let stale = WriteState {
        state_epoch: 2,
        ..write_of(vec![batch(10, 10, 2, 1)])
    };
    assert_eq!(world.write(&stale), refused(ErrorCode::FENCED_STATE_EPOCH));
    assert_eq!(world.log.len(), 1);
    // Whoever knows no epoch may.
    world.initialize(-1, 5).unwrap();
}

#[test]
fn a_leader_that_reads_fences_those_before() {
    let mut world = world();
    world.read(5).unwrap();
    assert_eq!(world.log.len(), 2, "the leader epoch is recorded");
    world.read(5).unwrap();
    assert_eq!(world.log.len(), 2, "once");
    assert_eq!(world.read(4), refused(ErrorCode::FENCED_LEADER_EPOCH));
    let stale = WriteState {
        leader_epoch: 4,
        ..write_of(vec![batch(10, 10, 2, 1)])
    };
    assert_eq!(world.write(&stale), refused(ErrorCode::FENCED_LEADER_EPOCH));
    world.load();
    assert_eq!(world.read(4), refused(ErrorCode::FENCED_LEADER_EPOCH));
    // A start from elsewhere doesn't let the earlier leader in again.
    world.initialize(4, 0).unwrap();
    assert_eq!(world.read(4), refused(ErrorCode::FENCED_LEADER_EPOCH));
    let current = WriteState {
        leader_epoch: 5,
        ..write_of(vec![batch(10, 10, 2, 1)])
    };
    world.write(&current).unwrap();
}

#[test]
fn without_a_start_there_is_nothing_to_read_or_write() {
    let mut world = World::new(ShareStateConfig::default());
    assert_eq!(world.read(0).unwrap_err().error, ErrorCode::INVALID_REQUEST);
    let written = world.write(&write_of(Vec::new()));
    assert_eq!(written.unwrap_err().error, ErrorCode::INVALID_REQUEST);
    let decision = world.coordinator.read_summary(&partition(0));
    let summary = world.apply(decision).unwrap();
    assert_eq!((summary.state_epoch, summary.start_offset), (0, -1));
    let decision = world.coordinator.delete(&partition(0));
    world.apply(decision).unwrap();
    assert_eq!(world.log, []);
}

#[test]
fn what_is_deleted_is_gone() {
    let mut world = world();
    world.read(5).unwrap();
    let decision = world.coordinator.delete(&partition(0));
    world.apply(decision).unwrap();
    assert_eq!(world.read(0).unwrap_err().error, ErrorCode::INVALID_REQUEST);
    world.load();
    // Nothing is left of its epochs either.
    world.initialize(0, 0).unwrap();
    world.read(0).unwrap();
}

#[test]
fn a_topic_that_is_gone_takes_its_state_along() {
    let mut world = world();
    let decision = world.coordinator.delete_topics(&[TOPIC].into());
    world.apply(decision);
    assert_eq!(world.log[1], ShareStateRecord::Snapshot(partition(0), None));
}

#[test]
fn a_partition_that_there_is_not_has_no_state() {
    let world = World::new(ShareStateConfig::default());
    for (index, error) in [
        (-1, ErrorCode::INVALID_REQUEST),
        (2, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let start = (0, 0);
        let decision = world
            .coordinator
            .initialize(world.now(), &partition(index), start);
        assert_eq!(decision.response.unwrap_err().error, error);
        assert_eq!(decision.records, []);
        let decision = world.coordinator.read_summary(&partition(index));
        assert_eq!(decision.response.unwrap_err().error, error);
        let decision = world.coordinator.delete(&partition(index));
        assert_eq!(decision.response.unwrap_err().error, error);
    }
}

#[test]
fn a_batch_that_ends_before_it_begins_is_refused() {
    let mut world = world();
    let written = world.write(&write_of(vec![batch(5, 3, 2, 1)]));
    assert_eq!(written, refused(ErrorCode::INVALID_REQUEST));
    assert_eq!(world.log.len(), 1);
}
