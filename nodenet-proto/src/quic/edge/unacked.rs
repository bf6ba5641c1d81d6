//! Frames that QUIC has not acknowledged, counted by the buffers that it still holds.
//!
//! quinn-proto reports no acknowledgement of stream data. It drops a buffer once every byte up to
//! its end is acknowledged. So the head of each counted frame lies in an allocation of its own, and
//! a second reference to it stays here. When that is the last one, the head is acknowledged, and
//! the allocation serves for another head. Nothing is allocated once as many heads exist as are in
//! flight at a time.
//!
//! A frame longer than its head counts until the head is acknowledged. Acknowledgements are taken
//! in the order of the stream, so at most one frame is then acknowledged in part.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::transport::UNACKED_MAX;

/// Bytes of a head, at most: a length prefix and a short first chunk (see [`super::send`]).
pub(crate) const HEAD_MAX: usize = 3 + 64;
/// Spare heads kept, at most: for the frames that sixteen busy conns have in flight (guess).
const SPARE_HEADS_MAX: usize = 16 * UNACKED_MAX;
/// Spare lists kept, at most (guess: conns that are busy at the same time).
const SPARE_LISTS_MAX: usize = 16;
/// Frames for which a new list has room. It grows to what its conn has in flight and keeps that.
const LIST_LEN: usize = 4;

/// Heads and lists that all conns share.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    heads: Vec<BytesMut>,
    #[expect(clippy::vec_box, reason = "they move between conns and pool")]
    lists: Vec<Box<VecDeque<Bytes>>>,
}

impl Spare {
    /// An empty buffer for a head, in an allocation of its own.
    fn head(&mut self) -> BytesMut {
        self.heads.pop().unwrap_or_else(|| {
            let mut head = BytesMut::with_capacity(HEAD_MAX + 1);
            // From a split on the buffer counts its references in an allocation that is kept as
            // long as the buffer is. Without one it would make one for every head.
            drop(head.split_off(HEAD_MAX));
            head
        })
    }
}

/// The heads of the frames of one conn that are not acknowledged, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Unacked {
    /// Absent while it would be empty, which is nearly always and on nearly every conn.
    #[expect(clippy::box_collection, reason = "in one piece that moves between conns and pool")]
    heads: Option<Box<VecDeque<Bytes>>>,
}

impl Unacked {
    /// Writes the head of a frame that counts from now on.
    #[inline]
    pub(crate) fn write(&mut self, spare: &mut Spare, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut head = spare.head();
        write(&mut head);
        debug_assert!(head.len() <= HEAD_MAX, "a longer head would move to another allocation");
        let head = head.freeze();
        let new = || Box::new(VecDeque::with_capacity(LIST_LEN));
        let heads = self.heads.get_or_insert_with(|| spare.lists.pop().unwrap_or_else(new));
        heads.push_back(head.clone());
        head
    }

    /// Forgets the frames that are acknowledged and returns how many there were.
    #[inline]
    pub(crate) fn observe(&mut self, spare: &mut Spare) -> usize {
        let Some(heads) = &mut self.heads else { return 0 };
        let before = heads.len();
        while heads.front().is_some_and(Bytes::is_unique) {
            let head = heads.pop_front().map(Bytes::try_into_mut);
            if let Some(Ok(mut head)) = head
                && spare.heads.len() < SPARE_HEADS_MAX
            {
                head.clear();
                spare.heads.push(head);
            }
        }
        let count = before - heads.len();
        if let Some(list) = self.heads.take_if(|heads| heads.is_empty())
            && spare.lists.len() < SPARE_LISTS_MAX
        {
            spare.lists.push(list);
        }
        count
    }

    /// Whether every frame is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_none()
    }

    /// Frames that are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.heads.as_ref().map_or(0, |heads| heads.len())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{HEAD_MAX, Spare, Unacked};

    fn write(unacked: &mut Unacked, spare: &mut Spare, byte: u8) -> Bytes {
        unacked.write(spare, |out| out.extend_from_slice(&[byte; HEAD_MAX]))
    }

    #[test]
    fn a_frame_counts_until_the_last_other_reference_to_its_head_is_gone() {
        let (mut unacked, mut spare) = (Unacked::default(), Spare::default());
        let first = write(&mut unacked, &mut spare, 1);
        let (part, second) = (first.slice(3..), write(&mut unacked, &mut spare, 2));
        assert_eq!((unacked.observe(&mut spare), unacked.len()), (0, 2));
        drop(first);
        assert_eq!(unacked.observe(&mut spare), 0, "a part of it is still held");
        drop(second);
        assert_eq!(unacked.observe(&mut spare), 0, "the order is that of the stream");
        drop(part);
        assert_eq!((unacked.observe(&mut spare), unacked.len()), (2, 0));
    }

    #[test]
    fn heads_in_flight_are_the_only_allocations() {
        let (mut unacked, mut spare) = (Unacked::default(), Spare::default());
        let mut flight: Vec<Bytes> = Vec::with_capacity(8);
        let mut round = |flight: &mut Vec<Bytes>| {
            flight.extend((0..8).map(|byte| write(&mut unacked, &mut spare, byte)));
            flight.clear();
            assert_eq!(unacked.observe(&mut spare), 8);
        };
        round(&mut flight);
        let allocated = allocation_counter::measure(|| {
            for _ in 0..100 {
                round(&mut flight);
            }
        });
        assert_eq!(allocated.count_total, 0);
    }
}
