//! Whole quorums in one thread, from one seed: voters that crash and lose what they had not
//! synced, clocks that differ, a network that loses, repeats, delays and parts; and after every
//! step the invariants of Raft (§5.2 to §5.4), as KIP-595 holds them.
//!
//! `PROPTEST_CASES` says how many seeds are run. A failure prints its seed; run it again with
//! `SIMULATION_SEED`.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::panic, reason = "a test fails where it stands")]

mod checker;
mod cluster;
mod node;
mod random;

use cluster::{Cluster, Faults};

/// How many seeds are run for each kind of cluster.
fn seeds() -> Vec<u64> {
    if let Ok(seed) = std::env::var("SIMULATION_SEED") {
        return vec![seed.parse().unwrap()];
    }
    let cases = std::env::var("PROPTEST_CASES").ok();
    let cases = cases.map_or(12, |cases| cases.parse().unwrap());
    (0..cases).collect()
}

fn run(make: impl Fn(u64) -> Cluster + std::panic::RefUnwindSafe) {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| {
            let mut cluster = make(seed);
            cluster.run_for(40_000);
            cluster.heal();
            cluster.run_until_quiet();
        });
        if outcome.is_err() {
            panic!("SIMULATION_SEED={seed} fails");
        }
    }
}

/// Nothing goes wrong: one election, and it stays.
#[test]
fn three_voters_without_faults_elect_once() {
    for seed in seeds() {
        let mut cluster = Cluster::new(seed, 3, Faults::NONE);
        cluster.run_for(20_000);
        cluster.run_until_quiet();
        assert!(
            cluster.checker.leaders() <= 2,
            "seed {seed}: {} elections",
            cluster.checker.leaders()
        );
    }
}

#[test]
fn three_static_voters_keep_what_is_committed() {
    run(|seed| Cluster::new(seed, 3, Faults::ALL));
}

#[test]
fn five_static_voters_keep_what_is_committed() {
    run(|seed| Cluster::new(seed, 5, Faults::ALL));
}

/// KIP-853: voters come and go, and what is committed stays.
#[test]
fn changing_voters_keep_what_is_committed() {
    run(|seed| Cluster::with_dynamic_voters(seed, 3, 2, Faults::ALL));
}

/// KIP-853: without other faults, changes get through.
#[test]
fn voters_change_without_faults() {
    for seed in seeds() {
        let mut cluster = Cluster::with_dynamic_voters(seed, 3, 2, Faults::NONE);
        cluster.run_for(30_000);
        assert!(cluster.checker.changes >= 3, "seed {seed}");
        cluster.heal();
        cluster.run_until_quiet();
    }
}
