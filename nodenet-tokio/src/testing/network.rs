//! The network inside a hub: hosts, what lies between them, and the datagrams under way.
//!
//! Responsible for: addresses, links, cuts, arrival in order of time, counting. Never: reads a
//! clock or wakes a task; it says whom to wake.
//!
//! A host is an IP address. A [`Port`] is a bound socket, and keeps what is on its way to it, so a
//! datagram is gone with the socket that it was for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use nodenet_proto::env::{Crypto, Ed25519Crypto, Seed};
use nodenet_proto::io::EcnCodepoint;

use super::link::{Link, LinkProfile, Loss};
use crate::platform::Received;

/// The port of a socket that did not ask for one; more on one host count up from it.
pub(super) const PORT: u16 = 4_242;
/// Bytes on their way to one socket, at most: what a socket of this machine is granted to buffer,
/// too.
const INBOX_BYTES_MAX: usize = 4 << 20;

/// What became of the datagrams on a [`super::Hub`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the receiving node took.
    pub delivered: u64,
    /// Lost by chance, by the profile of the link.
    pub lost: u64,
    /// Lost because the link or the receiver had no room for more.
    pub overflowed: u64,
    /// Lost because they were longer than the link takes.
    pub too_long: u64,
    /// Lost at a partition.
    pub cut: u64,
    /// For an address at which nobody listens.
    pub unreachable: u64,
    /// A fingerprint of everything that was sent: when, from where, to where, the bytes, and when
    /// it was to arrive. Two runs that have it in common did the same.
    pub trace_hash: u64,
}

struct Flight {
    from: SocketAddr,
    ecn: Option<EcnCodepoint>,
    data: BytesMut,
}

