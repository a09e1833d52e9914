//! A disk in memory that can crash.
//!
//! It keeps what was written apart from what was synced. [`MemoryDisk::crash`] throws away the
//! difference as a power failure may: of the writes to a file that were not synced any may be
//! lost, torn or kept, whatever becomes of the others; of the changes of a directory, the last
//! ones may be lost, as on every file system with a journal. All by a seed.

mod inode;
mod random;
mod tree;

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::inode::{Inode, Write};
use self::random::Random;
use self::tree::Tree;
use super::{DirectoryEntry, Disk, DiskSpace, File, FileLock, Metadata, OpenMode};

/// The capacity of a disk that was given none.
const CAPACITY_BYTES_DEFAULT: u64 = 1 << 40;

/// Which syncs fail, as an error of the device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// None.
    None,
    /// The sync that comes after this many good ones, once.
    Once(u64),
    /// Every sync after this many good ones.
    From(u64),
}

/// A disk in memory; clones share it.
#[derive(Clone)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    tree: Tree,
    /// Counts crashes; a handle or lock of an earlier life is dead.
    generation: u64,
    locks: Vec<PathBuf>,
    capacity_bytes: u64,
    used_bytes: u64,
    sync_fault: SyncFault,
    sync_count: u64,
    unreadable: Option<String>,
    keeps_unsynced: bool,
    now_ms: i64,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            tree: Tree::new(),
            generation: 0,
            locks: Vec::new(),
            capacity_bytes: CAPACITY_BYTES_DEFAULT,
            used_bytes: 0,
            sync_fault: SyncFault::None,
            sync_count: 0,
            unreadable: None,
            keeps_unsynced: true,
            now_ms: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// An empty disk that will never crash, and so needs not remember what was not synced: half
    /// the memory.
    #[must_use]
    pub fn without_crashes() -> Self {
        let disk = Self::new();
        disk.state().keeps_unsynced = false;
        disk
    }

    /// This disk as a shared [`Disk`].
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Loses power: what was not synced is lost, torn or kept as `seed` says. Open files and
    /// locks of before are dead afterwards; the disk itself goes on.
    pub fn crash(&self, seed: u64) {
        let mut state = self.state();
        let mut random = Random::new(seed);
        state.generation += 1;
        state.locks.clear();
        state.used_bytes = state.tree.crash(&mut random);
        state.sync_fault = SyncFault::None;
    }

    /// Kills the process that uses the disk: open files and locks are dead, every write stays.
    pub fn kill(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.locks.clear();
    }

    /// Bounds the bytes that files may hold; a write beyond fails as on a full disk.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// Chooses the syncs that fail from now on. What a failed sync should have made durable
    /// never becomes so by a later one: the kernel has marked those pages clean.
    pub fn set_sync_fault(&self, fault: SyncFault) {
        let mut state = self.state();
        state.sync_fault = fault;
        state.sync_count = 0;
    }

    /// Lets reads of files whose path contains `part` fail; `None` heals them.
    pub fn set_unreadable(&self, part: Option<&str>) {
        self.state().unreadable = part.map(str::to_owned);
    }

    /// The bytes that files hold.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes
    }

    /// Sets the clock by which files get their time of modification.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.state().now_ms = now_ms;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        formatter
            .debug_struct("MemoryDisk")
            .field("generation", &state.generation)
            .field("used_bytes", &state.used_bytes)
            .finish_non_exhaustive()
    }
}

impl State {
    fn check_sync(&mut self) -> io::Result<()> {
        let count = self.sync_count;
        self.sync_count += 1;
        let fails = match self.sync_fault {
            SyncFault::None => false,
            SyncFault::Once(good) => count == good,
            SyncFault::From(good) => count >= good,
        };
        if fails { Err(device_error()) } else { Ok(()) }
    }

