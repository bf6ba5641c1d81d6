//! Fuzz seeds for targets without known answers, and a smoke test of every body.

use bytes::Bytes;

use super::{TARGETS, keep_seed};
use crate::NodeId;
use crate::env::{Ed25519Crypto, Seed, UnixNanos};
use crate::identity::Identity;
use crate::wire::frame::{Message, app_frame};
use crate::wire::{
    Addr, AvoidSet, Contact, Encode, Envelope, FrameType, Leave, Lookup, Neighbors, Ping, Pong,
    Siblings, Signer,
};

fn offer(target: &str, name: &str, bytes: &[u8]) {
    keep_seed(target, name, bytes);
    let (_, body) = TARGETS.iter().find(|(known, _)| *known == target).expect("a target");
    body(bytes);
}

#[test]
fn frames_of_every_kind() {
    let pong = Pong { observed: Addr::new(b"quic", b"203.0.113.7:4242") };
    offer("frame", "ping", &Ping.to_frame().to_bytes());
    offer("frame", "pong", &pong.to_frame().to_bytes());
    offer("frame", "siblings", &Siblings { nonce: [7; 8] }.to_frame().to_bytes());
    offer("frame", "leave", &Leave.to_frame().to_bytes());
    let app = app_frame(Bytes::from_static(b"hi")).expect("a small payload");
    offer("frame", "app", &app.to_bytes());

    let identity = Identity::from_master_seed(&[1; 32]);
    let signer = Signer { identity: &identity, crypto: &Ed25519Crypto };
    let target = NodeId::from_bytes([0x33; 32]);
    for (avoided, frame_type) in
        [FrameType::Route, FrameType::Hello, FrameType::Connect].into_iter().enumerate()
    {
        let avoid: AvoidSet =
            (0..avoided).map(|byte| NodeId::from_bytes([byte as u8; 32])).collect();
        let payload = Bytes::from_static(b"hello");
        let envelope = Envelope::sign(signer, frame_type, target, UnixNanos(1), payload)
            .expect("a small payload")
            .avoiding(avoid);
        let name = format!("{frame_type:?}").to_lowercase();
        offer("envelope", &name, &envelope.to_bytes());
        offer("frame", &name, &envelope.to_frame(frame_type).to_bytes());
    }
}

#[test]
fn own_addresses() {
    // Neighbours 96 to 98 are dialed, and say that this node is at 203.0.113.7:66.
    let learn = (96..99_u8).flat_map(|number| [8, number, 1, 1, number, 2, number, 0x47, 66]);
    // Time passes; a prober is asked; it confirms; its punch arrives; a Connect comes.
    let test = [9, 14, 10, 6, 100, 7, 100, 1, 5, 2, 0x48, 1, 0x49, 1, 50, 9, 6, 10, 10, 3, 96];
    offer("nat_machine", "reached", &learn.chain(test).collect::<Vec<u8>>());
    offer("nat_machine", "malformed", &[4, 3, 1, 2, 3, 6, 1, 11, 5, 10]);
}

#[test]
fn relaying() {
    // Neighbours 33 to 35 relay, and 70 does not.
    let edges = (33..36).flat_map(|number| [0, number, 68]).chain([0, 70, 0]);
    // Two are asked; the second one grants, the first one refuses.
    let asked = [6, 200, 0, 0, 0, 0, 5, 0, 34, 77, 5, 1, 33, 1];
    // A bind of 33; a request of 70 to 33, whose splice opens and ends; time passes.
    let served = [4, 33, 88, 33, 3, 33, 70, 8, 0, 3, 8, 0, 0, 9, 12, 10, 2, 33, 7, 200];
    offer("relay_machine", "served", &edges.chain(asked).chain(served).collect::<Vec<u8>>());
    offer("relay_machine", "malformed", &[0, 33, 68, 11, 3, 1, 2, 3, 33, 11, 5, 1, 2, 3, 4, 5, 33]);
}

#[test]
fn connecting() {
    // A request for peer 3 without addresses; it is asked, answers, punches, is dialed and up.
    let asked = [0, 3, 3, 0, 4, 7, 1, 9, 5, 5, 3, 1, 7, 2, 20, 9, 21, 9, 1, 6, 20, 33];
    let up = [9, 8, 10, 2, 0, 3, 0, 2, 11, 3, 0];
    offer("connect_machine", "found", &asked.into_iter().chain(up).collect::<Vec<u8>>());
    // A peer behind changing ports is reached through a volunteer, after one said nothing.
    let relayed =
        [0, 5, 3, 0, 4, 7, 1, 5, 5, 1, 5, 1, 20, 9, 5, 8, 5, 2, 9, 10, 10, 7, 5, 6, 30, 9];
    offer("connect_machine", "relayed", &relayed);
    offer("connect_machine", "malformed", &[0, 1, 1, 3, 1, 1, 2, 2, 3, 3, 3, 0, 1, 9, 13, 10, 200]);
}

#[test]
fn control_messages() {
    let contact = Contact {
        key: Some([2; 32]),
        addrs: vec![Addr::new(b"quic", b"[2001:db8::1]:4242"), Addr::default()],
        ..Contact::new(NodeId::from_bytes([1; 32]))
    };
    let neighbors = Neighbors::new([7; 8], [contact, Contact::new(NodeId::from_bytes([3; 32]))]);
    offer("contact", "two", &neighbors.contacts.to_bytes());
    offer("control", "neighbors", &neighbors.to_bytes());
    offer("control", "lookup", &Lookup { nonce: [7; 8] }.to_bytes());
}

