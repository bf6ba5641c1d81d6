//! Host of a packet world: a whole node, its sockets, interfaces and clocks, and its driver.
//!
//! Responsible for: what a driver does between a node and the network: source addresses, the one
//! transmit that a full socket left over, further sockets. Never: when something happens.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;
use nodenet_proto::NodeId;
use nodenet_proto::api::Event;
use nodenet_proto::drive::Outlet;
use nodenet_proto::io::{SocketId, Transmit};
use nodenet_proto::node::{Config, Node};
use nodenet_proto::testkit::link::packet_len;
use nodenet_proto::testkit::nat_box::DEFAULT_TTL;
use nodenet_proto::testkit::{Datagram, Net, Realm};

use super::clock::HostClock;
use super::journal::PacketStepKind;
use super::networks::Interface;
use crate::clock::Moment;
use crate::hash::TraceHash;
use crate::world::{Host, Meters, Traffic};

/// The first port of a further socket: where the dynamic ports begin (RFC 6335 §6).
const SOCKET_PORT: u16 = 49_152;

/// Datagrams that never reached a node, or never left a host, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostDrops {
    /// Not sent: no interface has an address of the destination's family.
    pub unreachable: u64,
    /// Not sent: the source address is not one of the host any more.
    pub stale_source: u64,
    /// Arrived at an address that no host has now.
    pub absent: u64,
    /// Arrived at a host that sleeps.
    pub asleep: u64,
    /// Arrived at a port without a socket.
    pub closed: u64,
}

/// One host.
pub(super) struct HostState {
    pub(super) name: String,
    pub(super) master: [u8; 32],
    pub(super) id: NodeId,
    pub(super) config: Config,
    /// None while the host is down.
    pub(super) node: Option<Box<Node>>,
    /// How often a node with this identity started.
    pub(super) starts: u64,
    pub(super) started_at: Moment,
    /// Time of the first edge.
    pub(super) joined_at: Option<Moment>,
    pub(super) stopped_at: Option<Moment>,
    pub(super) sockets: Sockets,
    pub(super) clock: HostClock,
    pub(super) is_asleep: bool,
    /// When the node wants to be called, by its own clock.
    pub(super) deadline: Option<Instant>,
    /// The next entry of the calendar for it.
    pub(super) wake_at: Option<Moment>,
}

/// The sockets of a host, and what its driver keeps.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) port: u16,
    pub(super) interfaces: Vec<Interface>,
    /// Further sockets.
    pub(super) further: BTreeMap<SocketId, SocketAddr>,
    /// Further sockets that are open and not reported yet. The address is missing if it could not
    /// be bound.
    pub(super) opened: Vec<(SocketId, Option<SocketAddr>)>,
    opened_ever: u16,
    /// Until when the sockets take nothing.
    pub(super) blocked_until: Option<Moment>,
    /// What they did not take: one transmit, as the contract of the drain loop says.
    pub(super) refused: Option<(Transmit, Vec<u8>)>,
}

impl Sockets {
    pub(super) fn new(port: u16) -> Self {
        Self {
            port,
            interfaces: Vec::new(),
            further: BTreeMap::new(),
            opened: Vec::new(),
            opened_ever: 0,
            blocked_until: None,
            refused: None,
        }
    }

    /// Closes all but the main socket, as the end of a process does.
    pub(super) fn close(&mut self) {
        self.further.clear();
        self.opened.clear();
        (self.blocked_until, self.refused) = (None, None);
    }

    /// The addresses of the main socket, those of the first interface first.
    pub(super) fn local_addrs(&self) -> Vec<SocketAddr> {
        let ips = self.interfaces.iter().flat_map(Interface::ips);
        ips.map(|ip| SocketAddr::new(ip, self.port)).collect()
    }

    /// The source of a datagram and the own address for the node. What came through a NAT64 has the
    /// IPv4 address of its sender, and a local address of the other family that says nothing.
    pub(super) fn received(
        &self,
        from: SocketAddr,
        to: SocketAddr,
    ) -> (SocketAddr, Option<IpAddr>) {
        let own = self.interfaces.iter().find(|own| own.ips().any(|ip| ip == to.ip()));
        match own.and_then(|own| own.restored(from.ip())) {
            Some(ip) => (SocketAddr::new(ip, from.port()), None),
            None => (from, Some(to.ip())),
        }
    }

    /// The socket at this address, if there is one.
    pub(super) fn at(&self, addr: SocketAddr) -> Option<SocketId> {
        let further = self.further.iter().find(|(_, local)| **local == addr).map(|(id, _)| *id);
        further.or((addr.port() == self.port).then_some(SocketId::MAIN))
    }

