//! Changes of the finalized feature levels (KIP-584, KIP-778, KIP-1022).

use std::collections::BTreeMap;

use ottla_protocol::messages::update_features_request::FeatureUpdateKey;
use ottla_protocol::messages::update_features_response::UpdatableFeatureResult;
use ottla_protocol::messages::{FeatureLevelRecord, UpdateFeaturesRequest, UpdateFeaturesResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::{ApiError, Controller, Decision};
use crate::features::{
    ELIGIBLE_LEADER_REPLICAS_VERSION, KRAFT_VERSION, LevelRange, METADATA_VERSION, MetadataVersion,
    supported_features, validate_level,
};
use crate::record::MetadataRecord;

/// The response to a change of feature levels, and what the log's owner has to do besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeaturesUpdate {
    /// The response.
    pub response: UpdateFeaturesResponse,
    /// The `kraft.version` to upgrade to: its level and the voters stand in control records,
    /// which the quorum appends.
    pub kraft_version: Option<i16>,
}

/// How a level may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpgradeType {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
}

impl UpgradeType {
    fn of(update: &FeatureUpdateKey, request_version: i16) -> Option<Self> {
        if request_version == 0 {
            let downgrade = update.allow_downgrade;
            return Some(if downgrade {
                Self::SafeDowngrade
            } else {
                Self::Upgrade
            });
        }
        match update.upgrade_type {
            1 => Some(Self::Upgrade),
            2 => Some(Self::SafeDowngrade),
            3 => Some(Self::UnsafeDowngrade),
            _ => None,
        }
    }
}

/// The changes of one request so far.
#[derive(Default)]
struct Changes {
    /// All levels as they will be.
    levels: BTreeMap<String, i16>,
    records: Vec<MetadataRecord>,
    kraft_version: Option<i16>,
}

impl Controller {
    /// Changes the levels of features: of all that are named, or none.
    #[must_use]
    pub fn decide_update_features(
        &self,
        request: &UpdateFeaturesRequest,
        request_version: i16,
        kraft_version: i16,
    ) -> Decision<FeaturesUpdate> {
        let mut changes = Changes::default();
        let finalized = self.image.features().finalized();
        changes.levels = finalized
            .map(|(name, level)| (name.to_owned(), level))
            .collect();
        for update in &request.feature_updates {
            changes
                .levels
                .insert(update.feature.to_string(), update.max_version_level);
        }
        for update in &request.feature_updates {
            let asked = UpgradeType::of(update, request_version);
            if let Err(error) = self.update_feature(update, asked, kraft_version, &mut changes) {
                return Decision::only(refused(&error));
            }
        }
        let mut update = FeaturesUpdate::default();
        update.response.error_message = None;
        if request_version <= 1 {
            let result = |asked: &FeatureUpdateKey| UpdatableFeatureResult {
                feature: asked.feature.clone(),
                error_message: Some("NONE".into()),
                ..UpdatableFeatureResult::default()
            };
            update.response.results = request.feature_updates.iter().map(result).collect();
        }
        if request.validate_only {
            return Decision::only(update);
        }
        update.kraft_version = changes.kraft_version;
        let mut records = Vec::new();
        let switched_on = request.feature_updates.iter().any(|asked| {
            asked.feature == ELIGIBLE_LEADER_REPLICAS_VERSION && asked.max_version_level > 0
        });
        if switched_on {
            self.eligible_safety_records(&self.image, &mut records);
        }
        records.append(&mut changes.records);
        Decision::new(records, update)
    }

