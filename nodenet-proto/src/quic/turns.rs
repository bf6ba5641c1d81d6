//! Turns of conns: which conn reads next and which transmits next, both round robin.
//!
//! Responsible for: the two queues, and that a conn stands in each at most once. A class of conns
//! that goes before others gets queues of its own here. Never: what a conn does in its turn.

use std::collections::VecDeque;

use crate::transport::ConnId;

/// The turns that a conn needs after a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Touched {
    /// The conn may have something to send, or its timers may have changed.
    pub(crate) transmit: bool,
    /// The conn may have something to read.
    pub(crate) readable: bool,
    /// Neither QUIC nor the engine needs the conn any more.
    pub(crate) over: bool,
}

/// The queues in which a conn stands. It lies in the conn, so that nothing is looked up, and only
/// [`Turns`] writes it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Queued {
    to_transmit: bool,
    to_read: bool,
}

impl Queued {
    /// Whether the conn has no turn to transmit, so that its timers are up to date.
    pub(crate) fn is_settled(self) -> bool {
        !self.to_transmit
    }
}

/// Conns that have a turn.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    transmit: VecDeque<ConnId>,
    read: VecDeque<ConnId>,
}

impl Turns {
    /// Gives a conn the turns that it needs, behind all others.
    #[inline]
    pub(crate) fn touch(&mut self, id: ConnId, queued: &mut Queued, touched: Touched) {
        if touched.transmit && !queued.to_transmit {
            queued.to_transmit = true;
            self.transmit.push_back(id);
        }
        if touched.readable && !queued.to_read {
            queued.to_read = true;
            self.read.push_back(id);
        }
    }

    /// The conn that transmits next. Its turn begins with [`Self::begin_transmit`].
    #[inline]
    pub(crate) fn next_to_transmit(&mut self) -> Option<ConnId> {
        self.transmit.pop_front()
    }

    /// The conn that reads next. Its turn begins with [`Self::begin_read`].
    pub(crate) fn next_to_read(&mut self) -> Option<ConnId> {
        self.read.pop_front()
    }

    /// What happens from now on needs another turn.
    pub(crate) fn begin_transmit(queued: &mut Queued) {
        queued.to_transmit = false;
    }

    /// What arrives from now on needs another turn.
    pub(crate) fn begin_read(queued: &mut Queued) {
        queued.to_read = false;
    }

    /// Whether no conn transmits.
    pub(crate) fn none_to_transmit(&self) -> bool {
        self.transmit.is_empty()
    }

    /// How many conns read.
    pub(crate) fn to_read(&self) -> usize {
        self.read.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Queued, Touched, Turns};
    use crate::transport::ConnId;

    #[test]
    fn a_conn_stands_in_a_queue_once_and_comes_behind_the_others_again() {
        let (mut turns, mut one, mut other) =
            (Turns::default(), Queued::default(), Queued::default());
        let both = Touched { transmit: true, readable: true, over: false };
        turns.touch(ConnId(1), &mut one, both);
        turns.touch(ConnId(2), &mut other, both);
        turns.touch(ConnId(1), &mut one, both);
        assert_eq!((turns.to_read(), one.is_settled()), (2, false));

        assert_eq!(turns.next_to_transmit(), Some(ConnId(1)));
        Turns::begin_transmit(&mut one);
        assert!(one.is_settled());
        turns.touch(ConnId(1), &mut one, Touched { transmit: true, ..Touched::default() });
        let rest: Vec<_> = std::iter::from_fn(|| turns.next_to_transmit()).collect();
        assert_eq!(rest, [ConnId(2), ConnId(1)]);
        assert!(turns.none_to_transmit());

        let reads: Vec<_> = std::iter::from_fn(|| turns.next_to_read()).collect();
        assert_eq!(reads, [ConnId(1), ConnId(2)]);
        turns.touch(ConnId(1), &mut one, both);
        assert_eq!(turns.to_read(), 0, "its turn has not begun");
        Turns::begin_read(&mut one);
        turns.touch(ConnId(1), &mut one, both);
        assert_eq!(turns.next_to_read(), Some(ConnId(1)));
    }
}
