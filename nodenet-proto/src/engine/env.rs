//! Environment of the machines of one engine: clocks, settings, keys, randomness and counters.

use std::sync::Arc;
use std::time::Instant;

use crate::api::{Config, SelfDescription};
use crate::context::Context;
use crate::env::{Crypto, OriginationClock, Random, Seed, UnixNanos, WallClock};
use crate::identity::Identity;
use crate::stats::Stats;
use crate::transport::Conns;
use crate::wire::envelope::AGE_MAX;

/// What the machines of one engine may use. It is a field of its own, so that a borrow of it does
/// not borrow the machines.
pub(super) struct Env {
    config: Arc<Config>,
    own: SelfDescription,
    identity: Identity,
    crypto: Box<dyn Crypto>,
    stats: Stats,
    now: Instant,
    wall: WallClock,
    stamps: OriginationClock,
    streams: Streams,
}

/// A random stream for each machine, so that a draw of one changes nothing for the others.
pub(super) struct Streams {
    pub(super) overlay: Random,
    pub(super) connect: Random,
    pub(super) rendezvous: Random,
    pub(super) nat: Random,
    pub(super) relay: Random,
}

impl Streams {
    fn new(seed: &Seed) -> Self {
        Self {
            // Another label is another run for the same seed.
            overlay: seed.stream("overlay"),
            connect: seed.stream("connect"),
            rendezvous: seed.stream("rendezvous"),
            nat: seed.stream("nat"),
            relay: seed.stream("relay"),
        }
    }
}

impl Env {
    pub(super) fn new(
        config: Arc<Config>,
        identity: Identity,
        crypto: Box<dyn Crypto>,
        seed: &Seed,
        now: Instant,
        wall: UnixNanos,
    ) -> Self {
        Self {
            own: SelfDescription::new(&config),
            config,
            identity,
            crypto,
            stats: Stats::default(),
            now,
            wall: WallClock::new(now, wall),
            stamps: OriginationClock::new(AGE_MAX),
            streams: Streams::new(seed),
        }
    }

    /// Advances the clock. A driver's clock that went backwards counts as one that stood still.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The wall clock differs from the time derived from elapsed time.
    pub(super) fn correct_wall(&mut self, wall: UnixNanos) {
        if self.wall.correct(self.now, wall) {
            self.stats.counters.wall_clock_setbacks += 1;
        }
    }

    /// What a machine may use in one call: the random stream that `of` picks, and `out` for its
    /// actions.
    #[inline]
    pub(super) fn context<'a, A>(
        &'a mut self,
        of: impl FnOnce(&'a mut Streams) -> &'a mut Random,
        out: &'a mut Vec<A>,
        paths: &'a dyn Conns,
    ) -> Context<'a, A> {
        Context {
            out,
            paths,
            now: self.now,
            wall: self.wall.at(self.now),
            config: &self.config,
            own: &mut self.own,
            rng: of(&mut self.streams),
            stats: &mut self.stats,
            crypto: &*self.crypto,
            identity: &self.identity,
            stamps: &mut self.stamps,
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What this node announces of itself.
    pub(super) fn own(&self) -> &SelfDescription {
        &self.own
    }

    /// The same, for what its operator keeps.
    pub(super) fn own_mut(&mut self) -> &mut SelfDescription {
        &mut self.own
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Takes the addresses at which the main socket can be reached, best first.
    pub(super) fn set_local_addrs(&mut self, addrs: &[std::net::SocketAddr]) {
        self.own.set_local_addrs(addrs);
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
