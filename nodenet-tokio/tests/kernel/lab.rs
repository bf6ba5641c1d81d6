//! A backbone of nodes with public addresses, and sites behind routers of the kernel.
//!
//! Addresses are from the ranges for benchmarks and documentation (RFC 2544, RFC 3849), which a
//! node takes for public ones.

use std::time::Duration;

use nodenet_tokio::mint;
use nodenet_tokio::proto::identity::Identity;
use serde_json::{Value, json};

use crate::kit::namespaces::{
    batch, inside, is_inside, load_rules, run_again_inside, sh_inside, skip,
};
use crate::kit::{PATIENCE, Running, Scratch, now};

/// Nodes of the backbone, each in a subnet of its own: enough to vouch for an address.
const BACKBONE: usize = 5;
const PORT: u16 = 4_242;

/// What the router of a site does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Router {
    /// Keeps ports, and drops what is for the router itself.
    Easy,
    /// Gives every destination a random port.
    Random,
    /// Keeps ports, and accepts what is for the router itself: an early packet moves the port.
    Open,
    /// IPv6 without translation: new flows from inside only.
    Firewall,
}

impl Router {
    fn is_v6(self) -> bool {
        self == Self::Firewall
    }

    fn rules(self) -> String {
        let family = if self.is_v6() { "ip6" } else { "ip" };
        let source = match self {
            Self::Easy | Self::Open => "oifname wan masquerade",
            Self::Random => "oifname wan masquerade fully-random",
            Self::Firewall => "",
        };
        let input = match self {
            Self::Open => "iifname wan meta l4proto udp counter name early",
            Self::Firewall => "iifname wan meta l4proto udp drop",
            Self::Easy | Self::Random => "iifname wan drop",
        };
        let icmp = if self.is_v6() { "meta l4proto ipv6-icmp accept" } else { "" };
        format!(
            "table {family} lab {{
               counter early {{ }}
               chain source {{ type nat hook postrouting priority srcnat; policy accept
                 {source}
               }}
               chain input {{ type filter hook input priority filter; policy accept
                 {input}
               }}
               chain passing {{ type filter hook forward priority filter; policy drop
                 ct state established,related accept
                 iifname != wan accept
                 {icmp}
               }}
             }}
            "
        )
    }
}

/// Runs the body of the test of this name with a backbone and these sites. Sites have numbers from
/// 1 on.
pub(crate) fn run(test: &str, sites: &[Router], volunteers: usize, body: impl FnOnce(&mut Lab)) {
    let is_v6 = sites.iter().any(|router| router.is_v6());
    if is_v6 && !std::path::Path::new("/proc/sys/net/ipv6").exists() {
        return skip("this kernel has no IPv6; run the test on one that has it");
    }
    if !is_inside() {
        return run_again_inside(test);
    }
    make_core(is_v6);
    for (number, router) in (1..).zip(sites) {
        make_site(number, *router);
    }
    let mut lab = Lab { is_v6, scratch: Scratch::new(), backbone: Vec::new() };
    lab.start_backbone(volunteers);
    body(&mut lab);
}

/// The namespace `back` of the backbone, and two routers between it and every site: `middle` and
/// `core`. A short punch of the backbone would otherwise get to the router of a site.
fn make_core(is_v6: bool) {
    let links = [
        "netns add back",
        "netns add middle",
        "netns add core",
        "link add out netns back type veth peer name back netns middle",
        "link add out netns middle type veth peer name middle netns core",
    ];
    batch(None, &links.map(str::to_owned));
    let (below, above) = (Subnet::between(0, is_v6), Subnet::between(1, is_v6));
    let all = || (0..BACKBONE).map(|number| backbone_ip(number, is_v6));
    let own =
        all().map(|ip| format!("addr add {ip}{} dev lo", if is_v6 { "/128 nodad" } else { "/32" }));
    let up = |name: &str| format!("link set {name} up");
    let back = [up("lo"), below.addr(2, "out"), up("out"), below.default_route()];
    batch(Some("back"), &own.chain(back).collect::<Vec<_>>());
    let routes = |via: String| all().map(move |ip| format!("route add {ip} via {via}"));
    let middle =
        [below.addr(1, "back"), up("back"), above.addr(2, "out"), up("out"), above.default_route()];
    batch(Some("middle"), &middle.into_iter().chain(routes(below.ip(2))).collect::<Vec<_>>());
    let core = [above.addr(1, "middle"), up("middle")];
    batch(Some("core"), &core.into_iter().chain(routes(above.ip(2))).collect::<Vec<_>>());
    ["middle", "core"].into_iter().for_each(forward_packets);
}

