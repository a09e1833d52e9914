use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_protocol::ids::Offset;

use crate::batch::{Batch, Found, parse};
use crate::config::LogConfig;
use crate::error::{Error, IoContext, Result};
use crate::index::AbortedTransaction;
use crate::open_files::OpenFiles;
use crate::segment::Segment;
use crate::segment_files::{FileKind, FileSuffix, SegmentFiles};

/// The largest file that the positions of an index can point into, as Java's `int`.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// Writes segments that will take the place of others: files that end in `.cleaned` and count for
/// nothing yet.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    open_files: Arc<OpenFiles>,
    directory: Arc<Path>,
    config: LogConfig,
    now_ms: i64,
    segments: Vec<Segment>,
}

impl SegmentWriter {
    /// Writes nothing yet: see [`Self::begin`].
    pub(crate) fn new(
        open_files: Arc<OpenFiles>,
        directory: Arc<Path>,
        config: LogConfig,
        now_ms: i64,
    ) -> Self {
        Self {
            open_files,
            directory,
            config,
            now_ms,
            segments: Vec::new(),
        }
    }

    /// Begins a segment.
    pub(crate) fn begin(&mut self, base_offset: i64) -> Result<()> {
        let files = SegmentFiles::new(
            Arc::clone(&self.open_files),
            Arc::clone(&self.directory),
            base_offset,
        );
        let files = files.with_suffix(FileSuffix::Cleaned);
        let segment = Segment::create(files, &self.config, self.now_ms)?;
        self.segments.push(segment);
        Ok(())
    }

    /// Appends whole batches. Where one is too far from the base offset for an index, a new
    /// segment begins with it.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut run_start = 0;
        let mut run: Vec<Batch> = Vec::new();
        let mut position = 0;
        while let Found::Batch(batch) = parse(
            bytes.get(position..).unwrap_or_default(),
            position as u64,
            bytes.len().saturating_sub(position) as u64,
        ) {
            if !self.fits(&batch, position - run_start) {
                self.append_run(bytes, run_start, &run)?;
                run_start = position;
                run.clear();
                self.begin(batch.base_offset)?;
                if !self.fits(&batch, 0) {
                    return Err(self.too_long(&batch));
                }
            }
            position = usize::try_from(batch.end()).unwrap_or(usize::MAX);
            run.push(Batch {
                position: batch.position - run_start as u64,
                ..batch
            });
        }
        self.append_run(bytes, run_start, &run)
    }

    fn fits(&self, batch: &Batch, before: usize) -> bool {
        self.segments.last().is_some_and(|segment| {
            segment.is_offset_in_range(batch.last_offset)
                && segment.size() + before as u64 + batch.size <= SEGMENT_BYTES_MAX
        })
    }

    fn too_long(&self, batch: &Batch) -> Error {
        let files = SegmentFiles::new(
            Arc::clone(&self.open_files),
            Arc::clone(&self.directory),
            batch.base_offset,
        );
        Error::Corrupt {
            path: files.path(FileKind::Log),
            position: 0,
            offset: Offset(batch.base_offset),
            reason: format!("the batch is too long: it ends at {}", batch.last_offset),
        }
    }

    fn append_run(&mut self, bytes: &[u8], start: usize, run: &[Batch]) -> Result<()> {
        let length: u64 = run.iter().map(|batch| batch.size).sum();
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        match (self.segments.last_mut(), bytes.get(start..end)) {
            (Some(segment), Some(bytes)) if !run.is_empty() => {
                segment.append(bytes, run, &self.config)
            }
            _ => Ok(()),
        }
    }

    /// Adds an aborted transaction whose marker was appended last.
    pub(crate) fn append_aborted(&mut self, transaction: &AbortedTransaction) -> Result<()> {
        match self.segments.last_mut() {
            Some(segment) => segment.append_aborted(transaction),
            None => Ok(()),
        }
    }

    /// Makes the segments durable, with the time of modification of what they replace.
    pub(crate) fn finish(mut self, modified_ms: i64) -> Result<Vec<Segment>> {
        for segment in &mut self.segments {
            segment.become_inactive()?;
            let file = segment.file()?;
            let path = segment.path(FileKind::Log);
            file.set_modified(modified_ms)
                .doing("set the time of", &path)?;
            for (path, file) in segment.files_to_sync()? {
                file.sync_data().doing("sync", &path)?;
            }
        }
        Ok(self.segments)
    }

    /// Removes what was written.
    pub(crate) fn discard(self) {
        discard(&self.segments);
    }
}

/// Removes the files of segments that will not count; if it fails, the next start does it.
fn discard(segments: &[Segment]) {
    for segment in segments {
        segment.close_files();
        for kind in FileKind::SEGMENT {
            let path: PathBuf = segment.path(kind);
            if let Err(error) = segment.files().disk().remove_file_if_exists(&path) {
                tracing::warn!(path = %path.display(), %error, "a file of a cleaning that was given up stays");
            }
        }
    }
}

/// Copies of segments, durable and ready to take their place.
#[derive(Debug)]
#[must_use = "they count once the log has them: see `Log::replace_segments`"]
pub struct RewrittenSegments {
    pub(crate) segments: Vec<Segment>,
    /// The base offsets of the segments that they were made from.
    pub(crate) sources: Vec<i64>,
    /// The log's count of removals when it was looked at.
    pub(crate) removals: u64,
}

impl RewrittenSegments {
    /// Removes them: the log has changed meanwhile.
    pub fn discard(self) {
        discard(&self.segments);
    }
}
