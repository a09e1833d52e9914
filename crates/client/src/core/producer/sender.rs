//! Which batches go out, to whom, and when.

use std::collections::BTreeMap;

use ottla_protocol::messages::{ProduceRequest, produce_request};
use ottla_protocol::{ApiKey, KafkaString, Message, Uuid, Writer};

use super::accumulator::{Batch, Queue};
use super::{Producer, ProducerOptions};
use crate::Error;
use crate::core::call::Call;
use crate::core::cluster::Destination;

/// The last version that names topics instead of giving their ids.
const PRODUCE_BY_NAME_MAX: i16 = 12;

#[derive(Debug)]
struct ProduceCall {
    request: ProduceRequest,
    size: usize,
    version_max: i16,
}

impl Call for ProduceCall {
    fn api_key(&self) -> ApiKey {
        ApiKey::Produce
    }

    fn versions(&self) -> (i16, i16) {
        (3, ApiKey::Produce.enabled_versions(false).max)
    }

    fn version_max(&self) -> i16 {
        self.version_max
    }

    fn expects_response(&self) -> bool {
        self.request.acks != 0
    }

    fn encode_body(&self, writer: &mut Writer, version: i16) -> Result<(), Error> {
        self.request.encode(writer, version).map_err(Error::from)
    }

    fn size_hint(&self) -> usize {
        self.size
    }
}

impl Queue {
    /// Whether the next batch may be sent now.
    fn is_ready(&self, now_ms: i64, options: &ProducerOptions) -> bool {
        let Some(first) = self.closed.front() else {
            return false;
        };
        let retrying = first.attempts > 0;
        first.not_before_ms <= now_ms
            && !self.sequences.broken
            && (!retrying || self.in_flight == 0 || !options.enable_idempotence)
            && (self.in_flight < 5 || !options.enable_idempotence)
    }
}

impl Producer {
    /// Gives up what has waited for longer than `delivery.timeout.ms`.
    pub(super) fn expire(&mut self, now_ms: i64) {
        let oldest_ms = now_ms - self.options.delivery_timeout_ms;
        let mut expired = Vec::new();
        for queue in self
            .topics
            .values_mut()
            .flat_map(|topic| &mut topic.partitions)
        {
            while queue
                .closed
                .front()
                .is_some_and(|batch| batch.created_ms <= oldest_ms)
            {
                let Some(batch) = queue.closed.pop_front() else {
                    break;
                };
                queue.sequences.broken |= batch.base_sequence.is_some();
                expired.push(batch);
            }
        }
        for batch in expired {
            let reason = format!(
                "{} record(s) for {}-{} waited {} ms since their batch was made",
                batch.count,
                batch.topic,
                batch.partition,
                now_ms - batch.created_ms
            );
            self.done(
                &batch,
                Err(Error::TimedOut {
                    reason: Some(reason),
                }),
            );
        }
    }

    /// Sends every batch that is ready to its partition's leader.
    pub(super) fn send_ready(&mut self, now_ms: i64) {
        self.close_lingered(now_ms);
        let ready = self.ready_by_leader(now_ms);
        self.mend_sequences();
        if ready.is_empty() || !self.has_identity(now_ms) {
            return;
        }
        for (leader, mut partitions) in ready {
            while self.cluster.can_send(leader) {
                let batches = self.take_batches(now_ms, &partitions);
                if batches.is_empty() {
                    break;
                }
                self.send_batches(now_ms, leader, batches);
                partitions.rotate_left(1);
            }
            if !self.cluster.can_send(leader) {
                self.cluster.connect(now_ms, leader);
            }
        }
    }

