use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ids::{BrokerEpoch, BrokerId};
use ottla_protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use ottla_protocol::messages::register_controller_record::{ControllerEndpoint, ControllerFeature};
use ottla_protocol::messages::{
    BrokerRegistrationChangeRecord, FenceBrokerRecord, RegisterBrokerRecord,
    RegisterControllerRecord, UnfenceBrokerRecord, UnregisterBrokerRecord,
};
use ottla_protocol::{KafkaString, Uuid};

use super::FeaturesImage;
use crate::Error;
use crate::features::LevelRange;
use crate::record::MetadataRecord;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: KafkaString,
    /// The advertised host.
    pub host: KafkaString,
    /// The advertised port.
    pub port: u16,
    /// The security protocol's number.
    pub security_protocol: i16,
}

/// A broker as it registered, with what the controller found out since.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerRegistration {
    /// The broker's `node.id`.
    pub id: BrokerId,
    /// The offset at which this life of the broker registered.
    pub epoch: BrokerEpoch,
    /// Names the process, so that it may register again under the same epoch.
    pub incarnation_id: Uuid,
    /// The listeners, in the order of the registration.
    pub listeners: Vec<Endpoint>,
    /// The feature levels that the broker supports.
    pub supported_features: BTreeMap<KafkaString, LevelRange>,
    /// The broker's rack.
    pub rack: Option<KafkaString>,
    /// A fenced broker leads nothing and is in no ISR.
    pub fenced: bool,
    /// Whether the broker asked to be shut down, and its leaders are moved away.
    pub in_controlled_shutdown: bool,
    /// Left over from the migration from ZooKeeper.
    pub is_migrating_zk_broker: bool,
    /// The ids of the log directories that are online.
    pub directories: Vec<Uuid>,
    /// The ids of the log directories that take no new replicas; `None` until the broker tells.
    pub cordoned_directories: Option<Vec<Uuid>>,
}

impl BrokerRegistration {
    /// The broker's endpoint of this listener.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Endpoint> {
        self.listeners
            .iter()
            .find(|endpoint| endpoint.listener == *name)
    }

    /// Whether the directory is online. A replica that isn't in a directory with an id yet
    /// counts as online; so does every one of a broker that tells no directories.
    #[must_use]
    pub fn has_online_directory(&self, directory: Uuid) -> bool {
        match directory {
            super::DIRECTORY_UNASSIGNED | super::DIRECTORY_MIGRATING => true,
            super::DIRECTORY_LOST => false,
            _ => self.directories.is_empty() || self.directories.contains(&directory),
        }
    }

    /// Whether the broker may be a leader or a member of an ISR.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// The record that makes this registration.
    #[must_use]
    pub fn to_record(&self, features: &FeaturesImage) -> RegisterBrokerRecord {
        let version = features.metadata_version_or_minimum();
        let mut record = RegisterBrokerRecord {
            broker_id: self.id.0,
            broker_epoch: self.epoch.0,
            incarnation_id: self.incarnation_id,
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            ..RegisterBrokerRecord::default()
        };
        if version.register_broker_record_version() >= 2 {
            record.is_migrating_zk_broker = self.is_migrating_zk_broker;
        }
        if version.supports_directory_assignment() {
            record.log_dirs.clone_from(&self.directories);
        }
        if version.supports_cordoned_log_dirs() {
            record
                .cordoned_log_dirs
                .clone_from(&self.cordoned_directories);
        }
        record.end_points = self
            .listeners
            .iter()
            .map(|endpoint| BrokerEndpoint {
                name: endpoint.listener.clone(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                security_protocol: endpoint.security_protocol,
                ..BrokerEndpoint::default()
            })
            .collect();
        record.features = self
            .supported_features
            .iter()
            .map(|(name, range)| BrokerFeature {
                name: name.clone(),
                min_supported_version: range.min,
                max_supported_version: range.max,
                ..BrokerFeature::default()
            })
            .collect();
        record
    }
}

impl From<&RegisterBrokerRecord> for BrokerRegistration {
    fn from(record: &RegisterBrokerRecord) -> Self {
        let endpoint = |endpoint: &BrokerEndpoint| Endpoint {
            listener: endpoint.name.detached(),
            host: endpoint.host.detached(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        };
        let feature = |feature: &BrokerFeature| {
            let range = LevelRange {
                min: feature.min_supported_version,
                max: feature.max_supported_version,
            };
            (feature.name.detached(), range)
        };
        Self {
            id: BrokerId(record.broker_id),
            epoch: BrokerEpoch(record.broker_epoch),
            incarnation_id: record.incarnation_id,
            listeners: record.end_points.iter().map(endpoint).collect(),
            supported_features: record.features.iter().map(feature).collect(),
            rack: record.rack.as_ref().map(KafkaString::detached),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            is_migrating_zk_broker: record.is_migrating_zk_broker,
            directories: record.log_dirs.clone(),
            cordoned_directories: record.cordoned_log_dirs.clone(),
        }
    }
}

/// A controller as it registered.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerRegistration {
    /// The controller's `node.id`.
    pub id: BrokerId,
    /// Names the process.
    pub incarnation_id: Uuid,
    /// Left over from the migration from ZooKeeper.
    pub zk_migration_ready: bool,
    /// The listeners, in the order of the registration.
    pub listeners: Vec<Endpoint>,
    /// The feature levels that the controller supports.
    pub supported_features: BTreeMap<KafkaString, LevelRange>,
}

