//! Reassignments as files hold them.

use std::collections::{BTreeMap, BTreeSet};

use ottla_client::TopicPartition;
use ottla_client::core::admin::log_dirs::BrokerReplica;
use ottla_protocol::KafkaString;
use serde_json::Value;

use crate::json;
use crate::tool::Failure;

/// What stands for no particular directory.
const ANY_LOG_DIR: &str = "any";

/// Which replicas partitions shall have, and where those shall be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In the order of the file; what it says twice is here twice.
    pub(super) partitions: Vec<(TopicPartition, Vec<i32>)>,
    pub(super) log_dirs: BTreeMap<BrokerReplica, KafkaString>,
}

impl Plan {
    pub(super) fn read(path: &str) -> Result<Self, Failure> {
        let file = json::File::read(path)?;
        file.check_version()?;
        let mut plan = Self::default();
        let none = Vec::new();
        let items = file.value.get("partitions").map(Value::as_array);
        let items = match items {
            None => &none,
            Some(items) => items.ok_or_else(|| file.wrong("\"partitions\" is no array"))?,
        };
        for item in items {
            plan.add(&file, item)?;
        }
        Ok(plan)
    }

    fn add(&mut self, file: &json::File, item: &Value) -> Result<(), Failure> {
        let name = file.partition(item)?;
        let replicas = item.get("replicas").and_then(Value::as_array);
        let replicas: Option<Vec<i32>> = replicas.and_then(|ids| {
            let ids = ids.iter();
            ids.map(|id| i32::try_from(id.as_i64()?).ok()).collect()
        });
        let replicas =
            replicas.ok_or_else(|| file.wrong(format!("an entry has no \"replicas\": {item}")))?;
        if let Some(log_dirs) = item.get("log_dirs") {
            let log_dirs: Option<Vec<&str>> = log_dirs
                .as_array()
                .and_then(|paths| paths.iter().map(Value::as_str).collect());
            let log_dirs = log_dirs
                .ok_or_else(|| file.wrong(format!("\"log_dirs\" is no list of texts: {item}")))?;
            if log_dirs.len() != replicas.len() {
                return Err(file.wrong(format!(
                    "Size of replicas list {replicas:?} is different from size of log dirs list \
                     [{}] for partition {name}",
                    log_dirs.join(", ")
                )));
            }
            let moved = replicas.iter().zip(log_dirs);
            for (broker, path) in moved.filter(|(_, path)| *path != ANY_LOG_DIR) {
                let replica = BrokerReplica {
                    partition: name.clone(),
                    broker: *broker,
                };
                self.log_dirs.insert(replica, path.into());
            }
        }
        self.partitions.push((name, replicas));
        Ok(())
    }

    /// The partitions by name, if the plan can be carried out.
    pub(super) fn checked(&self) -> Result<BTreeMap<TopicPartition, Vec<i32>>, Failure> {
        let refuse = |message: String| super::error(message);
        if self.partitions.is_empty() {
            return refuse("Partition reassignment list cannot be empty".into());
        }
        if self
            .partitions
            .iter()
            .any(|(_, replicas)| replicas.is_empty())
        {
            return refuse("Partition replica list cannot be empty".into());
        }
        let names = self.partitions.iter().map(|(name, _)| name);
        let twice = duplicates(names);
        if !twice.is_empty() {
            return refuse(format!(
                "Partition reassignment contains duplicate topic partitions: {}",
                twice.join(",")
            ));
        }
        let entries: Vec<String> = self
            .partitions
            .iter()
            .map(|(name, replicas)| (name, duplicates(replicas)))
            .filter(|(_, twice)| !twice.is_empty())
            .map(|(name, twice)| {
                format!("{name} contains multiple entries for {}", twice.join(","))
            })
            .collect();
        if !entries.is_empty() {
            return refuse(format!(
                "Partition replica lists may not contain duplicate entries: {}",
                entries.join(". ")
            ));
        }
        Ok(self.partitions.iter().cloned().collect())
    }

    pub(super) fn topics(&self) -> BTreeSet<KafkaString> {
        let topics = self.partitions.iter().map(|(name, _)| name.topic.clone());
        topics.collect()
    }
}

/// What is there more than once.
pub(super) fn duplicates<T: Ord + ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for item in items {
        let text = item.to_string();
        if !seen.insert(item) {
            twice.insert(text);
        }
    }
    twice.into_iter().collect()
}

/// Replicas as a file that `--execute` takes, each in its directory if that is known.
pub(super) fn as_json(
    replicas: &BTreeMap<TopicPartition, Vec<i32>>,
    log_dirs: &BTreeMap<BrokerReplica, KafkaString>,
) -> String {
    let partitions = replicas.iter().map(|(name, replicas)| {
        let paths = replicas.iter().map(|broker| {
            let replica = BrokerReplica {
                partition: name.clone(),
                broker: *broker,
            };
            json::string(
                log_dirs
                    .get(&replica)
                    .map_or(ANY_LOG_DIR, KafkaString::as_str),
            )
        });
        let ids = replicas.iter().map(i32::to_string);
        json::ordered_object(&[
            ("topic", &json::string(&name.topic)),
            ("partition", &name.partition.to_string()),
            ("replicas", &json::array(ids)),
            ("log_dirs", &json::array(paths)),
        ])
    });
    json::ordered_object(&[("version", "1"), ("partitions", &json::array(partitions))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Plan::read(file.path().to_str().unwrap()).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn what_is_written_is_read() {
        let replicas = BTreeMap::from([
            (TopicPartition::new("a", 0), vec![1, 2]),
            (TopicPartition::new("b", 1), vec![3]),
        ]);
        let text = as_json(&replicas, &BTreeMap::new());
        assert_eq!(
            text,
            "{\"version\":1,\"partitions\":[{\"topic\":\"a\",\"partition\":0,\"replicas\":[1,2],\
             \"log_dirs\":[\"any\",\"any\"]},{\"topic\":\"b\",\"partition\":1,\"replicas\":[3],\
             \"log_dirs\":[\"any\"]}]}"
        );
        let plan = plan(&text).unwrap();
        assert_eq!(plan.checked().ok(), Some(replicas));
        assert!(plan.log_dirs.is_empty());
    }

    #[test]
    fn plans_that_contradict_themselves_are_refused() {
        let with = |partitions: &str| {
            let plan = plan(&format!("{{\"version\":1,\"partitions\":[{partitions}]}}"));
            plan.and_then(|plan| plan.checked().map_err(|failure| format!("{failure:?}")))
        };
        let entry = "{\"topic\":\"a\",\"partition\":0,\"replicas\":[1]}";
        assert!(with(entry).is_ok());
        assert!(with("").unwrap_err().contains("cannot be empty"));
        assert!(
            with(&format!("{entry},{entry}"))
                .unwrap_err()
                .contains("duplicate")
        );
        let twice = "{\"topic\":\"a\",\"partition\":0,\"replicas\":[1,1]}";
        assert!(with(twice).unwrap_err().contains("multiple entries for 1"));
        let uneven = "{\"topic\":\"a\",\"partition\":0,\"replicas\":[1],\"log_dirs\":[]}";
        assert!(with(uneven).unwrap_err().contains("Size of replicas list"));
        assert!(plan("{\"version\":2}").unwrap_err().contains("version"));
        assert!(plan("nothing").unwrap_err().contains("not a valid JSON"));
    }
}
