//! Hosts behind routers, and servers before them, each in a network namespace.
//!
//! The program of the test runs once more in the namespace of each host, as agent.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::agent;
use crate::family::Family;
use crate::namespaces::{ROLE, inside, is_inside, load_rules, run_again_inside, sh_inside, skip};
use crate::topology::Topology;

/// Runs the body of the test of this name inside its namespaces. Where none can be made the test is
/// skipped, which is a failure under `CI_STRICT=1`.
pub(crate) fn run(test: &str, topology: Topology, family: Family, body: impl FnOnce(&Lab)) {
    match env::var(ROLE).as_deref() {
        Ok("agent") => agent::serve(),
        Ok(_) => {
            assert!(is_inside(), "the only other role");
            topology.make_hosts(family);
            topology.make_routers(family, Family::V4.wan());
            body(&Lab { test: test.to_owned(), topology, family });
        }
        Err(_) if family == Family::V6 && !Path::new("/proc/sys/net/ipv6").exists() => {
            skip("this kernel has no IPv6; run the test on one that has it");
        }
        Err(_) => run_again_inside(test),
    }
}

/// The namespaces of a test.
pub(crate) struct Lab {
    test: String,
    topology: Topology,
    family: Family,
}

impl Lab {
    /// Replaces the outermost router by a new one, which knows no flow and has no rules.
    pub(crate) fn reboot(&self, wan: IpAddr) {
        self.topology.end_router();
        self.topology.make_routers(self.family, wan);
    }

    /// Loads a ruleset into a router, in place of what it has.
    pub(crate) fn rules(&self, router: &str, rules: &str) {
        load_rules(router, rules);
    }

    /// Sets the timeouts of connection tracking in a router, of short and of long flows.
    pub(crate) fn timeouts(&self, router: &str, short: u64, long: u64) {
        let at = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
        sh_inside(router, &format!("echo {short} >{at}; echo {long} >{at}_stream"));
    }

    /// Starts an agent in a namespace.
    pub(crate) fn agent(&self, namespace: &str) -> Agent {
        let program = env::current_exe().expect("a running program has a path");
        let mut child = inside(namespace, program.to_str().expect("the path is UTF-8"))
            .args(["--exact", &self.test, "--nocapture"])
            .env(ROLE, "agent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip works");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Agent { child, input, output }
    }
}

/// A process that holds the sockets of one namespace.
pub(crate) struct Agent {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Agent {
    /// Binds a socket, if it is not bound.
    pub(crate) fn bind(&mut self, at: SocketAddr) {
        assert_eq!(self.ask(&format!("bind {at}")), "ok");
    }

    /// Sends from a socket. What the kernel says to it does not count: it is about what arrives.
    pub(crate) fn send(&mut self, from: SocketAddr, to: SocketAddr, ttl: u8, text: &str) {
        self.ask(&format!("send {from} {to} {ttl} {text}"));
    }

    /// Waits for a text at any socket. Returns the socket, and where the text came from.
    pub(crate) fn find(&mut self, text: &str, ms: u64) -> Option<(SocketAddr, SocketAddr)> {
        let found = self.ask(&format!("find {text} {ms}"));
        let (at, from) = found.split_once(' ')?;
        Some((at.parse().expect("an address"), from.parse().expect("an address")))
    }

    fn ask(&mut self, request: &str) -> String {
        writeln!(self.input, "{request}").expect("the agent reads");
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("the agent writes text");
            assert!(read > 0, "the agent ended at {request}");
            // The test harness writes lines, too.
            if let Some((_, answer)) = line.split_once(agent::MARK) {
                return answer.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
