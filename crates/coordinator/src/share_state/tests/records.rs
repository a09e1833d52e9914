//! The records of `__share_group_state`.

use bytes::Bytes;

use super::*;
use crate::Error;

/// `ShareSnapshotValue` and `ShareUpdateValue` by hand, from the schemas of Apache Kafka 4.3.1.
#[test]
fn records_are_written_as_apache_kafka_writes_them() {
    let state = State {
        snapshot_epoch: 1,
        state_epoch: 2,
        leader_epoch: 3,
        start_offset: 4,
        delivery_complete_count: 5,
        create_timestamp: 6,
        write_timestamp: 7,
        batches: vec![batch(8, 9, 2, 1)],
    };
    let record = ShareStateRecord::Snapshot(partition(1), Some(state));
    let (key, value) = record.encode().unwrap();
    let mut expected_key = b"\0\0\0\x05group".to_vec();
    expected_key.extend([7; 16]);
    expected_key.extend([0, 0, 0, 1]);
    assert_eq!(&key[..], expected_key);
    let expected: &[u8] = &[
        0, 0, // version
        0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, // epochs
        0, 0, 0, 0, 0, 0, 0, 4, // start offset
        0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, // timestamps
        2, // one batch
        0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 2, 0, 1, 0, //
        1, 0, 4, 0, 0, 0, 5, // tagged: delivery complete count
    ];
    assert_eq!(&value.unwrap()[..], expected);
    let update = ShareUpdate {
        snapshot_epoch: 1,
        leader_epoch: 3,
        start_offset: -1,
        delivery_complete_count: -1,
        batches: Vec::new(),
    };
    let (key, value) = ShareStateRecord::Update(partition(1), update)
        .encode()
        .unwrap();
    assert_eq!(&key[..2], [0, 1]);
    assert_eq!(key[2..], expected_key[2..]);
    let expected: &[u8] = &[
        0, 0, // version
        0, 0, 0, 1, 0, 0, 0, 3, // epochs
        255, 255, 255, 255, 255, 255, 255, 255, // start offset
        1, 0, // no batches, no tagged fields
    ];
    assert_eq!(&value.unwrap()[..], expected);
}

#[test]
fn what_this_release_does_not_know_is_not_a_record() {
    let decode = ShareStateRecord::decode;
    let record = ShareStateRecord::Snapshot(partition(0), None);
    let (key, _) = record.encode().unwrap();
    assert_eq!(decode(None, None), Err(Error::MissingKey));
    let unknown = Bytes::from_static(b"\0\x02\0\x01g");
    assert_eq!(
        decode(Some(unknown), None),
        Err(Error::UnknownRecordType { record_type: 2 })
    );
    for value in [&b""[..], b"\0\0\0", b"\0\x01\0\0\0\0"] {
        assert!(matches!(
            decode(Some(key.clone()), Some(Bytes::copy_from_slice(value))),
            Err(Error::Malformed { part: "value", .. })
        ));
    }
    let mut key = key.to_vec();
    key[1] = 1;
    assert_eq!(
        decode(Some(Bytes::from(key)), None),
        Err(Error::MissingValue { record_type: 1 })
    );
}
