//! What a node gets from outside: clock, randomness, background jobs, disk and network.
//!
//! In production these are the system's; in the simulator they are virtual, and a whole node runs in one thread from one seed.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::Disk;
use ottla_protocol::Uuid;
use parking_lot::Mutex;

/// Time as a node sees it.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since the Unix epoch: goes into records and may jump.
    fn wall_ms(&self) -> i64;
    /// Milliseconds that only grow: deadlines are in this time.
    fn monotonic_ms(&self) -> i64;
}

/// The clock of the machine.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock {
            started: std::time::Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Which threads a background job belongs to.
///
/// Consensus and metadata share no thread with the kinds that touch the data, so that a disk that stalls a produce does not fence the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobKind {
    /// Raft and the controller: one thread, in order.
    Controller,
    /// Applying committed metadata to the broker: one thread, in order.
    Metadata,
    /// Group coordinators: one thread, in order.
    Coordinator,
    /// Following the leaders of other brokers.
    Replication,
    /// Making appended data durable.
    Sync,
    /// Reads that miss the page cache.
    ColdRead,
    /// Retention, checkpoints and deferred deletion.
    Housekeeping,
    /// Compaction of logs.
    Cleaner,
    /// Copying replicas to other log directories.
    DirectoryMove,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [JobKind; 9] = [
        JobKind::Controller,
        JobKind::Metadata,
        JobKind::Coordinator,
        JobKind::Replication,
        JobKind::Sync,
        JobKind::ColdRead,
        JobKind::Housekeeping,
        JobKind::Cleaner,
        JobKind::DirectoryMove,
    ];
}

/// Work to be done on another thread.
pub type Job = Box<dyn FnOnce() + Send + 'static>;

/// Runs jobs in the background.
///
/// Jobs of [`JobKind::Controller`], [`JobKind::Metadata`] and [`JobKind::Coordinator`] run one after another in the order they were submitted; the other kinds in any order.
pub trait Jobs: Send + Sync + Debug {
    /// Takes a job and returns at once.
    fn submit(&self, kind: JobKind, job: Job);

    /// How many threads may be used at once where `wanted` would help; one in the simulator.
    fn parallelism(&self, wanted: usize) -> usize {
        wanted.max(1)
    }

    /// Says how many threads jobs of this kind have from now on; in the simulator one thread runs everything.
    fn set_threads(&self, _: JobKind, _: usize) {}

    /// Says that the earliest deadline of the node has become earlier.
    fn deadline_changed(&self);
}

/// Random numbers from one seed (xoshiro256**).
#[derive(Debug)]
pub struct Random {
    state: Mutex<[u64; 4]>,
}

impl Random {
    /// Numbers that follow from `seed`.
    #[must_use]
    pub fn from_seed(seed: u64) -> Random {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let state = [next(), next(), next(), next()];
        Random {
            state: Mutex::new(state),
        }
    }

    /// Numbers that nobody can foretell, seeded by the kernel.
    #[must_use]
    pub fn from_system() -> Random {
        let mut bytes = [0_u8; 32];
        let filled = std::fs::File::open("/dev/urandom")
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
        if filled.is_err() {
            let fallback = std::hash::BuildHasher::hash_one(
                &std::hash::RandomState::new(),
                std::process::id(),
            );
            return Random::from_seed(fallback);
        }
        let mut state = [1_u64; 4];
        for (word, chunk) in state.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut word_bytes = [0_u8; 8];
            word_bytes.copy_from_slice(chunk);
            *word = u64::from_le_bytes(word_bytes) | 1;
        }
        Random {
            state: Mutex::new(state),
        }
    }

    /// The next number.
    pub fn next_u64(&self) -> u64 {
        let mut s = self.state.lock();
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next_u64()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// A version-4 UUID, never one that Kafka reserves or prints with a leading dash.
    pub fn uuid(&self) -> Uuid {
        loop {
            let mut bytes = [0_u8; 16];
            bytes[..8].copy_from_slice(&self.next_u64().to_be_bytes());
            bytes[8..].copy_from_slice(&self.next_u64().to_be_bytes());
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            let uuid = Uuid(bytes);
            if !uuid.to_string().starts_with('-') {
                return uuid;
            }
        }
    }
}

/// A connection that this node has opened to another. Dropping it closes the connection.
pub trait Link: Send + Sync + Debug {
    /// Queues a frame, with its size in front, behind those before it; never blocks.
    fn send(&self, frame: Bytes);
}

/// Who hears of a connection that this node opens to another.
pub trait LinkEvents: Send + Sync {
    /// The connection is there: frames may go out.
    fn opened(&self);
    /// A frame came, without its size.
    fn received(&self, frame: Bytes);
    /// The connection could not be opened, or has ended; nothing follows.
    fn closed(&self, end: LinkEnd, reason: &str);
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEnd {
    /// It was never there: the other host says that nobody listens.
    Refused,
    /// It was never there for another reason, or it was there and is over.
    Ended,
}

/// The way to other nodes.
pub trait Network: Send + Sync + Debug {
    /// Begins to open a connection. What becomes of it is told to `events` later, never from within this call or one of the link.
    fn connect(&self, host: &str, port: u16, events: Arc<dyn LinkEvents>) -> Box<dyn Link>;
}

/// Everything that a node gets from outside.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Where the log directories are.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who runs background work.
    pub jobs: Arc<dyn Jobs>,
    /// Where chance comes from.
    pub random: Arc<Random>,
    /// How other nodes are reached.
    pub network: Arc<dyn Network>,
}
