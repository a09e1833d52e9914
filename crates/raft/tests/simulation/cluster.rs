//! The cluster: its events in the order of time, its network, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_protocol::ids::{BrokerId, Offset};
use ottla_protocol::messages::add_raft_voter_request::Listener;
use ottla_protocol::messages::{AddRaftVoterRequest, RemoveRaftVoterRequest};
use ottla_protocol::{KafkaString, Message, Uuid};
use ottla_raft::quorum::{
    Content, CorrelationId, Destination, Request, RequestId, Response, VoterHistory,
};
use ottla_raft::snapshot::Snapshot;
use ottla_raft::{
    Input, KRaftVersion, Output, QuorumOptions, ReplicaKey, SnapshotId, State, Voter,
    VoterEndpoint, VoterSet,
};

use crate::checker::Checker;
use crate::node::{Clock, Node};
use crate::random::Random;

/// What may go wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// Messages that are lost, of a thousand.
    pub(crate) loss_permille: u64,
    /// Messages that come twice, of a thousand.
    pub(crate) repeat_permille: u64,
    /// Crashes, partitions, resignations.
    pub(crate) nemesis: bool,
}

impl Faults {
    pub(crate) const NONE: Self = Self {
        loss_permille: 0,
        repeat_permille: 0,
        nemesis: false,
    };
    pub(crate) const ALL: Self = Self {
        loss_permille: 30,
        repeat_permille: 30,
        nemesis: true,
    };
}

#[derive(Debug, Clone)]
enum Event {
    Request {
        from: usize,
        to: usize,
        life: u64,
        correlation: CorrelationId,
        request: Request,
    },
    Response {
        to: usize,
        life: u64,
        correlation: CorrelationId,
        response: Response,
    },
    Refused {
        to: usize,
        life: u64,
        correlation: CorrelationId,
    },
    Persisted {
        node: usize,
        life: u64,
    },
    Synced {
        node: usize,
        life: u64,
    },
    Restart {
        node: usize,
    },
    Crash {
        node: usize,
    },
    Client,
    Nemesis,
    ChangeVoters,
}

/// Who waits for the response to a request.
struct Waiting {
    from: usize,
    life: u64,
    correlation: CorrelationId,
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) checker: Checker,
    seed: u64,
    time_ms: i64,
    random: Random,
    faults: Faults,
    events: BTreeMap<(i64, u64), Event>,
    sequence: u64,
    waiting: BTreeMap<RequestId, Waiting>,
    /// Who can't send to whom.
    cut: BTreeSet<(usize, usize)>,
    values: u64,
}

fn port(node: usize) -> u16 {
    9_000 + u16::try_from(node).unwrap()
}

fn directory(node: usize) -> Uuid {
    Uuid([u8::try_from(node).unwrap() + 10; 16])
}

impl Cluster {
    /// A cluster whose voters stand in the log and change, with nodes that may become voters.
    pub(crate) fn with_dynamic_voters(
        seed: u64,
        voters: usize,
        observers: usize,
        faults: Faults,
    ) -> Self {
        let all = i32::try_from(voters + observers).unwrap();
        let mut cluster = Self::new(seed, all, faults);
        let first: Vec<Voter> = (0..voters).map(|at| cluster.voter(at)).collect();
        let servers: Vec<(KafkaString, u16)> = (0..cluster.nodes.len())
            .map(|at| ("host".into(), port(at)))
            .collect();
        for (at, node) in cluster.nodes.iter_mut().enumerate() {
            node.options.configured_voters = VoterSet::default();
            node.options.bootstrap_servers = servers.clone();
            node.options.auto_join = seed.is_multiple_of(2);
            node.formatted = Some(Snapshot {
                kraft_version: KRaftVersion::Dynamic,
                voters: (at < voters).then(|| VoterSet::new(first.clone())),
                ..Snapshot::default()
            });
        }
        cluster.after(2_000, Event::ChangeVoters);
        cluster
    }

