//! Bare UDP between two hosts behind boxes, with a perfect schedule: what the oracle is checked by.
//!
//! Responsible for: one attempt of two hosts that know everything about their boxes, in virtual
//! time. Never: QUIC, routing, an algorithm that a node could run.
//!
//! Both hosts learn their reflexive endpoints from three servers. Then both send to each other at
//! the same time: first with a TTL that only leaves their own boxes, then in full, again and again.

mod host;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use nodenet_proto::env::{Random, Seed};
use nodenet_proto::testkit::nat_box::{BoxKind, NatConfig, PortAllocation};
use nodenet_proto::testkit::{Host, LinkProfile, Net, Puppet};

use super::access::Access;
use super::oracle::Relation;
use host::{BareHost, PORT};

/// Rounds of an attempt. The longest chain of discoveries that was seen takes four.
const ROUNDS: u32 = 8;
/// Between the volley with a small TTL and the one in full: until it has left the own boxes.
const LEAD: Duration = Duration::from_millis(5);
/// Rounds of a spray, each of so many ports: 2,000 packets.
const SPRAY_ROUNDS: u32 = 100;
const SPRAY_PORTS: usize = 20;
/// Between two rounds of a spray: 100 packets a second.
const SPRAY_PAUSE: Duration = Duration::from_millis(200);
/// Sockets that the side with unknown ports opens.
const SPRAY_SOCKETS_MAX: u16 = 256;

/// What the hosts guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// Nothing.
    Nothing,
    /// The next port of a sequence.
    Sequence,
    /// Ports of this host, 0 or 1, which opens many sockets.
    PortsOf(usize),
}

impl Guess {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Sequence, Self::PortsOf(0), Self::PortsOf(1)];
}

/// What an attempt took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// From the first datagram to the first answer that came from where its question went.
    pub took: Option<Duration>,
    /// One round trip between the two.
    pub round_trip: Duration,
    /// Datagrams that both sent.
    pub packets: u32,
}

/// What a spray takes.
#[derive(Debug, Clone)]
struct Spray {
    /// Ports that one host tries.
    ports: RangeInclusive<u16>,
    /// How far they are from the one that was seen, at most.
    distance_max: u16,
    /// Sockets that the other host opens.
    sockets: u16,
}

impl Spray {
    const NONE: Self = Self { ports: 1..=1, distance_max: 0, sockets: 0 };
}

/// Two hosts that learn their reflexive endpoints and then send to each other.
#[derive(Debug)]
pub struct Attempt {
    net: Net,
    hosts: [BareHost; 2],
    /// Three servers with IPv4, then three with IPv6.
    servers: Vec<Puppet>,
    guess: Guess,
    /// Boxes before each host.
    boxes: [u8; 2],
    spray: Spray,
    round_trip: Duration,
    random: Random,
}

