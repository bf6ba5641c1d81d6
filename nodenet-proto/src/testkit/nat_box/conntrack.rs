//! Connection tracking and NAT of Linux (netfilter) for UDP, as measured with kernel 6.18.
//!
//! Responsible for: which entry a datagram belongs to, which source a new flow gets, when an entry
//! ends. What was measured, and what follows for a peer, is in docs/SIMULATOR.md.
//!
//! # What differs from the terms of RFC 4787
//! An entry is one flow: two tuples of source and destination, that of the first datagram and that
//! of its answers. There is no mapping beside the flows. A new flow keeps its port if the tuple of
//! its answers is free; else it gets the source of the newest flow of the same socket; else a
//! random port. So the mapping is endpoint-independent until something else has the tuple: another
//! inside host with that port at that destination, or a datagram from outside to the router itself.
//! An entry that is over passes nothing, but lends its source until it is collected. A datagram
//! to a forwarded port whose tuple of answers is taken, because the host has a flow to that peer,
//! gets another source port inside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::NatDrop;
use super::config::{LinuxConfig, SourceRule};
use crate::env::{Random, Seed};
use crate::testkit::fate;

/// An entry younger than this counts as a question with its answer, however much passes.
const STREAM_AFTER: Duration = Duration::from_secs(2);
/// Ports that are tried for a new flow before the number of tries is halved.
const ATTEMPTS_MAX: u64 = 128;
/// Below so many tries no further round is made.
const ATTEMPTS_MIN: u64 = 16;

/// Source and destination of datagrams in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tuple {
    from: SocketAddr,
    to: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// As the first datagram went.
    Original,
    /// As the answers go.
    Reply,
}

#[derive(Debug)]
struct Entry {
    original: Tuple,
    reply: Tuple,
    /// Whether the first datagram came from inside.
    is_outbound: bool,
    began: Instant,
    is_answered: bool,
    /// When it is over.
    ends: Instant,
}

#[derive(Debug)]
pub(super) struct Conntrack {
    config: LinuxConfig,
    external: Vec<IpAddr>,
    salt: u64,
    random: Random,
    next_id: u64,
    entries: BTreeMap<u64, Entry>,
    /// Both tuples of every entry.
    by_tuple: BTreeMap<Tuple, (u64, Direction)>,
    /// Translated flows by inside socket, the newest last.
    by_source: BTreeMap<SocketAddr, BTreeSet<u64>>,
    /// When an entry is to be looked at: no later than its end.
    checks: BTreeSet<(Instant, u64)>,
    /// External ports that lead to an inside endpoint (`dnat`).
    forwarded: BTreeMap<u16, SocketAddr>,
}

impl Conntrack {
    pub(super) fn new(config: LinuxConfig, external: Vec<IpAddr>, seed: &Seed) -> Self {
        let empty = config.ports.as_ref().is_some_and(RangeInclusive::is_empty);
        assert!(!empty, "a box without ports translates nothing");
        let mut random = seed.stream("conntrack");
        Self {
            config,
            external,
            salt: random.next_u64(),
            random,
            next_id: 0,
            entries: BTreeMap::new(),
            by_tuple: BTreeMap::new(),
            by_source: BTreeMap::new(),
            checks: BTreeSet::new(),
            forwarded: BTreeMap::new(),
        }
    }

    pub(super) fn external(&self) -> &[IpAddr] {
        &self.external
    }

    pub(super) fn translates(&self, ip: IpAddr) -> bool {
        self.external.iter().any(|external| external.is_ipv4() == ip.is_ipv4())
    }

    pub(super) fn entries(&self, now: Instant) -> usize {
        self.entries.values().filter(|entry| now < entry.ends).count()
    }

    pub(super) fn restart(&mut self, external: Vec<IpAddr>) {
        self.external = external;
        self.entries.clear();
        self.by_tuple.clear();
        self.by_source.clear();
        self.checks.clear();
    }

