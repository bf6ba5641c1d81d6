//! Errors of the program for wrong input: each says what to do.

mod kit;

use std::net::UdpSocket;

use kit::{Running, Scratch, failure, run_to_end};

const ID: &str = "45cd1496465d1e9e045a991d920ec5054c312f077765113c936b4d5c6d1e6ad5";
/// The master seed of [`ID`], which has one leading zero bit.
const SEED: [u8; 32] = {
    let mut seed = [0; 32];
    let mut i = 0;
    while i < 32 {
        seed[i] = i as u8 + 1;
        i += 1;
    }
    seed
};

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn a_run_without_address_and_bootstrap_is_an_error() {
    let scratch = Scratch::new();
    let seed = scratch.arg("seed");
    for args in [&["run"][..], &["run", "-addr", ""], &["chat"], &["-pow", "0"]] {
        // A fresh key file, because peers of an earlier run would suffice.
        let text = failure(1, &[args, &["--seed", &seed]].concat());
        assert_says(&text, &["--addr HOST:PORT", "--bootstrap ID@HOST:PORT", "or both"]);
    }
}

#[test]
fn a_malformed_bootstrap_entry_is_an_error() {
    for (entry, problem) in [
        ("somewhere:4242", "there is no @"),
        ("12ab@host:1", "\"12ab\" is not a node id: a node id has exactly 64 hexadecimal digits"),
        (&format!("{ID}@host"), "\"host\" has no port"),
        (&format!("{ID}@host:0"), "\"0\" is not a port from 1 to 65535"),
        (&format!("{ID}@:4242"), "the host is missing"),
        (&format!("{ID}@::1:4242"), "IPv6 addresses need brackets"),
    ] {
        let list = format!("{ID}@127.0.0.1:1, {entry}");
        let text = failure(1, &["run", "--bootstrap", &list]);
        assert_says(&text, &[entry, problem, "write <64 hex digits>@<host>:<port>"]);
    }
}

#[test]
fn a_malformed_address_is_an_error() {
    for (addr, problem) in [
        ("4242", "there is no port"),
        ("127.0.0.1:port", "\"port\" is not a port"),
        ("::1:5", "IPv6 addresses need brackets"),
    ] {
        let text = failure(1, &["run", "--addr", addr]);
        assert_says(&text, &[addr, problem, "for example 0.0.0.0:4242"]);
    }
}

#[test]
fn a_port_in_use_is_an_error() {
    let scratch = Scratch::new();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    let addr = taken.local_addr().expect("it is bound").to_string();
    let seed = scratch.arg("seed");
    let text = failure(1, &["run", "--addr", &addr, "--seed", &seed]);
    assert_says(&text, &[&addr, "another process uses that port", "choose another port"]);
    assert!(!scratch.path("seed").exists(), "an address that is taken costs no identity");
}

#[test]
fn an_address_of_another_machine_is_an_error() {
    let scratch = Scratch::new();
    let text = failure(1, &["run", "--addr", "192.0.2.1:0", "--seed", &scratch.arg("seed")]);
    assert_says(&text, &["192.0.2.1:0", "no interface of this machine has that address"]);
}

#[test]
fn a_key_file_of_wrong_length_is_an_error() {
    let scratch = Scratch::new();
    scratch.write_secret("seed", &[7; 33]);
    let seed = scratch.arg("seed");
    for args in [&["run", "--addr", "127.0.0.1:0", "--seed", &seed][..], &["id", "--seed", &seed]] {
        let text = failure(1, args);
        assert_says(&text, &[&seed, "has 33 bytes, a seed has 32", "move it away"]);
    }
    assert_eq!(std::fs::read(scratch.path("seed")).unwrap(), [7; 33], "it was not changed");
}

