//! EndTxn (KIP-98, KIP-890).

use super::*;

fn began(transaction_version: i16) -> (Partition, Producer) {
    let mut partition = Partition::new(transaction_version);
    let producer = partition.take_over().unwrap();
    assert_eq!(partition.add(producer, &[("t", 0)]), ErrorCode::NONE);
    (partition, producer)
}

#[test]
fn an_end_is_decided_by_one_record_and_finished_by_another() {
    for (committed, prepared, complete) in [
        (
            true,
            TransactionState::PrepareCommit,
            TransactionState::CompleteCommit,
        ),
        (
            false,
            TransactionState::PrepareAbort,
            TransactionState::CompleteAbort,
        ),
    ] {
        let (mut partition, producer) = began(2);
        let next = partition.end(producer, committed).unwrap();
        assert_eq!(partition.state(), Some(prepared));
        let ended = partition.carry_out();
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].committed, committed);
        assert_eq!(ended[0].partitions, named(&[("t", 0)]));
        assert_eq!(ended[0].transaction_version, 2);
        // Markers have the bumped epoch, so that what the producer wrote before is fenced by them.
        assert_eq!(ended[0].producer, next);
        assert_eq!(partition.state(), Some(complete));
        assert_eq!(partition.last().partitions, named(&[]));
        let before = partition.log.len();
        partition.ended = ended;
        partition.carry_out();
        assert_eq!(partition.log.len(), before, "once is enough");
    }
}

/// Invariant 33: a decision never flips.
#[test]
fn an_end_that_is_decided_is_never_decided_otherwise() {
    for transaction_version in [0, 1, 2] {
        let (mut partition, producer) = began(transaction_version);
        let next = partition.end(producer, true).unwrap();
        for asking in [producer, next] {
            for committed in [true, false] {
                assert!(partition.end(asking, committed).is_err());
            }
        }
        partition.load();
        assert_eq!(partition.state(), Some(TransactionState::PrepareCommit));
        assert_eq!(partition.ended.len(), 1, "carried out by whoever loads it");
        partition.carry_out();
        assert_eq!(partition.state(), Some(TransactionState::CompleteCommit));
        assert_eq!(
            partition.end(producer, false),
            Err(ErrorCode::INVALID_TXN_STATE)
        );
    }
}

/// KIP-890, second part: every end bumps the epoch, and a retry is answered with the bumped one.
#[test]
fn a_retry_of_an_end_is_answered_like_the_first_attempt() {
    for committed in [true, false] {
        let (mut partition, producer) = began(2);
        let next = partition.end(producer, committed).unwrap();
        assert_eq!(next.producer_epoch, producer.producer_epoch + 1);
        assert_eq!(
            partition.end(producer, committed),
            Err(ErrorCode::CONCURRENT_TRANSACTIONS)
        );
        partition.carry_out();
        let written = partition.log.len();
        assert_eq!(partition.end(producer, committed), Ok(next));
        assert_eq!(
            partition.end(producer, !committed),
            Err(ErrorCode::INVALID_TXN_STATE)
        );
        assert_eq!(partition.log.len(), written);
    }
}

/// KAFKA-17754: an EndTxn that was delayed must not end the transaction after its own.
#[test]
fn a_delayed_end_never_touches_the_next_transaction() {
    let (mut partition, producer) = began(2);
    let next = partition.end(producer, true).unwrap();
    partition.carry_out();
    assert_eq!(partition.add(next, &[("t", 0)]), ErrorCode::NONE);
    for committed in [true, false] {
        assert_eq!(
            partition.end(producer, committed),
            Err(ErrorCode::PRODUCER_FENCED)
        );
    }
    assert_eq!(partition.state(), Some(TransactionState::Ongoing));
    assert!(partition.end(next, false).is_ok());
}

/// KIP-890: a client that failed before it wrote anything aborts, to be on the safe side.
#[test]
fn an_abort_needs_no_partitions_and_a_commit_does() {
    let mut partition = Partition::new(2);
    let producer = partition.take_over().unwrap();
    assert_eq!(
        partition.end(producer, true),
        Err(ErrorCode::INVALID_TXN_STATE)
    );
    let next = partition.end(producer, false).unwrap();
    assert_eq!(next.producer_epoch, 1);
    let ended = partition.carry_out();
    assert!(ended[0].partitions.is_empty());
    // Again, after an abort and after a commit.
    let next = partition.end(next, false).unwrap();
    partition.carry_out();
    assert_eq!(partition.add(next, &[("t", 0)]), ErrorCode::NONE);
    let next = partition.end(next, true).unwrap();
    partition.carry_out();
    assert_eq!(partition.end(next, true), Err(ErrorCode::INVALID_TXN_STATE));
    assert!(partition.end(next, false).is_ok());
}

#[test]
fn before_transaction_version_2_the_epoch_stays_and_a_retry_is_any_equal_end() {
    for transaction_version in [0, 1] {
        let (mut partition, producer) = began(transaction_version);
        partition.end(producer, true).unwrap();
        assert_eq!(partition.last().producer_epoch, producer.producer_epoch);
        assert_eq!(
            partition.end(producer, true),
            Err(ErrorCode::CONCURRENT_TRANSACTIONS)
        );
        partition.carry_out();
        assert!(partition.end(producer, true).is_ok());
        assert_eq!(
            partition.end(producer, false),
            Err(ErrorCode::INVALID_TXN_STATE)
        );
        let mut fresh = Partition::new(transaction_version);
        let producer = fresh.take_over().unwrap();
        assert_eq!(
            fresh.end(producer, false),
            Err(ErrorCode::INVALID_TXN_STATE)
        );
    }
}

#[test]
fn strangers_and_zombies_end_nothing() {
    for transaction_version in [0, 1, 2] {
        let (mut partition, producer) = began(transaction_version);
        for producer_epoch in [-1, 1, 2] {
            let zombie = Producer {
                producer_epoch,
                ..producer
            };
            assert_eq!(partition.end(zombie, true), Err(ErrorCode::PRODUCER_FENCED));
        }
        let stranger = Producer {
            producer_id: 5,
            ..producer
        };
        assert_eq!(
            partition.end(stranger, true),
            Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
        );
        assert_eq!(partition.state(), Some(TransactionState::Ongoing));
    }
}

/// KAFKA-18660: the end of the last epoch hands the id over to a new producer, and a retry hears of it.
#[test]
fn with_the_epochs_used_up_an_end_gives_the_id_a_new_producer() {
    let (mut partition, first) = began(2);
    let last = Producer {
        producer_epoch: i16::MAX - 1,
        ..first
    };
    let metadata = TransactionMetadata {
        producer_epoch: i16::MAX - 1,
        ..partition.last().clone()
    };
    partition.write(metadata);
    let next = partition.end(last, true).unwrap();
    assert_ne!(next.producer_id, last.producer_id);
    assert_eq!(next.producer_epoch, 0);
    assert_eq!(partition.last().next_producer_id, next.producer_id);
    // Should the coordinator move now, the next one does the same.
    partition.load();
    let ended = partition.carry_out();
    // The markers fence the old producer with the largest epoch there is.
    assert_eq!(ended[0].producer.producer_id, last.producer_id);
    assert_eq!(ended[0].producer.producer_epoch, i16::MAX);
    assert_eq!(partition.last().producer_id, next.producer_id);
    assert_eq!(partition.end(last, true), Ok(next));
    assert_eq!(
        partition.end(last, false),
        Err(ErrorCode::INVALID_TXN_STATE)
    );
    assert_eq!(partition.add(next, &[("t", 0)]), ErrorCode::NONE);
    assert!(partition.end(next, true).is_ok());
}
