//! Tests of the relay service: the exact actions of each input.

mod requests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::volunteer::{OF_PAIR_MAX, OF_REQUESTER_MAX, OF_TARGET_MAX, SESSIONS_MAX};
use super::*;
use crate::api::{Profile, Reachability, RelayPolicy, RelayUsage};
use crate::context::testing::Surroundings;
use crate::transport::SpliceSide;
use crate::wire::Encode;
use crate::wire::nat::{RelayRefusal, RelayRequest};

const NONCE: [u8; 16] = [0xa0; 16];
const V: &str = "203.0.113.1:4242";

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a literal of this test")
}

/// The edges of a test.
#[derive(Default)]
struct Table(BTreeMap<NodeId, Neighbour>);

impl Table {
    fn add(&mut self, peer: NodeId, remote: &str) -> Neighbour {
        let remote = addr(remote);
        let (is_dialed, claim, rtt_ms) = (false, Claim::None, Some(10));
        let neighbour = Neighbour { peer, remote, is_dialed, claim, rtt_ms };
        self.0.insert(peer, neighbour);
        neighbour
    }

    fn volunteer(&mut self, number: u8, claim: Claim, rtt_ms: u16) -> Neighbour {
        let neighbour = self.add(id(number), &format!("203.0.{number}.1:4242"));
        self.0.insert(id(number), Neighbour { claim, rtt_ms: Some(rtt_ms), ..neighbour });
        self.0[&id(number)]
    }
}

impl Neighbours for Table {
    fn find(&self, peer: &NodeId) -> Option<Neighbour> {
        self.0.get(peer).copied()
    }

    fn volunteers(&self) -> Vec<Neighbour> {
        self.0.values().filter(|known| known.claim != Claim::None).copied().collect()
    }

    fn remotes(&self) -> Vec<SocketAddr> {
        self.0.values().map(|known| known.remote).collect()
    }
}

/// The service and what it may use.
struct Bench {
    relay: Relay,
    around: Surroundings,
    table: Table,
}

impl Bench {
    fn with(config: Config) -> Self {
        let around = Surroundings::new(config);
        let relay = Relay::new(&around.config, around.wall);
        Self { relay, around, table: Table::default() }
    }

    /// A node that relays nothing.
    fn new() -> Self {
        Self::with(Config::default())
    }

    /// A volunteer at [`V`] with two neighbours.
    fn volunteer_with(relay: RelayPolicy) -> Self {
        let relay = RelayPolicy { volunteer: true, ..relay };
        let mut bench =
            Self::with(Config { public_addrs: vec![addr(V)], relay, ..Config::default() });
        bench.around.own.set_local_addrs(&[addr(V)]);
        bench.table.add(id(1), "192.0.2.1:1001");
        bench.table.add(id(2), "198.51.100.2:1002");
        bench
    }

    fn volunteer() -> Self {
        Self::volunteer_with(RelayPolicy::default())
    }

    fn run<T>(
        &mut self,
        act: impl FnOnce(&mut Relay, &mut Context<'_, Action>, &Table) -> T,
    ) -> Vec<Action> {
        let Self { relay, around, table } = self;
        let (_, actions) = around.run(|cx| act(relay, cx, table));
        relay.check();
        actions
    }

    /// A request whose sender understands refusals.
    fn request(&mut self, from: NodeId, target: NodeId) -> Vec<Action> {
        let request = MarkedRelayRequest(RelayRequest { nonce: NONCE, target });
        self.raw_request(from, &request.to_bytes())
    }

    fn raw_request(&mut self, from: NodeId, payload: &[u8]) -> Vec<Action> {
        let from = self.table.0[&from];
        self.run(|relay, cx, table| relay.handle_request(cx, table, &from, payload))
    }

    fn opened(&mut self, splice: u64) -> Vec<Action> {
        let locals = [addr("203.0.113.1:50001"), addr("203.0.113.1:50002")];
        self.run(|relay, cx, table| relay.handle_splice_opened(cx, table, SpliceId(splice), locals))
    }

    fn over(&mut self, splice: u64, reason: SpliceOverReason) -> Vec<Action> {
        self.run(|relay, cx, _| relay.handle_splice_over(cx, SpliceId(splice), reason))
    }

    fn bind(&mut self, from: Neighbour, at: &str) -> Vec<Action> {
        let payload = RelayBind { addr: named(at) }.to_bytes();
        self.run(|relay, cx, table| relay.handle_bind(cx, table, &from, &payload))
    }

    /// Asks for a target that named these volunteers.
    fn ask(&mut self, target: NodeId, volunteers: &[u8]) -> Vec<Action> {
        let named = volunteers.iter().map(|number| (id(*number), at(*number))).collect();
        self.relay.note_named(target, named);
        self.run(|relay, cx, table| relay.ask(cx, table, target))
    }

    fn grant(&mut self, from: Neighbour, nonce: [u8; 16], at: &str) -> Vec<Action> {
        let payload = RelayGrant { nonce, addr: named(at) }.to_bytes();
        self.run(|relay, cx, table| relay.handle_grant(cx, table, &from, &payload))
    }

    fn refuse(&mut self, from: Neighbour, nonce: [u8; 16], reason: RelayRefusal) -> Vec<Action> {
        let payload = RefusedGrant { nonce, reason }.to_bytes();
        self.run(|relay, cx, table| relay.handle_grant(cx, table, &from, &payload))
    }

    fn time(&mut self) -> Vec<Action> {
        self.run(|relay, cx, table| relay.handle_timer(cx, table))
    }

    fn drops(&mut self) -> Vec<(DropReason, u64)> {
        self.around.take_drops()
    }
}

/// Where a volunteer is.
fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, number, 1], 4242))
}

