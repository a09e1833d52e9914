//! The cluster's nodes.

use ottla_protocol::messages::{DescribeClusterRequest, UnregisterBrokerRequest};

use super::Admin;
use crate::Error;
use crate::core::Destination;
use crate::core::admin::cluster::{ClusterDescription, NodeDescription};
use crate::core::connection::BrokerVersions;
use crate::core::metadata::{BROKER_ENDPOINTS, CONTROLLER_ENDPOINTS};

impl Admin {
    /// The cluster's id and its brokers, fenced ones too if asked for; its controllers if the client
    /// speaks to controllers.
    pub async fn describe_cluster(
        &self,
        include_fenced_brokers: bool,
    ) -> Result<ClusterDescription, Error> {
        let request = DescribeClusterRequest {
            endpoint_type: match self.controllers {
                true => CONTROLLER_ENDPOINTS,
                false => BROKER_ENDPOINTS,
            },
            include_fenced_brokers,
            ..DescribeClusterRequest::default()
        };
        let response = self.request(Destination::Any, request).await?;
        Error::check(response.error_code, response.error_message.as_deref())?;
        let nodes = response.brokers.into_iter().map(|node| NodeDescription {
            id: node.broker_id,
            host: node.host,
            port: node.port,
            rack: node.rack,
            is_fenced: node.is_fenced,
        });
        Ok(ClusterDescription {
            cluster_id: response.cluster_id,
            controller: (response.controller_id >= 0).then_some(response.controller_id),
            nodes: nodes.collect(),
        })
    }

    /// Takes a broker out of the cluster that will not come back.
    pub async fn unregister_broker(&self, broker_id: i32) -> Result<(), Error> {
        let request = UnregisterBrokerRequest {
            broker_id,
            ..UnregisterBrokerRequest::default()
        };
        self.until_right(async || {
            let response = self.request(self.any(), request.clone()).await?;
            Error::check(response.error_code, response.error_message.as_deref())
        })
        .await
    }

    /// The versions that a broker offers.
    pub async fn broker_versions(&self, broker_id: i32) -> Result<BrokerVersions, Error> {
        let response = self.api_versions(Destination::Broker(broker_id)).await?;
        let ranges = response.api_keys.iter();
        Ok(BrokerVersions::new(ranges.map(|api| {
            (api.api_key, (api.min_version, api.max_version))
        })))
    }
}
