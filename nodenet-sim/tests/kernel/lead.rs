//! Lead times: two hosts, each behind a router, that send to each other, one of them first.
//!
//! The path between the routers is this test: it takes what leaves one router, and gives it to the
//! other after the delay of the path. Times are virtual, and what happens follows from their order
//! alone, on both sides of the comparison.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nodenet_proto::env::Seed;
use nodenet_proto::testkit::base;
use nodenet_proto::testkit::nat_box::{Header, LinuxConfig, NatBox, Side};

use crate::family::Family;
use crate::lab::{self, Agent, Lab};
use crate::router::patience;
use crate::rules::Rules;
use crate::topology::Topology;

/// In each round both send to every endpoint of the other that they know.
const ROUNDS: u64 = 3;
const ROUND_MS: u64 = 200;
/// The TTL of a datagram that leaves its own router and dies behind it.
const SHORT: u8 = 2;

/// A host, and its router: 0 or 1.
type End = usize;

/// One attempt.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    /// Whether each router accepts datagrams for itself.
    is_open: [bool; 2],
    /// When each host begins.
    at_ms: [u64; 2],
    /// One way.
    path_ms: u64,
    /// Whether the first datagram of each host dies on the way.
    is_short: [bool; 2],
}

/// What an attempt needs of two routers.
trait Street {
    /// A host sends. Returns the source outside of its router, if the datagram comes there.
    fn leave(&mut self, end: End, to: SocketAddr, ttl: u8) -> Option<SocketAddr>;

    /// A datagram comes to a router. Returns whether the host behind it gets it.
    fn arrive(&mut self, end: End, from: SocketAddr, to: SocketAddr) -> bool;
}

#[derive(Debug)]
enum Event {
    Send { end: End, ttl: u8 },
    Arrive { end: End, from: SocketAddr, to: SocketAddr },
}

/// The external endpoint of a host whose router keeps its port.
fn external(end: End, port: u16) -> SocketAddr {
    SocketAddr::from(([198, 18, 1 + end as u8, 2], port))
}

fn inside(end: End, port: u16) -> SocketAddr {
    Family::V4.inside((1 + end as u8, port))
}

impl Attempt {
    /// Says when both hosts heard from each other: in which round, or never.
    fn run(self, port: u16, street: &mut dyn Street) -> String {
        let mut events: BTreeMap<(u64, usize), Event> = BTreeMap::new();
        for round in 0..ROUNDS {
            for end in [0, 1] {
                let is_short = round == 0 && self.is_short[end];
                let event = Event::Send { end, ttl: if is_short { SHORT } else { 64 } };
                events.insert((self.at_ms[end] + round * ROUND_MS, events.len()), event);
            }
        }
        let mut known = [1, 0].map(|other| BTreeSet::from([external(other, port)]));
        let mut heard = [false; 2];
        let mut order = events.len();
        while let Some(((at, _), event)) = events.pop_first() {
            match event {
                Event::Send { end, ttl } => {
                    for to in known[end].clone() {
                        let left = street.leave(end, to, ttl);
                        if let Some(from) = left.filter(|_| ttl > SHORT) {
                            order += 1;
                            let event = Event::Arrive { end: 1 - end, from, to };
                            events.insert((at + self.path_ms, order), event);
                        }
                    }
                }
                Event::Arrive { end, from, to } => {
                    if street.arrive(end, from, to) {
                        heard[end] = true;
                        known[end].insert(from);
                    }
                }
            }
            if heard == [true; 2] {
                return format!("round {}", 1 + (at - self.at_ms[0].min(self.at_ms[1])) / ROUND_MS);
            }
        }
        "never".to_owned()
    }
}

/// Two boxes of the test kit.
struct Boxes {
    port: u16,
    nats: [NatBox; 2],
    now: Instant,
    passed: Vec<bool>,
}

impl Boxes {
    fn new(port: u16, attempt: &Attempt) -> Self {
        let nats = [0, 1].map(|end| {
            let config = LinuxConfig { input_open: attempt.is_open[end], ..LinuxConfig::default() };
            let seed = Seed::from_u64(1).child("router", end as u64);
            NatBox::new(config, vec![external(end, port).ip()], &seed)
        });
        Self { port, nats, now: base(), passed: Vec::new() }
    }

    fn forward(&mut self, end: End, side: Side, header: Header) -> Option<Header> {
        // Far shorter than any timeout, as it is in the kernel.
        self.now += Duration::from_millis(1);
        let passed = self.nats[end].forward(self.now, side, header).ok();
        self.passed.push(passed.is_some());
        passed.map(|(_, header)| header)
    }
}

impl Street for Boxes {
    fn leave(&mut self, end: End, to: SocketAddr, ttl: u8) -> Option<SocketAddr> {
        let header = Header { ttl, ..Header::new(inside(end, self.port), to) };
        self.forward(end, Side::Inside, header).map(|passed| passed.from)
    }

    fn arrive(&mut self, end: End, from: SocketAddr, to: SocketAddr) -> bool {
        let passed = self.forward(end, Side::Outside, Header::new(from, to));
        passed.is_some_and(|passed| passed.to == inside(end, self.port))
    }
}

/// Two routers of the kernel.
struct Kernels {
    hosts: [Agent; 2],
    /// The path: each side of it is the address of the other router.
    path: [Agent; 2],
    port: u16,
    texts: u32,
    /// Whether the boxes let each datagram through.
    hints: VecDeque<bool>,
}