    fn voter(&self, node: usize) -> Voter {
        Voter {
            key: self.nodes[node].key(),
            endpoints: self.nodes[node].options.endpoints.clone(),
            kraft_version_min: 0,
            kraft_version_max: 1,
        }
    }

    /// Asks whoever leads to add a voter, or to remove one.
    fn change_voters(&mut self) {
        let count = u64::try_from(self.nodes.len()).unwrap();
        let chosen = usize::try_from(self.random.below(count)).unwrap();
        let key = self.nodes[chosen].key();
        for node in 0..self.nodes.len() {
            let Some(quorum) = self.nodes[node].quorum.as_ref() else {
                continue;
            };
            if !self.nodes[node].leads {
                continue;
            }
            let request = if !quorum.voters().contains(key) {
                Request::AddRaftVoter(AddRaftVoterRequest {
                    cluster_id: Some("cluster".into()),
                    timeout_ms: 1_000,
                    voter_id: key.id.0,
                    voter_directory_id: key.directory_id,
                    listeners: vec![Listener {
                        name: "CONTROLLER".into(),
                        host: "host".into(),
                        port: port(chosen),
                        ..Listener::default()
                    }],
                    ack_when_committed: self.random.chance(500),
                    ..AddRaftVoterRequest::default()
                })
            } else if quorum.voters().len() > 2 {
                Request::RemoveRaftVoter(RemoveRaftVoterRequest {
                    cluster_id: Some("cluster".into()),
                    voter_id: key.id.0,
                    voter_directory_id: key.directory_id,
                    ..RemoveRaftVoterRequest::default()
                })
            } else {
                continue;
            };
            self.sequence += 1;
            self.handle(node, Input::Received(RequestId(self.sequence), request));
        }
        let delay_ms = self.random.between(200, 3_000);
        self.after(delay_ms, Event::ChangeVoters);
    }

    pub(crate) fn new(seed: u64, voters: i32, faults: Faults) -> Self {
        let mut random = Random::new(seed);
        let configured: Vec<(i32, &str, u16)> = (0..voters)
            .map(|id| (id, "host", port(usize::try_from(id).unwrap())))
            .collect();
        let configured = VoterSet::of_configuration("CONTROLLER", configured);
        let nodes = (0..usize::try_from(voters).unwrap())
            .map(|at| {
                let id = BrokerId(i32::try_from(at).unwrap());
                let options = QuorumOptions {
                    cluster_id: Some("cluster".into()),
                    endpoints: vec![VoterEndpoint {
                        listener: "CONTROLLER".into(),
                        host: "host".into(),
                        port: port(at),
                    }],
                    configured_voters: configured.clone(),
                    fetch_bytes_max: 400,
                    snapshot_bytes_max: 400,
                    ..QuorumOptions::new(ReplicaKey::new(id, directory(at)), 0)
                };
                let clock = Clock {
                    offset_ms: random.between(0, 1_000_000),
                    rate_permille: random.between(900, 1_100),
                    wall_offset_ms: random.between(0, 1_000_000),
                };
                Node::new(options, clock)
            })
            .collect();
        let mut cluster = Self {
            nodes,
            checker: Checker::default(),
            seed,
            time_ms: 0,
            random,
            faults,
            events: BTreeMap::new(),
            sequence: 0,
            waiting: BTreeMap::new(),
            cut: BTreeSet::new(),
            values: 0,
        };
        for node in 0..cluster.nodes.len() {
            cluster.after(0, Event::Restart { node });
        }
        cluster.after(50, Event::Client);
        if faults.nemesis {
            cluster.after(3_000, Event::Nemesis);
        }
        cluster
    }

    fn after(&mut self, delay_ms: i64, event: Event) {
        self.sequence += 1;
        let at = (self.time_ms + delay_ms, self.sequence);
        self.events.insert(at, event);
    }

