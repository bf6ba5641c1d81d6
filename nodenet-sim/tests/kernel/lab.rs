//! Network namespaces for one test: hosts behind routers, and servers before them.
//!
//! A test starts itself again in a user, network and mount namespace of its own, where everything
//! is made and where it vanishes with the last process. There the same program also runs as agent:
//! one in the namespace of each host.

use std::env;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use crate::agent;
use crate::family::Family;
use crate::topology::{Topology, feed, sh_inside};

/// Says as what the program runs.
const ROLE: &str = "NODENET_KERNEL_LAB";
/// Options of `unshare` for a way to get the namespaces.
type Way = &'static [&'static str];
/// All ways, the unprivileged one first.
const WAYS: [Way; 2] = [&["--user", "--map-root-user"], &[]];
/// Makes a place for named namespaces that only this test sees.
const PRELUDE: &str = "mount -t tmpfs none /run && mkdir -p /run/netns && exec \"$0\" \"$@\"";

/// Runs the body of the test of this name inside its namespaces. Where none can be made the test is
/// skipped, which is a failure under `CI_STRICT=1`.
pub(crate) fn run(test: &str, topology: Topology, family: Family, body: impl FnOnce(&Lab)) {
    match env::var(ROLE).as_deref() {
        Ok("agent") => agent::serve(),
        Ok(_) => {
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

fn skip(reason: &str) {
    let skip = format!("SKIPPED: {reason}");
    assert!(env::var_os("CI_STRICT").is_none_or(|strict| strict != "1"), "{skip}");
    // Not captured, as `println!` would be in a test that passes.
    writeln!(io::stderr(), "{skip}").expect("there is a standard error");
}

fn run_again_inside(test: &str) {
    static WAY: OnceLock<Option<Way>> = OnceLock::new();
    let Some(way) = *WAY.get_or_init(|| WAYS.into_iter().find(|way| works(way))) else {
        return skip(
            "no network namespaces with nft can be made here; allow unprivileged user namespaces, \
             or run the test as root, with unshare, ip and nft",
        );
    };
    let program = env::current_exe().expect("a running program has a path");
    let output = unshare(way)
        .arg(PRELUDE)
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, "lab")
        .output()
        .expect("unshare worked before");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    let _ = write!(said, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "in the namespace:\n{said}");
    assert!(said.contains("1 passed"), "the test of this name runs there:\n{said}");
}

fn works(way: &[&str]) -> bool {
    let check = "mount -t tmpfs none /run && mkdir -p /run/netns && ip netns add n && \
                 ip netns exec n nft 'add table ip t; add chain ip t c { type nat hook postrouting \
                 priority srcnat; }; add rule ip t c masquerade'";
    unshare(way).arg(check).output().is_ok_and(|output| output.status.success())
}

/// A shell in new namespaces. The script is to be added.
fn unshare(way: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).args(["--net", "--mount", "sh", "-c"]);
    command
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
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", router, "nft", "-f", "-"]);
        feed(&mut nft, &format!("flush ruleset\n{rules}"));
    }

    /// Sets the timeouts of connection tracking in a router, of short and of long flows.
    pub(crate) fn timeouts(&self, router: &str, short: u64, long: u64) {
        let at = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
        sh_inside(router, &format!("echo {short} >{at}; echo {long} >{at}_stream"));
    }

    /// Starts an agent in a namespace.
    pub(crate) fn agent(&self, namespace: &str) -> Agent {
        let program = env::current_exe().expect("a running program has a path");
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(program)
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
