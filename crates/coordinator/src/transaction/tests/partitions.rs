//! AddPartitionsToTxn and its verification (KIP-98, KIP-890).

use super::*;

#[test]
fn the_first_partition_begins_a_transaction_and_the_same_again_writes_nothing() {
    let mut partition = Partition::new(2);
    let producer = partition.take_over().unwrap();
    assert_eq!(partition.add(producer, &[("t", 0)]), ErrorCode::NONE);
    assert_eq!(partition.state(), Some(TransactionState::Ongoing));
    let began_ms = partition.last().start_ms;
    partition.now_ms += 50;
    assert_eq!(
        partition.add(producer, &[("t", 1), ("u", 0)]),
        ErrorCode::NONE
    );
    assert_eq!(partition.last().start_ms, began_ms);
    let written = partition.log.len();
    assert_eq!(partition.add(producer, &[("t", 1)]), ErrorCode::NONE);
    assert_eq!(partition.log.len(), written);
    assert_eq!(
        partition.last().partitions,
        named(&[("t", 0), ("t", 1), ("u", 0)])
    );
}

#[test]
fn strangers_and_zombies_add_nothing() {
    let mut partition = Partition::new(2);
    let nobody = Producer {
        producer_id: 5,
        producer_epoch: 0,
    };
    assert_eq!(
        partition.add(nobody, &[("t", 0)]),
        ErrorCode::INVALID_PRODUCER_ID_MAPPING
    );
    let producer = partition.take_over().unwrap();
    assert_eq!(
        partition.add(nobody, &[("t", 0)]),
        ErrorCode::INVALID_PRODUCER_ID_MAPPING
    );
    for producer_epoch in [-1, 1] {
        let zombie = Producer {
            producer_epoch,
            ..producer
        };
        assert_eq!(
            partition.add(zombie, &[("t", 0)]),
            ErrorCode::PRODUCER_FENCED
        );
    }
    assert_eq!(partition.state(), Some(TransactionState::Empty));
}

#[test]
fn while_an_end_is_carried_out_everybody_waits() {
    let mut partition = Partition::new(2);
    let producer = partition.take_over().unwrap();
    assert_eq!(partition.add(producer, &[("t", 0)]), ErrorCode::NONE);
    let next = partition.end(producer, true).unwrap();
    // The next producer, and even a stranger: who it is may be about to change.
    for producer in [next, producer] {
        assert_eq!(
            partition.add(producer, &[("t", 0)]),
            ErrorCode::CONCURRENT_TRANSACTIONS
        );
    }
    partition.carry_out();
    assert_eq!(partition.add(next, &[("t", 0)]), ErrorCode::NONE);
}

/// KIP-890, first part.
#[test]
fn verification_says_of_each_partition_whether_it_takes_part() {
    let mut partition = Partition::new(1);
    let producer = partition.take_over().unwrap();
    let id = KafkaString::from(ID);
    let verify = |partition: &Partition, producer| {
        partition
            .coordinator
            .verify_partitions((&id, producer), &named(&[("t", 0), ("t", 1)]))
    };
    assert_eq!(partition.add(producer, &[("t", 0)]), ErrorCode::NONE);
    let verified: Vec<_> = verify(&partition, producer)
        .unwrap()
        .into_iter()
        .map(|(_, index, error)| (index, error))
        .collect();
    assert_eq!(
        verified,
        [(0, ErrorCode::NONE), (1, ErrorCode::TRANSACTION_ABORTABLE)]
    );
    let zombie = Producer {
        producer_epoch: 9,
        ..producer
    };
    assert_eq!(verify(&partition, zombie), Err(ErrorCode::PRODUCER_FENCED));
    let stranger = Producer {
        producer_id: 5,
        ..producer
    };
    assert_eq!(
        verify(&partition, stranger),
        Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
    );
    partition.end(producer, true).unwrap();
    assert_eq!(
        verify(&partition, producer),
        Err(ErrorCode::CONCURRENT_TRANSACTIONS)
    );
    let empty = KafkaString::from("");
    assert_eq!(
        partition
            .coordinator
            .verify_partitions((&empty, producer), &named(&[("t", 0)])),
        Err(ErrorCode::INVALID_REQUEST)
    );
}
