//! Settings of share groups: the broker's, and those that a group has of its own.

use ottla_coordinator::group::Bounds;
use ottla_metadata::config::BrokerValues;
use ottla_metadata::image::{ConfigResource, ConfigResourceType, MetadataImage};

use crate::node::Node;
use crate::replica::share_partition::ShareLimits;

/// The broker's settings for the partitions that share groups read, each Kafka's `group.share.` and that name.
#[derive(Debug, Clone)]
pub struct ShareGroupSettings {
    /// `group.share.delivery.count.limit`
    pub delivery_count_limit: Bounds,
    /// `group.share.partition.max.record.locks`
    pub record_locks_max: Bounds,
    /// `group.share.record.lock.duration.ms`
    pub record_lock_duration_ms: Bounds,
    /// `group.share.max.share.sessions`
    pub share_sessions_max: usize,
}

impl ShareGroupSettings {
    /// The settings in force.
    #[must_use]
    pub fn from_values(values: &BrokerValues) -> ShareGroupSettings {
        let bounds = |setting: &str| Bounds {
            default: values.int(&format!("group.share.{setting}")),
            min: values.int(&format!("group.share.min.{setting}")),
            max: values.int(&format!("group.share.max.{setting}")),
        };
        ShareGroupSettings {
            delivery_count_limit: bounds("delivery.count.limit"),
            record_locks_max: bounds("partition.max.record.locks"),
            record_lock_duration_ms: bounds("record.lock.duration.ms"),
            share_sessions_max: usize::try_from(values.int("group.share.max.share.sessions"))
                .unwrap_or(0),
        }
    }
}

/// Where a share group begins that has nothing persisted (`share.auto.offset.reset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OffsetReset {
    Latest,
    Earliest,
    /// So many milliseconds back.
    ByDuration(i64),
}

fn group_value(image: &MetadataImage, group: &str, name: &str) -> Option<String> {
    let resource = ConfigResource::new(ConfigResourceType::Group, group.to_owned());
    let value = image.configs().value(&resource, name)?;
    Some(value.trim().to_owned())
}

/// A group's own value, within the broker's bounds as they are now, or the broker's.
fn group_number(image: &MetadataImage, group: &str, name: &str, bounds: Bounds) -> i32 {
    group_value(image, group, name)
        .and_then(|text| text.parse::<i32>().ok())
        .map_or(bounds.default, |own| own.max(bounds.min).min(bounds.max))
}

/// The limits in force for a group's records.
pub(crate) fn limits(node: &Node, group: &str) -> ShareLimits {
    let settings = &node.options().broker.share_groups;
    let metadata = node.metadata();
    let number = |name, bounds| group_number(&metadata.image, group, name, bounds);
    let delivery_count = number("share.delivery.count.limit", settings.delivery_count_limit);
    let record_locks = number(
        "share.partition.max.record.locks",
        settings.record_locks_max,
    );
    let lock_duration_ms = number(
        "share.record.lock.duration.ms",
        settings.record_lock_duration_ms,
    );
    ShareLimits {
        delivery_count: i16::try_from(delivery_count).unwrap_or(i16::MAX),
        record_locks: i64::from(record_locks),
        lock_duration_ms: i64::from(lock_duration_ms),
        allows_renewal: group_value(&metadata.image, group, "share.renew.acknowledge.enable")
            .is_none_or(|text| !text.eq_ignore_ascii_case("false")),
    }
}

/// Whether a group sees only records of committed transactions (`share.isolation.level`).
pub(crate) fn reads_committed(node: &Node, group: &str) -> bool {
    let metadata = node.metadata();
    group_value(&metadata.image, group, "share.isolation.level")
        .is_some_and(|text| text.eq_ignore_ascii_case("read_committed"))
}

/// Where a group begins that has nothing persisted.
pub(super) fn offset_reset(node: &Node, group: &str) -> OffsetReset {
    let metadata = node.metadata();
    let Some(text) = group_value(&metadata.image, group, "share.auto.offset.reset") else {
        return OffsetReset::Latest;
    };
    let text = text.to_ascii_lowercase();
    match text.strip_prefix("by_duration:") {
        Some(duration) => {
            milliseconds(duration).map_or(OffsetReset::Latest, OffsetReset::ByDuration)
        }
        None if text == "earliest" => OffsetReset::Earliest,
        None => OffsetReset::Latest,
    }
}

/// Milliseconds of an ISO 8601 duration in lower case, such as `p1dt2h3m4.5s`: of days, hours, minutes and seconds.
fn milliseconds(duration: &str) -> Option<i64> {
    let (days, time) = match duration.strip_prefix('p')?.split_once('t') {
        Some((days, time)) => (days, time),
        None => (duration.strip_prefix('p')?, ""),
    };
    let mut total = parts(days, &[('d', 86_400_000)])?;
    total += parts(time, &[('h', 3_600_000), ('m', 60_000), ('s', 1_000)])?;
    Some(total)
}

fn parts(text: &str, units: &[(char, i64)]) -> Option<i64> {
    let mut total = 0_i64;
    let mut number = String::new();
    for letter in text.chars() {
        if letter.is_ascii_digit() || matches!(letter, '.' | '-' | '+') {
            number.push(letter);
            continue;
        }
        let (_, unit) = units.iter().find(|(name, _)| *name == letter)?;
        total = total.checked_add(scaled(&number, *unit)?)?;
        number.clear();
    }
    number.is_empty().then_some(total)
}

/// A number with a fraction, times `unit`.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = whole.parse().ok()?;
    let mut value = whole.checked_mul(unit)?;
    let mut share = unit;
    for digit in fraction.chars() {
        share /= 10;
        let digit = i64::from(digit.to_digit(10)?);
        value += digit * share * if number.starts_with('-') { -1 } else { 1 };
    }
    Some(value)
}

/// Whether the cluster serves share groups. That `group.coordinator.rebalance.protocols` leaves them out by default means nothing to Apache Kafka 4.3.1, nor here.
pub(crate) fn is_enabled(node: &Node) -> bool {
    node.metadata().image.features().level(super::SHARE_VERSION) >= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_iso_8601() {
        assert_eq!(milliseconds("p1dt2h3m4.5s"), Some(93_784_500));
        assert_eq!(milliseconds("pt1s"), Some(1_000));
        assert_eq!(milliseconds("p2d"), Some(172_800_000));
        assert_eq!(milliseconds("1s"), None);
        assert_eq!(milliseconds("pt1x"), None);
    }
}
