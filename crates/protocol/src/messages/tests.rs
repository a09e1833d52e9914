use bytes::Bytes;

use super::random::{Random, RandomMessage};
use super::*;
use crate::codec::{DecodeError, EncodeError, Reader, Writer};

/// What the tests do with a message, whatever its type.
struct Tested {
    name: &'static str,
    check: fn(),
}

fn every_message() -> Vec<Tested> {
    macro_rules! list {
        ($($name:ident,)*) => {
            vec![$(Tested { name: <$name as Message>::NAME, check: check::<$name> },)*]
        };
    }
    for_each_message!(list)
}

const ROUNDS: u64 = 40;

/// Random messages of every version come back from their bytes, which are as many as told.
fn check<M: RandomMessage>() {
    for version in M::VALID_VERSIONS.iter() {
        for seed in 0..ROUNDS {
            let mut random = Random::new(seed << 16 | u64::from(version.unsigned_abs()));
            let message = M::random(&mut random, version);
            let bytes = message.to_bytes(version).unwrap();
            assert_eq!(
                bytes.len(),
                message.encoded_size(version).unwrap(),
                "{}",
                M::NAME
            );
            let back = M::from_bytes(bytes.clone(), version).unwrap();
            assert_eq!(back, message, "version {version}, seed {seed}");
            damage::<M>(&bytes, version, &mut random);
        }
    }
}

/// Damaged bytes give an error, or a message that can be written; never a panic.
fn damage<M: RandomMessage>(bytes: &Bytes, version: i16, random: &mut Random) {
    let mut damaged = bytes.to_vec();
    for _ in 0..=random.below(3) {
        if damaged.is_empty() {
            return;
        }
        let position = random.below(damaged.len());
        match random.below(4) {
            0 => damaged.truncate(position),
            1 => damaged[position] = 0xff,
            2 => damaged[position] ^= 1 << random.below(8),
            _ => damaged[position] = random.i8().to_le_bytes()[0],
        }
    }
    let mut reader = Reader::new(damaged.into());
    if let Ok(message) = M::decode(&mut reader, version) {
        let mut writer = Writer::new();
        let written = message.encode(&mut writer, version);
        // Replacement characters make text longer than it came.
        assert!(matches!(
            written,
            Ok(()) | Err(EncodeError::TooLong { .. } | EncodeError::TagOutOfOrder { .. })
        ));
    }
}

#[test]
fn there_are_273_messages() {
    assert_eq!(every_message().len(), 273);
}

#[test]
fn every_version_of_every_message_round_trips_and_survives_damage() {
    for tested in every_message() {
        eprintln!("{}", tested.name);
        (tested.check)();
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
