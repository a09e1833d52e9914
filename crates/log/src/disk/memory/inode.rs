use std::sync::{Mutex, MutexGuard, PoisonError};

use super::random::Random;

/// The unit in which a device writes: a torn write breaks at a multiple of it, or anywhere if
/// the seed says so.
const SECTOR_BYTES: u64 = 512;

/// One change of a file's content.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Bytes { position: u64, bytes: Vec<u8> },
    Length(u64),
}

impl Write {
    /// The allocated bytes after this write, of those before.
    pub(super) fn allocated_after(&self, before: u64) -> u64 {
        match self {
            Write::Bytes { position, bytes } => before.max(position + bytes.len() as u64),
            Write::Length(length) => before.min(*length),
        }
    }
}

/// A file's content, reachable by any number of names or by none.
#[derive(Debug, Default)]
pub(super) struct Inode {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
pub(super) struct Content {
    current: Sparse,
    durable: Sparse,
    /// The writes since the last sync, in order.
    unsynced: Vec<Write>,
    pub(super) modified_ms: i64,
}

impl Inode {
    pub(super) fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.current.length
    }

    /// The bytes that the content takes: a hole at the end takes none.
    pub(super) fn allocated(&self) -> u64 {
        self.current.bytes.len() as u64
    }

    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        self.current.read(buffer, position)
    }

    pub(super) fn apply(&mut self, write: Write, now_ms: i64, record: bool) {
        self.current.change(&write);
        self.modified_ms = now_ms;
        if record {
            self.unsynced.push(write);
        }
    }

    pub(super) fn sync(&mut self) {
        for write in self.unsynced.drain(..) {
            self.durable.change(&write);
        }
    }

    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    pub(super) fn crash(&mut self, random: &mut Random) {
        let unsynced = std::mem::take(&mut self.unsynced);
        // One mood for each file: all lost, all kept, a prefix, or any of them on its own.
        let mood = random.below(5);
        let prefix = random.below(unsynced.len() as u64 + 1);
        for (number, write) in (0_u64..).zip(&unsynced) {
            let kept = match mood {
                0 => false,
                1 => true,
                2 | 3 => number < prefix,
                _ => random.below(2) == 0,
            };
            if kept {
                self.durable.change(write);
            } else if (mood == 2 && number == prefix) || (mood == 4 && random.below(4) == 0) {
                tear(&mut self.durable, write, random);
            }
        }
        self.current.clone_from(&self.durable);
    }
}

/// Lets a part of a write arrive: the first bytes, or the length without the bytes.
fn tear(durable: &mut Sparse, write: &Write, random: &mut Random) {
    let Write::Bytes { position, bytes } = write else {
        return;
    };
    let length = bytes.len() as u64;
    let arrived = match random.below(3) {
        0 => 0,
        1 => random.below(length + 1),
        _ => random.below(length / SECTOR_BYTES + 1) * SECTOR_BYTES,
    };
    let whole_length = random.below(2) == 0;
    let part = bytes[..index(arrived)].to_vec();
    if !part.is_empty() {
        durable.change(&Write::Bytes {
            position: *position,
            bytes: part,
        });
    }
    if whole_length {
        durable.length = durable.length.max(position + length);
    }
}

/// Bytes, and zeros after them up to the length.
#[derive(Clone, Debug, Default)]
struct Sparse {
    bytes: Vec<u8>,
    length: u64,
}

impl Sparse {
    fn change(&mut self, write: &Write) {
        match write {
            Write::Bytes { position, bytes } => {
                let start = index(*position);
                let end = start + bytes.len();
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[start..end].copy_from_slice(bytes);
                self.length = self.length.max(end as u64);
            }
            Write::Length(length) => {
                self.bytes.truncate(index(*length));
                self.length = *length;
            }
        }
    }

    fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        let count = buffer
            .len()
            .min(index(self.length.saturating_sub(position)));
        let start = index(position).min(self.bytes.len());
        let held = count.min(self.bytes.len() - start);
        buffer[..held].copy_from_slice(&self.bytes[start..start + held]);
        buffer[held..count].fill(0);
        count
    }
}

fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
