//! What a log asks of a disk, and the two disks there are.
//!
//! [`Disk`] and [`File`] are object-safe, so that a node takes its disk from outside:
//! [`RealDisk`] is the kernel's, [`MemoryDisk`] lives in memory, can crash, and then forgets
//! what nobody synced. Calls block; which thread makes them is the caller's choice.

mod memory;
mod real;
mod region;

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

pub use memory::{MemoryDisk, SyncFault};
pub use real::RealDisk;
pub use region::FileRegion;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; made empty where it is missing.
    Create,
    /// For reading and writing; it must not exist yet.
    CreateNew,
    /// For reading and writing; made, or emptied if it exists.
    Truncate,
}

/// What a directory says about one of its entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// The name within the directory.
    pub name: String,
    /// Whether the entry is a directory itself.
    pub is_directory: bool,
}

/// Facts of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Whether the path is a directory.
    pub is_directory: bool,
    /// The file's length in bytes; 0 for a directory.
    pub length: u64,
    /// When the content last changed, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// The room on the file system that holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process can still write.
    pub usable_bytes: u64,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
}

/// A lock on a file that is held until this is dropped.
pub trait FileLock: Send + Sync + Debug {}

/// A disk: paths, directories and their durability.
///
/// A change of a directory (a file made, renamed, removed) is durable only after
/// [`Disk::sync_directory`]; bytes of a file only after [`File::sync_data`].
pub trait Disk: Send + Sync + Debug {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// The facts of a path; `None` where nothing is.
    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>>;
    /// The entries of a directory, ordered by name.
    fn list(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>>;
    /// Makes a directory and those above it; that it exists is no error.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or directory; a file in the way is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// The room left where the path is.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
    /// How many files may be open at once, leaving as many descriptors for connections.
    fn open_files_max(&self) -> usize {
        usize::MAX
    }
    /// Takes the exclusive lock of a file, made where it is missing, as Java's
    /// `FileChannel.tryLock` takes it: a POSIX record lock on the whole file. `None` if another
    /// holder has it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>>;
}

/// An open file. Every call names its position, so one handle serves many threads.
pub trait File: Send + Sync + Debug {
    /// Reads at `position` into `buffer`; fewer bytes than asked for only at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `position`.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Writes the slices one after the other from `position` on.
    fn write_vectored_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()>;
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Cuts the file, or grows it with zeros.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Has the disk find room for `length` bytes from `position` on, which may be beyond the end; the file's length
    /// stays. [`Self::set_length`] gives back what is beyond it. A disk without such a thing refuses.
    fn reserve(&self, position: u64, length: u64) -> io::Result<()>;
    /// Makes the bytes, and the length that is needed to read them, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes the bytes and every attribute durable.
    fn sync_all(&self) -> io::Result<()>;
    /// Sets the time at which the content last changed, in milliseconds since 1970.
    fn set_modified(&self, modified_ms: i64) -> io::Result<()>;
    /// The descriptor, for `sendfile` and page cache probes; none if the file is not the kernel's.
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;
}

impl dyn Disk + '_ {
    /// Whether something is at the path.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.metadata(path)?.is_some())
    }

    /// The whole content of a file; `None` where it is missing.
    pub fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match self.open(path, OpenMode::Read) {
            Ok(file) => read_to_end(&*file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file so that after a crash it holds either the old or the new content: writes
    /// a file beside it, syncs that, renames it over the old one and syncs the directory.
    pub fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.replace_without_directory_sync(path, content)?;
        self.sync_directory(parent(path))
    }

    /// As [`Self::replace`] but leaves the directory's sync to the caller.
    pub fn replace_without_directory_sync(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let temporary = Path::new(&name);
        let file = self.open(temporary, OpenMode::Truncate)?;
        file.write_at(content, 0)?;
        file.sync_data()?;
        self.rename(temporary, path)
    }

    /// Makes a directory and those above it, so that they are still there after a crash.
    pub fn create_directory_durably(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut ancestor = path;
        while !self.exists(ancestor)? {
            missing.push(ancestor);
            ancestor = parent(ancestor);
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.create_directory(path)?;
        missing
            .iter()
            .rev()
            .try_for_each(|made| self.sync_directory(parent(made)))
    }

    /// Removes a file if it is there; says whether it was.
    pub fn remove_file_if_exists(&self, path: &Path) -> io::Result<bool> {
        match self.remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a directory with all that is in it; that it is missing is no error.
    pub fn remove_directory_with_content(&self, path: &Path) -> io::Result<()> {
        if !self.exists(path)? {
            return Ok(());
        }
        for entry in self.list(path)? {
            let child = path.join(&entry.name);
            if entry.is_directory {
                self.remove_directory_with_content(&child)?;
            } else {
                self.remove_file_if_exists(&child)?;
            }
        }
        self.remove_directory(path)
    }
}

/// The directory that holds a path.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The whole content of an open file.
pub(crate) fn read_to_end(file: &dyn File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    let mut content = vec![0; length];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(content)
}
