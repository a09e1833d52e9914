//! The transaction coordinator at its boundary: requests in, records and answers out, replayed as the runtime does.

mod end_transaction;
mod init_producer_id;
mod partitions;
mod random_conversation;
mod records;
mod timeouts;

use std::sync::Arc;

use ottla_protocol::{ErrorCode, KafkaString};

use super::*;
use crate::Now;

const ID: &str = "tx";

/// A coordinator with its log, its clock, and a producer id for whoever needs one.
struct Partition {
    coordinator: TransactionCoordinator,
    log: Vec<TransactionRecord>,
    /// Ends that are decided and not carried out.
    ended: Vec<EndedTransaction>,
    now_ms: i64,
    next_producer_id: i64,
    config: Arc<TransactionCoordinatorConfig>,
    transaction_version: i16,
}

impl Partition {
    fn new(transaction_version: i16) -> Self {
        Self::with(transaction_version, TransactionCoordinatorConfig::default())
    }

    fn with(transaction_version: i16, config: TransactionCoordinatorConfig) -> Self {
        let config = Arc::new(config);
        let mut partition = Self {
            coordinator: TransactionCoordinator::new(Arc::clone(&config)),
            log: Vec::new(),
            ended: Vec::new(),
            now_ms: 1_000,
            next_producer_id: 1_000,
            config,
            transaction_version,
        };
        partition.load();
        partition
    }

    fn now(&self) -> Now {
        Now {
            wall_ms: 1_700_000_000_000 + self.now_ms,
            monotonic_ms: self.now_ms,
        }
    }

    /// Reads the state from the log again, as a restart does.
    fn load(&mut self) {
        self.coordinator = TransactionCoordinator::new(Arc::clone(&self.config));
        self.coordinator
            .set_transaction_version(self.transaction_version);
        self.ended.clear();
        let now = self.now();
        for record in &self.log {
            let (key, value) = record.encode().unwrap();
            let read = TransactionRecord::decode(Some(key), value).unwrap();
            self.coordinator.replay(now, &read);
        }
        let released = self.coordinator.loaded(now);
        self.take(released);
    }

    /// Appends and replays, as the runtime does.
    fn apply<R>(&mut self, decision: Decision<R>) -> R {
        let now = self.now();
        for record in decision.records {
            self.coordinator.replay(now, &record);
            self.log.push(record);
        }
        self.take(decision.released);
        decision.response
    }

    fn take(&mut self, released: Vec<Released>) {
        for released in released {
            match released {
                Released::Ended(ended) => self.ended.push(ended),
                Released::TimedOut(id) => {
                    let new = self.new_producer_id();
                    let decision = self.coordinator.abort_timed_out(self.now(), &id, Some(new));
                    self.apply(decision);
                }
            }
        }
    }

    fn new_producer_id(&mut self) -> i64 {
        self.next_producer_id += 1;
        self.next_producer_id
    }

    /// Writes every marker and completes.
    fn carry_out(&mut self) -> Vec<EndedTransaction> {
        let ended = std::mem::take(&mut self.ended);
        for ended in &ended {
            let now = self.now();
            let decision = self
                .coordinator
                .complete(now, &ended.transactional_id, ended.producer);
            self.apply(decision);
        }
        ended
    }

    fn init(&mut self, request: &InitProducer) -> Result<Producer, ErrorCode> {
        let decision = self.coordinator.init_producer_id(self.now(), request);
        let mut outcome = self.apply(decision);
        if outcome == Outcome::NeedsProducerId {
            let request = InitProducer {
                new_producer_id: Some(self.new_producer_id()),
                ..request.clone()
            };
            let decision = self.coordinator.init_producer_id(self.now(), &request);
            outcome = self.apply(decision);
        }
        answer(outcome)
    }

    /// A new producer takes the id over.
    fn take_over(&mut self) -> Result<Producer, ErrorCode> {
        self.init(&init())
    }

    fn add(&mut self, producer: Producer, partitions: &[(&str, i32)]) -> ErrorCode {
        let id = KafkaString::from(ID);
        let client_version = if self.transaction_version >= 2 { 2 } else { 0 };
        let decision = self.coordinator.add_partitions(
            self.now(),
            (&id, producer),
            &named(partitions),
            client_version,
        );
        self.apply(decision)
    }

    fn end(&mut self, producer: Producer, committed: bool) -> Result<Producer, ErrorCode> {
        let mut request = EndTransaction {
            transactional_id: ID.into(),
            producer,
            committed,
            client_transaction_version: if self.transaction_version >= 2 { 2 } else { 0 },
            new_producer_id: None,
        };
        let decision = self.coordinator.end_transaction(self.now(), &request);
        let mut outcome = self.apply(decision);
        if outcome == Outcome::NeedsProducerId {
            request.new_producer_id = Some(self.new_producer_id());
            let decision = self.coordinator.end_transaction(self.now(), &request);
            outcome = self.apply(decision);
        }
        answer(outcome)
    }

    /// Lets time pass, with what is due in it.
    fn advance(&mut self, duration_ms: i64) {
        let until_ms = self.now_ms + duration_ms;
        while let Some(due_ms) = self
            .coordinator
            .next_deadline()
            .filter(|due| *due <= until_ms)
        {
            self.now_ms = self.now_ms.max(due_ms);
            while let Some(decision) = self.coordinator.handle_timeout(self.now()) {
                self.apply(decision);
            }
        }
        self.now_ms = until_ms;
    }

    fn state(&self) -> Option<TransactionState> {
        let last = self
            .log
            .iter()
            .rev()
            .find(|record| record.transactional_id == ID)?;
        last.metadata.as_ref().map(|metadata| metadata.state)
    }

    fn last(&self) -> &TransactionMetadata {
        self.log.last().unwrap().metadata.as_ref().unwrap()
    }

    /// Writes a record as it stands, as an earlier coordinator may have.
    fn write(&mut self, metadata: TransactionMetadata) {
        let record = TransactionRecord {
            transactional_id: ID.into(),
            metadata: Some(metadata),
            version: TransactionRecord::value_version(self.transaction_version),
        };
        self.log.push(record);
        self.load();
    }
}

fn answer(outcome: Outcome) -> Result<Producer, ErrorCode> {
    match outcome {
        Outcome::Producer(producer) => Ok(producer),
        Outcome::Refused(error) => Err(error),
        Outcome::NeedsProducerId => panic!("a producer id was given"),
    }
}

fn init() -> InitProducer {
    InitProducer {
        transactional_id: ID.into(),
        timeout_ms: 60_000,
        enable_two_phase_commit: false,
        keep_prepared_transaction: false,
        expected: None,
        new_producer_id: None,
    }
}

fn named(partitions: &[(&str, i32)]) -> Partitions {
    let mut named = Partitions::new();
    for (topic, index) in partitions {
        named
            .entry(KafkaString::from(*topic))
            .or_default()
            .insert(*index);
    }
    named
}
