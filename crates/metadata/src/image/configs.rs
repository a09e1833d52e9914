use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::ConfigRecord;

use crate::Error;
use crate::record::MetadataRecord;

/// What a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResourceType {
    /// A topic.
    Topic,
    /// A broker, or with an empty name all brokers.
    Broker,
    /// The log levels of a broker; never in metadata.
    BrokerLogger,
    /// A subscription to client metrics (KIP-714).
    ClientMetrics,
    /// A group.
    Group,
}

impl ConfigResourceType {
    /// The type of this number.
    #[must_use]
    pub const fn from_number(number: i8) -> Option<Self> {
        match number {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            8 => Some(Self::BrokerLogger),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }

    /// The number in records and requests.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }

    /// Kafka's name of the type, as messages show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic => "TOPIC",
            Self::Broker => "BROKER",
            Self::BrokerLogger => "BROKER_LOGGER",
            Self::ClientMetrics => "CLIENT_METRICS",
            Self::Group => "GROUP",
        }
    }
}

/// Something that has a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    /// What it is.
    pub resource_type: ConfigResourceType,
    /// Its name; empty for the default of all brokers.
    pub name: KafkaString,
}

impl ConfigResource {
    /// A resource of this type and name.
    #[must_use]
    pub fn new(resource_type: ConfigResourceType, name: impl Into<KafkaString>) -> Self {
        Self {
            resource_type,
            name: name.into(),
        }
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(name: impl Into<KafkaString>) -> Self {
        Self::new(ConfigResourceType::Topic, name)
    }

    /// The default of all brokers.
    #[must_use]
    pub fn broker_default() -> Self {
        Self::new(ConfigResourceType::Broker, "")
    }

    /// The broker of this id.
    #[must_use]
    pub fn broker(id: i32) -> Self {
        Self::new(ConfigResourceType::Broker, id.to_string())
    }
}

/// The values of one resource, by name.
pub type ConfigurationImage = BTreeMap<KafkaString, KafkaString>;

/// The configuration that lives in metadata, by resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigurationsImage {
    resources: BTreeMap<ConfigResource, Arc<ConfigurationImage>>,
}

impl ConfigurationsImage {
    /// Every resource that has a value set, with its values.
    #[must_use]
    pub fn resources(&self) -> &BTreeMap<ConfigResource, Arc<ConfigurationImage>> {
        &self.resources
    }

    /// The values that are set on a resource.
    #[must_use]
    pub fn of(&self, resource: &ConfigResource) -> Option<&Arc<ConfigurationImage>> {
        self.resources.get(resource)
    }

    /// The value of one name that is set on a resource.
    #[must_use]
    pub fn value(&self, resource: &ConfigResource, name: &str) -> Option<&KafkaString> {
        self.resources.get(resource)?.get(name)
    }

    pub(super) fn set(&mut self, record: &ConfigRecord) -> Result<(), Error> {
        let resource_type =
            ConfigResourceType::from_number(record.resource_type).ok_or_else(|| {
                let reason = format!("unknown resource type {}", record.resource_type);
                Error::replay("ConfigRecord", reason)
            })?;
        let resource = ConfigResource {
            resource_type,
            name: record.resource_name.detached(),
        };
        if let Some(value) = &record.value {
            let values = self.resources.entry(resource).or_default();
            Arc::make_mut(values).insert(record.name.detached(), value.detached());
        } else if let Some(values) = self.resources.get_mut(&resource) {
            let remaining = Arc::make_mut(values);
            remaining.remove(record.name.as_str());
            if remaining.is_empty() {
                self.resources.remove(&resource);
            }
        }
        Ok(())
    }

    pub(super) fn remove_topic(&mut self, name: &KafkaString) {
        self.resources.remove(&ConfigResource::topic(name.clone()));
    }

    pub(super) fn write_snapshot(&self, records: &mut Vec<MetadataRecord>) {
        for (resource, values) in &self.resources {
            for (name, value) in values.iter() {
                let record = ConfigRecord {
                    resource_type: resource.resource_type.number(),
                    resource_name: resource.name.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..ConfigRecord::default()
                };
                records.push(record.into());
            }
        }
    }
}
