//! A bound on open files: segments open theirs when they are needed, and the ones not used
//! lately are closed again, so that thousands of partitions fit under any limit.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::disk::{Disk, File, OpenMode};

/// A disk and the files that are open on it, shared by all logs of a node.
#[derive(Debug)]
pub struct OpenFiles {
    disk: Arc<dyn Disk>,
    open_max: usize,
    /// Every open slot once, in the order of a clock's hand.
    ring: Mutex<VecDeque<Weak<Slot>>>,
}

impl OpenFiles {
    /// Files of `disk`, of which about `open_max` stay open, or fewer if it allows fewer.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, open_max: usize) -> Arc<Self> {
        let open_max = open_max.min(disk.open_files_max()).max(1);
        Arc::new(Self {
            disk,
            open_max,
            ring: Mutex::new(VecDeque::new()),
        })
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Files that are open now, or were until lately.
    #[must_use]
    pub fn open_count(&self) -> usize {
        lock(&self.ring).len()
    }

    fn enter(&self, slot: &Arc<Slot>) {
        let mut ring = lock(&self.ring);
        ring.push_back(Arc::downgrade(slot));
        // Two rounds at most: the first clears the marks of use, the second finds one without.
        let mut steps = ring.len().saturating_mul(2);
        while ring.len() > self.open_max && steps > 0 {
            steps -= 1;
            let Some(candidate) = ring.pop_front() else {
                break;
            };
            let Some(slot) = candidate.upgrade() else {
                continue;
            };
            if slot.used.swap(false, Ordering::Relaxed) {
                ring.push_back(candidate);
                continue;
            }
            match slot.state.try_lock() {
                Ok(mut state) => {
                    state.file = None;
                    state.listed = false;
                }
                Err(_) => ring.push_back(candidate),
            }
        }
    }
}

/// The place of one file that is opened when it is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileSlot {
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<SlotState>,
    used: AtomicBool,
}

#[derive(Debug, Default)]
struct SlotState {
    file: Option<Arc<dyn File>>,
    /// Whether the ring holds this slot.
    listed: bool,
}

impl FileSlot {
    /// The file, opened if it is not.
    pub(crate) fn get(
        &self,
        files: &OpenFiles,
        mode: OpenMode,
        path: impl FnOnce() -> PathBuf,
    ) -> io::Result<Arc<dyn File>> {
        let mut state = lock(&self.slot.state);
        if let Some(file) = &state.file {
            self.slot.used.store(true, Ordering::Relaxed);
            return Ok(Arc::clone(file));
        }
        let file = files.disk.open(&path(), mode)?;
        state.file = Some(Arc::clone(&file));
        let enters = !std::mem::replace(&mut state.listed, true);
        self.slot.used.store(true, Ordering::Relaxed);
        drop(state);
        if enters {
            files.enter(&self.slot);
        }
        Ok(file)
    }

    /// Closes the file; the next use opens it again.
    pub(crate) fn close(&self) {
        lock(&self.slot.state).file = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
