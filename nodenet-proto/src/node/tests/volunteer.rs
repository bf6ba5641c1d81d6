//! Pairs behind random-port NATs that meet through a relay volunteer.

mod upgrade;

use std::net::IpAddr;

use super::*;
use crate::NodeId;
use crate::api::{self, ConnectOutcome, RelayPolicy};
use crate::testkit::nat_box::{Behavior, Pooling, PortAllocation};
use crate::testkit::{NatBox, NatConfig, Realm, identity};

const V: ([u8; 4], u16) = ([203, 0, 113, 1], 4242);

/// Two nodes behind a box each, and a volunteer that both have an edge to.
struct Trio {
    net: Net,
    hosts: [NodeHost; 3],
    /// Public nodes that relay nothing, and see both.
    others: Vec<NodeHost>,
}

/// Maps each destination to a random port, and lets in only what was sent for.
fn hard(pooling: Pooling) -> NatConfig {
    NatConfig {
        mapping: Behavior::AddressAndPortDependent,
        filtering: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Random,
        pooling,
        ..NatConfig::default()
    }
}

fn still(relay: RelayPolicy) -> Config {
    let public_addrs = if relay.volunteer { vec![SocketAddr::from(V)] } else { vec![] };
    let engine = api::Config { maintenance: false, public_addrs, relay, ..api::Config::default() };
    Config { engine, ..Config::default() }
}

impl Trio {
    fn new(config: &NatConfig, externals: u8, relay: RelayPolicy) -> Self {
        Self::on(Net::new(3), config, externals, relay)
    }

    fn on(mut net: Net, config: &NatConfig, externals: u8, relay: RelayPolicy) -> Self {
        let mut end = |number: u8| {
            let ips = (1..=externals).map(|last| IpAddr::from([20 + number, 0, 0, last]));
            let seed = Seed::from_u64(number.into());
            let nat = NatBox::new(config.clone(), ips.collect(), &seed);
            let realm = net.add_gateway(Realm::PUBLIC, nat);
            let inside = SocketAddr::from(([192, 168, number, 2], 4242));
            net.place(realm, inside.ip());
            let engine = api::Config { test_reachability: false, ..api::Config::default() };
            let config = Config { engine, ..Config::default() };
            let mut host =
                NodeHost::at(inside, identity(number.into()), number.into(), config, net.now);
            host.realm = realm;
            host
        };
        let ends = [end(1), end(2)];
        let volunteer = NodeHost::at(V.into(), identity(3), 3, still(relay), net.now);
        let [a, b] = ends;
        let mut trio = Self { net, hosts: [a, b, volunteer], others: vec![] };
        for host in &mut trio.hosts {
            host.node.handle_input(trio.net.now, Input::LocalAddrs(vec![host.addr]));
        }
        for number in [0, 1] {
            let (request, target) = (RequestId(99), trio.id(2));
            let connect = Command::Connect { request, target, addrs: vec![V.into()] };
            trio.hosts[number].command(&trio.net, connect);
        }
        // Until both ends have the volunteer's own word that it relays.
        trio.run(20 * SECOND);
        assert_eq!(trio.hosts[2].neighbours().len(), 2);
        trio
    }

    fn id(&self, number: usize) -> NodeId {
        self.hosts[number].id
    }

    fn run(&mut self, span: Duration) {
        let hosts = self.hosts.iter_mut().chain(&mut self.others);
        let mut hosts: Vec<&mut dyn Host> = hosts.map(|host| host as &mut dyn Host).collect();
        self.net.run(&mut hosts, span);
    }

    /// A connects to B, without knowing where it is.
    fn connect(&mut self) {
        let (request, target) = (RequestId(100), self.id(1));
        let connect = Command::Connect { request, target, addrs: vec![] };
        self.hosts[0].command(&self.net, connect);
    }

    /// The volunteer that the edge between A and B goes over, as each end sees it.
    fn relayed_by(&self) -> [Option<NodeId>; 2] {
        [(0, 1), (1, 0)].map(|(from, to)| {
            let edges = self.hosts[from].node.edges();
            edges.iter().find(|edge| edge.peer == self.id(to)).and_then(|edge| edge.relayed_by)
        })
    }

