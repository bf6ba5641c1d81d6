//! Keyed timers: setting replaces, stopping cancels, the next deadline is known in O(1).
//!
//! An indexed binary heap over a slab. Re-arming a key that is already set allocates nothing. Entries
//! with equal deadlines fire in the order in which they were set, so a run is reproducible.

use std::hash::Hash;
use std::time::Instant;

use indexmap::IndexMap;

#[derive(Debug, Clone, Copy)]
struct Entry<K> {
    deadline: Instant,
    order: u64,
    key: K,
}

/// A queue of timers, at most one for each key.
#[derive(Debug, Clone)]
pub struct TimerQueue<K> {
    heap: Vec<Entry<K>>,
    position: IndexMap<K, usize>,
    order: u64,
}

impl<K: Copy + Eq + Hash> Default for TimerQueue<K> {
    fn default() -> Self {
        Self { heap: Vec::new(), position: IndexMap::new(), order: 0 }
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
        let entry = Entry { deadline, order: self.order, key };
        match self.position.get(&key) {
            Some(&at) => {
                self.heap[at] = entry;
                let at = self.sift_up(at);
                self.sift_down(at);
            }
            None => {
                self.heap.push(entry);
                self.position.insert(key, self.heap.len() - 1);
                self.sift_up(self.heap.len() - 1);
            }
        }
    }

    /// Cancels the timer of `key`, if it is set.
    pub fn stop(&mut self, key: &K) {
        if let Some(at) = self.position.swap_remove(key) {
            self.remove_at(at);
        }
    }

    /// The deadline of `key`, if it is set.
    pub fn deadline(&self, key: &K) -> Option<Instant> {
        self.position.get(key).map(|&at| self.heap[at].deadline)
    }

    /// The next timer due, if any is set.
    pub fn peek(&self) -> Option<(Instant, K)> {
        self.heap.first().map(|entry| (entry.deadline, entry.key))
    }

    /// Takes one timer whose deadline is at or before `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let first = self.heap.first()?;
        if first.deadline > now {
            return None;
        }
        let key = first.key;
        self.stop(&key);
        Some(key)
    }

    /// The keys of the timers that are set, in no order that means anything.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.position.keys()
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
    /// If they do not hold, which is a bug here.
    pub fn check(&self) {
        assert_eq!(self.heap.len(), self.position.len());
        for (at, entry) in self.heap.iter().enumerate() {
            assert_eq!(self.position.get(&entry.key), Some(&at));
            assert!(at == 0 || !Self::before(entry, &self.heap[(at - 1) / 2]));
        }
    }

    fn before(a: &Entry<K>, b: &Entry<K>) -> bool {
        (a.deadline, a.order) < (b.deadline, b.order)
    }

    fn remove_at(&mut self, at: usize) {
        self.heap.swap_remove(at);
        if at < self.heap.len() {
            self.position.insert(self.heap[at].key, at);
            let at = self.sift_up(at);
            self.sift_down(at);
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.position.insert(self.heap[a].key, a);
        self.position.insert(self.heap[b].key, b);
    }

    fn sift_up(&mut self, mut at: usize) -> usize {
        while at > 0 && Self::before(&self.heap[at], &self.heap[(at - 1) / 2]) {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        at
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && Self::before(&self.heap[child], &self.heap[least]) {
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
