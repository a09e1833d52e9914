//! How batches are laid over each other, against a map from offset to state.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn what_has_been_delivered_more_often_holds() {
    let earlier = [batch(0, 9, 0, 1)];
    assert_eq!(
        combine(&earlier, [batch(3, 5, 0, 2)], -1),
        [batch(0, 2, 0, 1), batch(3, 5, 0, 2), batch(6, 9, 0, 1)]
    );
    assert_eq!(combine(&earlier, [batch(3, 5, 0, 0)], -1), earlier);
    // Delivered equally often, the later state holds.
    assert_eq!(
        combine(&earlier, [batch(8, 12, 2, 1)], -1),
        [batch(0, 7, 0, 1), batch(8, 12, 2, 1)]
    );
    assert_eq!(
        combine(&earlier, [batch(0, 9, 4, 1)], -1),
        [batch(0, 9, 4, 1)]
    );
}

#[test]
fn neighbours_in_the_same_state_become_one() {
    let batches = [batch(0, 4, 2, 1), batch(5, 9, 2, 1), batch(11, 12, 2, 1)];
    assert_eq!(
        combine(&batches, [], -1),
        [batch(0, 9, 2, 1), batch(11, 12, 2, 1)]
    );
}

#[test]
fn a_neighbour_that_an_overlap_leaves_stays_apart() {
    // As Apache Kafka does it: what is before an overlap is settled once the overlap is found.
    let batches = [batch(0, 5, 0, 2), batch(6, 10, 0, 1), batch(6, 12, 0, 2)];
    assert_eq!(
        combine(&batches, [], -1),
        [batch(0, 5, 0, 2), batch(6, 12, 0, 2)]
    );
}

#[test]
fn what_is_before_the_start_is_forgotten() {
    let batches = [batch(0, 4, 2, 1), batch(5, 9, 0, 1)];
    assert_eq!(combine(&batches, [], 7), [batch(7, 9, 0, 1)]);
    assert_eq!(combine(&batches, [], 10), []);
}

fn any_batch() -> impl Strategy<Value = StateBatch> {
    let states = prop_oneof![Just(0_i8), Just(2), Just(4)];
    (0_i64..40, 0_i64..12, states, 0_i16..4)
        .prop_map(|(first, more, state, count)| batch(first, first + more, state, count))
}

fn by_offset(batches: &[StateBatch], start_offset: i64) -> BTreeMap<i64, (i16, i8)> {
    let mut states = BTreeMap::new();
    for batch in batches {
        for offset in batch.first_offset.max(start_offset)..=batch.last_offset {
            let progress = (batch.delivery_count, batch.delivery_state);
            let held = states.entry(offset).or_insert(progress);
            *held = progress.max(*held);
        }
    }
    states
}

proptest! {
    #[test]
    fn each_offset_has_the_furthest_state(
        earlier in prop::collection::vec(any_batch(), 0..6),
        later in prop::collection::vec(any_batch(), 0..6),
        start_offset in -1_i64..20,
    ) {
        let combined = combine(&earlier, later.iter().copied(), start_offset);
        let all: Vec<StateBatch> = earlier.iter().chain(&later).copied().collect();
        prop_assert_eq!(by_offset(&combined, start_offset), by_offset(&all, start_offset));
        for pair in combined.windows(2) {
            prop_assert!(pair[0].last_offset < pair[1].first_offset, "{:?}", combined);
        }
    }
}

/// What Apache Kafka makes of random batches, made by `conformance/assignments`.
const VECTORS: &str = include_str!("../../../testdata/kafka-4.3.1/share_state_batches.txt");

#[test]
fn batches_are_combined_as_apache_kafka_combines_them() {
    let mut count = 0;
    for text in VECTORS.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let lines = |word: &str| -> Vec<Vec<i64>> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(word));
            lines
                .map(|line| {
                    let numbers = line.split_whitespace();
                    numbers.map(|number| number.parse().unwrap()).collect()
                })
                .collect()
        };
        let batches = |word: &str| -> Vec<StateBatch> {
            let lines = lines(word).into_iter();
            lines
                .map(|line| {
                    let state = i8::try_from(line[2]).unwrap();
                    batch(line[0], line[1], state, i16::try_from(line[3]).unwrap())
                })
                .collect()
        };
        let start_offset = lines("start ")[0][0];
        let combined = combine(&batches("earlier "), batches("later "), start_offset);
        assert_eq!(combined, batches("combined "), "of {text}");
        count += 1;
    }
    assert!(count >= 300, "only {count} vectors");
}
