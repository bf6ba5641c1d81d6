//! Frame decoder of a stream of bytes (PROTOCOL.md#framing).
//!
//! A frame is a length, as unsigned LEB128 in at most ten bytes, and that many bytes. The bytes
//! stay where they arrived; a frame is a chain of slices. That pins whole datagrams, so a frame of
//! many small chunks is copied into one piece.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::buf::Frame;
use crate::transport::FRAME_MAX;

/// Bytes of a length prefix, at most (PROTOCOL.md#framing).
const PREFIX_MAX: u32 = 10;
/// Memory that a chunk of received stream data is charged with, at least: it pins the datagram it
/// came in (the largest that is accepted, rounded up to what an allocator hands out).
pub(crate) const CHUNK_COST: usize = 1536;
/// A frame may pin this much more than twice its length before it is copied: a frame in datagrams
/// of any honest size stays below.
const PINNED_SLACK: usize = 24 * 1024;

/// The stream does not follow the framing, or declares a frame that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadPrefix;

/// Turns chunks of a stream into frames.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
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
    pub(crate) fn push(&mut self, chunk: Bytes) {
        assert!(self.rest.is_empty(), "chunks are taken one by one");
        self.rest = chunk;
    }

    /// The next whole frame, if the bytes so far contain one. A new frame uses storage from
    /// `spare`.
    #[inline]
    pub(crate) fn poll_frame(
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

    /// Whether nothing is held back.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_partial() && self.rest.is_empty()
    }

    /// Whether a frame was begun and is not complete.
    pub(crate) fn is_partial(&self) -> bool {
        self.prefix_len > 0 || self.missing.is_some()
    }

    /// Bytes held for frames that are not complete.
    pub(crate) fn buffered(&self) -> usize {
        self.frame.len() + self.rest.len()
    }

    /// How many frames were copied into one piece since the last call.
    pub(crate) fn take_coalesced(&mut self) -> u64 {
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
pub(crate) fn write_prefix(mut length: usize, into: &mut [u8; 3]) -> usize {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hex_literal::hex;

    use super::{BadPrefix, Receiver, write_prefix};
    use crate::transport::FRAME_MAX;

    /// Feeds `stream` in pieces of `piece` bytes; returns the frames and how it ended.
    fn feed(stream: &[u8], piece: usize) -> (Vec<Bytes>, Result<(), BadPrefix>) {
        let (mut receiver, mut frames) = (Receiver::default(), Vec::new());
        for chunk in stream.chunks(piece) {
            receiver.push(Bytes::copy_from_slice(chunk));
            loop {
                match receiver.poll_frame(&mut Vec::new()) {
                    Ok(Some(frame)) => frames.push(frame.to_bytes()),
                    Ok(None) => break,
                    Err(bad) => return (frames, Err(bad)),
                }
            }
        }
        (frames, Ok(()))
    }

    #[test]
    fn known_streams_give_known_frames_however_they_are_cut() {
        type Known = (&'static [u8], &'static [&'static [u8]], Result<(), BadPrefix>);
        let known: [Known; 13] = [
            (&hex!(""), &[], Ok(())),
            (&hex!("00"), &[b""], Ok(())),
            (&hex!("03010200"), &[&hex!("010200")], Ok(())),
            (&hex!("02616203636465"), &[b"ab", b"cde"], Ok(())),
            // Longer encodings of a length than it needs.
            (&hex!("82006869"), &[b"hi"], Ok(())),
            (&hex!("82808080808080808000 6869"), &[b"hi"], Ok(())),
            // Cut off in a frame and in a length.
            (&hex!("077061796c"), &[], Ok(())),
            (&hex!("80"), &[], Ok(())),
            // 65,537; 2^64 - 1; beyond 64 bits; beyond ten bytes.
            (&hex!("818004"), &[], Err(BadPrefix)),
            (&hex!("ffffffffffffffffff01"), &[], Err(BadPrefix)),
            (&hex!("ffffffffffffffffff02"), &[], Err(BadPrefix)),
            (&hex!("8080808080808080808080"), &[], Err(BadPrefix)),
            (&hex!("026f6b818004"), &[b"ok"], Err(BadPrefix)),
        ];
        for (stream, frames, end) in known {
            for piece in 1..=stream.len().max(1) {
                let (got, got_end) = feed(stream, piece);
                assert_eq!(
                    (got_end, got),
                    (end, frames.iter().map(|frame| Bytes::from_static(frame)).collect()),
                    "{stream:02x?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn known_lengths_have_known_prefixes_that_are_read_back() {
        let known: [(usize, &[u8]); 10] = [
            (0, &hex!("00")),
            (1, &hex!("01")),
            (3, &hex!("03")),
            (127, &hex!("7f")),
            (128, &hex!("8001")),
            (300, &hex!("ac02")),
            (16_383, &hex!("ff7f")),
            (16_384, &hex!("808001")),
            (65_535, &hex!("ffff03")),
            (FRAME_MAX, &hex!("808004")),
        ];
        for (len, prefix) in known {
            let mut bytes = [0xa5; 3];
            let count = write_prefix(len, &mut bytes);
            assert_eq!(&bytes[..count], prefix, "{len}");
            let stream = [prefix, &vec![0x5a; len]].concat();
            let (frames, end) = feed(&stream, 1200);
            assert_eq!((frames.len(), frames[0].len(), end), (1, len, Ok(())));
        }
    }

    #[test]
    fn a_whole_frame_in_one_chunk_stays_where_it_is() {
        let chunk = Bytes::from_static(b"\x03abc\x02de");
        let mut receiver = Receiver::default();
        receiver.push(chunk.clone());
        let first = receiver.poll_frame(&mut Vec::new()).expect("good").expect("whole");
        let second = receiver.poll_frame(&mut Vec::new()).expect("good").expect("whole");
        assert!(!receiver.is_partial() && receiver.buffered() == 0);
        assert_eq!(first.first().as_ptr(), chunk[1..].as_ptr());
        assert_eq!(second.first().as_ptr(), chunk[5..].as_ptr());
    }

    #[test]
    fn what_a_frame_in_progress_pins_is_bounded_by_its_length() {
        let mut receiver = Receiver::default();
        receiver.push(Bytes::from_static(&[0x80, 0x80, 0x04]));
        assert!(receiver.poll_frame(&mut Vec::new()).is_ok_and(|frame| frame.is_none()));
        for len in 1..4000 {
            receiver.push(Bytes::from_static(&[7]));
            assert!(receiver.poll_frame(&mut Vec::new()).is_ok_and(|frame| frame.is_none()));
            assert_eq!(receiver.buffered(), len);
            assert!(receiver.frame.chunk_count() <= 24, "at most 24 datagrams");
        }
        assert!(receiver.is_partial());
    }
}