    pub(crate) fn run_for(&mut self, duration_ms: i64) {
        let end_ms = self.time_ms + duration_ms;
        let mut steps_at_once = 0;
        while self.time_ms < end_ms {
            let before_ms = self.time_ms;
            self.step();
            steps_at_once = if self.time_ms == before_ms {
                steps_at_once + 1
            } else {
                0
            };
            assert!(
                steps_at_once < 10_000,
                "seed {}: time stands still",
                self.seed
            );
        }
        self.checker.logs_match(&self.nodes);
    }

    /// No more faults: everything is up and connected.
    pub(crate) fn heal(&mut self) {
        self.faults = Faults::NONE;
        self.cut.clear();
        self.events
            .retain(|_, event| !matches!(event, Event::Nemesis | Event::ChangeVoters));
        for node in 0..self.nodes.len() {
            if self.nodes[node].quorum.is_none() {
                self.after(0, Event::Restart { node });
            }
        }
    }

    /// The cluster gets over what it went through: there is a leader, it commits, all follow.
    pub(crate) fn run_until_quiet(&mut self) {
        let before = self.checker.committed_end();
        let end_ms = self.time_ms + 60_000;
        while self.time_ms < end_ms {
            self.run_for(500);
            let enough = Offset(before.0 + 20);
            let caught_up = |node: &Node| node.high_watermark >= enough;
            if self.nodes.iter().all(caught_up) {
                return;
            }
        }
        for node in &self.nodes {
            eprintln!(
                "{}: {:?} of epoch {:?}, log {}..{}, high watermark {}",
                node.key().id,
                node.quorum.as_ref().map(|quorum| quorum.state()),
                node.quorum.as_ref().map(|quorum| quorum.epoch()),
                node.log_start,
                node.end(),
                node.high_watermark,
            );
        }
        panic!("seed {}: the cluster does not get on", self.seed);
    }

    /// The next event, or the next deadline, whichever comes first.
    fn step(&mut self) {
        let deadline = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(at, node)| {
                let deadline_ms = node.quorum.as_ref()?.next_deadline()?;
                Some((node.clock.time_of(deadline_ms).max(self.time_ms), at))
            })
            .min();
        let event = self.events.first_key_value().map(|(at, _)| at.0);
        match deadline {
            Some((at_ms, node)) if event.is_none_or(|event| at_ms < event) => {
                self.time_ms = at_ms;
                self.handle(node, Input::Tick);
            }
            _ => {
                let ((at_ms, _), event) = self.events.pop_first().unwrap();
                self.time_ms = at_ms;
                self.happen(event);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request {
                from,
                to,
                life,
                correlation,
                request,
            } => {
                if self.cut.contains(&(from, to)) {
                    return;
                }
                // Nobody listens where a node is down; and now and then a firewall says so too.
                let is_refused = self.nodes[to].quorum.is_none()
                    || (self.faults.nemesis && self.random.chance(5));
                if is_refused {
                    let refused = Event::Refused {
                        to: from,
                        life,
                        correlation,
                    };
                    self.transmit(to, from, &refused);
                    return;
                }
                self.sequence += 1;
                let id = RequestId(self.sequence);
                let waiting = Waiting {
                    from,
                    life,
                    correlation,
                };
                self.waiting.insert(id, waiting);
                self.handle(to, Input::Received(id, request));
            }
            Event::Response {
                to,
                life,
                correlation,
                response,
            } => {
                if self.nodes[to].life == life {
                    self.handle(to, Input::Answered(correlation, response));
                }
            }
            Event::Refused {
                to,
                life,
                correlation,
            } => {
                if self.nodes[to].life == life {
                    self.handle(to, Input::Refused(correlation));
                }
            }
            Event::Persisted { node, life } => self.persisted(node, life),
            Event::Synced { node, life } => {
                if self.nodes[node].life == life {
                    let end = self.nodes[node].end();
                    self.nodes[node].synced = end;
                    self.handle(node, Input::Synced(end));
                }
            }
            Event::Restart { node } => {
                if self.nodes[node].quorum.is_none() {
                    self.nodes[node].start(self.time_ms, &mut self.random);
                    self.drain(node);
                }
            }
            Event::Crash { node } => self.crash(node),
            Event::Client => self.append_as_client(),
            Event::Nemesis => self.strike(),
            Event::ChangeVoters => self.change_voters(),
        }
    }

