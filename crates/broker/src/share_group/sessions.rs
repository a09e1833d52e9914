//! Share sessions: a member names the partitions that it fetches once, and then only changes.
//!
//! A member has at most one session with a broker, and a session lives as long as its connection.

use std::collections::BTreeMap;

use ottla_protocol::{ErrorCode, KafkaString, Uuid};
use parking_lot::Mutex;

const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// A member of a share group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionKey {
    pub(crate) group: KafkaString,
    pub(crate) member: KafkaString,
}

/// A partition that a member wants to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    /// Whether there was a topic of this id when it was named.
    pub(crate) is_known: bool,
}

/// What a fetch asks of the sessions.
#[derive(Debug)]
pub(crate) struct OpenSession {
    pub(crate) key: SessionKey,
    pub(crate) epoch: i32,
    pub(crate) has_acknowledgements: bool,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) forgotten: Vec<(Uuid, i32)>,
    pub(crate) connection: u64,
}

/// A partition of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cached {
    wanted: Wanted,
    /// The next answer is sent whatever it is.
    is_due: bool,
}

/// How a fetch stands to its session.
#[derive(Debug, Clone)]
pub(crate) enum SessionContext {
    /// A session begins: every partition is answered.
    Full { id: u64, partitions: Vec<Wanted> },
    /// A session goes on: only what is new is answered.
    Incremental { id: u64, partitions: Vec<Wanted> },
    /// The session ends, and nothing is fetched.
    Final,
}

/// What a lost connection leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClosedConnection {
    pub(crate) key: SessionKey,
    /// The partitions of the session that it ended; none if the session ended before.
    pub(crate) partitions: Option<Vec<(Uuid, i32)>>,
    /// Whether no member of the group has a session here any more.
    pub(crate) is_group_empty: bool,
}

type PartitionKey = (Uuid, i32);

#[derive(Debug)]
struct Session {
    id: u64,
    epoch: i32,
    connection: u64,
    by_order: BTreeMap<u64, Cached>,
    order_of: BTreeMap<PartitionKey, u64>,
    next_order: u64,
}

impl Session {
    fn push(&mut self, cached: Cached) {
        let key = (cached.wanted.topic_id, cached.wanted.partition);
        self.order_of.insert(key, self.next_order);
        self.by_order.insert(self.next_order, cached);
        self.next_order += 1;
    }

    fn remove(&mut self, key: &PartitionKey) -> Option<Cached> {
        let order = self.order_of.remove(key)?;
        self.by_order.remove(&order)
    }

    fn partitions(&self) -> Vec<Wanted> {
        self.by_order.values().map(|cached| cached.wanted).collect()
    }

    fn keys(&self) -> Vec<PartitionKey> {
        let partitions = self.by_order.values();
        partitions
            .map(|cached| (cached.wanted.topic_id, cached.wanted.partition))
            .collect()
    }
}

/// The session that a connection opened last.
#[derive(Debug)]
struct Opened {
    key: SessionKey,
    /// Whether that session has ended since.
    is_over: bool,
}

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<SessionKey, Session>,
    connections: BTreeMap<u64, Opened>,
    members: BTreeMap<KafkaString, usize>,
    next_id: u64,
}

impl State {
    fn end(&mut self, key: &SessionKey) -> Option<Session> {
        let session = self.sessions.remove(key)?;
        if let Some(members) = self.members.get_mut(&key.group) {
            *members = members.saturating_sub(1);
        }
        if let Some(opened) = self.connections.get_mut(&session.connection) {
            opened.is_over = true;
        }
        Some(session)
    }
}

/// The share sessions of a broker, at most `group.share.max.share.sessions`.
#[derive(Debug)]
pub(crate) struct ShareSessions {
    sessions_max: usize,
    state: Mutex<State>,
}

impl ShareSessions {
    pub(crate) fn new(sessions_max: usize) -> ShareSessions {
        ShareSessions {
            sessions_max,
            state: Mutex::default(),
        }
    }