    /// Closes open batches that have lingered, or that a flush wants out.
    fn close_lingered(&mut self, now_ms: i64) {
        let flush_up_to = self.flush_up_to;
        let linger_ms = self.options.linger_ms;
        let due: Vec<(KafkaString, i32)> = self
            .topics
            .iter()
            .flat_map(|(name, topic)| {
                (0..)
                    .zip(&topic.partitions)
                    .filter_map(move |(index, queue)| {
                        let open = queue.open.as_ref()?;
                        let due = open.created_ms + linger_ms <= now_ms
                            || flush_up_to.is_some_and(|up_to| open.id <= up_to);
                        due.then(|| (name.clone(), index))
                    })
            })
            .collect();
        for (name, index) in due {
            self.close_batch(now_ms, &name, index);
        }
    }

    fn ready_by_leader(&mut self, now_ms: i64) -> BTreeMap<i32, Vec<(KafkaString, i32)>> {
        let mut ready: BTreeMap<i32, Vec<(KafkaString, i32)>> = BTreeMap::new();
        let mut leaderless = false;
        for (name, topic) in &self.topics {
            for (index, queue) in (0..).zip(&topic.partitions) {
                let broken = queue.sequences.broken && queue.in_flight == 0;
                if !broken && !queue.is_ready(now_ms, &self.options) {
                    continue;
                }
                if queue.closed.is_empty() {
                    continue;
                }
                match self.cluster.metadata().leader(name, index) {
                    Some(leader) => ready.entry(leader).or_default().push((name.clone(), index)),
                    None => leaderless = true,
                }
            }
        }
        if leaderless {
            self.cluster.refresh_metadata(now_ms);
        }
        ready
    }

    /// Takes the first ready batch of each partition, as many as one request holds.
    fn take_batches(&mut self, now_ms: i64, partitions: &[(KafkaString, i32)]) -> Vec<Batch> {
        let identity = self
            .identity
            .current
            .filter(|_| self.options.enable_idempotence);
        let size_max = self.options.max_request_size;
        let options = self.options.clone();
        let mut size = 0;
        let mut batches = Vec::new();
        for (name, index) in partitions {
            let Some(queue) = self.queue_mut(name, *index) else {
                continue;
            };
            if !queue.is_ready(now_ms, &options) {
                continue;
            }
            let length = queue.closed.front().map_or(0, |batch| batch.records.len());
            if size + length > size_max && size > 0 {
                break;
            }
            let Some(mut batch) = queue.closed.pop_front() else {
                continue;
            };
            queue.number(&mut batch, identity);
            queue.in_flight += 1;
            size += length;
            batches.push(batch);
        }
        batches
    }

    fn send_batches(&mut self, now_ms: i64, leader: i32, mut batches: Vec<Batch>) {
        let mut by_topic: BTreeMap<&KafkaString, Vec<&Batch>> = BTreeMap::new();
        for batch in &batches {
            by_topic.entry(&batch.topic).or_default().push(batch);
        }
        let metadata = self.cluster.metadata();
        let mut version_max = i16::MAX;
        let topic_data = by_topic
            .into_iter()
            .map(|(name, batches)| {
                let topic_id = metadata.topic_id(name).unwrap_or(Uuid::ZERO);
                if topic_id.is_zero() {
                    version_max = PRODUCE_BY_NAME_MAX;
                }
                let partition_data =
                    batches
                        .into_iter()
                        .map(|batch| produce_request::PartitionProduceData {
                            index: batch.partition,
                            records: Some(batch.records.clone()),
                            ..produce_request::PartitionProduceData::default()
                        });
                produce_request::TopicProduceData {
                    name: name.clone(),
                    topic_id,
                    partition_data: partition_data.collect(),
                    ..produce_request::TopicProduceData::default()
                }
            })
            .collect();
        let timeout_ms = self.options.cluster.request_timeout_ms;
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.options.acks,
            timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
            topic_data,
            ..ProduceRequest::default()
        };
        let size = batches.iter().map(|batch| batch.records.len() + 32).sum();
        for batch in &mut batches {
            batch.attempts += 1;
        }
        let call = Box::new(ProduceCall {
            request,
            size,
            version_max,
        });
        let destination = Destination::Broker(leader);
        let id = self
            .cluster
            .send_once(now_ms, destination, call, now_ms + timeout_ms);
        self.sent.insert(id, batches);
    }
}