fn backbone_ip(number: usize, is_v6: bool) -> String {
    if is_v6 { format!("2001:db8:f{number}::1") } else { format!("198.18.{number}.1") }
}

fn forward_packets(namespace: &str) {
    let script = "echo 1 >/proc/sys/net/ipv4/ip_forward
        f=/proc/sys/net/ipv6/conf/all/forwarding; ! [ -e $f ] || echo 1 >$f";
    sh_inside(namespace, script);
}

/// A router, and two hosts in one network behind it: `h11` and `h12` at site 1.
fn make_site(site: u8, kind: Router) {
    let router = format!("r{site}");
    let hosts = [1, 2].map(|host| format!("h{site}{host}"));
    let mut first = vec![format!("netns add {router}")];
    first.extend(hosts.iter().map(|host| format!("netns add {host}")));
    first.push(format!("link add wan netns {router} type veth peer name s{site} netns core"));
    for (number, host) in (1..).zip(&hosts) {
        let peer = format!("type veth peer name l{number} netns {router}");
        first.push(format!("link add eth0 netns {host} {peer}"));
    }
    batch(None, &first);
    let (outside, lan) = (Subnet::outside(site, kind), Subnet::lan(site, kind));
    batch(Some("core"), &[outside.addr(1, &format!("s{site}")), format!("link set s{site} up")]);
    if kind.is_v6() {
        let route = format!("route add {}/64 via {}", lan.prefix, outside.ip(2));
        batch(Some("core"), &[route]);
    }
    let mut lines = vec![
        "link set lo up".to_owned(),
        "link add lan type bridge".to_owned(),
        outside.addr(2, "wan"),
        lan.addr(1, "lan"),
    ];
    lines.extend(["l1 master lan", "l2 master lan"].map(|line| format!("link set {line}")));
    lines.extend(["wan", "lan", "l1", "l2"].map(|name| format!("link set {name} up")));
    lines.push(outside.default_route());
    batch(Some(&router), &lines);
    forward_packets(&router);
    // Packets of the LAN are none of the router's.
    let filter = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    sh_inside(&router, &format!("! [ -e {filter} ] || echo 0 >{filter}"));
    load_rules(&router, &kind.rules());
    for (number, host) in (10..).zip(&hosts) {
        let up = ["lo", "eth0"].map(|name| format!("link set {name} up"));
        let last = [lan.addr(number, "eth0"), lan.default_route()];
        batch(Some(host), &[up, last].concat());
    }
}

/// The network of a link.
struct Subnet {
    prefix: String,
    is_v6: bool,
}

impl Subnet {
    fn outside(site: u8, kind: Router) -> Self {
        let is_v6 = kind.is_v6();
        let prefix = if is_v6 { format!("2001:db8:e{site}::") } else { format!("198.19.{site}.") };
        Self { prefix, is_v6 }
    }

    /// Between the backbone and `middle` (0), and between that and `core` (1).
    fn between(number: u8, is_v6: bool) -> Self {
        let v6 = || format!("2001:db8:d{number}::");
        let prefix = if is_v6 { v6() } else { format!("198.18.25{number}.") };
        Self { prefix, is_v6 }
    }

