//! Two whole nodes and a hostile one on a bad network.
//!
//! Bytes become a scenario by position: every step is one byte for its kind and the bytes that it
//! needs. A small change of the input is thus a small change of the scenario. All steps are legal
//! for an application, a driver, the network, or a peer that proved its identity and then sends any
//! bytes. After every step both nodes check themselves. In the end the network heals, and then
//! every request must be settled, by exactly one event.

mod hostile;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::NodeId;
use crate::api::{BootstrapPeer, Command, Event, RequestId};
use crate::env::UnixNanos;
use crate::identity::Identity;
use crate::node::{Config, Input};
use crate::testkit::{self, Datagram, Host, LinkProfile, Net, NodeHost, WALL};
use hostile::Hostile;

/// Steps that are taken at most.
const STEPS_MAX: usize = 256;
/// One way, where time matters.
const LATENCY: Duration = Duration::from_millis(5);
/// Datagrams under way at once; the oldest are lost.
const FLIGHTS_MAX: usize = 256;
/// The hostile peer among the hosts; the two nodes come before it, and no host listens behind it.
const HOSTILE: usize = 2;
/// How long the healed network is watched: longer than anything a request waits for.
const AFTERMATH: Duration = Duration::from_secs(90);
/// How often a deadline may be due at the same instant: a few timers may fire one after the other.
const STANDSTILL_MAX: u32 = 100;

/// The address of a host.
fn addr(host: usize) -> SocketAddr {
    testkit::addr(host as u8 + 1)
}

/// Runs the scenario that `input` spells.
pub fn node_bytes(input: &[u8]) {
    let mut world = NodeNet::new();
    let mut script = Script(input);
    world.run(Duration::from_secs(1));
    let edges = world.parties.each_ref().map(|party| party.host.node.edges().len());
    assert_eq!(edges, [2, 2], "both nodes have an edge to every other at the start");
    for _ in 0..STEPS_MAX {
        let Some(step) = script.next() else { break };
        world.step(step & 0x7f, &mut script);
        // With the top bit set the outputs are not checked before the next step.
        if step < 0x80 {
            world.settle();
        }
        world.check();
    }
    world.heal();
    world.check();
}

/// What is left of the input. Behind its end there are zeros.
pub(super) struct Script<'a>(pub(super) &'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Up to 255 bytes, by the number in the next one.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }
}

/// One of the two nodes and its application.
struct Party {
    host: NodeHost,
    log: Log,
}

/// The commands and events of an application.
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
        let mut net = Net::new(0);
        net.link = LinkProfile { latency: LATENCY, mtu: usize::MAX, ..LinkProfile::IDEAL };
        net.flights_max = FLIGHTS_MAX;
        let identities = [1, 2, 3].map(|seed| Identity::from_master_seed(&[seed; 32]));
        let [a, b, hostile] = identities.each_ref().map(Identity::id);
        let ids = [a, b, hostile, NodeId::from_bytes([0x55; 32])];
        let [first, second, third] = identities;
        let party = |identity: Identity, number: usize| {
            let (config, seed) = (Config::default(), number as u64);
            let mut host = NodeHost::at(addr(number), identity, seed, config, net.now);
            host.buf.segments_max = 4;
            // Every step ends with a check.
            host.checks = false;
            Party { host, log: Log::default() }
        };
        let parties = [party(first, 0), party(second, 1)];
        let hostile = Hostile::new(third, net.now);
        let mut world = Self { parties, hostile, net, ids, requests: 0 };
        world.connect(0, 1);
        // A node does not dial the hostile peer, which answers no Connect.
        for node in 0..HOSTILE {
            world.hostile.dial(world.net.now, node, &world.ids);
        }
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
            1 => self.with_hosts(|net, hosts| net.deliver_all(hosts)),
            2 => self.with_hosts(|net, hosts| net.deliver(hosts, script.byte().into())),
            3 => self.net.lose(script.byte().into()),
            4 => self.net.duplicate(script.byte().into()),
            5 => {
                let [index, at, bits] = [script.byte(), script.byte(), script.byte()];
                self.net.corrupt(index.into(), at.into(), bits);
            }
            6 => {
                let (from, to) = (script.below(4), script.below(3));
                let (from, to, data) = (addr(from), addr(to), BytesMut::from(script.bytes()));
                let datagram = Datagram { from, to, ecn: None, data };
                self.with_hosts(|net, hosts| {
                    let host = hosts.iter_mut().find(|host| host.listens_at(to));
                    host.expect("a host of this network").receive(net.now, datagram);
                });
            }
            7 | 8 => self.command(script),
            9 => {
                let party = script.below(2);
                let host = &mut self.parties[party].host;
                host.set_socket_full(!host.is_socket_full());
            }
            10 => {
                let party = script.below(2);
                let millis = i64::from(script.byte() as i8) * 1_000;
                let wall = UnixNanos(self.wall().0 + millis * 1_000_000);
                self.parties[party].host.node.handle_input(now, Input::WallClock(wall));
            }
            11 => {
                let party = script.below(2);
                let addrs = (0..script.below(20)).map(|_| addr(script.below(4))).collect();
                self.parties[party].host.node.handle_input(now, Input::LocalAddrs(addrs));
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
        let party = &mut self.parties[party];
        party.log.unsettled.insert(request);
        party.host.command(&self.net, command);
    }

    /// Names one node to the other as a way into the network.
    fn connect(&mut self, party: usize, to: usize) {
        let bootstrap = vec![BootstrapPeer { id: self.ids[to], addrs: vec![addr(to)] }];
        self.parties[party].host.command(&self.net, Command::Bootstrap(bootstrap));
    }

    /// Calls `act` with the network and the hosts on it.
    fn with_hosts<T>(&mut self, act: impl FnOnce(&mut Net, &mut [&mut dyn Host; 3]) -> T) -> T {
        let [a, b] = &mut self.parties;
        act(&mut self.net, &mut [&mut a.host, &mut b.host, &mut self.hostile])
    }

    /// Lets every host send what it has.
    fn settle(&mut self) {
        self.with_hosts(|net, hosts| net.flush(hosts));
        for party in &mut self.parties {
            party.host.events.drain(..).for_each(|event| party.log.event(event));
        }
    }

    /// Advances the clock by `span` at once; a timer that was due meanwhile fires late.
    fn pass(&mut self, span: Duration) {
        self.net.now += span;
        self.with_hosts(|net, hosts| {
            for host in hosts {
                if host.deadline().is_some_and(|at| at <= net.now) {
                    host.expire(net.now);
                }
            }
        });
    }

    /// Advances the clock by `span` on a network that loses nothing, with every host on time.
    fn run(&mut self, span: Duration) {
        let until = self.net.now + span;
        let mut stood_still = 0;
        loop {
            self.settle();
            if self.net.under_way() > 0 {
                self.net.now += LATENCY;
                self.with_hosts(|net, hosts| net.deliver_all(hosts));
                continue;
            }
            let deadlines = self.parties.iter().filter_map(|party| party.host.deadline());
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
            party.host.set_socket_full(false);
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
            party.host.node.check();
        }
    }

    fn wall(&self) -> UnixNanos {
        UnixNanos(WALL.0 + self.net.elapsed().as_nanos() as i64)
    }
}
