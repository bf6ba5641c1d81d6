//! The oracle against the NAT boxes of the test kit, with bare UDP.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use nodenet_proto::env::Seed;
use nodenet_proto::testkit::nat_box::{Behavior, Collision, NatBox, NatConfig, PortAllocation};
use nodenet_proto::testkit::{Net, Puppet, Realm};

use super::{DirectPath, NatKind, direct_path, direct_path_possible};

/// Rounds of an attempt. The longest chain of discoveries that was seen takes four.
const ROUNDS: usize = 8;
/// Longer than a datagram takes there and back.
const ROUND: Duration = Duration::from_millis(50);
/// Endpoints of the other to which a host sends, at most.
const CANDIDATES_MAX: usize = 24;

#[test]
fn the_boxes_agree_with_the_oracle_for_every_pair_of_behaviors() {
    let kinds = kinds();
    let mut counts = [0; 3];
    for (number, a) in kinds.iter().enumerate() {
        for b in &kinds {
            let expected = direct_path(kind_of(a), kind_of(b));
            let seed = 1_000 + number as u64;
            let seen = Attempt::new(seed, a, b, false).succeeds();
            let guessed = Attempt::new(seed, a, b, true).succeeds();
            let found = match (seen, guessed) {
                (true, _) => DirectPath::Possible,
                (false, true) => DirectPath::ByGuessing,
                (false, false) => DirectPath::Impossible,
            };
            assert_eq!(found, expected, "{a:?} and {b:?}");
            assert!(guessed || !seen, "a guess never does harm: {a:?} and {b:?}");
            counts[expected as usize] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 50), "every outcome occurs: {counts:?}");
}

#[test]
fn the_order_of_two_hosts_does_not_matter() {
    for a in kinds().iter().map(kind_of) {
        for b in kinds().iter().map(kind_of) {
            assert_eq!(direct_path(a, b), direct_path(b, a), "{a:?} and {b:?}");
        }
    }
}

/// The table that RFC 5128 and common usage have: full cone, restricted cone, port-restricted cone,
/// symmetric.
#[test]
fn the_classical_table_holds() {
    use Behavior::{
        AddressAndPortDependent as Both, AddressDependent as Address, EndpointIndependent as None,
    };
    let kind =
        |(mapping, filtering)| NatKind { mapping, filtering, allocation: PortAllocation::Random };
    let [full, restricted, port_restricted, symmetric] =
        [(None, None), (None, Address), (None, Both), (Both, Both)].map(kind);
    for cone in [full, restricted, port_restricted] {
        assert!(direct_path_possible(cone, NatKind::PUBLIC));
        for other in [full, restricted, port_restricted] {
            assert!(direct_path_possible(cone, other));
        }
    }
    assert!(direct_path_possible(symmetric, NatKind::PUBLIC));
    assert!(direct_path_possible(symmetric, full));
    assert!(direct_path_possible(symmetric, restricted));
    assert_eq!(direct_path(symmetric, port_restricted), DirectPath::Impossible);
    assert_eq!(direct_path(symmetric, symmetric), DirectPath::Impossible);
}

/// What is before a host: nothing, a firewall, or a NAT box.
#[derive(Debug, Clone)]
enum Before {
    Nothing,
    Firewall(Behavior),
    Nat(NatConfig),
}

fn kinds() -> Vec<Before> {
    let mut kinds = vec![Before::Nothing];
    kinds.extend(Behavior::ALL.map(Before::Firewall));
    for mapping in Behavior::ALL {
        for filtering in Behavior::ALL {
            for allocation in [
                PortAllocation::Preserving(Collision::Random),
                PortAllocation::Sequential { step: 1 },
                PortAllocation::Sequential { step: 4 },
                PortAllocation::Random,
            ] {
                let config = NatConfig { mapping, filtering, allocation, ..NatConfig::default() };
                kinds.push(Before::Nat(config));
            }
        }
    }
    kinds
}

fn kind_of(before: &Before) -> NatKind {
    match before {
        Before::Nothing => NatKind::PUBLIC,
        Before::Firewall(filtering) => NatKind::firewall(*filtering),
        Before::Nat(config) => config.into(),
    }
}

