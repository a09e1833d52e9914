//! Three replicas of one partition in one thread, from one seed: real logs on memory disks, the leader's and the follower's half as the broker uses them, a controller that keeps the rules of ISRs, messages that are late or lost, and brokers that die, are cut off and come back.
//!
//! After every step the invariants are checked: what is committed keeps its bytes for ever, on every replica that says it is committed; a clean leader has all that was ever committed; nothing acknowledged is missing in the end, when all replicas are the same, byte for byte.

mod checker;
mod cluster;
mod host;

use cluster::{Cluster, Faults};
use proptest::test_runner::Config as ProptestConfig;

/// A random run is long: a test makes one where a property test would try this many cases, of which
/// `PROPTEST_CASES` asks for more.
const CASES_PER_RUN: u32 = 20;
const STEPS: usize = 1_500;

fn cases() -> u64 {
    u64::from(ProptestConfig::default().cases / CASES_PER_RUN)
}

fn run(faults: Faults) {
    for seed in 0..cases() {
        let mut cluster = Cluster::new(seed, faults);
        for _ in 0..STEPS {
            cluster.step();
        }
        cluster.come_to_rest();
        cluster.check_at_rest();
    }
}

#[test]
fn replicas_become_equal_over_a_network_that_loses_and_delays() {
    run(Faults {
        loss_percent: 10,
        ..Faults::default()
    });
}

#[test]
fn nothing_acknowledged_is_lost_when_leaders_change_and_processes_are_killed() {
    run(Faults {
        loss_percent: 10,
        fences: true,
        kills: true,
        ..Faults::default()
    });
}

#[test]
fn nothing_acknowledged_is_lost_to_power_failures_where_every_append_is_synced() {
    run(Faults {
        loss_percent: 5,
        fences: true,
        kills: true,
        power_failures: true,
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let faults = Faults {
        loss_percent: 10,
        fences: true,
        kills: true,
        ..Faults::default()
    };
    let trace = |seed| {
        let mut cluster = Cluster::new(seed, faults);
        for _ in 0..STEPS {
            cluster.step();
        }
        cluster.come_to_rest();
        cluster.digest()
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