    fn lan(site: u8, kind: Router) -> Self {
        let is_v6 = kind.is_v6();
        let prefix = if is_v6 { format!("2001:db8:{site}::") } else { format!("10.0.{site}.") };
        Self { prefix, is_v6 }
    }

    fn ip(&self, host: u8) -> String {
        format!("{}{host}", self.prefix)
    }

    fn addr(&self, host: u8, name: &str) -> String {
        let rest = if self.is_v6 { "/64 nodad" } else { "/24" };
        format!("addr add {}{rest} dev {name}", self.ip(host))
    }

    fn default_route(&self) -> String {
        format!("route add default via {}", self.ip(1))
    }
}

/// The namespaces of a test, and the backbone that runs in them.
pub(crate) struct Lab {
    is_v6: bool,
    scratch: Scratch,
    pub(crate) backbone: Vec<Peer>,
}

impl Lab {
    /// Starts the backbone, whose last nodes volunteer.
    fn start_backbone(&mut self, volunteers: usize) {
        for number in 0..BACKBONE {
            let ip = backbone_ip(number, self.is_v6);
            let addr = if self.is_v6 { format!("[{ip}]:{PORT}") } else { format!("{ip}:{PORT}") };
            let is_volunteer = number + volunteers >= BACKBONE;
            let mut args = vec!["--addr", &addr];
            if is_volunteer {
                args.extend(["--relay", "--advertise", &addr]);
            }
            let peer = self.start("back", &args);
            self.backbone.push(peer);
        }
    }

    /// Starts a node in a namespace that joins through the backbone.
    pub(crate) fn start(&self, namespace: &str, args: &[&str]) -> Peer {
        let seed = mint::random_seed().expect("the system has entropy");
        let id = Identity::from_master_seed(&seed).id().to_string();
        self.scratch.write_secret(&id, &seed[..]);
        let known: Vec<&str> = self.backbone.iter().map(|peer| peer.line.as_str()).collect();
        let (seed, known) = (self.scratch.arg(&id), known.join(","));
        let mut command = inside(namespace, env!("CARGO_BIN_EXE_nodenet"));
        command.args(["run", "--json", "--log-level", "warn", "--seed", &seed]).args(args);
        if !known.is_empty() {
            command.args(["--bootstrap", &known]);
        }
        command.env_remove("RUST_LOG");
        let running = Running::spawn(&mut command);
        let started = running.event("started");
        let line = started["bootstrap"].as_str().expect("a text").to_owned();
        Peer { running, id, line, requests: 0, texts: 0 }
    }

    /// Starts a node at a site, and waits until it knows its NAT and every volunteer.
    pub(crate) fn join(&self, namespace: &str) -> Peer {
        let mut peer = self.start(namespace, &["--addr", &format!(":{PORT}")]);
        peer.wait_for("an edge to all of the backbone", PATIENCE, |peer| {
            let edges = peer.edges();
            self.backbone.iter().all(|other| edges.iter().any(|edge| edge["peer"] == *other.id))
        });
        peer.wait_for("what others see of it", PATIENCE, |peer| {
            peer.ask("nat", json!({}))["mapping"] != "unknown" || self.is_v6
        });
        peer
    }

    /// The router of a site forgets every flow that it translates: masquerading ends them when the
    /// interface goes down.
    pub(crate) fn forget_flows(&self, site: u8) {
        let route = Subnet::outside(site, Router::Easy).default_route();
        let lines = ["link set wan down".to_owned(), "link set wan up".to_owned(), route];
        batch(Some(&format!("r{site}")), &lines);
    }

