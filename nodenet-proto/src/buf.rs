//! Frame buffer: a chain of chunks, so that forwarding copies no payload byte.

use core::ops::Range;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// The bytes of one frame, in as many pieces as they arrived in.
///
/// Frames pass between transport and engine in this form. A forwarder rewrites a head by replacing
/// bytes at the front, without a copy of the rest.
#[derive(Debug, Default, Clone)]
pub struct Frame {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl Frame {
    /// An empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty frame that uses the storage of `chunks`, which is emptied first.
    pub fn with_storage(mut chunks: VecDeque<Bytes>) -> Self {
        chunks.clear();
        Self { chunks, len: 0 }
    }

    /// The chunks, to be written out; gives back the storage too.
    pub fn into_chunks(self) -> VecDeque<Bytes> {
        self.chunks
    }

    /// Length in bytes, all chunks together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of chunks.
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// The chunks in order.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.chunks.iter()
    }

    /// Appends a chunk. An empty chunk is ignored.
    #[inline]
    pub fn push_back(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Puts a chunk in front. An empty chunk is ignored.
    #[inline]
    pub fn push_front(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_front(chunk);
        }
    }

    /// Takes `count` bytes off the front.
    ///
    /// # Panics
    /// If the frame is shorter than that.
    #[inline]
    pub fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "a frame cannot be shortened by more than its length");
        self.len -= count;
        while count > 0 {
            let first = self.chunks.front_mut().expect("the chunks add up to the length");
            if first.len() > count {
                let _ = first.split_to(count);
                return;
            }
            count -= first.len();
            self.chunks.pop_front();
        }
    }

    /// Cuts everything behind the first `len` bytes off.
    pub fn truncate(&mut self, len: usize) {
        while self.len > len {
            let last = self.chunks.back_mut().expect("the chunks add up to the length");
            let keep = last.len().saturating_sub(self.len - len);
            self.len -= last.len() - keep;
            if keep == 0 {
                self.chunks.pop_back();
            } else {
                last.truncate(keep);
            }
        }
    }

    /// Copies bytes from `offset` on into `into` and returns how many there were, at most its
    /// length.
    pub fn copy_to(&self, mut offset: usize, into: &mut [u8]) -> usize {
        let mut filled = 0;
        for chunk in &self.chunks {
            if offset >= chunk.len() {
                offset -= chunk.len();
                continue;
            }
            let part = &chunk[offset..];
            let count = part.len().min(into.len() - filled);
            into[filled..filled + count].copy_from_slice(&part[..count]);
            filled += count;
            offset = 0;
            if filled == into.len() {
                break;
            }
        }
        filled
    }

    /// The bytes in `range`, as the pieces that they lie in.
    pub fn slices(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        self.chunks.iter().map(move |chunk| {
            let start = range.start.saturating_sub(at).min(chunk.len());
            let end = range.end.saturating_sub(at).clamp(start, chunk.len());
            at += chunk.len();
            &chunk[start..end]
        })
    }

    /// The first chunk's bytes; empty if the frame is empty.
    pub fn first(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk)
    }

    /// All bytes in one piece. Copies unless there is only one chunk.
    pub fn to_bytes(&self) -> Bytes {
        if self.chunks.len() == 1 {
            return self.chunks[0].clone();
        }
        let mut all = BytesMut::with_capacity(self.len);
        for chunk in &self.chunks {
            all.extend_from_slice(chunk);
        }
        all.freeze()
    }
}

/// A frame of one chunk.
impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        let mut frame = Self::new();
        frame.push_back(bytes);
        frame
    }
}

/// Bytes that [`HeadPool`] takes from the allocator at a time: some 400 heads. Small enough that a
/// head in a slow peer's queue pins little memory (guess).
const SLAB_LEN: usize = 16 * 1024;
/// Slabs of [`HeadPool`]. All of them together hold the heads of a round trip at 30,000 frames per
/// second and 50 ms (guess).
const SLABS: usize = 4;

/// Memory for the heads of forwarded frames, a few bytes each, used over and over.
///
/// A ring of slabs. A slab is written from front to back; when it is full, the next slab is taken.
/// That slab is free as soon as the last head in it was sent. If a slow peer's queue still holds a
/// head in it, the slab is left to that queue and replaced. Only then does the pool allocate.
/// Memory pinned besides its own slabs is bounded by the heads written while the oldest frame waits
/// in a send queue.
#[derive(Debug, Default)]
pub struct HeadPool {
    slabs: [BytesMut; SLABS],
    current: usize,
}

impl HeadPool {
    /// A pool that takes memory when it is first used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns up to `len` bytes that `write` wrote.
    #[inline]
    pub(crate) fn write(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        debug_assert!(len <= SLAB_LEN, "a head is far smaller than a slab");
        if self.slabs[self.current].capacity() < len {
            self.current = (self.current + 1) % SLABS;
            let next = &mut self.slabs[self.current];
            if !next.try_reclaim(SLAB_LEN) {
                *next = BytesMut::with_capacity(SLAB_LEN);
            }
        }
        let slab = &mut self.slabs[self.current];
        write(slab);
        slab.split().freeze()
    }
}
