//! Network namespaces for one test, without privileges where the machine allows it.
//!
//! A test starts itself again in a user, network and mount namespace of its own, where everything
//! is made and where it vanishes with the last process. The tests of `nodenet-sim` use this file
//! as well: it needs the standard library alone.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Says as what the program of the test runs.
pub(crate) const ROLE: &str = "NODENET_KERNEL_LAB";
/// The role of a process that a test started again.
const LAB: &str = "lab";

/// Options of `unshare` for a way to get the namespaces.
type Way = &'static [&'static str];
/// All ways, the unprivileged one first.
const WAYS: [Way; 2] = [&["--user", "--map-root-user"], &[]];
/// Makes a place for named namespaces that only this test sees.
const PRELUDE: &str = "mount -t tmpfs none /run && mkdir -p /run/netns && exec \"$0\" \"$@\"";

/// Whether this process is the one inside the namespaces.
pub(crate) fn is_inside() -> bool {
    env::var(ROLE).is_ok_and(|role| role == LAB)
}

/// Runs the test of this name again, inside its namespaces. Where none can be made the test is
/// skipped, which is a failure under `CI_STRICT=1`.
pub(crate) fn run_again_inside(test: &str) {
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
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, LAB)
        .output()
        .expect("unshare worked before");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    let _ = write!(said, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "in the namespace:\n{said}");
    assert!(said.contains("1 passed"), "the test of this name runs there:\n{said}");
}

/// Reports a test that this machine does not permit. Fails if no test may be skipped.
pub(crate) fn skip(reason: &str) {
    let skip = format!("SKIPPED: {reason}");
    assert!(env::var_os("CI_STRICT").is_none_or(|strict| strict != "1"), "{skip}");
    // Not captured, as `println!` would be in a test that passes.
    writeln!(io::stderr(), "{skip}").expect("there is a standard error");
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

/// A program that is to run in a namespace.
pub(crate) fn inside(namespace: &str, program: &str) -> Command {
    let mut ip = Command::new("ip");
    ip.args(["netns", "exec", namespace, program]);
    ip
}

/// Runs a script in a namespace.
pub(crate) fn sh_inside(namespace: &str, script: &str) {
    let output = inside(namespace, "sh").args(["-c", script]).output().expect("ip works");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs commands of `ip` in one process, in a namespace or outside of all.
pub(crate) fn batch(namespace: Option<&str>, lines: &[String]) {
    let mut ip = Command::new("ip");
    if let Some(namespace) = namespace {
        ip.args(["-n", namespace]);
    }
    ip.args(["-batch", "-"]);
    feed(&mut ip, &(lines.join("\n") + "\n"));
}

/// Loads a ruleset into a namespace, in place of what it has.
pub(crate) fn load_rules(namespace: &str, rules: &str) {
    let mut nft = inside(namespace, "nft");
    feed(nft.args(["-f", "-"]), &format!("flush ruleset\n{rules}"));
}

/// Runs a command that has to succeed, with this input.
pub(crate) fn feed(command: &mut Command, input: &str) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the program is there");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("the program reads");
    drop(stdin);
    let output = child.wait_with_output().expect("the child is ours");
    assert!(output.status.success(), "{input}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}