    /// Datagrams that the open router of a site took for itself, because no host behind it had sent
    /// there before.
    pub(crate) fn early(&self, site: u8) -> u64 {
        let family = if self.is_v6 { "ip6" } else { "ip" };
        let mut nft = inside(&format!("r{site}"), "nft");
        let output = nft.args(["-j", "list", "counter", family, "lab", "early"]).output();
        let listed: Value =
            serde_json::from_slice(&output.expect("nft works").stdout).expect("it lists JSON");
        let entries = listed["nftables"].as_array().expect("a list of what there is");
        let counter = entries.iter().find_map(|entry| entry.get("counter"));
        counter.and_then(|counter| counter["packets"].as_u64()).expect("the counter is there")
    }

    /// The router of a site gets another external address.
    pub(crate) fn renumber_router(&self, site: u8) {
        let outside = Subnet::outside(site, Router::Easy);
        let lines = [
            format!("addr del {}/24 dev wan", outside.ip(2)),
            outside.addr(77, "wan"),
            outside.default_route(),
        ];
        batch(Some(&format!("r{site}")), &lines);
    }

    /// The first host of a site gets another address.
    pub(crate) fn renumber_host(&self, site: u8) {
        let lan = Subnet::lan(site, Router::Easy);
        let lines = [
            format!("addr del {}/24 dev eth0", lan.ip(10)),
            lan.addr(77, "eth0"),
            lan.default_route(),
        ];
        batch(Some(&format!("h{site}1")), &lines);
    }
}

/// A running node of a lab.
pub(crate) struct Peer {
    running: Running,
    pub(crate) id: String,
    line: String,
    requests: u64,
    texts: u64,
}

impl Peer {
    /// Carries out a request of docs/CONTROL.md. Returns its result, or the error as a text.
    pub(crate) fn ask(&mut self, request: &str, fields: Value) -> Value {
        self.requests += 1;
        let mut line = fields;
        line["id"] = self.requests.into();
        line["request"] = request.into();
        self.running.type_line(&line.to_string());
        loop {
            let mut answer = self.running.event("answer");
            if answer["id"] == self.requests {
                let name = if answer["ok"] == true { "result" } else { "error" };
                return answer[name].take();
            }
        }
    }

    /// Connects to another node. Returns the answer, which is an object if there is an edge.
    pub(crate) fn connect(&mut self, to: &Self) -> Value {
        let answer = self.ask("connect", json!({ "peer": to.id }));
        if answer.is_object() {
            return answer;
        }
        self.ask("explain", json!({ "peer": to.id }))
    }

    pub(crate) fn edges(&mut self) -> Vec<Value> {
        self.ask("edges", json!({})).as_array().cloned().unwrap_or_default()
    }

    /// The edge to another node, if there is one.
    pub(crate) fn edge(&mut self, to: &Self) -> Option<Value> {
        self.edges().into_iter().find(|edge| edge["peer"] == *to.id)
    }

    /// Polls a condition. Returns how long it took.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        bound: Duration,
        mut is_met: impl FnMut(&mut Self) -> bool,
    ) -> Duration {
        let begun = now();
        while !is_met(self) {
            if begun.elapsed() >= bound {
                panic!("{what}: not within {bound:?}; edges {:#?}", self.edges());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        begun.elapsed()
    }

    /// Sends to another node over an edge until a message arrives there, and connects again if the
    /// edge is gone. Returns how long it took.
    pub(crate) fn reach(&mut self, to: &mut Self, bound: Duration) -> Duration {
        let begun = now();
        loop {
            self.texts += 1;
            let payload = format!("{:016x}", self.texts);
            let message = json!({ "peer": to.id, "payload_hex": payload });
            if !self.ask("send_direct", message).is_object() {
                // The edge was given up.
                self.connect(to);
                continue;
            }
            let wanted = ["\"message\"", &self.id, "payload_hex"];
            if to.running.prints(&wanted, Duration::from_millis(100)) {
                return begun.elapsed();
            }
            if begun.elapsed() >= bound {
                panic!("no message within {bound:?}; edges {:#?}", self.edges());
            }
        }
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        self.running.signal("KILL");
    }
}