    /// How many sessions there are, and how many partitions they have together.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let state = self.state.lock();
        let partitions = state.sessions.values();
        let partitions = partitions.map(|session| session.by_order.len() as u64);
        (state.sessions.len() as u64, partitions.sum())
    }

    /// Finds, begins or ends the session of a fetch.
    pub(crate) fn open(&self, open: OpenSession) -> Result<SessionContext, ErrorCode> {
        let mut state = self.state.lock();
        match open.epoch {
            FINAL_EPOCH if state.sessions.contains_key(&open.key) => Ok(SessionContext::Final),
            FINAL_EPOCH => Err(ErrorCode::SHARE_SESSION_NOT_FOUND),
            INITIAL_EPOCH => self.begin(&mut state, open),
            _ => go_on(&mut state, open),
        }
    }

    fn begin(&self, state: &mut State, open: OpenSession) -> Result<SessionContext, ErrorCode> {
        if open.has_acknowledgements {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        state.end(&open.key);
        let id = state.next_id;
        let mut session = Session {
            id,
            epoch: next_epoch(INITIAL_EPOCH),
            connection: open.connection,
            by_order: BTreeMap::new(),
            order_of: BTreeMap::new(),
            next_order: 0,
        };
        for wanted in &open.wanted {
            session.push(Cached {
                wanted: *wanted,
                is_due: false,
            });
        }
        if session.order_of.len() < open.wanted.len() {
            // Apache Kafka has no code for a partition that is named twice.
            return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
        }
        if state.sessions.len() >= self.sessions_max {
            return Err(ErrorCode::SHARE_SESSION_LIMIT_REACHED);
        }
        state.next_id += 1;
        *state.members.entry(open.key.group.clone()).or_default() += 1;
        let opened = Opened {
            key: open.key.clone(),
            is_over: false,
        };
        state.connections.insert(open.connection, opened);
        state.sessions.insert(open.key, session);
        Ok(SessionContext::Full {
            id,
            partitions: open.wanted,
        })
    }

    /// Takes an acknowledgement's epoch.
    pub(crate) fn acknowledge(&self, key: &SessionKey, epoch: i32) -> Result<(), ErrorCode> {
        if epoch == INITIAL_EPOCH {
            return Err(ErrorCode::INVALID_SHARE_SESSION_EPOCH);
        }
        let mut state = self.state.lock();
        let session = state
            .sessions
            .get_mut(key)
            .ok_or(ErrorCode::SHARE_SESSION_NOT_FOUND)?;
        if epoch == FINAL_EPOCH {
            return Ok(());
        }
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_SHARE_SESSION_EPOCH);
        }
        session.epoch = next_epoch(session.epoch);
        Ok(())
    }

    /// Ends all sessions: their members begin anew, if they may.
    pub(crate) fn close_all(&self) {
        let mut state = self.state.lock();
        state.sessions.clear();
        state.members.clear();
        for opened in state.connections.values_mut() {
            opened.is_over = true;
        }
    }

    /// Whether a session is still there.
    pub(crate) fn is_open(&self, key: &SessionKey, id: u64) -> bool {
        let state = self.state.lock();
        state
            .sessions
            .get(key)
            .is_some_and(|session| session.id == id)
    }

    /// Ends a member's session; its partitions come back.
    pub(crate) fn close(&self, key: &SessionKey) -> Option<Vec<(Uuid, i32)>> {
        let session = self.state.lock().end(key)?;
        Some(session.keys())
    }

    /// Ends the session that a connection opened.
    pub(crate) fn connection_closed(&self, connection: u64) -> Option<ClosedConnection> {
        let mut state = self.state.lock();
        let opened = state.connections.remove(&connection)?;
        let session = if opened.is_over {
            None
        } else {
            state.end(&opened.key)
        };
        let members = state.members.get(&opened.key.group).copied();
        let is_group_empty = members.unwrap_or(0) == 0;
        if is_group_empty {
            state.members.remove(&opened.key.group);
        }
        Some(ClosedConnection {
            key: opened.key,
            partitions: session.map(|session| session.keys()),
            is_group_empty,
        })
    }

    /// Which of the answers of a session that goes on are sent: those with records or an error, and the first of each partition.
    ///
    /// Partitions with records go to the end, so that a full response starves nobody.
    pub(crate) fn answer(
        &self,
        key: &SessionKey,
        id: u64,
        answers: &[(PartitionKey, bool, bool)],
    ) -> Vec<bool> {
        let mut state = self.state.lock();
        let session = state
            .sessions
            .get_mut(key)
            .filter(|session| session.id == id);
        let Some(session) = session else {
            let is_news = |(_, has_records, is_error): &(_, bool, bool)| *has_records || *is_error;
            return answers.iter().map(is_news).collect();
        };
        let mut send = Vec::with_capacity(answers.len());
        for (partition, has_records, is_error) in answers {
            let order = session.order_of.get(partition).copied();
            let Some(cached) = order.and_then(|order| session.by_order.get_mut(&order)) else {
                send.push(*has_records || *is_error);
                continue;
            };
            send.push(*has_records || *is_error || cached.is_due);
            cached.is_due = *is_error;
            if *has_records && let Some(cached) = session.remove(partition) {
                session.push(cached);
            }
        }
        send
    }
}

fn go_on(state: &mut State, open: OpenSession) -> Result<SessionContext, ErrorCode> {
    let session = state
        .sessions
        .get_mut(&open.key)
        .ok_or(ErrorCode::SHARE_SESSION_NOT_FOUND)?;
    if session.epoch != open.epoch {
        return Err(ErrorCode::INVALID_SHARE_SESSION_EPOCH);
    }
    for wanted in open.wanted {
        if !session
            .order_of
            .contains_key(&(wanted.topic_id, wanted.partition))
        {
            session.push(Cached {
                wanted,
                is_due: true,
            });
        }
    }
    for forgotten in &open.forgotten {
        session.remove(forgotten);
    }
    session.epoch = next_epoch(session.epoch);
    let mut partitions = session.partitions();
    // Another partition comes first each time.
    if let Some(first) = usize::try_from(open.epoch)
        .ok()
        .and_then(|epoch| epoch.checked_rem(partitions.len()))
    {
        partitions.rotate_left(first);
    }
    Ok(SessionContext::Incremental {
        id: session.id,
        partitions,
    })
}