#[derive(Default)]
struct Port {
    /// By time of arrival, then in the order of sending.
    inbox: BTreeMap<(Instant, u64), Flight>,
    inbox_bytes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub(super) struct Network {
    seed: Seed,
    /// When the first socket was bound.
    began: Option<Instant>,
    /// For all pairs that have none of their own.
    default_profile: LinkProfile,
    profiles: BTreeMap<(IpAddr, IpAddr), LinkProfile>,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    /// Hosts that were split off, and with whom.
    islands: BTreeMap<IpAddr, u64>,
    islands_made: u64,
    ports: BTreeMap<SocketAddr, Port>,
    /// Hosts whose sockets take nothing to send.
    full: BTreeSet<IpAddr>,
    /// Nodes started on each host so far.
    starts: BTreeMap<IpAddr, u64>,
    hosts_handed_out: u16,
    stats: HubStats,
    trace: [u8; 32],
}

impl Network {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            seed,
            began: None,
            default_profile: LinkProfile::default(),
            profiles: BTreeMap::new(),
            links: BTreeMap::new(),
            islands: BTreeMap::new(),
            islands_made: 0,
            ports: BTreeMap::new(),
            full: BTreeSet::new(),
            starts: BTreeMap::new(),
            hosts_handed_out: 0,
            stats: HubStats::default(),
            trace: [0; 32],
        }
    }

    /// Time since the first socket was bound.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    pub(super) fn stats(&self) -> HubStats {
        let mut first = [0; 8];
        first.copy_from_slice(&self.trace[..8]);
        HubStats { trace_hash: u64::from_le_bytes(first), ..self.stats }
    }

    /// Binds a socket. An unspecified address stands for a host that nobody uses, port 0 for the
    /// first free one.
    pub(super) fn bind(&mut self, now: Instant, addr: SocketAddr) -> io::Result<SocketAddr> {
        self.began.get_or_insert(now);
        let ip = if addr.ip().is_unspecified() { self.unused_host()? } else { addr.ip() };
        let addr = match addr.port() {
            0 => (PORT..=u16::MAX)
                .map(|port| SocketAddr::new(ip, port))
                .find(|addr| !self.ports.contains_key(addr))
                .ok_or(io::ErrorKind::AddrInUse)?,
            port => SocketAddr::new(ip, port),
        };
        if self.ports.contains_key(&addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.ports.insert(addr, Port::default());
        Ok(addr)
    }

    pub(super) fn unbind(&mut self, addr: SocketAddr) {
        self.ports.remove(&addr);
    }

    /// The randomness of the next node on this host.
    pub(super) fn node_seed(&mut self, ip: IpAddr) -> Seed {
        let starts = self.starts.entry(ip).or_default();
        *starts += 1;
        self.seed.child(&format!("node {ip}"), *starts)
    }

    pub(super) fn set_default_profile(&mut self, profile: LinkProfile) {
        self.default_profile = profile;
    }

    pub(super) fn set_profile(&mut self, from: IpAddr, to: IpAddr, profile: LinkProfile) {
        self.profiles.insert((from, to), profile);
    }

    /// Splits these hosts from all others.
    pub(super) fn partition(&mut self, hosts: impl IntoIterator<Item = IpAddr>) {
        self.islands_made += 1;
        let island = self.islands_made;
        self.islands.extend(hosts.into_iter().map(|ip| (ip, island)));
    }

    pub(super) fn heal(&mut self) {
        self.islands.clear();
    }

    /// Makes the sockets of a host full, or not. Returns whom to wake.
    #[must_use]
    pub(super) fn set_full(&mut self, host: IpAddr, full: bool) -> Vec<Waker> {
        if full {
            self.full.insert(host);
            return Vec::new();
        }
        self.full.remove(&host);
        let ports = self.ports.iter_mut().filter(|(addr, _)| addr.ip() == host);
        ports.filter_map(|(_, port)| port.writer.take()).collect()
    }

    /// Whether the socket takes datagrams to send; if not, who is woken when it does.
    pub(super) fn is_writable(&mut self, at: SocketAddr, waker: Option<&Waker>) -> bool {
        let is_full = self.full.contains(&at.ip());
        if let (true, Some(waker), Some(port)) = (is_full, waker, self.ports.get_mut(&at)) {
            port.writer = Some(waker.clone());
        }
        !is_full
    }

    /// Puts one datagram on its way. Returns whom to wake.
    #[must_use]
    pub(super) fn send(
        &mut self,
        now: Instant,
        (from, to): (SocketAddr, SocketAddr),
        ecn: Option<EcnCodepoint>,
        datagram: &[u8],
    ) -> Option<Waker> {
        self.stats.sent += 1;
        let ends = (from.ip(), to.ip());
        let profile = *self.profiles.get(&ends).unwrap_or(&self.default_profile);
        let seed = &self.seed;
        let new_link = || Link::new(seed.child(&format!("link {} {}", ends.0, ends.1), 0));
        let link = self.links.entry(ends).or_insert_with(new_link);
        let fate = link.carry(&profile, now, datagram.len());
        self.observe(now, (from, to), datagram, fate.ok());
        let arrival = match fate {
            Ok(arrival) if self.is_joined(ends) => arrival,
            Ok(_) => return count(&mut self.stats.cut),
            Err(Loss::Chance) => return count(&mut self.stats.lost),
            Err(Loss::QueueFull) => return count(&mut self.stats.overflowed),
            Err(Loss::TooLong) => return count(&mut self.stats.too_long),
        };
        let Some(port) = self.ports.get_mut(&to) else {
            return count(&mut self.stats.unreachable);
        };
        if port.inbox_bytes + datagram.len() > INBOX_BYTES_MAX {
            return count(&mut self.stats.overflowed);
        }
        port.inbox_bytes += datagram.len();
        let data = BytesMut::from(datagram);
        port.inbox.insert((arrival, self.stats.sent), Flight { from, ecn, data });
        let is_next = port.inbox.keys().next() == Some(&(arrival, self.stats.sent));
        if is_next { port.reader.take() } else { None }
    }

    /// When the next datagram arrives at a socket; the waker is called if that changes.
    pub(super) fn next_arrival(&mut self, at: SocketAddr, waker: &Waker) -> Option<Instant> {
        let port = self.ports.get_mut(&at)?;
        port.reader = Some(waker.clone());
        port.inbox.keys().next().map(|(arrival, _)| *arrival)
    }

    /// Takes the next datagram that has arrived at a socket.
    pub(super) fn receive(&mut self, now: Instant, at: SocketAddr) -> Option<Received> {
        loop {
            let port = self.ports.get_mut(&at)?;
            let first = port.inbox.first_entry().filter(|first| first.key().0 <= now)?;
            let Flight { from, ecn, data } = first.remove();
            port.inbox_bytes -= data.len();
            if self.is_joined((from.ip(), at.ip())) {
                self.stats.delivered += 1;
                return Some(Received { remote: from, local_ip: Some(at.ip()), ecn, data });
            }
            self.stats.cut += 1;
        }
    }

    fn is_joined(&self, (a, b): (IpAddr, IpAddr)) -> bool {
        self.islands.get(&a) == self.islands.get(&b)
    }

    /// Hosts without an address of their own are counted from the end of the range whose beginning
    /// [`host_ip`] uses.
    fn unused_host(&mut self) -> io::Result<IpAddr> {
        loop {
            let number = u32::from(u16::MAX - self.hosts_handed_out);
            self.hosts_handed_out =
                self.hosts_handed_out.checked_add(1).ok_or(io::ErrorKind::AddrNotAvailable)?;
            let ip = host_ip(number);
            if self.ports.keys().all(|addr| addr.ip() != ip) {
                return Ok(ip);
            }
        }
    }

    fn observe(
        &mut self,
        now: Instant,
        (from, to): (SocketAddr, SocketAddr),
        datagram: &[u8],
        arrival: Option<Instant>,
    ) {
        let nanos = |at: Instant| self.elapsed(at).as_nanos().to_le_bytes();
        let arrival = arrival.map_or([0xff; 16], nanos);
        let ends = format!("{from} {to} ");
        let parts = [&self.trace[..], &nanos(now), &arrival, ends.as_bytes(), datagram];
        self.trace = Ed25519Crypto.hash(&parts);
    }
}

/// The address of the host with this number, in the space for documentation (RFC 3849). Each of the
/// first 65,536 is in an IPv6 /48 of its own, so that no cap on subnets counts them together.
pub(super) fn host_ip(number: u32) -> IpAddr {
    let (high, low) = ((number >> 16) as u16, number as u16);
    Ipv6Addr::new(0x2001, 0xdb8, low, high, 0, 0, 0, 1).into()
}

fn count(counter: &mut u64) -> Option<Waker> {
    *counter += 1;
    None
}
