//! The record of a transactional id: a key of type and name, a value of version and fields.

use bytes::Bytes;
use ottla_protocol::messages::transaction_log_value::PartitionsSchema;
use ottla_protocol::messages::{TransactionLogKey, TransactionLogValue};
use ottla_protocol::{DecodeError, KafkaString, Message, Reader};

use super::metadata::{TransactionMetadata, TransactionState};
use crate::Error;
use crate::numbered::numbered;

/// The type in front of every key.
const RECORD_TYPE: i16 = 0;
/// The version that keys are written in; there is no other.
const KEY_VERSION: i16 = 0;
/// The first version that can say which producer was before and which comes next.
const VERSION_PRODUCER_IDS: i16 = 1;

/// What the log says of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRecord {
    /// The id.
    pub transactional_id: KafkaString,
    /// Its producer and transaction; none if it is forgotten.
    pub metadata: Option<TransactionMetadata>,
    /// The version that the value is written in.
    pub version: i16,
}

impl TransactionRecord {
    /// The version of the value that a finalised `transaction.version` calls for.
    #[must_use]
    pub fn value_version(transaction_version: i16) -> i16 {
        i16::from(transaction_version >= 1)
    }

    /// Key and value as bytes of a log record.
    ///
    /// # Errors
    /// If a field is longer than its length can say.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), Error> {
        let key = TransactionLogKey {
            transactional_id: self.transactional_id.clone(),
        };
        let value = self.metadata.as_ref().map(|metadata| {
            numbered(
                self.version,
                &to_value(metadata, self.version),
                self.version,
            )
        });
        Ok((
            numbered(RECORD_TYPE, &key, KEY_VERSION)?,
            value.transpose()?,
        ))
    }

    /// The record that key and value of a log record hold.
    ///
    /// # Errors
    /// If it is not a record of this release.
    pub fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Self, Error> {
        let mut reader = Reader::new(key.ok_or(Error::MissingKey)?);
        let malformed = |part, source| Error::Malformed {
            part,
            record_type: RECORD_TYPE,
            source,
        };
        let record_type = reader.read_i16().map_err(|error| malformed("key", error))?;
        if record_type != RECORD_TYPE {
            return Err(Error::UnknownRecordType { record_type });
        }
        let key = TransactionLogKey::decode(&mut reader, KEY_VERSION)
            .map_err(|error| malformed("key", error))?;
        let mut record = Self {
            transactional_id: key.transactional_id,
            metadata: None,
            version: VERSION_PRODUCER_IDS,
        };
        if let Some(value) = value {
            let mut reader = Reader::new(value);
            let (version, value) =
                read_value(&mut reader).map_err(|error| malformed("value", error))?;
            record.version = version;
            record.metadata = Some(to_metadata(&value)?);
        }
        Ok(record)
    }
}

fn read_value(reader: &mut Reader) -> Result<(i16, TransactionLogValue), DecodeError> {
    let version = reader.read_i16()?;
    Ok((version, TransactionLogValue::decode(reader, version)?))
}

fn to_value(metadata: &TransactionMetadata, version: i16) -> TransactionLogValue {
    let partitions = metadata
        .partitions
        .iter()
        .map(|(topic, indexes)| PartitionsSchema {
            topic: topic.clone(),
            partition_ids: indexes.iter().copied().collect(),
            ..PartitionsSchema::default()
        });
    let mut value = TransactionLogValue {
        producer_id: metadata.producer_id,
        producer_epoch: metadata.producer_epoch,
        transaction_timeout_ms: metadata.timeout_ms,
        transaction_status: metadata.state.id(),
        transaction_partitions: (metadata.state != TransactionState::Empty)
            .then(|| partitions.collect()),
        transaction_last_update_timestamp_ms: metadata.last_update_ms,
        transaction_start_timestamp_ms: metadata.start_ms,
        client_transaction_version: metadata.client_transaction_version,
        ..TransactionLogValue::default()
    };
    if version >= VERSION_PRODUCER_IDS {
        value.previous_producer_id = metadata.previous_producer_id;
        value.next_producer_id = metadata.next_producer_id;
    } else {
        // The version has no place for it.
        value.client_transaction_version = 0;
    }
    value
}

fn to_metadata(value: &TransactionLogValue) -> Result<TransactionMetadata, Error> {
    let state = TransactionState::from_id(value.transaction_status).ok_or(
        Error::UnknownTransactionState {
            state: value.transaction_status,
        },
    )?;
    let mut metadata = TransactionMetadata {
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        producer_epoch: value.producer_epoch,
        state,
        start_ms: value.transaction_start_timestamp_ms,
        client_transaction_version: value.client_transaction_version,
        ..TransactionMetadata::new(
            value.producer_id,
            value.transaction_timeout_ms,
            value.transaction_last_update_timestamp_ms,
        )
    };
    if state != TransactionState::Empty {
        for topic in value.transaction_partitions.iter().flatten() {
            let indexes = metadata
                .partitions
                .entry(topic.topic.detached())
                .or_default();
            indexes.extend(topic.partition_ids.iter().copied());
        }
    }
    Ok(metadata)
}