fn named(text: &str) -> Addr {
    Addr::new(b"quic", text.as_bytes())
}

fn refused(to: NodeId, reason: RelayRefusal) -> Vec<Action> {
    vec![Action::Send(to, Message::Refuse(RefusedGrant { nonce: NONCE, reason }))]
}

/// The requests among these actions: the volunteer and the nonce of each.
fn requests(actions: &[Action]) -> Vec<(NodeId, [u8; 16])> {
    let request = |action: &Action| match action {
        Action::Send(to, Message::Request(request)) => Some((*to, request.0.nonce)),
        _ => None,
    };
    actions.iter().filter_map(request).collect()
}

fn open_splice(splice: u64, sides: [(&str, Option<&str>); 2], group: u64) -> Action {
    let ip = |text: &str| -> IpAddr { text.parse().expect("a literal of this test") };
    let sides =
        sides.map(|(local, prefers)| SpliceSide { local_ip: ip(local), prefers: prefers.map(ip) });
    Action::Transport(Command::OpenSplice { splice: SpliceId(splice), sides, group })
}

const UNLIMITED: Command = Command::LimitSplices { bytes_per_s: 2_000_000, bytes_left: None };
/// 192.0.2.0/24 in IPv4-mapped form.
const ORIGIN: u64 = 0x0000_ffff_c000_0200;

#[test]
fn a_request_opens_a_splice_and_the_grant_leaves_before_the_bind() {
    let mut bench = Bench::volunteer();
    let sides = [("203.0.113.1", Some("192.0.2.1")), ("203.0.113.1", Some("198.51.100.2"))];
    let expected = vec![Action::Transport(UNLIMITED), open_splice(0, sides, ORIGIN)];
    assert_eq!(bench.request(id(1), id(2)), expected);
    let grant = RelayGrant { nonce: NONCE, addr: named("203.0.113.1:50001") };
    let bind = RelayBind { addr: named("203.0.113.1:50002") };
    let expected =
        vec![Action::Send(id(1), Message::Grant(grant)), Action::Send(id(2), Message::Bind(bind))];
    assert_eq!(bench.opened(0), expected);
    assert_eq!(bench.opened(0), [], "once");
    assert_eq!(bench.over(0, SpliceOverReason::Idle), []);
    assert_eq!(bench.relay.volunteer.len(), 0);
}

#[test]
fn both_ends_of_a_pair_may_ask_at_once() {
    let mut bench = Bench::volunteer();
    bench.request(id(1), id(2));
    let actions = bench.request(id(2), id(1));
    assert!(matches!(&actions[..], [Action::Transport(Command::OpenSplice { .. })]), "{actions:?}");
    for number in 2..OF_PAIR_MAX {
        assert_ne!(bench.request(id(1), id(2)), refused(id(1), RelayRefusal::RequesterFull));
        assert_eq!(bench.relay.volunteer.len(), number + 1);
    }
    let full = refused(id(1), RelayRefusal::RequesterFull);
    assert_eq!(bench.request(id(1), id(2)), full, "a fifth session of one pair");
}