/// A host that looks for a path to the other one.
struct Peer {
    puppet: Puppet,
    /// Endpoints of the other.
    candidates: BTreeSet<SocketAddr>,
    has_path: bool,
}

impl Peer {
    fn new(net: &mut Net, number: u8, before: &Before, seed: &Seed) -> Self {
        let (external, private) = ([203, 0, 113, number].into(), [10, 0, 0, number].into());
        let nat = match before {
            Before::Nothing => None,
            Before::Firewall(filtering) => Some(NatBox::firewall(*filtering, seed)),
            Before::Nat(config) => Some(NatBox::new(config.clone(), vec![external], seed)),
        };
        let ip = if matches!(before, Before::Nat(_)) { private } else { external };
        let realm = nat.map_or(Realm::PUBLIC, |nat| net.add_gateway(Realm::PUBLIC, nat));
        if realm != Realm::PUBLIC {
            net.place(realm, ip);
        }
        let puppet = Puppet::within(realm, SocketAddr::new(ip, 4242));
        Self { puppet, candidates: BTreeSet::new(), has_path: false }
    }

    /// Asks at every endpoint of the other that is known. A question names where it goes.
    fn ask(&mut self) {
        for candidate in &self.candidates {
            self.puppet.send(*candidate, format!("question {candidate}"));
        }
    }

    /// Answers questions. An answer from where its question went is a path.
    fn answer(&mut self) {
        for (from, data) in self.puppet.take_heard() {
            let text = String::from_utf8(data).expect("peers send text");
            match text.split_once(' ').expect("peers send two words") {
                ("question", asked) => self.puppet.send(from, format!("answer {asked}")),
                (_, asked) => self.has_path |= asked == from.to_string(),
            }
            if self.candidates.len() < CANDIDATES_MAX {
                self.candidates.insert(from);
            }
        }
    }
}

/// Two hosts that learn their reflexive endpoints and then send to each other.
struct Attempt {
    net: Net,
    peers: [Peer; 2],
    servers: [Puppet; 3],
}

impl Attempt {
    fn new(seed: u64, a: &Before, b: &Before, guesses: bool) -> Self {
        let mut net = Net::new(seed);
        let seed = Seed::from_u64(seed);
        let peers = [(1, a), (2, b)].map(|(number, before)| {
            Peer::new(&mut net, number, before, &seed.child("box", number.into()))
        });
        let servers =
            [1, 2, 3].map(|host| Puppet::new(SocketAddr::from(([198, 51, 100, host], 3478))));
        let mut attempt = Self { net, peers, servers };
        let [first, second] = [0, 1].map(|peer| attempt.reflexive(peer, guesses));
        attempt.peers[0].candidates.insert(second);
        attempt.peers[1].candidates.insert(first);
        attempt
    }

    /// The endpoint at which a host is to be asked: the one that a server saw last, or the one that
    /// follows if a sequence shows and guesses are allowed.
    fn reflexive(&mut self, peer: usize, guesses: bool) -> SocketAddr {
        let mut seen = Vec::new();
        for server in 0..self.servers.len() {
            self.peers[peer].puppet.send(self.servers[server].addr, "who am I");
            self.run();
            seen.extend(self.servers[server].take_heard().into_iter().map(|(from, _)| from));
        }
        let [first, second, last] = seen[..] else { panic!("every server is reached: {seen:?}") };
        let step = last.port().wrapping_sub(second.port());
        let is_sequence = second.port().wrapping_sub(first.port()) == step;
        let follows = if guesses && is_sequence { step } else { 0 };
        SocketAddr::new(last.ip(), last.port().wrapping_add(follows))
    }

    fn succeeds(&mut self) -> bool {
        for _ in 0..ROUNDS {
            self.peers.iter_mut().for_each(Peer::ask);
            for _ in 0..2 {
                self.run();
                self.peers.iter_mut().for_each(Peer::answer);
            }
        }
        let [a, b] = &self.peers;
        a.has_path || b.has_path
    }

    fn run(&mut self) {
        let Self { net, peers: [a, b], servers: [first, second, third] } = self;
        net.run(&mut [&mut a.puppet, &mut b.puppet, first, second, third], ROUND);
    }
}
