//! A router as a script sees it: the kernel's in namespaces, or a box of the test kit in virtual
//! time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nodenet_proto::env::Seed;
use nodenet_proto::testkit::base;
use nodenet_proto::testkit::nat_box::{BoxKind, Header, NatBox, Side};

use crate::lab::{Agent, Lab};

/// The servers that a script can use.
pub(crate) const SERVERS: [&str; 3] =
    ["192.0.2.10:7000", "198.51.100.10:7000", "203.0.113.10:7000"];
/// A server that no script uses, by which the links are seen to be up.
const FIRST: &str = "198.18.1.1:7000";
/// The external address of the router.
pub(crate) const WAN: [u8; 4] = [198, 18, 1, 2];
/// How long a datagram that may be dropped is waited for. On one machine it takes well under a
/// millisecond.
const PATIENCE_MS: u64 = 400;
/// Rounds in which the two hosts are asked for a datagram.
const SLICES: u64 = 20;

/// An inside socket: the number of the host, and the port.
pub(crate) type Socket = (u8, u16);

/// What a script does with a router.
pub(crate) trait Router {
    /// A socket sends to a server. Returns the source that the server sees.
    fn send_out(&mut self, from: Socket, to: &str, ttl: u8) -> Option<SocketAddr>;

    /// A server sends to an external endpoint. Returns the socket that receives it.
    fn send_in(&mut self, from: &str, to: SocketAddr) -> Option<Socket>;

    /// A socket sends to an external endpoint. Returns the socket that receives it.
    fn hairpin(&mut self, from: Socket, to: SocketAddr) -> Option<Socket>;

    /// Time passes.
    fn wait(&mut self, span: Duration);

    /// The router gets another external address.
    fn renumber(&mut self, from: [u8; 4], to: [u8; 4]);
}

/// The address of a socket.
pub(crate) fn inside((host, port): Socket) -> SocketAddr {
    SocketAddr::from(([10, 0, host, 10], port))
}

fn socket_of(addr: SocketAddr) -> Socket {
    let IpAddr::V4(ip) = addr.ip() else { panic!("{addr} is not IPv4") };
    (ip.octets()[2], addr.port())
}

/// The kernel's router.
pub(crate) struct Kernel<'a> {
    lab: &'a Lab,
    hosts: BTreeMap<u8, Agent>,
    servers: Agent,
    texts: u32,
}

impl<'a> Kernel<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Self {
        let hosts = [1, 2].map(|host| (host, lab.agent(&format!("a{host}"))));
        let mut servers = lab.agent("w");
        for server in SERVERS.into_iter().chain([FIRST]) {
            servers.ask(&format!("bind {server}"));
        }
        let mut kernel = Self { lab, hosts: hosts.into(), servers, texts: 0 };
        kernel.warm_up();
        kernel
    }

    /// Waits until datagrams pass: links take a moment to come up.
    fn warm_up(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        for host in [1, 2] {
            while self.send_out((host, 8 + u16::from(host)), FIRST, 64).is_none() {
                assert!(Instant::now() < end, "no datagram passes the router");
            }
        }
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        format!("text-{}", self.texts)
    }

    fn hosts_bind(&mut self, socket: Socket) -> &mut Agent {
        let agent = self.hosts.get_mut(&socket.0).expect("there are two hosts");
        agent.ask(&format!("bind {}", inside(socket)));
        agent
    }

    fn found_inside(&mut self, text: &str) -> Option<Socket> {
        for _ in 0..SLICES {
            for agent in self.hosts.values_mut() {
                let found = agent.ask(&format!("find {text} {}", PATIENCE_MS / SLICES / 2));
                if let Some((at, _)) = found.split_once(' ') {
                    return Some(socket_of(at.parse().expect("an address")));
                }
            }
        }
        None
    }
}

impl Router for Kernel<'_> {
    fn send_out(&mut self, from: Socket, to: &str, ttl: u8) -> Option<SocketAddr> {
        let text = self.text();
        self.hosts_bind(from).ask(&format!("send {} {to} {ttl} {text}", inside(from)));
        let found = self.servers.ask(&format!("find {text} {PATIENCE_MS}"));
        found.split_once(' ').map(|(_, source)| source.parse().expect("an address"))
    }

    fn send_in(&mut self, from: &str, to: SocketAddr) -> Option<Socket> {
        let text = self.text();
        self.servers.ask(&format!("send {from} {to} 64 {text}"));
        self.found_inside(&text)
    }

    fn hairpin(&mut self, from: Socket, to: SocketAddr) -> Option<Socket> {
        let text = self.text();
        self.hosts_bind(from).ask(&format!("send {} {to} 64 {text}", inside(from)));
        self.found_inside(&text)
    }

    fn wait(&mut self, span: Duration) {
        std::thread::sleep(span);
    }

    fn renumber(&mut self, from: [u8; 4], to: [u8; 4]) {
        let [from, to] = [from, to].map(IpAddr::from);
        self.lab.sh(&format!(
            "ip -n r addr del {from}/24 dev wan && ip -n r addr add {to}/24 dev wan && \
             ip -n r route add default via 198.18.1.1"
        ));
    }
}

/// A box of the test kit.
pub(crate) struct Model {
    nat: NatBox,
    now: Instant,
}

impl Model {
    pub(crate) fn new(kind: BoxKind, external: Vec<IpAddr>) -> Self {
        let mut model = Self { nat: NatBox::new(kind, external, &Seed::from_u64(1)), now: base() };
        // As the kernel's router gets it.
        for host in [1, 2] {
            model.send_out((host, 8 + u16::from(host)), FIRST, 64);
        }
        model
    }

    fn forward(&mut self, side: Side, header: Header) -> Option<Header> {
        self.nat.forward(self.now, side, header).ok().map(|(_, passed)| passed)
    }
}

fn server(text: &str) -> SocketAddr {
    text.parse().expect("a literal of this test")
}

impl Router for Model {
    fn send_out(&mut self, from: Socket, to: &str, ttl: u8) -> Option<SocketAddr> {
        let header = Header { ttl, ..Header::new(inside(from), server(to)) };
        self.forward(Side::Inside, header).map(|passed| passed.from)
    }

    fn send_in(&mut self, from: &str, to: SocketAddr) -> Option<Socket> {
        let header = Header::new(server(from), to);
        self.forward(Side::Outside, header).map(|passed| socket_of(passed.to))
    }

    fn hairpin(&mut self, from: Socket, to: SocketAddr) -> Option<Socket> {
        let header = Header::new(inside(from), to);
        self.forward(Side::Inside, header).map(|passed| socket_of(passed.to))
    }

    fn wait(&mut self, span: Duration) {
        self.now += span;
    }

    fn renumber(&mut self, _from: [u8; 4], to: [u8; 4]) {
        self.nat.renumber(vec![to.into()]);
    }
}
