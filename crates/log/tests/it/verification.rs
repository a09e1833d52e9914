//! KIP-890: no transaction begins in a partition that its coordinator was not asked about.

use std::path::Path;

use ottla_log::{Append, AppendOrigin, Error, Log, MemoryDisk, UnverifiedBatch, VerificationGuard};
use ottla_protocol::record::{BatchOptions, ControlRecordType};

use crate::support::{NOW_MS, Place, at, batch, marker};

const PRODUCER: i64 = 7;

fn new_log() -> Log {
    Place::new(MemoryDisk::new().shared(), Path::new("/logs")).open()
}

fn of_producer(log: &Log, epoch: i16) -> BatchOptions {
    BatchOptions {
        producer_id: PRODUCER,
        producer_epoch: epoch,
        is_transactional: true,
        ..at(log.log_end_offset())
    }
}

fn append(
    log: &mut Log,
    (epoch, sequence): (i16, i32),
    verification: Option<VerificationGuard>,
) -> Result<(), Error> {
    let options = BatchOptions {
        base_sequence: sequence,
        ..of_producer(log, epoch)
    };
    let bytes = batch(options, NOW_MS, &["a"]);
    let append = Append {
        requires_verification: true,
        verification,
        ..Append::new(AppendOrigin::Client, NOW_MS)
    };
    log.append(&bytes, append).map(|_| ())
}

fn end(log: &mut Log, epoch: i16, transaction_version: i16) {
    let bytes = marker(of_producer(log, epoch), ControlRecordType::Abort);
    let append = Append {
        transaction_version,
        requires_verification: true,
        ..Append::new(AppendOrigin::Coordinator, NOW_MS)
    };
    log.append(&bytes, append).unwrap();
}
fn begin(log: &mut Log, epoch: i16, sequence: i32, bumps: bool) -> Option<VerificationGuard> {
    let batch = UnverifiedBatch {
        producer_id: PRODUCER,
        producer_epoch: epoch,
        base_sequence: sequence,
        supports_epoch_bump: bumps,
    };
    log.begin_verification(&batch, NOW_MS).unwrap()
}

#[test]
fn only_what_was_verified_begins_a_transaction() {
    let mut log = new_log();
    let refused = append(&mut log, (0, 0), None);
    assert!(matches!(refused, Err(Error::UnverifiedTransaction { .. })));
    let guard = begin(&mut log, 0, 0, false);
    assert!(guard.is_some());
    append(&mut log, (0, 0), guard).unwrap();
    // While it is open nobody need be asked.
    assert_eq!(begin(&mut log, 0, 1, false), None);
    append(&mut log, (0, 1), None).unwrap();
}

/// A write that was verified and comes after the end would hang for ever.
#[test]
fn a_marker_makes_verifications_before_it_worthless() {
    let mut log = new_log();
    let guard = begin(&mut log, 0, 0, false);
    end(&mut log, 0, 0);
    let refused = append(&mut log, (0, 0), guard);
    assert!(matches!(refused, Err(Error::UnverifiedTransaction { .. })));
    assert_eq!(log.first_unstable_offset(), None);
    let again = begin(&mut log, 0, 0, false);
    assert_ne!(again, guard);
    append(&mut log, (0, 0), again).unwrap();
}

/// With an epoch for each transaction the next one may be verified before the marker comes.
#[test]
fn a_marker_leaves_the_verification_of_the_next_transaction() {
    let mut log = new_log();
    let first = begin(&mut log, 0, 0, true);
    append(&mut log, (0, 0), first).unwrap();
    let next = begin(&mut log, 1, 0, true);
    end(&mut log, 1, 2);
    append(&mut log, (1, 0), next).unwrap();
}

/// KAFKA-19690: a fenced producer hears that it is, verified or not.
#[test]
fn the_epoch_is_checked_before_the_verification() {
    let mut log = new_log();
    end(&mut log, 5, 0);
    let refused = append(&mut log, (4, 0), None);
    assert!(matches!(refused, Err(Error::InvalidProducerEpoch { .. })));
    let batch = UnverifiedBatch {
        producer_id: PRODUCER,
        producer_epoch: 4,
        base_sequence: 0,
        supports_epoch_bump: true,
    };
    let refused = log.begin_verification(&batch, NOW_MS);
    assert!(matches!(refused, Err(Error::InvalidProducerEpoch { .. })));
}

/// The second of two first batches must not overtake the first.
#[test]
fn the_first_batch_of_a_transaction_is_the_lowest_that_was_verified() {
    let mut log = new_log();
    let guard = begin(&mut log, 0, 0, true);
    assert_eq!(begin(&mut log, 0, 3, true), guard);
    let refused = append(&mut log, (0, 3), guard);
    assert!(matches!(refused, Err(Error::OutOfOrderSequence { .. })));
    append(&mut log, (0, 0), guard).unwrap();
}
