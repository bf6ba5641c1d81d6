mod answers;
mod edges_down;
mod incumbents;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::*;
use crate::context::testing::Surroundings;
use crate::env::{Crypto, Ed25519Crypto, Random, Seed};
use crate::overlay::edges::Edge;
use crate::overlay::edges::budgets::EdgeBudgets;
use crate::overlay::peers::contact::Tick;
use crate::transport::ConnId;

const SECOND: Duration = Duration::from_secs(1);
const NEW: Observed = Observed { is_new: true, doubtful: None };
const NOTHING_NEW: Observed = Observed { is_new: false, doubtful: None };

use Provenance::{Gossiped, Signed, Verified};

/// The contacts of a node, its edges, and what a context borrows. Observations have no actions.
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

/// The same address as a dual-stack socket reports it.
fn mapped(last: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped(), 4242))
}

fn peer(number: u8, remote: SocketAddr) -> Peer {
    Peer { id: id(number), key: key(number), remote }
}

fn known_peer(number: u8, addrs: &[SocketAddr]) -> KnownPeer {
    KnownPeer { id: id(number), key: key(number), addrs: addrs.to_vec() }
}

/// The random stream of the bench as it is at the start of a test.
fn fresh() -> Random {
    Seed::from_u64(1).stream("test")
}

/// What the table, which counts in tenths of a second, makes of a wait.
fn tenths(wait: Duration) -> Option<Duration> {
    Some(Duration::from_millis(wait.as_millis() as u64 / 100 * 100))
}

impl Bench {
    fn new() -> Self {
        let around = Surroundings::default();
        let own = around.identity.id();
        let peers = Peers::new(own, &around.config, around.now);
        Self { peers, edges: EdgeTable::new(own), around }
    }

