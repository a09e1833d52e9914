//! The producer's id, and the sequence numbers of its batches.

use bytes::Bytes;
use ottla_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use ottla_protocol::record::{RecordBatchMut, increment_sequence};

use super::accumulator::{Batch, Queue};
use super::{Producer, RequestId};
use crate::Error;
use crate::core::call::RawResponse;
use crate::core::cluster::Destination;

/// The producer's id and its life so far.
#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) current: Option<(i64, i16)>,
    pub(super) asked: Option<RequestId>,
    not_before_ms: i64,
    failures: u32,
}

/// Where one partition stands.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// The id and epoch that the partition's numbers belong to.
    identity: Option<(i64, i16)>,
    next: i32,
    /// Numbers were lost: begin again at 0 under a new epoch once nothing is in flight.
    pub(super) broken: bool,
}

impl Producer {
    /// Whether batches can be sent: at once, or once the producer has its id.
    pub(super) fn has_identity(&mut self, now_ms: i64) -> bool {
        if !self.options.enable_idempotence || self.identity.current.is_some() {
            return true;
        }
        if self.identity.asked.is_none() && self.identity.not_before_ms <= now_ms {
            let request = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: i32::MAX,
                producer_id: -1,
                producer_epoch: -1,
                ..InitProducerIdRequest::default()
            };
            let deadline_ms = now_ms + self.options.delivery_timeout_ms;
            let id = self
                .cluster
                .send(now_ms, Destination::Any, Box::new(request), deadline_ms);
            self.identity.asked = Some(id);
        }
        false
    }

    pub(super) fn identity_answered(&mut self, now_ms: i64, result: Result<RawResponse, Error>) {
        self.identity.asked = None;
        let answer = result
            .and_then(RawResponse::decode::<InitProducerIdResponse>)
            .and_then(|r| {
                Error::check(r.error_code, None).map(|()| (r.producer_id, r.producer_epoch))
            });
        match answer {
            Ok(identity) => {
                self.identity.current = Some(identity);
                self.identity.failures = 0;
            }
            Err(error) if error.is_retriable() => {
                self.identity.failures += 1;
                let backoff = self.options.cluster.retry_backoff;
                let wait = backoff.after(self.identity.failures, self.cluster.random());
                self.identity.not_before_ms = now_ms + wait;
            }
            Err(error) => self.fail_all(&error),
        }
    }

    /// When the id is asked for again, if the last answer was bad.
    pub(super) fn identity_due(&self) -> Option<i64> {
        (self.identity.failures > 0 && self.identity.asked.is_none())
            .then_some(self.identity.not_before_ms)
    }

    fn fail_all(&mut self, error: &Error) {
        let mut failed = Vec::new();
        let names: Vec<_> = self.topics.keys().cloned().collect();
        for name in names {
            let count = self
                .topics
                .get(&name)
                .map_or(0, |topic| topic.partitions.len());
            for index in (0..).take(count) {
                self.close_batch(0, &name, index);
                if let Some(queue) = self.queue_mut(&name, index) {
                    failed.extend(queue.closed.drain(..));
                }
            }
        }
        for batch in failed {
            self.done(&batch, Err(error.clone()));
        }
    }

    /// Begins a new epoch for partitions whose numbers are broken and that have nothing in flight.
    pub(super) fn mend_sequences(&mut self) {
        let Some((id, epoch)) = self.identity.current else {
            return;
        };
        let queues = self
            .topics
            .values_mut()
            .flat_map(|topic| &mut topic.partitions);
        let mut begun = None;
        for queue in queues.filter(|queue| queue.sequences.broken && queue.in_flight == 0) {
            let next = *begun.get_or_insert(epoch.checked_add(1).map(|epoch| (id, epoch)));
            queue.restart(next);
        }
        if let Some(next) = begun {
            // An epoch that has reached its end needs a new id.
            self.identity.current = next;
        }
    }
}

impl Queue {
    fn restart(&mut self, identity: Option<(i64, i16)>) {
        self.sequences = Sequences {
            identity,
            next: 0,
            broken: false,
        };
        for batch in &mut self.closed {
            batch.base_sequence = None;
        }
    }

    /// Gives the batch its numbers if it has none, and writes them into its header.
    pub(super) fn number(&mut self, batch: &mut Batch, identity: Option<(i64, i16)>) {
        let Some(current) = identity else { return };
        if batch.base_sequence.is_some() {
            return;
        }
        if self.sequences.identity != identity && self.in_flight == 0 {
            self.restart(identity);
        }
        let (id, epoch) = self.sequences.identity.unwrap_or(current);
        let base_sequence = self.sequences.next;
        self.sequences.next = increment_sequence(base_sequence, batch.count);
        batch.base_sequence = Some(base_sequence);
        let mut bytes = Vec::from(std::mem::take(&mut batch.records));
        if let Ok(mut header) = RecordBatchMut::parse(&mut bytes) {
            header.set_producer_state(id, epoch, base_sequence);
        }
        batch.records = Bytes::from(bytes);
    }
}
