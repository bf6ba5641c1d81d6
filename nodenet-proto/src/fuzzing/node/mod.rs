//! Two whole nodes and a hostile one on a bad network.
//!
//! Bytes become a scenario by position: every step is one byte that says what happens and the bytes
//! it needs, so a small change of the input is a small change of the scenario. All steps are legal
//! for whoever takes them: an application, a driver, the network, a peer that proved its identity
//! and then says what it likes. After every step both nodes check themselves. In the end the
//! network heals, and then every request must be settled, by exactly one event.

mod hostile;
mod net;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::NodeId;
use crate::api::{Command, Event, RequestId};
use crate::drive::{Drained, drain};
use crate::env::{Seed, UnixNanos};
use crate::identity::Identity;
use crate::io::{SocketId, TransmitBuf};
use crate::node::{Config, Input, Node};
use hostile::Hostile;
use net::{Net, Outbox, addr};

/// Steps that are taken at most.
const STEPS_MAX: usize = 256;
/// Where the hostile peer is among the hosts; the two nodes come before it.
const HOSTILE: usize = 2;
/// How long the healed network is watched: longer than anything a request waits for.
const AFTERMATH: Duration = Duration::from_secs(90);
/// How often a deadline may be due at the same instant: a few timers may fire one after the other.
const STANDSTILL_MAX: u32 = 100;
/// Wall time at the start.
const WALL: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

/// Runs the scenario that `input` spells.
pub fn node_bytes(input: &[u8]) {
    let mut world = NodeNet::new();
    let mut script = Script(input);
    world.run(Duration::from_secs(1));
    let edges = world.parties.each_ref().map(|party| party.node.edges().len());
    assert_eq!(edges, [2, 2], "a scenario starts on a network where everybody found everybody");
    for _ in 0..STEPS_MAX {
        let Some(step) = script.next() else { break };
        world.step(step & 0x7f, &mut script);
        // With the top bit set nobody looks at the outputs before the next step.
        if step < 0x80 {
            world.settle();
        }
        world.check();
    }
    world.heal();
    world.check();
}

/// What is left of the input. Behind its end there are zeros.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Up to 255 bytes, as many as the next one says.
    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }
}

/// One of the two nodes, its driver and its application.
struct Party {
    node: Node,
    buf: TransmitBuf,
    deadline: Option<Instant>,
    /// The socket takes nothing.
    is_blocked: bool,
    outbox: Outbox,
    log: Log,
}

/// What an application asked and was told.
#[derive(Default)]
struct Log {
    unsettled: BTreeSet<RequestId>,
    delivered: BTreeMap<Bytes, u32>,
}

impl Log {
    fn event(&mut self, event: Event) {
        if let Some(request) = event.request() {
            assert!(self.unsettled.remove(&request), "{request:?} was settled before");
        }
        if let Event::Delivered { payload, .. } = event {
            *self.delivered.entry(payload).or_default() += 1;
        }
    }
}

struct NodeNet {
    parties: [Party; 2],
    hostile: Hostile,
    net: Net,
    /// Who has which identifier: the nodes, the hostile peer, and one that does not exist.
    ids: [NodeId; 4],
    requests: u64,
}

impl NodeNet {
    fn new() -> Self {
        let net = Net::new();
        let identities = [1, 2, 3].map(|seed| Identity::from_master_seed(&[seed; 32]));
        let [a, b, hostile] = identities.each_ref().map(Identity::id);
        let ids = [a, b, hostile, NodeId::from_bytes([0x55; 32])];
        let [first, second, third] = identities;
        let party = |identity: Identity, number: u64| {
            let seed = Seed::from_u64(number);
            let node = Node::new(Config::default(), identity, seed, net.now, WALL);
            Party {
                node: node.expect("no work is asked for"),
                buf: TransmitBuf::new(4),
                deadline: None,
                is_blocked: false,
                outbox: Outbox::default(),
                log: Log::default(),
            }
        };
        let parties = [party(first, 0), party(second, 1)];
        let hostile = Hostile::new(third, net.now);
        let mut world = Self { parties, hostile, net, ids, requests: 0 };
        world.connect(0, 1);
        world.hostile.dial(world.net.now, 0, &world.ids);
        world
    }

