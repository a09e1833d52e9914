//! One partition that is being read.

use super::OffsetReset;
use super::records::Fetched;

/// Where reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// At the offset that the group committed.
    AwaitingCommitted,
    /// At the beginning or end.
    AwaitingReset(OffsetReset),
    /// At this offset.
    At(i64),
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) state: Position,
    /// Fetched data, the oldest first.
    pub(super) data: std::collections::VecDeque<Fetched>,
    /// Where the next fetch begins: after the data that is there.
    pub(super) fetch_offset: i64,
    pub(super) buffered_bytes: usize,
    pub(super) paused: bool,
    /// A request about this partition is under way.
    pub(super) asked: bool,
    pub(super) not_before_ms: i64,
    pub(super) failures: u32,
    /// Counts seeks, so that answers to questions before them are not taken.
    pub(super) era: u64,
    pub(super) leader_epoch: i32,
    pub(super) high_watermark: Option<i64>,
}

impl Partition {
    pub(super) fn new(state: Position) -> Self {
        Self {
            state,
            data: std::collections::VecDeque::new(),
            fetch_offset: 0,
            buffered_bytes: 0,
            paused: false,
            asked: false,
            not_before_ms: i64::MIN,
            failures: 0,
            era: 0,
            leader_epoch: -1,
            high_watermark: None,
        }
    }

    pub(super) fn seek(&mut self, state: Position) {
        self.state = state;
        self.data.clear();
        self.buffered_bytes = 0;
        self.asked = false;
        self.era += 1;
        self.not_before_ms = i64::MIN;
        if let Position::At(offset) = state {
            self.fetch_offset = offset;
        }
    }

    pub(super) fn position(&self) -> Option<i64> {
        match self.state {
            Position::At(offset) => Some(offset),
            _ => None,
        }
    }

    pub(super) fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    /// Whether a question about the partition may be asked now.
    pub(super) fn may_ask(&self, now_ms: i64) -> bool {
        !self.asked && self.not_before_ms <= now_ms
    }

    pub(super) fn next_deadline(&self) -> Option<i64> {
        (self.failures > 0 && !self.asked).then_some(self.not_before_ms)
    }
}
