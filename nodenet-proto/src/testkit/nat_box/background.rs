//! Other hosts behind a NAT box: new flows at a mean rate, for the ports that they take.
//!
//! Responsible for: when each flow begins, and its header. Never: a datagram on the network. The
//! box makes their mappings before it looks at the next datagram from inside, which is the first
//! one that can tell.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Header;
use crate::env::{Random, Seed};

/// The other hosts (a guess: a household or two, each below the limits of a carrier).
const HOSTS: u64 = 8;
/// In each of these a flow begins or none: a Poisson process, as far as that counts.
const TICK: Duration = Duration::from_millis(1);
/// Of them in a second.
const TICKS_PER_S: u64 = 1_000;

/// New flows of other hosts.
#[derive(Debug)]
pub(super) struct Background {
    per_s: u64,
    tick: Instant,
    random: Random,
}

impl Background {
    /// Flows from now on.
    pub(super) fn new(now: Instant, per_s: u32, seed: &Seed) -> Self {
        Self { per_s: per_s.into(), tick: now, random: seed.stream("background") }
    }

    /// The next flow that begins until now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Instant, Header)> {
        while self.tick + TICK <= now {
            self.tick += TICK;
            if self.random.below(TICKS_PER_S) < self.per_s {
                return Some((self.tick, self.header()));
            }
        }
        None
    }

    /// A flow from one of the hosts to a destination in a network that no test has.
    fn header(&mut self) -> Header {
        let [host, port, high, low] = [HOSTS, 1 << 14, 256, 256].map(|b| self.random.below(b));
        let from: IpAddr = [192, 168, 77, 1 + host as u8].into();
        let to: IpAddr = [45, host as u8, high as u8, low as u8].into();
        let from = SocketAddr::new(from, 49_152 + port as u16);
        Header::new(from, SocketAddr::new(to, 443))
    }
}
