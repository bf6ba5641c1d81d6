//! Nodes whose address changes, and machines that sleep.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::api::{Command, Event};
use crate::env::UnixNanos;
use crate::node::Input;
use crate::testkit::{Net, NodeHost, WALL};

const SECOND: Duration = Duration::from_secs(1);
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Between two messages of one node.
const INTERVAL: Duration = Duration::from_millis(5);

/// Two nodes with an edge that the second dialed.
struct Pair {
    net: Net,
    nodes: [NodeHost; 2],
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut net = Net::new(seed);
        net.link.latency = ROUND_TRIP / 2;
        let mut nodes = [1, 2].map(|number| NodeHost::seeded(number, &net, seed * 2));
        for node in &mut nodes {
            node.node.handle_input(net.now, Input::LocalAddrs(vec![node.addr]));
        }
        let [acceptor, dialer] = &mut nodes;
        dialer.bootstrap(&net, acceptor);
        net.run(&mut [acceptor, dialer], 5 * SECOND);
        let mut pair = Self { net, nodes };
        pair.nodes.iter_mut().for_each(|node| node.events.clear());
        pair.pass(SECOND + Duration::from_millis(7 * seed));
        pair
    }

    /// Both send for this long. Returns when each first got a message.
    fn pass(&mut self, span: Duration) -> [Option<Instant>; 2] {
        let (end, mut first) = (self.net.now + span, [None; 2]);
        while self.net.now < end {
            let [a, b] = &mut self.nodes;
            a.send_direct(&self.net, b.id, b"message");
            b.send_direct(&self.net, a.id, b"message");
            self.net.run(&mut [a, b], INTERVAL);
            for (node, first) in self.nodes.iter_mut().zip(&mut first) {
                if !node.take_delivered().is_empty() {
                    first.get_or_insert(self.net.now);
                }
            }
        }
        first
    }

    /// One of the nodes is at another address from now on. Returns how long it takes until both
    /// have got a message that was on its way neither before nor during the move.
    fn roam(&mut self, who: usize, to: SocketAddr) -> Duration {
        let began = self.net.now;
        self.nodes[who].addr = to;
        self.nodes[who].node.handle_input(began, Input::LocalAddrs(vec![to]));
        let first = self.pass(5 * SECOND);
        let there = first[1 - who].expect("messages of the node that moved arrive") - began;
        let back = first[who].expect("messages to the node that moved arrive") - began;
        there.max(back)
    }

    fn lost_an_edge(&self) -> bool {
        let events = self.nodes.iter().flat_map(|node| &node.events);
        events.into_iter().any(|event| matches!(event, Event::EdgeDown { .. }))
    }
}

fn elsewhere(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], port))
}

#[test]
fn an_edge_follows_either_end_to_another_address_in_a_few_round_trips() {
    let bounds =
        [2 * ROUND_TRIP + Duration::from_millis(250), ROUND_TRIP + Duration::from_millis(100)];
    for (who, bound) in bounds.into_iter().enumerate() {
        let mut times: Vec<_> = (0..20)
            .map(|seed| {
                let mut pair = Pair::new(seed);
                let time = pair.roam(who, elsewhere(4_000));
                assert!(!pair.lost_an_edge(), "seed {seed}");
                time
            })
            .collect();
        times.sort();
        println!("end {who}: p50 {:?}, largest {:?}", times[10], times[19]);
        assert!(times[19] <= bound, "end {who}: {times:?}");
    }
}

#[test]
fn the_idle_edge_of_a_node_that_moved_is_whole_before_either_end_sends() {
    for who in [0, 1] {
        let mut pair = Pair::new(60);
        pair.nodes[who].addr = elsewhere(4_000);
        pair.nodes[who].node.handle_input(pair.net.now, Input::LocalAddrs(vec![elsewhere(4_000)]));
        let [a, b] = &mut pair.nodes;
        pair.net.run(&mut [a, b], SECOND);
        pair.nodes[1 - who].take_delivered();
        pair.nodes[who].take_delivered();
        let (began, target) = (pair.net.now, pair.nodes[who].id);
        pair.nodes[1 - who].send_direct(&pair.net, target, b"to the one that moved");
        let [a, b] = &mut pair.nodes;
        pair.net.run(&mut [a, b], ROUND_TRIP);
        assert_eq!(pair.nodes[who].take_delivered().len(), 1, "end {who}, {began:?}");
        assert!(!pair.lost_an_edge());
    }
}

#[test]
fn a_node_that_slept_for_an_hour_reaches_its_peer_again_within_two_seconds() {
    for who in [0, 1] {
        let mut times = Vec::new();
        for seed in 0..10 {
            let mut pair = Pair::new(80 + seed);
            let hour = Duration::from_secs(3_600);
            pair.net.run(&mut [&mut pair.nodes[1 - who]], hour);
            let woke = pair.net.now;
            let slept = woke - crate::env::test_base();
            let wall = UnixNanos(WALL.0 + slept.as_nanos() as i64);
            let target = pair.nodes[1 - who].id;
            let node = &mut pair.nodes[who];
            node.node.handle_input(woke, Input::WallClock(wall));
            node.command(&pair.net, Command::Resume);
            pair.nodes[1 - who].node.handle_input(woke, Input::WallClock(wall));
            pair.nodes[1 - who].take_delivered();
            let mut took = None;
            while took.is_none() && pair.net.now < woke + 20 * SECOND {
                pair.nodes[who].send(&pair.net, target, b"awake");
                let [a, b] = &mut pair.nodes;
                pair.net.run(&mut [a, b], 10 * INTERVAL);
                if !pair.nodes[1 - who].take_delivered().is_empty() {
                    took = Some(pair.net.now - woke);
                }
            }
            times.extend(took);
        }
        times.sort();
        println!("slept, end {who}: {times:?}");
        assert!(times.len() == 10 && times[9] <= 2 * SECOND, "end {who}: {times:?}");
    }
}
