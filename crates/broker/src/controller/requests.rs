//! The requests that the active controller answers, wherever they come from.

use std::sync::Arc;

use ottla_metadata::controller::{AlterConfigsContext, Decision, RegistrationContext};
use ottla_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, AllocateProducerIdsRequest,
    AllocateProducerIdsResponse, AlterClientQuotasRequest, AlterClientQuotasResponse,
    AlterConfigsRequest, AlterConfigsResponse, AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse, AlterPartitionRequest, AlterPartitionResponse,
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, BrokerHeartbeatRequest,
    BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse,
    ControllerRegistrationRequest, ControllerRegistrationResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeQuorumRequest, DescribeQuorumResponse, ElectLeadersRequest,
    ElectLeadersResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse, Request, UnregisterBrokerRequest, UnregisterBrokerResponse,
    UpdateFeaturesRequest, UpdateFeaturesResponse, alter_client_quotas_request,
    alter_client_quotas_response, alter_configs_response, create_partitions_response,
    create_topics_response, delete_topics_response, incremental_alter_configs_response,
};
use ottla_protocol::{ErrorCode, Uuid};
use ottla_raft::quorum::{Request as QuorumRequest, Response as QuorumResponse};

use super::core::{Active, Core};
use crate::node::Node;

/// Which of the channels to the active controller a request takes: none waits behind those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ControllerChannel {
    /// Registrations and heartbeats: what keeps this node in the cluster.
    Lifecycle,
    /// What clients asked of this broker.
    Forwarding,
    /// Changes of ISRs.
    AlterPartition,
    /// Everything else that the broker asks for itself.
    Broker,
}

/// How a request came to the controller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The version that it was asked in.
    pub(crate) version: i16,
    /// Whether the broker of the controller's own process asks.
    pub(crate) same_process: bool,
    /// Whether a broker has taken it from a client, and checked what a broker checks.
    pub(crate) forwarded: bool,
    /// The number of the connection that it came on; nothing within the process.
    pub(crate) connection: Option<u64>,
}

/// Who hears the response, once its records are committed.
pub(crate) type Then<R> = Box<dyn FnOnce(Result<R, ErrorCode>) + Send>;

/// A request that the active controller answers.
pub(crate) trait ControllerRequest:
    Request<Response: Send> + Clone + Send + 'static
{
    /// Which channel it takes.
    const CHANNEL: ControllerChannel = ControllerChannel::Forwarding;

    /// Has it decided; `NOT_CONTROLLER` where this controller is not the active one.
    fn handle(self, core: &mut Core, node: &Arc<Node>, asked: Asked, then: Then<Self::Response>);

    /// The response that refuses all of it.
    fn refuse(&self, error: ErrorCode) -> Self::Response;
}

/// A request that is decided by what the active controller has in memory, and how all of it is refused; where that is
/// left out, by the one error code that the response has.
macro_rules! decided {
    ($request:ident, $response:ident, $channel:ident, $decide:expr) => {
        decided!($request, $response, $channel, $decide, |_, error| {
            $response {
                error_code: error.0,
                ..$response::default()
            }
        });
    };
    ($request:ident, $response:ident, $channel:ident, $decide:expr, $refuse:expr) => {
        impl ControllerRequest for $request {
            const CHANNEL: ControllerChannel = ControllerChannel::$channel;

            fn handle(
                self,
                core: &mut Core,
                node: &Arc<Node>,
                asked: Asked,
                then: Then<$response>,
            ) {
                let decide: fn(&mut Active<'_>, Asked, &$request) -> Decision<$response> = $decide;
                core.decide(node, move |active| decide(active, asked, &self), then);
            }

            fn refuse(&self, error: ErrorCode) -> $response {
                let refuse: fn(&$request, ErrorCode) -> $response = $refuse;
                refuse(self, error)
            }
        }
    };
}

decided!(
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    Lifecycle,
    |active, asked, request| {
        let context = RegistrationContext {
            next_offset: active.next_offset,
            request_version: asked.version,
            same_process: asked.same_process,
        };
        active
            .decisions
            .decide_broker_registration(active.now_ms, request, context)
    }
);

impl ControllerRequest for BrokerHeartbeatRequest {
    const CHANNEL: ControllerChannel = ControllerChannel::Lifecycle;

    fn handle(
        self,
        core: &mut Core,
        node: &Arc<Node>,
        asked: Asked,
        then: Then<BrokerHeartbeatResponse>,
    ) {
        core.heartbeat_arrived(&self, asked.connection);
        let decide = move |active: &mut Active<'_>| {
            active
                .decisions
                .handle_broker_heartbeat(active.now_ms, &self, active.next_offset)
        };
        core.decide(node, decide, then);
    }

    fn refuse(&self, error: ErrorCode) -> BrokerHeartbeatResponse {
        BrokerHeartbeatResponse {
            error_code: error.0,
            ..BrokerHeartbeatResponse::default()
        }
    }
}

