//! Numbers that name things, each its own type, so that an offset is never taken for an epoch.
//!
//! Generated messages hold the wire's primitives; the cores wrap them in these.

use std::fmt;

use crate::uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

number! {
    /// The position of a record in a partition.
    Offset(i64)
}

number! {
    /// How many leaders a partition (or the metadata quorum) has had.
    LeaderEpoch(i32)
}

number! {
    /// The number of a partition within its topic.
    PartitionIndex(i32)
}

number! {
    /// The `node.id` of a broker or controller.
    BrokerId(i32)
}

number! {
    /// The offset of a broker's registration in the metadata log; names one life of that broker.
    BrokerEpoch(i64)
}

number! {
    /// The identity of a producer session that deduplicates.
    ProducerId(i64)
}

number! {
    /// Fences the earlier lives of a producer with the same [`ProducerId`].
    ProducerEpoch(i16)
}

/// The identity of a topic, which survives no deletion: a topic made again has another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Uuid> for TopicId {
    fn from(value: Uuid) -> Self {
        Self(value)
    }
}

impl From<TopicId> for Uuid {
    fn from(value: TopicId) -> Self {
        value.0
    }
}

impl Offset {
    /// The offset `count` records later.
    #[must_use]
    pub fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}
