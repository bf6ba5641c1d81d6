//! Context of one handler call: time, randomness, settings, counters, keys, and the list that takes
//! actions.
//!
//! Every handler of a machine borrows a [`Context`] for the length of one call. The machine hands
//! its actions to [`Context::act`] and keeps no output of its own.

use std::time::Instant;

use crate::api::{Config, SelfDescription};
use crate::env::{Crypto, OriginationClock, Random, UnixNanos};
use crate::identity::Identity;
use crate::stats::{DropReason, Stats};
use crate::transport::Conns;
use crate::wire::envelope::Signer;

/// What one handler call may use. `A` is the machine's own action.
pub(crate) struct Context<'a, A> {
    /// Monotonic time of this call.
    pub(crate) now: Instant,
    /// Wall time of this call.
    pub(crate) wall: UnixNanos,
    /// The settings of this node.
    pub(crate) config: &'a Config,
    /// What this node announces of itself. A machine that observes a change of it writes it here at
    /// once, so that what the same call still sends is true.
    pub(crate) own: &'a mut SelfDescription,
    /// The paths of conns, read-only.
    pub(crate) paths: &'a dyn Conns,
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
    /// Stamps of the messages that this node originates.
    pub(crate) stamps: &'a mut OriginationClock,
}

impl<'a, A> Context<'a, A> {
    /// Adds an action, which the engine carries out once the call returns.
    pub(crate) fn act(&mut self, action: A) {
        self.out.push(action);
    }

    /// Discards input for `reason`, which is counted.
    pub(crate) fn discard(&mut self, reason: DropReason) {
        self.stats.count_drop(reason);
    }

    /// The stamp of a message that this node originates now.
    pub(crate) fn stamp(&mut self) -> UnixNanos {
        self.stamps.next(self.wall)
    }

    /// The signer of this node's messages.
    pub(crate) fn signer(&self) -> Signer<'a> {
        Signer { identity: self.identity, crypto: self.crypto }
    }
}

/// A context for tests of one machine.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod testing {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use super::Context;
    use crate::api::{Config, SelfDescription};
    use crate::buf::Frame;
    use crate::env::{Ed25519Crypto, OriginationClock, Random, Seed, UnixNanos, test_base};
    use crate::identity::Identity;
    use crate::stats::{DropReason, Stats};
    use crate::transport::{Class, ConnId, Conns, PathInfo, SendError};
    use crate::wire::envelope::AGE_MAX;

    /// The paths of conns, as a test sets them.
    #[derive(Debug, Default)]
    pub(crate) struct Paths(BTreeMap<ConnId, PathInfo>);

    impl Paths {
        /// The conn has this remote address and this round-trip time.
        pub(crate) fn set(&mut self, conn: ConnId, remote: SocketAddr, rtt: Duration) {
            self.0.insert(conn, PathInfo { remote, rtt });
        }
    }

    impl Conns for Paths {
        fn try_send(&mut self, _: ConnId, _: Class, frame: Frame) -> Result<(), SendError> {
            Err(SendError::Gone(frame))
        }

        fn path(&self, conn: ConnId) -> Option<PathInfo> {
            self.0.get(&conn).copied()
        }
    }

    /// All that a context borrows.
    pub(crate) struct Surroundings {
        pub(crate) now: Instant,
        pub(crate) wall: UnixNanos,
        pub(crate) config: Config,
        pub(crate) own: SelfDescription,
        pub(crate) paths: Paths,
        pub(crate) rng: Random,
        pub(crate) stats: Stats,
        pub(crate) identity: Identity,
        stamps: OriginationClock,
    }

    impl Surroundings {
        /// The surroundings of a node with this configuration, at the start of the test.
        pub(crate) fn new(config: Config) -> Self {
            Self {
                now: test_base(),
                wall: UnixNanos(1_000_000_000_000_000_000),
                own: SelfDescription::new(&config),
                config,
                paths: Paths::default(),
                rng: Seed::from_u64(1).stream("test"),
                stats: Stats::default(),
                identity: Identity::from_master_seed(&[0; 32]),
                stamps: OriginationClock::new(AGE_MAX),
            }
        }

        /// Calls a machine with a context. Returns its result and its actions.
        pub(crate) fn run<A, T>(
            &mut self,
            act: impl FnOnce(&mut Context<'_, A>) -> T,
        ) -> (T, Vec<A>) {
            let mut out = Vec::new();
            let mut cx = Context {
                now: self.now,
                wall: self.wall,
                config: &self.config,
                own: &mut self.own,
                paths: &self.paths,
                rng: &mut self.rng,
                stats: &mut self.stats,
                crypto: &Ed25519Crypto,
                identity: &self.identity,
                out: &mut out,
                stamps: &mut self.stamps,
            };
            let result = act(&mut cx);
            (result, out)
        }

        /// The input discarded since the last call: each reason with its count.
        pub(crate) fn take_drops(&mut self) -> Vec<(DropReason, u64)> {
            let stats = std::mem::take(&mut self.stats);
            let counts = DropReason::ALL.iter().map(|&reason| (reason, stats.drops(reason)));
            counts.filter(|(_, count)| *count > 0).collect()
        }

        /// Advances both clocks.
        pub(crate) fn pass(&mut self, span: Duration) {
            self.now += span;
            self.wall.0 += span.as_nanos() as i64;
        }
    }

    impl Default for Surroundings {
        fn default() -> Self {
            Self::new(Config::default())
        }
    }
}
