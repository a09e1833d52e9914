//! `--generate`: a proposal that spreads topics over brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use ottla_client::core::metadata::Broker;
use ottla_client::{Admin, TopicPartition};
use ottla_protocol::KafkaString;

use super::{error, plan, verify};
use crate::json;
use crate::options::Options;
use crate::tool::{self, Failure, Out};

pub(super) async fn generate(
    admin: &Admin,
    options: &Options,
    out: &mut Out,
) -> Result<(), Failure> {
    let wanted = broker_list(options.value("broker-list")?.unwrap_or_default())?;
    let topics = topics(
        options
            .value("topics-to-move-json-file")?
            .unwrap_or_default(),
    )?;
    let current = replicas_of(admin, &topics).await?;
    let rack_aware = !options.has("disable-rack-aware");
    let mut brokers = admin.brokers().await?;
    brokers.retain(|broker| wanted.contains(&broker.id));
    let without_rack = brokers
        .iter()
        .filter(|broker| broker.rack.is_none())
        .count();
    if rack_aware && without_rack != 0 && without_rack != brokers.len() {
        return error(
            "Not all brokers have rack information. Add --disable-rack-aware in command line to \
             make replica assignment without rack information.",
        );
    }
    if !rack_aware {
        brokers.iter_mut().for_each(|broker| broker.rack = None);
    }
    let proposed = propose(&current, &brokers)?;
    writeln!(
        out,
        "Current partition replica assignment\n{}\n",
        plan::as_json(&current, &verify::log_dirs(admin, &current).await?)
    )?;
    writeln!(
        out,
        "Proposed partition reassignment configuration\n{}",
        plan::as_json(&proposed, &BTreeMap::new())
    )?;
    Ok(())
}

fn broker_list(text: &str) -> Result<BTreeSet<i32>, Failure> {
    let ids: Result<Vec<i32>, &str> = text
        .split(',')
        .map(|id| id.trim().parse().map_err(|_| id))
        .collect();
    let ids = match ids {
        Ok(ids) => ids,
        Err(id) => return error(format!("For input string: \"{id}\"")),
    };
    let twice = plan::duplicates(&ids);
    if !twice.is_empty() {
        return error(format!(
            "Broker list contains duplicate entries: [{}]",
            twice.join(", ")
        ));
    }
    Ok(ids.into_iter().collect())
}

fn topics(path: &str) -> Result<Vec<KafkaString>, Failure> {
    let read = || -> Result<Vec<KafkaString>, Failure> {
        let file = json::File::read(path)?;
        file.check_version()?;
        let items = file.items("topics")?.iter();
        items
            .map(|item| file.text(item, "topic").map(KafkaString::from))
            .collect()
    };
    let topics = read().map_err(super::prefixed)?;
    let twice = plan::duplicates(&topics);
    match twice.is_empty() {
        true => Ok(topics),
        false => error(format!(
            "List of topics to reassign contains duplicate entries: [{}]",
            twice.join(", ")
        )),
    }
}

/// The replicas of all partitions of topics.
pub(super) async fn replicas_of(
    admin: &Admin,
    topics: &[KafkaString],
) -> Result<BTreeMap<TopicPartition, Vec<i32>>, Failure> {
    let mut replicas = BTreeMap::new();
    for (name, described) in admin.describe_topics(topics, 2_000).await? {
        let Ok(described) = described else {
            return error(format!("Topic {name} not found."));
        };
        for partition in described.partitions {
            let partition_name = TopicPartition::new(name.clone(), partition.index);
            replicas.insert(partition_name, partition.replicas);
        }
    }
    Ok(replicas)
}

/// Spreads each topic's partitions, beginning somewhere, over the brokers.
fn propose(
    current: &BTreeMap<TopicPartition, Vec<i32>>,
    brokers: &[Broker],
) -> Result<BTreeMap<TopicPartition, Vec<i32>>, Failure> {
    let ring = alternating(brokers);
    let mut proposed = BTreeMap::new();
    let mut starts: BTreeMap<&KafkaString, (usize, usize)> = BTreeMap::new();
    for (name, replicas) in current {
        if replicas.len() > ring.len() {
            return error(format!(
                "Replication factor: {} larger than available brokers: {}",
                replicas.len(),
                ring.len()
            ));
        }
        let bound = u64::try_from(ring.len()).unwrap_or(u64::MAX);
        let chance = || usize::try_from(tool::random_below(bound)).unwrap_or(0);
        let (start, shift) = *starts
            .entry(&name.topic)
            .or_insert_with(|| (chance(), chance()));
        let index = usize::try_from(name.partition).unwrap_or(0);
        proposed.insert(
            name.clone(),
            place(&ring, start + index, shift, replicas.len()),
        );
    }
    Ok(proposed)
}

