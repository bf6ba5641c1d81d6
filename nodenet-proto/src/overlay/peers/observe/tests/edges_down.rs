use EdgeDownReason::{ClosedHere, Conn, Dead, Left};

use super::*;
use crate::transport::ConnDownReason;

const MINUTE: Duration = Duration::from_secs(60);

impl Bench {
    /// A bench that knows the first peer by gossip.
    fn knowing_one() -> Self {
        let mut bench = Self::new();
        bench.import(1, &[addr(1)]);
        bench
    }

    /// The edge to the first peer comes up now.
    fn open(&mut self, is_outgoing: bool) -> Edge {
        self.attach(1, is_outgoing);
        self.edges.remove(&id(1)).expect("it was attached")
    }

    fn edge_down(&mut self, edge: Edge, reason: EdgeDownReason) {
        let ended = EndedEdge { edge, reason };
        self.run(|peers, cx, edges| peers.observe_edge_down(cx, edges, &ended));
    }
}

/// The failures and the wait of a peer after its edge ended. The bench has the edges `others`, each
/// outgoing or not.
fn after(
    reason: EdgeDownReason,
    is_outgoing: bool,
    lived: Duration,
    others: &[bool],
) -> (u8, Option<Duration>) {
    let mut bench = Bench::knowing_one();
    for (&is_outgoing, number) in others.iter().zip(8..) {
        bench.attach(number, is_outgoing);
    }
    let edge = bench.open(is_outgoing);
    bench.around.pass(lived);
    bench.edge_down(edge, reason);
    (bench.contact(1).failures, bench.wait(1))
}

#[test]
fn a_peer_that_closes_a_young_edge_of_this_node_has_no_place_for_ten_minutes() {
    let (no_place, usual) = (fresh().jitter(10 * MINUTE, 20), fresh().jitter(MINUTE, 20));
    let (no_place, usual) = ((0, tenths(no_place)), (0, tenths(usual)));
    let young = 5 * MINUTE - SECOND;
    assert_eq!(after(Left, true, Duration::ZERO, &[true]), no_place);
    assert_eq!(after(Left, true, young, &[true, false]), no_place);
    assert_eq!(after(Left, true, 5 * MINUTE, &[true]), usual, "it is old");
    assert_eq!(after(Left, false, young, &[true]), usual, "the peer opened it");
    assert_eq!(after(Left, true, young, &[false]), usual, "this node opened no other");
    assert_eq!(after(Left, true, young, &[]), usual, "this node has no other");
    assert_eq!(after(ClosedHere, true, young, &[true]), usual, "this node closed it");
    assert_eq!(after(ClosedHere, false, 9 * MINUTE, &[false]), usual);
}

#[test]
fn an_edge_that_is_lost_counts_as_a_failed_dial() {
    let failed = (1, tenths(fresh().jitter(SECOND, 20)));
    for reason in [Dead, Conn(ConnDownReason::TimedOut), Conn(ConnDownReason::Reset)] {
        for lived in [Duration::ZERO, 9 * MINUTE] {
            assert_eq!(after(reason, true, lived, &[true]), failed, "{reason:?}");
            assert_eq!(after(reason, false, lived, &[]), failed, "{reason:?}");
        }
    }
}

#[test]
fn a_peer_that_is_lost_again_and_again_is_forgotten_unless_no_edge_is_left() {
    for (has_others, is_kept) in [(true, false), (false, true)] {
        let mut bench = Bench::knowing_one();
        if has_others {
            bench.attach(9, false);
        }
        for _ in 0..3 {
            let edge = bench.open(true);
            bench.edge_down(edge, Dead);
        }
        assert_eq!(bench.is_known(1), is_kept);
    }
}

#[test]
fn an_edge_that_lived_a_minute_ends_the_failures_of_its_peer() {
    for (lived, failures) in [(MINUTE - Duration::from_millis(1), 1), (MINUTE, 0)] {
        let mut bench = Bench::knowing_one();
        bench.attach(9, true);
        bench.fail(1, false);
        let mut edge = bench.open(true);
        let heard = bench.around.now + 30 * SECOND;
        edge.observe_frame(ConnId(1), heard, false);
        bench.around.pass(lived);
        bench.edge_down(edge, ClosedHere);
        assert_eq!(bench.contact(1).failures, failures);
        let seen = if failures == 0 { bench.tick(heard) } else { Tick::NEVER };
        assert_eq!(bench.contact(1).last_seen, seen, "when the edge was heard, not now");
    }
}

#[test]
fn a_stable_edge_that_dies_is_the_first_failure_of_its_peer() {
    let mut bench = Bench::knowing_one();
    bench.attach(9, true);
    bench.fail(1, false);
    bench.fail(1, false);
    let edge = bench.open(true);
    bench.around.pass(MINUTE);
    bench.edge_down(edge, Dead);
    assert_eq!(bench.contact(1).failures, 1);
}
