//! Event queue: a calendar queue with one total and reproducible order of events.
//!
//! Responsible for: ordering by time, then by the order of scheduling. Never: interprets an event.
//!
//! The calendar queue (R. Brown, CACM 31(10), 1988) has a heap behind it. The next four seconds are
//! a ring of buckets about a millisecond wide. A bucket is sorted only when its time comes, so
//! scheduling costs one push for any number of events. Later events wait in a heap and move into
//! the ring as it turns.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Moment;

/// Width of a bucket: 2^20 ns, about a millisecond. Tens of events are then in a bucket at 10,000
/// nodes (guess).
const BUCKET_SHIFT: u32 = 20;
/// Buckets in the ring: 4.3 s, beyond nearly every latency. A power of two.
const RING_LEN: u64 = 1 << 12;

#[derive(Debug, Clone, Copy)]
struct Entry<E> {
    at: u64,
    order: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A queue of events in order of time; events of one moment come in the order of scheduling.
#[derive(Debug)]
pub struct EventQueue<E> {
    /// The current bucket.
    cursor: u64,
    /// Its events, and all that are scheduled for its time or before.
    due: BinaryHeap<Reverse<Entry<E>>>,
    ring: Vec<Vec<Entry<E>>>,
    in_ring: usize,
    far: BinaryHeap<Reverse<Entry<E>>>,
    order: u64,
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self {
            cursor: 0,
            due: BinaryHeap::new(),
            ring: (0..RING_LEN).map(|_| Vec::new()).collect(),
            in_ring: 0,
            far: BinaryHeap::new(),
            order: 0,
        }
    }
}

impl<E> EventQueue<E> {
    /// An empty queue at the start of time.
    pub fn new() -> Self {
        Self::default()
    }

    /// Schedules `event` at `at`, behind all events that are scheduled for that moment.
    pub fn push(&mut self, at: Moment, event: E) {
        let entry = Entry { at: at.as_nanos(), order: self.order, event };
        self.order += 1;
        self.place(entry);
    }

    /// The time of the next event. Costs time only when a new bucket begins.
    pub fn next_at(&mut self) -> Option<Moment> {
        while self.due.is_empty() {
            self.turn()?;
        }
        self.due.peek().map(|Reverse(entry)| Moment::from_nanos(entry.at))
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<(Moment, E)> {
        self.next_at()?;
        let Reverse(entry) = self.due.pop()?;
        Some((Moment::from_nanos(entry.at), entry.event))
    }

    /// Number of events that wait.
    pub fn len(&self) -> usize {
        self.due.len() + self.in_ring + self.far.len()
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves on to the next bucket with an event; `None` if there is none.
    fn turn(&mut self) -> Option<()> {
        let far = self.far.peek().map(|Reverse(entry)| entry.at >> BUCKET_SHIFT);
        self.cursor = if self.in_ring > 0 {
            let near = (self.cursor..self.cursor + RING_LEN)
                .find(|bucket| !self.ring[(bucket % RING_LEN) as usize].is_empty())
                .expect("the ring holds something");
            far.map_or(near, |far| near.min(far))
        } else {
            far?
        };
        let bucket = &mut self.ring[(self.cursor % RING_LEN) as usize];
        self.in_ring -= bucket.len();
        self.due.extend(bucket.drain(..).map(Reverse));
        while let Some(Reverse(first)) = self.far.peek() {
            if first.at >> BUCKET_SHIFT >= self.cursor + RING_LEN {
                break;
            }
            let Reverse(first) = self.far.pop().expect("it was just looked at");
            self.place(first);
        }
        Some(())
    }

    fn place(&mut self, entry: Entry<E>) {
        let bucket = entry.at >> BUCKET_SHIFT;
        if bucket <= self.cursor {
            self.due.push(Reverse(entry));
        } else if bucket < self.cursor + RING_LEN {
            self.ring[(bucket % RING_LEN) as usize].push(entry);
            self.in_ring += 1;
        } else {
            self.far.push(Reverse(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::EventQueue;
    use crate::clock::Moment;

    #[test]
    fn events_of_one_moment_keep_the_order_of_scheduling() {
        let mut queue = EventQueue::new();
        for (at, event) in [(5, 'b'), (5, 'c'), (1, 'a'), (5, 'd')] {
            queue.push(Moment::from_secs(at), event);
        }
        let order: String = core::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, "abcd");
    }

    proptest! {
        /// Events near and far, scheduled also while others are taken, are sorted by (time, order
        /// of scheduling).
        #[test]
        fn the_order_is_that_of_a_stable_sort(
            steps in prop::collection::vec((0_u64..20_000_000_000, any::<bool>()), 1..300),
        ) {
            let mut queue = EventQueue::new();
            let mut waiting: Vec<(u64, usize)> = Vec::new();
            let mut now = 0;
            for (number, (delay, take)) in steps.into_iter().enumerate() {
                queue.push(Moment::from_nanos(now + delay), number);
                waiting.push((now + delay, number));
                prop_assert_eq!(queue.len(), waiting.len());
                if take {
                    waiting.sort();
                    let expected = waiting.remove(0);
                    let (at, event) = queue.pop().expect("one was just scheduled");
                    prop_assert_eq!((at.as_nanos(), event), expected);
                    now = at.as_nanos();
                }
            }
            waiting.sort();
            for expected in waiting {
                let (at, event) = queue.pop().expect("it still waits");
                prop_assert_eq!((at.as_nanos(), event), expected);
            }
            prop_assert!(queue.is_empty() && queue.pop().is_none());
        }
    }
}