    fn reserve(&mut self, growth: u64) -> io::Result<()> {
        let used = self.used_bytes.saturating_add(growth);
        if growth > 0 && used > self.capacity_bytes {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        self.used_bytes = used;
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let existing = state.tree.file(path)?;
        let inode = match (existing, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), OpenMode::Truncate) => {
                let freed = inode.lock().allocated();
                let record = state.keeps_unsynced;
                inode.lock().apply(Write::Length(0), state.now_ms, record);
                state.used_bytes = state.used_bytes.saturating_sub(freed);
                inode
            }
            (Some(inode), _) => inode,
            (None, OpenMode::Read | OpenMode::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::Create | OpenMode::CreateNew | OpenMode::Truncate) => {
                let now_ms = state.now_ms;
                state.tree.create_file(path, now_ms)?
            }
        };
        Ok(Arc::new(MemoryFile {
            disk: self.clone(),
            path: path.to_owned(),
            generation: state.generation,
            inode,
        }))
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.state().tree.metadata(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.state().tree.list(directory)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.state().tree.create_directory(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let freed = state.tree.rename(from, to)?;
        state.used_bytes = state.used_bytes.saturating_sub(freed);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let freed = state.tree.remove_file(path)?;
        state.used_bytes = state.used_bytes.saturating_sub(freed);
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.state().tree.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_sync()?;
        state.tree.sync_directory(path)
    }

    fn space(&self, _path: &Path) -> io::Result<DiskSpace> {
        let state = self.state();
        Ok(DiskSpace {
            usable_bytes: state.capacity_bytes.saturating_sub(state.used_bytes),
            total_bytes: state.capacity_bytes,
        })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        let mut state = self.state();
        if state.locks.iter().any(|held| held == path) {
            return Ok(None);
        }
        if state.tree.file(path)?.is_none() {
            let now_ms = state.now_ms;
            state.tree.create_file(path, now_ms)?;
        }
        state.locks.push(path.to_owned());
        Ok(Some(Box::new(MemoryLock {
            disk: self.clone(),
            path: path.to_owned(),
            generation: state.generation,
        })))
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    generation: u64,
    inode: Arc<Inode>,
}

impl MemoryFile {
    /// The disk's state, unless the disk crashed since this file was opened.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.generation == self.generation {
            Ok(state)
        } else {
            Err(device_error())
        }
    }

    fn apply(&self, write: Write) -> io::Result<()> {
        let mut state = self.state()?;
        let mut content = self.inode.lock();
        let before = content.allocated();
        let after = write.allocated_after(before);
        state.reserve(after.saturating_sub(before))?;
        state.used_bytes = state
            .used_bytes
            .saturating_sub(before.saturating_sub(after));
        content.apply(write, state.now_ms, state.keeps_unsynced);
        Ok(())
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        {
            let state = self.state()?;
            if let Some(part) = &state.unreadable
                && self.path.to_string_lossy().contains(part.as_str())
            {
                return Err(device_error());
            }
        }
        Ok(self.inode.lock().read(buffer, position))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.apply(Write::Bytes {
            position,
            bytes: bytes.to_vec(),
        })
    }

    fn write_vectored_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()> {
        self.write_at(&slices.concat(), position)
    }

    fn length(&self) -> io::Result<u64> {
        let _alive = self.state()?;
        Ok(self.inode.lock().length())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.apply(Write::Length(length))
    }

    fn reserve(&self, _position: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        match state.check_sync() {
            Ok(()) => {
                self.inode.lock().sync();
                Ok(())
            }
            Err(error) => {
                self.inode.lock().forget_unsynced();
                Err(error)
            }
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_modified(&self, modified_ms: i64) -> io::Result<()> {
        let _alive = self.state()?;
        self.inode.lock().modified_ms = modified_ms;
        Ok(())
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
    generation: u64,
}

impl FileLock for MemoryLock {}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryLock")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.generation == self.generation {
            state.locks.retain(|held| held != &self.path);
        }
    }
}

fn device_error() -> io::Error {
    rustix::io::Errno::IO.into()
}
