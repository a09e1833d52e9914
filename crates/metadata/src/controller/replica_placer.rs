//! Where the replicas of new partitions go.
//!
//! Each partition starts one rack further, and each time that a rack is visited its brokers are
//! taken from one further on: so leaders and followers spread evenly over racks, then over the
//! brokers of a rack. Fenced brokers are taken only when a rack's unfenced ones are used up, and
//! never for the first replica, which leads.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::ids::BrokerId;

use super::random::{Random, below, shuffle};

/// A broker that may get replicas.
#[derive(Clone, Debug)]
pub(super) struct UsableBroker {
    pub(super) id: BrokerId,
    pub(super) rack: Option<KafkaString>,
    pub(super) fenced: bool,
}

/// Why there is no placement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlacementError {
    #[error("Invalid replication factor {0}: the replication factor must be positive.")]
    NotPositive(i16),
    #[error("All brokers are currently fenced, or have all their log directories cordoned.")]
    NoUnfencedBrokers,
    #[error(
        "The target replication factor of {wanted} cannot be reached because only {found} \
         broker(s) are registered or some brokers have all their log directories cordoned."
    )]
    TooFewBrokers { wanted: i16, found: usize },
}

/// Replicas for new partitions, which count from `first_partition` in their topic.
pub(super) fn place(
    random: &mut dyn Random,
    brokers: Vec<UsableBroker>,
    partitions: usize,
    replication_factor: i16,
) -> Result<Vec<Vec<BrokerId>>, PlacementError> {
    let mut racks = Racks::new(random, brokers);
    let count = usize::try_from(replication_factor).unwrap_or(0);
    if count == 0 {
        return Err(PlacementError::NotPositive(replication_factor));
    }
    if racks.unfenced == 0 {
        return Err(PlacementError::NoUnfencedBrokers);
    }
    if count > racks.total {
        let found = racks.total;
        return Err(PlacementError::TooFewBrokers {
            wanted: replication_factor,
            found,
        });
    }
    Ok((0..partitions)
        .map(|_| racks.place(random, count))
        .collect())
}

/// Brokers of one rack in one state, walked in a circle that starts one later in each round.
#[derive(Debug, Default)]
struct Circle {
    brokers: Vec<BrokerId>,
    round: usize,
    start: usize,
    taken: usize,
}

impl Circle {
    fn next(&mut self, round: usize) -> Option<BrokerId> {
        if self.brokers.is_empty() {
            return None;
        }
        if self.round != round {
            self.round = round;
            self.start = (self.start + 1) % self.brokers.len();
            self.taken = 0;
        }
        if self.taken >= self.brokers.len() {
            return None;
        }
        let broker = self.brokers[(self.start + self.taken) % self.brokers.len()];
        self.taken += 1;
        Some(broker)
    }

    fn shuffle(&mut self, random: &mut dyn Random) {
        shuffle(random, &mut self.brokers);
        self.start = if self.brokers.is_empty() {
            0
        } else {
            below(random, self.brokers.len())
        };
        self.taken = 0;
    }
}

#[derive(Debug, Default)]
struct Rack {
    unfenced: Circle,
    fenced: Circle,
}

#[derive(Debug)]
struct Racks {
    racks: Vec<Rack>,
    unfenced: usize,
    total: usize,
    /// Counts the partitions placed since the last shuffle.
    round: usize,
    /// The rack in which the next partition starts.
    start: usize,
}

impl Racks {
    fn new(random: &mut dyn Random, brokers: Vec<UsableBroker>) -> Self {
        let total = brokers.len();
        let mut unfenced = 0;
        let mut by_name: BTreeMap<Option<KafkaString>, Rack> = BTreeMap::new();
        for broker in brokers {
            let rack = by_name.entry(broker.rack).or_default();
            if broker.fenced {
                rack.fenced.brokers.push(broker.id);
            } else {
                rack.unfenced.brokers.push(broker.id);
                unfenced += 1;
            }
        }
        let racks: Vec<Rack> = by_name.into_values().collect();
        let start = if racks.is_empty() {
            0
        } else {
            below(random, racks.len())
        };
        let mut racks = Self {
            racks,
            unfenced,
            total,
            round: 0,
            start,
        };
        racks.shuffle(random);
        racks
    }

    fn shuffle(&mut self, random: &mut dyn Random) {
        for rack in &mut self.racks {
            rack.unfenced.shuffle(random);
            rack.fenced.shuffle(random);
        }
    }

    /// The replicas of the next partition. There are at least `count` brokers, one unfenced.
    fn place(&mut self, random: &mut dyn Random, count: usize) -> Vec<BrokerId> {
        // Each broker has led once: a new order keeps patterns from building up.
        if self.round == self.unfenced && self.unfenced > 1 {
            self.shuffle(random);
            self.round = 0;
        }
        let racks = self.racks.len();
        self.start %= racks;
        let round = self.round;
        let mut replicas = Vec::with_capacity(count);
        let mut leader_rack = None;
        for step in 0..racks {
            let index = (self.start + step) % racks;
            if let Some(broker) = self.racks[index].unfenced.next(round) {
                replicas.push(broker);
                leader_rack = Some(index);
                break;
            }
        }
        let mut index = self.start;
        while replicas.len() < count {
            // The leader's rack has had its turn in the first walk.
            if leader_rack == Some(index) {
                leader_rack = None;
            } else {
                let rack = &mut self.racks[index];
                replicas.extend(
                    rack.unfenced
                        .next(round)
                        .or_else(|| rack.fenced.next(round)),
                );
            }
            index = (index + 1) % racks;
        }
        self.round += 1;
        self.start += 1;
        replicas
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::controller::tests::Sequence;

    fn brokers(racks: &[&str], fenced: &[i32]) -> Vec<UsableBroker> {
        (0..)
            .zip(racks)
            .map(|(id, rack)| UsableBroker {
                id: BrokerId(id),
                rack: (!rack.is_empty()).then(|| (*rack).into()),
                fenced: fenced.contains(&id),
            })
            .collect()
    }

    #[test]
    fn replicas_are_distinct_and_spread_over_racks() {
        for seed in 0..50 {
            let racks = ["a", "a", "b", "b", "c", "c"];
            let placed = place(&mut Sequence(seed), brokers(&racks, &[]), 60, 3).unwrap();
            let mut leaders = [0; 6];
            for replicas in placed {
                let used: BTreeSet<_> = replicas.iter().map(|id| id.0 / 2).collect();
                assert_eq!(used.len(), 3, "one replica in each rack: {replicas:?}");
                leaders[usize::try_from(replicas[0].0).unwrap()] += 1;
            }
            assert_eq!(leaders, [10; 6], "seed {seed}");
        }
    }

    #[test]
    fn a_fenced_broker_never_comes_first() {
        for seed in 0..50 {
            let placed = place(&mut Sequence(seed), brokers(&["", "", ""], &[1]), 30, 3).unwrap();
            assert!(placed.iter().all(|replicas| replicas[0] != BrokerId(1)));
            assert!(placed.iter().all(|replicas| replicas[2] == BrokerId(1)));
        }
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        let one = || brokers(&[""], &[]);
        let refused = |brokers, factor| place(&mut Sequence(1), brokers, 1, factor).unwrap_err();
        assert_eq!(refused(one(), 0), PlacementError::NotPositive(0));
        assert_eq!(
            refused(one(), 2),
            PlacementError::TooFewBrokers {
                wanted: 2,
                found: 1
            }
        );
        assert_eq!(
            refused(brokers(&[""], &[0]), 1),
            PlacementError::NoUnfencedBrokers
        );
    }
}
