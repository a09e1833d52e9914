//! One sync for all that wait for it.

/// Whether a partition's log is being made durable, and whether it has to be again.
///
/// Appends that come while a sync runs are covered by the next one, together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GroupCommit {
    running: bool,
    wanted: bool,
}

impl GroupCommit {
    /// Something was appended that must become durable; says whether to start a sync now.
    pub(crate) fn request(&mut self) -> bool {
        if self.running {
            self.wanted = true;
            return false;
        }
        self.running = true;
        true
    }

    /// The running sync has ended; says whether to start the next one now.
    pub(crate) fn finished(&mut self) -> bool {
        self.running = std::mem::take(&mut self.wanted);
        self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_during_a_sync_share_the_next_one() {
        let mut commit = GroupCommit::default();
        assert!(commit.request());
        assert!(!commit.request());
        assert!(!commit.request());
        assert!(commit.finished());
        assert!(!commit.finished());
        assert!(commit.request());
    }
}
