use std::path::PathBuf;

use crate::topic_partition::TopicPartition;

const DELETED: &str = "-delete";
const FUTURE: &str = "-future";
const STRAY: &str = "-stray";

/// The longest name that a file may have.
const NAME_BYTES_MAX: usize = 255;

/// What a partition's directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryKind {
    /// The partition's log.
    Current,
    /// A copy on its way from another log directory, that will become the log.
    Future,
    /// A log that this node should not have, set aside.
    Stray,
    /// A log that is deleted.
    Deleted,
}

/// A partition's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// The partition.
    pub topic_partition: TopicPartition,
    /// What it is for.
    pub kind: DirectoryKind,
}

/// The partition and the kind that a directory's name stands for; `None` for a foreign name.
pub(super) fn parse(name: &str) -> Option<(TopicPartition, DirectoryKind)> {
    for (suffix, kind) in [
        (DELETED, DirectoryKind::Deleted),
        (FUTURE, DirectoryKind::Future),
        (STRAY, DirectoryKind::Stray),
    ] {
        if let Some(rest) = name.strip_suffix(suffix)
            && let Some((partition, unique)) = rest.rsplit_once('.')
            && !unique.is_empty()
        {
            return Some((parse_partition(partition)?, kind));
        }
    }
    Some((parse_partition(name)?, DirectoryKind::Current))
}

fn parse_partition(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let is_number = !partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit());
    if topic.is_empty() || topic.contains(char::is_whitespace) || !is_number {
        return None;
    }
    Some(TopicPartition::new(topic, partition.parse().ok()?))
}

/// The name of the directory of a deleted partition.
#[must_use]
pub fn deleted_directory_name(topic_partition: &TopicPartition, unique: u128) -> String {
    unique_name(topic_partition, unique, DELETED)
}

/// The name of the directory of a partition that is set aside.
#[must_use]
pub fn stray_directory_name(topic_partition: &TopicPartition, unique: u128) -> String {
    unique_name(topic_partition, unique, STRAY)
}

/// The name of the directory of a copy on its way from another log directory; none if the topic's name leaves no room
/// for it. Unlike the others it is never cut: at a start its name is all that says whose copy it is.
#[must_use]
pub fn future_directory_name(topic_partition: &TopicPartition, unique: u128) -> Option<String> {
    let name = format!("{topic_partition}.{unique:032x}{FUTURE}");
    (name.len() <= NAME_BYTES_MAX).then_some(name)
}

/// Topic, partition, unique number and suffix; the topic is cut where the name gets too long.
fn unique_name(topic_partition: &TopicPartition, unique: u128, suffix: &str) -> String {
    let end = format!("-{}.{unique:032x}{suffix}", topic_partition.partition);
    let mut topic = topic_partition.topic.to_string();
    topic.truncate(NAME_BYTES_MAX.saturating_sub(end.len()));
    topic + &end
}
