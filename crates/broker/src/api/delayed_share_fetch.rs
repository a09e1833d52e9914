//! A share fetch that waits for records.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ottla_protocol::ErrorCode;
use parking_lot::Mutex;

use super::share_fetch_response::ShareAnswer;
use crate::node::Node;
use crate::purgatory::{DelayedOperation, try_complete_else_watch};
use crate::replica::share_partition::{AcquireMode, AcquireRequest};
use crate::replica::{Isolation, PartitionRead, ReadRequest};
use crate::share_group::{FetchLock, LedSharePartition, SessionKey, limits, read_spans, wake};

/// How much a share fetch wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchLimits {
    pub(super) mode: AcquireMode,
    pub(super) records_max: i64,
    pub(super) batch_size: i64,
    pub(super) bytes_min: u64,
    pub(super) bytes_max: u64,
    pub(super) reads_committed: bool,
}

type Done = Box<dyn FnOnce(Vec<ShareAnswer>) + Send>;

/// A share fetch that waits for records.
pub(super) struct DelayedShareFetch {
    node: Arc<Node>,
    key: SessionKey,
    session_id: u64,
    limits: FetchLimits,
    partitions: Vec<Arc<LedSharePartition>>,
    waiting: Mutex<Option<(Vec<ShareAnswer>, Done)>>,
    /// Since when it has waited for a partition that it may read, in monotonic milliseconds.
    waiting_since_ms: AtomicI64,
}

/// A partition that this fetch may read, and what it read.
struct Reading {
    lock: FetchLock,
    fetch_offset: i64,
    read: Result<PartitionRead, ErrorCode>,
}

impl DelayedShareFetch {
    /// Fetches now, or once there is enough, or when the time is over.
    pub(super) fn start(
        (node, key, session_id): (&Arc<Node>, SessionKey, u64),
        limits: FetchLimits,
        (partitions, refused): (Vec<Arc<LedSharePartition>>, Vec<ShareAnswer>),
        wait_ms: i64,
        done: impl FnOnce(Vec<ShareAnswer>) + Send + 'static,
    ) {
        let watched = partitions
            .iter()
            .flat_map(|led| [led.watchers(), led.replica().watchers()])
            .map(Arc::clone)
            .collect();
        let now_ms = node.environment().clock.monotonic_ms();
        let operation = DelayedShareFetch {
            node: Arc::clone(node),
            key,
            session_id,
            limits,
            partitions,
            waiting: Mutex::new(Some((refused, Box::new(done)))),
            waiting_since_ms: AtomicI64::new(now_ms),
        };
        let deadline_ms = now_ms + wait_ms;
        try_complete_else_watch(node.timers(), Box::new(operation), watched, deadline_ms);
    }

    fn read_all(&self) -> Vec<Reading> {
        let mut begun: Vec<(i64, FetchLock)> = Vec::new();
        for led in &self.partitions {
            begun.extend(led.begin_fetch(&self.node));
        }
        let share = u64::try_from(begun.len()).unwrap_or(1).max(1);
        let bytes_each = self.limits.bytes_max / share;
        let mut bytes_left = self.limits.bytes_max;
        let mut is_any_read = false;
        let mut readings = Vec::with_capacity(begun.len());
        for (fetch_offset, lock) in begun {
            let request = ReadRequest {
                offset: fetch_offset,
                bytes_max: bytes_each.min(bytes_left),
                isolation: if self.limits.reads_committed {
                    Isolation::LastStableOffset
                } else {
                    Isolation::HighWatermark
                },
                min_one_batch: !is_any_read,
                current_leader_epoch: -1,
                last_fetched_epoch: -1,
                from_any_replica: false,
            };
            let read = lock.partition().replica().read(request);
            let bytes = read.as_ref().map_or(0, |read| read.bytes);
            is_any_read |= bytes > 0;
            bytes_left = bytes_left.saturating_sub(bytes);
            readings.push(Reading {
                lock,
                fetch_offset,
                read,
            });
        }
        readings
    }

    /// Acquires from what was read.
    fn acquire(&self, readings: &[Reading]) -> Vec<ShareAnswer> {
        let mut records_left = self.limits.records_max;
        let mut answers = Vec::with_capacity(readings.len());
        for reading in readings {
            let led = reading.lock.partition();
            let key = led.key();
            let mut answer = ShareAnswer::refused(key.topic_id, key.partition, ErrorCode::NONE);
            match &reading.read {
                // The log has moved on: the next fetch begins where it does.
                Err(ErrorCode::OFFSET_OUT_OF_RANGE) => led.move_to_log_start(),
                Err(error) => {
                    answer.error = *error;
                    self.count_failed(led);
                }
                Ok(read) => self.acquire_from(reading, read, &mut records_left, &mut answer),
            }
            answers.push(answer);
        }
        answers
    }

