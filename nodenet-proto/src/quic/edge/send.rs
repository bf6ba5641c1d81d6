//! Send queues of one conn, and the frame that is being written.
//!
//! Queues of whole frames, one for each [`Class`], each with a cap on the memory its frames pin; a
//! more urgent class goes first. One frame at a time is being written: once QUIC has its first
//! byte, the rest must follow before any other frame of any class. A frame leaves as the chunks it
//! came in, behind a fresh chunk with the length prefix. Frames of the paced classes have a second
//! bound: [`UNACKED_MAX`] of them, from their queue to the acknowledgement of the peer.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use quinn_proto::{SendStream, WriteError};

use super::receive::{CHUNK_COST, Receiver, write_prefix};
use super::unacked::{self, Unacked};
use crate::buf::{Frame, HeadPool};
use crate::transport::{Class, UNACKED_MAX};

/// Memory that a queue may pin, by class (guess: twice and four times the largest frame; one
/// Leave). A queue that is empty takes any frame.
pub(crate) const QUEUE_MAX: [usize; Class::ALL.len()] = [128 * 1024, 256 * 1024, 256 * 1024, 256];
/// Memory that a chunk is charged with, at least, by class. A forwarded chunk pins a datagram; one
/// that was written here pins only its own allocation.
const CHUNK_COST_MIN: [usize; Class::ALL.len()] = [256, 256, CHUNK_COST, 256];
/// A first chunk up to this long is copied behind the length prefix, because QUIC's buffer searches
/// linearly through the chunks. It takes in a forwarder's fresh head (38 bytes) and small control
/// frames.
const FIRST_CHUNK_MAX: usize = 64;

/// The peer takes no more of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// What QUIC took in one go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Frames of which it has every byte now.
    pub(crate) frames: u64,
    /// Bytes, length prefixes included.
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    cost: usize,
    /// A frame was refused for lack of room since the queue was last found to have some.
    refused: bool,
}

/// One queue for each class. In one piece that moves between conns and pool.
type Queues = Box<[Queue; Class::ALL.len()]>;

/// The send side of one conn.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    /// Absent while nothing waits, which is nearly always and on nearly every conn.
    queues: Option<Queues>,
    /// The frame being written, as far as QUIC has not taken it.
    writing: Option<VecDeque<Bytes>>,
    /// QUIC takes nothing until it reports that it does.
    blocked: bool,
    /// Paced frames that wait or are not acknowledged.
    paced: u8,
    /// A paced frame was refused for their number since half of it was last found free.
    paced_refused: bool,
    /// Those of them that have a head.
    unacked: Unacked,
}

impl Sender {
    /// Queues a frame, or gives it back if its class has no room.
    #[inline]
    pub(crate) fn push(
        &mut self,
        class: Class,
        frame: Frame,
        pool: &mut Pool,
    ) -> Result<(), Frame> {
        let paced_max = UNACKED_MAX - class.leaves_free(UNACKED_MAX);
        if class.is_paced() && usize::from(self.paced) >= paced_max {
            self.paced_refused = true;
            return Err(frame);
        }
        // It would be taken out of its queue at once.
        if self.queues.is_none() && self.writing.is_none() && !self.blocked {
            self.writing = Some(pool.head(class, frame, &mut self.unacked));
            self.paced += u8::from(class.is_paced());
            return Ok(());
        }
        let queues = self.queues.get_or_insert_with(|| pool.queues.pop().unwrap_or_default());
        let queue = &mut queues[class as usize];
        let cost = cost(class, &frame);
        if !queue.frames.is_empty() && queue.cost + cost > QUEUE_MAX[class as usize] {
            queue.refused = true;
            return Err(frame);
        }
        queue.cost += cost;
        queue.frames.push_back(frame);
        self.paced += u8::from(class.is_paced());
        Ok(())
    }

    /// Hands QUIC as much as it takes.
    #[inline]
    pub(crate) fn flush(
        &mut self,
        mut stream: SendStream<'_>,
        pool: &mut Pool,
    ) -> Result<Progress, Refused> {
        let mut progress = Progress::default();
        while !self.blocked {
            if self.writing.is_none() {
                let next = self.next_frame(pool);
                self.writing =
                    next.map(|(class, frame)| pool.head(class, frame, &mut self.unacked));
            }
            let Some(chunks) = &mut self.writing else { break };
            match stream.write_chunks(chunks.make_contiguous()) {
                Ok(written) => {
                    progress.bytes += written.bytes;
                    chunks.drain(..written.chunks);
                }
                Err(WriteError::Blocked) => self.blocked = true,
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return Err(Refused),
            }
            if chunks.is_empty() {
                progress.frames += 1;
                pool.recycle(self.writing.take().unwrap_or_default());
            }
        }
        Ok(progress)
    }

    /// Notes what the peer acknowledged. Returns the number of paced frames among it.
    #[inline]
    pub(crate) fn observe_acks(&mut self, pool: &mut Pool) -> u8 {
        if self.unacked.is_empty() {
            return 0;
        }
        let acked = self.unacked.observe(&mut pool.unacked) as u8;
        self.paced -= acked;
        acked
    }

    /// Progress that acknowledgements of `acked` frames show. While QUIC takes nothing they show
    /// none: only what QUIC takes shows whether the peer reads.
    pub(crate) fn ack_progress(&self, acked: u8) -> Progress {
        match self.blocked {
            true => Progress::default(),
            false => Progress { frames: acked.into(), bytes: 0 },
        }
    }

    /// QUIC takes more.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Whether a frame waits for the peer: QUIC takes nothing of it, or it was refused because too
    /// many others are not acknowledged.
    pub(crate) fn is_stuck(&self) -> bool {
        (self.blocked && self.writing.is_some()) || self.paced_refused
    }

