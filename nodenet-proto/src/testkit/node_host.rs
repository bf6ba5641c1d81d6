//! A whole node as a host: driven by [`drain`], with an application that keeps its events.
//!
//! Its driver serves what a node can ask for: a full socket, and further sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;

use super::host::{Datagram, Host, Outbox, Outgoing};
use super::net::{Net, Realm};
use super::{WALL, addr, identity};
use crate::NodeId;
use crate::api::{BootstrapPeer, Command, Event, RequestId};
use crate::drive::{Drained, Outlet, drain};
use crate::env::Seed;
use crate::identity::Identity;
use crate::io::{SocketId, Transmit, TransmitBuf};
use crate::node::{Config, Input, Node};

/// The first port of a further socket: where the dynamic ports begin (RFC 6335 §6).
const SOCKET_PORT: u16 = 49_152;

/// A node and the events for its application.
#[derive(Debug)]
pub struct NodeHost {
    /// The node.
    pub node: Node,
    /// The address of its main socket.
    pub addr: SocketAddr,
    /// Its identifier.
    pub id: NodeId,
    /// The realm that it is in.
    pub realm: Realm,
    /// Events for the application that the test did not take yet.
    pub events: Vec<Event>,
    /// Whether the node checks its invariants after every drain.
    pub checks: bool,
    /// Where the node writes what is to be sent.
    pub buf: TransmitBuf,
    driver: Driver,
    deadline: Option<Instant>,
    requests: u64,
}

/// The sockets of a node.
#[derive(Debug, Default)]
struct Driver {
    /// Whether the socket takes nothing.
    is_full: bool,
    /// What the full socket could not take.
    refused: Option<(Outgoing, Vec<u8>)>,
    /// Further sockets that are open.
    sockets: BTreeMap<SocketId, SocketAddr>,
    /// Open sockets that are not reported to the node yet.
    opened: Vec<SocketId>,
    sockets_ever: u16,
}

impl NodeHost {
    /// The node with this number, on a network that just started.
    pub fn new(number: u8, net: &Net) -> Self {
        Self::seeded(number, net, u64::from(number))
    }

    /// The same with another seed.
    pub fn seeded(number: u8, net: &Net, seed: u64) -> Self {
        Self::with_config(number, net, seed, Config::default())
    }

    /// The same with settings that its identity fulfils.
    pub fn with_config(number: u8, net: &Net, seed: u64, config: Config) -> Self {
        Self::at(addr(number), identity(number.into()), seed, config, net.now)
    }

    /// A node at any address.
    ///
    /// # Panics
    /// If the identity has not the work that the configuration asks for.
    pub fn at(
        addr: SocketAddr,
        identity: Identity,
        seed: u64,
        config: Config,
        now: Instant,
    ) -> Self {
        let id = identity.id();
        let node = Node::new(config, identity, Seed::from_u64(seed), now, WALL)
            .expect("the identity has the work that is asked for");
        Self {
            node,
            addr,
            id,
            realm: Realm::PUBLIC,
            events: Vec::new(),
            checks: true,
            buf: TransmitBuf::new(8),
            driver: Driver::default(),
            deadline: None,
            requests: 0,
        }
    }

    /// Names another node as a way into the network.
    pub fn bootstrap(&mut self, net: &Net, other: &Self) {
        let bootstrap = vec![BootstrapPeer { id: other.id, addrs: vec![other.addr] }];
        self.command(net, Command::Bootstrap(bootstrap));
    }

    /// Sends by routing.
    pub fn send(&mut self, net: &Net, target: NodeId, payload: &[u8]) -> RequestId {
        let (request, payload) = (self.next_request(), Bytes::copy_from_slice(payload));
        self.command(net, Command::Send { request, target, payload });
        request
    }

    /// Sends over the edge.
    pub fn send_direct(&mut self, net: &Net, target: NodeId, payload: &[u8]) -> RequestId {
        let (request, payload) = (self.next_request(), Bytes::copy_from_slice(payload));
        self.command(net, Command::SendDirect { request, target, payload });
        request
    }

    /// Gives a command.
    pub fn command(&mut self, net: &Net, command: Command) {
        self.node.handle_input(net.now, Input::Command(command));
    }

    /// Takes all payloads that were delivered, with their originators.
    pub fn take_delivered(&mut self) -> Vec<(NodeId, Bytes)> {
        let mut delivered = Vec::new();
        self.events.retain(|event| match event {
            Event::Delivered { originator, payload, .. } => {
                delivered.push((*originator, payload.clone()));
                false
            }
            _ => true,
        });
        delivered
    }

    /// The peers to which there are edges.
    pub fn neighbours(&self) -> Vec<NodeId> {
        self.node.edges().iter().map(|edge| edge.peer).collect()
    }

    /// Makes the socket refuse what is to be sent, after one more batch that the driver keeps, or
    /// take it again.
    pub fn set_socket_full(&mut self, is_full: bool) {
        self.driver.is_full = is_full;
    }

    /// Whether the socket is full.
    pub fn is_socket_full(&self) -> bool {
        self.driver.is_full
    }

    /// Forgets what the full socket could not take, as a driver must not.
    pub fn forget_refused(&mut self) {
        self.driver.refused = None;
    }

