//! Host of bare UDP: sockets at every port of its addresses, which ask and answer in plain text.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use nodenet_proto::testkit::host::Outgoing;
use nodenet_proto::testkit::nat_box::nat64_address;
use nodenet_proto::testkit::{Datagram, Host, Outbox, Realm};

use crate::net::access::Placed;

/// The port of its first socket.
pub(super) const PORT: u16 = 4_242;
/// Endpoints of the other to which a host sends, at most.
const CANDIDATES_MAX: usize = 24;

/// A host that looks for a path to another one.
#[derive(Debug)]
pub(super) struct BareHost {
    realm: Realm,
    ips: Vec<IpAddr>,
    /// Endpoints of the other, as this host has to name them.
    pub(super) candidates: BTreeSet<SocketAddr>,
    /// Datagrams that it sent.
    pub(super) sent: u32,
    /// When an answer came from where its question went.
    pub(super) path_at: Option<Instant>,
    waiting: VecDeque<(Outgoing, Vec<u8>)>,
}

impl BareHost {
    pub(super) fn new(placed: &Placed) -> Self {
        Self {
            realm: placed.realm,
            ips: placed.ips.clone(),
            candidates: BTreeSet::new(),
            sent: 0,
            path_at: None,
            waiting: VecDeque::new(),
        }
    }

    /// Whether it has an address of the family.
    pub(super) fn has(&self, is_ipv4: bool) -> bool {
        self.ips.iter().any(|ip| ip.is_ipv4() == is_ipv4)
    }

    /// Its endpoint on the local network.
    pub(super) fn own(&self) -> impl Iterator<Item = SocketAddr> {
        self.ips.iter().map(|ip| SocketAddr::new(*ip, PORT))
    }

    /// The name of a public endpoint for this host: without IPv4 an address of the NAT64.
    pub(super) fn name_of(&self, public: SocketAddr) -> Option<SocketAddr> {
        match public.ip() {
            ip if self.has(ip.is_ipv4()) => Some(public),
            IpAddr::V4(ip) => Some(SocketAddr::new(nat64_address(ip).into(), public.port())),
            IpAddr::V6(_) => None,
        }
    }

    /// Learns an endpoint of the other.
    pub(super) fn learn(&mut self, candidate: SocketAddr) {
        if self.candidates.len() < CANDIDATES_MAX {
            self.candidates.insert(candidate);
        }
    }

    /// Asks at an endpoint. A question names where it goes.
    pub(super) fn ask(&mut self, to: SocketAddr, own_port: u16, ttl: Option<u8>) {
        let ip = self.ips.iter().find(|ip| ip.is_ipv4() == to.is_ipv4());
        let from = ip.map(|ip| SocketAddr::new(*ip, own_port));
        self.say(Outgoing { from, ttl, ..Outgoing::new(to) }, format!("question {to}"));
    }

    /// Asks at every endpoint of the other that is known.
    pub(super) fn ask_all(&mut self, ttl: Option<u8>) {
        for candidate in self.candidates.clone() {
            self.ask(candidate, PORT, ttl);
        }
    }

    /// Sends what a server shows the source of.
    pub(super) fn greet(&mut self, server: SocketAddr) {
        self.ask(server, PORT, None);
    }

    fn say(&mut self, outgoing: Outgoing, text: String) {
        self.sent += 1;
        self.waiting.push_back((outgoing, text.into_bytes()));
    }
}

impl Host for BareHost {
    fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.ips[0], PORT)
    }

    /// Answers a question where it came from. An answer from where its question went is a path.
    fn receive(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { from, to, data, .. } = datagram;
        let text = String::from_utf8_lossy(&data).into_owned();
        match text.split_once(' ') {
            Some(("question", asked)) => {
                let outgoing = Outgoing { from: Some(to), ..Outgoing::new(from) };
                self.say(outgoing, format!("answer {asked}"));
            }
            Some((_, asked)) if asked == from.to_string() => {
                self.path_at = self.path_at.or(Some(now));
            }
            _ => {}
        }
        self.learn(from);
    }

    fn expire(&mut self, _now: Instant) {}

    fn drain(&mut self, _now: Instant, out: &mut Outbox) {
        for (outgoing, text) in self.waiting.drain(..) {
            out.push(outgoing, &text);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn realm(&self) -> Realm {
        self.realm
    }

    fn listens_at(&self, addr: SocketAddr) -> bool {
        self.ips.contains(&addr.ip())
    }
}
