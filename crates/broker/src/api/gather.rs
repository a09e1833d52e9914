//! One response of many parts, each of which comes when it comes.

use std::sync::Arc;

use parking_lot::Mutex;

/// Collects the parts of a response, and gives them on, in order, once all are there.
pub(crate) struct Gather<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    parts: Vec<Option<T>>,
    missing: usize,
    done: Option<Box<dyn FnOnce(Vec<T>) + Send>>,
}

impl<T: Send + 'static> Gather<T> {
    /// Waits for `count` parts; if that is none, `done` is called at once.
    pub(crate) fn new(count: usize, done: impl FnOnce(Vec<T>) + Send + 'static) -> Arc<Gather<T>> {
        let mut gather = State {
            parts: (0..count).map(|_| None).collect(),
            missing: count,
            done: Some(Box::new(done)),
        };
        if count == 0
            && let Some(done) = gather.done.take()
        {
            done(Vec::new());
        }
        Arc::new(Gather {
            state: Mutex::new(gather),
        })
    }

    /// Takes the part of that index; each comes once.
    pub(crate) fn put(&self, index: usize, part: T) {
        let mut state = self.state.lock();
        if let Some(place @ None) = state.parts.get_mut(index) {
            *place = Some(part);
            state.missing -= 1;
        }
        if state.missing > 0 {
            return;
        }
        let parts = std::mem::take(&mut state.parts);
        let done = state.done.take();
        drop(state);
        if let Some(done) = done {
            done(parts.into_iter().flatten().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_any_order_and_go_in_theirs() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let gather = Gather::new(2, move |parts| sender.send(parts).unwrap());
        gather.put(1, "b");
        assert!(receiver.try_recv().is_err());
        gather.put(0, "a");
        assert_eq!(receiver.try_recv(), Ok(vec!["a", "b"]));
    }

    #[test]
    fn of_no_parts_the_response_is_there_at_once() {
        let (sender, receiver) = std::sync::mpsc::channel::<Vec<()>>();
        let _gather = Gather::new(0, move |parts| sender.send(parts).unwrap());
        assert_eq!(receiver.try_recv(), Ok(Vec::new()));
    }
}
