//! The consumer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ottla_protocol::KafkaString;

use super::driver::{self, Machine, Shared};
use crate::Error;
use crate::core::consumer::{
    CommittedOffset, Consumer as Core, ConsumerEvent, ConsumerRecord, OffsetReset, TopicFilter,
    TopicPartition,
};
use crate::core::{NetworkInput, Output};
use crate::settings::Settings;

impl Machine for Core {
    type Event = ConsumerEvent;

    fn handle(&mut self, now_ms: i64, input: NetworkInput) {
        Core::handle(self, now_ms, input);
    }

    fn poll(&mut self) -> Option<Output<ConsumerEvent>> {
        Core::poll(self)
    }

    fn next_deadline(&self) -> Option<i64> {
        Core::next_deadline(self)
    }
}

/// Reads records, alone or in a group.
///
/// Its futures may be dropped: [`Consumer::poll`] has then given nothing, and loses nothing.
pub struct Consumer {
    shared: Arc<Shared<Core>>,
    events: Arc<Mutex<VecDeque<ConsumerEvent>>>,
}

impl Consumer {
    /// A consumer with these settings; it connects when it is given something to read.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let mut options = settings.consumer_options()?;
        options.cluster.seed = super::seed();
        let shared = Shared::new(Core::new(options));
        let events = Arc::new(Mutex::new(VecDeque::new()));
        let sink = Arc::clone(&events);
        driver::spawn(Arc::clone(&shared), move |event: ConsumerEvent| {
            sink.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(event);
        });
        Ok(Self { shared, events })
    }

    fn with_core<T>(&self, change: impl FnOnce(&mut Core, i64) -> T) -> T {
        let now_ms = self.shared.now_ms();
        let outcome = change(&mut self.shared.lock(), now_ms);
        self.shared.wake();
        outcome
    }

    /// Reads these topics, as the group divides them.
    pub fn subscribe<'a>(&self, topics: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let topics: BTreeSet<KafkaString> = topics.into_iter().map(KafkaString::from).collect();
        self.with_core(|core, now_ms| core.subscribe(now_ms, topics))
    }

    /// Reads the topics whose name the filter wants, as the group divides them.
    pub fn subscribe_filter(&self, filter: TopicFilter) -> Result<(), Error> {
        self.with_core(|core, now_ms| core.subscribe_filter(now_ms, filter))
    }

    /// Reads these partitions.
    pub fn assign(&self, partitions: &[TopicPartition]) {
        self.with_core(|core, now_ms| core.assign(now_ms, partitions));
    }

    /// The partitions that are read now.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.lock().assignment()
    }

    /// Goes on at an offset.
    pub fn seek(&self, partition: &TopicPartition, offset: i64) -> Result<(), Error> {
        self.with_core(|core, now_ms| core.seek(now_ms, partition, offset))
    }

    /// Goes on at the first offset.
    pub fn seek_to_beginning(&self, partition: &TopicPartition) -> Result<(), Error> {
        self.with_core(|core, now_ms| core.seek_to(now_ms, partition, OffsetReset::Earliest))
    }

    /// Goes on after the last offset.
    pub fn seek_to_end(&self, partition: &TopicPartition) -> Result<(), Error> {
        self.with_core(|core, now_ms| core.seek_to(now_ms, partition, OffsetReset::Latest))
    }

    /// Gives out no records of the partition until it is resumed.
    pub fn pause(&self, partition: &TopicPartition) -> Result<(), Error> {
        self.with_core(|core, _| core.set_paused(partition, true))
    }

    /// Gives out records of the partition again.
    pub fn resume(&self, partition: &TopicPartition) -> Result<(), Error> {
        self.with_core(|core, _| core.set_paused(partition, false))
    }

    /// The next offset that the user gets, once it is known.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.shared.lock().position(partition)
    }

    /// Partitions that the group gave or took since the last call, and commits that were done.
    #[must_use]
    pub fn take_events(&self) -> Vec<ConsumerEvent> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect()
    }

    /// Records, at most `max.poll.records`; none if none come before the time-out.
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<ConsumerRecord>, Error> {
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

    /// Commits everything that was polled.
    pub async fn commit(&self) -> Result<(), Error> {
        let positions = self.shared.lock().positions();
        self.commit_offsets(&positions).await
    }

    /// Commits these offsets.
    pub async fn commit_offsets(
        &self,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<(), Error> {
        if offsets.is_empty() {
            return Ok(());
        }
        let id = self.with_core(|core, now_ms| core.commit(now_ms, offsets))?;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
                let place = events.iter().position(
                    |event| matches!(event, ConsumerEvent::Committed(done, _) if *done == id),
                );
                if let Some(ConsumerEvent::Committed(_, result)) =
                    place.and_then(|place| events.remove(place))
                {
                    return result;
                }
            }
            changed.await;
        }
    }

    /// Commits if `enable.auto.commit` says so, and leaves the group.
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

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.close();
    }
}
