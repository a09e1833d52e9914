use std::io;
use std::sync::Arc;

use ottla_protocol::ids::{Offset, ProducerId};

use crate::disk::{File, OpenMode, read_to_end};
use crate::error::{Error, IoContext, Result};
use crate::open_files::FileSlot;
use crate::segment_files::{FileKind, SegmentFiles};

const ENTRY_BYTES: usize = 34;
const VERSION: i16 = 0;

/// A transaction that was aborted: readers of committed records leave its records out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: ProducerId,
    /// The transaction's first offset in the partition.
    pub first_offset: Offset,
    /// The offset of its marker.
    pub last_offset: Offset,
    /// The last stable offset when the marker was written.
    pub last_stable_offset: Offset,
}

/// What a segment says of the aborted transactions in a range of offsets.
#[derive(Debug, Default)]
pub(crate) struct AbortedTransactions {
    pub(crate) transactions: Vec<AbortedTransaction>,
    /// Whether later segments can have no more of them.
    pub(crate) is_complete: bool,
}

/// `.txnindex`: the aborted transactions whose markers are in the segment. The file is missing
/// where there are none.
#[derive(Debug, Default)]
pub(crate) struct TransactionIndex {
    slot: FileSlot,
    /// Whether the file exists, once known.
    exists: std::sync::OnceLock<bool>,
}

impl TransactionIndex {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn exists(&self, files: &SegmentFiles) -> io::Result<bool> {
        if let Some(exists) = self.exists.get() {
            return Ok(*exists);
        }
        let exists = files
            .disk()
            .exists(&files.path(FileKind::TransactionIndex))?;
        Ok(*self.exists.get_or_init(|| exists))
    }

    /// The file, if there is one.
    pub(crate) fn file(&self, files: &SegmentFiles) -> io::Result<Option<Arc<dyn File>>> {
        if self.exists(files)? {
            self.open(files, OpenMode::Write).map(Some)
        } else {
            Ok(None)
        }
    }

    fn open(&self, files: &SegmentFiles, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.slot.get(files.open_files(), mode, || {
            files.path(FileKind::TransactionIndex)
        })
    }

    pub(crate) fn close(&self) {
        self.slot.close();
    }

    pub(crate) fn append(
        &mut self,
        files: &SegmentFiles,
        transaction: &AbortedTransaction,
    ) -> io::Result<()> {
        let file = self.open(files, OpenMode::Create)?;
        self.exists = std::sync::OnceLock::from(true);
        file.write_at(&encode(transaction), file.length()?)
    }

    /// The transactions that may have records in `[from, to)`.
    pub(crate) fn collect(
        &self,
        files: &SegmentFiles,
        from: i64,
        to: i64,
    ) -> Result<AbortedTransactions> {
        let mut result = AbortedTransactions::default();
        for transaction in self.all(files)? {
            if transaction.last_offset.0 >= from && transaction.first_offset.0 < to {
                result.transactions.push(transaction);
            }
            if transaction.last_stable_offset.0 >= to {
                result.is_complete = true;
                break;
            }
        }
        Ok(result)
    }

    /// Every entry, checked.
    pub(crate) fn all(&self, files: &SegmentFiles) -> Result<Vec<AbortedTransaction>> {
        let path = files.path(FileKind::TransactionIndex);
        let content = match self.file(files).doing("open", &path)? {
            None => return Ok(Vec::new()),
            Some(file) => read_to_end(&*file).doing("read", &path)?,
        };
        let (entries, rest) = content.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            let reason = format!(
                "{} bytes are not a multiple of {ENTRY_BYTES}",
                content.len()
            );
            return Err(Error::corrupt_file(&path, reason));
        }
        let mut transactions: Vec<AbortedTransaction> = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(transaction) = decode(entry) else {
                return Err(Error::corrupt_file(
                    &path,
                    "an entry has an unknown version",
                ));
            };
            let in_order = transactions
                .last()
                .is_none_or(|previous| previous.last_offset < transaction.last_offset);
            if !in_order || transaction.last_offset.0 < files.base_offset() {
                return Err(Error::corrupt_file(&path, "its entries are out of order"));
            }
            transactions.push(transaction);
        }
        Ok(transactions)
    }

    /// Drops the transactions whose markers are at `offset` and above.
    pub(crate) fn truncate_to(&mut self, files: &SegmentFiles, offset: i64) -> Result<()> {
        let all = self.all(files)?;
        let kept = all
            .iter()
            .take_while(|transaction| transaction.last_offset.0 < offset)
            .count();
        if kept < all.len() {
            let path = files.path(FileKind::TransactionIndex);
            let file = self.open(files, OpenMode::Write).doing("open", &path)?;
            file.set_length((kept * ENTRY_BYTES) as u64)
                .doing("truncate", &path)?;
        }
        Ok(())
    }

    /// Empties the index.
    pub(crate) fn reset(&mut self, files: &SegmentFiles) -> io::Result<()> {
        if let Some(file) = self.file(files)? {
            file.set_length(0)?;
        }
        Ok(())
    }
}

fn encode(transaction: &AbortedTransaction) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..2].copy_from_slice(&VERSION.to_be_bytes());
    entry[2..10].copy_from_slice(&transaction.producer_id.0.to_be_bytes());
    entry[10..18].copy_from_slice(&transaction.first_offset.0.to_be_bytes());
    entry[18..26].copy_from_slice(&transaction.last_offset.0.to_be_bytes());
    entry[26..].copy_from_slice(&transaction.last_stable_offset.0.to_be_bytes());
    entry
}

fn decode(entry: &[u8; ENTRY_BYTES]) -> Option<AbortedTransaction> {
    let (version, rest) = entry.split_first_chunk::<2>()?;
    let (numbers, _) = rest.as_chunks::<8>();
    let [producer_id, first_offset, last_offset, last_stable_offset] = *numbers else {
        return None;
    };
    // Kafka reads every version up to the one it writes and refuses later ones.
    (i16::from_be_bytes(*version) <= VERSION).then_some(AbortedTransaction {
        producer_id: ProducerId(i64::from_be_bytes(producer_id)),
        first_offset: Offset(i64::from_be_bytes(first_offset)),
        last_offset: Offset(i64::from_be_bytes(last_offset)),
        last_stable_offset: Offset(i64::from_be_bytes(last_stable_offset)),
    })
}
