use std::ops::Range;

/// The largest relative offset that an index entry can hold.
const RELATIVE_OFFSET_MAX: i64 = i32::MAX as i64;

/// A segment that is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSizes {
    pub(crate) base_offset: i64,
    pub(crate) bytes: u64,
    pub(crate) offset_index_bytes: u64,
    pub(crate) time_index_bytes: u64,
}

/// What one segment may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupLimits {
    /// `segment.bytes`
    pub(crate) bytes_max: u64,
    /// `segment.index.bytes`
    pub(crate) index_bytes_max: u64,
    /// Where the part that is cleaned ends.
    pub(crate) end_offset: i64,
}

/// Which of the segments, in a row, become one each.
pub(crate) fn group(segments: &[SegmentSizes], limits: &GroupLimits) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    while let Some(first) = segments.get(start) {
        let mut end = start + 1;
        let mut sums = *first;
        while let Some(next) = segments.get(end) {
            let last_offset = segments
                .get(end + 1)
                .map_or(limits.end_offset, |after| after.base_offset)
                .saturating_sub(1);
            let fits = sums.bytes + next.bytes <= limits.bytes_max
                && sums.offset_index_bytes + next.offset_index_bytes <= limits.index_bytes_max
                && sums.time_index_bytes + next.time_index_bytes <= limits.index_bytes_max
                // An empty segment has no offsets that could be too far from the base.
                && (next.bytes == 0 || last_offset - first.base_offset <= RELATIVE_OFFSET_MAX);
            if !fits {
                break;
            }
            sums.bytes += next.bytes;
            sums.offset_index_bytes += next.offset_index_bytes;
            sums.time_index_bytes += next.time_index_bytes;
            end += 1;
        }
        groups.push(start..end);
        start = end;
    }
    groups
}
