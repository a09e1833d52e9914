//! Transactions listed, described and ended by force.

use std::collections::BTreeSet;

use ottla_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, InitProducerIdRequest, InitProducerIdResponse,
    ListTransactionsRequest, ListTransactionsResponse, WriteTxnMarkersRequest,
    describe_producers_request, describe_producers_response, write_txn_markers_request,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::Admin;
use super::groups::only;
use super::leaders::Found;
use crate::Error;
use crate::core::admin::TopicPartition;
use crate::core::admin::transactions::{
    OpenTransaction, ProducerState, TransactionDescription, TransactionFilter, TransactionListing,
};
use crate::core::cluster::CoordinatorKind;
use crate::core::{Destination, indexes_by_topic, of_topic};

impl Admin {
    /// The transactional ids of every coordinator, those of the same one together.
    pub async fn list_transactions(
        &self,
        filter: &TransactionFilter,
    ) -> Result<Vec<TransactionListing>, Error> {
        let mut pending = Vec::new();
        for broker in self.broker_ids().await? {
            let request = ListTransactionsRequest {
                state_filters: filter.states.clone(),
                producer_id_filters: filter.producer_ids.clone(),
                duration_filter: filter.duration_ms,
                transactional_id_pattern: filter.transactional_id_pattern.clone(),
                ..ListTransactionsRequest::default()
            };
            pending.push((broker, self.start(Destination::Broker(broker), request)));
        }
        let mut listings = Vec::new();
        for (coordinator, pending) in pending {
            let response: ListTransactionsResponse = pending.wait().await?.decode()?;
            Error::check(response.error_code, None)?;
            let listed = response.transaction_states.into_iter();
            listings.extend(listed.map(|state| TransactionListing {
                transactional_id: state.transactional_id,
                coordinator,
                producer_id: state.producer_id,
                state: state.transaction_state,
            }));
        }
        Ok(listings)
    }

    /// Describes a transactional id.
    pub async fn describe_transaction(
        &self,
        transactional_id: &KafkaString,
    ) -> Result<TransactionDescription, Error> {
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![transactional_id.clone()],
            ..DescribeTransactionsRequest::default()
        };
        let judge = |coordinator, response: DescribeTransactionsResponse| {
            let state = only(response.transaction_states)?;
            Error::check(state.error_code, None)?;
            let partitions = state
                .topics
                .into_iter()
                .flat_map(|topic| of_topic(topic.topic, topic.partitions));
            Ok(TransactionDescription {
                coordinator,
                state: state.transaction_state,
                producer_id: state.producer_id,
                producer_epoch: state.producer_epoch,
                timeout_ms: state.transaction_timeout_ms,
                start_time_ms: (state.transaction_start_time_ms >= 0)
                    .then_some(state.transaction_start_time_ms),
                partitions: partitions.collect(),
            })
        };
        let kind = CoordinatorKind::Transaction;
        self.ask_coordinator(kind, transactional_id, request, judge)
            .await
    }

    /// The producers that partitions know, as their leaders do or, if one is named, a broker.
    pub async fn describe_producers(
        &self,
        partitions: &BTreeSet<TopicPartition>,
        broker: Option<i32>,
    ) -> Result<Found<Vec<ProducerState>>, Error> {
        let request = |names: &[&TopicPartition]| {
            let topics = indexes_by_topic(names.iter().copied());
            let topics = topics.into_iter().map(|(name, partition_indexes)| {
                describe_producers_request::TopicRequest {
                    name,
                    partition_indexes,
                    ..describe_producers_request::TopicRequest::default()
                }
            });
            DescribeProducersRequest {
                topics: topics.collect(),
                ..DescribeProducersRequest::default()
            }
        };
        let Some(broker) = broker else {
            return self
                .ask_leaders(partitions.clone(), request, producers)
                .await;
        };
        let request = request(&partitions.iter().collect::<Vec<_>>());
        let response = self.request(Destination::Broker(broker), request).await?;
        Ok(producers(response).into_iter().collect())
    }

    /// Ends an open transaction of one partition with an abort marker, whatever its coordinator
    /// thinks of it.
    pub async fn abort_transaction(&self, transaction: &OpenTransaction) -> Result<(), Error> {
        let name = &transaction.partition;
        let request = |_: &[&TopicPartition]| WriteTxnMarkersRequest {
            markers: vec![write_txn_markers_request::WritableTxnMarker {
                producer_id: transaction.producer_id,
                producer_epoch: transaction.producer_epoch,
                coordinator_epoch: transaction.coordinator_epoch,
                transaction_result: false,
                topics: vec![write_txn_markers_request::WritableTxnMarkerTopic {
                    name: name.topic.clone(),
                    partition_indexes: vec![name.partition],
                    ..write_txn_markers_request::WritableTxnMarkerTopic::default()
                }],
                ..write_txn_markers_request::WritableTxnMarker::default()
            }],
            ..WriteTxnMarkersRequest::default()
        };
        let written = self.ask_leaders(BTreeSet::from([name.clone()]), request, |response| {
            let topics = response
                .markers
                .into_iter()
                .flat_map(|marker| marker.topics);
            let mut written = Vec::new();
            for topic in topics {
                for partition in topic.partitions {
                    let name = TopicPartition::new(topic.name.clone(), partition.partition_index);
                    written.push((name, Error::check(partition.error_code, None)));
                }
            }
            written
        });
        written.await?.into_values().collect()
    }

    /// Fences the producer of a transactional id; its open transaction is aborted.
    pub async fn force_terminate_transaction(
        &self,
        transactional_id: &KafkaString,
    ) -> Result<(), Error> {
        let request = InitProducerIdRequest {
            transactional_id: Some(transactional_id.clone()),
            // The time within which the broker may act; nothing is produced with the new epoch.
            transaction_timeout_ms: self.broker_timeout_ms(),
            ..InitProducerIdRequest::default()
        };
        let judge = |_, response: InitProducerIdResponse| Error::check(response.error_code, None);
        let kind = CoordinatorKind::Transaction;
        let deadline_ms = self.shared.now_ms().saturating_add(self.timeout_ms);
        loop {
            let outcome = self.ask_coordinator(kind, transactional_id, request.clone(), judge);
            match outcome.await {
                // An earlier transaction of the id is still being ended.
                Err(error)
                    if error.code() == Some(ErrorCode::CONCURRENT_TRANSACTIONS)
                        && self.shared.now_ms() < deadline_ms =>
                {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }
}

fn producers(
    response: DescribeProducersResponse,
) -> Vec<(TopicPartition, Result<Vec<ProducerState>, Error>)> {
    let mut found = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let name = TopicPartition::new(topic.name.clone(), partition.partition_index);
            let checked = Error::check(partition.error_code, partition.error_message.as_deref());
            let states = partition.active_producers.iter().map(producer);
            found.push((name, checked.map(|()| states.collect())));
        }
    }
    found
}

fn producer(state: &describe_producers_response::ProducerState) -> ProducerState {
    ProducerState {
        producer_id: state.producer_id,
        producer_epoch: state.producer_epoch,
        last_sequence: state.last_sequence,
        last_timestamp: state.last_timestamp,
        coordinator_epoch: (state.coordinator_epoch >= 0).then_some(state.coordinator_epoch),
        current_transaction_start_offset: (state.current_txn_start_offset >= 0)
            .then_some(state.current_txn_start_offset),
    }
}
