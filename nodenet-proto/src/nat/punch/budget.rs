//! Limits of punches by what caused them, by peer, by destination and in all
//! (PROTOCOL.md#punch-bursts).
//!
//! Responsible for: whether a destination may get so many datagrams. Never: when they leave.
//!
//! A peer chooses where punches go. A host that never answered therefore gets few bytes beyond
//! three times those of the messages that named it: who wants it flooded does better alone.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use indexmap::IndexMap;

use crate::NodeId;
use crate::addr::Subnet;
use crate::env::{CounterHash, Rate, TokenBucket};
use crate::wire::nat::PUNCH_DATAGRAM;

/// Bursts that one originator causes (a guess: one attempt and its repetitions).
const OF_ORIGINATOR: Rate = Rate::new(1, 4);
/// Binds of one volunteer (a guess: at once as many as it has sessions to one node).
const OF_VOLUNTEER: Rate = Rate::new(4, 16);
/// Datagrams to one subnet because volunteers there bind (a guess: those of two volunteers at
/// once, then those of one).
const TO_SUBNET_OF_BINDS: Rate = Rate::new(20, 160);
/// Datagrams to one subnet at ports that peers there predict (a guess: those of one block).
const TO_SUBNET_OF_SWEEPS: Rate = Rate::new(20, 200);
/// Datagrams to one subnet (a guess: one whole burst, then 128 bytes a second).
const TO_SUBNET: Rate = Rate::new(4, 48);
/// Datagrams of all bursts of one cause together (a guess).
const OF_CAUSE: Rate = Rate::new(200, 1000);
/// Buckets of each kind that are not full.
pub(crate) const BUCKETS_MAX: usize = 256;

/// Bytes that may go to a host for each byte of a message that names it: as an address that is not
/// validated may get of QUIC (RFC 9000 §8.1).
pub(crate) const RETURNED: u64 = 3;
/// Tokens of a byte in the budgets of hosts, which are given in bytes an hour.
const TOKENS_OF_BYTE: u64 = 3600;
/// Bytes beyond those to a host that never answered, because Connects named it: at once, and again
/// within an hour. With [`BY_ATTEMPTS`] that is 4 KiB in any hour.
const BY_CONNECTS: u64 = 512;
/// The same because this node wants to connect.
const BY_ATTEMPTS: u64 = 1536;

/// Headers of a UDP datagram over IPv4 (RFC 791, RFC 768), and over IPv6 (RFC 8200).
const HEADERS: [u64; 2] = [20 + 8, 40 + 8];

/// The limits of one cause of bursts.
#[derive(Debug)]
pub(crate) struct Budget {
    /// By originator or volunteer; none for what this node wants itself.
    originators: Option<Buckets<NodeId>>,
    subnets: Buckets<Subnet>,
    /// By host that never answered.
    unvalidated: Buckets<IpAddr>,
    all: TokenBucket,
}

/// What names the targets of a burst.
pub(crate) struct Naming<'a> {
    /// Bytes of the message.
    pub(crate) len: usize,
    /// Whether a host has proved that it is there.
    pub(crate) is_validated: &'a dyn Fn(IpAddr) -> bool,
    /// What is left for each host of the message's own bytes.
    left: BTreeMap<IpAddr, u64>,
}

impl<'a> Naming<'a> {
    /// A message of this length.
    pub(crate) fn new(len: usize, is_validated: &'a dyn Fn(IpAddr) -> bool) -> Self {
        Self { len, is_validated, left: BTreeMap::new() }
    }
}

impl Budget {
    /// The limits of bursts that answer.
    pub(crate) fn of_answers(now: Instant) -> Self {
        Self {
            originators: Some(Buckets::new(OF_ORIGINATOR)),
            subnets: Buckets::new(TO_SUBNET),
            unvalidated: Buckets::new(Rate::at_most(BY_CONNECTS, BY_CONNECTS * TOKENS_OF_BYTE)),
            all: TokenBucket::new(now),
        }
    }

    /// The limits of bursts that this node wants.
    pub(crate) fn of_attempts(now: Instant) -> Self {
        Self {
            originators: None,
            unvalidated: Buckets::new(Rate::at_most(BY_ATTEMPTS, BY_ATTEMPTS * TOKENS_OF_BYTE)),
            ..Self::of_answers(now)
        }
    }

    /// The limits of bursts that volunteers ask for.
    pub(crate) fn of_binds(now: Instant) -> Self {
        Self {
            originators: Some(Buckets::new(OF_VOLUNTEER)),
            subnets: Buckets::new(TO_SUBNET_OF_BINDS),
            ..Self::of_answers(now)
        }
    }

    /// The limits of sweeps. A host that never answered gets nothing beyond what messages bring.
    pub(crate) fn of_sweeps(now: Instant) -> Self {
        Self {
            subnets: Buckets::new(TO_SUBNET_OF_SWEEPS),
            unvalidated: Buckets::new(Rate::at_most(1, 0)),
            ..Self::of_answers(now)
        }
    }

