//! Access control lists.
//!
//! The numbers of the protocol are kept as they are, so that what a newer broker has is not lost;
//! the names are those of Kafka's tools.

use std::fmt;

use ottla_protocol::KafkaString;

macro_rules! numbered {
    ($(#[$about:meta])* $name:ident { $($constant:ident = $code:literal $text:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i8);

        impl $name {
            $(
                #[doc = concat!("`", $text, "`.")]
                pub const $constant: Self = Self($code);
            )*

            /// All that this release knows.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// Kafka's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($code => $text,)*
                    _ => "UNKNOWN",
                }
            }

            /// By Kafka's name, whatever its case and with or without underscores.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                let plain = |text: &str| text.replace('_', "").to_ascii_uppercase();
                let name = plain(name);
                Self::ALL.iter().copied().find(|known| plain(known.name()) == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

numbered! {
    /// What is guarded.
    ResourceType {
        ANY = 1 "ANY",
        TOPIC = 2 "TOPIC",
        GROUP = 3 "GROUP",
        CLUSTER = 4 "CLUSTER",
        TRANSACTIONAL_ID = 5 "TRANSACTIONAL_ID",
        DELEGATION_TOKEN = 6 "DELEGATION_TOKEN",
        USER = 7 "USER",
    }
}

numbered! {
    /// Which resources a name stands for.
    PatternType {
        ANY = 1 "ANY",
        MATCH = 2 "MATCH",
        LITERAL = 3 "LITERAL",
        PREFIXED = 4 "PREFIXED",
    }
}

numbered! {
    /// What is done to a resource.
    AclOperation {
        ANY = 1 "ANY",
        ALL_OPERATIONS = 2 "ALL",
        READ = 3 "READ",
        WRITE = 4 "WRITE",
        CREATE = 5 "CREATE",
        DELETE = 6 "DELETE",
        ALTER = 7 "ALTER",
        DESCRIBE = 8 "DESCRIBE",
        CLUSTER_ACTION = 9 "CLUSTER_ACTION",
        DESCRIBE_CONFIGS = 10 "DESCRIBE_CONFIGS",
        ALTER_CONFIGS = 11 "ALTER_CONFIGS",
        IDEMPOTENT_WRITE = 12 "IDEMPOTENT_WRITE",
        CREATE_TOKENS = 13 "CREATE_TOKENS",
        DESCRIBE_TOKENS = 14 "DESCRIBE_TOKENS",
        TWO_PHASE_COMMIT = 15 "TWO_PHASE_COMMIT",
    }
}

numbered! {
    /// Whether it is allowed.
    PermissionType {
        ANY = 1 "ANY",
        DENY = 2 "DENY",
        ALLOW = 3 "ALLOW",
    }
}

/// The resources that an ACL is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourcePattern {
    /// What they are.
    pub resource_type: ResourceType,
    /// Their name, its beginning, or `*`.
    pub name: KafkaString,
    /// What the name means.
    pub pattern_type: PatternType,
}

/// Who may, or may not, do what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessControlEntry {
    /// `User:name`, or `User:*`.
    pub principal: KafkaString,
    /// An address, or `*`.
    pub host: KafkaString,
    /// What is done.
    pub operation: AclOperation,
    /// Whether it is allowed.
    pub permission_type: PermissionType,
}

/// An entry for resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclBinding {
    /// The resources.
    pub pattern: ResourcePattern,
    /// The entry.
    pub entry: AccessControlEntry,
}

/// Which ACLs are meant; what is `None` or `ANY` matches everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclFilter {
    /// What is guarded.
    pub resource_type: ResourceType,
    /// The resource's name.
    pub name: Option<KafkaString>,
    /// What the name means.
    pub pattern_type: PatternType,
    /// Who.
    pub principal: Option<KafkaString>,
    /// From where.
    pub host: Option<KafkaString>,
    /// What is done.
    pub operation: AclOperation,
    /// Whether it is allowed.
    pub permission_type: PermissionType,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_kafka_reads_them() {
        for name in ["DescribeConfigs", "describe_configs", "DESCRIBE_CONFIGS"] {
            assert_eq!(
                AclOperation::from_name(name),
                Some(AclOperation::DESCRIBE_CONFIGS),
                "{name}"
            );
        }
        assert_eq!(AclOperation::from_name("fly"), None);
        assert_eq!(ResourceType(99).to_string(), "UNKNOWN");
    }
}
