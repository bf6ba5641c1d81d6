//! Frames out of a stream of bytes (spec 40 §5.3).
//!
//! A frame is a length, as unsigned LEB128 in at most ten bytes, and that many bytes. The bytes stay
//! where they arrived; a frame is a chain of slices. That pins whole datagrams, so a frame whose
//! chunks are many and small is copied into one piece.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::profile::CHUNK_COST;
use crate::transport::Frame;
use crate::wire::FRAME_MAX;

/// Bytes of a length prefix, at most (spec 40 §5.3).
const PREFIX_MAX: u32 = 10;
/// A frame may pin this much more than twice its length before it is copied: a frame in datagrams of
/// any honest size stays below.
const PINNED_SLACK: usize = 24 * 1024;

/// The stream does not follow the framing, or declares a frame that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPrefix;

/// Turns chunks of a stream into frames.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// What of the last chunk was not looked at yet.
    rest: Bytes,
    /// The length as far as it was read.
    length: u64,
    /// Bytes of the length that were read.
    prefix_len: u32,
    /// Bytes that the frame still lacks; nothing while its length is being read.
    missing: Option<usize>,
    frame: Frame,
    /// Frames that were copied into one piece.
    coalesced: u64,
}

impl Receiver {
    /// Takes the next chunk.
    ///
    /// # Panics
    /// If the last one was not used up: [`Self::poll_frame`] must have returned nothing.
    pub(super) fn push(&mut self, chunk: Bytes) {
        assert!(self.rest.is_empty(), "chunks are taken one by one");
        self.rest = chunk;
    }

    /// The next whole frame, if the bytes so far contain one. A new frame uses storage from `spare`.
    pub(super) fn poll_frame(
        &mut self,
        spare: &mut Vec<VecDeque<Bytes>>,
    ) -> Result<Option<Frame>, BadPrefix> {
        let missing = match self.missing {
            Some(missing) => missing,
            None => match self.read_length()? {
                Some(length) => {
                    self.frame = spare.pop().map(Frame::with_storage).unwrap_or_default();
                    length
                }
                None => return Ok(None),
            },
        };
        let part = match missing.min(self.rest.len()) {
            count if count == self.rest.len() => std::mem::take(&mut self.rest),
            count => self.rest.split_to(count),
        };
        let missing = missing - part.len();
        self.frame.push_back(part);
        self.coalesce();
        if missing > 0 {
            self.missing = Some(missing);
            return Ok(None);
        }
        self.missing = None;
        Ok(Some(std::mem::take(&mut self.frame)))
    }

    /// Whether a frame was begun and is not complete.
    pub(super) fn is_partial(&self) -> bool {
        self.prefix_len > 0 || self.missing.is_some()
    }

    /// Bytes held for frames that are not complete.
    pub(super) fn buffered(&self) -> usize {
        self.frame.len() + self.rest.len()
    }

    /// How many frames were copied into one piece since the last call.
    pub(super) fn take_coalesced(&mut self) -> u64 {
        std::mem::take(&mut self.coalesced)
    }

    fn read_length(&mut self) -> Result<Option<usize>, BadPrefix> {
        while self.rest.has_remaining() {
            let byte = self.rest.get_u8();
            // The tenth byte carries bit 63 and nothing above it, and no eleventh may follow.
            if self.prefix_len == PREFIX_MAX - 1 && byte > 1 {
                return Err(BadPrefix);
            }
            self.length |= u64::from(byte & 0x7f) << (7 * self.prefix_len);
            self.prefix_len += 1;
            if byte & 0x80 == 0 {
                let length = usize::try_from(self.length).map_err(|_| BadPrefix)?;
                if length > FRAME_MAX {
                    return Err(BadPrefix);
                }
                self.length = 0;
                self.prefix_len = 0;
                return Ok(Some(length));
            }
        }
        Ok(None)
    }

    /// Copies the frame so far into one piece when its chunks pin far more than they hold.
    fn coalesce(&mut self) {
        if self.frame.chunk_count() * CHUNK_COST > 2 * self.frame.len() + PINNED_SLACK {
            self.coalesced += 1;
            self.frame = Frame::from(self.frame.to_bytes());
        }
    }
}

/// Writes the shortest length prefix of a frame and returns how many bytes it has.
pub(super) fn write_prefix(mut length: usize, into: &mut [u8; 3]) -> usize {
    let mut count = 0;
    loop {
        let more = length > 0x7f;
        into[count] = (length & 0x7f) as u8 | (u8::from(more) << 7);
        count += 1;
        if !more {
            return count;
        }
        length >>= 7;
    }
}