#[test]
fn ends_of_different_families_each_get_a_side_of_their_own() {
    let mut bench = Bench::volunteer();
    let v6 = addr("[2001:db8::1]:4242");
    bench.around.own.set_local_addrs(&[addr(V), v6]);
    bench.table.add(id(2), "[2001:db8:2::2]:1002");
    assert_eq!(bench.request(id(1), id(2)), refused(id(1), RelayRefusal::NoAddress));
    bench.around.own.set_reflexive_addrs(&[v6]);
    let sides = [("203.0.113.1", Some("192.0.2.1")), ("2001:db8::1", Some("2001:db8:2::2"))];
    let expected = vec![Action::Transport(UNLIMITED), open_splice(0, sides, ORIGIN)];
    assert_eq!(bench.request(id(1), id(2)), expected);
}

#[test]
fn a_request_that_is_not_served_is_refused_with_its_reason_if_its_sender_understands_that() {
    let mut bench = Bench::volunteer();
    assert_eq!(bench.request(id(1), id(9)), refused(id(1), RelayRefusal::NoEdge));
    assert_eq!(bench.request(id(1), id(1)), refused(id(1), RelayRefusal::NoEdge));
    let plain = RelayRequest { nonce: NONCE, target: id(9) }.to_bytes();
    assert_eq!(bench.raw_request(id(1), &plain), [], "a reference node would dial it");
    assert_eq!(bench.drops(), [(DropReason::RelayRefused, 3)]);
    assert_eq!(bench.raw_request(id(1), b"short"), []);
    assert_eq!(bench.drops(), [(DropReason::MalformedMessage, 1)]);

    let mut off = Bench::new();
    off.table.add(id(1), "192.0.2.1:1001");
    assert_eq!(off.request(id(1), id(2)), refused(id(1), RelayRefusal::NotVolunteering));

    let relay = RelayPolicy { volunteer: true, ..RelayPolicy::default() };
    let public_addrs = vec![addr(V)];
    let mut light =
        Bench::with(Config { relay, public_addrs, profile: Profile::Light, ..Config::default() });
    light.table.add(id(1), "192.0.2.1:1001");
    assert_eq!(light.request(id(1), id(2)), refused(id(1), RelayRefusal::NotVolunteering));
}

#[test]
fn a_volunteer_without_an_address_that_ends_can_use_relays_nothing() {
    let relay = RelayPolicy { volunteer: true, ..RelayPolicy::default() };
    let mut bench = Bench::with(Config { relay, ..Config::default() });
    bench.table.add(id(1), "192.0.2.1:1001");
    bench.table.add(id(2), "198.51.100.2:1002");
    assert_eq!(bench.request(id(1), id(2)), refused(id(1), RelayRefusal::NotVolunteering));
    bench.around.own.set_reachable(true);
    bench.around.own.set_local_addrs(&[addr("192.168.0.7:4242")]);
    bench.around.own.set_reflexive_addrs(&[addr(V)]);
    assert_eq!(bench.request(id(1), id(2)), refused(id(1), RelayRefusal::NoAddress));
    bench.around.own.set_local_addrs(&[addr(V)]);
    assert!(matches!(bench.request(id(1), id(2))[..], [_, Action::Transport(_)]));
}

#[test]
fn a_volunteer_for_some_nodes_needs_one_of_them_at_either_end() {
    let only_for = vec![id(2)];
    let mut bench = Bench::volunteer_with(RelayPolicy { only_for, ..RelayPolicy::default() });
    bench.table.add(id(3), "192.0.2.3:1003");
    assert_eq!(bench.request(id(1), id(3)), refused(id(1), RelayRefusal::NotForThese));
    assert!(matches!(bench.request(id(1), id(2))[..], [_, Action::Transport(_)]));
    assert!(matches!(bench.request(id(2), id(3))[..], [Action::Transport(_)]));
}

