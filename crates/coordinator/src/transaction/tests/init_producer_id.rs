//! InitProducerId (KIP-98, KIP-360, KIP-890, KIP-939).

use super::*;

#[test]
fn the_first_producer_of_an_id_has_epoch_0_and_the_next_one_1() {
    let mut partition = Partition::new(2);
    let first = partition.take_over().unwrap();
    assert_eq!(first.producer_epoch, 0);
    let second = partition.take_over().unwrap();
    assert_eq!(second.producer_id, first.producer_id);
    assert_eq!(second.producer_epoch, 1);
    assert_eq!(partition.state(), Some(TransactionState::Empty));
}

#[test]
fn what_is_no_request_is_refused_and_leaves_no_trace() {
    let mut partition = Partition::new(2);
    let cases = [
        (
            InitProducer {
                transactional_id: "".into(),
                ..init()
            },
            ErrorCode::INVALID_REQUEST,
        ),
        (
            InitProducer {
                timeout_ms: 0,
                ..init()
            },
            ErrorCode::INVALID_TRANSACTION_TIMEOUT,
        ),
        (
            InitProducer {
                timeout_ms: 900_001,
                ..init()
            },
            ErrorCode::INVALID_TRANSACTION_TIMEOUT,
        ),
        (
            InitProducer {
                enable_two_phase_commit: true,
                ..init()
            },
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ),
        (
            InitProducer {
                keep_prepared_transaction: true,
                ..init()
            },
            ErrorCode::UNSUPPORTED_VERSION,
        ),
    ];
    for (request, error) in cases {
        assert_eq!(partition.init(&request), Err(error), "{request:?}");
    }
    assert!(partition.log.is_empty());
}

/// KIP-939, as far as Apache Kafka 4.3.1 has it: such a transaction has no limit.
#[test]
fn with_two_phase_commit_a_transaction_never_times_out() {
    let config = TransactionCoordinatorConfig {
        two_phase_commit_enable: true,
        ..TransactionCoordinatorConfig::default()
    };
    let mut partition = Partition::with(2, config);
    let request = InitProducer {
        enable_two_phase_commit: true,
        timeout_ms: 0,
        ..init()
    };
    let producer = partition.init(&request).unwrap();
    assert_eq!(partition.last().timeout_ms, i32::MAX);
    assert_eq!(partition.add(producer, &[("t", 0)]), ErrorCode::NONE);
    partition.advance(2 * 24 * 3_600_000);
    assert_eq!(partition.state(), Some(TransactionState::Ongoing));
}

#[test]
fn an_ongoing_transaction_is_aborted_before_the_id_changes_hands() {
    for transaction_version in [0, 1, 2] {
        let mut partition = Partition::new(transaction_version);
        let old = partition.take_over().unwrap();
        assert_eq!(partition.add(old, &[("t", 0), ("u", 1)]), ErrorCode::NONE);
        assert_eq!(
            partition.take_over(),
            Err(ErrorCode::CONCURRENT_TRANSACTIONS)
        );
        assert_eq!(partition.state(), Some(TransactionState::PrepareAbort));
        // KAFKA-19367: the epoch goes up by one, not by two.
        assert_eq!(partition.last().producer_epoch, 1);
        assert_eq!(
            partition.take_over(),
            Err(ErrorCode::CONCURRENT_TRANSACTIONS)
        );
        let ended = partition.carry_out();
        assert_eq!(ended.len(), 1);
        assert!(!ended[0].committed);
        assert_eq!(ended[0].partitions, named(&[("t", 0), ("u", 1)]));
        assert_eq!(ended[0].producer.producer_epoch, 1);
        let new = partition.take_over().unwrap();
        assert_eq!(new.producer_epoch, 2);
        assert_eq!(partition.add(old, &[("t", 0)]), ErrorCode::PRODUCER_FENCED);
    }
}

/// KIP-360: a producer goes on after an error, with the epoch that it has.
#[test]
fn a_producer_that_says_who_it_is_gets_the_next_epoch_and_a_retry_the_same() {
    let mut partition = Partition::new(1);
    let first = partition.take_over().unwrap();
    let again = InitProducer {
        expected: Some(first),
        ..init()
    };
    let second = partition.init(&again).unwrap();
    assert_eq!(second.producer_epoch, 1);
    // The answer was lost: no further bump.
    assert_eq!(partition.init(&again), Ok(second));
    // Whoever took over in between has fenced it.
    let third = partition.take_over().unwrap();
    assert_eq!(third.producer_epoch, 2);
    assert_eq!(partition.init(&again), Err(ErrorCode::PRODUCER_FENCED));
    let stranger = InitProducer {
        expected: Some(Producer {
            producer_id: 7,
            producer_epoch: 2,
        }),
        ..init()
    };
    assert_eq!(partition.init(&stranger), Err(ErrorCode::PRODUCER_FENCED));
}

#[test]
fn an_id_that_was_forgotten_takes_a_producer_that_says_who_it_is() {
    let mut partition = Partition::new(2);
    let request = InitProducer {
        expected: Some(Producer {
            producer_id: 7,
            producer_epoch: 3,
        }),
        ..init()
    };
    let producer = partition.init(&request).unwrap();
    assert_eq!(producer.producer_epoch, 0);
}

#[test]
fn with_the_epochs_used_up_the_id_gets_a_new_producer() {
    let mut partition = Partition::new(1);
    let first = partition.take_over().unwrap();
    let exhausted = TransactionMetadata {
        producer_epoch: i16::MAX - 1,
        ..partition.last().clone()
    };
    partition.write(exhausted.clone());
    let new = partition.take_over().unwrap();
    assert_ne!(new.producer_id, first.producer_id);
    assert_eq!(new.producer_epoch, 0);
    assert_eq!(partition.last().previous_producer_id, first.producer_id);
    // Its owner, too: and may ask again, since the answer may have been lost.
    partition.write(exhausted);
    let owner = InitProducer {
        expected: Some(Producer {
            producer_id: first.producer_id,
            producer_epoch: i16::MAX - 1,
        }),
        ..init()
    };
    let rotated = partition.init(&owner).unwrap();
    assert_eq!(rotated.producer_epoch, 0);
    assert_eq!(partition.init(&owner), Ok(rotated));
}
