//! Keyed timer queue: setting replaces, stopping cancels, the next deadline is found in O(1).
//!
//! It is a binary heap of deadlines, and a map from key to position in the heap. Setting looks a
//! key up once, and the deadlines to compare are contiguous in memory. Re-arming a key that is
//! already set allocates nothing. Entries with equal deadlines fire in the order in which they were
//! set, so a run is reproducible.

use std::hash::Hash;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::CounterHash;
use super::counter_hash::reserve_one;

/// A timer that is set. Ordered by deadline, then by the order of setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Armed {
    deadline: Offset,
    order: u64,
    /// Index of its entry in the map.
    index: u32,
}

/// Nanoseconds from the origin of a queue, at most 292 years: half of an `Instant`, and compared at
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Offset(i64);

impl Offset {
    fn new(origin: Instant, at: Instant) -> Self {
        let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Self(match at.checked_duration_since(origin) {
            Some(after) => nanos(after),
            None => -nanos(origin.saturating_duration_since(at)),
        })
    }

    fn instant(self, origin: Instant) -> Instant {
        let span = Duration::from_nanos(self.0.unsigned_abs());
        let at = if self.0 < 0 { origin.checked_sub(span) } else { origin.checked_add(span) };
        at.expect("it was made of an instant")
    }
}

/// A queue of timers, at most one for each key. Keys consist of counters and names of this process,
/// never of values that a peer chooses.
#[derive(Debug, Clone)]
pub struct TimerQueue<K> {
    /// Position in the heap of the timer of each key.
    positions: IndexMap<K, u32, CounterHash>,
    /// The timer that fires first is in front.
    heap: Vec<Armed>,
    /// The deadline that was set first.
    origin: Option<Instant>,
    order: u64,
}

impl<K: Copy + Eq + Hash> Default for TimerQueue<K> {
    fn default() -> Self {
        Self { positions: IndexMap::default(), heap: Vec::new(), origin: None, order: 0 }
    }
}

impl<K: Copy + Eq + Hash> TimerQueue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the timer of `key`, replacing one that is set.
    pub fn set(&mut self, key: K, deadline: Instant) {
        self.order += 1;
        let order = self.order;
        let deadline = Offset::new(*self.origin.get_or_insert(deadline), deadline);
        if let Some((index, _, &position)) = self.positions.get_full(&key) {
            let at = position as usize;
            self.heap[at] = Armed { deadline, order, index: index as u32 };
            let at = self.sift_up(at);
            self.sift_down(at);
        } else {
            let (index, at) = (self.positions.len() as u32, self.heap.len());
            self.heap.push(Armed { deadline, order, index });
            reserve_one(&mut self.positions);
            self.positions.insert(key, at as u32);
            self.sift_up(at);
        }
    }

    /// Cancels the timer of `key`, if it is set.
    pub fn stop(&mut self, key: &K) {
        let Some((index, _, position)) = self.positions.swap_remove_full(key) else { return };
        // The last entry of the map moved into the gap.
        if let Some((_, &moved)) = self.positions.get_index(index) {
            self.heap[moved as usize].index = index as u32;
        }
        let at = position as usize;
        self.heap.swap_remove(at);
        if at < self.heap.len() {
            self.settle(at);
            let at = self.sift_up(at);
            self.sift_down(at);
        }
    }

    /// The deadline of `key`, if it is set.
    pub fn deadline(&self, key: &K) -> Option<Instant> {
        let at = *self.positions.get(key)?;
        Some(self.heap[at as usize].deadline.instant(self.origin?))
    }

    /// The next timer due, if any is set.
    pub fn peek(&self) -> Option<(Instant, K)> {
        let first = self.heap.first()?;
        let (key, _) = self.positions.get_index(first.index as usize)?;
        Some((first.deadline.instant(self.origin?), *key))
    }

    /// Takes one timer whose deadline is at or before `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (deadline, key) = self.peek()?;
        if deadline > now {
            return None;
        }
        self.stop(&key);
        Some(key)
    }

    /// The keys of the timers that are set, in unspecified order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.positions.keys()
    }

    /// Number of timers that are set.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Asserts the invariants of the heap and its index.
    ///
    /// # Panics
    /// If they do not hold, which is a bug in this module.
    pub fn check(&self) {
        assert_eq!(self.heap.len(), self.positions.len());
        for (at, armed) in self.heap.iter().enumerate() {
            assert_eq!(self.positions[armed.index as usize] as usize, at);
            assert!(at == 0 || *armed > self.heap[(at - 1) / 2]);
        }
    }

    /// Stores the position of the timer at `at` in the map.
    fn settle(&mut self, at: usize) {
        self.positions[self.heap[at].index as usize] = at as u32;
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.settle(a);
        self.settle(b);
    }

    fn sift_up(&mut self, mut at: usize) -> usize {
        while at > 0 && self.heap[at] < self.heap[(at - 1) / 2] {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        at
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.heap[child] < self.heap[least] {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::TimerQueue;

    #[derive(Debug, Clone)]
    enum Step {
        Set(u8, u16),
        Stop(u8),
        Pop(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_u8, any::<u16>()).prop_map(|(key, at)| Step::Set(key, at % 50)),
            (0..20_u8).prop_map(Step::Stop),
            any::<u16>().prop_map(|now| Step::Pop(now % 50)),
        ]
    }

    proptest! {
        /// After any sequence of set, replace and stop, the earliest deadline fires first. Of equal
        /// deadlines the timer that was set first fires first.
        #[test]
        fn timers_fire_in_order(steps in prop::collection::vec(step(), 1..200)) {
            #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made of numbers")]
            let base = Instant::now();
            let at = |number: u16| base + Duration::from_millis(u64::from(number));
            let mut queue = TimerQueue::new();
            let mut model: BTreeMap<u8, (u16, usize)> = BTreeMap::new();
            for (order, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Set(key, number) => {
                        queue.set(key, at(number));
                        model.insert(key, (number, order));
                    }
                    Step::Stop(key) => {
                        queue.stop(&key);
                        model.remove(&key);
                    }
                    Step::Pop(now) => {
                        let first = model.iter().min_by_key(|(_, at)| **at);
                        let due = first.filter(|(_, (number, _))| *number <= now);
                        let due = due.map(|(key, _)| *key);
                        prop_assert_eq!(queue.pop_due(at(now)), due);
                        due.map(|key| model.remove(&key));
                    }
                }
                queue.check();
                prop_assert_eq!(queue.len(), model.len());
                let next = model.values().min().map(|(number, _)| at(*number));
                prop_assert_eq!(queue.peek().map(|(deadline, _)| deadline), next);
            }
        }
    }
}
