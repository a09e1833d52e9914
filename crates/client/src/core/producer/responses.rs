//! What the brokers said of the batches.

use std::collections::BTreeMap;

use ottla_protocol::messages::{ProduceResponse, produce_response::PartitionProduceResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::accumulator::Batch;
use super::{Producer, RequestId};
use crate::Error;
use crate::core::call::RawResponse;

type Answers = BTreeMap<(KafkaString, i32), PartitionProduceResponse>;

impl Producer {
    pub(super) fn answered(
        &mut self,
        now_ms: i64,
        id: RequestId,
        result: Result<RawResponse, Error>,
    ) {
        let Some(batches) = self.sent.remove(&id) else {
            return;
        };
        let answers = if self.options.acks == 0 {
            result.map(|_| None)
        } else {
            result.and_then(|raw| self.by_partition(raw)).map(Some)
        };
        for batch in batches {
            if let Some(queue) = self.queue_mut(&batch.topic.clone(), batch.partition) {
                queue.in_flight = queue.in_flight.saturating_sub(1);
            }
            match &answers {
                Ok(None) => self.done(&batch, Ok((-1, None))),
                Ok(Some(answers)) => {
                    let answer = answers.get(&(batch.topic.clone(), batch.partition));
                    self.judge(now_ms, batch, answer);
                }
                Err(error) => {
                    self.cluster.refresh_metadata(now_ms);
                    self.retry_or_fail(now_ms, batch, error.clone());
                }
            }
        }
    }

    fn by_partition(&self, raw: RawResponse) -> Result<Answers, Error> {
        let response = raw.decode::<ProduceResponse>()?;
        let mut answers = Answers::new();
        for topic in response.responses {
            let by_id = self.cluster.metadata().topic_by_id(topic.topic_id);
            let name = by_id.map_or(topic.name, |known| known.name.clone());
            for partition in topic.partition_responses {
                answers.insert((name.clone(), partition.index), partition);
            }
        }
        Ok(answers)
    }

    fn judge(&mut self, now_ms: i64, batch: Batch, answer: Option<&PartitionProduceResponse>) {
        let Some(answer) = answer else {
            let error = Error::Protocol("an answer leaves out a partition".into());
            return self.fail(&batch, error);
        };
        let code = ErrorCode(answer.error_code);
        match code {
            ErrorCode::NONE => {
                let time = answer.log_append_time_ms;
                self.done(
                    &batch,
                    Ok((answer.base_offset, (time >= 0).then_some(time))),
                );
            }
            ErrorCode::DUPLICATE_SEQUENCE_NUMBER => self.done(&batch, Ok((-1, None))),
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            | ErrorCode::UNKNOWN_PRODUCER_ID
            | ErrorCode::INVALID_PRODUCER_EPOCH
                if self.options.enable_idempotence =>
            {
                self.sequence_refused(now_ms, batch, code);
            }
            _ => {
                if code.means_stale_metadata() {
                    self.cluster.refresh_metadata(now_ms);
                }
                let message = answer.error_message.as_deref();
                let error = Error::check(code.0, message)
                    .err()
                    .unwrap_or(Error::Broker(code));
                self.retry_or_fail(now_ms, batch, error);
            }
        }
    }

    /// A number was not the one that the broker expected. If an earlier batch is still to come,
    /// this one only has to wait for it; otherwise numbers were lost, and begin again.
    fn sequence_refused(&mut self, now_ms: i64, batch: Batch, code: ErrorCode) {
        let in_flight = self.sent.values().flatten();
        let queue = self.topics.get(&batch.topic).and_then(|topic| {
            topic
                .partitions
                .get(usize::try_from(batch.partition).unwrap_or(0))
        });
        let queued = queue.into_iter().flat_map(|queue| &queue.closed);
        let earlier = in_flight.chain(queued).any(|other| {
            other.topic == batch.topic
                && other.partition == batch.partition
                && other.id < batch.id
                && other.base_sequence.is_some()
        });
        let waits = earlier && code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
        if let Some(queue) = self.queue_mut(&batch.topic.clone(), batch.partition) {
            queue.sequences.broken |= !waits;
        }
        self.requeue(now_ms, batch);
    }

    fn retry_or_fail(&mut self, now_ms: i64, batch: Batch, error: Error) {
        let in_time = now_ms - batch.created_ms < self.options.delivery_timeout_ms;
        if error.is_retriable() && in_time && batch.attempts <= self.options.retries {
            self.requeue(now_ms, batch);
        } else {
            self.fail(&batch, error);
        }
    }

    fn fail(&mut self, batch: &Batch, error: Error) {
        if let Some(queue) = self.queue_mut(&batch.topic.clone(), batch.partition) {
            queue.sequences.broken |= batch.base_sequence.is_some();
        }
        self.done(batch, Err(error));
    }

    /// Puts the batch back before every later one.
    fn requeue(&mut self, now_ms: i64, mut batch: Batch) {
        let backoff = self.options.cluster.retry_backoff;
        let wait = backoff.after(batch.attempts, self.cluster.random());
        batch.not_before_ms = now_ms + wait;
        if let Some(queue) = self.queue_mut(&batch.topic.clone(), batch.partition) {
            let place = queue.closed.partition_point(|other| other.id < batch.id);
            queue.closed.insert(place, batch);
        }
    }
}
