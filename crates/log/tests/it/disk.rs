//! The two disks do the same, and the one in memory forgets what it may.

use std::path::Path;
use std::sync::Arc;

use ottla_log::disk::{OpenMode, SyncFault};
use ottla_log::{Disk, FileRegion, MemoryDisk, RealDisk};

use crate::model::config;

fn both(test: impl Fn(&Arc<dyn Disk>, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    test(&RealDisk::shared(), directory.path());
    let memory = MemoryDisk::new().shared();
    memory.create_directory(Path::new("/d")).unwrap();
    test(&memory, Path::new("/d"));
}

#[test]
fn files_are_written_read_and_renamed_alike() {
    both(|disk, directory| {
        let path = directory.join("a/b");
        assert_eq!(
            disk.open(&path, OpenMode::Create).unwrap_err().kind(),
            std::io::ErrorKind::NotFound
        );
        disk.create_directory_durably(&directory.join("a")).unwrap();
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        assert!(disk.open(&path, OpenMode::CreateNew).is_err());
        file.write_vectored_at(&[b"he", b"", b"llo"], 2).unwrap();
        let mut buffer = [9; 10];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 7);
        assert_eq!(&buffer[..7], b"\0\0hello");
        assert_eq!(file.read_at(&mut buffer, 7).unwrap(), 0);
        file.set_length(4).unwrap();
        file.set_length(6).unwrap();
        assert_eq!(disk.read(&path).unwrap().unwrap(), b"\0\0he\0\0");
        let renamed = directory.join("c");
        disk.rename(&path, &renamed).unwrap();
        assert!(!disk.exists(&path).unwrap());
        let names: Vec<String> = disk
            .list(directory)
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(names, ["a", "c"]);
        let region = FileRegion {
            file,
            position: 2,
            length: 2,
        };
        disk.remove_file(&renamed).unwrap();
        assert_eq!(&region.read().unwrap()[..], b"he");
        assert!(
            FileRegion {
                position: 5,
                ..region
            }
            .read()
            .is_err()
        );
        disk.replace(&renamed, b"new").unwrap();
        assert_eq!(disk.metadata(&renamed).unwrap().unwrap().length, 3);
        assert!(disk.remove_directory(directory).is_err());
        disk.remove_directory_with_content(directory).unwrap();
        assert!(!disk.exists(directory).unwrap());
        assert!(disk.space(Path::new("/")).unwrap().usable_bytes > 0);
    });
}

#[test]
fn a_crash_keeps_what_was_synced_and_may_tear_what_was_not() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..u64::from(config(200).cases) {
        let memory = MemoryDisk::new();
        let disk = memory.shared();
        let (kept, lost) = (Path::new("/kept"), Path::new("/lost"));
        let file = disk.open(kept, OpenMode::Create).unwrap();
        file.write_at(b"synced", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_directory(Path::new("/")).unwrap();
        file.write_at(b"--unsynced", 6).unwrap();
        disk.open(lost, OpenMode::Create)
            .unwrap()
            .sync_data()
            .unwrap();
        memory.crash(seed);
        assert!(file.read_at(&mut [0], 0).is_err(), "the handle is dead");
        let content = disk.read(kept).unwrap().unwrap();
        assert_eq!(&content[..6], b"synced");
        outcomes.insert((content, disk.exists(lost).unwrap()));
    }
    assert!(outcomes.iter().any(|(content, _)| content == b"synced"));
    assert!(
        outcomes
            .iter()
            .any(|(content, _)| content == b"synced--unsynced")
    );
    assert!(
        outcomes.iter().any(|(content, _)| content.ends_with(b"\0")),
        "torn"
    );
    assert!(outcomes.iter().any(|(_, exists)| *exists));
    assert!(outcomes.iter().any(|(_, exists)| !*exists));
}

#[test]
fn what_a_failed_sync_dropped_never_becomes_durable() {
    let memory = MemoryDisk::new();
    let disk = memory.shared();
    let path = Path::new("/file");
    let file = disk.open(path, OpenMode::Create).unwrap();
    disk.sync_directory(Path::new("/")).unwrap();
    file.write_at(b"lost", 0).unwrap();
    memory.set_sync_fault(SyncFault::Once(0));
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(disk.read(path).unwrap().unwrap(), b"lost");
    memory.crash(1);
    assert_eq!(disk.read(path).unwrap().unwrap(), b"");
}

#[test]
fn faults_are_those_of_a_device() {
    let memory = MemoryDisk::new();
    let disk = memory.shared();
    let file = disk.open(Path::new("/file"), OpenMode::Create).unwrap();
    memory.set_capacity_bytes(4);
    let error = file.write_at(b"12345", 0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    file.write_at(b"1234", 0).unwrap();
    file.set_length(1 << 30).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().usable_bytes, 0);
    file.set_length(0).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().usable_bytes, 4);
    memory.set_unreadable(Some("file"));
    assert!(file.read_at(&mut [0], 0).is_err());
    memory.set_unreadable(None);
    assert_eq!(file.read_at(&mut [0], 0).unwrap(), 0);
}
