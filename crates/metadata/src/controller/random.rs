use ottla_protocol::Uuid;

/// Where the controller's random numbers come from: a seed in tests, the system in production.
pub trait Random {
    /// The next number, any with the same probability.
    fn next_u64(&mut self) -> u64;
}

/// A number below `bound`, which must not be 0.
pub(super) fn below(random: &mut dyn Random, bound: usize) -> usize {
    let bound = bound as u64;
    // The bias of the remainder is far below anything that a placement could show.
    usize::try_from(random.next_u64() % bound).unwrap_or(0)
}

/// Puts the items into a random order (Fisher and Yates).
pub(super) fn shuffle<T>(random: &mut dyn Random, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(random, last + 1));
    }
}

/// A new id for a topic. An id whose text starts with a dash would look like an option on a
/// command line, so those are passed over.
pub(super) fn topic_id(random: &mut dyn Random) -> Uuid {
    loop {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        let id = Uuid::from_random_bytes(bytes);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}
