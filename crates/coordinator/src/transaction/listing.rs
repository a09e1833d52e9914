//! ListTransactions and DescribeTransactions.

use std::collections::BTreeSet;

use ottla_protocol::messages::describe_transactions_response::{
    TopicData, TransactionState as DescribedTransaction,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::TransactionCoordinator;
use super::metadata::{TransactionMetadata, TransactionState};
use crate::Now;

/// Which transactional ids are listed: those that pass every filter.
pub struct ListFilter<'a> {
    /// Their states; none for any. A filter of which no name is a state's lets nothing pass.
    pub states: Option<BTreeSet<TransactionState>>,
    /// Their producers' ids; empty for any.
    pub producer_ids: BTreeSet<i64>,
    /// Only those that began more than this ago; negative for any.
    pub duration_ms: i64,
    /// What their names must be like.
    pub matches: &'a dyn Fn(&str) -> bool,
}

/// An id as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTransaction {
    /// The id.
    pub transactional_id: KafkaString,
    /// Its producer's.
    pub producer_id: i64,
    /// How far its transaction has come.
    pub state: TransactionState,
}

impl TransactionCoordinator {
    /// ListTransactions.
    #[must_use]
    pub fn list(&self, now: Now, filter: &ListFilter<'_>) -> Vec<ListedTransaction> {
        let passes = |(id, metadata): &(&KafkaString, &TransactionMetadata)| {
            let producers = &filter.producer_ids;
            let duration_ms = now.wall_ms.saturating_sub(metadata.start_ms);
            (producers.is_empty() || producers.contains(&metadata.producer_id))
                && (filter.states.as_ref()).is_none_or(|states| states.contains(&metadata.state))
                && (filter.duration_ms < 0 || duration_ms > filter.duration_ms)
                && (filter.matches)(id)
        };
        self.transactions
            .iter()
            .filter(passes)
            .map(|(id, metadata)| ListedTransaction {
                transactional_id: id.clone(),
                producer_id: metadata.producer_id,
                state: metadata.state,
            })
            .collect()
    }

    /// DescribeTransactions, of one id.
    #[must_use]
    pub fn describe(&self, transactional_id: &KafkaString) -> DescribedTransaction {
        let mut described = DescribedTransaction {
            transactional_id: transactional_id.clone(),
            ..DescribedTransaction::default()
        };
        let Some(metadata) = self.transactions.get(transactional_id) else {
            described.error_code = ErrorCode::TRANSACTIONAL_ID_NOT_FOUND.0;
            return described;
        };
        described.producer_id = metadata.producer_id;
        described.producer_epoch = metadata.producer_epoch;
        described.transaction_state = KafkaString::from_static(metadata.state.name());
        described.transaction_timeout_ms = metadata.timeout_ms;
        described.transaction_start_time_ms = metadata.start_ms;
        described.topics = metadata
            .partitions
            .iter()
            .map(|(topic, indexes)| TopicData {
                topic: topic.clone(),
                partitions: indexes.iter().copied().collect(),
                ..TopicData::default()
            })
            .collect();
        described
    }
}
