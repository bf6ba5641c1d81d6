//! Network namespaces for one test: a router with two hosts behind it, and servers before it.
//!
//! A test starts itself again in a user, network and mount namespace of its own, where everything
//! is made and where it vanishes with the last process. There the same program also runs as agent:
//! one in the namespace of each host.

use std::env;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::agent;

/// Says as what the program runs.
const ROLE: &str = "NODENET_KERNEL_LAB";
/// Ways to get the namespaces, the unprivileged one first.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user"], &[]];
/// Makes a place for named namespaces that only this test sees.
const PRELUDE: &str = "mount -t tmpfs none /run && mkdir -p /run/netns && exec \"$0\" \"$@\"";

/// The namespaces, with routes between them, and without any rules.
const TOPOLOGY: &str = "
set -e
for n in r a1 a2 w; do ip netns add $n; ip -n $n link set lo up; done
for h in 1 2; do
  ip link add eth0 netns a$h type veth peer name lan$h netns r
  ip -n a$h addr add 10.0.$h.10/24 dev eth0; ip -n a$h link set eth0 up
  ip -n r addr add 10.0.$h.1/24 dev lan$h; ip -n r link set lan$h up
  ip -n a$h route add default via 10.0.$h.1
done
ip link add wan netns r type veth peer name eth0 netns w
ip -n r addr add 198.18.1.2/24 dev wan; ip -n r link set wan up
ip -n w addr add 198.18.1.1/24 dev eth0; ip -n w link set eth0 up
ip -n r route add default via 198.18.1.1
for s in 192.0.2.10 198.51.100.10 203.0.113.10; do ip -n w addr add $s/32 dev lo; done
ip -n w route add 198.18.7.0/24 via 198.18.1.2
ip -n w route add 10.0.0.0/16 via 198.18.1.2
ip netns exec r sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
";

/// Runs the body of the test of this name inside its namespaces. Where none can be made the test is
/// skipped, which is a failure under `CI_STRICT=1`.
pub(crate) fn run(test: &str, body: impl FnOnce(&Lab)) {
    match env::var(ROLE).as_deref() {
        Ok("agent") => agent::serve(),
        Ok(_) => {
            sh(TOPOLOGY);
            body(&Lab { test: test.to_owned() });
        }
        Err(_) => run_again_inside(test),
    }
}

fn run_again_inside(test: &str) {
    let Some(way) = WAYS.into_iter().find(|way| works(way)) else {
        let skip = "SKIPPED: no network namespaces with nft can be made here; allow unprivileged \
                    user namespaces, or run the test as root, with unshare, ip and nft";
        assert!(env::var_os("CI_STRICT").is_none_or(|strict| strict != "1"), "{skip}");
        // Not captured, as `println!` would be in a test that passes.
        writeln!(io::stderr(), "{skip}").expect("there is a standard error");
        return;
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

fn sh(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().expect("there is a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The namespaces of a test: `r` the router, `a1` and `a2` hosts behind it, `w` the servers.
pub(crate) struct Lab {
    test: String,
}

impl Lab {
    /// Runs a script among the namespaces.
    pub(crate) fn sh(&self, script: &str) {
        sh(script);
    }

    /// Loads a ruleset into the router.
    pub(crate) fn rules(&self, rules: &str) {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", "r", "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip works");
        let mut input = nft.stdin.take().expect("it is piped");
        input.write_all(rules.as_bytes()).expect("nft reads");
        drop(input);
        let output = nft.wait_with_output().expect("the child is ours");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Sets a timeout of connection tracking in the router.
    pub(crate) fn timeout(&self, name: &str, seconds: u64) {
        let file = format!("/proc/sys/net/netfilter/nf_conntrack_udp_{name}");
        sh(&format!("ip netns exec r sh -c 'echo {seconds} >{file}'"));
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
    /// Asks for one thing, and returns the answer.
    pub(crate) fn ask(&mut self, request: &str) -> String {
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
