//! The hosts, the controller between them, and everything that goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::ErrorCode;
use ottla_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use ottla_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
};

use super::checker::Checker;
use super::host::{Host, Wish};
use crate::environment::Random;
use crate::replica::follower_progress::{BrokerStanding, Brokers};
use crate::replica::{Input, IsrAnswer, IsrChange, PartitionState, Reached};

/// What may go wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) loss_percent: u64,
    /// Brokers are fenced though they live.
    pub(super) fences: bool,
    /// Processes are killed.
    pub(super) kills: bool,
    /// Or lose what they have not synced; every append is synced then.
    pub(super) power_failures: bool,
}

#[derive(Default, Clone)]
struct Registered(BTreeMap<BrokerId, BrokerStanding>);

impl Brokers for Registered {
    fn standing(&self, broker: BrokerId) -> Option<BrokerStanding> {
        self.0.get(&broker).copied()
    }
}

enum Message {
    Fetch(FetchRequest),
    Fetched(FetchResponse),
    ListOffsets(ListOffsetsRequest),
    Listed(ListOffsetsResponse),
    NoAnswer,
    Isr(IsrChange),
    IsrAnswered(IsrChange, Result<IsrAnswer, ErrorCode>),
}

struct Envelope {
    /// The host that asked, and in which life.
    asker: (usize, u64),
    /// The host that is asked.
    asked: usize,
    message: Message,
}

/// An append that a client waits for.
struct Waiting {
    host: usize,
    life: u64,
    value: u64,
    required_offset: Offset,
    leader_epoch: LeaderEpoch,
}

pub(super) struct Cluster {
    seed: u64,
    random: Random,
    faults: Faults,
    now_ms: i64,
    hosts: Vec<Host>,
    /// Every state that the controller has decided.
    states: Vec<PartitionState>,
    registered: Registered,
    next_broker_epoch: i64,
    network: Vec<Envelope>,
    next_value: u64,
    waiting: Vec<Waiting>,
    checker: Checker,
}

fn id(host: usize) -> BrokerId {
    BrokerId(i32::try_from(host).unwrap() + 1)
}

fn place(id: BrokerId) -> usize {
    usize::try_from(id.0 - 1).unwrap()
}

impl Cluster {
    pub(super) fn new(seed: u64, faults: Faults) -> Cluster {
        let ids = [BrokerId(1), BrokerId(2), BrokerId(3)];
        let mut cluster = Cluster {
            seed,
            random: Random::from_seed(seed),
            faults,
            now_ms: 1_000,
            hosts: (1..=3)
                .map(|id| Host::new(id, faults.power_failures))
                .collect(),
            states: vec![PartitionState {
                leader: Some(BrokerId(1)),
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
                replicas: ids.to_vec(),
                isr: ids.to_vec(),
            }],
            registered: Registered::default(),
            next_broker_epoch: 1,
            network: Vec::new(),
            next_value: 0,
            waiting: Vec::new(),
            checker: Checker::default(),
        };
        for host in 0..3 {
            cluster.register(host);
        }
        cluster
    }

