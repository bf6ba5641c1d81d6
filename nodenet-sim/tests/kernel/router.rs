//! A router as a script sees it: the kernel's in namespaces, or a box of the test kit in virtual
//! time. With inner it is two routers in a row.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nodenet_proto::env::Seed;
use nodenet_proto::testkit::base;
use nodenet_proto::testkit::nat_box::{BoxKind, Header, NatBox, Side};

use crate::family::{Family, Socket, socket_of};
use crate::lab::{Agent, Lab};
use crate::rules::{Rules, TIMEOUT_SECS, TIMEOUT_STREAM_SECS};
use crate::topology::{self, Topology};

/// How long a datagram is waited for that the box lets through. On one machine it takes well under
/// a millisecond, unless the machine is busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one is waited for that the box drops.
const PATIENCE_IN_VAIN: Duration = Duration::from_millis(100);
/// For how long one host is asked before the other.
const SLICE_MS: u64 = 2;

/// What both routers of a comparison are.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) family: Family,
    /// The router in front of each host, if there is one of its own.
    pub(crate) inner: Option<(Rules, BoxKind)>,
    pub(crate) rules: Rules,
    pub(crate) kind: BoxKind,
    /// An external port that leads to a socket.
    pub(crate) forwarded: Option<(u16, Socket)>,
}

impl Setup {
    pub(crate) fn new(rules: Rules, kind: impl Into<BoxKind>) -> Self {
        Self { family: Family::V4, inner: None, rules, kind: kind.into(), forwarded: None }
    }

    /// Leads an external port to a socket.
    pub(crate) fn forwarding(mut self, port: u16, socket: Socket) -> Self {
        self.rules = self.rules.forwarding(port, self.family.inside(socket));
        self.forwarded = Some((port, socket));
        self
    }

    pub(crate) fn topology(&self) -> Topology {
        if self.inner.is_some() { Topology::Carrier } else { Topology::OneRouter }
    }
}

/// What a script does with a router.
pub(crate) trait Router {
    /// A socket sends to a server. Returns the source that the server sees.
    fn send_out(&mut self, from: Socket, to: SocketAddr, ttl: u8) -> Option<SocketAddr>;

    /// A server sends to an external endpoint. Returns the socket that receives it, and the source
    /// that it sees.
    fn send_in(&mut self, from: SocketAddr, to: SocketAddr) -> Option<(Socket, SocketAddr)>;

    /// A socket sends to an external endpoint. Returns the socket that receives it, and the source
    /// that it sees.
    fn hairpin(&mut self, from: Socket, to: SocketAddr) -> Option<(Socket, SocketAddr)>;

    /// Time passes.
    fn wait(&mut self, span: Duration);

    /// The router gets another external address.
    fn renumber(&mut self, to: IpAddr);

    /// The router starts anew, with this external address.
    fn reboot(&mut self, wan: IpAddr);
}

/// The kernel's router.
pub(crate) struct Kernel<'a> {
    lab: &'a Lab,
    setup: Setup,
    wan: IpAddr,
    hosts: BTreeMap<u8, Agent>,
    servers: Agent,
    texts: u32,
    /// Whether the box let each datagram through.
    hints: VecDeque<bool>,
}

impl<'a> Kernel<'a> {
    /// A router beside which a box let the datagrams of the same script through as `hints` says.
    pub(crate) fn new(lab: &'a Lab, setup: &Setup, hints: Vec<bool>) -> Self {
        let hosts = [1, 2].map(|host| (host, lab.agent(&format!("a{host}")))).into();
        let (servers, wan) = (lab.agent("w"), setup.family.wan());
        let (setup, hints) = (setup.clone(), hints.into());
        let mut kernel = Self { lab, setup, wan, hosts, servers, texts: 0, hints };
        kernel.load();
        kernel
    }

    /// Gives the routers their rules, and waits until datagrams pass: links take a moment to come
    /// up.
    fn load(&mut self) {
        let inner = self.setup.inner.iter().flat_map(|(rules, _)| [("r1", rules), ("r2", rules)]);
        for (router, rules) in inner.chain([("r", &self.setup.rules)]) {
            self.lab.rules(router, &rules.text(self.setup.family));
            self.lab.timeouts(router, TIMEOUT_SECS, TIMEOUT_STREAM_SECS);
        }
        let end = Instant::now() + Duration::from_secs(10);
        let first = self.setup.family.first();
        for host in [1, 2] {
            while self.pass_out(warm_up(host), first, 64, Some(false)).is_none() {
                assert!(Instant::now() < end, "no datagram passes the router");
            }
        }
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        format!("text-{}", self.texts)
    }

    /// A socket, its host and its address.
    fn socket(&mut self, socket: Socket) -> (&mut Agent, SocketAddr) {
        let at = self.setup.family.inside(socket);
        let agent = self.hosts.get_mut(&socket.0).expect("there are two hosts");
        agent.bind(at);
        (agent, at)
    }

    fn pass_out(
        &mut self,
        from: Socket,
        to: SocketAddr,
        ttl: u8,
        hint: Option<bool>,
    ) -> Option<SocketAddr> {
        let text = self.text();
        self.servers.bind(to);
        let (agent, at) = self.socket(from);
        agent.send(at, to, ttl, &text);
        let patience = patience(hint).as_millis() as u64;
        self.servers.find(&text, patience).map(|(_, source)| source)
    }

