//! Fetch sessions: what a consumer fetches is told once, then only changes go either way (KIP-227).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::{ErrorCode, KafkaString, Uuid};
use parking_lot::Mutex;

use crate::environment::Random;

/// The session id of a fetch without a session.
pub(crate) const NO_SESSION: i32 = 0;
/// The epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that ends a session.
const FINAL_EPOCH: i32 = -1;
/// A session that was used or made within this time keeps its slot.
const EVICTION_MS: i64 = 120_000;

/// How a fetch names a topic: by name up to version 12, by id from then on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    Name(KafkaString),
    Id(Uuid),
}

/// One partition that a fetch wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchPartition {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) current_leader_epoch: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) log_start_offset: i64,
    pub(crate) max_bytes: i32,
}

/// What of a partition's answer decides whether it must be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerState {
    pub(crate) has_records: bool,
    pub(crate) is_error: bool,
    pub(crate) has_diverging_epoch: bool,
    pub(crate) has_preferred_read_replica: bool,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
}

/// What a fetch asks of the sessions.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    pub(crate) session_id: i32,
    pub(crate) session_epoch: i32,
    pub(crate) uses_topic_ids: bool,
    pub(crate) is_follower: bool,
    pub(crate) partitions: Vec<FetchPartition>,
    pub(crate) forgotten: Vec<(TopicKey, i32)>,
}

#[derive(Debug)]
struct CachedPartition {
    wanted: FetchPartition,
    high_watermark: i64,
    log_start_offset: i64,
}

impl CachedPartition {
    fn new(wanted: FetchPartition) -> CachedPartition {
        CachedPartition {
            wanted,
            high_watermark: -1,
            log_start_offset: -1,
        }
    }

    /// Remembers what is answered; says whether the answer must be sent.
    fn note(&mut self, answer: AnswerState) -> bool {
        let changed = answer.has_records
            || answer.is_error
            || answer.has_diverging_epoch
            || answer.has_preferred_read_replica
            || answer.high_watermark != self.high_watermark
            || answer.log_start_offset != self.log_start_offset;
        // After an error the next answer is sent whatever it is.
        self.high_watermark = if answer.is_error {
            -1
        } else {
            answer.high_watermark
        };
        self.log_start_offset = answer.log_start_offset;
        changed
    }
}

#[derive(Debug, Default)]
struct OrderedPartitions {
    by_order: BTreeMap<u64, CachedPartition>,
    order_of: BTreeMap<(TopicKey, i32), u64>,
    next_order: u64,
}

impl OrderedPartitions {
    fn set(&mut self, wanted: FetchPartition) {
        let key = (wanted.topic.clone(), wanted.partition);
        if let Some(partition) = self
            .order_of
            .get(&key)
            .and_then(|order| self.by_order.get_mut(order))
        {
            partition.wanted = wanted;
            return;
        }
        self.push(key, CachedPartition::new(wanted));
    }

    fn push(&mut self, key: (TopicKey, i32), partition: CachedPartition) {
        self.order_of.insert(key, self.next_order);
        self.by_order.insert(self.next_order, partition);
        self.next_order += 1;
    }

    fn remove(&mut self, key: &(TopicKey, i32)) -> Option<CachedPartition> {
        let order = self.order_of.remove(key)?;
        self.by_order.remove(&order)
    }

    fn wanted(&self) -> Vec<FetchPartition> {
        self.by_order
            .values()
            .map(|partition| partition.wanted.clone())
            .collect()
    }
}

#[derive(Debug)]
struct Session {
    uses_topic_ids: bool,
    is_follower: bool,
    epoch: i32,
    partitions: OrderedPartitions,
    created_ms: i64,
    last_used_ms: i64,
}

/// The sessions of a node, bounded by `max.incremental.fetch.session.cache.slots`.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    slots: usize,
    random: Arc<Random>,
    sessions: Mutex<BTreeMap<i32, Session>>,
}

/// How a fetch stands to its session.
#[derive(Debug)]
pub(crate) enum FetchContext {
    /// No session: everything is told both ways.
    Sessionless(Vec<FetchPartition>),
    /// A session is to begin with this fetch.
    Full {
        partitions: Vec<FetchPartition>,
        uses_topic_ids: bool,
        is_follower: bool,
    },
    /// A session goes on.
    Incremental {
        session_id: i32,
        partitions: Vec<FetchPartition>,
    },
}

impl FetchContext {
    /// What is to be fetched, in the order in which it is to be served.
    pub(crate) fn partitions(&self) -> &[FetchPartition] {
        match self {
            FetchContext::Sessionless(partitions)
            | FetchContext::Full { partitions, .. }
            | FetchContext::Incremental { partitions, .. } => partitions,
        }
    }
}