impl ControllerRegistration {
    /// The record that makes this registration.
    #[must_use]
    pub fn to_record(&self) -> RegisterControllerRecord {
        let endpoint = |endpoint: &Endpoint| ControllerEndpoint {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
            ..ControllerEndpoint::default()
        };
        let feature = |(name, range): (&KafkaString, &LevelRange)| ControllerFeature {
            name: name.clone(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..ControllerFeature::default()
        };
        RegisterControllerRecord {
            controller_id: self.id.0,
            incarnation_id: self.incarnation_id,
            zk_migration_ready: self.zk_migration_ready,
            end_points: self.listeners.iter().map(endpoint).collect(),
            features: self.supported_features.iter().map(feature).collect(),
            ..RegisterControllerRecord::default()
        }
    }
}

impl From<&RegisterControllerRecord> for ControllerRegistration {
    fn from(record: &RegisterControllerRecord) -> Self {
        let endpoint = |endpoint: &ControllerEndpoint| Endpoint {
            listener: endpoint.name.detached(),
            host: endpoint.host.detached(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        };
        let feature = |feature: &ControllerFeature| {
            let range = LevelRange {
                min: feature.min_supported_version,
                max: feature.max_supported_version,
            };
            (feature.name.detached(), range)
        };
        Self {
            id: BrokerId(record.controller_id),
            incarnation_id: record.incarnation_id,
            zk_migration_ready: record.zk_migration_ready,
            listeners: record.end_points.iter().map(endpoint).collect(),
            supported_features: record.features.iter().map(feature).collect(),
        }
    }
}

/// The registered brokers and controllers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterImage {
    brokers: BTreeMap<BrokerId, Arc<BrokerRegistration>>,
    controllers: BTreeMap<BrokerId, Arc<ControllerRegistration>>,
}

impl ClusterImage {
    /// The registered brokers by id.
    #[must_use]
    pub fn brokers(&self) -> &BTreeMap<BrokerId, Arc<BrokerRegistration>> {
        &self.brokers
    }

    /// The registered controllers by id.
    #[must_use]
    pub fn controllers(&self) -> &BTreeMap<BrokerId, Arc<ControllerRegistration>> {
        &self.controllers
    }

    /// The broker of this id.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&BrokerRegistration> {
        self.brokers.get(&id).map(Arc::as_ref)
    }

    /// Whether the broker is registered, not fenced and not in controlled shutdown.
    #[must_use]
    pub fn is_active(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(BrokerRegistration::is_active)
    }

    /// Whether the broker is registered and not fenced.
    #[must_use]
    pub fn is_unfenced(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }

    pub(super) fn register_broker(&mut self, record: &RegisterBrokerRecord) {
        let registration = BrokerRegistration::from(record);
        self.brokers.insert(registration.id, Arc::new(registration));
    }

    pub(super) fn register_controller(&mut self, record: &RegisterControllerRecord) {
        let registration = ControllerRegistration::from(record);
        self.controllers
            .insert(registration.id, Arc::new(registration));
    }

    pub(super) fn unregister_broker(
        &mut self,
        record: &UnregisterBrokerRecord,
    ) -> Result<(), Error> {
        let id = BrokerId(record.broker_id);
        self.living(
            "UnregisterBrokerRecord",
            id,
            BrokerEpoch(record.broker_epoch),
        )?;
        self.brokers.remove(&id);
        Ok(())
    }

    pub(super) fn fence_broker(&mut self, record: &FenceBrokerRecord) -> Result<(), Error> {
        let epoch = BrokerEpoch(record.epoch);
        self.living("FenceBrokerRecord", BrokerId(record.id), epoch)?
            .fenced = true;
        Ok(())
    }

    pub(super) fn unfence_broker(&mut self, record: &UnfenceBrokerRecord) -> Result<(), Error> {
        let epoch = BrokerEpoch(record.epoch);
        self.living("UnfenceBrokerRecord", BrokerId(record.id), epoch)?
            .fenced = false;
        Ok(())
    }

    pub(super) fn change_broker(
        &mut self,
        record: &BrokerRegistrationChangeRecord,
    ) -> Result<(), Error> {
        const NAME: &str = "BrokerRegistrationChangeRecord";
        let unknown = |field: &str, value: i8| {
            Error::replay(NAME, format!("unknown value {value} of field {field}"))
        };
        let id = BrokerId(record.broker_id);
        let broker = self.living(NAME, id, BrokerEpoch(record.broker_epoch))?;
        match record.fenced {
            -1 => broker.fenced = false,
            0 => {}
            1 => broker.fenced = true,
            other => return Err(unknown("Fenced", other)),
        }
        match record.in_controlled_shutdown {
            0 => {}
            1 => broker.in_controlled_shutdown = true,
            other => return Err(unknown("InControlledShutdown", other)),
        }
        if !record.log_dirs.is_empty() {
            broker.directories.clone_from(&record.log_dirs);
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            broker.cordoned_directories = Some(cordoned.clone());
        }
        Ok(())
    }

    /// The broker of this id in the life of this epoch.
    fn living(
        &mut self,
        record: &'static str,
        id: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<&mut BrokerRegistration, Error> {
        let broker = self
            .brokers
            .get_mut(&id)
            .ok_or_else(|| Error::replay(record, format!("broker {id} is not registered")))?;
        if broker.epoch != epoch {
            let found = broker.epoch;
            let reason = format!("broker {id} has epoch {found}, and not {epoch}");
            return Err(Error::replay(record, reason));
        }
        Ok(Arc::make_mut(broker))
    }

    pub(super) fn write_snapshot(
        &self,
        features: &FeaturesImage,
        records: &mut Vec<MetadataRecord>,
    ) {
        records.extend(
            self.brokers
                .values()
                .map(|broker| broker.to_record(features).into()),
        );
        if features
            .metadata_version_or_minimum()
            .supports_controller_registration()
        {
            records.extend(
                self.controllers
                    .values()
                    .map(|controller| controller.to_record().into()),
            );
        }
    }
}
