//! A broker that has ended is fenced at once, and nobody else is.

use ottla_broker::testing::{TestCluster, host_of};
use ottla_protocol::ErrorCode;
use ottla_protocol::ids::BrokerId;

use crate::cluster::{create, has_topic, unfenced};

const BOTH: &str = "broker,controller";
/// The default of `broker.session.timeout.ms`.
const SESSION_MS: i64 = 9_000;

fn is_fenced(cluster: &TestCluster, at: i32, id: i32) -> bool {
    let metadata = cluster.node(at).metadata();
    let broker = metadata.image.cluster().broker(BrokerId(id));
    broker.is_none_or(|broker| broker.fenced)
}

/// Three combined nodes that have known each other for a while.
fn three(seed: u64) -> TestCluster {
    let nodes = [1, 2, 3].map(|id| (id, BOTH));
    let cluster = TestCluster::start(seed, &nodes, &[]);
    cluster.run_until(|cluster| [1, 2, 3].iter().all(|id| unfenced(cluster, *id) == 3));
    cluster.advance(3_000);
    cluster
}

/// The active controller of three, and the two others.
fn roles(cluster: &TestCluster) -> (i32, [i32; 2]) {
    let active = cluster.active_controllers()[0];
    let mut others = [1, 2, 3].into_iter().filter(|id| *id != active);
    (active, [others.next().unwrap(), others.next().unwrap()])
}

/// How long it takes until a node knows that another one is fenced.
fn time_to_fence(cluster: &TestCluster, at: i32, id: i32) -> i64 {
    let from_ms = cluster.now_ms();
    cluster.run_until(|cluster| is_fenced(cluster, at, id));
    cluster.now_ms() - from_ms
}

/// Lets more than a session pass, and asserts that nobody is fenced at any time.
fn nobody_is_fenced(cluster: &TestCluster) {
    let until_ms = cluster.now_ms() + 2 * SESSION_MS;
    cluster.run_until(|cluster| {
        for id in [1, 2, 3] {
            assert_eq!(unfenced(cluster, id), 3, "at {}", cluster.now_ms());
        }
        cluster.now_ms() >= until_ms
    });
}

#[test]
fn a_broker_that_is_killed_is_fenced_after_a_third_of_a_second() {
    for seed in 51..54 {
        let mut cluster = three(seed);
        let (active, [killed, _]) = roles(&cluster);
        cluster.kill(killed);
        let taken_ms = time_to_fence(&cluster, active, killed);
        assert!((300..500).contains(&taken_ms), "{taken_ms} ms, seed {seed}");
    }
}

#[test]
fn the_broker_of_the_active_controller_is_fenced_by_the_next_one_within_a_second() {
    for seed in 54..58 {
        let mut cluster = three(seed);
        let (active, [one, _]) = roles(&cluster);
        cluster.kill(active);
        let taken_ms = time_to_fence(&cluster, one, active);
        assert!(
            (300..1_000).contains(&taken_ms),
            "{taken_ms} ms, seed {seed}"
        );
        assert_eq!(create(&cluster, one, "after", 1), ErrorCode::NONE);
    }
}

#[test]
fn a_broker_that_only_restarts_a_connection_stays() {
    let cluster = three(58);
    let (active, [one, _]) = roles(&cluster);
    for _ in 0..3 {
        cluster.network().reset(&host_of(one), &host_of(active));
        nobody_is_fenced(&cluster);
    }
}

#[test]
fn a_broker_that_cannot_be_heard_any_more_is_fenced_when_its_session_ends() {
    let cluster = three(59);
    let (active, [cut, _]) = roles(&cluster);
    let (cut_off, controller) = (host_of(cut), host_of(active));
    cluster.network().cut(&cut_off, &controller);
    cluster.network().cut(&controller, &cut_off);
    let taken_ms = time_to_fence(&cluster, active, cut);
    let least_ms = SESSION_MS - 2_500;
    assert!(
        (least_ms..SESSION_MS + 1_000).contains(&taken_ms),
        "{taken_ms} ms"
    );
}

/// A firewall says on behalf of the brokers that nobody listens, and breaks their connections; what they send comes
/// through.
#[test]
fn a_firewalled_controller_does_not_fence_the_living() {
    let cluster = three(60);
    let (active, others) = roles(&cluster);
    for other in others {
        cluster.network().refuse(&host_of(active), &host_of(other));
    }
    nobody_is_fenced(&cluster);
    for round in 0..6 {
        let other = others[round % 2];
        cluster.network().reset(&host_of(other), &host_of(active));
        nobody_is_fenced(&cluster);
    }
    // All at once.
    for other in others {
        cluster.network().reset(&host_of(other), &host_of(active));
    }
    nobody_is_fenced(&cluster);
}

/// The same from the moment on at which the firewall appears, and between everybody.
#[test]
fn a_firewall_between_all_takes_nobody_out_who_is_heard() {
    let cluster = three(61);
    for one in [1, 2, 3] {
        for two in [1, 2, 3] {
            if one != two && one != roles(&cluster).0 {
                continue;
            }
            cluster.network().refuse(&host_of(one), &host_of(two));
        }
    }
    let (active, [one, two]) = roles(&cluster);
    for other in [one, two] {
        cluster.network().reset(&host_of(other), &host_of(active));
    }
    nobody_is_fenced(&cluster);
}

#[test]
fn a_controller_that_becomes_active_fences_nobody_who_is_there() {
    let cluster = three(62);
    let (active, others) = roles(&cluster);
    // It is cut off from the other controllers, and comes back when another one is active.
    for other in others {
        cluster.network().cut(&host_of(active), &host_of(other));
        cluster.network().cut(&host_of(other), &host_of(active));
    }
    cluster.run_until(|cluster| {
        let now = cluster.active_controllers();
        now.len() == 1 && now[0] != active
    });
    cluster.network().heal();
    let until_ms = cluster.now_ms() + 2 * SESSION_MS;
    let [one, two] = others;
    cluster.run_until(|cluster| {
        assert!(!is_fenced(cluster, one, one) && !is_fenced(cluster, one, two));
        cluster.now_ms() >= until_ms
    });
    assert!(!has_topic(&cluster, one, "none"));
}
