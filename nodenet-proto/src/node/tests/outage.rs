//! Outages of a busy path: how soon messages arrive again, in both directions.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::api::Event;
use crate::testkit::{Net, NodeHost};

const MESSAGE: [u8; 1_024] = [7; 1_024];
/// Between two messages of one node.
const INTERVAL: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

/// Two nodes that send to each other all the time.
struct Busy {
    net: Net,
    nodes: [NodeHost; 2],
}

impl Busy {
    /// Two nodes with one edge and 60 ms of round-trip time.
    fn new(seed: u64) -> Self {
        let mut net = Net::new(seed);
        net.link.latency = Duration::from_millis(30);
        let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
        b.bootstrap(&net, &a);
        net.run(&mut [&mut a, &mut b], 5 * SECOND);
        Self { net, nodes: [a, b] }
    }

    /// Both send for this long. Returns when a message first arrived at each.
    fn pass(&mut self, span: Duration) -> [Option<Instant>; 2] {
        let (end, mut first) = (self.net.now + span, [None; 2]);
        while self.net.now < end {
            let [a, b] = &mut self.nodes;
            a.send_direct(&self.net, b.id, &MESSAGE);
            b.send_direct(&self.net, a.id, &MESSAGE);
            let next = self.net.now + INTERVAL;
            while self.net.now < next {
                self.net.run(&mut [a, b], Duration::from_millis(5));
                for (node, first) in [&mut *a, &mut *b].into_iter().zip(&mut first) {
                    if !node.take_delivered().is_empty() {
                        first.get_or_insert(self.net.now);
                    }
                }
            }
        }
        first
    }

    /// Messages that each takes while nothing arrives for this long. Returns the time from the end
    /// of the outage to the first message that arrives, at the slower node.
    fn outage(&mut self, span: Duration) -> Duration {
        self.net.link.loss = 1.0;
        assert_eq!(self.pass(span), [None; 2]);
        self.net.link.loss = 0.0;
        let back = self.net.now;
        let first = self.pass(10 * SECOND).map(|at| at.expect("a message arrives in the end"));
        first.into_iter().max().expect("two nodes") - back
    }

    fn lost_an_edge(&self) -> bool {
        let events = self.nodes.iter().flat_map(|node| &node.events);
        events.into_iter().any(|event| matches!(event, Event::EdgeDown { .. }))
    }
}

#[test]
fn two_seconds_of_outage_cost_a_busy_edge_at_most_a_second_more() {
    let mut busy = Busy::new(50);
    busy.pass(10 * SECOND);
    let after = busy.outage(2 * SECOND);
    assert!(after <= Duration::from_millis(1_300), "{after:?}");
    assert!(!busy.lost_an_edge());
}

#[test]
fn no_edge_is_lost_to_an_outage_of_less_than_four_seconds() {
    for seed in 0..20 {
        let mut busy = Busy::new(100 + seed);
        busy.pass(2 * SECOND + Duration::from_millis(37 * seed));
        busy.outage(Duration::from_millis(3_900));
        assert!(!busy.lost_an_edge(), "seed {seed}");
    }
}

/// The datagrams of half a minute without an outage.
fn datagrams(is_allowed: bool) -> Vec<(Instant, Vec<u8>)> {
    let mut busy = Busy::new(51);
    if !is_allowed {
        busy.nodes.iter_mut().for_each(|node| node.node.quic.withhold_ack_allowance());
    }
    let (sent, seen) = mpsc::channel();
    busy.net.tap = Some(Box::new(move |at, _, _, data| {
        sent.send((at, data.to_vec())).expect("the test listens");
    }));
    busy.pass(30 * SECOND);
    drop(busy);
    seen.iter().collect()
}

#[test]
fn without_an_outage_the_allowance_changes_no_datagram() {
    let with = datagrams(true);
    assert!(with.len() > 1_200);
    assert!(with == datagrams(false));
}
