//! The share consumer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::{KafkaString, Uuid};

use super::driver::{self, Machine, Shared};
use crate::Error;
use crate::core::consumer::ConsumerRecord;
use crate::core::random::Random;
use crate::core::share_consumer::{AcknowledgeType, ShareConsumer as Core, ShareRecord};
use crate::core::{NetworkInput, Output};
use crate::settings::Settings;

impl Machine for Core {
    type Event = ();

    fn handle(&mut self, now_ms: i64, input: NetworkInput) {
        Core::handle(self, now_ms, input);
    }

    fn poll(&mut self) -> Option<Output<()>> {
        Core::poll(self)
    }

    fn next_deadline(&self) -> Option<i64> {
        Core::next_deadline(self)
    }
}

/// Reads records that the members of a share group take from a queue, and acknowledges each.
///
/// Its futures may be dropped: [`ShareConsumer::poll`] has then given nothing, and what was fetched
/// is given by the next.
pub struct ShareConsumer {
    shared: Arc<Shared<Core>>,
}

impl ShareConsumer {
    /// A consumer with these settings, `group.id` among them; it connects when it is given topics.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let mut options = settings.share_consumer_options()?;
        options.cluster.seed = super::seed();
        let mut random = Random::new(super::seed());
        let bytes = std::array::from_fn(|_| u8::try_from(random.below(256)).unwrap_or(0));
        let shared = Shared::new(Core::new(options, Uuid::from_random_bytes(bytes)));
        driver::spawn(Arc::clone(&shared), |()| {});
        Ok(Self { shared })
    }

    fn with_core<T>(&self, change: impl FnOnce(&mut Core, i64) -> T) -> T {
        let now_ms = self.shared.now_ms();
        let outcome = change(&mut self.shared.lock(), now_ms);
        self.shared.wake();
        outcome
    }

    /// Reads these topics, as the group divides them.
    pub fn subscribe<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        let topics: BTreeSet<KafkaString> = topics.into_iter().map(KafkaString::from).collect();
        self.with_core(|core, now_ms| core.subscribe(now_ms, topics));
    }

    /// Records, at most `max.poll.records`; none if none come before the time-out. Each has to be
    /// acknowledged before the broker's lock on it ends.
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<ShareRecord>, Error> {
        let until = tokio::time::Instant::now() + timeout;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let records = self.with_core(|core, now_ms| core.poll_records(now_ms))?;
            if !records.is_empty() {
                return Ok(records);
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return Ok(records);
            }
        }
    }

    /// Says what becomes of a record; leaders hear of it with the next fetch, or when the consumer is
    /// closed.
    pub fn acknowledge(
        &self,
        record: &ConsumerRecord,
        outcome: AcknowledgeType,
    ) -> Result<(), Error> {
        self.with_core(|core, _| core.acknowledge(record, outcome))
    }

    /// Accepts every record that was polled and not acknowledged.
    pub fn acknowledge_all(&self) {
        self.with_core(|core, _| core.acknowledge_all());
    }

    /// Tells what was acknowledged and leaves the group.
    pub async fn close(self) {
        self.with_core(Core::close);
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.shared.lock().is_closed() {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for ShareConsumer {
    fn drop(&mut self) {
        self.shared.close();
    }
}
