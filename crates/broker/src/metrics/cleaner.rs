//! How the log cleaner fares.

use std::fmt::Error;

use prometheus_client::encoding::DescriptorEncoder;

use super::exposition::{gauge, labelled};
use crate::cleaner::CleanerGauges;

/// The cleaner's gauges, under the names of Kafka's.
pub(super) fn cleaner(
    encoder: &mut DescriptorEncoder<'_>,
    cleaner: &CleanerGauges,
) -> Result<(), Error> {
    let gauges = [
        (
            "logcleaner_max_buffer_utilization_percent",
            "The map of keys in the last cleaning: how much of its memory was used",
            cleaner.max_buffer_utilization_percent,
        ),
        (
            "logcleaner_cleaner_recopy_percent",
            "Bytes kept of those read in the last cleaning",
            cleaner.cleaner_recopy_percent,
        ),
        (
            "logcleaner_max_clean_time_secs",
            "How long the last cleaning took",
            cleaner.max_clean_time_secs,
        ),
        (
            "logcleaner_max_compaction_delay_secs",
            "How long a record waits beyond max.compaction.lag.ms",
            cleaner.max_compaction_delay_secs,
        ),
        ("logcleaner_deadthreadcount", "Threads that have ended", 0),
        (
            "logcleanermanager_max_dirty_percent",
            "The dirty part of the dirtiest log",
            cleaner.max_dirty_percent,
        ),
        (
            "logcleanermanager_time_since_last_run_ms",
            "Since the logs were last looked at",
            cleaner.time_since_last_run_ms,
        ),
    ];
    for (name, help, value) in gauges {
        gauge(encoder, &format!("kafka_log_{name}"), help, value)?;
    }
    let by_directory = |value: fn(&(String, i64, i64)) -> i64| {
        let labels = cleaner.uncleanable.iter();
        labels.map(move |entry| ([("logdirectory", entry.0.as_str())], value(entry)))
    };
    labelled(
        encoder,
        "kafka_log_logcleanermanager_uncleanable_partitions_count",
        "Partitions that cannot be cleaned",
        by_directory(|entry| entry.1),
    )?;
    labelled(
        encoder,
        "kafka_log_logcleanermanager_uncleanable_bytes",
        "Their bytes that should be",
        by_directory(|entry| entry.2),
    )
}
