//! Limits on how fast replicas move, set by a reassignment and taken away after it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use ottla_client::core::admin::partitions::Reassignment;
use ottla_client::core::admin::{ConfigChange, ConfigResource, ConfigResourceType};
use ottla_client::{Admin, TopicPartition};
use ottla_protocol::KafkaString;

use super::{joined, plan::Plan, plural};
use crate::tool::{Failure, Out};

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LOG_DIRS_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

/// From which brokers, and to which, a partition moves.
#[derive(Debug, Default, PartialEq, Eq)]
struct Move {
    from: BTreeSet<i32>,
    to: BTreeSet<i32>,
}

type Moves = BTreeMap<TopicPartition, Move>;

/// All that moves: what moves already, and what is to.
fn moves(
    ongoing: &BTreeMap<TopicPartition, Reassignment>,
    proposed: &BTreeMap<TopicPartition, Vec<i32>>,
    current: &BTreeMap<TopicPartition, Vec<i32>>,
) -> Moves {
    let mut moves = Moves::new();
    for (name, reassignment) in ongoing {
        let to: BTreeSet<i32> = reassignment.adding.iter().copied().collect();
        let all = reassignment.replicas.iter().copied();
        let from = all.filter(|id| !to.contains(id)).collect();
        moves.insert(name.clone(), Move { from, to });
    }
    for (name, replicas) in proposed {
        let from: BTreeSet<i32> = match moves.remove(name) {
            Some(ongoing) => ongoing.from,
            None => current.get(name).into_iter().flatten().copied().collect(),
        };
        let to = replicas.iter().copied().filter(|id| !from.contains(id));
        let to = to.collect();
        moves.insert(name.clone(), Move { from, to });
    }
    moves
}

/// `partition:broker` for each topic, in the order of the texts.
fn throttled(
    moves: &Moves,
    brokers: impl Fn(&Move) -> &BTreeSet<i32>,
) -> BTreeMap<&KafkaString, String> {
    let mut topics: BTreeMap<&KafkaString, BTreeSet<String>> = BTreeMap::new();
    for (name, moved) in moves {
        let texts = brokers(moved)
            .iter()
            .map(|id| format!("{}:{id}", name.partition));
        topics.entry(&name.topic).or_default().extend(texts);
    }
    let join = |texts: BTreeSet<String>| texts.into_iter().collect::<Vec<_>>().join(",");
    topics
        .into_iter()
        .map(|(topic, texts)| (topic, join(texts)))
        .collect()
}

fn resource(resource_type: ConfigResourceType, name: impl Into<KafkaString>) -> ConfigResource {
    ConfigResource {
        resource_type,
        name: name.into(),
    }
}

/// Limits moves between brokers.
pub(super) async fn limit_moves(
    admin: &Admin,
    ongoing: &BTreeMap<TopicPartition, Reassignment>,
    proposed: &BTreeMap<TopicPartition, Vec<i32>>,
    current: &BTreeMap<TopicPartition, Vec<i32>>,
    (bytes_per_second, out): (i64, &mut Out),
) -> Result<(), Failure> {
    let moves = moves(ongoing, proposed, current);
    let followers = throttled(&moves, |moved| &moved.to);
    for (topic, leaders) in throttled(&moves, |moved| &moved.from) {
        let mut changes = vec![ConfigChange::Set(LEADER_REPLICAS.into(), leaders)];
        if let Some(followers) = followers.get(topic) {
            changes.push(ConfigChange::Set(
                FOLLOWER_REPLICAS.into(),
                followers.clone(),
            ));
        }
        let topic = resource(ConfigResourceType::Topic, topic.clone());
        admin.alter_configs(&topic, &changes).await?;
    }
    let brokers: BTreeSet<i32> = moves
        .values()
        .flat_map(|moved| moved.from.union(&moved.to).copied())
        .collect();
    let changes = [LEADER_RATE, FOLLOWER_RATE]
        .map(|name| ConfigChange::Set(name.into(), bytes_per_second.to_string()));
    for broker in brokers {
        let broker = resource(ConfigResourceType::Broker, broker.to_string());
        admin.alter_configs(&broker, &changes).await?;
    }
    writeln!(
        out,
        "The inter-broker throttle limit was set to {bytes_per_second} B/s"
    )?;
    Ok(())
}

/// Limits moves between the directories of brokers.
pub(super) async fn limit_log_dirs(
    admin: &Admin,
    plan: &Plan,
    bytes_per_second: i64,
    out: &mut Out,
) -> Result<(), Failure> {
    let brokers: BTreeSet<i32> = plan.log_dirs.keys().map(|replica| replica.broker).collect();
    for broker in brokers {
        let broker = resource(ConfigResourceType::Broker, broker.to_string());
        let change = ConfigChange::Set(LOG_DIRS_RATE.into(), bytes_per_second.to_string());
        admin.alter_configs(&broker, &[change]).await?;
    }
    writeln!(
        out,
        "The replica-alter-dir throttle limit was set to {bytes_per_second} B/s"
    )?;
    Ok(())
}

/// Takes every limit away, since nobody knows any more which brokers had one.
pub(super) async fn clear(admin: &Admin, plan: &Plan, out: &mut Out) -> Result<(), Failure> {
    let mut brokers: BTreeSet<i32> = admin.broker_ids().await?.into_iter().collect();
    brokers.extend(plan.partitions.iter().flat_map(|(_, replicas)| replicas));
    let ids: Vec<i32> = brokers.iter().copied().collect();
    writeln!(
        out,
        "Clearing broker-level throttles on broker{} {}",
        plural(ids.len()),
        joined(&ids)
    )?;
    let changes =
        [LEADER_RATE, FOLLOWER_RATE, LOG_DIRS_RATE].map(|name| ConfigChange::Delete(name.into()));
    for broker in brokers {
        let broker = resource(ConfigResourceType::Broker, broker.to_string());
        admin.alter_configs(&broker, &changes).await?;
    }
    let topics = plan.topics();
    let names: Vec<&str> = topics.iter().map(KafkaString::as_str).collect();
    writeln!(
        out,
        "Clearing topic-level throttles on topic{} {}",
        plural(names.len()),
        names.join(",")
    )?;
    let changes =
        [LEADER_REPLICAS, FOLLOWER_REPLICAS].map(|name| ConfigChange::Delete(name.into()));
    for topic in topics {
        let topic = resource(ConfigResourceType::Topic, topic);
        admin.alter_configs(&topic, &changes).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_each_move_are_throttled() {
        let name = |index| TopicPartition::new("t", index);
        let ongoing = BTreeMap::from([(
            name(1),
            Reassignment {
                replicas: vec![1, 4],
                adding: vec![4],
                removing: vec![1],
            },
        )]);
        let proposed = BTreeMap::from([(name(0), vec![2, 3])]);
        let current = BTreeMap::from([(name(0), vec![1, 2])]);
        let moves = moves(&ongoing, &proposed, &current);
        let topic = KafkaString::from_static("t");
        let leaders = throttled(&moves, |moved| &moved.from);
        assert_eq!(leaders[&topic], "0:1,0:2,1:1");
        let followers = throttled(&moves, |moved| &moved.to);
        assert_eq!(followers[&topic], "0:3,1:4");
    }
}
