use super::*;

/// The peers that the actions want for this purpose. Nothing else is done.
fn wanted(actions: &[Did], purpose: Purpose) -> Vec<NodeId> {
    let peer = |action: &Did| match action {
        Did::Connect(want) if want.purpose == purpose => want.peer,
        other => panic!("{other:?}"),
    };
    actions.iter().map(peer).collect()
}

/// A bench that has joined, with an edge of this round-trip time in the second slot of the first
/// bucket.
fn with_finger(config: Config, rtt_ms: u16) -> Bench {
    let mut bench = Bench::joined(config);
    bench.edge(id(0, 1, 0), true, rtt_ms);
    bench
}

#[test]
fn a_fill_that_is_not_due_does_nothing() {
    let mut bench = Bench::joined(Config::default());
    bench.gossip(id(0, 1, 1), addr(1));
    let due = bench.around.now + MS;
    bench.topology.schedule.fill = due;
    let (fill, actions) = bench.act(|topology, cx, rooms| topology.fill(cx, rooms.view()));
    assert!(fill.is_none());
    assert_eq!((actions, bench.topology.schedule.fill), (vec![], due));
    let is_wanted = |bench: &Bench| bench.topology.is_wanted(bench.rooms.table(), &id(30, 1, 1));
    assert!(is_wanted(&bench), "no fill has looked yet");
    bench.around.pass(MS);
    let (fill, actions) = bench.act(|topology, cx, rooms| topology.fill(cx, rooms.view()));
    assert!(fill.is_some_and(|fill| fill.wanted == [id(0, 1, 1)]));
    assert_eq!(actions, [wants(id(0, 1, 1), addr(1), Purpose::Edge)]);
    assert!(!is_wanted(&bench), "farther than sixteen, and in no bucket of fingers");
}

#[test]
fn a_contact_is_wanted_at_its_addresses_the_proven_one_first() {
    let mut bench = Bench::default();
    let peer = id(0, 1, 1);
    bench.gossip(peer, addr(1));
    bench.observe(peer, None, Some(addr(2)), Verified);
    bench.observe(peer, None, Some(addr(3)), Provenance::Signed);
    let candidates = vec![recent(addr(2)), unverified(addr(3)), unverified(addr(1))];
    let want = Want { peer, candidates, purpose: Purpose::Edge };
    let (fill, actions) = bench.fill();
    assert_eq!(actions, [Did::Connect(want)]);
    assert_eq!((fill.wanted.as_slice(), fill.live.iter().count()), (&[peer][..], 0));
    assert!(bench.is_idle());
}

#[test]
fn a_contact_that_the_policy_refuses_is_not_dialed() {
    let mut bench = Bench::new(refusing(id(0, 1, 1)));
    bench.gossip(id(0, 1, 1), addr(1));
    bench.gossip(id(0, 2, 1), addr(2));
    assert_eq!(bench.fill().1, [wants(id(0, 2, 1), addr(2), Purpose::Edge)]);
}

/// A bench that knows twenty peers, each in a bucket of its own.
fn knowing_twenty() -> Bench {
    let mut bench = Bench::default();
    for bucket in 20..40_u16 {
        bench.gossip(id(bucket, 0, 0), addr(bucket as u8));
    }
    bench
}

fn in_buckets(buckets: impl IntoIterator<Item = u16>) -> Vec<NodeId> {
    buckets.into_iter().map(|bucket| id(bucket, 0, 0)).collect()
}

#[test]
fn a_node_without_edges_wants_sixteen_at_once() {
    let (_, actions) = knowing_twenty().fill();
    let expected = (32..40).rev().chain(20..24).chain((28..32).rev());
    assert_eq!(wanted(&actions, Purpose::Edge), in_buckets(expected));
}

#[test]
fn dials_under_way_take_places_of_those_that_are_wanted() {
    let mut bench = knowing_twenty();
    for bucket in 50..53 {
        bench.dial(id(bucket, 0, 0), vec![verified(addr(bucket as u8))]);
    }
    let (_, actions) = bench.fill();
    let expected = (32..40).rev().chain(20..24).chain([31]);
    assert_eq!(wanted(&actions, Purpose::Edge), in_buckets(expected));
    for tail in 0..13 {
        bench.dial(id(54, 0, tail), vec![verified(addr(100 + tail))]);
    }
    assert_eq!(bench.fill().1, [], "sixteen are under way");
}

