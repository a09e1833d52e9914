use std::borrow::Cow;

use super::record::RecordsError;
use super::{BatchHeader, Record, RecordBatch, RecordError, Records};
use crate::compression::{Codec, Decompressor, Workspace};

impl<'a> RecordBatch<'a> {
    /// The records as they are when decompressed: borrowed where they are not compressed.
    ///
    /// Fails if they are more than `limit` bytes. [`RecordBatch::records_in`] walks the outcome.
    pub fn decompressed(
        &self,
        workspace: &mut Workspace,
        limit: usize,
    ) -> Result<Cow<'a, [u8]>, RecordError> {
        match self.codec()? {
            Codec::None => Ok(Cow::Borrowed(self.payload())),
            codec => {
                let mut output = Vec::new();
                workspace.decompress(codec, self.payload(), limit, &mut output)?;
                Ok(Cow::Owned(output))
            }
        }
    }

    /// Walks the decompressed records of this batch.
    #[must_use]
    pub fn records_in<'b>(&self, payload: &'b [u8]) -> Records<'b>
    where
        'a: 'b,
    {
        Records::new(self.header(), payload)
    }

    /// Reads the records one by one while they are decompressed, so that memory is needed for the
    /// largest record only. Nothing is copied if the batch is not compressed.
    ///
    /// Fails once the records are more than `limit` bytes. Give the reader back with
    /// [`RecordReader::finish`] to have its context reused.
    pub fn read_records(
        &self,
        workspace: &mut Workspace,
        limit: usize,
    ) -> Result<RecordReader<'a>, RecordError> {
        let source = match self.codec()? {
            Codec::None => Source::Plain(Records::new(self.header(), self.payload())),
            codec => Source::Compressed(Box::new(CompressedRecords {
                header: self.header(),
                decompressor: workspace.decompressor(codec, self.payload(), limit),
                buffer: workspace.buffer(),
                start: 0,
                left: self.count(),
                failed: false,
            })),
        };
        Ok(RecordReader { source })
    }
}

/// Reads the records of a batch one after the other; each is borrowed until the next is read.
#[derive(Debug)]
pub struct RecordReader<'a> {
    source: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    Plain(Records<'a>),
    Compressed(Box<CompressedRecords<'a>>),
}

#[derive(Debug)]
struct CompressedRecords<'a> {
    header: BatchHeader<'a>,
    decompressor: Decompressor<'a>,
    /// What is decompressed and not yet given out is `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
    left: i32,
    failed: bool,
}

impl RecordReader<'_> {
    /// The next record; ends after an error, as [`Records`] does.
    pub fn next_record(&mut self) -> Option<Result<Record<'_>, RecordError>> {
        match &mut self.source {
            Source::Plain(records) => records.next(),
            Source::Compressed(records) => records.next_record(),
        }
    }

    /// Gives contexts and buffers back to the workspace.
    pub fn finish(self, workspace: &mut Workspace) {
        if let Source::Compressed(records) = self.source {
            workspace.take_back(records.decompressor);
            workspace.recycle(records.buffer);
        }
    }
}

impl CompressedRecords<'_> {
    fn next_record(&mut self) -> Option<Result<Record<'_>, RecordError>> {
        if self.failed {
            return None;
        }
        if self.left <= 0 {
            return match self.at_end() {
                Ok(()) => None,
                Err(error) => {
                    self.failed = true;
                    Some(Err(error))
                }
            };
        }
        self.left -= 1;
        let (size, body) = match self.fetch() {
            Ok(range) => range,
            Err(error) => {
                self.failed = true;
                return Some(Err(error));
            }
        };
        let body = self.buffer.get(body..self.start).unwrap_or_default();
        let record = Record::parse_body(self.header, body, size);
        self.failed = record.is_err();
        Some(record)
    }

    /// Has the next record in the buffer, ending at the new `start`; returns its whole size and
    /// where its body begins.
    fn fetch(&mut self) -> Result<(usize, usize), RecordError> {
        let length = loop {
            match super::record::length_prefix(self.available()) {
                Ok(prefix) => break prefix,
                Err(RecordsError::Incomplete) => {
                    if !self.fill()? {
                        return Err(super::record::PREMATURE_END);
                    }
                }
                Err(RecordsError::Invalid(error)) => return Err(error),
            }
        };
        let size = length.prefix_bytes.saturating_add(length.body_bytes);
        while self.available().len() < size {
            if !self.fill()? {
                return Err(super::record::PREMATURE_END);
            }
        }
        let body = self.start + length.prefix_bytes;
        self.start += size;
        Ok((size, body))
    }

    fn available(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Decompresses a further piece; false if there is none.
    fn fill(&mut self) -> Result<bool, RecordError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        Ok(self.decompressor.read_into(&mut self.buffer)? > 0)
    }

    fn at_end(&mut self) -> Result<(), RecordError> {
        if self.left < 0 {
            return Err(super::record::NEGATIVE_COUNT);
        }
        if self.available().is_empty() && !self.fill()? {
            Ok(())
        } else {
            Err(super::record::RECORDS_LEFT)
        }
    }
}
