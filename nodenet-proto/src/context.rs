//! Context of one handler call: time, randomness, counters, keys, and the list that takes actions.
//!
//! Every handler of a machine borrows a [`Context`] for the length of one call. What the machine
//! wants done it hands to [`Context::act`]; it keeps no output of its own.

use std::time::Instant;

use crate::env::{Crypto, Random, UnixNanos};
use crate::identity::Identity;
use crate::stats::{DropReason, Stats};

/// What one handler call may use. `A` is the machine's own action.
pub(crate) struct Context<'a, A> {
    /// Monotonic time of this call.
    pub(crate) now: Instant,
    /// Wall time of this call.
    pub(crate) wall: UnixNanos,
    /// This machine's random stream.
    pub(crate) rng: &'a mut Random,
    /// Counters; the only way to discard input is [`Context::discard`].
    pub(crate) stats: &'a mut Stats,
    /// Hash, sign, verify.
    pub(crate) crypto: &'a dyn Crypto,
    /// The keys of this node.
    pub(crate) identity: &'a Identity,
    /// Takes the actions of this call, in order.
    pub(crate) out: &'a mut Vec<A>,
}

impl<A> Context<'_, A> {
    /// Has something done once the call returns.
    pub(crate) fn act(&mut self, action: A) {
        self.out.push(action);
    }

    /// Discards input for `reason`, which is counted.
    pub(crate) fn discard(&mut self, reason: DropReason) {
        self.stats.count_drop(reason);
    }
}