impl FetchSessions {
    pub(crate) fn new(slots: usize, random: Arc<Random>) -> FetchSessions {
        FetchSessions {
            slots,
            random,
            sessions: Mutex::default(),
        }
    }

    /// How many sessions are held, and how many partitions they hold together.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let sessions = self.sessions.lock();
        let partitions = sessions
            .values()
            .map(|session| session.partitions.by_order.len() as u64);
        (sessions.len() as u64, partitions.sum())
    }

    /// Finds or begins the session of a fetch.
    pub(crate) fn open(
        &self,
        request: SessionRequest,
        now_ms: i64,
    ) -> Result<FetchContext, ErrorCode> {
        let mut sessions = self.sessions.lock();
        if matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            if request.session_id != NO_SESSION {
                sessions.remove(&request.session_id);
            }
            if request.session_epoch == FINAL_EPOCH {
                return Ok(FetchContext::Sessionless(request.partitions));
            }
            return Ok(FetchContext::Full {
                partitions: request.partitions,
                uses_topic_ids: request.uses_topic_ids,
                is_follower: request.is_follower,
            });
        }
        let Some(session) = sessions.get_mut(&request.session_id) else {
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        };
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        for wanted in request.partitions {
            session.partitions.set(wanted);
        }
        for forgotten in &request.forgotten {
            session.partitions.remove(forgotten);
        }
        if session.partitions.by_order.is_empty() {
            sessions.remove(&request.session_id);
            return Ok(FetchContext::Sessionless(Vec::new()));
        }
        session.last_used_ms = now_ms;
        session.epoch = next_epoch(session.epoch);
        Ok(FetchContext::Incremental {
            session_id: request.session_id,
            partitions: session.partitions.wanted(),
        })
    }

    /// Notes what is answered: the session's id, and which of the answers, in the order of the context's partitions, are to be sent.
    pub(crate) fn answer(
        &self,
        context: FetchContext,
        answers: &[AnswerState],
        now_ms: i64,
    ) -> (i32, Vec<bool>) {
        match context {
            FetchContext::Sessionless(_) => (NO_SESSION, vec![true; answers.len()]),
            FetchContext::Full {
                partitions,
                uses_topic_ids,
                is_follower,
            } => {
                let mut ordered = OrderedPartitions::default();
                for (wanted, answer) in partitions.into_iter().zip(answers) {
                    let key = (wanted.topic.clone(), wanted.partition);
                    let mut partition = CachedPartition::new(wanted);
                    partition.note(*answer);
                    ordered.push(key, partition);
                }
                let session = Session {
                    uses_topic_ids,
                    is_follower,
                    epoch: next_epoch(INITIAL_EPOCH),
                    partitions: ordered,
                    created_ms: now_ms,
                    last_used_ms: now_ms,
                };
                (self.begin(session, now_ms), vec![true; answers.len()])
            }
            FetchContext::Incremental {
                session_id,
                partitions,
            } => (
                session_id,
                self.answer_changes(session_id, &partitions, answers),
            ),
        }
    }

    fn answer_changes(
        &self,
        session_id: i32,
        partitions: &[FetchPartition],
        answers: &[AnswerState],
    ) -> Vec<bool> {
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.get_mut(&session_id) else {
            return vec![true; answers.len()];
        };
        let mut send = Vec::with_capacity(answers.len());
        for (wanted, answer) in partitions.iter().zip(answers) {
            let key = (wanted.topic.clone(), wanted.partition);
            let Some(order) = session.partitions.order_of.get(&key).copied() else {
                send.push(true);
                continue;
            };
            let changed = session
                .partitions
                .by_order
                .get_mut(&order)
                .is_none_or(|partition| partition.note(*answer));
            send.push(changed);
            // What was served goes to the end, so that a full response starves nobody.
            if answer.has_records
                && let Some(partition) = session.partitions.remove(&key)
            {
                session.partitions.push(key, partition);
            }
        }
        send
    }

    /// Gives a new session a slot, if one is free or its holder has to yield.
    fn begin(&self, session: Session, now_ms: i64) -> i32 {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= self.slots {
            let Some(evicted) = evictable(&sessions, &session, now_ms) else {
                return NO_SESSION;
            };
            sessions.remove(&evicted);
        }
        if self.slots == 0 {
            return NO_SESSION;
        }
        loop {
            let id = i32::try_from(self.random.below(0x7fff_ffff)).unwrap_or(0);
            if id != NO_SESSION && !sessions.contains_key(&id) {
                sessions.insert(id, session);
                return id;
            }
        }
    }
}