    fn chance(&self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn any_host(&self) -> usize {
        usize::try_from(self.random.below(3)).unwrap()
    }

    fn state(&self) -> &PartitionState {
        self.states.last().unwrap()
    }

    /// A broker starts, and is a new one in the controller's eyes.
    fn register(&mut self, host: usize) {
        let broker_epoch = self.next_broker_epoch;
        self.next_broker_epoch += 1;
        self.hosts[host].start(broker_epoch, self.now_ms);
        let standing = BrokerStanding {
            broker_epoch,
            is_active: true,
        };
        // Nobody knows what it has lost: out of the ISR with it, before it runs (KIP-966).
        if !self.registered.0.is_empty() && self.states.len() > 1 {
            self.fence(host);
        }
        self.registered.0.insert(id(host), standing);
        self.elect();
        // What was decided before it was registered is not for this life.
        let newest = self.states.len() - 1;
        if let Some(process) = &mut self.hosts[host].process {
            process.seen = newest;
        }
    }

    fn fence(&mut self, host: usize) {
        if let Some(standing) = self.registered.0.get_mut(&id(host)) {
            standing.is_active = false;
        }
        let mut next = self.state().clone();
        if next.isr.len() > 1 {
            next.isr.retain(|member| *member != id(host));
        }
        if next.leader == Some(id(host)) {
            next.leader = None;
        }
        self.decide(next);
    }

    /// Gives the partition a leader, if it has none and can have one.
    fn elect(&mut self) {
        let mut next = self.state().clone();
        if next.leader.is_some() {
            return;
        }
        let active = |member: &&BrokerId| {
            self.registered
                .standing(**member)
                .is_some_and(|standing| standing.is_active)
        };
        next.leader = next.isr.iter().find(active).copied();
        self.decide(next);
    }

    fn decide(&mut self, mut next: PartitionState) {
        let now = self.state();
        if next == *now {
            return;
        }
        next.partition_epoch += 1;
        if next.leader != now.leader {
            next.leader_epoch = LeaderEpoch(next.leader_epoch.0 + 1);
        }
        self.states.push(next);
        if self.state().leader.is_none() {
            self.elect();
        }
    }

    fn alter_isr(&mut self, asker: usize, change: &IsrChange) -> Result<IsrAnswer, ErrorCode> {
        let now = self.state();
        if change.leader_epoch != now.leader_epoch || now.leader != Some(id(asker)) {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if change.partition_epoch != now.partition_epoch {
            return Err(ErrorCode::INVALID_UPDATE_VERSION);
        }
        let may_join = |(member, epoch): (&BrokerId, &i64)| {
            self.registered.standing(*member).is_some_and(|standing| {
                standing.is_active && (*epoch == -1 || *epoch == standing.broker_epoch)
            })
        };
        if !change.isr.iter().all(may_join) {
            return Err(ErrorCode::INELIGIBLE_REPLICA);
        }
        let mut next = now.clone();
        next.isr = change.isr.keys().copied().collect();
        self.decide(next);
        Ok(IsrAnswer {
            leader_epoch: self.state().leader_epoch,
            partition_epoch: self.state().partition_epoch,
            isr: self.state().isr.clone(),
        })
    }

    /// One thing happens, whatever the seed says.
    pub(super) fn step(&mut self) {
        match self.random.below(20) {
            0..=2 => self.produce(),
            3..=8 => self.deliver(),
            9..=11 => self.now_ms += i64::try_from(self.random.below(15)).unwrap(),
            12..=13 => {
                let host = self.any_host();
                self.hosts[host].sync(self.now_ms);
            }
            14..=15 => {
                let host = self.any_host();
                self.learn(host);
            }
            16 => {
                let host = self.any_host();
                self.hosts[host].check_followers(self.now_ms);
                if let Some(process) = &self.hosts[host].process {
                    process.checkpoint();
                }
            }
            17 if self.chance(12) => self.fail(),
            18 if self.chance(25) => self.mend(),
            _ => {
                let host = self.any_host();
                self.hosts[host].fetch(self.now_ms);
            }
        }
        self.after_step();
    }

    fn produce(&mut self) {
        let host = self.any_host();
        let value = self.next_value;
        if let Some(appended) = self.hosts[host].produce(value, self.now_ms) {
            self.next_value += 1;
            self.waiting.push(Waiting {
                host,
                life: self.hosts[host].life,
                value,
                required_offset: appended.required_offset,
                leader_epoch: appended.leader_epoch,
            });
        }
    }

    /// A host hears the controller's next word.
    fn learn(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        if let Some(state) = self.states.get(process.seen) {
            process.seen += 1;
            let state = state.clone();
            self.hosts[host].apply(&state, &self.registered, self.now_ms);
            self.check_leader(host);
        }
    }

    fn fail(&mut self) {
        let host = self.any_host();
        if self.faults.kills && self.chance(50) {
            if self.hosts[host].process.is_none() {
                return;
            }
            let seed = self.random.next_u64();
            let power = self.faults.power_failures && self.chance(50);
            self.hosts[host].die(power.then_some(seed));
            self.fence(host);
        } else if self.faults.fences {
            self.fence(host);
        }
    }

    fn mend(&mut self) {
        let host = self.any_host();
        if self.hosts[host].process.is_none() {
            self.register(host);
        } else if let Some(standing) = self.registered.0.get_mut(&id(host)) {
            standing.is_active = true;
            self.elect();
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let chosen = self.random.below(self.network.len() as u64);
        let envelope = self.network.swap_remove(usize::try_from(chosen).unwrap());
        let Envelope {
            asker,
            asked,
            message,
        } = envelope;
        let is_request = matches!(
            message,
            Message::Fetch(_) | Message::ListOffsets(_) | Message::Isr(_)
        );
        if !is_request && self.hosts[asker.0].life != asker.1 {
            return;
        }
        let lost = self.chance(self.faults.loss_percent);
        let answer = match message {
            Message::Isr(change) if lost => {
                Message::IsrAnswered(change, Err(ErrorCode::NETWORK_EXCEPTION))
            }
            Message::Isr(change) => {
                let answer = self.alter_isr(asker.0, &change);
                // The answer may be lost too.
                let lost = self.chance(self.faults.loss_percent);
                let answer = if lost {
                    Err(ErrorCode::NETWORK_EXCEPTION)
                } else {
                    answer
                };
                Message::IsrAnswered(change, answer)
            }
            Message::Fetch(_) | Message::ListOffsets(_) if lost => Message::NoAnswer,
            Message::Fetch(request) => {
                let (now_ms, brokers) = (self.now_ms, &self.registered);
                let answer = self.hosts[asked].serve_fetch(&request, brokers, now_ms);
                answer.map_or(Message::NoAnswer, Message::Fetched)
            }
            Message::ListOffsets(request) => {
                let answer = self.hosts[asked].serve_list_offsets(&request);
                answer.map_or(Message::NoAnswer, Message::Listed)
            }
            Message::Fetched(_) | Message::Listed(_) if lost => {
                return self.hear(asker.0, asked, Message::NoAnswer);
            }
            heard => return self.hear(asker.0, asked, heard),
        };
        self.network.push(Envelope {
            asker,
            asked,
            message: answer,
        });
    }

    fn hear(&mut self, host: usize, asked: usize, message: Message) {
        let now_ms = self.now_ms;
        let input = match message {
            Message::IsrAnswered(change, answer) => {
                return self.hosts[host].isr_answered(change, answer, now_ms);
            }
            Message::Fetched(response) => Input::Fetched(response),
            Message::Listed(response) => Input::Listed(response),
            _ => Input::NoAnswer,
        };
        self.hosts[host].answer(id(asked), input, now_ms);
    }

    fn after_step(&mut self) {
        for host in 0..3 {
            let life = self.hosts[host].life;
            for wish in std::mem::take(&mut self.hosts[host].wishes) {
                let (asked, message) = match wish {
                    Wish::Fetch(leader, request) => (place(leader), Message::Fetch(request)),
                    Wish::ListOffsets(leader, request) => {
                        (place(leader), Message::ListOffsets(request))
                    }
                    Wish::Isr(change) => (host, Message::Isr(change)),
                };
                self.network.push(Envelope {
                    asker: (host, life),
                    asked,
                    message,
                });
            }
            if let Some(process) = &mut self.hosts[host].process {
                self.checker.check(process, self.seed);
            }
        }
        self.acknowledge();
    }

    fn acknowledge(&mut self) {
        let hosts = &self.hosts;
        let acknowledged = &mut self.checker.acknowledged;
        self.waiting.retain(|waiting| {
            let host = &hosts[waiting.host];
            let Some(process) = host.process.as_ref().filter(|_| host.life == waiting.life) else {
                return false;
            };
            let (offset, epoch) = (waiting.required_offset, waiting.leader_epoch);
            match process.partition.reached(offset, epoch, -1) {
                Reached::Yes => {
                    acknowledged.insert(waiting.value);
                    false
                }
                Reached::NotYet => true,
                Reached::Never(_) => false,
            }
        });
    }

    /// Whoever leads in the newest epoch has everything that was ever committed.
    fn check_leader(&self, host: usize) {
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        let newest = self.state();
        if newest.leader == Some(id(host)) && process.leader_epoch() == newest.leader_epoch {
            let end = process.partition.read_lock().log.log_end_offset().0;
            let committed = self.checker.committed_end();
            assert!(
                end >= committed,
                "the leader ends at {end}, {committed} are committed, seed {}",
                self.seed
            );
        }
    }

    /// All faults end, and all that is on its way arrives.
    pub(super) fn come_to_rest(&mut self) {
        self.faults = Faults::default();
        for host in 0..3 {
            if self.hosts[host].process.is_none() {
                self.register(host);
            } else if let Some(standing) = self.registered.0.get_mut(&id(host)) {
                standing.is_active = true;
            }
        }
        self.elect();
        self.let_everything_arrive();
        let leader = place(self.state().leader.unwrap());
        let value = self.next_value;
        let appended = self.hosts[leader].produce(value, self.now_ms);
        let appended = appended.unwrap_or_else(|| panic!("no append, seed {}", self.seed));
        self.waiting.push(Waiting {
            host: leader,
            life: self.hosts[leader].life,
            value,
            required_offset: appended.required_offset,
            leader_epoch: appended.leader_epoch,
        });
        self.let_everything_arrive();
    }

    fn let_everything_arrive(&mut self) {
        for _ in 0..300 {
            for host in 0..3 {
                while self.hosts[host]
                    .process
                    .as_ref()
                    .is_some_and(|process| process.seen < self.states.len())
                {
                    self.learn(host);
                }
                self.hosts[host].fetch(self.now_ms);
                while self.hosts[host].sync(self.now_ms) {}
                self.hosts[host].check_followers(self.now_ms);
                self.after_step();
            }
            while !self.network.is_empty() {
                self.deliver();
            }
            self.now_ms += 5;
            self.after_step();
        }
    }

    pub(super) fn check_at_rest(&mut self) {
        let seed = self.seed;
        let isr: BTreeSet<BrokerId> = self.state().isr.iter().copied().collect();
        assert_eq!(isr.len(), 3, "not all are in sync, seed {seed}");
        let whole: Vec<_> = self
            .hosts
            .iter()
            .map(|host| {
                let process = host.process.as_ref().unwrap();
                let (start, high_watermark, end) = {
                    let replica = process.partition.read_lock();
                    let log = &replica.log;
                    (
                        log.log_start_offset().0,
                        replica.high_watermark().0,
                        log.log_end_offset().0,
                    )
                };
                assert_eq!(high_watermark, end, "seed {seed}");
                (start, end, process.bytes(start, end))
            })
            .collect();
        assert!(
            whole[0] == whole[1] && whole[1] == whole[2],
            "replicas differ, seed {seed}"
        );
        assert!(!self.checker.acknowledged.is_empty(), "seed {seed}");
        self.checker.check_acknowledged(seed);
    }

    /// What the run came to: the records, and how many were acknowledged.
    pub(super) fn digest(&self) -> (Vec<u8>, usize, usize) {
        let process = self.hosts[0].process.as_ref().unwrap();
        let end = process.partition.read_lock().log.log_end_offset().0;
        let bytes = process.bytes(0, end).to_vec();
        (bytes, self.checker.acknowledged.len(), self.states.len())
    }
}
