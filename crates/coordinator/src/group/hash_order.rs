//! Maps whose order is that of Java's hash tables.
//!
//! Which member gets which partition, and the order of what stands in records, follow in Apache
//! Kafka from the order in which its hash tables are walked. A coordinator that is to come to the
//! same assignment has to walk in that order.

use std::borrow::Borrow;
use std::fmt;

use ottla_protocol::{KafkaString, Uuid};

use crate::group::partition::java_hash_code;

/// A key with the hash that Java gives it.
pub(crate) trait JavaHash: Eq {
    /// What `hashCode` says.
    fn java_hash(&self) -> i32;
}

impl JavaHash for str {
    fn java_hash(&self) -> i32 {
        java_hash_code(self)
    }
}

impl JavaHash for KafkaString {
    fn java_hash(&self) -> i32 {
        java_hash_code(self)
    }
}

impl JavaHash for i32 {
    fn java_hash(&self) -> i32 {
        *self
    }
}

impl JavaHash for Uuid {
    fn java_hash(&self) -> i32 {
        let (most_significant, least_significant) = self.halves();
        let mixed = (most_significant ^ least_significant).to_be_bytes();
        let [a, b, c, d, e, f, g, h] = mixed;
        i32::from_be_bytes([a, b, c, d]) ^ i32::from_be_bytes([e, f, g, h])
    }
}

/// Whose table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    /// `java.util.HashMap`
    Hash,
    /// Apache Kafka's `TimelineHashMap`
    Timeline,
}

/// The least number of slots of a `TimelineHashMap`.
const TIMELINE_SLOTS_MIN: usize = 2;
/// The number of slots of a `HashMap` that nobody has given a size.
const HASH_SLOTS_DEFAULT: usize = 16;
/// The multiplier that spreads a hash over the slots of a `TimelineHashMap`.
const TIMELINE_MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// A map in the order of a Java hash table.
#[derive(Clone)]
pub(crate) struct HashOrdered<K, V> {
    table: Table,
    slots: Vec<Vec<(K, V)>>,
    len: usize,
    /// How many slots the table begins with, once there is anything in it.
    slots_first: usize,
}

/// A set in the order of a Java hash table.
pub(crate) type HashOrderedSet<K> = HashOrdered<K, ()>;

impl<K: JavaHash, V> Default for HashOrdered<K, V> {
    fn default() -> Self {
        Self::of(Table::Hash, HASH_SLOTS_DEFAULT)
    }
}

impl<K: JavaHash, V> HashOrdered<K, V> {
    /// A `HashMap` with an initial capacity.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self::of(Table::Hash, capacity.max(1).next_power_of_two())
    }

    /// A `HashMap` with the capacity that Java's copying constructors give it.
    pub(crate) fn for_copy_of(len: usize) -> Self {
        Self::with_capacity(len * 4 / 3 + 1)
    }

    /// A `TimelineHashMap` of no expected size.
    pub(crate) fn timeline() -> Self {
        Self::of(Table::Timeline, TIMELINE_SLOTS_MIN)
    }

    fn of(table: Table, slots_first: usize) -> Self {
        Self {
            table,
            slots: Vec::new(),
            len: 0,
            slots_first,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get<Q: JavaHash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let slot = self.slots.get(self.slot_of(key))?;
        slot.iter()
            .find(|(known, _)| known.borrow() == key)
            .map(|(_, value)| value)
    }

    pub(crate) fn get_mut<Q: JavaHash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let index = self.slot_of(key);
        let slot = self.slots.get_mut(index)?;
        slot.iter_mut()
            .find(|(known, _)| known.borrow() == key)
            .map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Puts the value under the key, in the place of an earlier one, which is given back.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(known) = self.get_mut::<K>(&key) {
            return Some(std::mem::replace(known, value));
        }
        self.make_room();
        let index = self.slot_of::<K>(&key);
        self.slots[index].push((key, value));
        self.len += 1;
        if self.table == Table::Hash && self.len > self.slots.len() * 3 / 4 {
            self.resize(self.slots.len() * 2);
        }
        None
    }

    /// The value under the key, made if there is none, as `computeIfAbsent` and `merge` do: these
    /// put a new key before those that share its slot, and give the table more slots only when
    /// they come the next time.
    pub(crate) fn compute_if_absent(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.make_room();
        if self.len > self.slots.len() * 3 / 4 {
            self.resize(self.slots.len() * 2);
        }
        let index = self.slot_of::<K>(&key);
        let slot = &mut self.slots[index];
        let place = slot.iter().position(|(known, _)| *known == key);
        if place.is_none() {
            slot.insert(0, (key, make()));
            self.len += 1;
        }
        &mut slot[place.unwrap_or(0)].1
    }

    pub(crate) fn remove<Q: JavaHash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let index = self.slot_of(key);
        let slot = self.slots.get_mut(index)?;
        let place = slot.iter().position(|(known, _)| known.borrow() == key)?;
        self.len -= 1;
        Some(slot.remove(place).1)
    }

    /// Keys and values in the table's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let is_reversed = self.table == Table::Timeline;
        self.slots.iter().flat_map(move |slot| {
            (0..slot.len()).map(move |place| {
                // Kafka's table gives what shares a slot from the last to the first.
                let place = if is_reversed {
                    slot.len() - 1 - place
                } else {
                    place
                };
                let (key, value) = &slot[place];
                (key, value)
            })
        })
    }

    /// Keys in the table's order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// Values in the table's order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Values in the order in which a `HashMap` is walked, to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().flatten().map(|(_, value)| value)
    }

    fn make_room(&mut self) {
        if self.slots.is_empty() {
            self.slots.resize_with(self.slots_first, Vec::new);
        }
        // The load that Kafka's table bears is four entries to three slots.
        if self.table == Table::Timeline && (self.len + 1) * 3 > self.slots.len() * 4 {
            self.resize(self.slots.len() * 2);
        }
    }

    fn resize(&mut self, slots: usize) {
        let earlier = std::mem::take(&mut self.slots);
        self.slots.resize_with(slots, Vec::new);
        for (key, value) in earlier.into_iter().flatten() {
            let index = self.slot_of::<K>(&key);
            self.slots[index].push((key, value));
        }
    }

    fn slot_of<Q: JavaHash + ?Sized>(&self, key: &Q) -> usize {
        let slots = self.slots.len();
        if slots == 0 {
            return 0;
        }
        let hash = key.java_hash();
        match self.table {
            Table::Hash => {
                let hash = hash.cast_unsigned();
                usize::try_from(hash ^ (hash >> 16)).unwrap_or(0) & (slots - 1)
            }
            Table::Timeline => {
                let spread = i64::from(hash)
                    .cast_unsigned()
                    .wrapping_mul(TIMELINE_MULTIPLIER);
                usize::try_from(spread >> (64 - slots.ilog2())).unwrap_or(0)
            }
        }
    }
}

