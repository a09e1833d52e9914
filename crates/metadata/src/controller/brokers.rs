//! Registrations of brokers and controllers, heartbeats, fencing (KIP-631, KIP-858, KIP-903,
//! KIP-919, KIP-966).

use std::collections::BTreeSet;

use ottla_protocol::ids::{BrokerEpoch, BrokerId, Offset};
use ottla_protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use ottla_protocol::messages::register_controller_record::{ControllerEndpoint, ControllerFeature};
use ottla_protocol::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationChangeRecord,
    BrokerRegistrationRequest, BrokerRegistrationResponse, ControllerRegistrationRequest,
    ControllerRegistrationResponse, RegisterBrokerRecord, RegisterControllerRecord,
    UnregisterBrokerRecord, UnregisterBrokerRequest, UnregisterBrokerResponse,
};
use ottla_protocol::{ErrorCode, Uuid};

use super::api_error::parts;
use super::partitions::BrokerEvent;
use super::{ApiError, Controller, Decision};
use crate::features::{KRAFT_VERSION, METADATA_VERSION};
use crate::image::{BrokerRegistration, is_reserved_directory};
use crate::record::MetadataRecord;

/// What a registration is decided with besides the request.
#[derive(Clone, Copy, Debug)]
pub struct RegistrationContext {
    /// The offset of the next record of the log: the epoch of a new life of the broker.
    pub next_offset: Offset,
    /// The version of the request; from 3 on it tells of the previous life.
    pub request_version: i16,
    /// Whether the request comes from the broker in the controller's own process. Its previous
    /// life is over for certain, since it held the lock on the same directory; so its session
    /// need not run out first, which would cost a restarted single node that time.
    pub same_process: bool,
}

/// What a broker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BrokerState {
    Fenced,
    Unfenced,
    ControlledShutdown,
    ShutdownNow,
}

impl Controller {
    /// Begins the sessions of the brokers that count as alive; to be called when this
    /// controller becomes the active one.
    pub fn begin_sessions(&mut self, now_ms: i64) {
        let brokers = self.image.cluster().brokers().values();
        let unfenced = brokers.filter(|broker| !broker.fenced);
        for (id, epoch) in unfenced
            .map(|broker| (broker.id, broker.epoch))
            .collect::<Vec<_>>()
        {
            self.heartbeats.touch(id, epoch, now_ms, Offset(-1));
        }
    }

    /// Registers a broker: a new life of it, or the same one with other particulars.
    #[must_use]
    pub fn decide_broker_registration(
        &self,
        now_ms: i64,
        request: &BrokerRegistrationRequest,
        context: RegistrationContext,
    ) -> Decision<BrokerRegistrationResponse> {
        let mut records = Vec::new();
        match self.register_broker(now_ms, request, context, &mut records) {
            Ok(epoch) => {
                let response = BrokerRegistrationResponse {
                    broker_epoch: epoch.0,
                    ..BrokerRegistrationResponse::default()
                };
                Decision::new(records, response)
            }
            Err(error) => {
                tracing::warn!(broker = request.broker_id, "registration refused: {error}");
                Decision::only(BrokerRegistrationResponse {
                    error_code: error.number(),
                    ..BrokerRegistrationResponse::default()
                })
            }
        }
    }

