//! One queue of deadlines for the whole node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::environment::{Job, Jobs};

/// Names a scheduled task, to cancel it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerKey {
    deadline_ms: i64,
    sequence: u64,
}

#[derive(Default)]
struct Queue {
    tasks: BTreeMap<TimerKey, Job>,
    sequence: u64,
}

/// Tasks waiting for their time, in monotonic milliseconds.
///
/// A task runs on the thread that calls [`Timers::run_due`]: it must be short, and hands longer work to the node's jobs.
pub struct Timers {
    queue: Mutex<Queue>,
    jobs: Arc<dyn Jobs>,
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("waiting", &self.queue.lock().tasks.len())
            .finish_non_exhaustive()
    }
}

impl Timers {
    pub(crate) fn new(jobs: Arc<dyn Jobs>) -> Timers {
        Timers {
            queue: Mutex::default(),
            jobs,
        }
    }

    pub(crate) fn jobs(&self) -> &Arc<dyn Jobs> {
        &self.jobs
    }

    /// Runs `task` once `deadline_ms` has come.
    pub fn schedule(&self, deadline_ms: i64, task: impl FnOnce() + Send + 'static) -> TimerKey {
        let mut queue = self.queue.lock();
        let key = TimerKey {
            deadline_ms,
            sequence: queue.sequence,
        };
        queue.sequence += 1;
        let earliest = queue
            .tasks
            .first_key_value()
            .is_none_or(|(first, _)| key < *first);
        queue.tasks.insert(key, Box::new(task));
        drop(queue);
        if earliest {
            self.jobs.deadline_changed();
        }
        key
    }

    /// Forgets a task; nothing happens if it has run.
    pub fn cancel(&self, key: TimerKey) {
        let task = self.queue.lock().tasks.remove(&key);
        drop(task);
    }

    /// When the next task is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.queue
            .lock()
            .tasks
            .first_key_value()
            .map(|(key, _)| key.deadline_ms)
    }

    /// Runs every task whose time has come, earliest first.
    pub fn run_due(&self, now_ms: i64) {
        loop {
            let task = {
                let mut queue = self.queue.lock();
                match queue.tasks.first_key_value() {
                    Some((key, _)) if key.deadline_ms <= now_ms => queue.tasks.pop_first(),
                    _ => None,
                }
            };
            let Some((_, task)) = task else { return };
            task();
        }
    }

    /// Drops every waiting task.
    pub(crate) fn clear(&self) {
        let tasks = std::mem::take(&mut self.queue.lock().tasks);
        drop(tasks);
    }
}
