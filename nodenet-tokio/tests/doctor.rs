//! `nodenet doctor` on loopback: a network that is there, and three ways in which it is not.

mod kit;

use std::net::UdpSocket;
use std::time::Duration;

use kit::{ABSENT, Scratch, host, now, run_to_end};
use serde_json::Value;

/// The result with this line to join through, and the exit status.
fn doctor(line: &str) -> (Value, Option<i32>) {
    let output = run_to_end(&["doctor", "--bootstrap", line, "--within", "2", "--json"]);
    (serde_json::from_slice(&output.stdout).expect("one object"), output.status.code())
}

fn check<'a>(result: &'a Value, name: &str) -> &'a Value {
    let checks = result["checks"].as_array().expect("a list");
    checks.iter().find(|check| check["name"] == name).expect(name)
}

#[test]
fn a_network_that_is_there_is_healthy() {
    let scratch = Scratch::new();
    let first = host(&scratch, "first", None);
    let (result, status) = doctor(&first.line);
    assert_eq!((&result["healthy"], status), (&true.into(), Some(0)), "{result}");
    assert_eq!(check(&result, "udp")["code"], "answered");
    assert_eq!(result["probes"][0]["answer"], "datagram", "a node answers an unknown version");
    assert_eq!(check(&result, "join")["code"], "joined");
    assert_eq!(check(&result, "mtu")["code"], "enough");
    assert!(result["joined_ms"].is_number(), "{result}");

    let args = ["doctor", "--bootstrap", &first.line, "--within", "1"];
    let output = run_to_end(&args);
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).expect("text");
    for name in ["udp", "ipv4", "mtu", "nat", "relays", "clock", "work", "tables", "exposure"] {
        assert!(shown.lines().any(|line| line.contains(name)), "{name} is missing in: {shown}");
    }
}

#[test]
fn silence_and_a_closed_port_are_told_apart_within_five_seconds() {
    // A socket that nothing reads takes packets and answers none.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    let addr = silent.local_addr().expect("it is bound");
    let begun = now();
    let (result, status) = doctor(&format!("{ABSENT}@{addr}"));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!((&result["healthy"], status), (&false.into(), Some(1)));
    // The kernel refuses TCP on that port, so the host is up.
    let udp = check(&result, "udp");
    assert_eq!((&udp["status"], &udp["code"]), (&"wrong".into(), &"blocked".into()), "{udp}");
    assert!(udp["advice"].is_string(), "{udp}");
    assert_eq!(check(&result, "join")["code"], "no_edge");

    drop(silent);
    let (result, status) = doctor(&format!("{ABSENT}@{addr}"));
    assert_eq!(status, Some(1));
    assert_eq!(check(&result, "udp")["code"], "no_listener", "{result}");
}

#[test]
fn a_name_without_address_and_nothing_to_join_through_are_findings() {
    let (result, status) = doctor(&format!("{ABSENT}@no-such-host.invalid:4242"));
    assert_eq!(status, Some(1));
    assert_eq!(check(&result, "udp")["code"], "unresolved", "{result}");
    assert_eq!(result["unresolved"].as_array().map(Vec::len), Some(1));

    let output = run_to_end(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(shown.contains("WRONG    join"), "{shown}");
    assert!(shown.contains("give --bootstrap ID@HOST:PORT"), "{shown}");
}