    fn found_inside(&mut self, text: &str) -> Option<(Socket, SocketAddr)> {
        let end = Instant::now() + patience(self.hints.pop_front());
        loop {
            for agent in self.hosts.values_mut() {
                if let Some((at, from)) = agent.find(text, SLICE_MS) {
                    return Some((socket_of(at), from));
                }
            }
            if Instant::now() >= end {
                return None;
            }
        }
    }
}

/// How long a datagram is waited for, if it is known whether a box lets it through.
pub(crate) fn patience(hint: Option<bool>) -> Duration {
    if hint == Some(true) { PATIENCE } else { PATIENCE_IN_VAIN }
}

/// The socket of a host that finds out whether links are up.
fn warm_up(host: u8) -> Socket {
    (host, 8 + u16::from(host))
}

impl Router for Kernel<'_> {
    fn send_out(&mut self, from: Socket, to: SocketAddr, ttl: u8) -> Option<SocketAddr> {
        let hint = self.hints.pop_front();
        self.pass_out(from, to, ttl, hint)
    }

    fn send_in(&mut self, from: SocketAddr, to: SocketAddr) -> Option<(Socket, SocketAddr)> {
        let text = self.text();
        self.servers.bind(from);
        self.servers.send(from, to, 64, &text);
        self.found_inside(&text)
    }

    fn hairpin(&mut self, from: Socket, to: SocketAddr) -> Option<(Socket, SocketAddr)> {
        let text = self.text();
        let (agent, at) = self.socket(from);
        agent.send(at, to, 64, &text);
        self.found_inside(&text)
    }

    fn wait(&mut self, span: Duration) {
        std::thread::sleep(span);
    }

    fn renumber(&mut self, to: IpAddr) {
        topology::renumber(self.wan, to);
        // A work queue of the kernel ends the flows of an address that is gone, a moment later.
        std::thread::sleep(Duration::from_millis(500));
        self.wan = to;
    }

    fn reboot(&mut self, wan: IpAddr) {
        self.lab.reboot(wan);
        self.wan = wan;
        self.load();
    }
}

/// A box of the test kit, and those of the inner behind it.
pub(crate) struct Model {
    family: Family,
    inner: BTreeMap<u8, NatBox>,
    nat: NatBox,
    now: Instant,
    /// Whether each datagram of the script came through.
    pub(crate) passed: Vec<bool>,
}

impl Model {
    pub(crate) fn new(setup: &Setup) -> Self {
        let seed = Seed::from_u64(1);
        let mut nat = NatBox::new(setup.kind.clone(), setup.rules.external(setup.family), &seed);
        if let Some((port, socket)) = setup.forwarded {
            nat.forward_port(port, setup.family.inside(socket));
        }
        let inner_box = |host: u8, kind: &BoxKind| {
            let seed = seed.child("inner", host.into());
            NatBox::new(kind.clone(), vec![[100, 64, host, 2].into()], &seed)
        };
        let kinds = setup.inner.iter().flat_map(|(_, kind)| [(1, kind), (2, kind)]);
        let inner = kinds.map(|(host, kind)| (host, inner_box(host, kind))).collect();
        let mut model = Self { family: setup.family, inner, nat, now: base(), passed: Vec::new() };
        model.warm_up();
        model
    }

    /// As the kernel's router gets it.
    fn warm_up(&mut self) {
        for host in [1, 2] {
            self.out(Header::new(self.family.inside(warm_up(host)), self.family.first()));
        }
    }

    /// What leaves the outermost box, and on which side of it.
    fn out(&mut self, header: Header) -> Option<(Side, Header)> {
        let (host, _) = socket_of(header.from);
        let header = match self.inner.get_mut(&host) {
            Some(inner) => inner.forward(self.now, Side::Inside, header).ok()?.1,
            None => header,
        };
        self.nat.forward(self.now, Side::Inside, header).ok()
    }

    /// What comes to a host.
    fn pass_inner(&mut self, header: Header) -> Option<Header> {
        // The address of a home has its number where those of its hosts have it.
        let (host, _) = socket_of(header.to);
        match self.inner.get_mut(&host) {
            Some(inner) => Some(inner.forward(self.now, Side::Outside, header).ok()?.1),
            None => Some(header),
        }
    }

    fn note<T>(&mut self, got: Option<T>) -> Option<T> {
        self.passed.push(got.is_some());
        got
    }
}

impl Router for Model {
    fn send_out(&mut self, from: Socket, to: SocketAddr, ttl: u8) -> Option<SocketAddr> {
        let passed = self.out(Header { ttl, ..Header::new(self.family.inside(from), to) });
        self.note(passed.map(|(_, header)| header.from))
    }

    fn send_in(&mut self, from: SocketAddr, to: SocketAddr) -> Option<(Socket, SocketAddr)> {
        let passed = self.nat.forward(self.now, Side::Outside, Header::new(from, to)).ok();
        let got = passed.and_then(|(_, header)| self.pass_inner(header));
        self.note(got.map(|header| (socket_of(header.to), header.from)))
    }

    fn hairpin(&mut self, from: Socket, to: SocketAddr) -> Option<(Socket, SocketAddr)> {
        let passed = self.out(Header::new(self.family.inside(from), to));
        let turned = passed.filter(|(side, _)| *side == Side::Inside);
        let got = turned.and_then(|(_, header)| self.pass_inner(header));
        self.note(got.map(|header| (socket_of(header.to), header.from)))
    }

    fn wait(&mut self, span: Duration) {
        self.now += span;
    }

    fn renumber(&mut self, to: IpAddr) {
        self.nat.renumber(vec![to]);
    }

    fn reboot(&mut self, wan: IpAddr) {
        self.nat.restart(vec![wan]);
        self.warm_up();
    }
}
