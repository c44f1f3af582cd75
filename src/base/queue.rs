//! Queues that do not keep the memory of their longest moment: a program may hold ten thousand nodes.

use std::collections::VecDeque;

/// Bytes that an empty queue keeps: room for four of the largest events, which most turns do not exceed. Giving it back
/// each time would cost a node that answers more than it saves.
const KEPT: usize = 1024;

/// Takes the first of a queue. One that is empty then gives its room back, unless that is little.
#[inline]
pub fn take_first<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front()?;
    if queue.is_empty() && queue.capacity() * size_of::<T>() > KEPT {
        *queue = VecDeque::new();
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_queue_is_small() {
        let mut queue: VecDeque<u64> = (0..100).collect();
        assert!((0..100).all(|n| take_first(&mut queue) == Some(n)));
        assert!(queue.capacity() * size_of::<u64>() <= KEPT);
        queue.push_back(7);
        assert_eq!((take_first(&mut queue), take_first(&mut queue)), (Some(7), None));
    }
}