    /// The realm, the source and the destination for a datagram.
    fn route(
        &self,
        how: &Transmit,
        net: &Net,
        drops: &mut HostDrops,
    ) -> Option<(Realm, SocketAddr, SocketAddr)> {
        let bound = self.further.get(&how.socket);
        let port = bound.map_or(self.port, SocketAddr::port);
        if let Some(ip) = bound.map(SocketAddr::ip).or(how.local_ip) {
            let interface = self.interfaces.iter().find(|own| own.ips().any(|own| own == ip));
            drops.stale_source += u64::from(interface.is_none());
            return Some((interface?.realm, SocketAddr::new(ip, port), how.remote));
        }
        let remote = how.remote.ip();
        let able = || self.interfaces.iter().filter(|own| own.ip_towards(remote).is_some());
        // The network that the destination is in comes before the default route.
        let on_link = able().find(|own| own.realm != Realm::PUBLIC && net.has(own.realm, remote));
        let interface = on_link.or_else(|| able().next());
        drops.unreachable += u64::from(interface.is_none());
        let interface = interface?;
        let to = interface.translated(remote).unwrap_or(remote);
        let from = SocketAddr::new(interface.ip_towards(remote)?, port);
        Some((interface.realm, from, SocketAddr::new(to, how.remote.port())))
    }
}

/// The outlet of one drain: the sockets of a host, the network, the events for its application.
pub(super) struct HostOutlet<'a> {
    pub(super) host: Host,
    pub(super) now: Moment,
    pub(super) sockets: &'a mut Sockets,
    pub(super) net: &'a mut Net,
    pub(super) drops: &'a mut HostDrops,
    pub(super) trace: &'a mut TraceHash,
    pub(super) tally: &'a mut [u64; PacketStepKind::LAST + 1],
    pub(super) meters: &'a mut Meters,
    pub(super) events: &'a mut Vec<Event>,
}

impl HostOutlet<'_> {
    /// Sends what a transmit holds.
    pub(super) fn send(&mut self, how: &Transmit, bytes: &[u8]) {
        let Some((realm, from, to)) = self.sockets.route(how, self.net, self.drops) else {
            return;
        };
        for datagram in bytes.chunks(how.segment_len.unwrap_or(bytes.len()).max(1)) {
            self.trace.event(self.now, self.host.0, PacketStepKind::Sent as u8);
            self.tally[PacketStepKind::Sent as usize] += 1;
            meter(self.meters, self.host, self.now, to, datagram.len());
            trace_addr(self.trace, from);
            trace_addr(self.trace, to);
            self.trace.bytes(datagram);
            let (ecn, data) = (how.ecn, BytesMut::from(datagram));
            let ttl = how.ttl.unwrap_or(DEFAULT_TTL);
            self.net.send_with_ttl(realm, Datagram { from, to, ecn, data }, ttl);
        }
    }
}

impl Outlet for HostOutlet<'_> {
    fn transmit(&mut self, how: &Transmit, bytes: &[u8]) -> bool {
        let is_open =
            how.socket == SocketId::MAIN || self.sockets.further.contains_key(&how.socket);
        assert!(is_open, "{:?} is not open", how.socket);
        if self.sockets.blocked_until.is_some() {
            self.sockets.refused = Some((*how, bytes.to_vec()));
            return false;
        }
        self.send(how, bytes);
        true
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn open_socket(&mut self, socket: SocketId, local_ip: IpAddr) {
        let own = self.sockets.interfaces.iter().flat_map(Interface::ips);
        let usable = own.filter(|ip| local_ip.is_unspecified() || *ip == local_ip);
        let ip = usable.into_iter().find(|ip| ip.is_ipv4() == local_ip.is_ipv4());
        let local = ip.map(|ip| {
            let port = SOCKET_PORT + self.sockets.opened_ever % (u16::MAX - SOCKET_PORT);
            self.sockets.opened_ever = self.sockets.opened_ever.wrapping_add(1);
            SocketAddr::new(ip, port)
        });
        if let Some(local) = local {
            let before = self.sockets.further.insert(socket, local);
            assert!(before.is_none() && socket != SocketId::MAIN, "{socket:?} was used before");
        }
        self.sockets.opened.push((socket, local));
    }

    fn close_socket(&mut self, socket: SocketId) {
        self.sockets.further.remove(&socket);
    }
}

/// Counts a datagram, in or out. What is in it is encrypted, so it has no kind.
pub(super) fn meter(meters: &mut Meters, host: Host, at: Moment, peer: SocketAddr, len: usize) {
    let bytes = packet_len(peer.is_ipv4(), len) as u64;
    meters.count(host, at, Traffic::Other, bytes);
}

/// Takes an address into a trace.
pub(super) fn trace_addr(trace: &mut TraceHash, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => trace.number(u64::from(ip.to_bits()) << 16 | u64::from(addr.port())),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            trace.number((bits >> 64) as u64);
            trace.number(bits as u64 ^ u64::from(addr.port()) << 48);
        }
    }
}
