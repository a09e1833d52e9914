use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::{FallocateFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{DirectoryEntry, Disk, DiskSpace, File, FileLock, Metadata, OpenMode};

/// How many slices one `pwritev` call takes at most; Linux allows 1,024.
const SLICES_PER_WRITE_MAX: usize = 512;

/// The kernel's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The kernel's file system as a shared disk.
    #[must_use]
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(RealDisk)
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let flags = OFlags::CLOEXEC
            | match mode {
                OpenMode::Read => OFlags::RDONLY,
                OpenMode::Write => OFlags::RDWR,
                OpenMode::Create => OFlags::RDWR | OFlags::CREATE,
                OpenMode::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
                OpenMode::Truncate => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
            };
        let descriptor = retry(|| rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)))?;
        Ok(Arc::new(RealFile { descriptor }))
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Metadata {
                is_directory: metadata.is_dir(),
                length: if metadata.is_dir() { 0 } else { metadata.len() },
                modified_ms: modified_ms(&metadata),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // Every name that Kafka gives is ASCII: another one is nobody's file of ours.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let file_type = entry.file_type()?;
            let is_directory = if file_type.is_symlink() {
                fs::metadata(entry.path()).is_ok_and(|target| target.is_dir())
            } else {
                file_type.is_dir()
            };
            entries.push(DirectoryEntry { name, is_directory });
        }
        entries.sort();
        Ok(entries)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = retry(|| rustix::fs::open(path, flags, Mode::empty()))?;
        retry(|| rustix::fs::fsync(&descriptor))
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let facts = retry(|| rustix::fs::statvfs(path))?;
        Ok(DiskSpace {
            usable_bytes: facts.f_bavail.saturating_mul(facts.f_frsize),
            total_bytes: facts.f_blocks.saturating_mul(facts.f_frsize),
        })
    }

    fn open_files_max(&self) -> usize {
        static LIMIT: OnceLock<u64> = OnceLock::new();
        let limit = *LIMIT.get_or_init(raise_descriptor_limit);
        usize::try_from(limit / 2).unwrap_or(usize::MAX)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        Ok(locks::take(path)?.map(|lock| Box::new(lock) as Box<dyn FileLock>))
    }
}

#[derive(Debug)]
struct RealFile {
    descriptor: OwnedFd,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            match rustix::io::pread(&self.descriptor, rest, position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            match rustix::io::pwrite(&self.descriptor, rest, position + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write_vectored_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()> {
        let mut position = position;
        for chunk in slices.chunks(SLICES_PER_WRITE_MAX) {
            let mut vectors: Vec<IoSlice<'_>> =
                chunk.iter().map(|slice| IoSlice::new(slice)).collect();
            let mut rest = &mut vectors[..];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.descriptor, rest, position) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        position += count as u64;
                        IoSlice::advance_slices(&mut rest, count);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let facts = rustix::fs::fstat(&self.descriptor)?;
        u64::try_from(facts.st_size).map_err(io::Error::other)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        retry(|| rustix::fs::ftruncate(&self.descriptor, length))
    }

    fn reserve(&self, position: u64, length: u64) -> io::Result<()> {
        let keeps_size = FallocateFlags::KEEP_SIZE;
        retry(|| rustix::fs::fallocate(&self.descriptor, keeps_size, position, length))
    }

    // A failed sync is never tried again here: the kernel has already dropped the pages that it
    // could not write, and a second call would say that all is well.
    fn sync_data(&self) -> io::Result<()> {
        retry(|| rustix::fs::fdatasync(&self.descriptor))
    }

    fn sync_all(&self) -> io::Result<()> {
        retry(|| rustix::fs::fsync(&self.descriptor))
    }

    fn set_modified(&self, modified_ms: i64) -> io::Result<()> {
        let modified = Timespec {
            tv_sec: modified_ms.div_euclid(1_000),
            tv_nsec: modified_ms.rem_euclid(1_000) * 1_000_000,
        };
        let times = Timestamps {
            last_access: modified,
            last_modification: modified,
        };
        retry(|| rustix::fs::futimens(&self.descriptor, &times))
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.descriptor.as_fd())
    }
}

/// Lets this process have as many descriptors as its hard limit allows, as the Java virtual
/// machine does at its start; returns how many that is.
fn raise_descriptor_limit() -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        ..limits
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current.unwrap_or(u64::MAX),
        Err(_) => limits.current.unwrap_or(u64::MAX),
    }
}

/// A record lock belongs to the process: the kernel would give this process a second one, and
/// drop both as soon as any descriptor of the file closes. So, as Java does, the process keeps a
/// list of what it holds, and does not even open a file that is on it.
mod locks {
    use std::collections::BTreeSet;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use rustix::fs::{FlockOperation, Mode, OFlags};
    use rustix::io::Errno;

    use super::retry;
    use crate::disk::FileLock;

    /// Device and inode of each file that this process has locked.
    static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

    #[derive(Debug)]
    pub(super) struct RealLock {
        file: (u64, u64),
        descriptor: Option<OwnedFd>,
    }

    impl FileLock for RealLock {}

    pub(super) fn take(path: &Path) -> io::Result<Option<RealLock>> {
        let mut held = held();
        if let Ok(facts) = std::fs::metadata(path)
            && held.contains(&(facts.dev(), facts.ino()))
        {
            return Ok(None);
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let descriptor = retry(|| rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)))?;
        match rustix::fs::fcntl_lock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::ACCESS | Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let facts = rustix::fs::fstat(&descriptor)?;
        let file = (facts.st_dev, facts.st_ino);
        held.insert(file);
        Ok(Some(RealLock {
            file,
            descriptor: Some(descriptor),
        }))
    }

    impl Drop for RealLock {
        fn drop(&mut self) {
            let mut held = held();
            drop(self.descriptor.take());
            held.remove(&self.file);
        }
    }

    fn held() -> MutexGuard<'static, BTreeSet<(u64, u64)>> {
        HELD.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn modified_ms(metadata: &fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    metadata
        .mtime()
        .saturating_mul(1_000)
        .saturating_add(metadata.mtime_nsec() / 1_000_000)
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
