//! Which partition of `__consumer_offsets` a group lives in.

/// The partition, of `partition_count`, that holds the state of the group.
#[must_use]
pub fn partition_for(group_id: &str, partition_count: i32) -> i32 {
    let hash = java_hash_code(group_id);
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    if partition_count <= 0 {
        return 0;
    }
    positive % partition_count
}

/// `hashCode` of a Java string: over UTF-16 code units, wrapping.
pub(crate) fn java_hash_code(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_where_java_puts_it() {
        // Values of "…".hashCode() in Java.
        assert_eq!(java_hash_code(""), 0);
        assert_eq!(java_hash_code("console-consumer-1"), 35_782_224);
        assert_eq!(java_hash_code("polygenelubricants"), i32::MIN);
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("", 50), 0);
    }

    #[test]
    fn letters_outside_the_first_plane_count_as_two() {
        assert_eq!(java_hash_code("😀"), 1_772_899);
    }
}
