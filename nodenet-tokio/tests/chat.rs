//! Two chats on one machine, as in the README.

mod kit;

use kit::{Running, Scratch};

/// Starts a chat. Returns it with its identifier and the line through which others join.
fn start(scratch: &Scratch, name: &str, args: &[&str]) -> (Running, String, String) {
    let seed = scratch.arg(name);
    let chat = Running::start(&[&["chat", "--seed", &seed], args].concat());
    let id = chat.line("you are ").split_off("you are ".len());
    let line = chat.line("--bootstrap ");
    let (_, bootstrap) = line.split_once("--bootstrap ").expect("it contains that");
    (chat, id, bootstrap.to_owned())
}

#[test]
fn two_chats_exchange_messages() {
    let scratch = Scratch::new();
    let (mut alice, alice_id, line) = start(&scratch, "alice", &["--addr", "127.0.0.1:0"]);
    let (mut bob, bob_id, _) = start(&scratch, "bob", &["--bootstrap", &line]);
    bob.line("connected: the first edge is up");

    bob.type_line(&format!("/to {alice_id}"));
    bob.type_line("hello, who is there?");
    let heard = alice.line("hello, who is there?");
    assert_eq!(heard, format!("{} (routed, 1 hop): hello, who is there?", &bob_id[..8]));

    // The originator of a message can be named by the beginning of its id.
    alice.type_line(&format!("/to {}", &bob_id[..8]));
    alice.line(&format!("lines go to {bob_id} by routing"));
    alice.type_line("/direct");
    alice.type_line("//me\x1b[31m");
    let heard = bob.line("/me");
    assert_eq!(heard, format!("{} (direct): /me\u{fffd}[31m", &alice_id[..8]));

    alice.type_bytes(b"caf\xe9\n");
    bob.line("caf\u{fffd}");

    alice.type_line("/peers");
    assert!(alice.line("accepted").contains(&bob_id));
    alice.line("1 edge(s)");
    alice.type_line("/fly");
    alice.line("there is no command /fly");

    bob.type_line("/quit");
    assert_eq!(bob.end().code(), Some(0));
    alice.close_stdin();
    alice.line("leaving");
    assert_eq!(alice.end().code(), Some(0));
}

#[test]
fn an_edge_can_be_requested() {
    let scratch = Scratch::new();
    let (alice, alice_id, line) = start(&scratch, "alice", &["--addr", "127.0.0.1:0"]);
    let (mut bob, bob_id, _) = start(&scratch, "bob", &["--addr", "127.0.0.1:0"]);
    let (_, alice_addr) = line.split_once('@').expect("id@address");
    bob.type_line(&format!("/connect {alice_addr}"));
    bob.line("name a node with /to <id> first");
    bob.type_line(&format!("/to {alice_id}"));
    bob.type_line(&format!("/connect {alice_addr}"));
    bob.line(&format!("there is an edge to {alice_id}"));
    bob.type_line("/direct");
    bob.type_line("hello");
    assert_eq!(alice.line("hello"), format!("{} (direct): hello", &bob_id[..8]));

    bob.type_line(&format!("/to {}", "7".repeat(64)));
    bob.type_line(&format!("/connect {alice_addr}"));
    bob.line("no edge to 7777");
}

#[cfg(unix)]
#[test]
fn an_input_that_can_not_be_read_is_an_error_and_the_node_leaves() {
    let scratch = Scratch::new();
    let seed = scratch.arg("seed");
    let mut chat = kit::nodenet(&["chat", "--addr", "127.0.0.1:0", "--seed", &seed]);
    // A directory can be opened and not be read.
    let directory = std::fs::File::open("/").expect("there is a root directory");
    let output = chat.stdin(directory).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("can not read standard input"), "{text}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("leaving"),
        "it leaves the network first"
    );
}