impl<K: JavaHash + Clone, V: Clone> HashOrdered<K, V> {
    /// What Java's copying constructor makes of it.
    pub(crate) fn copied(&self) -> Self {
        let mut copy = Self::for_copy_of(self.len);
        for (key, value) in self.iter() {
            copy.insert(key.clone(), value.clone());
        }
        copy
    }
}

impl<K: JavaHash> HashOrderedSet<K> {
    /// The set that Java makes of a collection.
    pub(crate) fn from_list(keys: impl ExactSizeIterator<Item = K>) -> Self {
        // The constructor gives a set no fewer slots than an empty one has.
        let mut set = Self::with_capacity((keys.len() * 4 / 3 + 1).max(HASH_SLOTS_DEFAULT));
        for key in keys {
            set.insert(key, ());
        }
        set
    }
}

impl<K: JavaHash, V: PartialEq> PartialEq for HashOrdered<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self
                .iter()
                .all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: JavaHash + fmt::Debug, V: fmt::Debug> fmt::Debug for HashOrdered<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(map: &HashOrderedSet<KafkaString>) -> String {
        map.keys()
            .map(|key| key.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_hash_map_is_walked_as_java_walks_it() {
        let names = ["uniform", "range", "topic", "a", "b", "q", "Aa", "BB"];
        let set = HashOrderedSet::from_list(names.into_iter().map(KafkaString::from));
        // As `new HashSet<>(List.of(...))` prints itself; "Aa" and "BB" have one hash.
        assert_eq!(order(&set), "Aa BB uniform a q b range topic");
    }

    #[test]
    fn a_timeline_hash_map_is_walked_as_kafka_walks_it() {
        let mut map = HashOrdered::timeline();
        for name in ["uniform", "range", "topic", "a", "b", "q", "Aa", "BB"] {
            map.insert(KafkaString::from(name), ());
        }
        assert_eq!(order(&map), "uniform topic BB Aa b range q a");
    }

    #[test]
    fn an_id_has_the_hash_of_its_halves() {
        assert_eq!(Uuid::from_halves(1, 2).java_hash(), 3);
        let id = Uuid::from_halves(0x1234_5678_9abc_def0, 0xfedc_ba98_7654_3210);
        assert_eq!(id.java_hash(), 0);
    }

    #[test]
    fn numbers_are_in_order_until_they_exceed_the_table() {
        let set = HashOrderedSet::from_list([17, 16, 3, 1, 0].into_iter());
        let keys: Vec<i32> = set.keys().copied().collect();
        assert_eq!(keys, [16, 0, 17, 1, 3]);
    }

    #[test]
    fn what_is_removed_is_gone_and_what_is_replaced_stays_in_place() {
        let mut map = HashOrdered::timeline();
        for key in 0..100 {
            assert_eq!(map.insert(key, key), None);
        }
        assert_eq!(map.insert(7, 70), Some(7));
        assert_eq!(map.remove(&8), Some(8));
        assert_eq!(map.remove(&8), None);
        assert_eq!((map.len(), map.get(&7), map.get(&8)), (99, Some(&70), None));
        assert_eq!(map, map.copied());
    }
}