/// The epoch after `epoch`, never one that means something else.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partition: i32) -> Wanted {
        Wanted {
            topic_id: Uuid([7; 16]),
            partition,
            is_known: true,
        }
    }

    fn key(member: &str) -> SessionKey {
        SessionKey {
            group: KafkaString::from("g"),
            member: KafkaString::from(member.to_owned()),
        }
    }

    fn open(member: &str, epoch: i32, partitions: &[i32]) -> OpenSession {
        OpenSession {
            key: key(member),
            epoch,
            has_acknowledgements: false,
            wanted: partitions.iter().map(|index| wanted(*index)).collect(),
            forgotten: Vec::new(),
            connection: 1,
        }
    }

    #[test]
    fn a_session_names_partitions_once_and_answers_only_news() {
        let sessions = ShareSessions::new(10);
        let SessionContext::Full { id, .. } = sessions.open(open("m", 0, &[0, 1])).unwrap() else {
            panic!("a session begins with everything");
        };
        let context = sessions.open(open("m", 1, &[2])).unwrap();
        let SessionContext::Incremental { partitions, .. } = context else {
            panic!("a session goes on with what is new");
        };
        let partitions: Vec<i32> = partitions.iter().map(|w| w.partition).collect();
        assert_eq!(partitions, [1, 2, 0]);
        let quiet = |partition| ((Uuid([7; 16]), partition), false, false);
        let answers = [quiet(0), quiet(1), quiet(2)];
        assert_eq!(
            sessions.answer(&key("m"), id, &answers),
            [false, false, true]
        );
        assert_eq!(sessions.answer(&key("m"), id, &answers), [false; 3]);
        assert_eq!(sessions.sizes(), (1, 3));
    }

    #[test]
    fn wrong_epochs_and_unknown_sessions_are_refused() {
        let sessions = ShareSessions::new(10);
        let refused = |open| sessions.open(open).unwrap_err();
        assert_eq!(
            refused(open("m", 1, &[])),
            ErrorCode::SHARE_SESSION_NOT_FOUND
        );
        assert_eq!(
            refused(open("m", -1, &[])),
            ErrorCode::SHARE_SESSION_NOT_FOUND
        );
        sessions.open(open("m", 0, &[0])).unwrap();
        assert_eq!(
            refused(open("m", 2, &[])),
            ErrorCode::INVALID_SHARE_SESSION_EPOCH
        );
        let acknowledge = |epoch| sessions.acknowledge(&key("m"), epoch);
        assert_eq!(acknowledge(0), Err(ErrorCode::INVALID_SHARE_SESSION_EPOCH));
        assert_eq!(acknowledge(2), Err(ErrorCode::INVALID_SHARE_SESSION_EPOCH));
        assert_eq!(acknowledge(1), Ok(()));
        assert_eq!(acknowledge(2), Ok(()));
        let mut with_acknowledgements = open("m", 0, &[0]);
        with_acknowledgements.has_acknowledgements = true;
        assert_eq!(refused(with_acknowledgements), ErrorCode::INVALID_REQUEST);
    }

    #[test]
    fn there_are_so_many_sessions_and_no_more() {
        let sessions = ShareSessions::new(1);
        sessions.open(open("a", 0, &[0])).unwrap();
        let refused = sessions.open(open("b", 0, &[0])).unwrap_err();
        assert_eq!(refused, ErrorCode::SHARE_SESSION_LIMIT_REACHED);
        assert_eq!(sessions.close(&key("a")), Some(vec![(Uuid([7; 16]), 0)]));
        assert!(sessions.open(open("b", 0, &[0])).is_ok());
    }

    #[test]
    fn a_lost_connection_ends_its_session_and_the_last_one_empties_the_group() {
        let sessions = ShareSessions::new(10);
        sessions.open(open("a", 0, &[0])).unwrap();
        let mut other = open("b", 0, &[1]);
        other.connection = 2;
        sessions.open(other).unwrap();
        let closed = sessions.connection_closed(1).unwrap();
        assert_eq!(closed.partitions, Some(vec![(Uuid([7; 16]), 0)]));
        assert!(!closed.is_group_empty);
        sessions.close(&key("b"));
        let closed = sessions.connection_closed(2).unwrap();
        assert_eq!(closed.partitions, None);
        assert!(closed.is_group_empty);
        assert_eq!(sessions.connection_closed(2), None);
    }

    #[test]
    fn all_sessions_end_at_once() {
        let sessions = ShareSessions::new(5);
        for member in ["a", "b"] {
            sessions.open(open(member, 0, &[0])).unwrap();
        }
        sessions.close_all();
        assert_eq!(sessions.sizes(), (0, 0));
        let refused = sessions.open(open("a", 1, &[]));
        assert_eq!(refused.unwrap_err(), ErrorCode::SHARE_SESSION_NOT_FOUND);
        sessions.open(open("a", 0, &[0])).unwrap();
    }
}
