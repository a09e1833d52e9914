//! Settings of topics, brokers and groups.

use std::collections::BTreeMap;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    describe_configs_request, incremental_alter_configs_request,
};

use super::Admin;
use crate::Error;
use crate::core::Destination;
use crate::core::admin::{
    ConfigChange, ConfigEntry, ConfigResource, ConfigResourceType, config_entries,
};

/// How IncrementalAlterConfigs sets and deletes.
const SET: i8 = 0;
const DELETE: i8 = 1;

/// The broker that has to answer: a broker's own settings are known only to it.
fn destination(resource: &ConfigResource) -> Destination {
    match (resource.resource_type, resource.name.parse()) {
        (ConfigResourceType::Broker | ConfigResourceType::BrokerLogger, Ok(broker)) => {
            Destination::Broker(broker)
        }
        _ => Destination::Any,
    }
}

impl Admin {
    /// The settings of resources: each one's, or what is wrong with it.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
        include_synonyms: bool,
    ) -> Result<Vec<(ConfigResource, Result<Vec<ConfigEntry>, Error>)>, Error> {
        let mut by_destination: BTreeMap<Destination, Vec<&ConfigResource>> = BTreeMap::new();
        for resource in resources {
            by_destination
                .entry(destination(resource))
                .or_default()
                .push(resource);
        }
        let mut pending = Vec::new();
        for (destination, resources) in by_destination {
            let wanted = resources.iter().map(|resource| {
                describe_configs_request::DescribeConfigsResource {
                    resource_type: resource.resource_type.code(),
                    resource_name: resource.name.clone(),
                    configuration_keys: None,
                    ..describe_configs_request::DescribeConfigsResource::default()
                }
            });
            let request = DescribeConfigsRequest {
                resources: wanted.collect(),
                include_synonyms,
                ..DescribeConfigsRequest::default()
            };
            pending.push((resources, self.start(destination, request)));
        }
        let mut described = Vec::new();
        for (resources, pending) in pending {
            let entries = config_entries(pending.wait().await?.decode()?);
            for ((name, entries), asked) in entries.into_iter().zip(resources) {
                let resource = ConfigResource {
                    resource_type: asked.resource_type,
                    name,
                };
                described.push((resource, entries));
            }
        }
        Ok(described)
    }

    /// Changes settings of one resource, and leaves its others.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
    ) -> Result<(), Error> {
        let configs = changes.iter().map(|change| {
            let (name, config_operation, value) = match change {
                ConfigChange::Set(name, value) => (name, SET, Some(value.clone().into())),
                ConfigChange::Delete(name) => (name, DELETE, None),
            };
            let name = name.clone().into();
            let unset = incremental_alter_configs_request::AlterableConfig::default();
            incremental_alter_configs_request::AlterableConfig {
                name,
                config_operation,
                value,
                ..unset
            }
        });
        let request = IncrementalAlterConfigsRequest {
            resources: vec![incremental_alter_configs_request::AlterConfigsResource {
                resource_type: resource.resource_type.code(),
                resource_name: resource.name.clone(),
                configs: configs.collect(),
                ..incremental_alter_configs_request::AlterConfigsResource::default()
            }],
            ..IncrementalAlterConfigsRequest::default()
        };
        let destination = destination(resource);
        self.until_right(async || {
            let response = self.request(destination.clone(), request.clone()).await?;
            let mut responses = response.responses.iter();
            responses.try_for_each(|result| {
                Error::check(result.error_code, result.error_message.as_deref())
            })
        })
        .await
    }

    /// The names of resources of a type that have settings.
    pub async fn list_config_resources(
        &self,
        resource_type: ConfigResourceType,
    ) -> Result<Vec<KafkaString>, Error> {
        let request = ListConfigResourcesRequest {
            resource_types: vec![resource_type.code()],
            ..ListConfigResourcesRequest::default()
        };
        let response = self.request(Destination::Any, request).await?;
        Error::check(response.error_code, None)?;
        let resources = response.config_resources.into_iter();
        Ok(resources.map(|resource| resource.resource_name).collect())
    }
}
