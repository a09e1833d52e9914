use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;

use super::every::{RecodeError, every_message};
use super::random::{Random, RandomMessage};
use super::vectors::Vector;
use super::*;
use crate::codec::{DecodeError, EncodeError};

/// How many seeds each message is tried with: `PROPTEST_CASES`, as of every random test, else a few.
fn rounds() -> u64 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Random messages of every version come back from their bytes, which are as many as told.
fn round_trip<M: RandomMessage>() {
    for version in M::VALID_VERSIONS.iter() {
        for seed in 0..rounds() {
            let mut random = Random::new((seed << 16) | u64::from(version.unsigned_abs()));
            let message = M::random(&mut random, version);
            let bytes = message.to_bytes(version).unwrap();
            assert_eq!(
                bytes.len(),
                message.encoded_size(version).unwrap(),
                "{}",
                M::NAME
            );
            let back = M::from_bytes(bytes, version).unwrap();
            assert_eq!(back, message, "version {version}, seed {seed}");
        }
    }
}

#[test]
fn every_version_of_every_message_round_trips() {
    macro_rules! round_trips {
        ($($name:ident,)*) => { $(round_trip::<$name>();)* };
    }
    for_each_message!(round_trips);
}

/// The messages of a file that `conformance/messages` made with Apache Kafka 4.3.1's own classes.
fn golden(file: &[u8]) -> Vec<Vector> {
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    Vector::read_all(bytes.into()).unwrap()
}

#[test]
fn what_apache_kafka_wrote_is_read_and_written_again_the_same() {
    let vectors = golden(include_bytes!(
        "../../testdata/kafka-4.3.1/messages.vectors.gz"
    ));
    let differences: Vec<_> = vectors.iter().filter_map(Vector::difference).collect();
    assert_eq!(differences, Vec::<String>::new());
    let mut covered = BTreeMap::<_, Vec<_>>::new();
    for vector in &vectors {
        covered
            .entry(vector.name.to_string())
            .or_default()
            .push(vector.version);
    }
    for message in every_message() {
        let versions = covered.get_mut(message.name).unwrap();
        versions.dedup();
        assert_eq!(
            *versions,
            message.versions.iter().collect::<Vec<_>>(),
            "{}",
            message.name
        );
    }
    assert_eq!(covered.len(), 273);
}

#[test]
fn a_message_is_written_in_another_version_as_apache_kafka_does() {
    let vectors = golden(include_bytes!(
        "../../testdata/kafka-4.3.1/messages.crossings.gz"
    ));
    let pairs = vectors.chunks_exact(2);
    let differences: Vec<_> = pairs
        .filter_map(|pair| pair[0].difference_to(&pair[1]))
        .collect();
    assert_eq!(differences, Vec::<String>::new());
    assert!(vectors.iter().any(|vector| vector.bytes.is_none()));
}

/// Damaged bytes give an error, or a message that can be written; never a panic.
#[test]
fn damaged_bytes_never_panic() {
    for message in every_message() {
        for version in message.versions.iter() {
            for seed in 0..rounds() {
                let mut random = Random::new(seed);
                let bytes = (message.random)(&mut random, version).unwrap();
                let outcome = (message.recode)(damaged(&bytes, &mut random), version);
                // Text may be longer than it came, since U+FFFD takes three bytes.
                let fine = matches!(
                    outcome,
                    Ok(_)
                        | Err(RecodeError::Decode(_))
                        | Err(RecodeError::Encode(
                            EncodeError::TooLong { .. } | EncodeError::TagOutOfOrder { .. }
                        ))
                );
                assert!(
                    fine,
                    "{} version {version}, seed {seed}: {outcome:?}",
                    message.name
                );
            }
        }
    }
}

fn damaged(bytes: &Bytes, random: &mut Random) -> Bytes {
    let mut damaged = bytes.to_vec();
    for _ in 0..=random.below(3) {
        if damaged.is_empty() {
            break;
        }
        let position = random.below(damaged.len());
        match random.below(5) {
            0 => damaged.truncate(position),
            1 => damaged[position] = 0xff,
            2 => damaged[position] = 0x7f,
            3 => damaged[position] ^= 1 << random.below(8),
            _ => damaged.insert(position, random.i8().to_le_bytes()[0]),
        }
    }
    damaged.into()
}

/// Bytes that are no message of any kind, too.
#[test]
fn arbitrary_bytes_never_panic() {
    for message in every_message() {
        for version in message.versions.iter() {
            let mut random = Random::new(u64::from(version.unsigned_abs()));
            for _ in 0..rounds() {
                let bytes = random.bytes();
                drop((message.recode)(bytes, version));
            }
            drop((message.recode)(Bytes::from_static(&[0xff; 64]), version));
            drop((message.recode)(Bytes::from_static(&[0x7f; 64]), version));
        }
    }
}

#[test]
fn a_field_that_a_version_lacks_is_refused_unless_it_may_be_left_out() {
    let request = FetchRequest {
        rack_id: "r".into(),
        ..FetchRequest::default()
    };
    assert!(request.to_bytes(4).is_ok());
    let request = FetchRequest {
        replica_state: fetch_request::ReplicaState {
            replica_id: 1,
            ..Default::default()
        },
        ..FetchRequest::default()
    };
    let error = EncodeError::FieldNotInVersion {
        field: "FetchRequest.ReplicaState",
        version: 14,
    };
    assert_eq!(request.to_bytes(14), Err(error));
    assert!(request.to_bytes(15).is_ok());
}

#[test]
fn a_version_out_of_range_is_refused() {
    let error = DecodeError::UnsupportedVersion {
        message: "FetchRequest",
        version: 3,
    };
    assert_eq!(FetchRequest::from_bytes(Bytes::new(), 3), Err(error));
    let error = EncodeError::UnsupportedVersion {
        message: "FetchRequest",
        version: 19,
    };
    assert_eq!(FetchRequest::default().to_bytes(19), Err(error));
}

#[test]
fn secrets_are_not_shown() {
    let request = SaslAuthenticateRequest {
        auth_bytes: Bytes::from_static(b"\0alice\0wonderland"),
        ..Default::default()
    };
    assert!(format!("{request:?}").contains("auth_bytes: [hidden]"));
}

#[test]
fn defaults_are_kafkas() {
    let request = FetchRequest::default();
    assert_eq!((request.replica_id, request.max_bytes), (-1, i32::MAX));
    assert_eq!(PartitionChangeRecord::default().leader, -2);
    assert_eq!(PartitionChangeRecord::default().isr, None);
    assert_eq!(JoinGroupRequest::default().rebalance_timeout_ms, -1);
}

#[test]
fn the_error_codes_of_a_response_are_found_at_every_depth() {
    use super::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
    let partition = |error_code| MetadataResponsePartition {
        error_code,
        ..MetadataResponsePartition::default()
    };
    let response = super::MetadataResponse {
        topics: vec![MetadataResponseTopic {
            error_code: 3,
            partitions: vec![partition(0), partition(5)],
            ..MetadataResponseTopic::default()
        }],
        ..super::MetadataResponse::default()
    };
    let mut codes = Vec::new();
    super::Response::visit_error_codes(&response, &mut |code| codes.push(code));
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 3, 5]);
}
