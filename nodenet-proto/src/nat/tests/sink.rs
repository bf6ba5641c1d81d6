//! Bytes that a host without an edge gets in ten minutes, however many nodes name it.

use super::*;
use crate::wire::nat::NAT_NONCE_LEN;

const MINUTES: u64 = 10;
/// Header, target, key, time and signature around the payload of a routed message, without nodes
/// to avoid.
const ENVELOPE: usize = 140;
const VICTIM: [u8; 4] = [198, 51, 100, 1];

/// What went to the victim, and what named it.
#[derive(Default)]
struct Sink {
    got: u64,
    named: u64,
    messages: u64,
}

impl Sink {
    fn count(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Punch { remote, .. } = action
                && remote.ip() == IpAddr::from(VICTIM)
            {
                self.got += punch::datagram_len(*remote);
            }
        }
    }

    /// Lets the timers of one second fire.
    fn pass_second(&mut self, bench: &mut Bench) {
        let end = bench.around.now + Duration::from_secs(1);
        while bench.nat.timer.is_some_and(|at| at <= end) {
            let actions = bench.timer();
            self.count(&actions);
        }
        let rest = end.saturating_duration_since(bench.around.now);
        bench.around.pass(rest);
    }

    /// A Connect of this node arrives that names eight ports of the victim.
    fn connect(&mut self, bench: &mut Bench, from: u16) {
        self.messages += 1;
        let mut nonce = [0; NAT_NONCE_LEN];
        nonce[..8].copy_from_slice(&self.messages.to_be_bytes());
        let ports = (1..=8).map(|port| Addr::from(SocketAddr::from((VICTIM, port))));
        let payload = Connect { nonce, addrs: AddrList::first_of(ports) }.to_bytes();
        let mut originator = [1; 32];
        originator[..2].copy_from_slice(&from.to_be_bytes());
        let (sent, len) = (bench.around.wall, ENVELOPE + payload.len());
        let envelope = Envelope { originator: NodeId::from_bytes(originator), sent, len };
        self.named += len as u64;
        let actions = bench.run(|nat, cx| nat.handle_connect(cx, envelope, &payload));
        self.count(&actions);
    }

    /// This node wants an edge to a peer that hearsay puts there.
    fn attempt(&mut self, bench: &mut Bench) {
        let targets = Vec::from_iter((1..=8).map(|port| SocketAddr::from((VICTIM, port))));
        for volley in [Volley::Short, Volley::Full] {
            let actions = bench.run(|nat, cx| nat.burst(cx, id(9), &targets, volley, 0));
            self.count(&actions);
        }
    }
}

/// Each node sends a Connect every ten seconds, and this node attempts as often, or not.
fn run(nodes: u16, attempts: bool) -> Sink {
    let mut bench = Bench::new(Config { test_reachability: false, ..Config::default() });
    let mut sink = Sink::default();
    for second in 0..60 * MINUTES {
        for node in (0..nodes).filter(|node| u64::from(node % 10) == second % 10) {
            sink.connect(&mut bench, node);
        }
        if attempts && second % 10 == 0 {
            sink.attempt(&mut bench);
        }
        sink.pass_second(&mut bench);
    }
    sink
}

/// THREATS.md#e8
#[test]
fn a_host_without_an_edge_gets_no_more_than_the_bound_from_any_number_of_nodes() {
    for nodes in [0, 1, 16, 256] {
        for attempts in [false, true] {
            let Sink { got, named, messages } = run(nodes, attempts);
            println!("{nodes} nodes, attempts {attempts}: {messages} Connects, {named} B: {got} B");
            assert!(got <= 4096 + 3 * named, "{nodes} nodes: {got} bytes for {named}");
            // Something leaves, and the budget of the subnet bounds it for any number of nodes.
            assert_eq!(got > 0, nodes > 0 || attempts);
            let of_subnet = 32 * (48 + 4 * 60 * MINUTES);
            assert!(got <= of_subnet + 4096, "{nodes} nodes: {got} bytes");
        }
    }
}
