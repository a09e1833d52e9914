//! Subscriptions by regular expression: looked up aside, after the request that asks.

use std::collections::BTreeSet;

use ottla_protocol::{ErrorCode, KafkaString};

use super::decision::{Change, ConsumerDecision, regexes_after};
use super::expression::TopicExpression;
use super::group::ResolvedRegex;
use super::records;
use crate::group::refusal::Refusal;
use crate::group::timers::{TimerAction, TimerKey};

/// How long after a look-up there is none, whatever has changed.
const LOOKUP_INTERVAL_MIN_MS: i64 = 10_000;

/// What a request does to its member's expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegexStatus {
    NoChange,
    /// It is another, whose topics are yet to be looked up.
    Updated,
    /// It is another, and what it means is known.
    UpdatedAndResolved,
}

impl RegexStatus {
    pub(super) fn is_updated(self) -> bool {
        self != Self::NoChange
    }

    pub(super) fn is_resolved(self) -> bool {
        self == Self::UpdatedAndResolved
    }
}

impl ConsumerDecision<'_> {
    /// Takes note of the member's expression, and has the group's looked up if it is time.
    pub(super) fn update_regexes(&mut self, change: Change<'_>) -> Result<RegexStatus, Refusal> {
        let (status, is_new) = self.compare_regex(change)?;
        if is_new || !self.group.regexes.is_empty() {
            self.look_up_if_needed(change, is_new);
        }
        Ok(status)
    }

    fn compare_regex(&mut self, change: Change<'_>) -> Result<(RegexStatus, bool), Refusal> {
        let Change { earlier, updated } = change;
        if earlier.subscribed_topic_regex == updated.subscribed_topic_regex {
            return Ok((RegexStatus::NoChange, false));
        }
        let group = self.group;
        if let Some(regex) = earlier.regex()
            && group.regex_member_count(regex) == 1
        {
            let record = records::regular_expression_tombstone(&group.group_id, regex);
            self.effects.records.push(record);
        }
        match updated.regex() {
            Some(regex) if group.regex_member_count(regex) == 0 => {
                check_expression(regex)?;
                Ok((RegexStatus::Updated, true))
            }
            Some(regex) if group.resolved_regexes.contains(regex) => {
                Ok((RegexStatus::UpdatedAndResolved, false))
            }
            None if earlier.regex().is_some() => Ok((RegexStatus::UpdatedAndResolved, false)),
            _ => Ok((RegexStatus::Updated, false)),
        }
    }

    fn look_up_if_needed(&mut self, change: Change<'_>, is_new: bool) {
        let group = self.group;
        let key = TimerKey::RegularExpressions {
            group_id: group.group_id.clone(),
        };
        if self.timers.is_scheduled(&key) {
            return;
        }
        let last = ResolvedRegex::last_lookup(group);
        let now_ms = self.now.wall_ms;
        let age_ms = last.map(|last| now_ms.saturating_sub(last.timestamp_ms));
        if age_ms.is_some_and(|age_ms| age_ms <= LOOKUP_INTERVAL_MIN_MS) {
            return;
        }
        let regexes = regexes_after(group, change);
        let refresh_ms = i64::from(self.config.consumer.regex_refresh_interval_ms);
        let version = last.map_or(0, |last| last.version);
        let is_needed = is_new
            || regexes.len() != group.resolved_regexes.len()
            || version < self.metadata.new_topics_offset()
            || age_ms.is_none_or(|age_ms| age_ms > refresh_ms);
        if is_needed && !regexes.is_empty() {
            let action = TimerAction::ResolveRegularExpressions;
            self.timers.schedule(key, self.now.monotonic_ms, action);
        }
    }

    /// Looks up what topics the group's expressions match, and enters a new epoch if that has
    /// changed.
    pub(in crate::group) fn resolve_regexes(&mut self) {
        let group = self.group;
        let mut topics = group.subscribed_topics.clone();
        let mut has_changed = false;
        for regex in group.regexes.copied().keys() {
            let resolved = ResolvedRegex {
                topics: self.matching_topics(regex),
                version: self.metadata.offset(),
                timestamp_ms: self.now.wall_ms,
            };
            let earlier = group.resolved_regexes.get(regex);
            let nothing = BTreeSet::new();
            let earlier = earlier.map_or(&nothing, |earlier| &earlier.topics);
            if *earlier != resolved.topics {
                has_changed = true;
                topics.remove_regex(earlier);
                topics.add_regex(&resolved.topics);
            }
            let record = records::regular_expression(&group.group_id, regex, &resolved);
            self.effects.records.push(record);
        }
        let metadata_hash = self.metadata.group_hash(topics.names());
        if has_changed || metadata_hash != group.metadata_hash {
            let group_epoch = group.group_epoch + 1;
            self.bump_epoch(group_epoch, metadata_hash);
            self.counts.consumer_rebalances += 1;
            self.postpone_refresh(group_epoch);
        }
    }

    fn matching_topics(&self, regex: &KafkaString) -> BTreeSet<KafkaString> {
        match TopicExpression::parse(regex) {
            Ok(expression) => self
                .metadata
                .topic_names()
                .filter(|name| expression.matches(name))
                .cloned()
                .collect(),
            Err(description) => {
                tracing::error!(
                    group = %self.group.group_id,
                    %regex,
                    description,
                    "an expression that is none matches no topic"
                );
                BTreeSet::new()
            }
        }
    }
}

fn check_expression(regex: &KafkaString) -> Result<(), Refusal> {
    match TopicExpression::parse(regex) {
        Ok(_) => Ok(()),
        Err(description) => Err(Refusal::new(
            ErrorCode::INVALID_REGULAR_EXPRESSION,
            format!(
                "SubscribedTopicRegex `{regex}` is not a valid regular expression: {description}."
            ),
        )),
    }
}