#[test]
fn a_node_with_nine_edges_wants_eight_at_once() {
    let mut bench = knowing_twenty();
    for bucket in 50..59 {
        bench.edge(id(bucket, 0, 0), true, 20);
    }
    let (_, actions) = bench.fill();
    assert_eq!(wanted(&actions, Purpose::Edge), in_buckets((33..40).rev().chain([20])));
}

#[test]
fn peers_with_an_edge_a_dial_or_a_busy_host_are_left_out() {
    let mut bench = Bench::default();
    let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
    let busy = (1..=8).map(|port| unverified(at(port))).collect();
    bench.dial(id(50, 0, 0), busy);
    bench.edge(id(40, 0, 1), true, 20);
    let held_off = id(40, 0, 5);
    for (tail, addr) in [(1, addr(1)), (2, addr(2)), (3, at(9)), (4, at(10)), (5, addr(5))] {
        bench.gossip(id(40, 0, tail), addr);
    }
    bench.hold_off(&held_off, SECOND);
    bench.dial(id(40, 0, 2), vec![verified(addr(2))]);
    bench.observe(id(40, 0, 4), None, Some(at(10)), Verified);
    bench.gossip(id(40, 0, 6), addr(6));
    bench.observe(id(40, 0, 7), None, None, Provenance::Signed);
    let (_, actions) = bench.fill();
    let proven =
        Want { peer: id(40, 0, 4), candidates: vec![recent(at(10))], purpose: Purpose::Edge };
    let expected = [Did::Connect(proven), wants(id(40, 0, 6), addr(6), Purpose::Edge)];
    assert_eq!(actions, expected);
}

#[test]
fn a_fill_follows_when_a_contact_that_is_wanted_may_be_dialed_again() {
    let mut bench = Bench::joined(Config::default());
    bench.gossip(id(0, 1, 1), addr(1));
    bench.hold_off(&id(0, 1, 1), 7 * SECOND);
    assert_eq!(bench.fill().1, []);
    assert_eq!(bench.until_fill(), 7 * SECOND);
    bench.around.pass(7 * SECOND);
    assert_eq!(bench.fill().1, [wants(id(0, 1, 1), addr(1), Purpose::Edge)]);
}

#[test]
fn a_contact_that_is_not_wanted_hastens_no_fill() {
    let mut bench = with_finger(Config::default(), 20);
    bench.gossip(id(0, 1, 1), addr(1));
    bench.hold_off(&id(0, 1, 1), 7 * SECOND);
    assert_eq!(bench.fill().1, [], "its slot is taken");
    assert!(bench.is_idle());
}

#[test]
fn the_next_fill_is_sooner_for_a_node_that_wants_more() {
    for (contact, spacing) in [(id(0, 2, 1), 200 * MS), (id(0, 1, 1), 2 * SECOND)] {
        let mut bench = with_finger(light_or_router(false), 20);
        bench.gossip(contact, addr(1));
        bench.fill();
        bench.topology.schedule.wake_fill(bench.around.now);
        assert_eq!(bench.until_fill(), spacing);
    }
    let mut bench = with_finger(Config::default(), 20);
    bench.dial(id(0, 2, 1), vec![verified(addr(1))]);
    bench.fill();
    bench.topology.schedule.wake_fill(bench.around.now);
    assert_eq!(bench.until_fill(), 200 * MS, "a dial is under way");
}

fn light_or_router(is_light: bool) -> Config {
    if is_light { light() } else { Config::default() }
}

#[test]
fn a_router_that_has_what_it_wants_probes_for_a_faster_edge() {
    let mut bench = with_finger(Config::default(), 200);
    bench.gossip_open(id(0, 1, 1), addr(1));
    let (fill, actions) = bench.fill();
    assert_eq!(actions, [probes(id(0, 1, 1), addr(1))]);
    assert_eq!(fill.wanted, [id(0, 1, 1)]);
    assert_eq!(bench.until_fill(), 12 * SECOND);
    assert_eq!(bench.fill().1, [], "not so soon again");
    bench.around.pass(12 * SECOND);
    assert_eq!(bench.fill().1, [probes(id(0, 1, 1), addr(1))]);
}

