use super::cleanable::{CleanableFacts, SegmentFacts};
use super::grouping::{GroupLimits, SegmentSizes, group};
use super::offset_map::OffsetMap;

#[test]
fn a_map_holds_the_last_offset_of_each_key_until_it_is_full() {
    let mut map = OffsetMap::new(24 * 10, 0.5, 1000);
    for offset in 0..4 {
        map.put(format!("key {offset}").as_bytes(), offset);
    }
    map.put(b"key 1", 7);
    assert!(!map.is_full());
    map.put(b"key 4", 8);
    assert!(map.is_full(), "five of ten slots may be filled");
    assert_eq!(map.get(b"key 1"), Some(7));
    assert_eq!(map.get(b"key 0"), Some(0));
    assert_eq!(map.get(b"key 5"), None);
    assert_eq!(map.latest_offset(), 8);
    map.raise_latest_offset(3);
    assert_eq!(map.latest_offset(), 8);
    assert!((map.utilization() - 0.5).abs() < 0.001);
}

#[test]
fn a_map_takes_no_more_memory_than_the_records_need() {
    let mut map = OffsetMap::new(1 << 40, 0.9, 3);
    for offset in 0..3 {
        assert!(!map.is_full());
        map.put(&[u8::try_from(offset).unwrap()], offset);
    }
    assert_eq!(map.get(&[2]), Some(2));
    assert_eq!(map.get(&[3]), None);
}

fn sizes(base_offset: i64, bytes: u64, index_bytes: u64) -> SegmentSizes {
    SegmentSizes {
        base_offset,
        bytes,
        offset_index_bytes: index_bytes,
        time_index_bytes: index_bytes,
    }
}

fn limits(end_offset: i64) -> GroupLimits {
    GroupLimits {
        bytes_max: 100,
        index_bytes_max: 20,
        end_offset,
    }
}

#[test]
fn segments_are_grouped_by_size_and_index_size() {
    let segments = [
        (0, 60, 1),
        (10, 40, 1),
        (20, 1, 19),
        (30, 1, 1),
        (40, 1, 1),
        (50, 200, 1),
    ]
    .map(|(base, bytes, index)| sizes(base, bytes, index));
    assert_eq!(group(&segments, &limits(60)), [0..2, 2..4, 4..5, 5..6]);
    assert!(group(&[], &limits(0)).is_empty());
}

#[test]
fn segments_are_not_grouped_beyond_what_an_index_can_hold() {
    let far = i64::from(i32::MAX);
    let segments = [sizes(0, 1, 1), sizes(10, 1, 1), sizes(far, 1, 1)];
    assert_eq!(group(&segments, &limits(far + 1)).len(), 1);
    assert_eq!(group(&segments, &limits(far + 2)), [0..2, 2..3]);
    let with_empty = [sizes(0, 1, 1), sizes(far + 10, 0, 1)];
    assert_eq!(group(&with_empty, &limits(far + 20)).len(), 1);
}

fn facts(cleaner_offset: Option<i64>, bound_offset: i64) -> CleanableFacts {
    let segments = (0..5).map(|number| SegmentFacts {
        base_offset: number * 10,
        bytes: 100,
    });
    CleanableFacts {
        cleaner_offset,
        log_start_offset: 0,
        log_end_offset: 45,
        bound_offset,
        segments: segments.collect(),
    }
}

#[test]
fn everything_but_the_active_segment_is_dirty_at_first() {
    let cleanable = facts(None, 45).cleanable(None, 0);
    assert_eq!(cleanable.first_dirty_offset.0, 0);
    assert_eq!(cleanable.first_uncleanable_offset.0, 40);
    assert_eq!((cleanable.clean_bytes, cleanable.cleanable_bytes), (0, 400));
    assert!(cleanable.is_due(0.99));
}

#[test]
fn what_was_cleaned_counts_as_clean() {
    let cleanable = facts(Some(20), 45).cleanable(None, 0);
    assert_eq!(cleanable.first_dirty_offset.0, 20);
    assert_eq!(
        (cleanable.clean_bytes, cleanable.cleanable_bytes),
        (200, 200)
    );
    assert!(!cleanable.is_due(0.5), "half is not more than half");
    assert!(cleanable.is_due(0.49));
    let late = facts(Some(20), 45).cleanable(None, 1);
    assert!(late.is_due(0.9));
    let nothing_left = facts(Some(40), 45).cleanable(None, 1);
    assert!(!nothing_left.is_due(0.0));
}

#[test]
fn open_transactions_and_young_segments_are_left_alone() {
    let cleanable = facts(Some(10), 25).cleanable(None, 0);
    assert_eq!(cleanable.first_uncleanable_offset.0, 20);
    let cleanable = facts(Some(10), 45).cleanable(Some(30), 0);
    assert_eq!(cleanable.first_uncleanable_offset.0, 30);
    let cleanable = facts(Some(30), 15).cleanable(None, 0);
    assert_eq!(cleanable.cleanable_bytes, 0);
}

#[test]
fn a_checkpoint_outside_of_the_log_is_not_believed() {
    for outside in [-1, 46, 1000] {
        let cleanable = facts(Some(outside), 45).cleanable(None, 0);
        assert!(cleanable.checkpoint_is_invalid);
        assert_eq!(cleanable.first_dirty_offset.0, 0);
    }
    assert!(!facts(Some(45), 45).cleanable(None, 0).checkpoint_is_invalid);
}