    fn persisted(&mut self, node: usize, life: u64) {
        if self.nodes[node].life != life {
            return;
        }
        let text = self.nodes[node].persisting.take().unwrap();
        let before = self.nodes[node].quorum_state.replace(text.clone());
        self.checker.persisted(before.as_deref(), &text);
        self.handle(node, Input::ElectionStatePersisted);
    }

    fn crash(&mut self, node: usize) {
        self.nodes[node].crash(&mut self.random);
        let delay_ms = self.random.between(10, 4_000);
        self.after(delay_ms, Event::Restart { node });
    }

    fn handle(&mut self, node: usize, input: Input) {
        let now = self.nodes[node].clock.at(self.time_ms);
        if let Some(quorum) = &mut self.nodes[node].quorum {
            quorum.handle(now, input).unwrap();
            self.drain(node);
        }
    }

    /// Does what the quorum says, in its order.
    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node]
            .quorum
            .as_mut()
            .and_then(|quorum| quorum.poll())
        {
            self.perform(node, output);
        }
    }

    fn perform(&mut self, node: usize, output: Output) {
        let life = self.nodes[node].life;
        match output {
            Output::TruncateFullyTo(id) => self.nodes[node].start_at(id),
            Output::TruncateTo(end) => self.nodes[node].truncate_to(end),
            Output::PersistElectionState(text) => {
                self.nodes[node].persisting = Some(text);
                let delay_ms = self.random.between(0, 15);
                self.after(delay_ms, Event::Persisted { node, life });
            }
            Output::BecameLeader { epoch, .. } => {
                self.nodes[node].leads = true;
                self.checker.became_leader(&self.nodes[node], epoch);
            }
            Output::Append(batches) => self.append(node, &batches),
            Output::HighWatermarkAdvanced(end) => {
                self.checker.committed(&self.nodes[node], end);
                self.nodes[node].high_watermark = end;
                let quorum = self.nodes[node].quorum.as_ref().unwrap();
                if quorum.state() == State::Leader {
                    self.checker
                        .leader_committed(quorum.voters(), &self.nodes, end);
                }
            }
            Output::Resigned { .. } => self.nodes[node].leads = false,
            Output::Send(correlation, destination, request) => {
                self.send(node, correlation, &destination, request);
            }
            Output::Respond(id, response, content) => self.respond(node, id, response, content),
            Output::WriteSnapshot {
                position, bytes, ..
            } => {
                let partial = &mut self.nodes[node].partial;
                partial.truncate(usize::try_from(position).unwrap());
                partial.extend_from_slice(&bytes);
            }
            Output::InstallSnapshot(id) => self.install(node, id),
        }
    }

    fn append(&mut self, node: usize, batches: &[u8]) {
        self.nodes[node].append(batches);
        let end = self.nodes[node].end();
        let life = self.nodes[node].life;
        let delay_ms = self.random.between(0, 15);
        self.after(delay_ms, Event::Synced { node, life });
        let now = self.nodes[node].clock.at(self.time_ms);
        let quorum = self.nodes[node].quorum.as_mut().unwrap();
        quorum.handle(now, Input::Appended(end)).unwrap();
    }

    fn install(&mut self, node: usize, id: SnapshotId) {
        let bytes = Bytes::from(std::mem::take(&mut self.nodes[node].partial));
        let snapshot = Snapshot::read(&bytes).unwrap();
        self.checker.snapshot_installed(id, &snapshot.values);
        self.nodes[node].snapshots.insert(id, bytes);
        self.nodes[node].start_at(id);
        let history = VoterHistory::of_snapshot(&snapshot, id);
        let now = self.nodes[node].clock.at(self.time_ms);
        let quorum = self.nodes[node].quorum.as_mut().unwrap();
        quorum
            .handle(now, Input::SnapshotInstalled(id, history))
            .unwrap();
    }

    fn send(
        &mut self,
        from: usize,
        correlation: CorrelationId,
        destination: &Destination,
        request: Request,
    ) {
        assert_eq!(destination.host, KafkaString::from("host"));
        let to = usize::from(destination.port) - 9_000;
        let event = Event::Request {
            from,
            to,
            life: self.nodes[from].life,
            correlation,
            request: over_the_wire(request),
        };
        self.transmit(from, to, &event);
    }

    fn respond(&mut self, node: usize, id: RequestId, response: Response, content: Content) {
        let response = self.fill(node, response, content);
        let Some(waiting) = self.waiting.remove(&id) else {
            self.checker.change_answered(&response);
            return;
        };
        let event = Event::Response {
            to: waiting.from,
            life: waiting.life,
            correlation: waiting.correlation,
            response: response_over_the_wire(response),
        };
        self.transmit(node, waiting.from, &event);
    }

    /// Messages are late, overtake each other, get lost, and come twice.
    fn transmit(&mut self, from: usize, to: usize, event: &Event) {
        if self.cut.contains(&(from, to)) || self.random.chance(self.faults.loss_permille) {
            return;
        }
        let mut copies = 1;
        if self.random.chance(self.faults.repeat_permille) {
            copies = 2;
        }
        for _ in 0..copies {
            let mut delay_ms = self.random.between(1, 20);
            if self.faults.nemesis && self.random.chance(20) {
                delay_ms += self.random.between(0, 5_000);
            }
            self.after(delay_ms, event.clone());
        }
    }

    fn fill(&self, node: usize, mut response: Response, content: Content) -> Response {
        match (&mut response, content) {
            (Response::Fetch(fetch), Content::Records { from, bytes_max }) => {
                let bytes_max = usize::try_from(bytes_max).unwrap();
                let records = self.nodes[node].read(from, bytes_max);
                fetch.responses[0].partitions[0].records = Some(records);
            }
            (
                Response::FetchSnapshot(fetch),
                Content::Snapshot {
                    id,
                    position,
                    bytes_max,
                },
            ) => {
                let partition = &mut fetch.topics[0].partitions[0];
                let Some(file) = self.nodes[node].snapshots.get(&id) else {
                    partition.error_code = ottla_protocol::ErrorCode::SNAPSHOT_NOT_FOUND.0;
                    return response;
                };
                let from = usize::try_from(position).unwrap().min(file.len());
                let to = file.len().min(from + usize::try_from(bytes_max).unwrap());
                partition.size = i64::try_from(file.len()).unwrap();
                partition.unaligned_records = file.slice(from..to);
            }
            _ => {}
        }
        response
    }

    /// Whoever leads, or still believes to, appends what a client sends.
    fn append_as_client(&mut self) {
        for node in 0..self.nodes.len() {
            let wall_ms = self.nodes[node].clock.at(self.time_ms).wall_ms;
            let ready = self.nodes[node].leads && self.nodes[node].persisting.is_none();
            let Some(quorum) = self.nodes[node].quorum.as_ref().filter(|_| ready) else {
                continue;
            };
            if quorum.state() != State::Leader {
                continue;
            }
            self.values += 1;
            let values: Vec<Bytes> = (0..1 + self.values % 3)
                .map(|part| Bytes::from(format!("value {} of node {node}, {part}", self.values)))
                .collect();
            let batch = quorum.data_batch(wall_ms, &values).unwrap();
            self.append(node, &batch);
            self.drain(node);
        }
        let delay_ms = self.random.between(5, 120);
        self.after(delay_ms, Event::Client);
    }

    /// Something goes wrong.
    fn strike(&mut self) {
        let count = u64::try_from(self.nodes.len()).unwrap();
        let node = usize::try_from(self.random.below(count)).unwrap();
        match self.random.below(9) {
            0 | 1 => self.crash(node),
            2 => {
                for node in 0..self.nodes.len() {
                    if self.random.chance(600) {
                        self.crash(node);
                    }
                }
            }
            3 => {
                for other in 0..self.nodes.len() {
                    self.cut.insert((node, other));
                    self.cut.insert((other, node));
                }
            }
            4 => {
                let other = usize::try_from(self.random.below(count)).unwrap();
                self.cut.insert((node, other));
            }
            5 | 6 => self.cut.clear(),
            7 => {
                let shutdown = self.random.chance(500);
                self.handle(
                    node,
                    if shutdown {
                        Input::Shutdown
                    } else {
                        Input::Resign
                    },
                );
                if shutdown {
                    self.after(600, Event::Crash { node });
                }
            }
            _ => self.take_snapshot(node),
        }
        let delay_ms = self.random.between(50, 2_500);
        self.after(delay_ms, Event::Nemesis);
    }

    /// A node writes a snapshot of what is committed, and lets go of its log before that or before
    /// an older one.
    pub(crate) fn take_snapshot(&mut self, node: usize) {
        let end = self.nodes[node].high_watermark;
        let Some(epoch) = self.nodes[node].epoch_before(end) else {
            return;
        };
        let Some(quorum) = &self.nodes[node].quorum else {
            return;
        };
        let id = SnapshotId { offset: end, epoch };
        let values = self.checker.values_before(end);
        let file = quorum.new_snapshot(end, 0, values).write(epoch, 0).unwrap();
        self.nodes[node].snapshots.insert(id, Bytes::from(file));
        self.handle(node, Input::SnapshotTaken(id));
        let older: Vec<SnapshotId> = self.nodes[node].snapshots.keys().copied().collect();
        let chosen = usize::try_from(self.random.below(older.len() as u64)).unwrap();
        let start = older[chosen].offset;
        if start > self.nodes[node].log_start {
            self.nodes[node].delete_before(start);
            self.handle(node, Input::LogStartAdvanced(start));
        }
    }
}