/// THREATS.md#e13
#[test]
fn a_requester_a_target_and_a_network_have_shares_of_the_sessions() {
    let mut bench = Bench::volunteer();
    for number in 10..250 {
        bench.table.add(id(number), &format!("192.0.2.{number}:1000"));
    }
    for number in 0..OF_REQUESTER_MAX as u8 {
        assert!(!bench.request(id(1), id(10 + number)).is_empty());
    }
    assert_eq!(bench.relay.volunteer.len(), OF_REQUESTER_MAX);
    assert_eq!(bench.request(id(1), id(99)), refused(id(1), RelayRefusal::RequesterFull));
    // One network gets half of what a target has.
    let to_target = |bench: &mut Bench, from: u8| {
        let before = bench.relay.volunteer.len();
        let actions = bench.request(id(from), id(2));
        let is_new = bench.relay.volunteer.len() > before;
        assert!(is_new || actions == refused(id(from), RelayRefusal::TargetFull), "{actions:?}");
        is_new
    };
    let got = (10..40).filter(|from| to_target(&mut bench, *from)).count();
    assert_eq!(got, OF_TARGET_MAX / 2);
    bench.table.add(id(3), "198.18.0.1:1");
    assert!(to_target(&mut bench, 3), "another network gets in");
    // One network gets half of all.
    for from in 40..250 {
        for target in 10..10 + OF_REQUESTER_MAX as u8 {
            bench.request(id(from), id(target + from / 2 % 20));
        }
    }
    assert_eq!(bench.relay.volunteer.len(), SESSIONS_MAX / 2 + 1);
    assert!(!matches!(bench.request(id(3), id(1))[..], [Action::Send(..)]), "there is room");
}

#[test]
fn a_splice_that_does_not_open_is_refused_and_one_without_its_edges_is_closed() {
    let mut bench = Bench::volunteer();
    bench.request(id(1), id(2));
    let failed = bench.over(0, SpliceOverReason::SocketFailed);
    assert_eq!(failed, refused(id(1), RelayRefusal::NoSocket));
    bench.request(id(1), id(2));
    bench.table.0.remove(&id(2));
    assert_eq!(bench.opened(1), [Action::Transport(Command::CloseSplice(SpliceId(1)))]);
    assert_eq!(bench.over(1, SpliceOverReason::ClosedHere), []);
}

#[test]
fn a_leave_ends_every_session() {
    let mut bench = Bench::volunteer();
    bench.request(id(1), id(2));
    let closed = bench.run(|relay, cx, _| relay.stop(cx));
    assert_eq!(closed, [Action::Transport(Command::CloseSplice(SpliceId(0)))]);
}

#[test]
fn a_quota_counts_what_was_used_before_and_begins_again_with_the_month() {
    let used = RelayUsage { month: Month { year: 2001, month: 9 }, bytes: 700 };
    let policy = RelayPolicy { bytes_per_month: Some(1_000), used, ..RelayPolicy::default() };
    let mut bench = Bench::volunteer_with(policy);
    let actions = bench.request(id(1), id(2));
    let limit = Command::LimitSplices { bytes_per_s: 2_000_000, bytes_left: Some(300) };
    assert_eq!(actions[0], Action::Transport(limit));
    let hour = Duration::from_secs(3_600);
    assert_eq!(actions[2..], [Action::Set(bench.around.now + hour)]);
    assert_eq!(bench.over(0, SpliceOverReason::QuotaUsed), refused(id(1), RelayRefusal::QuotaUsed));
    assert_eq!(bench.request(id(1), id(2)), refused(id(1), RelayRefusal::QuotaUsed));
    for _ in 0..21 * 24 + 22 {
        bench.around.pass(hour);
        assert!(matches!(bench.time()[..], [Action::Set(_)]), "it is September");
    }
    bench.around.pass(hour);
    let limit = Command::LimitSplices { bytes_per_s: 2_000_000, bytes_left: Some(1_000) };
    let expected = [Action::Transport(limit), Action::Set(bench.around.now + hour)];
    assert_eq!(bench.time(), expected);
    assert!(matches!(bench.request(id(1), id(2))[..], [Action::Transport(_)]));
}

#[test]
fn a_quota_that_was_used_before_the_start_is_used() {
    let used = RelayUsage { month: Month { year: 2001, month: 9 }, bytes: 1_000 };
    let policy = RelayPolicy { bytes_per_month: Some(1_000), used, ..RelayPolicy::default() };
    assert!(Bench::volunteer_with(policy.clone()).relay.is_quota_used());
    let before = RelayUsage { month: Month { year: 2001, month: 8 }, ..used };
    let policy = RelayPolicy { used: before, ..policy };
    assert!(!Bench::volunteer_with(policy).relay.is_quota_used());
}

