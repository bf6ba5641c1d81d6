use super::*;

const RELAY: u32 = Capabilities::CAN_RELAY.0;

/// Others say that a contact at this address relays.
fn gossip_relay(bench: &mut Bench, peer: NodeId, addr: SocketAddr) {
    bench.observe(peer, Some(RELAY), Some(addr), Gossiped);
}

/// There is an edge to a peer that says of itself that it relays.
fn volunteer(bench: &mut Bench, peer: NodeId, rtt_ms: u16) {
    bench.edge(peer, true, rtt_ms);
    bench.observe(peer, None, Some(addr(peer.as_bytes()[31] + 100)), Verified);
    bench.contacts().learn_caps(&peer, RELAY);
}

/// A contact in a slot that has an edge, so that nothing but its relaying makes it wanted.
fn spare(tail: u8) -> NodeId {
    id(0, 1, tail)
}

/// A node that has joined, with an edge in the slot of [`spare`].
fn joined(config: Config) -> Bench {
    let mut bench = Bench::joined(config);
    bench.edge(spare(1), true, 20);
    bench
}

#[test]
fn a_node_that_others_cannot_reach_dials_two_contacts_that_are_said_to_relay() {
    let mut bench = joined(Config::default());
    for tail in 2..6 {
        gossip_relay(&mut bench, spare(tail), addr(tail));
    }
    let (fill, actions) = bench.fill();
    let wanted = [fill.wanted[0], fill.wanted[1]];
    let expected = wanted.map(|peer| wants(peer, addr(peer.as_bytes()[31]), Purpose::Edge));
    assert_eq!((fill.wanted.len(), actions), (2, expected.into()));
    assert!(wanted.iter().all(|peer| (2..6).contains(&peer.as_bytes()[31])));
}

#[test]
fn a_node_that_others_reach_dials_no_contact_because_it_relays() {
    let mut bench = joined(Config::default());
    gossip_relay(&mut bench, spare(2), addr(2));
    bench.around.own.set_reachable(true);
    assert_eq!(bench.fill().1, []);
    let hidden = Config { address_policy: AddressPolicy::RelayOnly, ..Config::default() };
    let mut bench = joined(hidden);
    gossip_relay(&mut bench, spare(2), addr(2));
    bench.around.own.set_reachable(true);
    assert_eq!(
        bench.fill().1,
        [wants(spare(2), addr(2), Purpose::Edge)],
        "relays alone lead to it"
    );
}

/// Gossip makes a contact worth a dial; what the peer says makes the edge count.
#[test]
fn an_edge_counts_as_one_to_a_volunteer_if_the_peer_says_so_itself() {
    let mut bench = joined(Config::default());
    volunteer(&mut bench, spare(2), 20);
    volunteer(&mut bench, spare(3), 30);
    gossip_relay(&mut bench, spare(4), addr(4));
    let probed = wants(spare(4), addr(4), Purpose::Probe);
    assert_eq!(bench.fill().1, [probed], "it has two, and this one may be nearer");
    bench.contacts().learn_caps(&spare(3), 0);
    assert_eq!(bench.fill().1, [wants(spare(4), addr(4), Purpose::Edge)]);
}

#[test]
fn volunteers_of_one_subnet_count_as_one() {
    let mut bench = joined(Config::default());
    volunteer(&mut bench, spare(2), 20);
    let subnet = SocketAddr::from(([30, 4, 0, 2], 4242));
    gossip_relay(&mut bench, spare(4), addr(4));
    gossip_relay(&mut bench, spare(5), subnet);
    bench.observe(spare(5), None, Some(subnet), Verified);
    let (fill, _) = bench.fill();
    assert_eq!(fill.wanted.len(), 1, "one more is needed");
    let mut bench = joined(Config::default());
    gossip_relay(&mut bench, spare(4), addr(4));
    gossip_relay(&mut bench, spare(5), subnet);
    let (fill, _) = bench.fill();
    assert_eq!(fill.wanted.len(), 1, "two are needed, and both are in one subnet");
}

#[test]
fn a_dial_under_way_to_a_contact_that_relays_counts_as_one() {
    let mut bench = joined(Config::default());
    for tail in [2, 3, 4] {
        gossip_relay(&mut bench, spare(tail), addr(tail));
    }
    bench.dial(spare(2), vec![unverified(addr(2))]);
    assert_eq!(bench.fill().0.wanted.len(), 1);
}

/// A kept volunteer in a slot with a faster edge would be surplus.
#[test]
fn the_two_nearest_volunteers_are_no_surplus() {
    let mut bench = joined(Config::default());
    bench.edges((0..16).map(|number| id(25 + number / 4, (number % 4) as u8, 9)), true);
    for (tail, rtt_ms) in [(2, 40), (3, 30), (4, 50)] {
        volunteer(&mut bench, spare(tail), rtt_ms);
    }
    bench.around.pass(MINUTE);
    let (mut fill, _) = bench.fill();
    let surplus = |bench: &mut Bench, fill: &mut Fill| {
        bench.act(|topology, cx, rooms| topology.surplus(cx, rooms.table(), fill)).0
    };
    assert_eq!(surplus(&mut bench, &mut fill), [spare(4)]);
    bench.around.own.set_reachable(true);
    let (mut fill, _) = bench.fill();
    let mut all = surplus(&mut bench, &mut fill);
    all.sort();
    assert_eq!(all, [spare(2), spare(3), spare(4)], "a node that others reach keeps none");
}

#[test]
fn a_nearer_volunteer_is_probed_and_worth_an_edge() {
    let mut bench = joined(Config::default());
    volunteer(&mut bench, spare(2), 100);
    volunteer(&mut bench, spare(3), 40);
    gossip_relay(&mut bench, spare(4), addr(4));
    bench.around.pass(MINUTE);
    assert_eq!(bench.fill().1, [wants(spare(4), addr(4), Purpose::Probe)]);
    let mut is_worth = |rtt_ms| {
        let is_worth = bench.act(|topology, cx, rooms| {
            topology.is_worth_an_edge(cx, rooms.table(), rooms.peers.table(), &spare(4), rtt_ms)
        });
        is_worth.0
    };
    assert!(is_worth(79), "a fifth faster than the slower one");
    assert!(!is_worth(90));
}