/// The request as the other side reads it.
fn over_the_wire(request: Request) -> Request {
    match request {
        Request::Vote(request) => Request::Vote(copy(&request, 2)),
        Request::BeginQuorumEpoch(request) => Request::BeginQuorumEpoch(copy(&request, 1)),
        Request::EndQuorumEpoch(request) => Request::EndQuorumEpoch(copy(&request, 1)),
        Request::Fetch(request) => Request::Fetch(copy(&request, 18)),
        Request::FetchSnapshot(request) => Request::FetchSnapshot(copy(&request, 1)),
        Request::AddRaftVoter(request) => Request::AddRaftVoter(copy(&request, 1)),
        Request::RemoveRaftVoter(request) => Request::RemoveRaftVoter(copy(&request, 0)),
        Request::UpdateRaftVoter(request) => Request::UpdateRaftVoter(copy(&request, 0)),
        Request::ApiVersions(request) => Request::ApiVersions(copy(&request, 3)),
    }
}

fn response_over_the_wire(response: Response) -> Response {
    match response {
        Response::Vote(response) => Response::Vote(copy(&response, 2)),
        Response::BeginQuorumEpoch(response) => Response::BeginQuorumEpoch(copy(&response, 1)),
        Response::EndQuorumEpoch(response) => Response::EndQuorumEpoch(copy(&response, 1)),
        Response::Fetch(response) => Response::Fetch(copy(&response, 18)),
        Response::FetchSnapshot(response) => Response::FetchSnapshot(copy(&response, 1)),
        Response::AddRaftVoter(response) => Response::AddRaftVoter(copy(&response, 1)),
        Response::RemoveRaftVoter(response) => Response::RemoveRaftVoter(copy(&response, 0)),
        Response::UpdateRaftVoter(response) => Response::UpdateRaftVoter(copy(&response, 0)),
        Response::ApiVersions(response) => Response::ApiVersions(copy(&response, 3)),
    }
}

fn copy<M: Message>(message: &M, version: i16) -> M {
    M::from_bytes(message.to_bytes(version).unwrap(), version).unwrap()
}
