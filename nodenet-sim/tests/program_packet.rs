//! Tests of the program with packet worlds: replay, shrink and packet-scale.

use std::path::PathBuf;
use std::process::{Command, Output};

use nodenet_sim::scenario::packet::PacketScenario;
use serde_json::Value;

fn nodenet_sim(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodenet-sim"));
    command.args(line.split_whitespace()).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.output().expect("the program starts")
}

fn write(name: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(file, text).expect("the folder is there");
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Four hosts in a row, of which one end sends to the other; `rest` follows.
fn row(name: &str, rest: &str) -> String {
    let mut text =
        format!("world = 'packet'\nname = '{name}'\nseed = 3\n[[network]]\nname = 'internet'\n");
    for host in ["a", "b", "c", "d"] {
        text += &format!(
            "[[host]]\nname = '{host}'\nnetworks = ['internet']\nmaintenance = false\n\
             [[step]]\nat_ms = 0\ndo = 'start'\nhost = '{host}'\n"
        );
    }
    for pair in [("a", "b"), ("b", "c"), ("c", "d")] {
        let (from, to) = pair;
        text += &format!("[[step]]\nat_ms = 100\ndo = 'connect'\nfrom = '{from}'\nto = '{to}'\n");
    }
    text + rest
}

const SEND: &str = "[[step]]\nat_ms = 2000\ndo = 'send'\nfrom = 'a'\nto = 'b'\ndirect = true\n\
                    [[step]]\nat_ms = 3000\ndo = 'expect-delivered'\n";

#[test]
fn a_packet_scenario_is_replayed_to_the_same_figures() {
    write("packet-row.toml", &row("packet-row", SEND));
    let shown = |line: &str| {
        let output = nodenet_sim(line);
        assert!(output.status.success(), "{:?}", texts(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("it prints JSON")
    };
    let one = shown("replay packet-row.toml --json");
    assert_eq!((one["sent"].as_u64(), one["delivered"].as_u64()), (Some(1), Some(1)));
    assert_eq!(one["held"][0].as_str(), Some("1 of 1 messages delivered, none twice"));
    assert_eq!(shown("replay packet-row.toml --json"), one);
    let other = shown("replay packet-row.toml --json --seed 4");
    assert_ne!(other["trace_hash"], one["trace_hash"]);
    let (table, _) = texts(&nodenet_sim("replay packet-row.toml"));
    assert!(table.contains("messages delivered          1 of 1\n"), "{table}");
    // There is nothing to reduce.
    let output = nodenet_sim("shrink packet-row.toml");
    assert!(!output.status.success());
    assert!(texts(&output).1.contains("packet-row.toml does not fail"), "{:?}", texts(&output));
}

#[test]
fn a_failed_packet_scenario_is_kept_and_reduced() {
    let cut = "[[step]]\nat_ms = 1000\ndo = 'partition'\nhosts = ['b', 'c']\n\
               [[step]]\nat_ms = 1500\ndo = 'sleep'\nhost = 'd'\n";
    write("packet-cut.toml", &row("packet-cut", &format!("{cut}{SEND}")));
    let output = nodenet_sim("replay packet-cut.toml");
    let (_, said) = texts(&output);
    assert!(!output.status.success());
    for part in [
        "FAIL delivered 0 of 1 messages",
        "is from a to b",
        "replay target/sim/packet-cut-3.toml",
        "shrink target/sim/packet-cut-3.toml",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let output = nodenet_sim("shrink target/sim/packet-cut-3.toml --out cut-small.toml");
    let (said, progress) = texts(&output);
    assert!(output.status.success(), "{progress}");
    assert!(progress.contains("after 1 runs: 4 hosts, 11 steps"), "{progress}");
    assert!(said.contains("2 of 4 hosts and 6 of 11 steps are left"), "{said}");
    assert!(said.contains("replay cut-small.toml"), "{said}");
    let small = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cut-small.toml");
    let small = PacketScenario::from_toml(&std::fs::read_to_string(small).unwrap()).unwrap();
    let names: Vec<_> = small.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn what_cannot_be_done_with_a_packet_scenario_is_said() {
    write("packet-bad.toml", &row("packet-bad", "[[step]]\nat_ms = 5\ndo = 'wake'\n"));
    write("packet-fine.toml", &row("packet-fine", SEND));
    for (line, advice) in [
        ("replay packet-bad.toml", "step \"wake\" at 5 ms: missing field `host`"),
        ("replay packet-fine.toml --nodes 9", "names each of its hosts"),
        ("replay packet-fine.toml --report page.html", "use --json"),
        ("shrink nowhere.toml", "nowhere.toml cannot be read"),
        ("packet-scale --nodes 9 --edges 3 --seed 1", "an even number below that of nodes"),
        ("packet-scale --nodes 9 --edges 10 --seed 1", "an even number below that of nodes"),
    ] {
        let output = nodenet_sim(line);
        let (_, said) = texts(&output);
        assert!(!output.status.success() && said.contains(advice), "{line}: {said}");
    }
}

#[test]
fn the_cost_of_a_packet_world_is_printed_under_its_names() {
    let output =
        nodenet_sim("packet-scale --nodes 8 --edges 4 --seed 1 --settle 1 --seconds 2 --json");
    assert!(output.status.success(), "{:?}", texts(&output));
    let shown: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(shown["messages_sent"].as_u64(), Some(32));
    assert_eq!(shown["messages_delivered"].as_u64(), Some(32));
    for figure in ["real_s_per_virtual_s", "heap_bytes", "heap_bytes_per_node", "datagrams"] {
        assert!(shown[figure].as_f64() > Some(0.0), "{figure} in {shown}");
    }
    for key in ["cpu_s_per_virtual_s", "user_cpu_s_per_virtual_s", "heap_bytes_max", "trace_hash"] {
        assert!(shown.get(key).is_some(), "{key} in {shown}");
    }
}
