//! Feature levels shown and changed.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, UpdateFeaturesRequest, update_features_request,
};

use super::Admin;
use crate::Error;
use crate::core::Destination;
use crate::core::admin::cluster::{FeatureChange, FeatureMetadata};

impl Admin {
    pub(super) async fn api_versions(
        &self,
        destination: Destination,
    ) -> Result<ApiVersionsResponse, Error> {
        let request = ApiVersionsRequest {
            client_software_name: KafkaString::from_static("ottla-client"),
            client_software_version: KafkaString::from_static(env!("CARGO_PKG_VERSION")),
            ..ApiVersionsRequest::default()
        };
        let response = self.request(destination, request).await?;
        Error::check(response.error_code, None)?;
        Ok(response)
    }

    /// The features of the cluster as any node sees them, or as this one does.
    pub async fn describe_features(&self, node: Option<i32>) -> Result<FeatureMetadata, Error> {
        let destination = node.map_or(self.any(), Destination::Broker);
        let response = self.api_versions(destination).await?;
        let supported = response.supported_features.into_iter();
        let finalized = response.finalized_features.into_iter();
        Ok(FeatureMetadata {
            supported: supported
                .map(|feature| (feature.name, (feature.min_version, feature.max_version)))
                .collect(),
            finalized: finalized
                .map(|feature| (feature.name, feature.max_version_level))
                .collect(),
            epoch: (response.finalized_features_epoch >= 0)
                .then_some(response.finalized_features_epoch),
        })
    }

    /// Changes the levels of features, all or none; level 0 takes a feature away.
    pub async fn update_features(
        &self,
        levels: &BTreeMap<KafkaString, i16>,
        change: FeatureChange,
        validate_only: bool,
    ) -> Result<(), Error> {
        let updates =
            levels.iter().map(
                |(feature, level)| update_features_request::FeatureUpdateKey {
                    feature: feature.clone(),
                    max_version_level: *level,
                    upgrade_type: change.code(),
                    ..update_features_request::FeatureUpdateKey::default()
                },
            );
        let request = UpdateFeaturesRequest {
            timeout_ms: self.broker_timeout_ms(),
            feature_updates: updates.collect(),
            validate_only,
            ..UpdateFeaturesRequest::default()
        };
        self.until_right(async || {
            let response = self
                .request(Destination::Controller, request.clone())
                .await?;
            Error::check(response.error_code, response.error_message.as_deref())?;
            // Before version 2 each feature has an outcome of its own.
            let mut results = response.results.iter();
            results.try_for_each(|result| {
                Error::check(result.error_code, result.error_message.as_deref())
            })
        })
        .await
    }
}
