//! A node and its clients without sockets: frames are carried by hand, time moves when nothing else
//! can happen, and connections can be cut after a request has had its effect.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use ottla_broker::environment::Clock as _;
use ottla_broker::request::Reply;
use ottla_broker::testing::{Answer, TestConnection, TestNode};
use ottla_client::core::cluster::{ClusterOptions, Completion};
use ottla_client::core::consumer::{Consumer, ConsumerEvent, ConsumerOptions, ConsumerRecord};
use ottla_client::core::metadata::Endpoint;
use ottla_client::core::producer::{
    BatchId, Delivered, NotTaken, OutgoingRecord, Place, Producer, ProducerOptions,
};
use ottla_client::core::random::Random;
use ottla_client::core::{Cluster, ConnectionId, NetworkInput, Output};
use ottla_protocol::KafkaString;
use ottla_protocol::frame::response::Piece;

/// What a step may take at most, so that a test that waits in vain ends.
const STEPS_MAX: usize = 200_000;

/// A machine of the client, of whatever kind.
enum Machine {
    Producer(Box<Producer>),
    Consumer(Box<Consumer>),
    Cluster(Box<Cluster>),
}

/// What came out of a machine.
#[derive(Debug)]
pub(crate) enum Event {
    Delivered(Delivered),
    Consumer(ConsumerEvent),
    Completion(Completion),
}

/// One connection: the broker takes one request at a time.
struct Connection {
    end: TestConnection,
    to_send: VecDeque<Bytes>,
    answer: Option<Answer>,
    /// Whether the broker's answer to the request on its way is to be lost.
    lossy: bool,
}

pub(crate) struct World {
    node: Option<TestNode>,
    machines: Vec<Machine>,
    connections: BTreeMap<(usize, ConnectionId), Connection>,
    pub(crate) events: Vec<Vec<Event>>,
    random: Random,
    /// One of so many requests loses its answer; none if zero.
    pub(crate) losses_one_in: usize,
}