    fn exchange(&mut self, len: usize) {
        let (a, b) = (self.id(0), self.id(1));
        self.hosts[0].send_direct(&self.net, b, &vec![1; len]);
        self.hosts[1].send_direct(&self.net, a, &vec![2; len]);
        self.run(2 * SECOND);
        assert_eq!(self.hosts[1].take_delivered(), [(a, Bytes::from(vec![1; len]))]);
        assert_eq!(self.hosts[0].take_delivered(), [(b, Bytes::from(vec![2; len]))]);
    }
}

fn open() -> RelayPolicy {
    RelayPolicy { volunteer: true, ..RelayPolicy::default() }
}

#[test]
fn two_nodes_behind_random_ports_have_an_edge_over_a_volunteer() {
    let mut trio = Trio::new(&hard(Pooling::Paired), 1, open());
    let volunteer = trio.id(2);
    trio.connect();
    trio.run(SECOND);
    assert_eq!(trio.relayed_by(), [Some(volunteer); 2]);
    trio.exchange(20_000);
    let v = &trio.hosts[2].node;
    assert_eq!(v.relay_report().sessions, 1);
    assert!(v.stats().counters.bytes_relayed > 40_000);
    assert_eq!(v.stats().drops(DropReason::SpliceOtherRemote), 0);
    assert_eq!(v.edges().len(), 2, "the pair's conn is not the volunteer's");
    // Pings of an idle edge keep the session, and what they say of addresses is no report.
    let granted = |trio: &Trio| {
        let edges = trio.hosts[0].node.edges();
        edges.iter().find(|edge| edge.relayed_by.is_some()).map(|edge| (edge.remote, edge.conns))
    };
    let before = granted(&trio);
    trio.run(300 * SECOND);
    assert_eq!(granted(&trio), before, "the same conn");
    trio.exchange(100);
    for end in &trio.hosts[..2] {
        let reports = end.node.stats().gauges.address_reports;
        assert_eq!(reports, 1, "of the volunteer alone");
    }
}

/// A volunteer sees each end's edge and splice at different addresses.
#[test]
fn ends_behind_pools_with_an_address_for_each_mapping_get_in() {
    let mut trio = Trio::new(&hard(Pooling::Arbitrary), 32, open());
    let volunteer = trio.id(2);
    trio.connect();
    trio.run(2 * SECOND);
    assert_eq!(trio.relayed_by(), [Some(volunteer); 2]);
    trio.exchange(20_000);
}

/// The external address of one end changes while the edge is in use.
#[test]
fn an_end_whose_address_changes_is_followed_by_its_connection_id() {
    let mut trio = Trio::new(&hard(Pooling::Paired), 1, open());
    let volunteer = trio.id(2);
    trio.connect();
    trio.run(SECOND);
    trio.exchange(5_000);
    let inside = trio.hosts[0].realm;
    trio.net.renumber_nat(inside, vec![IpAddr::from([21, 0, 9, 9])]);
    trio.exchange(5_000);
    trio.exchange(5_000);
    assert_eq!(trio.relayed_by(), [Some(volunteer); 2]);
    let dropped = trio.hosts[2].node.stats().drops(DropReason::SpliceOtherRemote);
    assert_eq!(dropped, 0, "its first packet from there says so");
}

#[test]
fn a_quota_ends_the_session_and_the_volunteer_says_that_it_is_used_up() {
    let policy = RelayPolicy { bytes_per_month: Some(60_000), ..open() };
    let mut trio = Trio::new(&hard(Pooling::Paired), 1, policy);
    let volunteer = trio.id(2);
    trio.connect();
    trio.run(SECOND);
    assert_eq!(trio.relayed_by(), [Some(volunteer); 2]);
    let used = trio.hosts[2].node.relay_report().used.bytes;
    assert!((1_000..60_000).contains(&used), "{used}");
    let target = trio.id(1);
    trio.hosts[0].send_direct(&trio.net, target, &[0; 60_000]);
    trio.run(2 * SECOND);
    let report = trio.hosts[2].node.relay_report();
    assert_eq!(report.obstacle, Some(api::RelayObstacle::QuotaUsed));
    assert_eq!((report.sessions, report.used.bytes), (0, 60_000));
}