#[test]
fn an_attempt_that_the_same_maintenance_begins_counts_as_under_way() {
    let mut bench = with_finger(Config::default(), 200);
    bench.gossip_open(id(0, 1, 1), addr(1));
    bench.rooms.begun = Some((id(0, 2, 1), Some(addr(2))));
    assert_eq!(bench.fill().1, [], "a node with a dial under way does not probe");
    bench.rooms.begun = None;
    bench.around.pass(MINUTE);
    assert_eq!(bench.fill().1, [probes(id(0, 1, 1), addr(1))]);
}

#[test]
fn a_contact_that_would_have_to_be_asked_first_is_not_probed() {
    let mut bench = with_finger(Config::default(), 200);
    bench.gossip(id(0, 1, 1), addr(1));
    assert_eq!(bench.fill().1, []);
    bench.observe(id(0, 1, 1), None, Some(addr(2)), Verified);
    let candidates = vec![recent(addr(2)), unverified(addr(1))];
    let want = Want { peer: id(0, 1, 1), candidates, purpose: Purpose::Probe };
    bench.around.pass(5 * MINUTE);
    bench.confirm(&id(0, 1, 1));
    assert_eq!(bench.fill().1, [Did::Connect(want)], "its NAT still knows this node");
    bench.around.pass(MINUTE);
    assert_eq!(bench.fill().1, [], "its NAT has forgotten");
}

#[test]
fn a_light_node_probes_for_no_faster_edge() {
    let mut bench = with_finger(light(), 200);
    bench.gossip_open(id(0, 1, 1), addr(1));
    assert_eq!(bench.fill().1, []);
    bench.around.pass(5 * MINUTE);
    assert_eq!(bench.fill().1, []);
    assert!(bench.is_idle());
}

#[test]
fn no_faster_edge_is_probed_for_while_a_dial_is_under_way_or_an_edge_is_wanted() {
    let mut bench = with_finger(Config::default(), 200);
    bench.gossip_open(id(0, 1, 1), addr(1));
    bench.dial(id(0, 3, 9), vec![verified(addr(9))]);
    assert_eq!(bench.fill().1, []);
    let mut bench = with_finger(Config::default(), 200);
    bench.gossip_open(id(0, 1, 1), addr(1));
    bench.gossip(id(0, 3, 1), addr(2));
    assert_eq!(bench.fill().1, [wants(id(0, 3, 1), addr(2), Purpose::Edge)]);
}

#[test]
fn a_fast_finger_is_not_probed_against() {
    let mut bench = with_finger(Config::default(), 30);
    bench.gossip_open(id(0, 1, 1), addr(1));
    assert_eq!(bench.fill().1, []);
    assert!(bench.is_idle());
}

#[test]
fn four_faster_edges_are_probed_for_at_once_for_the_slowest_first() {
    let mut bench = Bench::joined(Config::default());
    let slots = [(0, 0, 100), (0, 1, 500), (0, 2, 300), (0, 3, 400), (1, 0, 200)];
    for (bucket, part, rtt_ms) in slots {
        bench.edge(id(bucket, part, 0), true, rtt_ms);
        bench.gossip_open(id(bucket, part, 1), addr(4 * bucket as u8 + part));
    }
    let (_, actions) = bench.fill();
    let expected = [id(0, 1, 1), id(0, 3, 1), id(0, 2, 1), id(1, 0, 1)];
    assert_eq!(wanted(&actions, Purpose::Probe), expected);
}

#[test]
fn a_contact_known_to_be_as_slow_or_of_another_slot_is_not_probed() {
    let mut bench = with_finger(Config::default(), 200);
    bench.edge(id(0, 2, 0), true, 10);
    for (peer, rtt_ms) in [(id(0, 1, 1), 190), (id(0, 2, 1), 0), (id(1, 1, 1), 0)] {
        bench.gossip_open(peer, addr(1));
        bench.contacts().measure_rtt(&peer, rtt_ms);
    }
    bench.edge(id(1, 1, 0), true, 10);
    assert_eq!(bench.fill().1, []);
    bench.contacts().measure_rtt(&id(0, 1, 1), 100);
    bench.around.pass(300 * SECOND);
    assert_eq!(bench.fill().1, [probes(id(0, 1, 1), addr(1))]);
}

#[test]
fn a_contact_that_may_not_be_dialed_is_not_probed() {
    let mut bench = with_finger(Config::default(), 200);
    bench.gossip_open(id(0, 1, 1), addr(1));
    bench.hold_off(&id(0, 1, 1), MINUTE);
    assert_eq!(bench.fill().1, []);
}

