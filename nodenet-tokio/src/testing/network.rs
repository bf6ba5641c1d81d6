//! Network of a hub: sockets with wakers around the network of the protocol's test kit.
//!
//! Responsible for: bound sockets, what has arrived at each and was not read yet, and whom to wake.
//! Never: links, NAT boxes and what is under way, which [`Net`] has; clocks; calls of wakers, which
//! the caller makes with [`Network::take_wakers`].
//!
//! A host is an IP address, a [`Port`] a bound socket. The test kit wants to be asked for arrivals,
//! so each call here first takes those that are due. A reader waits for the next arrival that may
//! be for it: behind a NAT box only the box knows, so there every socket waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use nodenet_proto::env::{Crypto, Ed25519Crypto, Seed};
use nodenet_proto::io::Transmit;
use nodenet_proto::testkit::link::Passage;
use nodenet_proto::testkit::nat_box::DEFAULT_TTL;
use nodenet_proto::testkit::{Arrival, Datagram, LinkProfile, NatBox, Net, Realm};

use crate::platform::Received;

/// The port of a socket bound to port 0. Further sockets of one host count up from it.
pub(super) const PORT: u16 = 4_242;
/// Bytes that wait in one socket, at most: also what a system grants a socket to buffer.
const INBOX_BYTES_MAX: usize = 4 << 20;
/// Datagrams under way at once: five times what a link of 1 Gbit/s and 280 ms holds.
const FLIGHTS_MAX: usize = 1 << 17;

/// Counters of a [`super::Hub`]: what happened to its datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the receiving node read.
    pub delivered: u64,
    /// Duplicates that the profile of a link made.
    pub duplicated: u64,
    /// Lost at random, by the profile of the link.
    pub lost: u64,
    /// Lost because the link or the receiver had no room for more.
    pub overflowed: u64,
    /// Lost because they were longer than the MTU of the link.
    pub too_long: u64,
    /// Lost at a partition.
    pub cut: u64,
    /// Dropped by a NAT box or a firewall.
    pub filtered: u64,
    /// Arrived at an address without a socket.
    pub unreachable: u64,
    /// Hash over every datagram sent: when, from where, to where, its bytes, and when it was to
    /// arrive. Two runs with the same hash did the same.
    pub trace_hash: u64,
}

#[derive(Default)]
struct Port {
    inbox: VecDeque<Datagram>,
    inbox_bytes: usize,
    /// When something arrives that may be for this socket.
    expected: BTreeSet<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Port {
    fn forget_past(&mut self, now: Instant) {
        while self.expected.first().is_some_and(|at| *at <= now) {
            self.expected.pop_first();
        }
    }
}

pub(super) struct Network {
    seed: Seed,
    /// When the first socket was bound.
    began: Option<Instant>,
    net: Net,
    /// Hosts that are not in the public realm.
    realms: BTreeMap<IpAddr, Realm>,
    gateways: u32,
    ports: BTreeMap<SocketAddr, Port>,
    /// Hosts whose sockets refuse datagrams.
    full: BTreeSet<IpAddr>,
    /// Nodes started on each host so far.
    starts: BTreeMap<IpAddr, u64>,
    hosts_handed_out: u16,
    /// What the test kit does not count.
    stats: HubStats,
    trace: [u8; 32],
    wake: Vec<Waker>,
}

impl Network {
    pub(super) fn new(seed: Seed) -> Self {
        let mut net = Net::with_seed(seed.child("links", 0));
        net.flights_max = FLIGHTS_MAX;
        Self {
            seed,
            began: None,
            net,
            realms: BTreeMap::new(),
            gateways: 0,
            ports: BTreeMap::new(),
            full: BTreeSet::new(),
            starts: BTreeMap::new(),
            hosts_handed_out: 0,
            stats: HubStats::default(),
            trace: [0; 32],
            wake: Vec::new(),
        }
    }