#[test]
fn a_key_file_of_zeros_is_an_error() {
    let scratch = Scratch::new();
    scratch.write_secret("seed", &[0; 32]);
    let seed = scratch.arg("seed");
    for args in [&["run", "--addr", "127.0.0.1:0", "--seed", &seed][..], &["id", "--seed", &seed]] {
        let text = failure(1, args);
        assert_says(&text, &[&seed, "holds 32 zero bytes", "from a backup, or move it away"]);
    }
    assert_eq!(std::fs::read(scratch.path("seed")).unwrap(), [0; 32], "it was not changed");
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_an_error() {
    let scratch = Scratch::new();
    scratch.write_secret("seed", &SEED);
    scratch.set_mode("seed", 0o644);
    let seed = scratch.arg("seed");
    for args in [&["run", "--addr", "127.0.0.1:0", "--seed", &seed][..], &["id", "--seed", &seed]] {
        let text = failure(1, args);
        assert_says(&text, &["open to other users (mode 0644)", &format!("chmod 600 {seed}")]);
    }
}

#[test]
fn a_key_file_in_a_missing_directory_is_an_error() {
    let scratch = Scratch::new();
    let seed = scratch.arg("missing/seed");
    // A search for that much work would not end.
    let text = failure(1, &["id", "--seed", &seed, "--pow", "60"]);
    assert_says(&text, &["can not write key file", &format!("{seed}: "), "create the directory"]);
}

#[test]
fn more_work_than_the_identity_has_is_an_error() {
    let scratch = Scratch::new();
    scratch.write_secret("seed", &SEED);
    let seed = scratch.arg("seed");
    for args in [
        &["run", "--addr", "127.0.0.1:0", "--seed", &seed, "--pow", "8"][..],
        &["id", "--seed", &seed, "-pow", "8"],
    ] {
        let text = failure(1, args);
        assert_says(
            &text,
            &[
                &seed,
                "has 1 leading zero bits, --pow asks for 8",
                "name another key file with --seed",
            ],
        );
    }
}

#[test]
fn more_work_than_an_identifier_can_have_is_an_error() {
    let scratch = Scratch::new();
    let seed = scratch.arg("seed");
    for pow in ["257", "100000"] {
        let text = failure(1, &["id", "--seed", &seed, "--pow", pow]);
        assert_says(&text, &["256 bits", "256 at most"]);
    }
    scratch.write_secret("seed", &SEED);
    assert_says(&failure(1, &["id", "--seed", &seed, "--pow", "257"]), &["256 at most"]);
}

#[test]
fn a_malformed_command_line_is_an_error() {
    for (args, problem) in [
        (&["run", "--loud"][..], "--loud"),
        (&["run", "--addr", ":0", "--log-level", "loud"], "debug, info, warn, error"),
        (&["run", "--addr", ":0", "--pow", "many"], "--pow"),
        (&["run", "--addr", ":0", "--advertise", "here"], "--advertise"),
        (&["demo", "--nodes", "1"], "2..=1000"),
        (&["-addr", ":0", "-relay", "-light"], "a light node relays nothing"),
        (&["fly"], "fly"),
        (&["doctor", "--within", "0"], "1..=600"),
        (&["doctor", "--bootstrap", "12ab@here:1"], "is not a node id"),
        (&["ping"], "<ID>"),
        (&["ping", ID, "--count", "0"], "1..=1000"),
        (&["connect"], "<ID>"),
        (&["connect", "12ab"], "exactly 64 hexadecimal digits"),
        (&["connect", ID, "--addr", "example.org:1"], "--addr"),
        (&["connect", ID, "--within", "0"], "1..=3600"),
        (&["connect", ID, "--bootstrap", "here:1"], "there is no @"),
        (&["connect", ID, "--listen", "4242"], "there is no port"),
    ] {
        assert_says(&failure(2, args), &[problem, "--help"]);
    }
    let help = run_to_end(&["-h"]);
    assert_eq!(help.status.code(), Some(0));
    assert_says(
        &String::from_utf8_lossy(&help.stdout),
        &["run", "id", "chat", "connect", "ping", "doctor", "demo"],
    );
}

#[test]
fn messages_without_target_without_route_and_of_too_many_bytes_are_errors() {
    let scratch = Scratch::new();
    let seed = scratch.arg("seed");
    let mut chat = Running::start(&["chat", "--addr", "127.0.0.1:0", "--seed", &seed]);
    chat.line("/to <id>");
    chat.type_line("hello?");
    assert_says(&chat.line("no target yet"), &["name a node with /to <id>"]);
    chat.type_line("/to 12");
    assert_says(&chat.line("no id that begins with 12"), &["64 hexadecimal digits"]);
    chat.type_line(&format!("/to {ID}"));
    chat.line("by routing");
    chat.type_line("hello?");
    assert_says(&chat.line("not sent"), &["unroutable", "wait until it has joined", "bootstrap"]);
    chat.type_line(&"x".repeat(65_327));
    assert_says(&chat.line("not sent"), &["has 65327 bytes, at most 65326 fit", "in parts"]);
    chat.type_line("/direct");
    chat.line("over the edge");
    chat.type_line("hello?");
    assert_says(&chat.line("not sent"), &["no edge to", "connect to it first"]);
    chat.type_line("/quit");
    assert_eq!(chat.end().code(), Some(0));
}

#[test]
fn a_demo_of_too_many_pairs_is_an_error() {
    assert_says(&failure(1, &["demo", "--nat", "--nodes", "101"]), &["--nat", "--nodes 100"]);
}

#[test]
fn a_key_file_in_use_is_an_error() {
    let scratch = Scratch::new();
    let seed = scratch.arg("seed");
    let args = ["run", "--addr", "127.0.0.1:0", "--seed", &seed];
    let first = Running::start(&args);
    first.log_line("node ");
    let text = failure(1, &args);
    assert_says(&text, &[&seed, "in use: another node was first", "a key file of its own"]);
}
