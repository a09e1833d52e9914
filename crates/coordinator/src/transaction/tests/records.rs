//! The records of `__transaction_state`.

use bytes::Bytes;

use super::*;
use crate::Error;

/// `TransactionLogValue` by hand, from the schema of Apache Kafka 4.3.1.
#[test]
fn a_record_is_written_as_apache_kafka_writes_it() {
    let metadata = TransactionMetadata {
        previous_producer_id: 7,
        producer_epoch: 3,
        state: TransactionState::Ongoing,
        partitions: named(&[("t", 1)]),
        start_ms: 5,
        client_transaction_version: 2,
        ..TransactionMetadata::new(7, 60_000, 6)
    };
    let mut record = TransactionRecord {
        transactional_id: "tx".into(),
        metadata: Some(metadata),
        version: 1,
    };
    let (key, value) = record.encode().unwrap();
    assert_eq!(&key[..], b"\0\0\0\x02tx");
    let flexible: &[u8] = &[
        0, 1, // version
        0, 0, 0, 0, 0, 0, 0, 7, // producer id
        0, 3, // epoch
        0, 0, 0xea, 0x60, // timeout
        1,    // Ongoing
        2, 2, b't', 2, 0, 0, 0, 1, 0, // partitions
        0, 0, 0, 0, 0, 0, 0, 6, // last update
        0, 0, 0, 0, 0, 0, 0, 5, // start
        2, // tagged fields
        0, 8, 0, 0, 0, 0, 0, 0, 0, 7, // previous producer id
        2, 2, 0, 2, // client transaction version
    ];
    assert_eq!(&value.unwrap()[..], flexible);
    record.version = 0;
    let (_, value) = record.encode().unwrap();
    let plain: &[u8] = &[
        0, 0, // version
        0, 0, 0, 0, 0, 0, 0, 7, // producer id
        0, 3, // epoch
        0, 0, 0xea, 0x60, // timeout
        1,    // Ongoing
        0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 1, // partitions
        0, 0, 0, 0, 0, 0, 0, 6, // last update
        0, 0, 0, 0, 0, 0, 0, 5, // start
    ];
    assert_eq!(&value.unwrap()[..], plain);
}

#[test]
fn the_version_of_records_follows_the_finalised_feature() {
    for (transaction_version, value_version) in [(0, 0), (1, 1), (2, 1)] {
        let mut partition = Partition::new(transaction_version);
        partition.take_over().unwrap();
        assert_eq!(partition.log[0].version, value_version);
    }
}

#[test]
fn what_this_release_does_not_know_is_not_a_record() {
    let key = Bytes::from_static(b"\0\0\0\x02tx");
    let decode = TransactionRecord::decode;
    assert_eq!(decode(None, None), Err(Error::MissingKey));
    assert_eq!(
        decode(Some(Bytes::from_static(b"\0\x09\0\x02tx")), None),
        Err(Error::UnknownRecordType { record_type: 9 })
    );
    for value in [&b""[..], b"\0", b"\0\x02", b"\0\x01\0", b"\xff\xff"] {
        let value = Bytes::copy_from_slice(value);
        assert!(matches!(
            decode(Some(key.clone()), Some(value)),
            Err(Error::Malformed { part: "value", .. })
        ));
    }
    let mut partition = Partition::new(2);
    partition.take_over().unwrap();
    let (_, value) = partition.log[0].encode().unwrap();
    let mut value = value.unwrap().to_vec();
    value[16] = 8;
    assert_eq!(
        decode(Some(key), Some(Bytes::from(value))),
        Err(Error::UnknownTransactionState { state: 8 })
    );
}
