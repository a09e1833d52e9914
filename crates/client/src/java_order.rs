//! The order in which Java's hash maps are walked.
//!
//! Apache Kafka's tools print, and its sticky assignor visits, what a `HashMap` holds; to give the
//! same output and the same assignment, the order has to be the same. A map of n keys has a table
//! whose size is a power of two, at least 16 unless the map was made with a capacity of its own,
//! doubled while n exceeds three quarters of it; keys stand in the order of their bucket, and
//! within a bucket in the order in which they were put.

use crate::core::TopicPartition;

/// The hash code of a string: over its UTF-16 units, as Java defines it.
#[must_use]
pub fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The hash code of Java's class for a partition.
#[must_use]
pub fn partition_hash(name: &TopicPartition) -> i32 {
    31i32
        .wrapping_mul(31 + name.partition)
        .wrapping_add(string_hash(&name.topic))
}

/// Sorts items, given in the order in which they are put, as a `HashMap` with default capacity
/// would give them back.
pub fn sort_by_hash<T>(items: &mut [T], hash: impl Fn(&T) -> i32) {
    sort_with_capacity(items, 16, hash);
}

/// The same for a map made with an initial capacity.
pub fn sort_with_capacity<T>(items: &mut [T], capacity: usize, hash: impl Fn(&T) -> i32) {
    let mut table = capacity.max(1).next_power_of_two();
    while items.len() > table / 4 * 3 && items.len() * 4 > table * 3 {
        table *= 2;
    }
    items.sort_by_key(|item| {
        let hash = hash(item).cast_unsigned();
        (hash ^ (hash >> 16)) as usize & (table - 1)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(string_hash(""), 0);
        assert_eq!(string_hash("hello"), 99_162_322);
        assert_eq!(string_hash("polygenelubricants"), i32::MIN);
    }

    #[test]
    fn order_is_that_of_a_java_map() {
        let mut names = [
            "__consumer_offsets",
            "assigned",
            "compacted",
            "golden",
            "plain",
            "solo",
            "with.dot",
        ];
        sort_by_hash(&mut names, |name| string_hash(name));
        assert_eq!(
            names,
            [
                "plain",
                "compacted",
                "golden",
                "assigned",
                "solo",
                "with.dot",
                "__consumer_offsets"
            ]
        );
    }
}
