use std::net::SocketAddr;

use super::*;
use crate::api::{AddressPolicy, Config, KnownPeer, SelfDescription};
use crate::context::testing::Surroundings;
use crate::env::{Crypto, Ed25519Crypto};
use crate::overlay::edges::Peer;
use crate::overlay::edges::budgets::EdgeBudgets;
use crate::overlay::peers::{Observation, Provenance};
use crate::wire::envelope::HOP_LIMIT_MAX;
use crate::wire::{FrameHeader, RoutedFrame};

const SECOND: Duration = Duration::from_secs(1);
const NONCE: Nonce = [7; 8];
/// The conn that a question arrives on.
const CONN: ConnId = ConnId(900);
const ASKER: u8 = 250;

/// The contacts and edges of a node that is asked, and what a context borrows.
struct Bench {
    peers: Peers,
    edges: EdgeTable,
    around: Surroundings,
}

fn key(number: u8) -> [u8; 32] {
    [number; 32]
}

fn id(number: u8) -> NodeId {
    Ed25519Crypto.node_id(&key(number))
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 4242))
}

/// A contact of which an answer says this.
fn told(number: u8, capabilities: Capabilities, addrs: &[SocketAddr]) -> wire::Contact {
    let addrs = addrs.iter().copied().map(Addr::from_socket_addr).collect();
    wire::Contact { key: Some(key(number)), capabilities, addrs, ..wire::Contact::new(id(number)) }
}

/// Of a contact without capabilities.
fn plain(number: u8, addrs: &[SocketAddr]) -> wire::Contact {
    told(number, Capabilities(0), addrs)
}

/// The numbers of these peers, the nearest to `target` first.
fn by_distance(target: &NodeId, numbers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut numbers: Vec<u8> = numbers.into_iter().collect();
    numbers.sort_by(|a, b| target.compare_distance(&id(*a), &id(*b)));
    numbers
}

impl Bench {
    fn new(config: Config) -> Self {
        let around = Surroundings::new(config);
        let own = around.identity.id();
        let peers = Peers::new(own, &around.config, around.now);
        Self { peers, edges: EdgeTable::new(own), around }
    }