    /// One poll that finds nothing.
    ///
    /// # Panics
    /// If it finds something.
    pub fn poll_idle(&mut self) {
        let output = self.node.poll_output(&mut self.buf);
        assert!(matches!(output, crate::node::Output::Timeout(_)), "{output:?}");
    }

    fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }
}

impl Host for NodeHost {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { from: remote, to, ecn, data } = datagram;
        let further = self.driver.sockets.iter().find(|(_, addr)| **addr == to);
        let socket = further.map_or(SocketId::MAIN, |(socket, _)| *socket);
        let input = Input::Datagram { socket, remote, local_ip: None, ecn, data };
        self.node.handle_input(now, input);
    }

    fn expire(&mut self, now: Instant) {
        self.node.handle_timeout(now);
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        if !self.driver.is_full
            && let Some((outgoing, bytes)) = self.driver.refused.take()
        {
            out.push(outgoing, &bytes);
        }
        while self.driver.refused.is_none() {
            let outlet = (&mut self.driver, &mut self.events, &mut *out, self.addr.ip());
            let drained = drain(&mut self.node, &mut self.buf, &mut OutletOf(outlet));
            if let Drained::Idle(deadline) = drained {
                self.deadline = deadline.map(|deadline| deadline.at);
            }
            let opened = std::mem::take(&mut self.driver.opened);
            if opened.is_empty() {
                break;
            }
            for socket in opened {
                let input = match self.driver.sockets.get(&socket) {
                    Some(&local) => Input::SocketOpened { socket, local },
                    None => continue,
                };
                self.node.handle_input(now, input);
            }
        }
        if self.checks {
            self.node.check();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.driver.refused.is_none())
    }

    fn realm(&self) -> Realm {
        self.realm
    }

    fn listens_at(&self, addr: SocketAddr) -> bool {
        addr == self.addr || self.driver.sockets.values().any(|local| *local == addr)
    }
}

/// What one drain works on: the sockets, the events, the network, the address of the host.
struct OutletOf<'a>((&'a mut Driver, &'a mut Vec<Event>, &'a mut Outbox, IpAddr));

impl Outlet for OutletOf<'_> {
    fn transmit(&mut self, transmit: &Transmit, bytes: &[u8]) -> bool {
        let (driver, _, out, _) = &mut self.0;
        let from = driver.sockets.get(&transmit.socket).copied();
        let is_open = transmit.socket == SocketId::MAIN || from.is_some();
        assert!(is_open, "{:?} is not open", transmit.socket);
        assert!(!bytes.is_empty(), "a datagram of a node has a payload");
        let outgoing = Outgoing { from, ..Outgoing::from(transmit) };
        if driver.is_full {
            driver.refused = Some((outgoing, bytes.to_vec()));
            return false;
        }
        out.push(outgoing, bytes);
        true
    }

    fn event(&mut self, event: Event) {
        self.0.1.push(event);
    }

    fn open_socket(&mut self, socket: SocketId, local_ip: IpAddr) {
        let (driver, _, _, host) = &mut self.0;
        let ip = if local_ip.is_unspecified() { *host } else { local_ip };
        let port = SOCKET_PORT.saturating_add(driver.sockets_ever);
        driver.sockets_ever += 1;
        let before = driver.sockets.insert(socket, SocketAddr::new(ip, port));
        assert!(before.is_none() && socket != SocketId::MAIN, "{socket:?} was used before");
        driver.opened.push(socket);
    }

    fn close_socket(&mut self, socket: SocketId) {
        let closed = self.0.0.sockets.remove(&socket);
        assert!(closed.is_some(), "{socket:?} is not open");
    }
}

#[cfg(test)]
mod tests {
    use super::{NodeHost, OutletOf};
    use crate::drive::Outlet;
    use crate::io::{SocketId, Transmit};
    use crate::testkit::{Host, Net, Outbox, addr};

    #[test]
    fn a_further_socket_is_served_until_it_is_closed() {
        let net = Net::new(1);
        let mut host = NodeHost::new(1, &net);
        let mut out = Outbox::default();
        let (socket, remote) = (SocketId(7), addr(2));
        let (segment_len, ttl) = (None, Some(2));
        let transmit = Transmit { socket, remote, local_ip: None, ecn: None, segment_len, ttl };
        let NodeHost { driver, events, addr: own, .. } = &mut host;
        let mut outlet = OutletOf((driver, events, &mut out, own.ip()));
        outlet.open_socket(socket, "0.0.0.0".parse().expect("a literal of this test"));
        assert!(outlet.transmit(&transmit, b"from there"));
        let (outgoing, bytes) = out.batches().next().expect("it was sent");
        let local = outgoing.from.expect("not from the main socket");
        assert_eq!((local.ip(), outgoing.to, bytes), (addr(1).ip(), remote, &b"from there"[..]));
        assert_eq!(outgoing.ttl, ttl);
        assert!(host.listens_at(local) && local != host.addr);

        let NodeHost { driver, events, addr: own, .. } = &mut host;
        OutletOf((driver, events, &mut Outbox::default(), own.ip())).close_socket(socket);
        assert!(!host.listens_at(local));
    }
}
