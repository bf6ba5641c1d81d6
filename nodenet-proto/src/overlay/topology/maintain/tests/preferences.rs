use super::*;

/// Of equals in a slot the second is chosen.
const FIRST: NodeId = {
    let mut bytes = [0; 32];
    (bytes[0], bytes[31]) = (0xa0, 1);
    NodeId::from_bytes(bytes)
};
const SECOND_PEER: NodeId = {
    let mut bytes = [0; 32];
    (bytes[0], bytes[31]) = (0xa0, 2);
    NodeId::from_bytes(bytes)
};

/// A bench that has joined and knows two peers of one slot by gossip.
fn knowing_two() -> Bench {
    let mut bench = Bench::joined(Config::default());
    bench.gossip(FIRST, addr(1));
    bench.gossip(SECOND_PEER, addr(2));
    bench
}

fn chosen(bench: &mut Bench) -> Vec<NodeId> {
    bench.fill().0.wanted
}

#[test]
fn of_equals_each_node_prefers_one() {
    assert_eq!(chosen(&mut knowing_two()), [SECOND_PEER]);
}

#[test]
fn a_contact_counts_as_verified_for_half_an_hour() {
    let mut bench = knowing_two();
    bench.confirm(&FIRST);
    assert_eq!(chosen(&mut bench), [FIRST]);
    bench.around.pass(30 * MINUTE);
    assert_eq!(chosen(&mut bench), [FIRST]);
    bench.around.pass(100 * MS);
    assert_eq!(chosen(&mut bench), [SECOND_PEER]);
}

#[test]
fn a_contact_that_accepts_conns_is_preferred_to_one_that_was_heard() {
    let mut bench = knowing_two();
    bench.confirm(&SECOND_PEER);
    bench.contacts().learn_caps(&FIRST, Capabilities::PUBLIC_ANCHOR.0);
    assert_eq!(chosen(&mut bench), [FIRST]);
    let mut bench = knowing_two();
    bench.confirm(&SECOND_PEER);
    bench.observe(FIRST, None, Some(addr(1)), Verified);
    bench.around.pass(31 * MINUTE);
    bench.confirm(&SECOND_PEER);
    assert_eq!(chosen(&mut bench), [FIRST], "it answered at its best address");
    let mut bench = knowing_two();
    bench.confirm(&SECOND_PEER);
    bench.observe(FIRST, None, Some(addr(1)), Provenance::Signed);
    bench.contacts().learn_caps(&FIRST, 1 << 30);
    assert_eq!(chosen(&mut bench), [SECOND_PEER], "no proof that it accepts conns");
}

#[test]
fn a_contact_is_stale_when_it_was_not_mentioned_for_ten_minutes() {
    let mut bench = knowing_two();
    bench.around.pass(10 * MINUTE);
    bench.gossip(FIRST, addr(1));
    assert_eq!(chosen(&mut bench), [SECOND_PEER]);
    bench.around.pass(100 * MS);
    assert_eq!(chosen(&mut bench), [FIRST]);
}

#[test]
fn a_contact_with_a_low_round_trip_time_is_preferred() {
    let mut bench = knowing_two();
    bench.contacts().measure_rtt(&FIRST, 79);
    assert_eq!(chosen(&mut bench), [FIRST]);
    bench.contacts().measure_rtt(&FIRST, 81);
    assert_eq!(chosen(&mut bench), [SECOND_PEER]);
}

#[test]
fn a_light_contact_comes_last_and_takes_no_part_of_a_bucket_that_has_an_edge() {
    for by_itself in [true, false] {
        let mut bench = knowing_two();
        let light = Capabilities::LIGHT.with(Capabilities::CAN_RELAY).0;
        if by_itself {
            bench.contacts().learn_caps(&SECOND_PEER, light);
        } else {
            bench.observe(SECOND_PEER, Some(light), None, Gossiped);
        }
        assert_eq!(chosen(&mut bench), [FIRST]);
        bench.hold_off(&FIRST, MINUTE);
        assert_eq!(chosen(&mut bench), [SECOND_PEER], "its bucket has no other");
        bench.edge(id(0, 0, 0), true, 10);
        let expected = if by_itself { vec![] } else { vec![SECOND_PEER] };
        assert_eq!(chosen(&mut bench), expected, "others may lie");
    }
}

/// An address in the subnet that several peers share.
fn shared(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 4242))
}

#[test]
fn a_contact_in_a_subnet_with_many_edges_or_dials_comes_after_one_in_a_fresh_subnet() {
    for (edges, dials) in [(2, 0), (0, 2), (1, 1)] {
        let mut bench = Bench::joined(Config::default());
        for number in 0..edges {
            let peer = id(24, 0, number);
            let peer = Peer { id: peer, key: *peer.as_bytes(), remote: shared(number) };
            bench.edge_from(peer, ConnId(100 + u64::from(number)), true, 20);
        }
        for number in 0..dials {
            bench.dial(id(25, 0, number), vec![verified(shared(100 + number))]);
        }
        bench.gossip(FIRST, addr(1));
        bench.gossip(SECOND_PEER, shared(200));
        assert_eq!(chosen(&mut bench), [FIRST], "{edges} edges and {dials} dials");
    }
    let mut bench = Bench::joined(Config::default());
    bench.dial(id(25, 0, 0), vec![verified(shared(100))]);
    bench.gossip(FIRST, addr(1));
    bench.gossip(SECOND_PEER, shared(200));
    assert_eq!(chosen(&mut bench), [SECOND_PEER], "one alone is not many");
}