impl Attempt {
    /// An attempt between hosts of two kinds.
    pub fn new(seed: &Seed, a: &Access, b: &Access, guess: Guess) -> Self {
        let mut random = seed.stream("bare");
        // From a few hosts in one country to two continents (a guess).
        let latency = Duration::from_millis(5 + random.below(70));
        let mut net = Net::with_seed(seed.child("net", 0));
        net.link = LinkProfile { latency, ..LinkProfile::IDEAL };
        let placed = Access::place_pair(&mut net, [a, b], seed);
        let hosts = placed.each_ref().map(BareHost::new);
        let servers = (1..=3_u8)
            .map(|n| SocketAddr::from((Ipv4Addr::new(192, 0, 2, n), 3_478)))
            .chain((1..=3).map(|n| {
                SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0xff, n, 0, 0, 0, 1), 3_478))
            }))
            .map(Puppet::new)
            .collect();
        let boxes = [a, b].map(|access| access.boxes.len() as u8);
        let spray = match guess {
            Guess::PortsOf(host) => spray_plan([a, b][host]),
            Guess::Nothing | Guess::Sequence => Spray::NONE,
        };
        let round_trip = 2 * latency;
        let mut attempt = Self { net, hosts, servers, guess, boxes, spray, round_trip, random };
        attempt.meet(a.relation(b));
        attempt
    }

    /// Tries until there is a path, or nothing is left to try.
    pub fn run(&mut self) -> Outcome {
        self.hosts.iter_mut().for_each(|host| host.sent = 0);
        let begin = self.net.now;
        self.volley();
        let rounds = if matches!(self.guess, Guess::PortsOf(_)) { 0 } else { ROUNDS };
        for _ in 0..rounds {
            if self.has_path() {
                break;
            }
            self.hosts.iter_mut().for_each(|host| host.ask_all(None));
            self.pass(self.round_trip);
        }
        if let Guess::PortsOf(host) = self.guess {
            self.spray(host);
        }
        let first = self.hosts.iter().filter_map(|host| host.path_at).min();
        let took = first.map(|at| at.saturating_duration_since(begin));
        let packets = self.hosts.iter().map(|host| host.sent).sum();
        Outcome { took, round_trip: self.round_trip, packets }
    }

    /// Each host learns the endpoints of the other.
    fn meet(&mut self, relation: Relation) {
        let seen = [0, 1].map(|host| self.reflexive(host));
        for (host, other) in [(0, 1), (1, 0)] {
            for public in &seen[other] {
                let name = self.hosts[host].name_of(*public);
                name.into_iter().for_each(|name| self.hosts[host].learn(name));
            }
            if relation == Relation::OneLan {
                let own: Vec<_> = self.hosts[other].own().collect();
                own.into_iter().for_each(|own| self.hosts[host].learn(own));
            }
        }
    }

    /// The public endpoints at which a host is to be asked: the ones that a server saw last, or
    /// those that follow if a sequence shows and is to be guessed.
    fn reflexive(&mut self, host: usize) -> Vec<SocketAddr> {
        let mut endpoints = Vec::new();
        for family in [0..3, 3..6] {
            let mut seen = Vec::new();
            for server in family {
                let at = self.servers[server].addr;
                let Some(name) = self.hosts[host].name_of(at) else { continue };
                self.hosts[host].greet(name);
                self.pass(self.round_trip);
                let heard = self.servers[server].take_heard();
                seen.extend(heard.into_iter().map(|(from, _)| from));
            }
            let [first, second, last] = seen[..] else { continue };
            let step = last.port().wrapping_sub(second.port());
            let is_sequence = second.port().wrapping_sub(first.port()) == step;
            let follows = if self.guess != Guess::Nothing && is_sequence { step } else { 0 };
            endpoints.push(SocketAddr::new(last.ip(), last.port().wrapping_add(follows)));
        }
        endpoints
    }

    /// Opens the own boxes, without reaching those of the other.
    fn volley(&mut self) {
        for (host, boxes) in self.hosts.iter_mut().zip(self.boxes) {
            host.ask_all(Some(boxes + 1));
        }
        self.pass(LEAD);
    }

    /// The host with unknown ports asks from many sockets, the other one asks at many ports.
    fn spray(&mut self, unknown: usize) {
        let known = 1 - unknown;
        let Spray { ports, distance_max, sockets } = self.spray.clone();
        let names: Vec<_> = self.hosts[unknown].candidates.iter().copied().collect();
        let ips: Vec<_> = self.hosts[known].candidates.iter().copied().collect();
        let (Some(name), Some(other)) = (names.first().copied(), ips.first().copied()) else {
            return;
        };
        // A datagram in full could be early at a router that accepts what is for itself.
        let ttl = Some(self.boxes[unknown] + 1);
        let open = |host: &mut BareHost| {
            (1..=sockets).for_each(|socket| host.ask(name, PORT + socket, ttl));
        };
        open(&mut self.hosts[unknown]);
        self.pass(LEAD);
        let is_near = |port: &u16| port.abs_diff(other.port()) <= distance_max;
        let mut ports: Vec<u16> = ports.filter(is_near).collect();
        for round in 0..SPRAY_ROUNDS {
            if self.has_path() || ports.is_empty() {
                break;
            }
            if round % 10 == 9 {
                // What the boxes of the host hold for these sockets stays alive.
                open(&mut self.hosts[unknown]);
            }
            for _ in 0..SPRAY_PORTS.min(ports.len()) {
                let port = ports.swap_remove(self.random.below(ports.len() as u64) as usize);
                self.hosts[known].ask(SocketAddr::new(other.ip(), port), PORT, None);
            }
            self.pass(SPRAY_PAUSE);
        }
        self.pass(self.round_trip);
    }

    fn has_path(&self) -> bool {
        self.hosts.iter().any(|host| host.path_at.is_some())
    }

    fn pass(&mut self, span: Duration) {
        let Self { net, hosts: [a, b], servers, .. } = self;
        let mut all: Vec<&mut dyn Host> = vec![a, b];
        all.extend(servers.iter_mut().map(|server| server as &mut dyn Host));
        net.run(&mut all, span);
    }
}

/// What a spray of the ports of a host takes: a quarter of the ports of its block, or of all that
/// its box has, up to a limit.
fn spray_plan(access: &Access) -> Spray {
    let outermost = access.boxes.iter().rev().find(|step| step.is_translator);
    let ports = match outermost.map(|step| &step.kind) {
        Some(BoxKind::Translator(config) | BoxKind::Nat64(config)) => config.ports.clone(),
        Some(BoxKind::Linux(config)) => config.ports.clone().unwrap_or(1_024..=u16::MAX),
        Some(BoxKind::NoUdp) | None => return Spray::NONE,
    };
    let distance_max = match outermost.map(|step| &step.kind) {
        Some(BoxKind::Translator(NatConfig {
            allocation: PortAllocation::Block { size }, ..
        })) => *size,
        _ => ports.end() - ports.start(),
    };
    let sockets = (distance_max / 4).clamp(1, SPRAY_SOCKETS_MAX);
    Spray { ports, distance_max, sockets }
}
