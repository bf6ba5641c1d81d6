//! Routing: the forwarding decision, messages in transit, and messages that this node originates or
//! takes.
//!
//! Responsible for: where a routed message goes, and that each is taken once, fresh and signed.
//! Never: chooses edges, or answers questions.

pub mod decide;
pub mod duplicates;
mod forward;
mod originate;
mod skew;

use std::time::Instant;

use self::duplicates::Duplicates;
use self::skew::ClockSkewDetector;
use super::edges::budgets::Originators;
use crate::buf::HeadPool;
use crate::env::TokenBucket;
use crate::stats::Gauges;

pub(crate) use self::forward::Routed;
pub(crate) use self::originate::{
    DirectSend, FIRST_HOPS, Hop, Message, MultiPathSend, send, send_direct,
};

/// What routing remembers of messages.
pub(crate) struct Routing {
    duplicates: Duplicates,
    skew: ClockSkewDetector,
    originators: Originators,
    /// Detours beyond what each neighbour is sure of.
    detours: TokenBucket,
    heads: HeadPool,
}

impl Routing {
    /// No messages yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            duplicates: Duplicates::new(),
            skew: ClockSkewDetector::default(),
            originators: Originators::default(),
            detours: TokenBucket::new(now),
            heads: HeadPool::new(),
        }
    }

    /// Sets how full the tables of this room are.
    pub(crate) fn fill_gauges(&self, gauges: &mut Gauges) {
        gauges.originators = self.originators.count() as u64;
        gauges.duplicates = self.duplicates.len() as u64;
    }

    /// Asserts the invariants, here and below (THREATS.md#invariants).
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        self.originators.check();
        self.duplicates.check();
    }
}
