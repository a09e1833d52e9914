use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::open_files::OpenFiles;

/// The files that a segment consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Log,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    ProducerSnapshot,
}

impl FileKind {
    pub(crate) const SEGMENT: [FileKind; 4] = [
        FileKind::Log,
        FileKind::OffsetIndex,
        FileKind::TimeIndex,
        FileKind::TransactionIndex,
    ];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            FileKind::Log => ".log",
            FileKind::OffsetIndex => ".index",
            FileKind::TimeIndex => ".timeindex",
            FileKind::TransactionIndex => ".txnindex",
            FileKind::ProducerSnapshot => ".snapshot",
        }
    }
}

/// How far the files of a segment that takes the place of others have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FileSuffix {
    /// They are part of the log.
    #[default]
    None,
    /// They are being written.
    Cleaned,
    /// They are complete, and count: a start that finds them finishes the replacement.
    Swap,
}

impl FileSuffix {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            FileSuffix::None => "",
            FileSuffix::Cleaned => ".cleaned",
            FileSuffix::Swap => ".swap",
        }
    }
}

/// Where the files of one segment are.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFiles {
    open_files: Arc<OpenFiles>,
    directory: Arc<Path>,
    base_offset: i64,
    suffix: FileSuffix,
}

impl SegmentFiles {
    pub(crate) fn new(open_files: Arc<OpenFiles>, directory: Arc<Path>, base_offset: i64) -> Self {
        Self {
            open_files,
            directory,
            base_offset,
            suffix: FileSuffix::None,
        }
    }

    /// The same files under names that end differently.
    pub(crate) fn with_suffix(&self, suffix: FileSuffix) -> Self {
        Self {
            suffix,
            ..self.clone()
        }
    }

    pub(crate) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    pub(crate) fn open_files(&self) -> &OpenFiles {
        &self.open_files
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &**self.open_files.disk()
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self, kind: FileKind) -> PathBuf {
        let name = file_name(self.base_offset, kind) + self.suffix.as_str();
        self.directory.join(name)
    }
}

/// The name of a file of the segment that begins at an offset.
pub(crate) fn file_name(base_offset: i64, kind: FileKind) -> String {
    format!("{base_offset:020}{}", kind.suffix())
}

/// The offset and the rest of a file's name that begins with a segment's twenty digits.
pub(crate) fn parse_file_name(name: &str) -> Option<(i64, &str)> {
    let (digits, suffix) = name.split_at_checked(20)?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits || !suffix.starts_with('.') {
        return None;
    }
    let offset = digits.parse().ok().filter(|offset| *offset < i64::MAX)?;
    Some((offset, suffix))
}
