//! Counters of one topic, or of all.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted for one topic and over all topics (`BrokerTopicMetrics`).
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is Kafka's metric of the same name")]
pub struct TopicMetrics {
    pub messages_in: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    pub bytes_rejected: Counter,
    pub total_produce_requests: Counter,
    pub total_fetch_requests: Counter,
    pub total_share_fetch_requests: Counter,
    pub total_share_acknowledgement_requests: Counter,
    pub failed_produce_requests: Counter,
    pub failed_fetch_requests: Counter,
    pub failed_share_fetch_requests: Counter,
    pub failed_share_acknowledgement_requests: Counter,
    pub produce_message_conversions: Counter,
    pub fetch_message_conversions: Counter,
    pub no_key_compacted_topic_records: Counter,
    pub invalid_magic_number_records: Counter,
    pub invalid_message_crc_records: Counter,
    pub invalid_offset_or_sequence_records: Counter,
}

impl TopicMetrics {
    /// Each counter with the last part of its name.
    pub(super) fn named(&self) -> [(&'static str, &Counter); 18] {
        [
            ("messagesin", &self.messages_in),
            ("bytesin", &self.bytes_in),
            ("bytesout", &self.bytes_out),
            ("bytesrejected", &self.bytes_rejected),
            ("totalproducerequests", &self.total_produce_requests),
            ("totalfetchrequests", &self.total_fetch_requests),
            ("totalsharefetchrequests", &self.total_share_fetch_requests),
            (
                "totalshareacknowledgementrequests",
                &self.total_share_acknowledgement_requests,
            ),
            (
                "failedsharefetchrequests",
                &self.failed_share_fetch_requests,
            ),
            (
                "failedshareacknowledgementrequests",
                &self.failed_share_acknowledgement_requests,
            ),
            ("failedproducerequests", &self.failed_produce_requests),
            ("failedfetchrequests", &self.failed_fetch_requests),
            (
                "producemessageconversions",
                &self.produce_message_conversions,
            ),
            ("fetchmessageconversions", &self.fetch_message_conversions),
            (
                "nokeycompactedtopicrecords",
                &self.no_key_compacted_topic_records,
            ),
            (
                "invalidmagicnumberrecords",
                &self.invalid_magic_number_records,
            ),
            (
                "invalidmessagecrcrecords",
                &self.invalid_message_crc_records,
            ),
            (
                "invalidoffsetorsequencerecords",
                &self.invalid_offset_or_sequence_records,
            ),
        ]
    }
}
