use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::environment::{Job, JobKind, Jobs};

#[derive(Debug)]
struct NoJobs;

impl Jobs for NoJobs {
    fn submit(&self, _: JobKind, job: Job) {
        job();
    }

    fn deadline_changed(&self) {}
}

#[derive(Default)]
struct Probe {
    ready: AtomicBool,
    answered: AtomicU32,
    expired: AtomicBool,
}

struct Operation(Arc<Probe>);

impl DelayedOperation for Operation {
    fn name(&self) -> Option<&'static str> {
        Some("Probe")
    }

    fn try_complete(&self, expired: bool) -> bool {
        if self.0.ready.load(Ordering::SeqCst) || expired {
            self.0.answered.fetch_add(1, Ordering::SeqCst);
            self.0.expired.store(expired, Ordering::SeqCst);
            return true;
        }
        false
    }
}

fn set_up() -> (Arc<Timers>, Arc<Watchers>, Arc<Probe>) {
    let timers = Arc::new(Timers::new(Arc::new(NoJobs)));
    (timers, Arc::default(), Arc::default())
}

#[test]
fn a_change_answers_what_watches_it_and_ends_its_timer() {
    let (timers, watchers, probe) = set_up();
    let operation = Box::new(Operation(Arc::clone(&probe)));
    try_complete_else_watch(&timers, operation, vec![Arc::clone(&watchers)], 100);
    watchers.check();
    assert_eq!(probe.answered.load(Ordering::SeqCst), 0);
    assert_eq!(timers.next_deadline(), Some(100));
    probe.ready.store(true, Ordering::SeqCst);
    watchers.check();
    watchers.check();
    assert_eq!(probe.answered.load(Ordering::SeqCst), 1);
    assert_eq!(timers.next_deadline(), None);
    assert!(watchers.operations.lock().is_empty());
}

#[test]
fn an_operation_counts_once_and_each_of_its_watches_too() {
    let (timers, watchers, probe) = set_up();
    let other = Arc::<Watchers>::default();
    let both = vec![Arc::clone(&watchers), Arc::clone(&other)];
    try_complete_else_watch(&timers, Box::new(Operation(Arc::clone(&probe))), both, 100);
    let size = PurgatorySize {
        operations: 1,
        watches: 2,
    };
    let counted = || sizes([&*watchers, &*other].into_iter());
    assert_eq!(counted().get("Probe"), Some(&size));
    probe.ready.store(true, Ordering::SeqCst);
    other.check();
    assert_eq!(counted().get("Probe"), None);
}

#[test]
fn the_deadline_answers_what_nothing_completed() {
    let (timers, watchers, probe) = set_up();
    let operation = Box::new(Operation(Arc::clone(&probe)));
    try_complete_else_watch(&timers, operation, vec![Arc::clone(&watchers)], 100);
    timers.run_due(99);
    assert_eq!(probe.answered.load(Ordering::SeqCst), 0);
    timers.run_due(100);
    assert!(probe.expired.load(Ordering::SeqCst));
    assert!(watchers.operations.lock().is_empty());
}

#[test]
fn what_can_be_answered_at_once_never_waits() {
    let (timers, watchers, probe) = set_up();
    probe.ready.store(true, Ordering::SeqCst);
    let operation = Box::new(Operation(Arc::clone(&probe)));
    try_complete_else_watch(&timers, operation, vec![watchers], 100);
    assert_eq!(probe.answered.load(Ordering::SeqCst), 1);
    assert_eq!(timers.next_deadline(), None);
}