    /// The interface gets other addresses. `masquerade` loses the entries of those that are gone;
    /// a constant address stays.
    pub(super) fn renumber(&mut self, external: Vec<IpAddr>) {
        if self.config.rule == SourceRule::Snat {
            return;
        }
        let is_gone =
            |at: SocketAddr| self.external.contains(&at.ip()) && !external.contains(&at.ip());
        let gone = self.entries.iter().filter(|(_, entry)| is_gone(entry.reply.to));
        let gone: Vec<u64> = gone.map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.remove(id));
        self.external = external;
    }

    pub(super) fn forward_port(&mut self, port: u16, internal: SocketAddr) {
        self.forwarded.insert(port, internal);
    }

    /// Flows that came in already go on.
    pub(super) fn unforward_port(&mut self, port: u16) {
        self.forwarded.remove(&port);
    }

    pub(super) fn check(&self) {
        assert_eq!(self.by_tuple.len(), 2 * self.entries.len(), "two tuples of every entry");
        assert!(self.entries.len() <= self.config.entries_max);
        for (id, entry) in &self.entries {
            assert_eq!(self.by_tuple.get(&entry.original), Some(&(*id, Direction::Original)));
            assert_eq!(self.by_tuple.get(&entry.reply), Some(&(*id, Direction::Reply)));
        }
        let of_sockets: usize = self.by_source.values().map(BTreeSet::len).sum();
        let outbound = self.entries.values().filter(|entry| entry.is_outbound).count();
        assert_eq!(of_sockets, outbound);
        assert!(self.checks.len() >= self.entries.len());
    }

    /// Source and destination that a datagram from inside has outside.
    pub(super) fn outbound(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(SocketAddr, SocketAddr), NatDrop> {
        if internal.is_ipv4() != remote.is_ipv4() {
            return Err(NatDrop::FamilyMismatch);
        }
        let tuple = Tuple { from: internal, to: remote };
        if let Some((id, direction)) = self.live(now, tuple) {
            self.refresh(now, id);
            let entry = self.entries.get_mut(&id).expect("it is live");
            return Ok(match direction {
                Direction::Original => (entry.reply.to, remote),
                Direction::Reply => {
                    entry.is_answered = true;
                    (entry.original.to, entry.original.from)
                }
            });
        }
        self.sweep(now)?;
        let external = match self.translates(internal.ip()) {
            true => self.source(now, internal, remote).ok_or(NatDrop::PortsExhausted)?,
            false => internal,
        };
        let reply = Tuple { from: remote, to: external };
        if self.live(now, reply).is_some() {
            return Err(NatDrop::PortsExhausted);
        }
        let id = self.insert(now, tuple, reply, true);
        self.by_source.entry(internal).or_default().insert(id);
        Ok((external, remote))
    }

    /// Source and destination that a datagram from outside has inside.
    pub(super) fn inbound(
        &mut self,
        now: Instant,
        external: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(SocketAddr, SocketAddr), NatDrop> {
        let tuple = Tuple { from: remote, to: external };
        let is_own = self.external.contains(&external.ip());
        if let Some((id, direction)) = self.live(now, tuple) {
            if self.config.inbound_refresh || direction == Direction::Original {
                self.refresh(now, id);
            }
            let entry = self.entries.get_mut(&id).expect("it is live");
            return match direction {
                Direction::Reply => {
                    entry.is_answered = true;
                    Ok((remote, entry.original.from))
                }
                // To a forwarded port, or to the router itself.
                Direction::Original if entry.reply.from != external => {
                    Ok((entry.reply.to, entry.reply.from))
                }
                Direction::Original => Err(NatDrop::ToTheBox),
            };
        }
        let forwarded = self.forwarded.get(&external.port()).copied().filter(|_| is_own);
        if forwarded.is_none() && !(is_own && self.config.input_open) {
            // The input chain, or the forward chain, drops it: the entry is never confirmed.
            return Err(NatDrop::NoMapping);
        }
        self.sweep(now)?;
        let to = forwarded.unwrap_or(external);
        let source = match self.live(now, Tuple { from: to, to: remote }) {
            None => remote,
            Some(_) => {
                let ports = port_class(remote.port());
                self.random_source(now, ports, remote, to).ok_or(NatDrop::NoMapping)?
            }
        };
        self.insert(now, tuple, Tuple { from: to, to: source }, false);
        forwarded.map(|to| (source, to)).ok_or(NatDrop::ToTheBox)
    }

    /// The source of a new flow; none if no port is free.
    fn source(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        if !self.config.random
            && let Some(source) = self.newest_source(now, internal)
            && self.live(now, Tuple { from: remote, to: source }).is_none()
        {
            return Some(source);
        }
        let ip = self.pool_address(internal.ip(), remote.ip())?;
        let kept = SocketAddr::new(ip, internal.port());
        let is_allowed = self.config.ports.as_ref().is_none_or(|it| it.contains(&kept.port()));
        if !self.config.random
            && is_allowed
            && self.live(now, Tuple { from: remote, to: kept }).is_none()
        {
            return Some(kept);
        }
        let ports = self.config.ports.clone().unwrap_or(port_class(kept.port()));
        self.random_source(now, ports, kept, remote)
    }

    /// The external endpoint of the newest flow of a socket, over or not.
    fn newest_source(&mut self, now: Instant, internal: SocketAddr) -> Option<SocketAddr> {
        loop {
            let id = *self.by_source.get(&internal)?.last()?;
            let entry = &self.entries[&id];
            if now < entry.ends + self.config.collected_after {
                let source = entry.reply.to;
                return self.external.contains(&source.ip()).then_some(source);
            }
            self.remove(id);
        }
    }

    /// The address of a pool: by source and, unless the rule is persistent, by destination.
    fn pool_address(&self, host: IpAddr, remote: IpAddr) -> Option<IpAddr> {
        let family = self.external.iter().filter(|ip| ip.is_ipv4() == host.is_ipv4());
        let pool: Vec<IpAddr> = family.copied().collect();
        let number = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                (bits >> 64) as u64 ^ (bits as u64).rotate_left(32)
            }
        };
        let remote = if self.config.persistent { 0 } else { number(remote) };
        let drawn = fate::fate(self.salt, number(host), remote);
        pool.get(fate::below(drawn, pool.len() as u64) as usize).copied()
    }

    /// The same address with a random one of the ports that is free towards `remote`.
    fn random_source(
        &mut self,
        now: Instant,
        ports: RangeInclusive<u16>,
        kept: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        let width = u64::from(ports.end() - ports.start()) + 1;
        let mut attempts = width.min(ATTEMPTS_MAX);
        loop {
            let start = self.random.below(width);
            for step in 0..attempts {
                let port = ports.start() + ((start + step) % width) as u16;
                let source = SocketAddr::new(kept.ip(), port);
                if self.live(now, Tuple { from: remote, to: source }).is_none() {
                    return Some(source);
                }
            }
            if attempts >= width || attempts < ATTEMPTS_MIN {
                return None;
            }
            attempts /= 2;
        }
    }

    /// The entry with this tuple that is not over. One that is over is removed.
    fn live(&mut self, now: Instant, tuple: Tuple) -> Option<(u64, Direction)> {
        let (id, direction) = *self.by_tuple.get(&tuple)?;
        if now < self.entries[&id].ends {
            return Some((id, direction));
        }
        self.remove(id);
        None
    }

    /// A datagram of an entry passed. An entry that was answered before, and is older than two
    /// seconds, gets the long time. The first answer does not count itself.
    fn refresh(&mut self, now: Instant, id: u64) {
        let entry = self.entries.get_mut(&id).expect("it is live");
        let is_stream =
            entry.is_answered && now.saturating_duration_since(entry.began) > STREAM_AFTER;
        let timeout = if is_stream { self.config.timeout_stream } else { self.config.timeout };
        entry.ends = now + timeout;
    }

    fn insert(&mut self, now: Instant, original: Tuple, reply: Tuple, is_outbound: bool) -> u64 {
        self.next_id += 1;
        let (id, ends) = (self.next_id, now + self.config.timeout);
        let entry = Entry { original, reply, is_outbound, began: now, is_answered: false, ends };
        self.entries.insert(id, entry);
        self.by_tuple.insert(original, (id, Direction::Original));
        self.by_tuple.insert(reply, (id, Direction::Reply));
        self.checks.insert((ends + self.config.collected_after, id));
        id
    }

    /// Collects what is over for long enough, and says whether there is room for one more.
    fn sweep(&mut self, now: Instant) -> Result<(), NatDrop> {
        while let Some((at, id)) = self.checks.first().copied().filter(|(at, _)| *at <= now) {
            self.checks.remove(&(at, id));
            let Some(entry) = self.entries.get(&id) else { continue };
            let collected = entry.ends + self.config.collected_after;
            if now < collected {
                self.checks.insert((collected, id));
            } else {
                self.remove(id);
            }
        }
        if self.entries.len() < self.config.entries_max { Ok(()) } else { Err(NatDrop::TableFull) }
    }

    fn remove(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.by_tuple.remove(&entry.original);
        self.by_tuple.remove(&entry.reply);
        if entry.is_outbound
            && let Some(flows) = self.by_source.get_mut(&entry.original.from)
        {
            flows.remove(&id);
            if flows.is_empty() {
                self.by_source.remove(&entry.original.from);
            }
        }
    }
}

/// The ports that replace one where no rule names a range.
fn port_class(port: u16) -> RangeInclusive<u16> {
    match port {
        0..512 => 1..=511,
        512..1_024 => 600..=1_023,
        1_024.. => 1_024..=u16::MAX,
    }
}