    fn update_feature(
        &self,
        update: &FeatureUpdateKey,
        asked: Option<UpgradeType>,
        kraft_version: i16,
        changes: &mut Changes,
    ) -> Result<(), ApiError> {
        let (name, level) = (update.feature.as_str(), update.max_version_level);
        let refuse = |reason: &str| Err(invalid_update(name, level, reason));
        let Some(asked) = asked else {
            return refuse("The controller does not support the given upgrade type.");
        };
        let current = match name {
            KRAFT_VERSION => kraft_version,
            _ => self.image.features().level(name),
        };
        if level < 0 {
            return refuse("A feature version cannot be less than 0.");
        }
        if let Some(reason) = self.unsupported_by(name, level) {
            return refuse(&reason);
        }
        if level < current && asked == UpgradeType::Upgrade {
            return refuse(
                "Can't downgrade the version of this feature without setting the upgrade type \
                 to either safe or unsafe downgrade.",
            );
        }
        if level > current && asked != UpgradeType::Upgrade {
            return refuse("Can't downgrade to a newer version.");
        }
        match name {
            METADATA_VERSION => self.check_metadata_version(level, asked)?,
            KRAFT_VERSION if level == current => return Ok(()),
            KRAFT_VERSION if asked != UpgradeType::Upgrade => {
                return refuse("Can't downgrade the version of this feature.");
            }
            KRAFT_VERSION => {
                changes.kraft_version = Some(level);
                return Ok(());
            }
            _ => validate_level(name, level, &changes.levels)
                .map_err(|reason| invalid_update(name, level, &reason.to_string()))?,
        }
        let record = FeatureLevelRecord {
            name: update.feature.clone(),
            feature_level: level,
            ..FeatureLevelRecord::default()
        };
        changes.records.push(record.into());
        Ok(())
    }

    fn check_metadata_version(&self, level: i16, asked: UpgradeType) -> Result<(), ApiError> {
        let current = self.metadata_version();
        let Some(wanted) = MetadataVersion::from_level(level) else {
            let message = format!(
                "Invalid metadata.version {level}. Valid versions are from {} to {}.",
                MetadataVersion::MINIMUM.level(),
                MetadataVersion::LATEST_PRODUCTION.level()
            );
            return Err(ApiError::new(ErrorCode::INVALID_UPDATE_VERSION, message));
        };
        if wanted < current && wanted.metadata_changed_between(current) {
            let reason = if asked == UpgradeType::UnsafeDowngrade {
                "Unsafe metadata downgrade is not supported in this version."
            } else {
                "Refusing to perform the requested downgrade because it might delete metadata \
                 information."
            };
            let message = format!(
                "Unsupported metadata.version downgrade from {} to {}. {reason}",
                current.level(),
                wanted.level()
            );
            return Err(ApiError::new(ErrorCode::INVALID_UPDATE_VERSION, message));
        }
        Ok(())
    }

    /// Why a level can't be finalized yet: a node doesn't support it, or hasn't said so.
    fn unsupported_by(&self, name: &str, level: i16) -> Option<String> {
        let own = self.options.node_id;
        let local = supported_features().get(name).copied();
        if let Some(reason) = unsupported(&format!("Local controller {own}"), level, local) {
            return Some(reason);
        }
        let cluster = self.image.cluster();
        let key = KafkaString::from(name);
        let by_broker = cluster.brokers().values().find_map(|broker| {
            let range = broker.supported_features.get(&key).copied();
            unsupported(&format!("Broker {}", broker.id), level, range)
        });
        if by_broker.is_some() || !self.metadata_version().supports_controller_registration() {
            return by_broker;
        }
        let mut others = cluster
            .controllers()
            .values()
            .filter(|found| found.id != own);
        others
            .find_map(|controller| {
                let range = controller.supported_features.get(&key).copied();
                unsupported(&format!("Controller {}", controller.id), level, range)
            })
            .or_else(|| {
                let unheard =
                    self.options.voters.iter().find(|voter| {
                        **voter != own && !cluster.controllers().contains_key(voter)
                    })?;
                Some(format!(
                    "controller {unheard} has not registered, and may not support this feature"
                ))
            })
    }
}

fn unsupported(node: &str, level: i16, range: Option<LevelRange>) -> Option<String> {
    let range = range.unwrap_or(LevelRange { min: 0, max: 0 });
    if range.contains(level) {
        return None;
    }
    Some(if range.max == 0 {
        format!("{node} does not support this feature.")
    } else {
        format!("{node} only supports versions {}-{}", range.min, range.max)
    })
}

fn invalid_update(name: &str, level: i16, reason: &str) -> ApiError {
    let message = format!("Invalid update version {level} for feature {name}. {reason}");
    ApiError::new(ErrorCode::INVALID_UPDATE_VERSION, message)
}

fn refused(error: &ApiError) -> FeaturesUpdate {
    let message = format!(
        "The update failed for all features since the following feature had an error: {}",
        error.message
    );
    FeaturesUpdate {
        response: UpdateFeaturesResponse {
            error_code: error.number(),
            error_message: Some(message.into()),
            ..UpdateFeaturesResponse::default()
        },
        kraft_version: None,
    }
}