    fn act<T>(
        &mut self,
        act: impl FnOnce(&mut Peers, &mut Context<'_, Action>, &EdgeTable) -> T,
    ) -> (T, Vec<Action>) {
        let Self { peers, edges, around } = self;
        around.run(|cx| act(peers, cx, edges))
    }

    /// There is an edge to a peer that is at `remote`.
    fn edge(&mut self, number: u8, remote: Option<SocketAddr>) {
        let (now, conn) = (self.around.now, ConnId(number.into()));
        let budgets = || EdgeBudgets::new(now);
        self.edges.attach(now, id(number), key(number), conn, true, budgets);
        if let Some(remote) = remote {
            self.around.paths.set(conn, remote, SECOND);
        }
    }

    /// A peer is known by gossip.
    fn gossip(&mut self, number: u8, addrs: &[SocketAddr]) {
        let known = KnownPeer { id: id(number), key: key(number), addrs: addrs.to_vec() };
        self.act(|peers, cx, edges| peers.import(cx, edges, &known));
    }

    /// A peer proves itself at this address.
    fn verify(&mut self, number: u8, remote: SocketAddr) {
        let peer = Peer { id: id(number), key: key(number), remote };
        self.act(|peers, cx, edges| peers.observe_probe(cx, edges, peer, 1));
    }

    /// A peer says this of itself.
    fn sign(&mut self, number: u8, capabilities: Capabilities, addrs: &[SocketAddr]) {
        let provenance = Provenance::Signed;
        let (id, key, caps) = (id(number), key(number), Some(capabilities.0));
        let seen = Observation { id, key, caps, addrs, provenance };
        self.peers.table.observe(&seen, self.around.now, &Ed25519Crypto);
    }

    fn siblings(&mut self) -> Vec<Action> {
        let siblings = Siblings { nonce: NONCE };
        let from = id(ASKER);
        self.act(|peers, cx, edges| peers.answer_siblings(cx, edges, CONN, &from, siblings)).1
    }

    fn lookup(&mut self, target: &NodeId) -> Vec<Action> {
        let lookup = Lookup { nonce: NONCE };
        let asker = id(ASKER);
        self.act(|peers, cx, edges| peers.answer_lookup(cx, edges, &asker, target, lookup)).1
    }

    /// The contacts that the answer to a lookup names, without this node.
    fn named(&mut self, target: &NodeId) -> Vec<wire::Contact> {
        let actions = self.lookup(target);
        let mut contacts = offered(&actions).3;
        assert_eq!(contacts.pop(), Some(self.own()), "this node comes last");
        contacts
    }

    /// Their numbers.
    fn numbers(&mut self, target: &NodeId) -> Vec<u8> {
        let number = |contact: &wire::Contact| {
            contact.key.expect("the key is always told").first().copied().expect("it has 32 bytes")
        };
        self.named(target).iter().map(number).collect()
    }

    /// This node as its answers describe it.
    fn own(&self) -> wire::Contact {
        let (identity, own) = (&self.around.identity, &self.around.own);
        wire::Contact {
            key: Some(*identity.public_key()),
            capabilities: own.capabilities(),
            addrs: own.addrs().iter().copied().map(Addr::from_socket_addr).collect(),
            ..wire::Contact::new(identity.id())
        }
    }

    fn own_id(&self) -> NodeId {
        self.around.identity.id()
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

/// The one frame that is offered: its class, the conns, the envelope, and the contacts in it. Its
/// signature is checked.
fn offered(actions: &[Action]) -> (Class, Vec<ConnId>, Envelope, Vec<wire::Contact>) {
    let [Action::Offer { class, frame, hops }] = actions else { panic!("{actions:?}") };
    let (header, at) = FrameHeader::of(frame).expect("it is a whole frame");
    assert_eq!(header.frame_type(), Some(FrameType::Neighbors));
    let message =
        RoutedFrame::parse(frame.clone(), FrameType::Neighbors, at).expect("it is routed");
    assert!(message.is_signed(&message.signing_digest(&Ed25519Crypto), &Ed25519Crypto));
    let bytes = frame.to_bytes();
    let envelope: Envelope = wire::Decode::decode_exact(&bytes[at..]).expect("it is an envelope");
    let answer: Neighbors = wire::Decode::decode_exact(&envelope.payload).expect("it is an answer");
    assert_eq!(answer.nonce, NONCE);
    (*class, hops.to_vec(), envelope, answer.contacts.as_slice().to_vec())
}

#[test]
fn an_answer_to_a_neighbour_stays_on_its_edge() {
    let mut bench = Bench::default();
    bench.edge(1, Some(addr(1)));
    let actions = bench.siblings();
    let (class, hops, envelope, contacts) = offered(&actions);
    assert_eq!((class, hops), (Class::Control, vec![CONN]));
    assert_eq!((envelope.target, envelope.hop_limit), (id(ASKER), 1));
    assert_eq!(envelope.key, *bench.around.identity.public_key());
    assert_eq!((envelope.sent, envelope.avoid.len()), (bench.around.wall, 0));
    assert_eq!(contacts, [plain(1, &[addr(1)]), bench.own()]);
}

#[test]
fn an_answer_to_a_neighbour_names_the_nodes_near_this_one() {
    let mut bench = Bench::default();
    (1..=20).for_each(|number| bench.edge(number, None));
    let nearest = by_distance(&bench.own_id(), 1..=20);
    let actions = bench.siblings();
    let mut expected: Vec<_> = nearest[..16].iter().map(|number| plain(*number, &[])).collect();
    expected.push(bench.own());
    assert_eq!(offered(&actions).3, expected);
}

#[test]
fn an_answer_to_a_lookup_is_routed_over_one_of_the_three_nearest_edges() {
    let mut bench = Bench::default();
    let target = id(77);
    for count in 0..=5 {
        let nearest = by_distance(&id(ASKER), 1..=count);
        let conns = nearest.iter().take(3).map(|number| ConnId(u64::from(*number)));
        let conns: Vec<ConnId> = conns.collect();
        let actions = bench.lookup(&target);
        let (class, hops, envelope, contacts) = offered(&actions);
        assert_eq!((class, hops), (Class::Transit, conns));
        assert_eq!((envelope.target, envelope.hop_limit), (id(ASKER), HOP_LIMIT_MAX));
        let mut expected: Vec<_> =
            by_distance(&target, 1..=count).iter().map(|number| plain(*number, &[])).collect();
        expected.push(bench.own());
        assert_eq!(contacts, expected, "the nearest to the target first");
        bench.edge(count + 1, None);
    }
}

#[test]
fn this_node_describes_itself_with_its_addresses_and_capabilities() {
    let config = Config { public_addrs: vec![addr(1)], ..Config::default() };
    let mut bench = Bench::new(config);
    bench.around.own.set_local_addrs(&[addr(2)]);
    let own = wire::Contact {
        id: bench.own_id(),
        key: Some(*bench.around.identity.public_key()),
        ..told(0, Capabilities::PUBLIC_ANCHOR, &[addr(1), addr(2)])
    };
    let actions = bench.siblings();
    assert_eq!(offered(&actions).3, [own]);
}

#[test]
fn the_address_policy_decides_which_askers_get_the_addresses_of_this_node() {
    use AddressPolicy::{Anyone, Known, RelayOnly};
    for (address_policy, to_others, to_neighbours) in
        [(Anyone, 1, 1), (Known, 0, 1), (RelayOnly, 0, 0)]
    {
        let public_addrs = vec![addr(1)];
        let mut bench = Bench::new(Config { address_policy, public_addrs, ..Config::default() });
        let told = |bench: &mut Bench| {
            let actions = bench.lookup(&id(77));
            offered(&actions).3.pop().expect("this node comes last").addrs.len()
        };
        bench.edge(1, None);
        assert_eq!(told(&mut bench), to_others, "{address_policy:?}");
        bench.edge(ASKER, None);
        assert_eq!(told(&mut bench), to_neighbours, "{address_policy:?}");
    }
}

#[test]
fn a_peer_without_an_edge_is_named_for_ten_minutes_after_it_was_heard() {
    let mut bench = Bench::default();
    bench.gossip(1, &[addr(1)]);
    bench.verify(2, addr(2));
    bench.sign(3, Capabilities(0), &[addr(3)]);
    bench.sign(4, Capabilities(0), &[]);
    let target = id(77);
    let mut expected: Vec<_> = by_distance(&target, [2, 3])
        .iter()
        .map(|number| plain(*number, &[addr(*number)]))
        .collect();
    assert_eq!(bench.named(&target), expected, "no gossip, and none without an address");
    bench.around.pass(600 * SECOND);
    assert_eq!(bench.named(&target), expected);
    bench.around.pass(Duration::from_millis(100));
    assert_eq!(bench.named(&target), []);
    bench.verify(2, addr(2));
    expected.retain(|contact| contact.id == id(2));
    assert_eq!(bench.named(&target), expected);
}

#[test]
fn a_peer_without_an_edge_is_not_named_once_a_dial_failed() {
    let mut bench = Bench::default();
    bench.verify(1, addr(1));
    bench.act(|peers, cx, edges| peers.observe_failed_attempt(cx, edges, &id(1), false));
    assert_eq!(bench.named(&id(77)), []);
    bench.edge(1, None);
    assert_eq!(bench.named(&id(77)), [plain(1, &[addr(1)])], "an edge shows that it lives");
    bench.around.pass(601 * SECOND);
    assert_eq!(bench.named(&id(77)), [plain(1, &[addr(1)])]);
}

#[test]
fn sixteen_peers_are_named_the_nearest_first_whether_edges_or_contacts() {
    let mut bench = Bench::default();
    for number in 1..=30 {
        if number % 2 == 0 {
            bench.edge(number, None);
        } else {
            bench.sign(number, Capabilities(0), &[addr(number)]);
        }
    }
    for target in [id(77), id(5), id(6), bench.own_id()] {
        assert_eq!(bench.numbers(&target), by_distance(&target, 1..=30)[..16]);
    }
}

#[test]
fn the_node_that_asks_is_left_out_and_does_not_take_a_place() {
    let mut bench = Bench::default();
    let target = id(ASKER);
    (1..=20).for_each(|number| bench.edge(number, None));
    bench.edge(ASKER, Some(addr(1)));
    assert_eq!(bench.numbers(&target), by_distance(&target, 1..=20)[..16]);
    let mut bench = Bench::default();
    (1..=20).for_each(|number| bench.sign(number, Capabilities(0), &[addr(number)]));
    bench.sign(ASKER, Capabilities(0), &[addr(1)]);
    assert_eq!(bench.numbers(&target), by_distance(&target, 1..=20)[..16]);
}

#[test]
fn an_edge_is_named_where_it_proved_itself_where_it_says_that_it_is_and_where_it_is_now() {
    let mut bench = Bench::default();
    bench.edge(1, Some(addr(3)));
    bench.gossip(1, &[addr(9)]);
    bench.verify(1, addr(1));
    bench.sign(1, Capabilities::CAN_RELAY, &[addr(2)]);
    let expected = told(1, Capabilities::CAN_RELAY, &[addr(1), addr(2), addr(3)]);
    assert_eq!(bench.named(&id(77)), [expected]);
    bench.around.paths.set(ConnId(1), addr(2), SECOND);
    let expected = told(1, Capabilities::CAN_RELAY, &[addr(1), addr(2)]);
    assert_eq!(bench.named(&id(77)), [expected], "no address twice");
}

#[test]
fn an_edge_of_which_nothing_is_known_is_named_with_its_key_and_where_it_is_now() {
    let mut bench = Bench::default();
    bench.edge(1, Some(addr(1)));
    bench.edge(2, None);
    let expected = by_distance(&id(77), [1, 2]);
    let expected: Vec<_> = expected
        .iter()
        .map(|number| if *number == 1 { plain(1, &[addr(1)]) } else { plain(2, &[]) })
        .collect();
    assert_eq!(bench.named(&id(77)), expected);
}

#[test]
fn addresses_that_others_can_not_use_are_left_out() {
    let local = SocketAddr::from(([127, 0, 0, 1], 4242));
    let link = "[fe80::1]:4242".parse().expect("a literal");
    for (allow_local_addrs, expected) in [(false, vec![addr(1)]), (true, vec![local, addr(1)])] {
        let mut bench = Bench::new(Config { allow_local_addrs, ..Config::default() });
        bench.sign(1, Capabilities(0), &[local, addr(1)]);
        assert_eq!(bench.named(&id(77)), [plain(1, &expected)]);
        bench.edge(1, Some(link));
        let now = if allow_local_addrs { vec![local, addr(1), link] } else { expected };
        assert_eq!(bench.named(&id(77)), [plain(1, &now)]);
    }
}

#[test]
fn a_peer_is_called_light_only_if_it_says_so_itself() {
    let light = Capabilities::LIGHT.with(Capabilities::CAN_RELAY);
    let mut bench = Bench::default();
    bench.sign(1, light, &[addr(1)]);
    let provenance = Provenance::Gossiped;
    let (id_of_second, key, caps) = (id(2), key(2), Some(light.0));
    let seen = Observation { id: id_of_second, key, caps, addrs: &[addr(2)], provenance };
    bench.peers.table.observe(&seen, bench.around.now, &Ed25519Crypto);
    bench.act(|peers, cx, _| peers.confirm(cx, &id(2)));
    // Gossip gives no address that is passed on.
    let expected = by_distance(&id(77), [1, 2]);
    let describe = |number: &u8| match number {
        1 => told(1, light, &[addr(1)]),
        _ => told(2, Capabilities::CAN_RELAY, &[]),
    };
    assert_eq!(bench.named(&id(77)), expected.iter().map(describe).collect::<Vec<_>>());
    for (number, remote) in [(1, addr(1)), (2, addr(2))] {
        bench.edge(number, Some(remote));
    }
    let describe = |number: &u8| match number {
        1 => told(1, light, &[addr(1)]),
        _ => told(2, Capabilities::CAN_RELAY, &[addr(2)]),
    };
    assert_eq!(bench.named(&id(77)), expected.iter().map(describe).collect::<Vec<_>>());
}

#[test]
fn an_edge_whose_contact_waits_for_a_place_is_described_all_the_same() {
    let mut bench = Bench::default();
    let own = bench.own_id();
    let same_bucket = (1..=u8::MAX).filter(|number| own.common_prefix_len(&id(*number)) == 0);
    let numbers: Vec<u8> = same_bucket.take(21).collect();
    for &number in &numbers {
        bench.sign(number, Capabilities::CAN_RELAY, &[addr(number)]);
    }
    let waiting = numbers[20];
    assert!(bench.peers.table.get(&id(waiting)).is_none(), "the bucket is full");
    bench.edge(waiting, None);
    let nearest = told(waiting, Capabilities::CAN_RELAY, &[addr(waiting)]);
    assert_eq!(bench.named(&id(waiting)).first(), Some(&nearest));
}

#[test]
fn an_answer_of_a_light_node_says_that_it_is_one() {
    let profile = crate::api::Profile::Light;
    let mut bench = Bench::new(Config { profile, ..Config::default() });
    assert_eq!(bench.own().capabilities, Capabilities::LIGHT);
    let actions = bench.siblings();
    assert_eq!(offered(&actions).3, [bench.own()]);
    bench.around.own = SelfDescription::new(&Config::default());
    let actions = bench.siblings();
    assert_eq!(offered(&actions).3[0].capabilities, Capabilities(0));
}