    fn acquire_from(
        &self,
        reading: &Reading,
        read: &PartitionRead,
        records_left: &mut i64,
        answer: &mut ShareAnswer,
    ) {
        let led = reading.lock.partition();
        let fetched = match read_spans(&read.regions) {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::error!(%error, key = ?led.key(), "a log could not be read");
                answer.error = ErrorCode::KAFKA_STORAGE_ERROR;
                self.count_failed(led);
                return;
            }
        };
        answer.acquired = led.acquire(
            &self.node,
            &AcquireRequest {
                member: &self.key.member,
                mode: self.limits.mode,
                records_max: *records_left,
                batch_size: self.limits.batch_size,
                fetch_offset: reading.fetch_offset,
                batches: &fetched.spans,
                aborted: read.aborted.as_deref().unwrap_or_default(),
                limits: limits(&self.node, &self.key.group),
                now_ms: self.node.environment().clock.monotonic_ms(),
            },
        );
        let acquired: i64 = answer.acquired.iter().map(|records| records.count()).sum();
        *records_left -= acquired;
        answer.regions = fetched.slice(&answer.acquired);
        let bytes = answer.records_bytes();
        self.node.metrics().all_topics().bytes_out.add(bytes);
        led.replica().metrics().bytes_out.add(bytes);
    }

    /// Measures how hard it is to come to read: after each attempt that could, and after the last.
    fn measure(&self, readable: usize, is_over: bool) {
        if readable == 0 && !is_over {
            return;
        }
        let measures = self.node.metrics().share_groups().group(&self.key.group);
        let now_ms = self.node.environment().clock.monotonic_ms();
        let waited_ms = now_ms - self.waiting_since_ms.swap(now_ms, Ordering::Relaxed);
        let waited_ms = u64::try_from(waited_ms).unwrap_or(0);
        measures.acquire_time.record(waited_ms);
        if is_over {
            let percent = readable * 100 / self.partitions.len().max(1);
            measures.fetch_ratio.record(percent as u64);
        }
    }

    fn count_failed(&self, led: &LedSharePartition) {
        let all = self.node.metrics().all_topics();
        all.failed_share_fetch_requests.add(1);
        led.replica().metrics().failed_share_fetch_requests.add(1);
    }

    /// Partitions that could not be taken up.
    fn refused_partitions(&self) -> Vec<ShareAnswer> {
        let refused = self.partitions.iter().filter_map(|led| {
            let refused = led.refusal()?;
            let key = led.key();
            self.count_failed(led);
            Some(ShareAnswer::refused(
                key.topic_id,
                key.partition,
                refused.error,
            ))
        });
        refused.collect()
    }
}

impl DelayedOperation for DelayedShareFetch {
    fn name(&self) -> Option<&'static str> {
        Some("ShareFetch")
    }

    fn try_complete(&self, expired: bool) -> bool {
        let mut locked = self.waiting.lock();
        if locked.is_none() {
            return true;
        }
        let sessions = self.node.share_groups().sessions();
        // A member that has gone is given nothing: it could not let it go.
        let is_gone = !sessions.is_open(&self.key, self.session_id);
        let readings = if is_gone { Vec::new() } else { self.read_all() };
        let bytes: u64 = readings
            .iter()
            .filter_map(|reading| reading.read.as_ref().ok())
            .map(|read| read.bytes)
            .sum();
        let is_any_error = readings.iter().any(|reading| reading.read.is_err());
        let has_enough = !readings.is_empty() && bytes >= self.limits.bytes_min;
        let is_over = expired || is_gone || is_any_error || has_enough;
        if !is_gone {
            self.measure(readings.len(), is_over);
        }
        if !is_over {
            return false;
        }
        let Some((mut answers, done)) = locked.take() else {
            return true;
        };
        drop(locked);
        if expired {
            self.node.share_groups().counts().expired_fetches.add(1);
        }
        answers.splice(0..0, self.acquire(&readings));
        answers.extend(self.refused_partitions());
        let read: Vec<_> = readings
            .into_iter()
            .map(|reading| Arc::clone(reading.lock.partition()))
            .collect();
        done(answers);
        // Others may get what is left.
        for led in read {
            wake(&self.node, led.watchers());
        }
        true
    }
}
