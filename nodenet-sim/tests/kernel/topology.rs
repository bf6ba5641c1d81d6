//! Namespaces of a lab and the links between them, as commands of `ip`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::family::Family;
use crate::namespaces::{batch, sh_inside};

/// How the namespaces are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// The hosts a1 and a2 behind router r, the servers w before it.
    OneRouter,
    /// The same, with a home router of its own for each host: r1 and r2.
    Carrier,
    /// Host a1 behind router r1, host a2 behind router r2; before each router a side of the path,
    /// w1 and w2, that has the address of the other router.
    Pair,
}

impl Topology {
    fn routers(self) -> &'static [&'static str] {
        match self {
            Self::OneRouter => &["r"],
            Self::Carrier => &["r", "r1", "r2"],
            Self::Pair => &["r1", "r2"],
        }
    }

    /// Makes the namespaces of hosts and servers, with what stays when routers are made again.
    pub(crate) fn make_hosts(self, family: Family) {
        let mut plan = Plan::new(family);
        plan.namespaces(["a1", "a2"]);
        if self == Self::Pair {
            plan.namespaces(["w1", "w2"]);
            plan.run("w1", "addr add 198.18.2.2/32 dev lo");
            plan.run("w2", "addr add 198.18.1.2/32 dev lo");
        } else {
            plan.namespaces(["w"]);
            for network in ["192.0.2", "198.51.100", "203.0.113"] {
                plan.run("w", &format!("route add local {network}.0/24 dev lo"));
            }
            for network in ["a", "b", "c"] {
                plan.run_v6("w", &format!("addr add 2001:db8:{network}::10/128 dev lo nodad"));
            }
        }
        plan.carry_out();
    }

    /// Makes the routers, and all links. The outermost one gets this external address.
    pub(crate) fn make_routers(self, family: Family, wan: IpAddr) {
        let mut plan = Plan::new(family);
        plan.namespaces(self.routers().iter().copied());
        for host in [1, 2] {
            let router = if self == Self::OneRouter { "r".to_owned() } else { format!("r{host}") };
            plan.lan(host, &router);
            let ends = match self {
                Self::OneRouter => continue,
                Self::Carrier => (format!("r{host} wan"), format!("r lan{host}"), "100.64"),
                Self::Pair => (format!("r{host} wan"), format!("w{host} eth0"), "198.18"),
            };
            let (near, far, network) = ends;
            let gateway = format!("{network}.{host}.1");
            plan.cable(&near, &format!("{network}.{host}.2/24"), &far, &format!("{gateway}/24"));
            plan.run(&router, &format!("route add default via {gateway}"));
        }
        if self != Self::Pair {
            plan.outside(wan);
        }
        plan.carry_out();
        for router in self.routers() {
            let write = "echo 1 >/proc/sys/net/ipv4/ip_forward
                f=/proc/sys/net/ipv6/conf/all/forwarding; ! [ -e $f ] || echo 1 >$f";
            sh_inside(router, write);
        }
    }

    /// Ends the outermost router.
    pub(crate) fn end_router(self) {
        assert_eq!(self, Self::OneRouter, "what hangs on the router");
        // The links first: those of a namespace vanish some time after it.
        for namespace in ["a1", "a2", "w"] {
            batch(Some(namespace), &["link del eth0".to_owned()]);
        }
        batch(None, &["netns del r".to_owned()]);
    }
}

/// The outermost router gets another external address.
pub(crate) fn renumber(from: IpAddr, to: IpAddr) {
    let lines = [
        format!("addr del {from}/24 dev wan"),
        format!("addr add {to}/24 dev wan"),
        "route add default via 198.18.1.1".to_owned(),
    ];
    batch(Some("r"), &lines);
}

/// Commands that are carried out together: a process for each is what a lab takes longest for.
struct Plan {
    has_v6: bool,
    /// Those outside of all namespaces, first.
    first: Vec<String>,
    inside: BTreeMap<String, Vec<String>>,
}

impl Plan {
    fn new(family: Family) -> Self {
        Self { has_v6: family == Family::V6, first: Vec::new(), inside: BTreeMap::new() }
    }

    fn namespaces<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            self.first.push(format!("netns add {name}"));
            self.run(name, "link set lo up");
        }
    }

    fn run(&mut self, namespace: &str, line: &str) {
        self.inside.entry(namespace.to_owned()).or_default().push(line.to_owned());
    }

    fn run_v6(&mut self, namespace: &str, line: &str) {
        if self.has_v6 {
            self.run(namespace, line);
        }
    }

    /// A cable between two interfaces, each a namespace and a name, with their addresses.
    fn cable(&mut self, near: &str, near_ip: &str, far: &str, far_ip: &str) {
        let split = |end: &str| -> (String, String) {
            let (namespace, name) = end.split_once(' ').expect("a namespace and a name");
            (namespace.to_owned(), name.to_owned())
        };
        let ((a, a_name), (b, b_name)) = (split(near), split(far));
        let peer = format!("type veth peer name {b_name} netns {b}");
        self.first.push(format!("link add {a_name} netns {a} {peer}"));
        for (namespace, name, ip) in [(a, a_name, near_ip), (b, b_name, far_ip)] {
            self.run(&namespace, &format!("addr add {ip} dev {name}"));
            self.run(&namespace, &format!("link set {name} up"));
        }
    }

    /// The network of a host behind its router.
    fn lan(&mut self, host: u8, router: &str) {
        let (near, far) = (format!("a{host} eth0"), format!("{router} lan{host}"));
        self.cable(&near, &format!("10.0.{host}.10/24"), &far, &format!("10.0.{host}.1/24"));
        let namespace = format!("a{host}");
        self.run(&namespace, &format!("route add default via 10.0.{host}.1"));
        let network = format!("2001:db8:{host}");
        self.run_v6(&namespace, &format!("addr add {network}::10/64 dev eth0 nodad"));
        self.run_v6(router, &format!("addr add {network}::1/64 dev lan{host} nodad"));
        self.run_v6(&namespace, &format!("route add default via {network}::1"));
    }

    /// The servers before the outermost router.
    fn outside(&mut self, wan: IpAddr) {
        self.cable("r wan", &format!("{wan}/24"), "w eth0", "198.18.1.1/24");
        self.run("r", "route add default via 198.18.1.1");
        for network in ["198.18.7.0/24", "10.0.0.0/16"] {
            self.run("w", &format!("route add {network} via {wan}"));
        }
        self.run_v6("r", "addr add 2001:db8:ff::2/64 dev wan nodad");
        self.run_v6("w", "addr add 2001:db8:ff::1/64 dev eth0 nodad");
        self.run_v6("r", "route add default via 2001:db8:ff::1");
        self.run_v6("w", "route add 2001:db8::/40 via 2001:db8:ff::2");
    }

    fn carry_out(self) {
        batch(None, &self.first);
        self.inside.iter().for_each(|(namespace, lines)| batch(Some(namespace), lines));
    }
}
