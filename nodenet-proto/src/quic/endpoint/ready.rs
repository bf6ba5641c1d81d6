//! Ready queue of datagrams that belong to no conn. QUIC writes version negotiation, Retry, refusal
//! and reset while it takes input; the engine asks for punches, some with a TTL of their own.

use std::collections::VecDeque;

use quinn_proto::Transmit;

/// Datagrams that wait, at most; further ones are dropped, as by a network (guess: a burst of
/// handshakes).
pub(crate) const READY_MAX: usize = 64;

/// The queue. It uses its buffers again.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    waiting: VecDeque<(Transmit, Option<u8>, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
}

impl Ready {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// An empty buffer to write into.
    #[inline]
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Queues what was written, if anything. Returns false if it had to be dropped.
    #[inline]
    pub(crate) fn push(
        &mut self,
        transmit: Option<Transmit>,
        ttl: Option<u8>,
        bytes: Vec<u8>,
    ) -> bool {
        match transmit {
            Some(transmit) if self.waiting.len() < READY_MAX => {
                self.waiting.push_back((transmit, ttl, bytes));
                true
            }
            Some(_) => {
                self.keep(bytes);
                false
            }
            None => {
                self.keep(bytes);
                true
            }
        }
    }

    /// Writes the oldest one into `into`, and returns it with its TTL.
    #[inline]
    pub(crate) fn pop(&mut self, into: &mut Vec<u8>) -> Option<(Transmit, Option<u8>)> {
        let (transmit, ttl, bytes) = self.waiting.pop_front()?;
        into.extend_from_slice(&bytes[..transmit.size]);
        self.keep(bytes);
        Some((transmit, ttl))
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        if self.spare.len() < READY_MAX {
            self.spare.push(bytes);
        }
    }
}
