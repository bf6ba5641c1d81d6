//! What the machines of one engine may know of the world.

use std::time::Instant;

use crate::context::Context;
use crate::env::{Crypto, Random, Seed, UnixNanos, WallClock};
use crate::identity::Identity;
use crate::overlay::Action;
use crate::stats::Stats;

/// Clocks, keys, randomness and counters of one node. A field of its own in the engine, so that
/// lending it does not lend the machines.
pub(super) struct Env {
    identity: Identity,
    crypto: Box<dyn Crypto>,
    stats: Stats,
    now: Instant,
    wall: WallClock,
    overlay: Random,
}

impl Env {
    pub(super) fn new(
        identity: Identity,
        crypto: Box<dyn Crypto>,
        seed: &Seed,
        now: Instant,
        wall: UnixNanos,
    ) -> Self {
        Self {
            identity,
            crypto,
            stats: Stats::default(),
            now,
            wall: WallClock::new(now, wall),
            overlay: seed.stream("overlay"),
        }
    }

    /// Time goes on. A driver whose clock went backwards is taken to have stood still.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The wall clock shows something else than was derived from elapsed time.
    pub(super) fn correct_wall(&mut self, wall: UnixNanos) {
        if self.wall.correct(self.now, wall) {
            self.stats.counters.wall_clock_setbacks += 1;
        }
    }

    /// What the overlay may use in one call.
    pub(super) fn overlay_context<'a>(
        &'a mut self,
        out: &'a mut Vec<Action>,
    ) -> Context<'a, Action> {
        Context {
            out,
            now: self.now,
            wall: self.wall.at(self.now),
            rng: &mut self.overlay,
            stats: &mut self.stats,
            crypto: &*self.crypto,
            identity: &self.identity,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(super) fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }
}
