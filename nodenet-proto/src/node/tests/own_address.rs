//! What whole nodes learn of their own address behind NAT boxes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::NodeId;
use crate::api::{self, EdgePolicy, Reachability};
use crate::testkit::nat_box::Behavior;
use crate::testkit::{NatBox, NatConfig, identity};
use crate::wire::nat::{Allocator, Mapping};

/// A node behind a box, four neighbours, and probers that it has no edge to: its policy admits
/// none of them. Each is in a network of its own.
struct Island {
    net: Net,
    hosts: Vec<NodeHost>,
}

impl Island {
    fn new(config: NatConfig, probers: u8) -> Self {
        let mut net = Net::new(7);
        let nat = NatBox::new(config, vec![IpAddr::from([203, 0, 113, 7])], &Seed::from_u64(7));
        let realm = net.add_gateway(crate::testkit::Realm::PUBLIC, nat);
        let inside = SocketAddr::from(([192, 168, 1, 2], 4242));
        net.place(realm, inside.ip());
        let neighbours: BTreeSet<NodeId> = (2..6).map(|number| identity(number).id()).collect();
        let admits = Arc::new(move |peer: &NodeId| neighbours.contains(peer));
        let engine = api::Config { edge_policy: EdgePolicy::Ask(admits), ..api::Config::default() };
        let own = Config { engine, ..Config::default() };
        let mut hosts = vec![NodeHost::at(inside, identity(1), 1, own, net.now)];
        hosts[0].realm = realm;
        for number in 2..6 + probers {
            let addr = SocketAddr::from(([20 + number, 0, 0, 1], 4242));
            let id = identity(number.into());
            hosts.push(NodeHost::at(addr, id, number.into(), Config::default(), net.now));
        }
        let (first, others) = hosts.split_at_mut(2);
        for host in others.iter_mut().chain(&mut first[..1]) {
            let bootstrap = api::BootstrapPeer {
                id: identity(2).id(),
                addrs: vec![SocketAddr::from(([22, 0, 0, 1], 4242))],
            };
            host.command(&net, Command::Bootstrap(vec![bootstrap]));
        }
        for host in &mut hosts {
            host.node.handle_input(net.now, Input::LocalAddrs(vec![host.addr]));
        }
        Self { net, hosts }
    }

    fn run(&mut self, seconds: u32) {
        let mut hosts: Vec<&mut dyn Host> =
            self.hosts.iter_mut().map(|host| host as &mut dyn Host).collect();
        self.net.run(&mut hosts, seconds * SECOND);
    }
}

#[test]
fn probers_tell_a_node_behind_a_nat_whether_it_can_be_reached() {
    for (filtering, expected) in [
        (Behavior::EndpointIndependent, Reachability::Reachable),
        (Behavior::AddressDependent, Reachability::Unreachable),
        (Behavior::AddressAndPortDependent, Reachability::Unreachable),
    ] {
        let mut island = Island::new(NatConfig { filtering, ..NatConfig::default() }, 3);
        island.run(180);
        let own = &island.hosts[0];
        assert_eq!(own.neighbours().len(), 4, "{filtering:?}");
        let report = own.node.nat_report();
        assert_eq!(report.addrs, [SocketAddr::from(([203, 0, 113, 7], 4242))], "{filtering:?}");
        assert_eq!(report.mapping, Mapping::EndpointIndependent);
        assert_eq!(report.allocator, Allocator::Preserving);
        assert_eq!(report.reachability, expected, "{filtering:?}");
        let told = own
            .events
            .iter()
            .any(|event| matches!(event, Event::NatChanged(news) if news.reachability == expected));
        assert!(told, "the application hears of it");
    }
}

#[test]
fn a_node_that_only_accepts_edges_learns_its_address_too() {
    let mut island = Island::new(NatConfig::default(), 0);
    island.run(60);
    for host in &island.hosts[1..] {
        let report = host.node.nat_report();
        assert_eq!(report.addrs, [host.addr], "as three others see it");
    }
}
