//! Which topics a client wants to know of, and when it asks again.

use std::collections::BTreeSet;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{
    DescribeClusterRequest, MetadataRequest, metadata_request::MetadataRequestTopic,
};

use super::{Cluster, ClusterOptions, Destination, Kind, Pending};
use crate::core::metadata::CONTROLLER_ENDPOINTS;
use crate::core::random::Random;

/// The topics that metadata is kept of.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// Every topic there is.
    all: bool,
    names: BTreeSet<KafkaString>,
    asked: bool,
    wanted: bool,
    not_before_ms: i64,
    failures: u32,
}

impl Interest {
    fn is_active(&self) -> bool {
        self.all || !self.names.is_empty()
    }

    pub(super) fn broker_lost(&mut self) {
        self.wanted |= self.is_active();
    }

    pub(super) fn answered(
        &mut self,
        now_ms: i64,
        retry: bool,
        options: &ClusterOptions,
        random: &mut Random,
    ) {
        self.asked = false;
        if retry {
            self.failures += 1;
            self.wanted = true;
            self.not_before_ms = now_ms + options.retry_backoff.after(self.failures, random);
        } else {
            self.failures = 0;
            self.not_before_ms = now_ms + options.retry_backoff.initial_ms;
        }
    }

    pub(super) fn failed(&mut self, now_ms: i64, options: &ClusterOptions, random: &mut Random) {
        self.asked = false;
        self.wanted = true;
        self.failures += 1;
        self.not_before_ms = now_ms + options.retry_backoff.after(self.failures, random);
    }
}

impl Cluster {
    /// Adds a topic to those that metadata is kept of.
    pub fn add_topic(&mut self, now_ms: i64, name: &KafkaString) {
        if self.interest.names.insert(name.clone()) && !self.interest.all {
            self.ask_now(now_ms);
        }
    }

    /// Keeps metadata of exactly these topics.
    pub fn set_topics(&mut self, now_ms: i64, names: BTreeSet<KafkaString>) {
        let new = names
            .iter()
            .any(|name| !self.metadata.topics.contains_key(name));
        self.interest.all = false;
        self.interest.names = names;
        if new {
            self.ask_now(now_ms);
        }
    }

    /// Keeps metadata of all topics.
    pub fn set_all_topics(&mut self, now_ms: i64) {
        if !self.interest.all {
            self.interest.all = true;
            self.ask_now(now_ms);
        }
    }

    fn ask_now(&mut self, now_ms: i64) {
        self.interest.wanted = true;
        self.interest.not_before_ms = now_ms;
        self.advance(now_ms);
    }

    /// Asks for metadata as soon as the backoff allows.
    pub fn refresh_metadata(&mut self, now_ms: i64) {
        self.interest.wanted = true;
        self.advance(now_ms);
    }

    /// When metadata is asked for next, if it is not being asked for already.
    pub(super) fn metadata_due(&self) -> Option<i64> {
        if self.interest.asked {
            return None;
        }
        if self.interest.wanted {
            return Some(self.interest.not_before_ms);
        }
        let updated_ms = self.metadata.updated_ms?;
        self.interest
            .is_active()
            .then(|| updated_ms + self.options.metadata_max_age_ms)
    }

    pub(super) fn request_metadata(&mut self, now_ms: i64) {
        if self.interest.asked || now_ms < self.interest.not_before_ms {
            self.interest.wanted = true;
            return;
        }
        self.interest.asked = true;
        self.interest.wanted = false;
        if self.options.controllers {
            let request = DescribeClusterRequest {
                endpoint_type: CONTROLLER_ENDPOINTS,
                ..DescribeClusterRequest::default()
            };
            let kind = Kind::Metadata { whole: true };
            self.enqueue_own(now_ms, Box::new(request), kind, (now_ms, 0));
            return;
        }
        let names = self.interest.names.iter().map(|name| MetadataRequestTopic {
            name: Some(name.clone()),
            ..MetadataRequestTopic::default()
        });
        let request = MetadataRequest {
            topics: (!self.interest.all).then(|| names.collect()),
            allow_auto_topic_creation: self.options.allow_auto_topic_creation && !self.interest.all,
            ..MetadataRequest::default()
        };
        let kind = Kind::Metadata {
            whole: self.interest.all,
        };
        self.enqueue_own(now_ms, Box::new(request), kind, (now_ms, 0));
    }

    /// Sends a request of the cluster's own, after a rest if earlier ones failed.
    pub(super) fn enqueue_own(
        &mut self,
        now_ms: i64,
        call: Box<dyn crate::core::call::Call>,
        kind: Kind,
        (not_before_ms, attempts): (i64, u32),
    ) {
        let pending = Pending {
            id: self.new_request_id(),
            call,
            destination: Destination::Any,
            deadline_ms: not_before_ms.max(now_ms) + self.options.request_timeout_ms,
            not_before_ms,
            attempts,
            repeat: true,
            kind,
        };
        if let Some(pending) = self.try_send(now_ms, pending) {
            self.waiting.push_back(pending);
        }
    }
}