    /// Whether everything was handed to QUIC.
    pub(crate) fn is_idle(&self) -> bool {
        self.writing.is_none() && self.waiting().all(|queue| queue.frames.is_empty())
    }

    /// Whether what refused a frame has room again: half its cap. True once.
    pub(crate) fn take_writable(&mut self) -> bool {
        let has_acks = usize::from(self.paced) <= UNACKED_MAX / 2;
        let mut writable = self.paced_refused && has_acks;
        self.paced_refused &= !has_acks;
        for (queue, max) in
            self.queues.iter_mut().flat_map(|queues| queues.iter_mut()).zip(QUEUE_MAX)
        {
            if queue.refused && queue.cost <= max / 2 {
                queue.refused = false;
                writable = true;
            }
        }
        writable
    }

    /// Frames that QUIC has not taken, or not to the end.
    pub(crate) fn unsent(&self) -> usize {
        let waiting = self.waiting().map(|queue| queue.frames.len());
        usize::from(self.writing.is_some()) + waiting.sum::<usize>()
    }

    /// Bytes of frames that QUIC has not taken.
    pub(crate) fn queued(&self) -> usize {
        let writing = self.writing.iter().flatten().map(Bytes::len).sum::<usize>();
        let waiting = self.waiting().flat_map(|queue| &queue.frames).map(Frame::len);
        writing + waiting.sum::<usize>()
    }

    /// Asserts that the sums agree.
    pub(crate) fn check(&self) {
        let paced =
            Class::ALL.into_iter().zip(self.waiting()).filter(|(class, _)| class.is_paced());
        let waiting: usize = paced.map(|(_, queue)| queue.frames.len()).sum();
        assert_eq!(usize::from(self.paced), waiting + self.unacked.len());
        assert!(usize::from(self.paced) <= UNACKED_MAX);
        for (class, queue) in Class::ALL.into_iter().zip(self.waiting()) {
            let sum: usize = queue.frames.iter().map(|frame| cost(class, frame)).sum();
            assert_eq!(sum, queue.cost, "a queue costs what its frames cost");
            assert!(queue.cost <= QUEUE_MAX[class as usize] || queue.frames.len() == 1);
        }
    }

    /// The queues, most urgent first; none while nothing waits.
    fn waiting(&self) -> impl Iterator<Item = &Queue> {
        self.queues.iter().flat_map(|queues| queues.iter())
    }

    /// The most urgent frame that waits. Without one the queues go back to the pool.
    fn next_frame(&mut self, pool: &mut Pool) -> Option<(Class, Frame)> {
        let queues = self.queues.as_mut()?;
        for (class, queue) in Class::ALL.into_iter().zip(queues.iter_mut()) {
            if let Some(frame) = queue.frames.pop_front() {
                queue.cost -= cost(class, &frame);
                return Some((class, frame));
            }
        }
        let is_awaited = queues.iter().any(|queue| queue.refused);
        if let Some(queues) = self.queues.take_if(|_| !is_awaited)
            && pool.queues.len() < SPARE_QUEUES_MAX
        {
            pool.queues.push(queues);
        }
        None
    }
}

/// The memory a waiting frame pins, roughly.
fn cost(class: Class, frame: &Frame) -> usize {
    frame.len().max(frame.chunk_count() * CHUNK_COST_MIN[class as usize])
}

/// Spare lists of chunks kept, at most: enough for a turn's frames and their successors (guess).
const SPARE_MAX: usize = 256;
/// Spare queues kept, at most: for as many conns as are congested at a time (guess).
const SPARE_QUEUES_MAX: usize = 16;
/// Spare receivers kept, at most: for as many conns as are in the middle of a frame at a time
/// (guess).
const SPARE_RECEIVERS_MAX: usize = 64;

/// Storage that all conns share, so that passing a frame on allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Lists of chunks without chunks.
    pub(crate) spare: Vec<VecDeque<Bytes>>,
    /// Queues in which nothing waits.
    queues: Vec<Queues>,
    /// Receivers that hold nothing.
    #[expect(clippy::vec_box, reason = "they move between conns and pool")]
    pub(crate) receivers: Vec<Box<Receiver>>,
    heads: HeadPool,
    unacked: unacked::Spare,
}

impl Pool {
    /// Keeps the storage of a frame that is gone.
    pub(crate) fn recycle(&mut self, mut chunks: VecDeque<Bytes>) {
        if self.spare.len() < SPARE_MAX && chunks.capacity() > 0 {
            chunks.clear();
            self.spare.push(chunks);
        }
    }

    /// Keeps a receiver that holds nothing.
    pub(crate) fn keep_receiver(&mut self, receiver: Box<Receiver>) {
        if self.receivers.len() < SPARE_RECEIVERS_MAX {
            self.receivers.push(receiver);
        }
    }

    /// The chunks of a frame, with the length prefix in front. A paced frame counts from now on.
    #[inline]
    fn head(&mut self, class: Class, frame: Frame, unacked: &mut Unacked) -> VecDeque<Bytes> {
        let mut prefix = [0; 3];
        let prefix_len = write_prefix(frame.len(), &mut prefix);
        let mut chunks = frame.into_chunks();
        let first = match chunks.front() {
            Some(first) if first.len() <= FIRST_CHUNK_MAX => chunks.pop_front().unwrap_or_default(),
            _ => Bytes::new(),
        };
        let write = |out: &mut BytesMut| {
            out.extend_from_slice(&prefix[..prefix_len]);
            out.extend_from_slice(&first);
        };
        chunks.push_front(match class.is_paced() {
            true => unacked.write(&mut self.unacked, write),
            false => self.heads.write(prefix_len + first.len(), write),
        });
        chunks
    }
}
