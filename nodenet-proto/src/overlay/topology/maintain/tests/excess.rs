use super::*;

/// A bench with 32 edges nearer than the first bucket, and three in one slot of that.
fn with_mates(is_outgoing: bool) -> Bench {
    let mut bench = Bench::default();
    bench.edges((0..32).map(|number| id(28 + number, 0, 0)), true);
    for (tail, rtt_ms) in [(1, 100), (2, 50), (3, 70)] {
        bench.edge(id(0, 1, tail), is_outgoing, rtt_ms);
    }
    bench
}

fn surplus(bench: &mut Bench) -> (Fill, Vec<NodeId>) {
    let (mut fill, _) = bench.fill();
    let (surplus, actions) =
        bench.act(|topology, cx, rooms| topology.surplus(cx, rooms.table(), &mut fill));
    assert_eq!(actions, [], "the edges are closed by the room that has them");
    (fill, surplus)
}

#[test]
fn of_outgoing_edges_in_one_slot_the_slower_ones_are_surplus() {
    let mut bench = with_mates(true);
    bench.around.pass(5 * SECOND);
    let (fill, surplus) = surplus(&mut bench);
    assert_eq!(surplus, [id(0, 1, 1), id(0, 1, 3)]);
    let left: Vec<NodeId> =
        fill.live.iter().map(|edge| edge.id).filter(|id| OWN.common_prefix_len(id) == 0).collect();
    assert_eq!(left, [id(0, 1, 2)]);
}

#[test]
fn edges_that_are_new_or_that_peers_opened_are_no_surplus() {
    let mut bench = with_mates(true);
    bench.around.pass(5 * SECOND - MS);
    assert_eq!(surplus(&mut bench).1, [], "they are not settled");
    let mut bench = with_mates(false);
    bench.around.pass(5 * SECOND);
    assert_eq!(surplus(&mut bench).1, [], "there are places");
}

#[test]
fn a_light_node_needs_one_edge_in_a_bucket() {
    let mut bench = Bench::new(light());
    bench.edges((0..16).map(near), true);
    bench.edge(id(0, 1, 0), true, 50);
    bench.edge(id(0, 2, 0), true, 40);
    bench.around.pass(5 * SECOND);
    assert_eq!(surplus(&mut bench).1, [id(0, 1, 0)]);
}

/// A node with sixteen places, two of which are kept free, and edges that others opened: nine in
/// one bucket near it, and `others` in a bucket of its own each.
fn crowded(others: u16) -> Bench {
    let mut bench = Bench::new(Config { inbound_edges_max: 16, ..Config::default() });
    bench.edges((1..=9).map(|tail| id(20, 0, tail)), false);
    bench.edges((0..others).map(|bucket| id(bucket, 0, 0)), false);
    bench
}

#[test]
fn inbound_edges_beyond_the_settled_places_are_surplus_but_for_the_eight_nearest() {
    let mut bench = crowded(7);
    bench.around.pass(5 * SECOND);
    assert_eq!(surplus(&mut bench).1, [id(20, 0, 9), id(6, 0, 0)]);
    let mut bench = crowded(6);
    bench.around.pass(5 * SECOND);
    assert_eq!(surplus(&mut bench).1, [id(20, 0, 9)]);
    let mut bench = crowded(5);
    bench.edges([id(40, 0, 0), id(41, 0, 0)], true);
    bench.around.pass(5 * SECOND);
    assert_eq!(surplus(&mut bench).1, [], "two places are free, whatever this node opened");
}

#[test]
fn inbound_edges_that_are_new_are_no_surplus() {
    let mut bench = crowded(6);
    bench.around.pass(5 * SECOND - MS);
    assert_eq!(surplus(&mut bench).1, []);
    bench.edge(id(6, 0, 0), false, 20);
    bench.around.pass(MS);
    let (fill, surplus) = surplus(&mut bench);
    assert_eq!(surplus, [id(20, 0, 9), id(5, 0, 0)], "not the one that is new");
    assert_eq!(fill.live.iter().count(), 14);
}

#[test]
fn however_many_places_there_are_twice_the_siblings_are_spared() {
    let mut bench = Bench::default();
    for tail in 1..=33 {
        // The last one that is spared is the slowest.
        bench.edge(id(20, 0, tail), false, if tail == 32 { 900 } else { 20 });
    }
    for tail in 0..192 {
        bench.edge(id(1 + u16::from(tail % 16), 0, tail), false, 20);
    }
    assert_eq!(inbound_settled(&bench.around.config), 224);
    bench.around.pass(5 * SECOND);
    assert_eq!(surplus(&mut bench).1, [id(20, 0, 33)]);
}

/// The surplus of a fill is closed. How long until the next fill.
fn until_fill_after_closing(bench: &mut Bench) -> Duration {
    let (fill, _) = bench.fill();
    let ((), actions) =
        bench.act(|topology, cx, rooms| topology.on_surplus_closed(cx, rooms.table(), &fill));
    assert_eq!(actions, []);
    bench.until_fill()
}

#[test]
fn while_there_are_too_many_edges_and_some_are_new_the_next_fill_comes_soon() {
    let mut bench = crowded(6);
    assert_eq!(until_fill_after_closing(&mut bench), 200 * MS);
    bench.around.pass(5 * SECOND);
    assert!(until_fill_after_closing(&mut bench) >= IDLE[0], "all are settled");
    bench.edge(id(40, 0, 0), true, 20);
    assert!(until_fill_after_closing(&mut bench) >= IDLE[0], "this node opened the new one");
    bench.edge(id(6, 0, 0), false, 20);
    assert_eq!(until_fill_after_closing(&mut bench), 200 * MS);
    let mut bench = crowded(5);
    assert!(until_fill_after_closing(&mut bench) >= IDLE[0], "there are not too many");
}

#[test]
fn an_eighth_of_the_inbound_places_is_kept_free_and_one_at_least() {
    let settled =
        |inbound_edges_max| inbound_settled(&Config { inbound_edges_max, ..Config::default() });
    let expected = [(0, 0), (1, 1), (2, 1), (8, 7), (15, 14), (16, 14), (256, 224)];
    assert_eq!(expected.map(|(places, _)| (places, settled(places))), expected);
    assert_eq!(inbound_settled(&light()), 11, "a light node has twelve places");
    let few = Config { inbound_edges_max: 8, ..light() };
    assert_eq!(inbound_settled(&few), 7);
}

#[test]
fn a_node_has_too_many_edges_when_more_than_the_settled_places_are_taken() {
    let config = Config { inbound_edges_max: 2, ..Config::default() };
    let mut bench = Bench::new(config);
    bench.edge(id(0, 0, 0), true, 20);
    bench.edge(id(1, 0, 0), true, 20);
    bench.edge(id(2, 0, 0), false, 20);
    assert!(!is_crowded(&bench.around.config, bench.rooms.table()));
    bench.edge(id(3, 0, 0), false, 20);
    assert!(is_crowded(&bench.around.config, bench.rooms.table()));
}
