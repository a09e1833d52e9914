//! What time does: transactions that take too long, ids that nobody uses (KIP-98).

use super::*;

#[test]
fn a_transaction_that_takes_too_long_is_aborted_at_the_next_check() {
    for transaction_version in [0, 1, 2] {
        let mut partition = Partition::new(transaction_version);
        let producer = partition.take_over().unwrap();
        assert_eq!(partition.add(producer, &[("t", 0)]), ErrorCode::NONE);
        partition.advance(60_000);
        assert_eq!(partition.state(), Some(TransactionState::Ongoing));
        partition.advance(10_000);
        assert_eq!(partition.state(), Some(TransactionState::PrepareAbort));
        assert_eq!(partition.last().producer_epoch, producer.producer_epoch + 1);
        partition.carry_out();
        assert_eq!(partition.state(), Some(TransactionState::CompleteAbort));
        assert_eq!(
            partition.add(producer, &[("t", 0)]),
            ErrorCode::PRODUCER_FENCED
        );
    }
}

#[test]
fn a_transaction_that_outlived_its_coordinator_is_aborted_too() {
    let mut partition = Partition::new(2);
    let producer = partition.take_over().unwrap();
    assert_eq!(partition.add(producer, &[("t", 0)]), ErrorCode::NONE);
    partition.now_ms += 3_600_000;
    partition.load();
    assert_eq!(partition.state(), Some(TransactionState::Ongoing));
    partition.advance(10_000);
    assert_eq!(partition.state(), Some(TransactionState::PrepareAbort));
}

#[test]
fn with_the_epochs_used_up_a_timeout_gives_the_id_a_new_producer() {
    let mut partition = Partition::new(2);
    let first = partition.take_over().unwrap();
    assert_eq!(partition.add(first, &[("t", 0)]), ErrorCode::NONE);
    let metadata = TransactionMetadata {
        producer_epoch: i16::MAX - 1,
        ..partition.last().clone()
    };
    partition.write(metadata);
    partition.advance(80_000);
    assert_eq!(partition.state(), Some(TransactionState::PrepareAbort));
    partition.carry_out();
    let new = partition.take_over().unwrap();
    assert_ne!(new.producer_id, first.producer_id);
}

#[test]
fn an_id_without_a_transaction_is_forgotten_after_its_time() {
    let config = TransactionCoordinatorConfig {
        expiration_ms: 10_000_000,
        ..TransactionCoordinatorConfig::default()
    };
    let mut partition = Partition::with(2, config);
    partition.take_over().unwrap();
    partition.advance(10_000_000);
    assert_eq!(partition.state(), Some(TransactionState::Empty));
    partition.advance(3_600_000);
    assert_eq!(partition.state(), None);
    assert!(partition.log.last().unwrap().metadata.is_none());
    let described = partition.coordinator.describe(&ID.into());
    assert_eq!(
        described.error_code,
        ErrorCode::TRANSACTIONAL_ID_NOT_FOUND.0
    );
    // It may come back.
    assert_eq!(partition.take_over().unwrap().producer_epoch, 0);
}