/// Which session makes room for a new one: the one idle for longest, if it is stale, else a smaller one that is no follower's.
fn evictable(sessions: &BTreeMap<i32, Session>, new: &Session, now_ms: i64) -> Option<i32> {
    let (oldest_id, oldest) = sessions
        .iter()
        .min_by_key(|(_, session)| session.last_used_ms)?;
    if now_ms - oldest.last_used_ms > EVICTION_MS {
        return Some(*oldest_id);
    }
    let size = |session: &Session| session.partitions.by_order.len();
    let (id, candidate) = sessions
        .iter()
        .filter(|(_, session)| {
            let settled = now_ms - session.created_ms > EVICTION_MS;
            (new.is_follower && !session.is_follower)
                || (settled && (new.is_follower || !session.is_follower))
        })
        .min_by_key(|(_, session)| (session.is_follower, size(session)))?;
    let yields = (new.is_follower && !candidate.is_follower) || size(candidate) < size(new);
    yields.then_some(*id)
}

/// The epoch after `epoch`, never one that means something else.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partition: i32) -> FetchPartition {
        FetchPartition {
            topic: TopicKey::Name(KafkaString::from("t")),
            partition,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: 1024,
        }
    }

    fn request(session_id: i32, session_epoch: i32, partitions: &[i32]) -> SessionRequest {
        SessionRequest {
            session_id,
            session_epoch,
            uses_topic_ids: false,
            is_follower: false,
            partitions: partitions.iter().map(|index| wanted(*index)).collect(),
            forgotten: Vec::new(),
        }
    }

    fn quiet(high_watermark: i64) -> AnswerState {
        AnswerState {
            has_records: false,
            is_error: false,
            has_diverging_epoch: false,
            has_preferred_read_replica: false,
            high_watermark,
            log_start_offset: 0,
        }
    }

    fn sessions(slots: usize) -> FetchSessions {
        FetchSessions::new(slots, Arc::new(Random::from_seed(1)))
    }

    fn begin(sessions: &FetchSessions, partitions: &[i32], now_ms: i64) -> i32 {
        let context = sessions.open(request(0, 0, partitions), now_ms).unwrap();
        let answers = vec![quiet(5); partitions.len()];
        sessions.answer(context, &answers, now_ms).0
    }

    #[test]
    fn an_incremental_fetch_hears_only_of_changes() {
        let sessions = sessions(10);
        let id = begin(&sessions, &[0, 1], 0);
        assert_ne!(id, NO_SESSION);
        let context = sessions.open(request(id, 1, &[]), 0).unwrap();
        assert_eq!(context.partitions().len(), 2);
        let (same, send) = sessions.answer(context, &[quiet(5), quiet(6)], 0);
        assert_eq!((same, send), (id, vec![false, true]));
    }

    #[test]
    fn wrong_epochs_and_ids_are_refused() {
        let sessions = sessions(10);
        let id = begin(&sessions, &[0], 0);
        let refused = |request| sessions.open(request, 0).unwrap_err();
        assert_eq!(
            refused(request(id, 2, &[])),
            ErrorCode::INVALID_FETCH_SESSION_EPOCH
        );
        assert_eq!(
            refused(request(id.wrapping_add(1), 1, &[])),
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND
        );
        let mut by_id = request(id, 1, &[]);
        by_id.uses_topic_ids = true;
        assert_eq!(refused(by_id), ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
    }

    #[test]
    fn forgetting_everything_ends_the_session() {
        let sessions = sessions(10);
        let id = begin(&sessions, &[0], 0);
        let mut last = request(id, 1, &[]);
        last.forgotten = vec![(TopicKey::Name(KafkaString::from("t")), 0)];
        let context = sessions.open(last, 0).unwrap();
        assert!(matches!(context, FetchContext::Sessionless(_)));
        assert!(sessions.sessions.lock().is_empty());
    }

    #[test]
    fn a_full_cache_gives_up_only_stale_or_smaller_sessions() {
        let sessions = sessions(1);
        let first = begin(&sessions, &[0], 0);
        assert_ne!(first, NO_SESSION);
        assert_eq!(begin(&sessions, &[0, 1], 1_000), NO_SESSION);
        let larger = begin(&sessions, &[0, 1], EVICTION_MS + 1);
        assert_ne!(larger, NO_SESSION);
        assert_eq!(begin(&sessions, &[0], EVICTION_MS + 2), NO_SESSION);
    }
}