decided!(
    ControllerRegistrationRequest,
    ControllerRegistrationResponse,
    Lifecycle,
    |active, _, request| active.decisions.decide_controller_registration(request)
);
decided!(
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
    Broker,
    |active, _, request| active.decisions.decide_allocate_producer_ids(request)
);
decided!(
    AssignReplicasToDirsRequest,
    AssignReplicasToDirsResponse,
    Broker,
    |active, _, request| active.decisions.decide_assign_replicas_to_dirs(request)
);
decided!(
    AlterPartitionRequest,
    AlterPartitionResponse,
    AlterPartition,
    |active, asked, request| active
        .decisions
        .decide_alter_partition(request, asked.version)
);
decided!(
    UnregisterBrokerRequest,
    UnregisterBrokerResponse,
    Forwarding,
    |active, _, request| active.decisions.decide_unregister_broker(request)
);
decided!(
    ElectLeadersRequest,
    ElectLeadersResponse,
    Forwarding,
    |active, _, request| active.decisions.decide_elect_leaders(request)
);
decided!(
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    Forwarding,
    |active, _, request| active
        .decisions
        .decide_alter_partition_reassignments(request)
);
decided!(
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    Forwarding,
    |active, _, request| Decision {
        records: Vec::new(),
        response: active.decisions.list_partition_reassignments(request),
    }
);
decided!(
    CreateTopicsRequest,
    CreateTopicsResponse,
    Forwarding,
    |active, _, request| active
        .decisions
        .decide_create_topics(active.random, request),
    |request, error| {
        let topics = request.topics.iter();
        let refused = topics.map(|topic| create_topics_response::CreatableTopicResult {
            name: topic.name.clone(),
            error_code: error.0,
            ..Default::default()
        });
        CreateTopicsResponse {
            topics: refused.collect(),
            ..CreateTopicsResponse::default()
        }
    }
);
decided!(
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    Forwarding,
    |active, _, request| active
        .decisions
        .decide_create_partitions(active.random, request),
    |request, error| {
        let topics = request.topics.iter();
        let refused = topics.map(
            |topic| create_partitions_response::CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code: error.0,
                ..Default::default()
            },
        );
        CreatePartitionsResponse {
            results: refused.collect(),
            ..CreatePartitionsResponse::default()
        }
    }
);
decided!(
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    Forwarding,
    |active, asked, request| active
        .decisions
        .decide_delete_topics(request, asked.version),
    |request, error| {
        let names = request.topic_names.iter();
        let names = names.map(|name| (Some(name.clone()), Uuid::ZERO));
        let topics = request.topics.iter();
        let topics = topics.map(|topic| (topic.name.clone(), topic.topic_id));
        let refused = names.chain(topics).map(|(name, topic_id)| {
            delete_topics_response::DeletableTopicResult {
                name,
                topic_id,
                error_code: error.0,
                ..Default::default()
            }
        });
        DeleteTopicsResponse {
            responses: refused.collect(),
            ..DeleteTopicsResponse::default()
        }
    }
);
decided!(
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    Forwarding,
    |active, _, request| active.decisions.decide_alter_client_quotas(request),
    |request, error| {
        let entity = |data: &alter_client_quotas_request::EntityData| {
            alter_client_quotas_response::EntityData {
                entity_type: data.entity_type.clone(),
                entity_name: data.entity_name.clone(),
                ..Default::default()
            }
        };
        let refused = request
            .entries
            .iter()
            .map(|entry| alter_client_quotas_response::EntryData {
                error_code: error.0,
                entity: entry.entity.iter().map(entity).collect(),
                ..Default::default()
            });
        AlterClientQuotasResponse {
            entries: refused.collect(),
            ..AlterClientQuotasResponse::default()
        }
    }
);
decided!(
    AlterConfigsRequest,
    AlterConfigsResponse,
    Forwarding,
    |active, asked, request| {
        let context = AlterConfigsContext {
            forwarded: asked.forwarded,
        };
        active.decisions.decide_alter_configs(request, context)
    },
    |request, error| {
        let refused = request.resources.iter().map(|resource| {
            alter_configs_response::AlterConfigsResourceResponse {
                error_code: error.0,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                ..Default::default()
            }
        });
        AlterConfigsResponse {
            responses: refused.collect(),
            ..AlterConfigsResponse::default()
        }
    }
);
decided!(
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
    Forwarding,
    |active, asked, request| {
        let context = AlterConfigsContext {
            forwarded: asked.forwarded,
        };
        active
            .decisions
            .decide_incremental_alter_configs(request, context)
    },
    |request, error| {
        let refused = request.resources.iter().map(|resource| {
            incremental_alter_configs_response::AlterConfigsResourceResponse {
                error_code: error.0,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                ..Default::default()
            }
        });
        IncrementalAlterConfigsResponse {
            responses: refused.collect(),
            ..IncrementalAlterConfigsResponse::default()
        }
    }
);