    /// Takes one step.
    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let now = self.net.now;
        match step % 16 {
            0 => {
                let millis = u64::from(script.byte());
                self.pass(Duration::from_millis(millis * millis));
            }
            1 => self.arrive_all(),
            2 => self.arrive(script.byte()),
            3 => drop(self.net.take(script.byte())),
            4 => self.net.duplicate(script.byte()),
            5 => self.net.corrupt(script.byte(), script.byte(), script.byte()),
            6 => {
                let (from, to) = (script.below(4), script.below(3));
                self.net.inject(from, to, script.bytes());
                self.arrive_last();
            }
            7 | 8 => self.command(script),
            9 => {
                let party = script.below(2);
                self.parties[party].is_blocked ^= true;
            }
            10 => {
                let party = script.below(2);
                let millis = i64::from(script.byte() as i8) * 1_000;
                let passed = (now - self.net.base).as_nanos() as i64;
                let wall = UnixNanos(WALL.0 + passed + millis * 1_000_000);
                self.parties[party].node.handle_input(now, Input::WallClock(wall));
            }
            11 => {
                let party = script.below(2);
                let addrs = (0..script.below(20)).map(|_| addr(script.below(4))).collect();
                self.parties[party].node.handle_input(now, Input::LocalAddrs(addrs));
            }
            12 => self.hostile.act(now, &self.ids, script),
            13 => self.hostile.say_any_frame(script),
            14 => self.hostile.say_signed(self.wall(), &self.ids, script),
            _ => self.run(Duration::from_millis(200)),
        }
    }

    /// Gives one of the two nodes a command.
    fn command(&mut self, script: &mut Script<'_>) {
        let (party, kind) = (script.below(2), script.below(6));
        let target = self.ids[script.below(4)];
        self.requests += 1;
        let request = RequestId(self.requests);
        let mut payload = self.requests.to_be_bytes().to_vec();
        let command = match kind {
            0 | 1 => {
                payload.resize(8 + script.below(256) * 257, 0xab);
                let payload = payload.into();
                if kind == 0 {
                    Command::Send { request, target, payload }
                } else {
                    Command::SendDirect { request, target, payload }
                }
            }
            2 => {
                let addrs = (0..script.below(10)).map(|_| addr(script.below(4))).collect();
                Command::Connect { request, target, addrs }
            }
            3 => Command::CloseEdge { request, peer: target },
            4 => Command::Leave { request },
            _ => return self.connect(party, script.below(2)),
        };
        let now = self.net.now;
        let party = &mut self.parties[party];
        party.log.unsettled.insert(request);
        party.node.handle_input(now, Input::Command(command));
    }

    /// Names one node to the other as a way into the network.
    fn connect(&mut self, party: usize, to: usize) {
        let seeds = vec![crate::api::BootstrapPeer { id: self.ids[to], addrs: vec![addr(to)] }];
        let command = Input::Command(Command::Bootstrap(seeds));
        self.parties[party].node.handle_input(self.net.now, command);
    }

    /// Lets everybody send what they have.
    fn settle(&mut self) {
        for (index, party) in self.parties.iter_mut().enumerate() {
            if party.is_blocked && party.outbox.is_full() {
                continue;
            }
            party.outbox.capacity = if party.is_blocked { 1 } else { usize::MAX };
            let mut outlet = (&mut party.outbox, &mut party.log);
            let drained = drain(&mut party.node, &mut party.buf, &mut outlet);
            match drained {
                Drained::Idle(deadline) => party.deadline = deadline.map(|deadline| deadline.at),
                Drained::Blocked => assert!(party.is_blocked, "only a full socket takes nothing"),
            }
            if !party.is_blocked {
                self.net.send(index, &mut party.outbox);
            }
        }
        self.hostile.drain();
        self.net.send(HOSTILE, &mut self.hostile.outbox);
    }

    /// Lets `span` pass at once; whoever had something to do meanwhile does it late.
    fn pass(&mut self, span: Duration) {
        self.net.now += span;
        let now = self.net.now;
        for party in &mut self.parties {
            if party.deadline.is_some_and(|at| at <= now) {
                party.node.handle_timeout(now);
            }
        }
        self.hostile.expire(now);
    }

    fn arrive(&mut self, index: u8) {
        if let Some(flight) = self.net.take(index) {
            self.hand_over(flight);
        }
    }

    fn arrive_last(&mut self) {
        if let Some(flight) = self.net.take_last() {
            self.hand_over(flight);
        }
    }

    fn arrive_all(&mut self) {
        for flight in self.net.take_all() {
            self.hand_over(flight);
        }
    }

    fn hand_over(&mut self, flight: net::Flight) {
        let now = self.net.now;
        let (socket, remote, data) = (SocketId::MAIN, addr(flight.from), flight.data);
        match self.parties.get_mut(flight.to) {
            Some(party) => {
                let input = Input::Datagram { socket, remote, local_ip: None, ecn: None, data };
                party.node.handle_input(now, input);
            }
            None => self.hostile.receive(now, remote, data),
        }
    }

    /// Lets `span` pass on a network that loses nothing, with everybody on time.
    fn run(&mut self, span: Duration) {
        let until = self.net.now + span;
        let mut stood_still = 0;
        loop {
            self.settle();
            if self.net.is_busy() {
                self.net.now += net::LATENCY;
                self.arrive_all();
                continue;
            }
            let deadlines = self.parties.iter().filter(|party| !party.is_blocked);
            let deadlines = deadlines.filter_map(|party| party.deadline);
            let next = deadlines.chain(self.hostile.deadline()).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            stood_still = if next > self.net.now { 0 } else { stood_still + 1 };
            assert!(
                stood_still < STANDSTILL_MAX,
                "a deadline stays due, however often it is handled"
            );
            self.pass(next.saturating_duration_since(self.net.now));
        }
        self.net.now = self.net.now.max(until);
    }

    /// Ends the scenario well: nothing is lost any more, and every request is settled.
    fn heal(&mut self) {
        for party in &mut self.parties {
            party.is_blocked = false;
        }
        self.run(AFTERMATH);
        for party in &self.parties {
            assert!(party.log.unsettled.is_empty(), "unsettled: {:?}", party.log.unsettled);
            for (payload, count) in &party.log.delivered {
                assert_eq!(*count, 1, "delivered more than once: {payload:?}");
            }
        }
    }

    fn check(&self) {
        for party in &self.parties {
            party.node.check();
        }
    }

    fn wall(&self) -> UnixNanos {
        UnixNanos(WALL.0 + (self.net.now - self.net.base).as_nanos() as i64)
    }
}