#[test]
fn what_people_write() {
    let texts = [
        "45cd1496465d1e9e045a991d920ec5054c312f077765113c936b4d5c6d1e6ad5",
        "45CD1496465D1E9E045A991D920EC5054C312F077765113C936B4D5C6D1E6AD5",
        "203.0.113.7:443",
        "[2001:db8::1]:443",
        "[::ffff:203.0.113.7]:443",
        "[fe80::1%3]:9",
        "[fe80::1%eth0]:4242",
        "127.0.0.1:0",
        "bootstrap.example:4242",
        "[::1]",
    ];
    for (index, text) in texts.iter().enumerate() {
        offer("text", &index.to_string(), text.as_bytes());
    }
}

/// Steps by position: see the target.
#[test]
fn scenarios() {
    offer("node_bytes", "nothing", &[]);
    // Send and send direct, both ways, to each other and to an unknown id.
    offer(
        "node_bytes",
        "messages",
        &[
            7, 0, 0, 1, 4, 7, 1, 0, 0, 4, 7, 0, 1, 1, 9, 7, 1, 1, 0, 9, 15, 7, 0, 0, 3, 0, 7, 0, 0,
            2, 1, 15,
        ],
    );
    // A connect over several addresses, a closed edge, a second connect.
    offer(
        "node_bytes",
        "edges",
        &[7, 0, 2, 2, 3, 3, 2, 1, 15, 7, 0, 3, 1, 15, 7, 0, 2, 1, 1, 1, 15],
    );
    // A node leaves with a full socket while a message is under way.
    offer("node_bytes", "leave", &[9, 0, 7, 0, 0, 1, 255, 7, 0, 4, 0, 15, 9, 0, 15]);
    // Datagrams that are lost, duplicated, corrupted, forged.
    offer(
        "node_bytes",
        "network",
        &[
            7, 0, 0, 1, 200, 3, 0, 4, 0, 5, 0, 30, 4, 1, 6, 3, 1, 8, 0xc3, 0, 0, 0, 1, 8, 1, 2, 2,
            1, 0, 40, 1,
        ],
    );
    // The hostile peer: a ping, junk, an unassigned type, a replayed frame, a signed message, a
    // close.
    offer(
        "node_bytes",
        "hostile",
        &[
            13, 2, 0, 2, 0, 13, 0, 0, 3, 1, 2, 0, 13, 2, 0, 50, 1, 9, 15, 13, 1, 0, 13, 17, 0, 14,
            0, 0, 1, 16, 2, 0, 3, 0, 5, b'h', b'e', b'l', b'l', b'o', 14, 0, 0, 0, 9, 0, 0, 2,
            b'h', b'i', 15, 12, 0, 0, 15,
        ],
    );
    // The clocks of both nodes are wrong, and addresses change.
    offer(
        "node_bytes",
        "clocks",
        &[10, 0, 100, 10, 1, 156, 7, 0, 0, 1, 1, 11, 0, 3, 0, 1, 3, 15, 0, 200],
    );
}

/// Steps by position: see the target.
#[test]
fn exchanges() {
    offer("rendezvous_engine", "nothing", &[]);
    // A question to the first neighbour, and its Reply to the last nonce over the second.
    offer("rendezvous_engine", "answered", &[0, 0, 0, 0, 50, 3, 0, 1, 0, 2, 80, 0]);
    // The same with a sealed message, a forged Reply first, and retries.
    offer(
        "rendezvous_engine",
        "sealed",
        &[
            1, 1, 1, 0, 3, b'a', b'b', b'c', 7, 0, 0, 60, 3, 1, 1, 0, 1, 9, 1, 70, 1, 3, 1, 1, 0,
            1, 9, 0,
        ],
    );
    // A Hello, a copy of it, one with the same nonce, and one that is altered.
    offer(
        "rendezvous_engine",
        "hellos",
        &[2, 2, 2, 1, 5, 1, 80, 0, 6, 0, 1, 0, 2, 2, 0, 5, 1, 80, 0, 2, 3, 0, 6, 1, 80, 1, 40, 4],
    );
    // A sealed message, a copy, one that is altered, one that is old.
    offer(
        "rendezvous_engine",
        "boxes",
        &[0, 4, 1, 1, 0, 0, 6, 0, 0, 0, 4, 1, 1, 0, 1, 100, 1, 4, 1, 2, 100, 0],
    );
    // Questions that no node answers, until after their deadline.
    offer(
        "rendezvous_engine",
        "silence",
        &[0, 0, 3, 0, 20, 1, 3, 0, 1, 9, 7, 0, 0, 255, 7, 0, 0, 255],
    );
}

/// A short fuzz run of every body, in every run of the tests.
#[test]
fn random_bytes_pass_every_target() {
    let mut rng = Seed::from_u64(0).stream("fuzzing");
    for (name, body) in TARGETS {
        // A scenario takes as long as a few hundred or a few thousand decodings.
        let runs = match *name {
            "node_bytes" => 10,
            "rendezvous_engine" => 50,
            _ => 200,
        };
        for _ in 0..runs {
            let mut input = vec![0; rng.below(300) as usize];
            rng.fill(&mut input);
            body(&input);
        }
    }
}