#[test]
fn a_bind_of_a_known_volunteer_makes_a_burst_towards_its_own_address() {
    let mut bench = Bench::new();
    let signed = bench.table.volunteer(1, Claim::Signed, 10);
    let burst = |peer, text: &str| vec![Action::Burst { peer, addr: addr(text) }];
    assert_eq!(bench.bind(signed, "203.0.1.1:50002"), burst(id(1), "203.0.1.1:50002"));
    assert_eq!(bench.bind(signed, "[::]:50003"), burst(id(1), "203.0.1.1:50003"), "a wildcard");
    assert_eq!(bench.bind(signed, "0.0.0.0:50004"), burst(id(1), "203.0.1.1:50004"));
    let dialed = Neighbour { is_dialed: true, ..bench.table.volunteer(2, Claim::None, 10) };
    assert_eq!(bench.bind(dialed, "203.0.2.1:50002"), burst(id(2), "203.0.2.1:50002"));
    assert_eq!(bench.drops(), []);
    assert_eq!(bench.relay.is_relayed(addr("203.0.1.1:50002")), Some(id(1)));
    assert_eq!(bench.relay.is_relayed(addr("[::ffff:203.0.2.1]:50002")), Some(id(2)));
    assert_eq!(bench.relay.is_relayed(addr("203.0.2.1:50009")), None);
}

/// THREATS.md#e14
#[test]
fn a_bind_of_an_unknown_volunteer_or_towards_another_host_is_refused() {
    let mut bench = Bench::new();
    let unknown = bench.table.volunteer(1, Claim::None, 10);
    assert_eq!(bench.bind(unknown, "203.0.1.1:50002"), []);
    let gossiped = bench.table.volunteer(2, Claim::Gossiped, 10);
    assert_eq!(bench.bind(gossiped, "203.0.2.1:50002"), []);
    assert_eq!(bench.drops(), [(DropReason::BindRefused, 2)]);
    let signed = bench.table.volunteer(3, Claim::Signed, 10);
    for victim in ["192.0.2.9:53", "203.0.3.1:0", "127.0.0.1:53", "victim.example:53", "", "x"] {
        assert_eq!(bench.bind(signed, victim), [], "{victim}");
    }
    assert_eq!(bench.bind(signed, "203.0.3.1:4242"), [], "its own conn needs no hole");
    assert_eq!(bench.drops(), [(DropReason::RelayAddressForeign, 7)]);
    let payload: &[u8] = b"\x09";
    let malformed = bench.run(|relay, cx, table| relay.handle_bind(cx, table, &signed, payload));
    assert_eq!((malformed, bench.drops()), (vec![], vec![(DropReason::MalformedMessage, 1)]));
}

#[test]
fn a_node_that_others_cannot_reach_names_two_near_volunteers_in_different_subnets() {
    let mut bench = Bench::new();
    bench.table.volunteer(1, Claim::Signed, 30);
    bench.table.volunteer(2, Claim::Signed, 10);
    bench.table.volunteer(3, Claim::Signed, 20);
    bench.table.volunteer(4, Claim::Gossiped, 1);
    let beside = Neighbour { remote: addr("203.0.2.9:1"), ..bench.table.0[&id(3)] };
    bench.table.0.insert(id(5), Neighbour { peer: id(5), rtt_ms: Some(11), ..beside });
    bench.run(|relay, cx, table| relay.choose_named(cx, table));
    let named = [(id(2), addr("203.0.2.1:4242")), (id(3), addr("203.0.3.1:4242"))];
    assert_eq!(bench.around.own.volunteers(), named);
    bench.around.own.set_reachable(true);
    bench.run(|relay, cx, table| relay.choose_named(cx, table));
    assert_eq!(bench.around.own.volunteers(), []);
    assert_eq!(Reachability::default(), Reachability::Unknown);
    bench.around.config.address_policy = AddressPolicy::RelayOnly;
    bench.run(|relay, cx, table| relay.choose_named(cx, table));
    assert_eq!(bench.around.own.volunteers(), named, "it can be reached by relays only");
}

#[test]
fn an_end_that_is_itself_relayed_is_expected_nowhere() {
    let mut bench = Bench::volunteer();
    let other = Neighbour { is_dialed: true, ..bench.table.add(id(7), "192.0.2.77:4242") };
    bench.bind(other, "192.0.2.77:50000");
    bench.table.add(id(1), "192.0.2.77:50000");
    let sides = [("203.0.113.1", None), ("203.0.113.1", Some("198.51.100.2"))];
    let expected = vec![Action::Transport(UNLIMITED), open_splice(0, sides, ORIGIN)];
    assert_eq!(bench.request(id(1), id(2)), expected);
    let seven = Neighbour { remote: addr("192.0.2.77:50000"), is_dialed: true, ..other };
    assert_eq!(bench.bind(seven, "192.0.2.77:50009"), [], "not over a relay");
}