impl Kernels {
    fn new(lab: &Lab) -> Self {
        let hosts = [1, 2].map(|number| lab.agent(&format!("a{number}")));
        let path = [1, 2].map(|number| lab.agent(&format!("w{number}")));
        let mut kernels = Self { hosts, path, port: 9, texts: 0, hints: VecDeque::new() };
        let end = Instant::now() + Duration::from_secs(10);
        for side in [0, 1] {
            let first = SocketAddr::from(([198, 18, 1 + side as u8, 1], 7_000));
            while kernels.leave(side, first, 64).is_none() {
                assert!(Instant::now() < end, "no datagram passes the router");
            }
        }
        kernels
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        format!("text-{}", self.texts)
    }

    fn patience_ms(&mut self) -> u64 {
        patience(self.hints.pop_front()).as_millis() as u64
    }
}

impl Street for Kernels {
    fn leave(&mut self, end: End, to: SocketAddr, ttl: u8) -> Option<SocketAddr> {
        let (text, from, ms) = (self.text(), inside(end, self.port), self.patience_ms());
        self.path[end].bind(to);
        self.hosts[end].bind(from);
        self.hosts[end].send(from, to, ttl, &text);
        self.path[end].find(&text, ms).map(|(_, source)| source)
    }

    fn arrive(&mut self, end: End, from: SocketAddr, to: SocketAddr) -> bool {
        let (text, ms) = (self.text(), self.patience_ms());
        self.path[end].bind(from);
        self.path[end].send(from, to, 64, &text);
        self.hosts[end].find(&text, ms).is_some()
    }
}

/// Makes the attempts on the kernel's routers and on boxes, and asserts what comes of them.
fn agree(test: &str, attempts: &[(Attempt, &str)]) {
    lab::run(test, Topology::Pair, Family::V4, |lab| {
        for router in ["r1", "r2"] {
            lab.rules(router, &Rules::masquerade().text(Family::V4));
        }
        let mut kernels = Kernels::new(lab);
        for ((attempt, expected), port) in attempts.iter().zip(5_000..) {
            // Sockets of their own: an attempt leaves nothing that counts for another.
            let mut boxes = Boxes::new(port, attempt);
            let by_boxes = attempt.run(port, &mut boxes);
            for (router, is_open) in ["r1", "r2"].into_iter().zip(attempt.is_open) {
                let rules = Rules::masquerade();
                let rules = if is_open { rules.open() } else { rules };
                lab.rules(router, &rules.text(Family::V4));
            }
            kernels.port = port;
            kernels.hints = boxes.passed.into();
            let by_kernel = attempt.run(port, &mut kernels);
            assert_eq!(by_kernel, *expected, "the kernel, {attempt:?}");
            assert_eq!(by_boxes, *expected, "the boxes, {attempt:?}");
        }
    });
}

const OPEN: bool = true;
const CLOSED: bool = false;

fn attempt(is_open: [bool; 2], at_ms: [u64; 2], path_ms: u64) -> Attempt {
    Attempt { is_open, at_ms, path_ms, is_short: [false; 2] }
}

/// The first datagram of the host that begins dies on the way.
fn short(attempt: Attempt) -> Attempt {
    let [first, second] = attempt.at_ms;
    Attempt { is_short: [first <= second, second < first], ..attempt }
}

#[test]
fn who_sends_first_decides_where_one_router_is_open() {
    let pair = |at_ms, path_ms| attempt([OPEN, CLOSED], at_ms, path_ms);
    agree(
        "lead::who_sends_first_decides_where_one_router_is_open",
        &[
            (pair([100, 0], 0), "never"),
            (pair([100, 0], 20), "never"),
            (pair([0, 100], 0), "round 2"),
            (pair([0, 100], 20), "round 2"),
            // By less than the path takes.
            (pair([5, 0], 0), "never"),
            (pair([5, 0], 20), "round 1"),
        ],
    );
}

#[test]
fn two_open_routers_need_a_lead_shorter_than_the_path() {
    let pair = |at_ms, path_ms| attempt([OPEN, OPEN], at_ms, path_ms);
    agree(
        "lead::two_open_routers_need_a_lead_shorter_than_the_path",
        &[
            (pair([0, 100], 20), "never"),
            (pair([100, 0], 20), "never"),
            (pair([0, 5], 0), "never"),
            (pair([0, 5], 20), "round 1"),
            (pair([5, 0], 20), "round 1"),
            (pair([0, 0], 20), "round 1"),
        ],
    );
}

#[test]
fn a_first_datagram_that_dies_on_the_way_makes_every_lead_do() {
    let pairs = [[OPEN, CLOSED], [OPEN, OPEN]];
    let leads = [[0, 100], [100, 0]];
    let all = pairs.into_iter().flat_map(|pair| leads.map(|lead| (pair, lead)));
    let attempts: Vec<_> = all
        .flat_map(|(pair, lead)| [0, 20].map(|path| short(attempt(pair, lead, path))))
        .map(|attempt| (attempt, "round 2"))
        .collect();
    agree("lead::a_first_datagram_that_dies_on_the_way_makes_every_lead_do", &attempts);
}

#[test]
fn where_both_routers_drop_no_lead_matters() {
    let pair = |at_ms, path_ms| attempt([CLOSED, CLOSED], at_ms, path_ms);
    agree(
        "lead::where_both_routers_drop_no_lead_matters",
        &[
            (pair([0, 100], 0), "round 2"),
            (pair([100, 0], 20), "round 2"),
            (pair([0, 5], 20), "round 1"),
        ],
    );
}