type Placed<'a> = (i32, Option<&'a KafkaString>);

/// Brokers so that neighbours are in different racks as far as possible.
fn alternating(brokers: &[Broker]) -> Vec<Placed<'_>> {
    let mut racks: BTreeMap<Option<&KafkaString>, Vec<i32>> = BTreeMap::new();
    for broker in brokers {
        racks
            .entry(broker.rack.as_ref())
            .or_default()
            .push(broker.id);
    }
    let deepest = racks.values().map(Vec::len).max().unwrap_or(0);
    let mut ring = Vec::new();
    for depth in 0..deepest {
        for (rack, ids) in &racks {
            ring.extend(ids.get(depth).map(|id| (*id, *rack)));
        }
    }
    ring
}

/// The replicas of one partition: a leader, and followers behind it that leave no rack out before
/// they share one.
fn place(ring: &[Placed<'_>], leader: usize, shift: usize, count: usize) -> Vec<i32> {
    let size = ring.len().max(1);
    // With each round the followers stand in another order behind the same leader.
    let shift = shift + leader / size;
    let others = size.saturating_sub(1).max(1);
    let places = std::iter::once(leader % size)
        .chain((0..size - 1).map(|step| (leader + 1 + (shift + step) % others) % size));
    let walk: Vec<Placed<'_>> = places.filter_map(|at| ring.get(at).copied()).collect();
    let (mut chosen, mut racks): (Vec<i32>, BTreeSet<_>) = (Vec::new(), BTreeSet::new());
    for sharing in [false, true] {
        for (id, rack) in &walk {
            let fits = sharing || rack.is_none() || !racks.contains(rack);
            if chosen.len() < count && fits && !chosen.contains(id) {
                chosen.push(*id);
                racks.insert(*rack);
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use ottla_client::core::metadata::Endpoint;

    use super::*;

    fn brokers(racks: &[Option<&'static str>]) -> Vec<Broker> {
        let racks = racks.iter().enumerate();
        racks
            .map(|(index, rack)| Broker {
                id: i32::try_from(index).unwrap(),
                endpoint: Endpoint {
                    host: "h".into(),
                    port: 1,
                },
                rack: rack.map(KafkaString::from_static),
            })
            .collect()
    }

    fn partitions(count: i32, replicas: usize) -> BTreeMap<TopicPartition, Vec<i32>> {
        let names = (0..count).map(|index| TopicPartition::new("t", index));
        names.map(|name| (name, vec![0; replicas])).collect()
    }

    #[test]
    fn leaders_and_replicas_are_spread_evenly() {
        let proposed = propose(&partitions(12, 2), &brokers(&[None; 4]))
            .ok()
            .unwrap();
        for broker in 0..4 {
            let leads = proposed.values().filter(|replicas| replicas[0] == broker);
            assert_eq!(leads.count(), 3, "{proposed:?}");
            let holds = proposed
                .values()
                .filter(|replicas| replicas.contains(&broker));
            assert_eq!(holds.count(), 6, "{proposed:?}");
        }
    }

    #[test]
    fn replicas_are_in_different_racks() {
        let racks = [Some("a"), Some("a"), Some("b"), Some("b"), Some("c")];
        let proposed = propose(&partitions(20, 3), &brokers(&racks)).ok().unwrap();
        for replicas in proposed.values() {
            let in_racks: BTreeSet<_> = replicas
                .iter()
                .map(|id| racks[usize::try_from(*id).unwrap()])
                .collect();
            assert_eq!(in_racks.len(), 3, "{replicas:?}");
        }
        assert!(propose(&partitions(1, 6), &brokers(&racks)).is_err());
    }
}
