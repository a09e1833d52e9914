//! Blocks that a fast segment got ahead are given back, and its files look as if there had been none.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use ottla_log::disk::OpenMode;
use ottla_log::{Disk, Log, LogConfig, RealDisk};
use ottla_protocol::ids::Offset;

use crate::support::{NOW_MS, Place, append, records};

const BATCH_BYTES: usize = 1 << 20;

struct RealPlace {
    place: Place,
    directory: tempfile::TempDir,
}

impl RealPlace {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut place = Place::new(RealDisk::shared(), directory.path());
        place.config = LogConfig {
            retention_ms: -1,
            ..LogConfig::default()
        };
        Self { place, directory }
    }

    fn log_file(&self) -> PathBuf {
        self.directory
            .path()
            .join("topic-0/00000000000000000000.log")
    }

    /// Whether more of the disk is taken than the file is long.
    fn has_room_ahead(&self) -> bool {
        // The blocks of what was just written are only found when it is synced.
        std::fs::File::open(self.log_file())
            .and_then(|file| file.sync_all())
            .unwrap();
        let facts = std::fs::metadata(self.log_file()).unwrap();
        facts.blocks() * 512 > facts.len() + BATCH_BYTES as u64
    }

    /// Whether the file system has such a thing at all.
    fn can_reserve(&self) -> bool {
        let path = self.directory.path().join("probe");
        let file = RealDisk.open(&path, OpenMode::Create).unwrap();
        file.reserve(0, 4096).is_ok()
    }
}

/// Appends seven batches at once.
fn grow_fast(log: &mut Log) {
    let value = "x".repeat(BATCH_BYTES - 1024);
    for _ in 0..7 {
        append(log, NOW_MS, &[&value]);
    }
}

#[test]
fn a_roll_gives_unused_room_back() {
    let real = RealPlace::new();
    let mut log = real.place.open();
    grow_fast(&mut log);
    assert_eq!(real.has_room_ahead(), real.can_reserve());
    log.roll(NOW_MS).unwrap();
    assert!(!real.has_room_ahead());
    assert_eq!(records(&log).len(), 7);
}

#[test]
fn a_clean_stop_gives_unused_room_back() {
    let real = RealPlace::new();
    let mut log = real.place.open();
    grow_fast(&mut log);
    let length = std::fs::metadata(real.log_file()).unwrap().len();
    let recovery_point = log.close().unwrap();
    assert!(!real.has_room_ahead());
    assert_eq!(std::fs::metadata(real.log_file()).unwrap().len(), length);
    let log = real.place.open_after(recovery_point, true);
    assert_eq!(records(&log).len(), 7);
}

#[test]
fn a_start_after_a_crash_gives_back_what_was_lost_sight_of() {
    let real = RealPlace::new();
    let mut log = real.place.open();
    grow_fast(&mut log);
    drop(log);
    let log = real.place.open_after(Offset(0), false);
    assert!(!real.has_room_ahead());
    assert_eq!(records(&log).len(), 7);
}

#[test]
fn a_segment_that_stands_still_gives_unused_room_back() {
    let real = RealPlace::new();
    let mut log = real.place.open();
    grow_fast(&mut log);
    log.delete_old_segments(NOW_MS + 1).unwrap();
    assert_eq!(real.has_room_ahead(), real.can_reserve());
    let modified = |real: &RealPlace| std::fs::metadata(real.log_file()).unwrap().mtime();
    let before = modified(&real);
    log.delete_old_segments(NOW_MS + 60_000).unwrap();
    assert!(!real.has_room_ahead());
    assert_eq!(modified(&real), before);
    grow_fast(&mut log);
    assert_eq!(records(&log).len(), 14);
}
