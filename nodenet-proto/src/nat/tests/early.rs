//! What keeps a packet from coming too early at a router: what is named, and who says it is open.

use super::*;

/// THREATS.md#early-packets
#[test]
fn what_one_neighbour_sees_is_named_to_a_peer_that_is_asked_and_to_no_other() {
    let mut bench = Bench::new(Config::default());
    bench.dial(1);
    bench.pong(1, OWN);
    assert_eq!(bench.around.own.addrs(), [], "one neighbour confirms nothing");
    let (payload, _) = bench.around.run(|cx| bench.nat.connect_payload(cx, NONCE));
    let (connect, _) = Connect::decode_with_signals(&payload).expect("it was just written");
    assert_eq!(connect.addrs.as_slice(), [Addr::from_socket_addr(addr(OWN))]);
    assert!(bench.around.own.named_families().v4);
    for number in 2..=3 {
        bench.dial(number);
        bench.pong(number, OWN);
    }
    assert_eq!(bench.around.own.addrs(), [addr(OWN)]);
    assert_eq!(bench.around.own.guesses().count(), 0);
}

/// THREATS.md#early-packets
#[test]
fn two_edges_from_where_nothing_was_sent_make_this_node_reachable() {
    let mut bench = Bench::new(Config::default());
    let open = |bench: &mut Bench, number: u8, text: &str| {
        bench.run(|nat, cx| nat.handle_edge_up(cx, id(number), addr(text), false));
        bench.around.own.is_reachable()
    };
    let opened = |bench: &mut Bench, number: u8, text: &str| {
        bench.run(|nat, cx| nat.handle_edge_up(cx, id(number), addr(text), true));
        bench.around.own.is_reachable()
    };
    open(&mut bench, 1, "20.1.0.1:1");
    opened(&mut bench, 2, "20.1.0.1:2");
    // A Connect of theirs drew punches before.
    bench.connect(3, &["20.3.0.1:1"]);
    opened(&mut bench, 3, "20.3.0.1:2");
    // They are on this node's own site.
    opened(&mut bench, 4, "192.168.1.4:1");
    opened(&mut bench, 5, "192.168.1.5:1");
    assert!(!opened(&mut bench, 6, "20.6.0.1:1"), "the first");
    assert!(!opened(&mut bench, 6, "20.6.0.1:2"), "another conn of it");
    bench.run(|nat, cx| nat.handle_edge_down(cx, id(6)));
    assert!(!opened(&mut bench, 6, "20.6.0.1:3"), "it was known before");
    assert!(opened(&mut bench, 7, "20.6.0.2:1"));
    bench.around.own.set_reachable(false);
    assert!(!opened(&mut bench, 8, "20.8.0.1:1"), "a test that failed counts more than a third");
}