    fn register_broker(
        &self,
        now_ms: i64,
        request: &BrokerRegistrationRequest,
        context: RegistrationContext,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<BrokerEpoch, ApiError> {
        let id = BrokerId(request.broker_id);
        let existing = self.image.cluster().broker(id);
        self.check_cluster_and_session(now_ms, request, context)?;
        self.check_directories(request)?;
        self.check_features(request)?;

        let mut record = self.registration_record(request);
        let same_life = existing.filter(|found| found.incarnation_id == request.incarnation_id);
        if let Some(found) = same_life {
            record.fenced = found.fenced;
            record.in_controlled_shutdown = found.in_controlled_shutdown;
            record.broker_epoch = found.epoch.0;
        } else {
            let clean = context.request_version >= 3
                && existing.map_or(-2, |found| found.epoch.0) == request.previous_broker_epoch;
            self.shutdown_updates(id, clean, records);
            record.broker_epoch = context.next_offset.0;
        }
        let epoch = BrokerEpoch(record.broker_epoch);
        records.push(record.into());
        Ok(epoch)
    }

    fn check_cluster_and_session(
        &self,
        now_ms: i64,
        request: &BrokerRegistrationRequest,
        context: RegistrationContext,
    ) -> Result<(), ApiError> {
        if request.cluster_id != self.options.cluster_id {
            let message = format!(
                "Expected cluster ID {}, but got cluster ID {}",
                self.options.cluster_id, request.cluster_id
            );
            return Err(ApiError::new(ErrorCode::INCONSISTENT_CLUSTER_ID, message));
        }
        if let Some(existing) = self.image.cluster().broker(BrokerId(request.broker_id))
            && existing.incarnation_id != request.incarnation_id
            && !context.same_process
            && self.has_valid_session(existing, now_ms)
        {
            let message = "Another broker is registered with that broker id. If the broker was \
                           recently restarted this should self-resolve once the heartbeat \
                           manager expires the broker's session.";
            return Err(ApiError::new(
                ErrorCode::DUPLICATE_BROKER_REGISTRATION,
                message,
            ));
        }
        if request.is_migrating_zk_broker {
            let message = "Controller does not support registering ZK brokers.";
            return Err(ApiError::new(ErrorCode::BROKER_ID_NOT_REGISTERED, message));
        }
        Ok(())
    }

    fn has_valid_session(&self, broker: &BrokerRegistration, now_ms: i64) -> bool {
        let timeout = self.options.session_timeout_ms;
        self.heartbeats
            .has_valid_session(broker.id, broker.epoch, now_ms, timeout)
    }

    fn check_directories(&self, request: &BrokerRegistrationRequest) -> Result<(), ApiError> {
        if !self.metadata_version().supports_directory_assignment() {
            return Ok(());
        }
        let refuse = |message: &str| Err(ApiError::new(ErrorCode::INVALID_REGISTRATION, message));
        if request.log_dirs.is_empty() {
            return refuse("No directories specified in request");
        }
        if request
            .log_dirs
            .iter()
            .any(|directory| is_reserved_directory(*directory))
        {
            return refuse("Reserved directory ID in request");
        }
        let distinct: BTreeSet<&Uuid> = request.log_dirs.iter().collect();
        if distinct.len() != request.log_dirs.len() {
            return refuse("Duplicate directory ID in request");
        }
        for broker in self.image.cluster().brokers().values() {
            if broker.id.0 == request.broker_id {
                continue;
            }
            if let Some(taken) = broker
                .directories
                .iter()
                .find(|found| distinct.contains(found))
            {
                let id = broker.id;
                return refuse(&format!(
                    "Broker {id} is already registered with directory {taken}"
                ));
            }
        }
        Ok(())
    }

    /// A broker must support every finalized level.
    fn check_features(&self, request: &BrokerRegistrationRequest) -> Result<(), ApiError> {
        if !request
            .features
            .iter()
            .any(|feature| feature.name == METADATA_VERSION)
        {
            let message = "Request features do not contain 'metadata.version'";
            return Err(ApiError::new(ErrorCode::INVALID_REGISTRATION, message));
        }
        let refuse = |level: i16, name: &str, min: i16, max: i16| {
            let message = format!(
                "Unable to register because the broker does not support finalized version \
                 {level} of {name}. The broker wants a version between {min} and {max}, \
                 inclusive."
            );
            Err(ApiError::new(ErrorCode::UNSUPPORTED_VERSION, message))
        };
        for feature in &request.features {
            let (min, max) = (feature.min_supported_version, feature.max_supported_version);
            let level = self.image.features().level(&feature.name);
            // `kraft.version` is not in the image; every node here supports both of its levels.
            if (level < min || level > max) && feature.name != KRAFT_VERSION {
                return refuse(level, &feature.name, min, max);
            }
        }
        let named = |name: &str| request.features.iter().any(|feature| feature.name == *name);
        match self
            .image
            .features()
            .finalized()
            .find(|(name, _)| !named(name))
        {
            Some((name, level)) => refuse(level, name, 0, 0),
            None => Ok(()),
        }
    }

    fn registration_record(&self, request: &BrokerRegistrationRequest) -> RegisterBrokerRecord {
        let endpoints = request.listeners.iter().map(|listener| BrokerEndpoint {
            name: listener.name.clone(),
            host: listener.host.clone(),
            port: listener.port,
            security_protocol: listener.security_protocol,
            ..BrokerEndpoint::default()
        });
        let features = request.features.iter().map(|feature| BrokerFeature {
            name: feature.name.clone(),
            min_supported_version: feature.min_supported_version,
            max_supported_version: feature.max_supported_version,
            ..BrokerFeature::default()
        });
        let mut record = RegisterBrokerRecord {
            broker_id: request.broker_id,
            incarnation_id: request.incarnation_id,
            end_points: endpoints.collect(),
            features: features.collect(),
            rack: request.rack.clone(),
            fenced: true,
            ..RegisterBrokerRecord::default()
        };
        if self.metadata_version().supports_directory_assignment() {
            record.log_dirs.clone_from(&request.log_dirs);
        }
        record
    }

    /// What a broker's previous life leaves behind: it is in no ISR any more; and after an
    /// unclean end not among the eligible leader replicas either.
    fn shutdown_updates(&self, id: BrokerId, clean: bool, records: &mut Vec<MetadataRecord>) {
        let in_sync = self.partitions_with_isr_member(id);
        if clean || !self.image.features().eligible_leader_replicas_enabled() {
            let event = BrokerEvent {
                leaving: Some(id),
                ..BrokerEvent::default()
            };
            self.leader_and_isr_updates(event, &in_sync, records);
            return;
        }
        let event = BrokerEvent {
            unclean_shutdown: Some(id),
            ..BrokerEvent::default()
        };
        self.leader_and_isr_updates(event, &in_sync, records);
        self.leader_and_isr_updates(event, &self.partitions_with_eligible(id), records);
    }

    /// The registered broker of this id, in the life of this epoch.
    pub(super) fn check_broker_epoch(
        &self,
        id: i32,
        epoch: i64,
    ) -> Result<&BrokerRegistration, ApiError> {
        let broker = self.image.cluster().broker(BrokerId(id)).ok_or_else(|| {
            let message = format!("No broker registration found for broker id {id}");
            ApiError::new(ErrorCode::STALE_BROKER_EPOCH, message)
        })?;
        if broker.epoch.0 != epoch {
            let message = format!(
                "Expected broker epoch {}, but got broker epoch {epoch}",
                broker.epoch
            );
            return Err(ApiError::new(ErrorCode::STALE_BROKER_EPOCH, message));
        }
        Ok(broker)
    }

    /// Takes a broker's heartbeat: keeps its session, and lets it move on between fenced,
    /// unfenced, controlled shutdown and gone.
    pub fn handle_broker_heartbeat(
        &mut self,
        now_ms: i64,
        request: &BrokerHeartbeatRequest,
        next_offset: Offset,
    ) -> Decision<BrokerHeartbeatResponse> {
        let (epoch, offset) = (
            BrokerEpoch(request.broker_epoch),
            Offset(request.current_metadata_offset),
        );
        let id = BrokerId(request.broker_id);
        let decision = match self.decide_heartbeat(request) {
            Ok(decision) => decision,
            Err(error) => {
                return Decision::only(BrokerHeartbeatResponse {
                    error_code: error.number(),
                    ..BrokerHeartbeatResponse::default()
                });
            }
        };
        let (records, state, response) = decision;
        if state == BrokerState::ShutdownNow {
            // The broker says itself that this life is over: the next one need not wait until
            // its session has run out.
            self.heartbeats.forget(id);
            return Decision::new(records, response);
        }
        self.heartbeats.touch(id, epoch, now_ms, offset);
        if state == BrokerState::ControlledShutdown {
            let appended = i64::try_from(records.len()).unwrap_or(i64::MAX);
            let last = Offset(next_offset.0.saturating_add(appended).saturating_sub(1));
            self.heartbeats.set_shutdown_offset(id, last);
        }
        Decision::new(records, response)
    }

    fn decide_heartbeat(
        &self,
        request: &BrokerHeartbeatRequest,
    ) -> Result<(Vec<MetadataRecord>, BrokerState, BrokerHeartbeatResponse), ApiError> {
        let broker = self.check_broker_epoch(request.broker_id, request.broker_epoch)?;
        let registered_at = self
            .registration_offsets
            .get(&broker.id)
            .copied()
            .unwrap_or_default();
        let caught_up = request.current_metadata_offset >= registered_at.0;
        let state = self.next_state(broker, request, caught_up);
        let mut records = Vec::new();
        if state != current_state(broker) {
            match state {
                BrokerState::Fenced | BrokerState::ShutdownNow => {
                    self.fence(broker, &mut records);
                }
                BrokerState::Unfenced => self.unfence(broker, &mut records),
                BrokerState::ControlledShutdown => {
                    self.begin_controlled_shutdown(broker, &mut records);
                }
            }
        }
        if self.metadata_version().supports_directory_assignment() {
            self.take_directories_offline(broker, &request.offline_log_dirs, &mut records);
        }
        if self.metadata_version().supports_cordoned_log_dirs() {
            cordon_directories(broker, request.cordoned_log_dirs.as_deref(), &mut records);
        }
        let response = BrokerHeartbeatResponse {
            is_caught_up: caught_up,
            is_fenced: matches!(state, BrokerState::Fenced | BrokerState::ShutdownNow),
            should_shut_down: state == BrokerState::ShutdownNow,
            ..BrokerHeartbeatResponse::default()
        };
        Ok((records, state, response))
    }

    fn next_state(
        &self,
        broker: &BrokerRegistration,
        request: &BrokerHeartbeatRequest,
        caught_up: bool,
    ) -> BrokerState {
        match current_state(broker) {
            BrokerState::Fenced if request.want_shut_down => BrokerState::ShutdownNow,
            BrokerState::Fenced if !request.want_fence && caught_up => BrokerState::Unfenced,
            BrokerState::Fenced => BrokerState::Fenced,
            BrokerState::Unfenced if request.want_fence && request.want_shut_down => {
                BrokerState::ShutdownNow
            }
            BrokerState::Unfenced if request.want_fence => BrokerState::Fenced,
            BrokerState::Unfenced if !request.want_shut_down => BrokerState::Unfenced,
            BrokerState::Unfenced if self.leads_partitions(broker.id) => {
                BrokerState::ControlledShutdown
            }
            BrokerState::Unfenced => BrokerState::ShutdownNow,
            BrokerState::ControlledShutdown if self.may_shut_down(broker.id) => {
                BrokerState::ShutdownNow
            }
            state => state,
        }
    }

    /// The broker leads nothing, and every active one has seen that its leaders moved.
    fn may_shut_down(&self, id: BrokerId) -> bool {
        if self.leads_partitions(id) {
            return false;
        }
        let Some(shutdown_offset) = self.heartbeats.shutdown_offset(id) else {
            return true;
        };
        self.heartbeats
            .lowest_active_offset(|other| self.image.cluster().is_active(other))
            .is_none_or(|lowest| shutdown_offset <= lowest)
    }

    fn fence(&self, broker: &BrokerRegistration, records: &mut Vec<MetadataRecord>) {
        let event = BrokerEvent {
            leaving: Some(broker.id),
            ..BrokerEvent::default()
        };
        self.leader_and_isr_updates(event, &self.partitions_with_isr_member(broker.id), records);
        let record = BrokerRegistrationChangeRecord {
            fenced: 1,
            ..change_of(broker)
        };
        records.push(record.into());
    }

    fn unfence(&self, broker: &BrokerRegistration, records: &mut Vec<MetadataRecord>) {
        let record = BrokerRegistrationChangeRecord {
            fenced: -1,
            ..change_of(broker)
        };
        records.push(record.into());
        let event = BrokerEvent {
            coming: Some(broker.id),
            ..BrokerEvent::default()
        };
        let leaderless = self.partitions_where(|partition| partition.leader.is_none());
        self.leader_and_isr_updates(event, &leaderless, records);
    }

    fn begin_controlled_shutdown(
        &self,
        broker: &BrokerRegistration,
        records: &mut Vec<MetadataRecord>,
    ) {
        let record = BrokerRegistrationChangeRecord {
            in_controlled_shutdown: 1,
            ..change_of(broker)
        };
        records.push(record.into());
        let event = BrokerEvent {
            leaving: Some(broker.id),
            ..BrokerEvent::default()
        };
        self.leader_and_isr_updates(event, &self.partitions_with_isr_member(broker.id), records);
    }

    fn take_directories_offline(
        &self,
        broker: &BrokerRegistration,
        offline: &[Uuid],
        records: &mut Vec<MetadataRecord>,
    ) {
        let (gone, left): (Vec<Uuid>, Vec<Uuid>) = broker
            .directories
            .iter()
            .partition(|directory| offline.contains(directory));
        if gone.is_empty() {
            return;
        }
        let event = BrokerEvent {
            leaving: Some(broker.id),
            ..BrokerEvent::default()
        };
        for directory in gone {
            let places = self.partitions_where(|partition| {
                partition.directory(broker.id) == Some(directory)
                    && (partition.isr.contains(&broker.id) || partition.leader == Some(broker.id))
            });
            self.leader_and_isr_updates(event, &places, records);
        }
        let record = BrokerRegistrationChangeRecord {
            log_dirs: left,
            ..change_of(broker)
        };
        records.push(record.into());
    }

    /// When the session of the longest silent broker runs out.
    #[must_use]
    pub fn next_session_deadline(&self) -> Option<i64> {
        let (_, contact) = self.oldest_contact()?;
        Some(contact.saturating_add(self.options.session_timeout_ms))
    }

    fn oldest_contact(&self) -> Option<(BrokerId, i64)> {
        let counts = |id, epoch| {
            let broker = self.image.cluster().broker(id);
            broker.is_some_and(|broker| broker.epoch == epoch && !broker.fenced)
        };
        self.heartbeats.oldest_contact(counts)
    }

    /// Fences the broker whose session has run out for longest. The response says whether one
    /// was fenced: there may be more.
    #[must_use]
    pub fn decide_fence_stale_broker(&self, now_ms: i64) -> Decision<bool> {
        let timeout = self.options.session_timeout_ms;
        let stale = self
            .oldest_contact()
            .filter(|(_, contact)| contact + timeout <= now_ms);
        let Some(broker) = stale.and_then(|(id, _)| self.image.cluster().broker(id)) else {
            return Decision::only(false);
        };
        tracing::info!(
            broker = broker.id.0,
            "fencing a broker whose session has run out"
        );
        let mut records = Vec::new();
        self.fence(broker, &mut records);
        Decision::new(records, true)
    }

    /// Fences a broker of which the owner knows that this life of it has ended, before its
    /// session runs out, and lets its next life register. The response says whether there was
    /// anything to fence.
    pub fn handle_ended_broker(&mut self, id: BrokerId, incarnation_id: Uuid) -> Decision<bool> {
        let decision = self.decide_fence_ended_broker(id, incarnation_id);
        if decision.response {
            self.heartbeats.forget(id);
        }
        decision
    }

    fn decide_fence_ended_broker(&self, id: BrokerId, incarnation_id: Uuid) -> Decision<bool> {
        let broker = self.image.cluster().broker(id);
        let lives = |broker: &&BrokerRegistration| {
            broker.incarnation_id == incarnation_id && !broker.fenced
        };
        let Some(broker) = broker.filter(lives) else {
            return Decision::only(false);
        };
        tracing::info!(
            broker = id.0,
            "fencing a broker that has ended: its connections are closed, its listener refuses"
        );
        let mut records = Vec::new();
        self.fence(broker, &mut records);
        Decision::new(records, true)
    }

    /// Removes a broker's registration (KIP-631).
    #[must_use]
    pub fn decide_unregister_broker(
        &self,
        request: &UnregisterBrokerRequest,
    ) -> Decision<UnregisterBrokerResponse> {
        let id = BrokerId(request.broker_id);
        let Some(broker) = self.image.cluster().broker(id) else {
            let message = format!("Broker ID {id} is not currently registered");
            let error = ApiError::new(ErrorCode::BROKER_ID_NOT_REGISTERED, message);
            let (error_code, error_message) = parts(&Err(error));
            return Decision::only(UnregisterBrokerResponse {
                error_code,
                error_message,
                ..UnregisterBrokerResponse::default()
            });
        };
        let mut records = Vec::new();
        let event = BrokerEvent {
            leaving: Some(id),
            ..BrokerEvent::default()
        };
        self.leader_and_isr_updates(event, &self.partitions_with_isr_member(id), &mut records);
        self.leader_and_isr_updates(event, &self.partitions_with_eligible(id), &mut records);
        let record = UnregisterBrokerRecord {
            broker_id: id.0,
            broker_epoch: broker.epoch.0,
            ..UnregisterBrokerRecord::default()
        };
        records.push(record.into());
        Decision::new(records, UnregisterBrokerResponse::default())
    }

    /// Registers a controller (KIP-919).
    #[must_use]
    pub fn decide_controller_registration(
        &self,
        request: &ControllerRegistrationRequest,
    ) -> Decision<ControllerRegistrationResponse> {
        if !self.metadata_version().supports_controller_registration() {
            let message =
                "The current MetadataVersion is too old to support controller registrations.";
            let error = ApiError::new(ErrorCode::UNSUPPORTED_VERSION, message);
            let (error_code, error_message) = parts(&Err(error));
            return Decision::only(ControllerRegistrationResponse {
                error_code,
                error_message,
                ..ControllerRegistrationResponse::default()
            });
        }
        let endpoints = request.listeners.iter().map(|listener| ControllerEndpoint {
            name: listener.name.clone(),
            host: listener.host.clone(),
            port: listener.port,
            security_protocol: listener.security_protocol,
            ..ControllerEndpoint::default()
        });
        let features = request.features.iter().map(|feature| ControllerFeature {
            name: feature.name.clone(),
            min_supported_version: feature.min_supported_version,
            max_supported_version: feature.max_supported_version,
            ..ControllerFeature::default()
        });
        let record = RegisterControllerRecord {
            controller_id: request.controller_id,
            incarnation_id: request.incarnation_id,
            zk_migration_ready: request.zk_migration_ready,
            end_points: endpoints.collect(),
            features: features.collect(),
            ..RegisterControllerRecord::default()
        };
        Decision::new(
            vec![record.into()],
            ControllerRegistrationResponse::default(),
        )
    }
}

fn current_state(broker: &BrokerRegistration) -> BrokerState {
    if broker.in_controlled_shutdown && !broker.fenced {
        BrokerState::ControlledShutdown
    } else if broker.fenced {
        BrokerState::Fenced
    } else {
        BrokerState::Unfenced
    }
}

fn change_of(broker: &BrokerRegistration) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord {
        broker_id: broker.id.0,
        broker_epoch: broker.epoch.0,
        ..BrokerRegistrationChangeRecord::default()
    }
}

fn cordon_directories(
    broker: &BrokerRegistration,
    cordoned: Option<&[Uuid]>,
    records: &mut Vec<MetadataRecord>,
) {
    let Some(cordoned) = cordoned else { return };
    let known = broker.cordoned_directories.as_deref();
    let as_set = |directories: &[Uuid]| directories.iter().copied().collect::<BTreeSet<_>>();
    if known.map(as_set) != Some(as_set(cordoned)) {
        let record = BrokerRegistrationChangeRecord {
            cordoned_log_dirs: Some(cordoned.to_vec()),
            ..change_of(broker)
        };
        records.push(record.into());
    }
}
