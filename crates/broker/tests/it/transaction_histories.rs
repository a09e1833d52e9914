//! Random producers on a node that loses its power now and then: what is committed is seen, whole and once, and nothing else.

use std::collections::BTreeMap;

use ottla_broker::testing::{TestConnection, TestNode};
use ottla_protocol::messages::EndTxnRequest;
use ottla_protocol::{ErrorCode, Uuid};
use proptest::prelude::*;

use crate::transactions::{Producer, end, find, init, open_transactions, read, send, start};

const NAMES: [&str; 2] = ["one", "two"];
/// How many histories are run, unless `PROPTEST_CASES` says.
const CASES: u32 = 24;

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize),
    End(usize, bool),
    TakeOver(usize),
    Wait(i64),
    /// The power goes while so many jobs of an EndTxn's have run.
    EndAndCrash(usize, bool, usize),
    Crash,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let producer = 0..NAMES.len();
    prop_oneof![
        8 => producer.clone().prop_map(Step::Send),
        5 => (producer.clone(), any::<bool>()).prop_map(|(one, commit)| Step::End(one, commit)),
        1 => producer.clone().prop_map(Step::TakeOver),
        1 => (0_i64..50_000).prop_map(Step::Wait),
        2 => (producer, any::<bool>(), 0_usize..12)
            .prop_map(|(one, commit, jobs)| Step::EndAndCrash(one, commit, jobs)),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Committed,
    Aborted,
    /// The producer never heard.
    Unknown,
}

struct Client {
    producer: Producer,
    /// What its open transaction has written.
    open: Vec<String>,
}

/// A node, its clients, and what became of every transaction.
struct World {
    node: Option<TestNode>,
    connection: TestConnection,
    topic: Uuid,
    clients: Vec<Client>,
    transactions: Vec<(Vec<String>, Fate)>,
    number: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let (node, connection, topic) = start(seed);
        let clients = NAMES
            .iter()
            .map(|name| Client {
                producer: init(&node, &connection, name),
                open: Vec::new(),
            })
            .collect();
        World {
            node: Some(node),
            connection,
            topic,
            clients,
            transactions: Vec::new(),
            number: 0,
        }
    }

    fn node(&self) -> &TestNode {
        self.node.as_ref().unwrap()
    }

    fn again(&mut self, again: impl FnOnce(TestNode) -> TestNode) {
        let node = again(self.node.take().unwrap());
        self.connection = node.connect();
        find(&node, &self.connection, 1, "one");
        node.run_jobs();
        self.node = Some(node);
    }

    fn close(&mut self, place: usize, fate: Fate) {
        let open = std::mem::take(&mut self.clients[place].open);
        if !open.is_empty() {
            self.transactions.push((open, fate));
        }
    }

    /// The client has failed for good: it begins anew, and what was open is aborted by that.
    fn take_over(&mut self, place: usize, fate: Fate) {
        self.close(place, fate);
        self.clients[place].producer = init(self.node(), &self.connection, NAMES[place]);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Send(place) => self.send(place),
            Step::End(place, commit) => self.end(place, commit),
            Step::TakeOver(place) => self.take_over(place, Fate::Aborted),
            Step::Wait(ms) => self.node().advance(ms),
            Step::EndAndCrash(place, committed, jobs) => {
                let producer = &self.clients[place].producer;
                let request = EndTxnRequest {
                    transactional_id: NAMES[place].into(),
                    producer_id: producer.id,
                    producer_epoch: producer.epoch,
                    committed,
                    ..EndTxnRequest::default()
                };
                let pending = self.connection.send(self.node().node(), &request, 5);
                for _ in 0..jobs {
                    let _ = self.node().run_one_job();
                }
                let answered = pending.response().map(|answer| answer.error_code);
                self.again(TestNode::crash);
                let fate = match (answered, committed) {
                    (Some(0), true) => Fate::Committed,
                    (None, true) => Fate::Unknown,
                    _ => Fate::Aborted,
                };
                self.take_over(place, fate);
            }
            Step::Crash => self.again(TestNode::crash),
            Step::Restart => self.again(TestNode::restart),
        }
    }

    fn send(&mut self, place: usize) {
        self.number += 1;
        let value = format!("{}-{}", NAMES[place], self.number);
        let mut producer = self.clients[place].producer.clone();
        let sent = send(
            self.node(),
            &self.connection,
            self.topic,
            (&mut producer, &[&value]),
        );
        match sent {
            ErrorCode::NONE => {
                self.clients[place].producer = producer;
                self.clients[place].open.push(value);
            }
            // The transaction took too long.
            ErrorCode::INVALID_PRODUCER_EPOCH => self.take_over(place, Fate::Aborted),
            error => panic!("{error}"),
        }
    }

    fn end(&mut self, place: usize, committed: bool) {
        let was_open = !self.clients[place].open.is_empty();
        let mut producer = self.clients[place].producer.clone();
        let ended = end(self.node(), &self.connection, &mut producer, committed);
        match ended {
            ErrorCode::NONE => {
                self.clients[place].producer = producer;
                let fate = if committed {
                    Fate::Committed
                } else {
                    Fate::Aborted
                };
                self.close(place, fate);
            }
            // It took too long, or there was nothing to commit.
            ErrorCode::PRODUCER_FENCED | ErrorCode::INVALID_TXN_STATE => {
                assert!(committed || was_open, "an abort is always allowed");
                self.take_over(place, Fate::Aborted);
            }
            error => panic!("{error}"),
        }
    }

    /// Invariants 31, 33 and 34.
    fn check(&mut self) {
        for place in 0..NAMES.len() {
            self.take_over(place, Fate::Aborted);
        }
        self.node().run_jobs();
        assert!(open_transactions(self.node(), &self.connection).is_empty());
        let seen = read(self.node(), &self.connection, self.topic, true);
        let places: BTreeMap<&str, usize> = seen
            .iter()
            .enumerate()
            .map(|(place, value)| (value.as_str(), place))
            .collect();
        assert_eq!(places.len(), seen.len(), "something is seen twice");
        let mut expected = 0;
        for (values, fate) in &self.transactions {
            let found: Vec<usize> = values
                .iter()
                .filter_map(|value| places.get(value.as_str()).copied())
                .collect();
            match fate {
                Fate::Committed => assert_eq!(found.len(), values.len(), "lost of {values:?}"),
                Fate::Aborted => assert!(found.is_empty(), "aborted and seen of {values:?}"),
                Fate::Unknown => assert!(
                    found.is_empty() || found.len() == values.len(),
                    "torn: {values:?}"
                ),
            }
            assert!(found.is_sorted(), "out of order: {values:?}");
            expected += found.len();
        }
        assert_eq!(expected, seen.len(), "something is seen that nobody wrote");
    }
}

fn cases() -> u32 {
    let given = std::env::var("PROPTEST_CASES").ok();
    given.and_then(|given| given.parse().ok()).unwrap_or(CASES)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn what_is_committed_is_seen_whole_and_once_and_nothing_else(
        seed in any::<u32>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(u64::from(seed));
        for step in steps {
            world.take(step);
        }
        world.check();
    }
}
