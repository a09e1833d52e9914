use std::sync::Mutex;

use super::names::{self, DirectoryKind, PartitionDirectory};
use super::partition_metadata::PartitionMetadata;
use super::{CLUSTER_METADATA_TOPIC, LogDirectory, lock};
use crate::config::LogConfig;
use crate::error::{IoContext, Result};
use crate::log::{Log, LogOptions};
use crate::topic_partition::TopicPartition;

/// A log to be opened, on whichever thread.
#[derive(Debug)]
pub struct LoadJob {
    directory: PartitionDirectory,
    options: LogOptions,
}

/// A partition that was found, with its log if that could be opened.
#[derive(Debug)]
pub struct LoadedLog {
    /// The directory.
    pub directory: PartitionDirectory,
    /// What the directory says of its topic.
    pub metadata: Option<PartitionMetadata>,
    /// The log, or why there is none.
    pub log: Result<Log>,
}

impl LoadJob {
    /// The directory to be opened.
    #[must_use]
    pub fn directory(&self) -> &PartitionDirectory {
        &self.directory
    }

    /// Opens the log, recovering it where need be.
    #[must_use]
    pub fn run(self) -> LoadedLog {
        let disk = &**self.options.open_files.disk();
        let metadata = PartitionMetadata::read(disk, &self.directory.path);
        let (metadata, log) = match metadata {
            Ok(metadata) => (metadata, Log::open(self.options)),
            Err(error) => (None, Err(error)),
        };
        LoadedLog {
            directory: self.directory,
            metadata,
            log,
        }
    }
}

/// Runs jobs on several threads; the order of the outcome is that of the jobs.
#[must_use]
pub fn load_in_parallel(jobs: Vec<LoadJob>, threads: usize) -> Vec<LoadedLog> {
    let threads = threads.clamp(1, jobs.len().max(1));
    if threads == 1 {
        return jobs.into_iter().map(LoadJob::run).collect();
    }
    let mut slots: Vec<Option<LoadedLog>> = jobs.iter().map(|_| None).collect();
    let work = Mutex::new(jobs.into_iter().zip(slots.iter_mut()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = lock(&work).next();
                    let Some((job, slot)) = next else { break };
                    *slot = Some(job.run());
                }
            });
        }
    });
    drop(work);
    slots.into_iter().flatten().collect()
}

impl LogDirectory {
    /// What is to be opened at a start: a job for each partition's current and future log.
    ///
    /// The directories of deleted partitions are noted for removal, those set aside left alone.
    pub fn load_jobs(
        &self,
        config: impl Fn(&TopicPartition) -> LogConfig,
        now_ms: i64,
    ) -> Result<Vec<LoadJob>> {
        let mut jobs = Vec::new();
        for directory in self.partition_directories()? {
            let config = config(&directory.topic_partition);
            match directory.kind {
                DirectoryKind::Deleted => {
                    let due_ms = now_ms.saturating_add(config.file_delete_delay_ms);
                    lock(&self.state).deleted.push((due_ms, directory.path));
                }
                DirectoryKind::Stray => {
                    tracing::warn!(path = %directory.path.display(), "found a stray partition");
                }
                DirectoryKind::Current | DirectoryKind::Future => {
                    let topic_partition = directory.topic_partition.clone();
                    let mut options = self.log_options(topic_partition, config, now_ms);
                    options.directory.clone_from(&directory.path);
                    jobs.push(LoadJob { directory, options });
                }
            }
        }
        Ok(jobs)
    }

    /// The partitions' directories, ordered by name, the metadata quorum's left out.
    pub fn partition_directories(&self) -> Result<Vec<PartitionDirectory>> {
        let mut directories = Vec::new();
        for entry in self.disk().list(&self.path).doing("list", &self.path)? {
            if !entry.is_directory {
                continue;
            }
            match names::parse(&entry.name) {
                Some((topic_partition, kind)) => {
                    if &*topic_partition.topic != CLUSTER_METADATA_TOPIC {
                        let path = self.path.join(&entry.name);
                        directories.push(PartitionDirectory {
                            path,
                            topic_partition,
                            kind,
                        });
                    }
                }
                None => tracing::warn!(
                    directory = entry.name,
                    log_directory = %self.path.display(),
                    "the directory is of no partition and is passed over"
                ),
            }
        }
        Ok(directories)
    }

    /// Notes that the log of a partition could not be opened: its checkpoints stay as they are,
    /// and the directory does not count as cleanly stopped.
    pub fn set_failed(&self, topic_partition: TopicPartition) {
        lock(&self.state).failed.insert(topic_partition);
    }
}