impl ControllerRequest for UpdateFeaturesRequest {
    fn handle(
        self,
        core: &mut Core,
        node: &Arc<Node>,
        asked: Asked,
        then: Then<UpdateFeaturesResponse>,
    ) {
        core.update_features(node, &self, asked.version, then);
    }

    fn refuse(&self, error: ErrorCode) -> UpdateFeaturesResponse {
        UpdateFeaturesResponse {
            error_code: error.0,
            ..UpdateFeaturesResponse::default()
        }
    }
}

impl ControllerRequest for DescribeQuorumRequest {
    fn handle(
        self,
        core: &mut Core,
        _node: &Arc<Node>,
        _asked: Asked,
        then: Then<DescribeQuorumResponse>,
    ) {
        then(Ok(core.describe(&self)));
    }

    fn refuse(&self, error: ErrorCode) -> DescribeQuorumResponse {
        DescribeQuorumResponse {
            error_code: error.0,
            ..DescribeQuorumResponse::default()
        }
    }
}

/// A change of the voters, which the quorum decides by itself.
macro_rules! voter_change {
    ($request:ident, $response:ident, $name:ident) => {
        impl ControllerRequest for $request {
            fn handle(
                self,
                core: &mut Core,
                node: &Arc<Node>,
                _asked: Asked,
                then: Then<$response>,
            ) {
                core.receive(node, QuorumRequest::$name(self), move |response| {
                    if let QuorumResponse::$name(response) = response {
                        then(Ok(response));
                    }
                });
            }

            fn refuse(&self, error: ErrorCode) -> $response {
                $response {
                    error_code: error.0,
                    ..$response::default()
                }
            }
        }
    };
}

voter_change!(AddRaftVoterRequest, AddRaftVoterResponse, AddRaftVoter);
voter_change!(
    RemoveRaftVoterRequest,
    RemoveRaftVoterResponse,
    RemoveRaftVoter
);
