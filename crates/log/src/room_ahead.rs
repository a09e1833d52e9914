//! Room on the disk for what a segment that grows fast will take next.
//!
//! A file system finds and reserves a block for every page that is written for the first time, unless the file has
//! blocks there already: asking for many at once is a quarter cheaper, and what is written lies together. A segment
//! that grows slowly gains nothing and would keep blocks from others, so it gets none.

/// How much is asked for at a time, and how much a segment must have grown to be asked for anything.
pub(crate) const STRETCH_BYTES: u64 = 4 << 20;
/// Within this time a segment that is fast grows by [`STRETCH_BYTES`].
const STRETCH_MS_MAX: i64 = 8_000;

/// What a segment was given beyond its end, and how fast it grows.
#[derive(Debug, Default)]
pub(crate) struct RoomAhead {
    /// Where the blocks end that were asked for; 0 if there are none.
    until: u64,
    /// The size and the time at which the growth is measured from.
    measured_from: Option<(u64, i64)>,
    /// Set once the disk has refused: that a write fails is for the write to say.
    is_refused: bool,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) position: u64,
    pub(crate) length: u64,
}

impl RoomAhead {
    /// What to ask the disk for before a segment of `size` bytes, that ends at `size_max` at the latest, is appended to.
    pub(crate) fn wanted(&mut self, size: u64, size_max: u64, now_ms: i64) -> Option<Stretch> {
        if self.is_refused || size < self.until {
            return None;
        }
        let (from, since_ms) = *self.measured_from.get_or_insert((size, now_ms));
        if size < from.saturating_add(STRETCH_BYTES) {
            return None;
        }
        self.measured_from = Some((size, now_ms));
        let length = STRETCH_BYTES.min(size_max.saturating_sub(size));
        let is_fast = now_ms.saturating_sub(since_ms) <= STRETCH_MS_MAX;
        if !is_fast || length == 0 {
            return None;
        }
        self.until = size + length;
        Some(Stretch {
            position: size,
            length,
        })
    }

    /// Takes note that the disk has refused.
    pub(crate) fn refused(&mut self) {
        self.until = 0;
        self.is_refused = true;
    }

    /// Whether there may be blocks beyond the end of a segment of `size` bytes.
    pub(crate) fn is_beyond(&self, size: u64) -> bool {
        self.until > size
    }

    /// Whether the segment has stopped growing fast since it was given room.
    pub(crate) fn is_unused(&self, size: u64, now_ms: i64) -> bool {
        let since_ms = self.measured_from.map_or(0, |(_, since_ms)| since_ms);
        self.is_beyond(size) && now_ms.saturating_sub(since_ms) > STRETCH_MS_MAX
    }

    /// Takes note that the file was cut at its end: that gives the blocks beyond it back.
    pub(crate) fn given_back(&mut self) {
        self.until = 0;
        self.measured_from = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER_FULL: u64 = 1 << 30;

    fn stretch(position: u64, length: u64) -> Stretch {
        Stretch { position, length }
    }

    #[test]
    fn a_segment_that_grows_fast_gets_a_stretch_after_each_stretch() {
        let mut room = RoomAhead::default();
        assert_eq!(room.wanted(0, NEVER_FULL, 0), None);
        assert_eq!(room.wanted(STRETCH_BYTES - 1, NEVER_FULL, 10), None);
        let size = STRETCH_BYTES + 7;
        let given = Some(stretch(size, STRETCH_BYTES));
        assert_eq!(room.wanted(size, NEVER_FULL, 20), given);
        assert!(room.is_beyond(size));
        assert_eq!(room.wanted(size + 1, NEVER_FULL, 30), None);
        let size = size + STRETCH_BYTES;
        let given = Some(stretch(size, STRETCH_BYTES));
        assert_eq!(room.wanted(size, NEVER_FULL, 40), given);
    }

    #[test]
    fn a_slow_segment_gets_none_until_it_is_fast() {
        let mut room = RoomAhead::default();
        assert_eq!(room.wanted(0, NEVER_FULL, 0), None);
        let late = STRETCH_MS_MAX + 1;
        assert_eq!(room.wanted(STRETCH_BYTES, NEVER_FULL, late), None);
        assert!(!room.is_beyond(STRETCH_BYTES));
        let given = Some(stretch(2 * STRETCH_BYTES, STRETCH_BYTES));
        assert_eq!(room.wanted(2 * STRETCH_BYTES, NEVER_FULL, late + 1), given);
    }

    #[test]
    fn nothing_is_asked_for_beyond_a_full_segment() {
        let mut room = RoomAhead::default();
        assert_eq!(room.wanted(0, STRETCH_BYTES + 5, 0), None);
        let given = Some(stretch(STRETCH_BYTES, 5));
        assert_eq!(room.wanted(STRETCH_BYTES, STRETCH_BYTES + 5, 1), given);
        let full = 2 * STRETCH_BYTES;
        assert_eq!(room.wanted(full, full, 2), None);
    }

    #[test]
    fn room_is_unused_once_the_segment_stands_still() {
        let mut room = RoomAhead::default();
        room.wanted(0, NEVER_FULL, 0);
        room.wanted(STRETCH_BYTES, NEVER_FULL, 1);
        let size = STRETCH_BYTES + 1;
        assert!(!room.is_unused(size, 2));
        assert!(room.is_unused(size, 2 + STRETCH_MS_MAX));
        room.given_back();
        assert!(!room.is_unused(size, 2 + STRETCH_MS_MAX));
    }

    #[test]
    fn a_disk_that_refused_is_not_asked_again() {
        let mut room = RoomAhead::default();
        room.wanted(0, NEVER_FULL, 0);
        assert!(room.wanted(STRETCH_BYTES, NEVER_FULL, 1).is_some());
        room.refused();
        assert!(!room.is_beyond(STRETCH_BYTES));
        assert_eq!(room.wanted(3 * STRETCH_BYTES, NEVER_FULL, 2), None);
    }
}
