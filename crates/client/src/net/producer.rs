//! The producer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::KafkaString;
use ottla_protocol::record::RecordHeader;
use tokio::sync::watch;

use super::driver::{self, Machine, Shared};
use crate::Error;
use crate::core::producer::{
    BatchId, Delivered, NotTaken, OutgoingRecord, Place, Producer as Core,
};
use crate::core::{NetworkInput, Output};
use crate::settings::Settings;

impl Machine for Core {
    type Event = Delivered;

    fn handle(&mut self, now_ms: i64, input: NetworkInput) {
        Core::handle(self, now_ms, input);
    }

    fn poll(&mut self) -> Option<Output<Delivered>> {
        Core::poll(self)
    }

    fn next_deadline(&self) -> Option<i64> {
        Core::next_deadline(self)
    }
}

/// A record to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerRecord {
    /// The topic.
    pub topic: KafkaString,
    /// The partition, or none to let the key or the producer choose.
    pub partition: Option<i32>,
    /// Milliseconds since 1970, or none for now.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Where a record is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The partition.
    pub partition: i32,
    /// The offset, or -1 if the broker did not say.
    pub offset: i64,
    /// The broker's timestamp, if the topic has those.
    pub timestamp: Option<i64>,
}

type Outcome = Option<Result<(i64, Option<i64>), Error>>;
type Waiting = Arc<Mutex<HashMap<BatchId, watch::Sender<Outcome>>>>;

/// A record on its way. It may be dropped: the record is sent all the same.
#[derive(Debug)]
pub struct Delivery {
    outcome: watch::Receiver<Outcome>,
    place: Place,
}

impl Delivery {
    /// Whether waiting would end at once.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.outcome.borrow().is_some()
    }

    /// Waits until the record is acknowledged, or given up.
    pub async fn wait(mut self) -> Result<RecordMetadata, Error> {
        let outcome = match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => return Err(Error::Closed),
        };
        let (base_offset, timestamp) = outcome.unwrap_or(Err(Error::Closed))?;
        let offset = match base_offset {
            ..0 => -1,
            base => base + i64::from(self.place.index),
        };
        Ok(RecordMetadata {
            partition: self.place.partition,
            offset,
            timestamp,
        })
    }
}

/// Sends records in batches.
///
/// Its futures may be dropped: [`Producer::send`] has then not taken the record, or has and sends
/// it; nothing is sent in part.
pub struct Producer {
    shared: Arc<Shared<Core>>,
    waiting: Waiting,
}

impl Producer {
    /// A producer with these settings; it connects when it is first given a record.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        Self::with_listener(settings, |_| {})
    }

    /// A producer that also tells a listener of each batch that is done, for those who send many
    /// records and want no future for each: see [`Producer::enqueue`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn with_listener(
        settings: &Settings,
        mut listener: impl FnMut(&Delivered) + Send + 'static,
    ) -> Result<Self, Error> {
        let mut options = settings.producer_options()?;
        options.cluster.seed = super::seed();
        let shared = Shared::new(Core::new(options));
        let waiting = Waiting::default();
        let to_answer = Arc::clone(&waiting);
        driver::spawn(Arc::clone(&shared), move |delivered: Delivered| {
            listener(&delivered);
            let mut waiting = to_answer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sender) = waiting.remove(&delivered.batch) {
                sender.send_replace(Some(delivered.result));
            }
        });
        Ok(Self { shared, waiting })
    }

    /// Takes a record, waiting up to `max.block.ms` for the topic's partitions to be known and for
    /// room in the buffer. The delivery that comes back tells when it is acknowledged.
    pub async fn send(&self, record: &ProducerRecord) -> Result<Delivery, Error> {
        let (place, outcome) = self.take(record, true).await?;
        let outcome = outcome.ok_or(Error::Closed)?;
        Ok(Delivery { outcome, place })
    }

    /// As [`Producer::send`], but only the listener hears of the delivery.
    pub async fn enqueue(&self, record: &ProducerRecord) -> Result<Place, Error> {
        Ok(self.take(record, false).await?.0)
    }

    async fn take(
        &self,
        record: &ProducerRecord,
        track: bool,
    ) -> Result<(Place, Option<watch::Receiver<Outcome>>), Error> {
        let headers: Vec<RecordHeader<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| RecordHeader {
                key,
                value: value.as_deref(),
            })
            .collect();
        let mut give_up_ms = None;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now_ms = self.shared.now_ms();
            let outgoing = OutgoingRecord {
                partition: record.partition,
                timestamp: record.timestamp.unwrap_or(now_ms),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            };
            let not_taken = match self.try_take(now_ms, &record.topic, &outgoing, track) {
                Ok(taken) => return Ok(taken),
                Err(NotTaken::Refused(error)) => return Err(error),
                Err(not_taken) => not_taken,
            };
            self.shared.wake();
            let give_up_ms = *give_up_ms.get_or_insert_with(|| {
                now_ms.saturating_add(self.shared.lock().options().max_block_ms)
            });
            if now_ms >= give_up_ms {
                return Err(match not_taken {
                    NotTaken::AwaitingMemory => Error::BufferFull,
                    _ => Error::TimedOut {
                        reason: Some(format!("topic {} is not known", record.topic)),
                    },
                });
            }
            let wait = Duration::from_millis(u64::try_from(give_up_ms - now_ms).unwrap_or(0));
            let _ = tokio::time::timeout(wait, changed).await;
        }
    }

    fn try_take(
        &self,
        now_ms: i64,
        topic: &KafkaString,
        record: &OutgoingRecord<'_>,
        track: bool,
    ) -> Result<(Place, Option<watch::Receiver<Outcome>>), NotTaken> {
        let mut core = self.shared.lock();
        let place = core.append(now_ms, topic, record)?;
        let outcome = track.then(|| {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting
                .entry(place.batch)
                .or_insert_with(|| watch::Sender::new(None))
                .subscribe()
        });
        drop(core);
        if place.wake {
            self.shared.wake();
        }
        Ok((place, outcome))
    }

    /// The producer's clock, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.shared.now_ms()
    }

    /// The number of a topic's partitions, once the topic is known.
    #[must_use]
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        let core = self.shared.lock();
        core.metadata()
            .topics
            .get(topic)
            .map(crate::core::metadata::Topic::partition_count)
    }

    /// Sends what there is without lingering, and waits until it is done.
    pub async fn flush(&self) {
        let up_to = self.shared.lock().flush(self.shared.now_ms());
        self.shared.wake();
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.shared.lock().is_flushed(up_to) {
                return;
            }
            changed.await;
        }
    }

    /// Flushes and takes no more records.
    pub async fn close(self) {
        self.shared.lock().close(self.shared.now_ms());
        self.flush().await;
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.close();
    }
}