    /// The tasks to wake after a call of any other method.
    #[must_use]
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wake)
    }

    /// Time since the first socket was bound.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    pub(super) fn stats(&mut self, now: Instant) -> HubStats {
        self.advance(now);
        let mut first = [0; 8];
        first.copy_from_slice(&self.trace[..8]);
        let net = self.net.stats();
        HubStats {
            sent: net.sent,
            duplicated: net.duplicated,
            lost: net.lost,
            overflowed: net.overflowed + self.stats.overflowed,
            too_long: net.too_long,
            cut: net.cut,
            filtered: net.filtered,
            trace_hash: u64::from_le_bytes(first),
            ..self.stats
        }
    }

    /// Binds a socket. An unspecified address is replaced by that of an unused host, port 0 by the
    /// first free one.
    pub(super) fn bind(&mut self, now: Instant, addr: SocketAddr) -> io::Result<SocketAddr> {
        if self.began.is_none() {
            (self.began, self.net.now) = (Some(now), now);
        }
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

    pub(super) fn unbind(&mut self, now: Instant, addr: SocketAddr) {
        self.advance(now);
        self.ports.remove(&addr);
    }

    /// The seed of the next node on this host.
    pub(super) fn node_seed(&mut self, ip: IpAddr) -> Seed {
        let starts = self.starts.entry(ip).or_default();
        *starts += 1;
        self.seed.child(&format!("node {ip}"), *starts)
    }

    pub(super) fn set_default_profile(&mut self, profile: LinkProfile) {
        self.net.link = profile;
    }

    pub(super) fn set_profile(&mut self, from: IpAddr, to: IpAddr, profile: LinkProfile) {
        self.net.set_profile(from, to, profile);
    }

    /// Puts hosts behind a box that `make` makes of its seed and its number. The box is inside of
    /// those that the hosts are behind already.
    pub(super) fn add_gateway(
        &mut self,
        hosts: impl IntoIterator<Item = IpAddr>,
        make: impl FnOnce(&Seed, u32) -> NatBox,
    ) -> Realm {
        let hosts: Vec<IpAddr> = hosts.into_iter().collect();
        let outside = hosts.first().map_or(Realm::PUBLIC, |ip| self.realm_of(*ip));
        let is_one = hosts.iter().all(|ip| self.realm_of(*ip) == outside);
        assert!(is_one, "hosts behind different boxes can not be behind one more together");
        self.gateways += 1;
        let nat = make(&self.seed.child("gateway", self.gateways.into()), self.gateways);
        let realm = self.net.add_gateway(outside, nat);
        for ip in hosts {
            self.realms.insert(ip, realm);
            self.net.remove(outside, ip);
            self.net.place(realm, ip);
        }
        realm
    }

    /// Reboots a box, with the same addresses or with others.
    pub(super) fn restart_nat(&mut self, now: Instant, inside: Realm, is_moved: bool) {
        let mut external = self.nat(now, inside, |nat| nat.external().to_vec());
        if is_moved && !external.is_empty() {
            self.gateways += 1;
            external = nat_ips(self.gateways);
        }
        self.net.restart_nat(inside, external);
    }

    /// Calls `act` with a box, after all that has arrived there until now.
    pub(super) fn nat<T>(
        &mut self,
        now: Instant,
        inside: Realm,
        act: impl FnOnce(&mut NatBox) -> T,
    ) -> T {
        self.advance(now);
        act(self.net.nat_mut(inside).expect("a handle is of a box of this network"))
    }

    /// Splits these hosts from all others.
    pub(super) fn partition(&mut self, now: Instant, hosts: impl IntoIterator<Item = IpAddr>) {
        self.advance(now);
        self.net.partition(hosts);
    }

    pub(super) fn heal(&mut self, now: Instant) {
        self.advance(now);
        self.net.heal();
    }

    /// Makes the sockets of a host full, or not.
    pub(super) fn set_full(&mut self, host: IpAddr, full: bool) {
        if full {
            self.full.insert(host);
            return;
        }
        self.full.remove(&host);
        let ports = self.ports.iter_mut().filter(|(addr, _)| addr.ip() == host);
        self.wake.extend(ports.filter_map(|(_, port)| port.writer.take()));
    }

    /// Whether the socket accepts datagrams. If not, the waker is called when it does again.
    pub(super) fn is_writable(&mut self, at: SocketAddr, waker: Option<&Waker>) -> bool {
        let is_full = self.full.contains(&at.ip());
        if let (true, Some(waker), Some(port)) = (is_full, waker, self.ports.get_mut(&at)) {
            port.writer = Some(waker.clone());
        }
        !is_full
    }

    /// Puts one datagram on its way.
    pub(super) fn send(
        &mut self,
        now: Instant,
        (from, to): (SocketAddr, SocketAddr),
        how: &Transmit,
        datagram: &[u8],
    ) {
        self.advance(now);
        let realm = self.realm_of(from.ip());
        let sent = Datagram { from, to, ecn: how.ecn, data: BytesMut::from(datagram) };
        let ttl = how.ttl.unwrap_or(DEFAULT_TTL);
        let passage = self.net.send_with_ttl(realm, sent, ttl);
        self.observe(now, (from, to), datagram, passage.map(|passage| passage.at));
        let Some(Passage { at, again }) = passage else { return };
        for at in [Some(at), again].into_iter().flatten() {
            self.expect(to, at);
        }
    }

    /// Has the sockets that an arrival may be for wait for it.
    fn expect(&mut self, to: SocketAddr, at: Instant) {
        let Self { ports, realms, wake, net, .. } = self;
        let mut expect = |port: &mut Port| {
            port.forget_past(net.now);
            port.expected.insert(at);
            if port.expected.first() == Some(&at) {
                wake.extend(port.reader.take());
            }
        };
        match ports.get_mut(&to) {
            Some(port) => expect(port),
            None => {
                let behind = ports.iter_mut().filter(|(addr, _)| realms.contains_key(&addr.ip()));
                behind.for_each(|(_, port)| expect(port));
            }
        }
    }

    /// When a socket may have something to read next. The waker is called if that changes.
    pub(super) fn next_arrival(
        &mut self,
        now: Instant,
        at: SocketAddr,
        waker: &Waker,
    ) -> Option<Instant> {
        self.advance(now);
        let port = self.ports.get_mut(&at)?;
        port.reader = Some(waker.clone());
        port.forget_past(now);
        if port.inbox.is_empty() { port.expected.first().copied() } else { Some(now) }
    }

    /// Takes the next datagram that has arrived at a socket.
    pub(super) fn receive(&mut self, now: Instant, at: SocketAddr) -> Option<Received> {
        self.advance(now);
        let port = self.ports.get_mut(&at)?;
        let Datagram { from, ecn, data, .. } = port.inbox.pop_front()?;
        port.inbox_bytes -= data.len();
        self.stats.delivered += 1;
        Some(Received { remote: from, local_ip: Some(at.ip()), ecn, data })
    }

    /// Takes all arrivals that are due to their sockets.
    fn advance(&mut self, now: Instant) {
        self.net.now = self.net.now.max(now);
        if self.net.next_arrival().is_none_or(|at| at > now) {
            return;
        }
        while let Some((realm, arrival)) = self.net.poll_arrival() {
            let Arrival::Datagram(datagram) = arrival else { continue };
            let is_here = self.realm_of(datagram.to.ip()) == realm;
            match self.ports.get_mut(&datagram.to).filter(|_| is_here) {
                None => self.stats.unreachable += 1,
                Some(port) if port.inbox_bytes + datagram.data.len() > INBOX_BYTES_MAX => {
                    self.stats.overflowed += 1;
                }
                Some(port) => {
                    port.inbox_bytes += datagram.data.len();
                    port.inbox.push_back(datagram);
                    self.wake.extend(port.reader.take());
                }
            }
        }
    }

    fn realm_of(&self, ip: IpAddr) -> Realm {
        self.realms.get(&ip).copied().unwrap_or(Realm::PUBLIC)
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

/// The addresses of the NAT box with this number, one of each family: in the space for benchmarks
/// (RFC 2544), and in that for documentation beyond the first 2^32 hosts.
pub(super) fn nat_ips(number: u32) -> Vec<IpAddr> {
    let (high, low) = ((number >> 16) as u16, number as u16);
    let v4 = Ipv4Addr::new(198, 18, (number >> 8) as u8, number as u8);
    vec![v4.into(), Ipv6Addr::new(0x2001, 0xdb8, high, low, 1, 0, 0, 1).into()]
}
