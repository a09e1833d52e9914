//! A length on the wire reserves no memory beyond what the bytes that are there can fill.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use ottla_protocol::messages::every::every_message;
use ottla_protocol::messages::random::Random;

/// The system's allocator, which notes how much a thread holds and held at most.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static HELD_MAX: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came; what is added touches no memory
// but two counters of the thread.
#[expect(unsafe_code, reason = "only an allocator sees what is allocated")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.with(|held| {
            held.set(held.get().wrapping_add(layout.size()));
            HELD_MAX.with(|most| most.set(most.get().max(held.get())));
        });
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get().saturating_sub(layout.size())));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most that `action` held at once beyond what was held before.
pub(crate) fn held_max(action: impl FnOnce()) -> usize {
    let before = HELD.with(Cell::get);
    HELD_MAX.with(|most| most.set(before));
    action();
    HELD_MAX.with(Cell::get).saturating_sub(before)
}

/// The smallest structures take two bytes on the wire and some dozens in memory, and a vector
/// that grows holds twice what it has and what it had.
const BYTES_PER_BYTE_MAX: usize = 64;

fn assert_bounded(name: &str, version: i16, bytes: &Bytes, recode: impl FnOnce(Bytes)) {
    let held = held_max(|| recode(bytes.clone()));
    let allowed = 1024 + bytes.len() * BYTES_PER_BYTE_MAX;
    assert!(
        held <= allowed,
        "{name} version {version}: {held} bytes held for {bytes:?}"
    );
}

#[test]
fn claims_of_any_length_reserve_no_more_than_the_bytes_there_can_fill() {
    for message in every_message() {
        for version in message.versions.iter() {
            let mut random = Random::new(u64::from(version.unsigned_abs()));
            for _ in 0..20 {
                let mut bytes = (message.random)(&mut random, version).unwrap().to_vec();
                let claim = random.below(bytes.len() + 1);
                // A large length in either encoding, put over or between the bytes.
                let large: &[u8] = if random.bool() {
                    &[0x7f, 0xff, 0xff, 0xff]
                } else {
                    &[0xff, 0xff, 0xff, 0xff, 0x07]
                };
                if random.bool() {
                    bytes.splice(claim..claim, large.iter().copied());
                } else {
                    bytes.truncate(claim);
                    bytes.extend_from_slice(large);
                }
                assert_bounded(message.name, version, &bytes.into(), |bytes| {
                    drop((message.recode)(bytes, version));
                });
            }
        }
    }
}

#[test]
fn long_runs_of_one_byte_are_bounded_too() {
    for message in every_message() {
        for version in message.versions.iter() {
            for byte in [0, 1, 2, 3, 0x7f, 0xff] {
                let bytes = Bytes::from(vec![byte; 4096]);
                assert_bounded(message.name, version, &bytes, |bytes| {
                    drop((message.recode)(bytes, version));
                });
            }
        }
    }
}
