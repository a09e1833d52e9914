use sha2::{Digest, Sha256};

/// Bytes that one key takes, whatever its length: a hash of 16 and an offset of 8, as in Kafka.
const SLOT_BYTES: u64 = 24;

/// The hash of a key, and the offset after its last record; 0 where there is none.
type Slot = [u64; 3];

/// The last offset of each key of the dirty part, in memory that is bounded.
///
/// Keys are known by a hash of 128 bits alone: two keys with the same one would count as one.
/// Kafka hashes by MD5, for which such keys can be made; here it is a part of SHA-256.
pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    slots_max: u64,
    keys: u64,
    keys_max: u64,
    latest_offset: i64,
}

impl OffsetMap {
    /// A map that takes at most `buffer_bytes`, of which `load_factor` may be filled, and no more
    /// than `records` need.
    pub(crate) fn new(buffer_bytes: u64, load_factor: f64, records: u64) -> Self {
        let slots_max = (buffer_bytes / SLOT_BYTES).max(1);
        let keys_max = part_of(slots_max, load_factor).clamp(1, slots_max);
        let needed = records.saturating_add(records / 8).saturating_add(1);
        let slots = usize::try_from(needed.min(slots_max)).unwrap_or(usize::MAX);
        Self {
            slots: vec![[0; 3]; slots],
            slots_max,
            keys: 0,
            keys_max,
            latest_offset: -1,
        }
    }

    /// Whether another key might find no room.
    pub(crate) fn is_full(&self) -> bool {
        self.keys >= self.keys_max.min(self.slots.len() as u64)
    }

    /// Notes a record, which comes after all that were noted before.
    pub(crate) fn put(&mut self, key: &[u8], offset: i64) {
        let hash = hash(key);
        let at = self.find(hash);
        if let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) {
            self.keys += u64::from(slot[2] == 0);
            *slot = [hash[0], hash[1], offset.unsigned_abs() + 1];
        }
        self.latest_offset = offset;
    }

    /// The last offset of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots.get(self.find(hash(key))?)?;
        i64::try_from(slot[2].checked_sub(1)?).ok()
    }

    /// The slot of a hash, or the free one where it would go.
    fn find(&self, hash: [u64; 2]) -> Option<usize> {
        let count = self.slots.len();
        let start = usize::try_from(hash[0] % count.max(1) as u64).unwrap_or(0);
        let is_it = |at: &usize| {
            let slot = self.slots.get(*at).copied().unwrap_or_default();
            slot[2] == 0 || [slot[0], slot[1]] == hash
        };
        (start..count).chain(0..start).find(is_it)
    }

    /// The map holds all that is dirty up to here, inclusive; -1 at first.
    pub(crate) fn latest_offset(&self) -> i64 {
        self.latest_offset
    }

    /// Everything up to an offset was seen, keys or not.
    pub(crate) fn raise_latest_offset(&mut self, offset: i64) {
        self.latest_offset = self.latest_offset.max(offset);
    }

    /// How much of the memory that is allowed was used, from 0 to 1.
    pub(crate) fn utilization(&self) -> f64 {
        ratio(self.keys, self.slots_max)
    }
}

impl std::fmt::Debug for OffsetMap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OffsetMap")
            .field("keys", &self.keys)
            .field("latest_offset", &self.latest_offset)
            .finish_non_exhaustive()
    }
}

fn hash(key: &[u8]) -> [u64; 2] {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let (words, _) = digest.as_chunks::<8>();
    match *words {
        [first, second, ..] => [u64::from_be_bytes(first), u64::from_be_bytes(second)],
        _ => [0; 2],
    }
}

/// A fraction; 0 of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of bytes or slots needs no more digits than a float has"
)]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of slots, times a factor that is at most 1, is no larger"
)]
fn part_of(count: u64, factor: f64) -> u64 {
    (count as f64 * factor.clamp(0.0, 1.0)) as u64
}
