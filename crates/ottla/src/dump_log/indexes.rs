//! Index files beside a log.

use std::io::Write as _;
use std::path::Path;

use ottla_protocol::record::BatchHeader;

use super::Check;
use crate::tool::{Failure, Out};

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;
const TRANSACTION_ENTRY_BYTES: usize = 34;

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

fn log_of(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path.with_extension("log")).ok()
}

/// `.index`: positions by offset.
pub(super) fn offsets(path: &Path, base: i64, check: Check, out: &mut Out) -> Result<(), Failure> {
    let bytes = super::read(path)?;
    let entry = |chunk: &[u8]| {
        let offset = base + i64::from(u32::from_be_bytes(number(chunk, 0)));
        (offset, i32::from_be_bytes(number(chunk, 4)))
    };
    let used = used_entries(&bytes, OFFSET_ENTRY_BYTES);
    if check == Check::Sanity {
        let last = used.last().map(|chunk| entry(chunk).0);
        if bytes.len() % OFFSET_ENTRY_BYTES != 0 || last.is_some_and(|last| last < base) {
            return Err(corrupt(path, "its entries are out of order"));
        }
        writeln!(out, "{} passed sanity check.", path.display())?;
        return Ok(());
    }
    let log = log_of(path);
    let mut mismatches = Vec::new();
    for (offset, position) in used.iter().map(|chunk| entry(chunk)) {
        let at = usize::try_from(position).unwrap_or(usize::MAX);
        let batch = log
            .as_ref()
            .and_then(|log| log.get(at..))
            .map(BatchHeader::parse);
        if let Some(Ok(header)) = batch
            && header.last_offset() != offset
        {
            mismatches.push((offset, header.last_offset()));
        }
        if check == Check::Show {
            writeln!(out, "offset: {offset} position: {position}")?;
        }
    }
    if !mismatches.is_empty() {
        writeln!(out, "Mismatches in :{}", path.display())?;
        for (offset, found) in mismatches {
            writeln!(out, "  Index offset: {offset}, log offset: {found}")?;
        }
    }
    Ok(())
}

/// `.timeindex`: offsets by timestamp.
pub(super) fn times(path: &Path, base: i64, check: Check, out: &mut Out) -> Result<(), Failure> {
    let bytes = super::read(path)?;
    let entry = |chunk: &[u8]| {
        let offset = base + i64::from(u32::from_be_bytes(number(chunk, 8)));
        (i64::from_be_bytes(number(chunk, 0)), offset)
    };
    let used = used_entries(&bytes, TIME_ENTRY_BYTES);
    let rises = used.windows(2).all(|pair| match pair {
        [before, after] => entry(before).0 <= entry(after).0,
        _ => true,
    });
    if check == Check::Sanity {
        // Zeros at the end count here: a file that was closed in order has none.
        let entries = bytes.chunks_exact(TIME_ENTRY_BYTES);
        let last = entries.clone().next_back().map(|chunk| entry(chunk).0);
        let first = entries.map(|chunk| entry(chunk).0).next();
        if bytes.len() % TIME_ENTRY_BYTES != 0 || last < first {
            let reason = "the last timestamp is less than the first, or an entry is cut off";
            return Err(corrupt(path, reason));
        }
        writeln!(out, "{} passed sanity check.", path.display())?;
        return Ok(());
    }
    if check == Check::Show {
        for (timestamp, offset) in used.iter().map(|chunk| entry(chunk)) {
            writeln!(out, "timestamp: {timestamp} offset: {offset}")?;
        }
    }
    if !rises {
        writeln!(out, "Found timestamp out of order in :{}", path.display())?;
    }
    Ok(())
}

/// `.txnindex`: aborted transactions.
pub(super) fn transactions(path: &Path, out: &mut Out) -> Result<(), Failure> {
    let bytes = super::read(path)?;
    for chunk in bytes.chunks_exact(TRANSACTION_ENTRY_BYTES) {
        let long = |at: usize| i64::from_be_bytes(number(chunk, at));
        writeln!(
            out,
            "version: {} producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            i16::from_be_bytes(number(chunk, 0)),
            long(2),
            long(10),
            long(18),
            long(26)
        )?;
    }
    Ok(())
}

/// The entries before the zeros that a preallocated file ends with.
fn used_entries(bytes: &[u8], size: usize) -> Vec<&[u8]> {
    let is_used = |(index, chunk): &(usize, &[u8])| *index == 0 || chunk.iter().any(|b| *b != 0);
    bytes
        .chunks_exact(size)
        .enumerate()
        .take_while(is_used)
        .map(|(_, chunk)| chunk)
        .collect()
}

fn corrupt(path: &Path, reason: &str) -> Failure {
    Failure::Message(format!(
        "Corrupt index found, index file ({}): {reason}",
        path.display()
    ))
}