    fn run<T>(
        &mut self,
        act: impl FnOnce(&mut Peers, &mut Context<'_, Action>, &EdgeTable) -> T,
    ) -> T {
        let Self { peers, edges, around } = self;
        let (result, actions) = around.run(|cx| act(peers, cx, edges));
        assert!(actions.is_empty(), "{actions:?}");
        self.peers.check();
        result
    }

    fn edge_up(&mut self, number: u8, remote: SocketAddr, is_outgoing: bool) -> (Observed, bool) {
        let peer = peer(number, remote);
        let (conn, is_new, is_taken) = (ConnId(number.into()), true, !is_outgoing);
        let up = EdgeUp { peer, conn, is_outgoing, is_new, is_taken };
        self.run(|peers, cx, edges| peers.observe_edge_up(cx, edges, &up))
    }

    fn import(&mut self, number: u8, addrs: &[SocketAddr]) -> Observed {
        let known = known_peer(number, addrs);
        self.run(|peers, cx, edges| peers.import(cx, edges, &known))
    }

    fn originator(&mut self, number: u8) -> Observed {
        self.run(|peers, cx, edges| peers.observe_originator(cx, edges, id(number), key(number)))
    }

    fn fail(&mut self, number: u8, is_partial: bool) {
        let peer = id(number);
        self.run(|peers, cx, edges| peers.observe_failed_attempt(cx, edges, &peer, is_partial));
    }

    fn attach(&mut self, number: u8, is_outgoing: bool) {
        let (now, conn) = (self.around.now, ConnId(number.into()));
        let budgets = || EdgeBudgets::new(now);
        self.edges.attach(now, id(number), key(number), conn, is_outgoing, budgets);
    }

    fn contact(&self, number: u8) -> &Contact {
        self.peers.table.find(&id(number)).expect("the contact is known")
    }

    fn is_known(&self, number: u8) -> bool {
        self.peers.table.find(&id(number)).is_some()
    }

    /// Where a contact may be, best first, and on whose word.
    fn addrs(&self, number: u8) -> Vec<(SocketAddr, Provenance)> {
        let contact = self.contact(number);
        let provenance = |addr| match contact.is_proven_at(addr) {
            true => Verified,
            false if contact.own_addrs().any(|own| own == addr) => Signed,
            false => Gossiped,
        };
        contact.addrs().map(|addr| (addr, provenance(addr))).collect()
    }

    /// For how long a contact is not dialed.
    fn wait(&self, number: u8) -> Option<Duration> {
        let at = self.contact(number).retry_at;
        (at != Tick::NEVER).then(|| at.since(self.tick(self.around.now)))
    }

    fn tick(&self, at: Instant) -> Tick {
        self.peers.table.tick(at)
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.around.stats.drops(reason)
    }
}

#[test]
fn an_edge_that_this_node_opened_verifies_the_address() {
    let mut bench = Bench::new();
    assert_eq!(bench.edge_up(1, mapped(1), true), (NEW, false));
    assert_eq!(bench.addrs(1), [(addr(1), Verified)]);
    assert_eq!(bench.contact(1).last_seen, bench.tick(bench.around.now));
    assert_eq!((bench.contact(1).key, bench.contact(1).caps_self_reported), (key(1), false));
    assert_eq!(bench.edge_up(1, addr(2), true), (NOTHING_NEW, false), "known since the first");
    assert_eq!(bench.addrs(1), [(addr(2), Verified), (addr(1), Verified)]);
}

#[test]
fn an_edge_that_the_peer_opened_suggests_the_address_that_it_comes_from() {
    let mut bench = Bench::new();
    assert_eq!(bench.edge_up(1, mapped(1), false), (NEW, false));
    assert_eq!(bench.addrs(1), [(addr(1), Signed)]);
    assert_eq!(bench.contact(1).last_seen, bench.tick(bench.around.now));
}

#[test]
fn a_peer_with_addresses_keeps_them_when_it_opens_an_edge_from_elsewhere() {
    let mut bench = Bench::new();
    bench.import(1, &[addr(1)]);
    assert_eq!(bench.edge_up(1, addr(2), false), (NOTHING_NEW, false));
    assert_eq!(bench.addrs(1), [(addr(1), Gossiped)]);
    assert_eq!(bench.contact(1).last_seen, bench.tick(bench.around.now));
    bench.edge_up(1, addr(2), true);
    assert_eq!(bench.addrs(1), [(addr(2), Verified), (addr(1), Gossiped)], "this node dialed it");
}

#[test]
fn a_peer_without_an_address_gets_the_one_that_it_opens_an_edge_from() {
    let mut bench = Bench::new();
    assert_eq!(bench.originator(1), NEW);
    assert_eq!(bench.addrs(1), []);
    assert_eq!(bench.edge_up(1, addr(1), false), (NOTHING_NEW, false));
    assert_eq!(bench.addrs(1), [(addr(1), Signed)]);
}

#[test]
fn a_peer_is_light_only_if_it_says_so_itself() {
    let light = Capabilities::LIGHT.with(Capabilities::CAN_RELAY);
    for is_outgoing in [true, false] {
        let mut bench = Bench::new();
        for number in 1..=3 {
            bench.import(number, &[addr(number)]);
        }
        let peers = &mut bench.peers;
        peers.observe_capabilities(&id(1), light);
        peers.observe_capabilities(&id(2), Capabilities::CAN_RELAY);
        bench.gossip(3, light);
        assert_eq!(bench.contact(3).caps, light.0);
        let lights = [1, 2, 3, 4].map(|number| bench.edge_up(number, addr(number), is_outgoing).1);
        assert_eq!(lights, [true, false, false, false]);
        assert_eq!(bench.contact(1).caps, light.0, "a handshake says nothing of them");
    }
}

#[test]
fn a_probe_verifies_the_address_and_ends_the_failures() {
    let mut bench = Bench::new();
    bench.import(1, &[addr(1)]);
    bench.attach(9, true);
    bench.fail(1, false);
    assert_eq!(bench.contact(1).failures, 1);
    bench.around.pass(SECOND);
    let observed =
        bench.run(|peers, cx, edges| peers.observe_probe(cx, edges, peer(1, mapped(1)), 7));
    assert_eq!(observed, NOTHING_NEW);
    assert_eq!(bench.addrs(1), [(addr(1), Verified)]);
    let contact = bench.contact(1);
    assert_eq!((contact.failures, contact.retry_at, contact.rtt_ms), (0, Tick::NEVER, 7));
    assert_eq!(contact.last_seen, bench.tick(bench.around.now));
    let observed =
        bench.run(|peers, cx, edges| peers.observe_probe(cx, edges, peer(2, addr(2)), 8));
    assert_eq!((observed, bench.contact(2).rtt_ms), (NEW, 8));
}

#[test]
fn a_failed_attempt_doubles_the_wait_and_a_partial_one_waits_ten_seconds() {
    let mut bench = Bench::new();
    bench.attach(9, true);
    bench.import(1, &[addr(1)]);
    bench.import(2, &[addr(2)]);
    let mut rng = fresh();
    bench.fail(1, true);
    assert_eq!(bench.contact(1).failures, 0);
    assert_eq!(bench.wait(1), tenths(rng.jitter(10 * SECOND, 20)));
    bench.fail(2, false);
    assert_eq!((bench.contact(2).failures, bench.wait(2)), (1, tenths(rng.jitter(SECOND, 20))));
    bench.fail(2, false);
    assert_eq!((bench.contact(2).failures, bench.wait(2)), (2, tenths(rng.jitter(2 * SECOND, 20))));
    bench.fail(2, false);
    assert!(!bench.is_known(2), "the third failure of a peer that never answered");
}

#[test]
fn a_node_without_edges_forgets_no_contact_that_it_fails_to_reach() {
    let mut bench = Bench::new();
    bench.import(1, &[addr(1)]);
    (0..5).for_each(|_| bench.fail(1, false));
    assert_eq!(bench.contact(1).failures, 2);
}

#[test]
fn an_address_at_which_another_node_answers_is_forgotten() {
    let mut bench = Bench::new();
    bench.import(1, &[addr(1), addr(2)]);
    bench.peers.forget_addr(&id(1), addr(1));
    assert_eq!(bench.addrs(1), [(addr(2), Gossiped)]);
}

#[test]
fn a_confirmed_contact_was_heard_now_and_has_no_failures() {
    let mut bench = Bench::new();
    bench.attach(9, true);
    bench.import(1, &[addr(1)]);
    bench.fail(1, false);
    bench.around.pass(SECOND);
    bench.run(|peers, cx, _| peers.confirm(cx, &id(1)));
    let contact = bench.contact(1);
    assert_eq!((contact.failures, contact.retry_at), (0, Tick::NEVER));
    assert_eq!(contact.last_seen, bench.tick(bench.around.now));
}

#[test]
fn shortened_hold_offs_end_after_about_a_minute() {
    let mut bench = Bench::new();
    bench.import(1, &[addr(1)]);
    bench.run(|peers, cx, _| peers.table.hold_off(&id(1), cx.now, 600 * SECOND));
    bench.run(|peers, cx, _| peers.shorten_hold_offs(cx));
    assert_eq!(bench.wait(1), tenths(fresh().jitter(60 * SECOND, 20)));
}

#[test]
fn capabilities_and_round_trip_times_of_a_neighbour_are_noted() {
    let mut bench = Bench::new();
    bench.import(1, &[addr(1)]);
    bench.peers.observe_capabilities(&id(1), Capabilities::CAN_RELAY);
    bench.peers.observe_rtt(&id(1), 42);
    let contact = bench.contact(1);
    assert_eq!((contact.caps, contact.caps_self_reported), (Capabilities::CAN_RELAY.0, true));
    assert_eq!(contact.rtt_ms, 42);
}