pub(crate) fn cluster_options(seed: u64) -> ClusterOptions {
    ClusterOptions {
        bootstrap: vec![Endpoint {
            host: "localhost".into(),
            port: 9092,
        }],
        client_id: KafkaString::from("test"),
        seed,
        ..ClusterOptions::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_settings(seed, &[])
    }

    pub(crate) fn with_settings(seed: u64, more: &[(&str, &str)]) -> Self {
        let mut settings = vec![
            ("num.partitions", "3"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("offsets.topic.num.partitions", "1"),
            ("offsets.topic.replication.factor", "1"),
        ];
        settings.extend(more);
        Self {
            node: Some(TestNode::start_with(seed, &settings)),
            machines: Vec::new(),
            connections: BTreeMap::new(),
            events: Vec::new(),
            random: Random::new(seed),
            losses_one_in: 0,
        }
    }

    fn add(&mut self, machine: Machine) -> usize {
        self.machines.push(machine);
        self.events.push(Vec::new());
        self.machines.len() - 1
    }

    pub(crate) fn add_producer(&mut self, mut options: ProducerOptions) -> usize {
        options.cluster = ClusterOptions {
            in_flight_max: 5,
            ..cluster_options(1)
        };
        self.add(Machine::Producer(Box::new(Producer::new(options))))
    }

    pub(crate) fn add_consumer(&mut self, options: ConsumerOptions) -> usize {
        let cluster = cluster_options(self.machines.len() as u64);
        self.add(Machine::Consumer(Box::new(Consumer::new(
            ConsumerOptions { cluster, ..options },
        ))))
    }

    pub(crate) fn add_cluster(&mut self) -> usize {
        self.add(Machine::Cluster(Box::new(Cluster::new(cluster_options(3)))))
    }

    pub(crate) fn producer(&mut self, index: usize) -> &mut Producer {
        match &mut self.machines[index] {
            Machine::Producer(producer) => producer,
            _ => panic!("{index} is no producer"),
        }
    }

    pub(crate) fn consumer(&mut self, index: usize) -> &mut Consumer {
        match &mut self.machines[index] {
            Machine::Consumer(consumer) => consumer,
            _ => panic!("{index} is no consumer"),
        }
    }

    pub(crate) fn cluster(&mut self, index: usize) -> &mut Cluster {
        match &mut self.machines[index] {
            Machine::Cluster(cluster) => cluster,
            _ => panic!("{index} is no cluster client"),
        }
    }

    fn node(&self) -> &TestNode {
        self.node.as_ref().expect("the node runs")
    }

    pub(crate) fn now_ms(&self) -> i64 {
        1_700_000_000_000 + self.node().clock().monotonic_ms()
    }

    /// Puts one record into a producer, letting things happen until it is taken.
    pub(crate) fn send(
        &mut self,
        producer: usize,
        topic: &str,
        record: &OutgoingRecord<'_>,
    ) -> Place {
        let topic = KafkaString::from(topic);
        for _ in 0..STEPS_MAX {
            let now_ms = self.now_ms();
            let record = OutgoingRecord {
                timestamp: now_ms,
                ..*record
            };
            match self.producer(producer).append(now_ms, &topic, &record) {
                Ok(place) => return place,
                Err(NotTaken::Refused(error)) => panic!("{error}"),
                Err(_) => self.step(),
            }
        }
        panic!("the record was never taken");
    }

    /// What became of a batch, once it is known.
    pub(crate) fn delivered(&mut self, producer: usize, batch: BatchId) -> Delivered {
        for _ in 0..STEPS_MAX {
            let found = self.events[producer].iter().find_map(|event| match event {
                Event::Delivered(delivered) if delivered.batch == batch => Some(delivered.clone()),
                _ => None,
            });
            if let Some(delivered) = found {
                return delivered;
            }
            self.step();
        }
        panic!("the batch was never done");
    }

    /// Polls a consumer until the condition holds of what it gave.
    pub(crate) fn consume_until(
        &mut self,
        consumer: usize,
        done: impl Fn(&[ConsumerRecord]) -> bool,
    ) -> Vec<ConsumerRecord> {
        let mut records = Vec::new();
        for _ in 0..STEPS_MAX {
            let now_ms = self.now_ms();
            records.extend(self.consumer(consumer).poll_records(now_ms).unwrap());
            if done(&records) {
                return records;
            }
            self.step();
        }
        panic!("the consumer gave {} records", records.len());
    }

    /// Polls all these consumers in turn until the condition holds.
    pub(crate) fn poll_until(&mut self, consumers: &[usize], done: impl Fn(&mut Self) -> bool) {
        for _ in 0..STEPS_MAX {
            for consumer in consumers {
                let now_ms = self.now_ms();
                self.consumer(*consumer).poll_records(now_ms).unwrap();
            }
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("the condition never held");
    }

    pub(crate) fn run_until(&mut self, done: impl Fn(&mut Self) -> bool) {
        for _ in 0..STEPS_MAX {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("the condition never held");
    }

    /// Kills the node, cuts every connection, and starts it again.
    pub(crate) fn crash(&mut self) {
        self.node = self.node.take().map(TestNode::crash);
        let cut: Vec<(usize, ConnectionId)> = self.connections.keys().copied().collect();
        for (machine, id) in cut {
            self.cut(machine, id);
        }
    }

    fn cut(&mut self, machine: usize, id: ConnectionId) {
        self.connections.remove(&(machine, id));
        self.handle(machine, NetworkInput::Disconnected(id, "cut".into()));
    }

    fn handle(&mut self, machine: usize, input: NetworkInput) {
        let now_ms = self.now_ms();
        match &mut self.machines[machine] {
            Machine::Producer(producer) => producer.handle(now_ms, input),
            Machine::Consumer(consumer) => consumer.handle(now_ms, input),
            Machine::Cluster(cluster) => cluster.handle(now_ms, input),
        }
    }

    /// Carries what is to be carried; if nothing is, lets time pass to the next deadline.
    pub(crate) fn step(&mut self) {
        if self.carry() {
            return;
        }
        self.node().run_jobs();
        if self.carry() {
            return;
        }
        let now_ms = self.now_ms();
        let deadlines = self.machines.iter().filter_map(|machine| match machine {
            Machine::Producer(producer) => producer.next_deadline(),
            Machine::Consumer(consumer) => consumer.next_deadline(),
            Machine::Cluster(cluster) => cluster.next_deadline(),
        });
        let node = self.node().node().next_deadline();
        let node = node.map(|deadline| 1_700_000_000_000 + deadline);
        let next_ms = deadlines.chain(node).min().unwrap_or(now_ms + 100);
        self.node().advance((next_ms - now_ms).clamp(1, 1_000));
        for machine in 0..self.machines.len() {
            self.handle(machine, NetworkInput::Tick);
        }
    }

    /// Whether there was anything to carry.
    fn carry(&mut self) -> bool {
        let mut any = false;
        for machine in 0..self.machines.len() {
            while let Some(output) = self.poll(machine) {
                any = true;
                self.carry_out(machine, output);
            }
        }
        let keys: Vec<(usize, ConnectionId)> = self.connections.keys().copied().collect();
        for (machine, id) in keys {
            any |= self.carry_connection(machine, id);
        }
        any
    }

    fn poll(&mut self, machine: usize) -> Option<Output<Event>> {
        fn map<E>(output: Output<E>, event: impl Fn(E) -> Event) -> Output<Event> {
            match output {
                Output::Connect(id, endpoint) => Output::Connect(id, endpoint),
                Output::Write(id, bytes) => Output::Write(id, bytes),
                Output::Close(id) => Output::Close(id),
                Output::Event(inner) => Output::Event(event(inner)),
            }
        }
        match &mut self.machines[machine] {
            Machine::Producer(machine) => machine.poll().map(|o| map(o, Event::Delivered)),
            Machine::Consumer(machine) => machine.poll().map(|o| map(o, Event::Consumer)),
            Machine::Cluster(machine) => machine.poll().map(|o| map(o, Event::Completion)),
        }
    }

    fn carry_out(&mut self, machine: usize, output: Output<Event>) {
        match output {
            Output::Connect(id, _) => {
                let connection = Connection {
                    end: self.node().connect(),
                    to_send: VecDeque::new(),
                    answer: None,
                    lossy: false,
                };
                self.connections.insert((machine, id), connection);
                self.handle(machine, NetworkInput::Connected(id));
            }
            Output::Write(id, frame) => {
                if let Some(connection) = self.connections.get_mut(&(machine, id)) {
                    connection.to_send.push_back(frame.slice(4..));
                }
            }
            Output::Close(id) => {
                self.connections.remove(&(machine, id));
            }
            Output::Event(event) => self.events[machine].push(event),
        }
    }

    fn carry_connection(&mut self, machine: usize, id: ConnectionId) -> bool {
        let loses = self.losses_one_in > 0 && self.random.below(self.losses_one_in) == 0;
        let node = self.node.as_ref().expect("the node runs").node().clone();
        let Some(connection) = self.connections.get_mut(&(machine, id)) else {
            return false;
        };
        let Some(answer) = &connection.answer else {
            let Some(frame) = connection.to_send.pop_front() else {
                return false;
            };
            connection.lossy = loses;
            connection.answer = Some(connection.end.send_frame(&node, &frame));
            return true;
        };
        let Some(reply) = answer.lock().take() else {
            return false;
        };
        connection.answer = None;
        if connection.lossy {
            self.cut(machine, id);
            return true;
        }
        match reply {
            Reply::Response(frame) => {
                let mut whole = BytesMut::new();
                for piece in frame.pieces() {
                    match piece {
                        Piece::Bytes(bytes) => whole.extend_from_slice(bytes),
                        Piece::Region(region) => whole.extend_from_slice(&region.read().unwrap()),
                    }
                }
                self.handle(
                    machine,
                    NetworkInput::Received(id, whole.freeze().slice(4..)),
                );
            }
            Reply::Close => self.cut(machine, id),
            _ => {}
        }
        true
    }
}

/// The offsets of records, by partition.
pub(crate) fn offsets(records: &[ConsumerRecord]) -> BTreeMap<i32, Vec<i64>> {
    let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for record in records {
        offsets
            .entry(record.partition)
            .or_default()
            .push(record.offset);
    }
    offsets
}

/// The values of records, each once.
pub(crate) fn values(records: &[ConsumerRecord]) -> BTreeSet<Bytes> {
    records
        .iter()
        .filter_map(|record| record.value.clone())
        .collect()
}
