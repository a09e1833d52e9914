//! Requests that wait: for a high watermark, for records to arrive, for a time.
//!
//! An operation is tried, put under the watch of everything that may complete it, and tried again, so that no change between the two is missed. Whatever changes a partition checks the operations that watch it; a timer ends those that nothing completes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::environment::JobKind;
use crate::timer::{TimerKey, Timers};

/// Something that waits for a condition.
pub(crate) trait DelayedOperation: Send + Sync {
    /// Kafka's name of the operation in its metrics, where it has one.
    fn name(&self) -> Option<&'static str>;

    /// Answers if the condition holds by now, or if `expired`; says whether it is answered.
    ///
    /// It is answered once, however often this is called and by however many threads.
    fn try_complete(&self, expired: bool) -> bool;
}

/// The operations that watch one thing.
#[derive(Default)]
pub(crate) struct Watchers {
    count: AtomicUsize,
    operations: Mutex<Vec<Arc<Delayed>>>,
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watchers({})", self.count.load(Ordering::Relaxed))
    }
}

impl Watchers {
    /// Tries every operation that watches.
    pub(crate) fn check(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let watching = self.operations.lock().clone();
        for delayed in watching {
            delayed.attempt(false);
        }
    }

    /// Whether anything watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// The operations that wait.
    fn waiting(&self) -> Vec<Arc<Delayed>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.operations.lock().clone()
    }

    fn add(&self, delayed: &Arc<Delayed>) {
        let mut operations = self.operations.lock();
        operations.push(Arc::clone(delayed));
        self.count.store(operations.len(), Ordering::SeqCst);
    }

    fn remove(&self, delayed: &Delayed) {
        let mut operations = self.operations.lock();
        operations.retain(|other| !std::ptr::eq(Arc::as_ptr(other), delayed));
        self.count.store(operations.len(), Ordering::SeqCst);
    }
}

/// An operation under watch, with its timer.
pub(crate) struct Delayed {
    operation: Box<dyn DelayedOperation>,
    timers: Arc<Timers>,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    done: bool,
    by: Vec<Arc<Watchers>>,
    timer: Option<TimerKey>,
}

impl Delayed {
    /// Tries the operation, and leaves every watch once it is answered.
    fn attempt(&self, expired: bool) -> bool {
        if self.watched.lock().done {
            return true;
        }
        if !self.operation.try_complete(expired) {
            return false;
        }
        let mut watched = self.watched.lock();
        watched.done = true;
        let by = std::mem::take(&mut watched.by);
        let timer = watched.timer.take();
        drop(watched);
        for watchers in by {
            watchers.remove(self);
        }
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
        true
    }
}

/// How many operations of a name wait, and how many watches they have set.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PurgatorySize {
    pub(crate) operations: u64,
    pub(crate) watches: u64,
}

/// Counts what waits under these watches, by name.
pub(crate) fn sizes<'a>(
    watched: impl Iterator<Item = &'a Watchers>,
) -> BTreeMap<&'static str, PurgatorySize> {
    let mut sizes: BTreeMap<&'static str, PurgatorySize> = BTreeMap::new();
    let waiting: Vec<Arc<Delayed>> = watched.flat_map(Watchers::waiting).collect();
    let mut seen = BTreeSet::new();
    for delayed in &waiting {
        if let Some(name) = delayed.operation.name() {
            let size = sizes.entry(name).or_default();
            size.watches += 1;
            size.operations += u64::from(seen.insert(Arc::as_ptr(delayed)));
        }
    }
    sizes
}

/// Tries `operation`; while it cannot be answered, it waits until `deadline_ms` for a change of what `watched` names.
pub(crate) fn try_complete_else_watch(
    timers: &Arc<Timers>,
    operation: Box<dyn DelayedOperation>,
    watched: Vec<Arc<Watchers>>,
    deadline_ms: i64,
) {
    if operation.try_complete(false) {
        return;
    }
    let delayed = Arc::new(Delayed {
        operation,
        timers: Arc::clone(timers),
        watched: Mutex::default(),
    });
    for watchers in &watched {
        watchers.add(&delayed);
    }
    let expiring = Arc::clone(&delayed);
    {
        let mut state = delayed.watched.lock();
        state.by = watched;
        let jobs = Arc::clone(timers.jobs());
        state.timer = Some(timers.schedule(deadline_ms, move || {
            // Whatever is answered may have to be read: the thread of the timers, which heartbeats hang on, does not wait for a disk.
            let attempt = move || {
                expiring.attempt(true);
            };
            jobs.submit(JobKind::ColdRead, Box::new(attempt));
        }));
    }
    if delayed.attempt(false) {
        // A thread that found the operation under watch may have answered it before the watches were known.
        delayed.leave_watches();
    }
}

impl Delayed {
    fn leave_watches(&self) {
        let mut watched = self.watched.lock();
        let by = std::mem::take(&mut watched.by);
        let timer = watched.timer.take();
        drop(watched);
        for watchers in by {
            watchers.remove(self);
        }
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
    }
}

#[cfg(test)]
mod tests;
