//! A priority queue that gives what is equal in the order in which Java's does.

/// A binary heap, the least on top.
#[derive(Debug)]
pub(super) struct PriorityQueue<T> {
    heap: Vec<T>,
    is_less: fn(&T, &T) -> bool,
}

impl<T> PriorityQueue<T> {
    /// Of what `is_less` puts in order.
    pub(super) fn new(is_less: fn(&T, &T) -> bool) -> Self {
        Self {
            heap: Vec::new(),
            is_less,
        }
    }

    /// Puts one in: it rises past those that it is less than.
    pub(super) fn push(&mut self, item: T) {
        self.heap.push(item);
        let mut at = self.heap.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if !(self.is_less)(&self.heap[at], &self.heap[parent]) {
                break;
            }
            self.heap.swap(at, parent);
            at = parent;
        }
    }

    /// Takes the least: the last takes its place, and sinks below those that are less than it.
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.heap.is_empty() {
            return None;
        }
        let least = self.heap.swap_remove(0);
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.heap.len() {
                break;
            }
            // Of two that are equal it is the left one.
            let is_right =
                right < self.heap.len() && (self.is_less)(&self.heap[right], &self.heap[left]);
            let child = if is_right { right } else { left };
            if !(self.is_less)(&self.heap[child], &self.heap[at]) {
                break;
            }
            self.heap.swap(at, child);
            at = child;
        }
        Some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_comes_out_as_from_java() {
        let mut queue = PriorityQueue::new(|a: &(i32, char), b: &(i32, char)| a.0 < b.0);
        for item in [(1, 'a'), (0, 'b'), (1, 'c'), (0, 'd'), (1, 'e'), (0, 'f')] {
            queue.push(item);
        }
        let mut order = String::new();
        while let Some((_, name)) = queue.pop() {
            order.push(name);
        }
        // As java.util.PriorityQueue gives them.
        assert_eq!(order, "bdfaec");
        assert!(queue.pop().is_none());
    }
}