#[test]
fn a_settled_edge_without_an_answer_counts_as_slow_and_a_light_one_too() {
    let mut bench = with_finger(Config::default(), 0);
    bench.gossip_open(id(0, 1, 1), addr(1));
    assert_eq!(bench.fill().1, [], "it is new");
    bench.around.pass(300 * SECOND);
    assert_eq!(bench.fill().1, [probes(id(0, 1, 1), addr(1))]);
    let mut bench = with_finger(Config::default(), 10);
    bench.gossip_open(id(0, 1, 1), addr(1));
    bench.rooms.edges.set_light(&id(0, 1, 0), true);
    assert_eq!(bench.fill().1, [probes(id(0, 1, 1), addr(1))]);
}

/// Whether a peer that answered a probe is to become an edge.
fn is_worth(bench: &mut Bench, peer: NodeId, rtt_ms: u16) -> bool {
    let (is_worth, actions) = bench.act(|topology, cx, rooms| {
        topology.is_worth_an_edge(cx, rooms.table(), rooms.peers.table(), &peer, rtt_ms)
    });
    assert_eq!(actions, []);
    is_worth
}

#[test]
fn a_probed_peer_is_worth_an_edge_if_it_is_near_faster_or_the_only_one_in_its_slot() {
    assert!(is_worth(&mut Bench::default(), id(0, 1, 1), 900), "the first edge");
    let mut bench = with_finger(Config::default(), 100);
    assert!(is_worth(&mut bench, id(0, 1, 1), 99));
    assert!(!is_worth(&mut bench, id(0, 1, 1), 100));
    assert!(is_worth(&mut bench, id(0, 2, 1), 900), "its slot is empty");
    assert!(is_worth(&mut bench, id(31, 0, 1), 900), "it is one of the nearest");
    let mut bench = with_finger(light(), 100);
    assert!(!is_worth(&mut bench, id(0, 2, 1), 100), "a bucket of a light node is one slot");
    assert!(is_worth(&mut bench, id(0, 2, 1), 99));
    let mut bench = Bench::default();
    bench.edges((1..16).map(near), true);
    bench.edge(id(0, 1, 0), true, 100);
    bench.edge(id(0, 1, 2), true, 100);
    assert!(!is_worth(&mut bench, id(0, 1, 1), 100), "one of them is among the sixteen nearest");
    let mut bench = Bench::default();
    bench.edges((2..16).map(near), true);
    bench.edge(id(0, 1, 0), true, 10);
    assert!(is_worth(&mut bench, id(0, 1, 1), 900), "there are no sixteen yet");
}

#[test]
fn fingers_are_sought_from_the_first_bucket_that_can_exist_on() {
    for (difficulty, is_wanted) in [(0, false), (5, true)] {
        let mut bench = Bench::joined(Config { difficulty, ..Config::default() });
        bench.gossip(id(26, 0, 0), addr(1));
        let expected = is_wanted.then(|| wants(id(26, 0, 0), addr(1), Purpose::Edge));
        assert_eq!(bench.fill().1, Vec::from_iter(expected));
    }
}

#[test]
fn an_edge_that_was_never_measured_is_worth_replacing_once_it_is_settled() {
    let mut bench = with_finger(Config::default(), 0);
    bench.around.pass(5 * SECOND - MS);
    assert!(!is_worth(&mut bench, id(0, 1, 1), 900));
    bench.around.pass(MS);
    assert!(is_worth(&mut bench, id(0, 1, 1), 900));
    let mut bench = with_finger(Config::default(), 10);
    assert!(!is_worth(&mut bench, id(0, 1, 1), 900));
    bench.rooms.edges.set_light(&id(0, 1, 0), true);
    assert!(is_worth(&mut bench, id(0, 1, 1), 900), "a light node is the slowest");
}

#[test]
fn an_edge_that_the_peer_opened_takes_no_slot() {
    let mut bench = Bench::joined(Config::default());
    bench.edge(id(0, 1, 0), false, 10);
    assert!(is_worth(&mut bench, id(0, 1, 1), 900));
    bench.gossip(id(0, 1, 1), addr(1));
    assert_eq!(bench.fill().1, [wants(id(0, 1, 1), addr(1), Purpose::Edge)]);
}