    /// Whether a burst for `peer` may begin.
    pub(crate) fn take_burst(&mut self, now: Instant, peer: NodeId) -> bool {
        self.originators.as_mut().is_none_or(|buckets| buckets.take(now, peer, 1))
    }

    /// Whether `count` datagrams may go to `remote`, which are then charged.
    pub(crate) fn take_target(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        count: u64,
        named: &mut Naming<'_>,
    ) -> bool {
        self.all.holds(now, OF_CAUSE, count)
            && self.subnets.take(now, Subnet::of(remote.ip()), count)
            && self.take_bytes(now, remote.ip(), count * datagram_len(remote), named)
            && self.all.take(now, OF_CAUSE, count)
    }

    /// Charges first what the message brought, then the budget of the host.
    fn take_bytes(&mut self, now: Instant, ip: IpAddr, bytes: u64, named: &mut Naming<'_>) -> bool {
        if (named.is_validated)(ip) {
            return true;
        }
        let left = named.left.entry(ip).or_insert(RETURNED * named.len as u64);
        let beyond = bytes.saturating_sub(*left);
        if beyond > 0 && !self.unvalidated.take(now, ip, beyond * TOKENS_OF_BYTE) {
            return false;
        }
        *left -= bytes - beyond;
        true
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If they do not hold, which is a bug here.
    pub(crate) fn check(&self) {
        let originators = self.originators.as_ref().map_or(0, |buckets| buckets.buckets.len());
        let others = [self.subnets.buckets.len(), self.unvalidated.buckets.len()];
        assert!(others.into_iter().chain([originators]).all(|len| len <= BUCKETS_MAX));
    }
}

/// Bytes of one punch on the wire.
pub(crate) fn datagram_len(remote: SocketAddr) -> u64 {
    HEADERS[usize::from(remote.is_ipv6())] + PUNCH_DATAGRAM.len() as u64
}

/// Buckets of one rate by key. Full ones are not kept; if all places are taken, nothing new is
/// allowed, because a key costs nothing to make.
#[derive(Debug)]
struct Buckets<K> {
    rate: Rate,
    buckets: IndexMap<K, TokenBucket, CounterHash>,
}

impl<K: Hash + Eq> Buckets<K> {
    fn new(rate: Rate) -> Self {
        Self { rate, buckets: IndexMap::default() }
    }

    fn take(&mut self, now: Instant, key: K, count: u64) -> bool {
        if !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| bucket.full_at() > now);
            if self.buckets.len() >= BUCKETS_MAX {
                return false;
            }
            // A crowd of them is rare, as when a node joins.
            self.buckets.shrink_to(2 * self.buckets.len());
        }
        let bucket = self.buckets.entry(key).or_insert_with(|| TokenBucket::new(now));
        bucket.take(now, self.rate, count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::env::test_base;

    fn later(secs: u64) -> Instant {
        test_base() + Duration::from_secs(secs)
    }

    #[test]
    fn new_keys_bring_no_fresh_budget_when_all_places_are_taken() {
        let mut buckets = Buckets::new(Rate::new(1, 1));
        for number in 0..BUCKETS_MAX {
            assert!(buckets.take(later(0), number, 1));
        }
        assert!(!buckets.take(later(0), BUCKETS_MAX, 1));
        assert!(buckets.take(later(2), BUCKETS_MAX, 1), "the others are full again");
    }

    /// Bytes that leave for one host in an hour if a datagram is tried every second, by cause.
    fn sent_in_an_hour(mut budget: Budget, len: usize, is_validated: bool) -> u64 {
        let remote = SocketAddr::from(([203, 0, 113, 7], 1));
        let mut sent = 0;
        for secs in 0..3600 {
            let is_validated = |_: IpAddr| is_validated;
            let mut named = Naming::new(len, &is_validated);
            if budget.take_target(later(secs), remote, 1, &mut named) {
                sent += datagram_len(remote);
            }
        }
        budget.check();
        sent
    }

    /// THREATS.md#e8
    #[test]
    fn a_host_that_never_answered_gets_four_kibibytes_an_hour_for_nothing() {
        let of = [Budget::of_answers, Budget::of_attempts];
        let nothing = of.map(|of| sent_in_an_hour(of(later(0)), 0, false));
        assert_eq!(nothing, [1_024 - 32, 3_072 - 32], "{nothing:?}");
        // Three times the length of a message that names the host may go there because of it.
        let little = of.map(|of| sent_in_an_hour(of(later(0)), 10, false));
        let credit = 3 * 10 * 3600;
        assert!(little.iter().zip(nothing).all(|(sent, free)| *sent <= free + 32 + credit));
        let enough = of.map(|of| sent_in_an_hour(of(later(0)), 11, false));
        assert_eq!(enough, [3600 * 32; 2]);
        let answered = of.map(|of| sent_in_an_hour(of(later(0)), 0, true));
        assert_eq!(answered, [3600 * 32; 2]);
    }
}
