use bytes::Bytes;

use super::*;
use crate::identity::Identity;
use crate::overlay::peers::Ask;
use crate::wire::envelope::{Envelope, Signer};
use crate::wire::{Addr, Encode, FrameHeader, FrameType, Nonce};

/// The neighbour that is asked, the conn to it, and where it is.
fn responder() -> Identity {
    Identity::from_master_seed(&[1; 32])
}

const CONN: ConnId = ConnId(7);

fn remote() -> SocketAddr {
    addr(77)
}

/// A bench with an edge to the responder, and the nonce of a question to it.
fn asking() -> (Bench, Nonce) {
    let (mut bench, responder) = (Bench::new(), responder());
    let now = bench.around.now;
    let (id, key) = (responder.id(), *responder.public_key());
    bench.edges.attach(now, id, key, CONN, true, || EdgeBudgets::new(now));
    bench.around.paths.set(CONN, remote(), SECOND);
    let Bench { peers, edges, around } = &mut bench;
    let (nonce, actions) = around.run(|cx| {
        let ask = Ask::new(cx, Question::Vicinity, id);
        peers.ask(cx, edges, ask);
        ask.nonce
    });
    assert_eq!(actions.len(), 1, "the question");
    (bench, nonce)
}

fn named() -> wire::Contact {
    wire::Contact { key: Some(key(3)), ..wire::Contact::new(id(3)) }
}

/// An answer of the responder with this payload.
fn envelope(bench: &Bench, payload: Bytes) -> Envelope {
    let signer = Signer { identity: &responder(), crypto: &Ed25519Crypto };
    let target = bench.around.identity.id();
    Envelope::sign(signer, FrameType::Neighbors, target, bench.around.wall, payload)
        .expect("it fits")
}

fn neighbors(nonce: Nonce) -> Bytes {
    Neighbors::new(nonce, [named()]).to_bytes()
}

impl Bench {
    fn take(&mut self, from: &NodeId, envelope: &Envelope) -> Option<Answer> {
        let frame = envelope.to_frame(FrameType::Neighbors);
        let (_, at) = FrameHeader::of(&frame).expect("it is a whole frame");
        let message = RoutedFrame::parse(frame, FrameType::Neighbors, at).expect("it is routed");
        self.run(|peers, cx, edges| peers.take_answer(cx, edges, from, message))
    }

    /// What an answer was discarded for, each reason with its count, and the open questions.
    fn discarded(&self) -> (Vec<(DropReason, u64)>, usize) {
        use DropReason::{BadSignature, MalformedMessage, Unsolicited};
        let counts = [MalformedMessage, Unsolicited, BadSignature]
            .map(|reason| (reason, self.drops(reason)))
            .into_iter()
            .filter(|(_, count)| *count > 0);
        (counts.collect(), self.peers.lookups.open())
    }

    /// Another peer says this of a contact.
    pub(super) fn gossip(&mut self, number: u8, capabilities: Capabilities) {
        let contact = wire::Contact {
            key: Some(key(number)),
            capabilities,
            ..wire::Contact::new(id(number))
        };
        self.observe_contact(&answer_of(id(200), None), &contact);
    }

    fn observe_contact(&mut self, answer: &Answer, contact: &wire::Contact) -> Observed {
        self.run(|peers, cx, edges| peers.observe_contact(cx, edges, answer, contact))
    }
}

fn answer_of(responder: NodeId, observed: Option<SocketAddr>) -> Answer {
    Answer { question: Question::Own, responder, observed, contacts: ContactList::new() }
}

#[test]
fn an_answer_over_the_edge_of_its_responder_tells_where_that_is() {
    let (mut bench, nonce) = asking();
    let envelope = envelope(&bench, neighbors(nonce));
    let answer = bench.take(&responder().id(), &envelope).expect("it was asked for");
    assert_eq!((answer.question, answer.responder), (Question::Vicinity, responder().id()));
    assert_eq!(answer.observed, Some(remote()));
    assert_eq!(answer.contacts.as_slice(), [named()]);
    assert_eq!(bench.discarded(), (vec![], 0));
    assert!(bench.take(&responder().id(), &envelope).is_none());
    assert_eq!(bench.discarded(), (vec![(DropReason::Unsolicited, 1)], 0), "it was taken once");
}

#[test]
fn an_answer_over_another_edge_is_taken_and_tells_of_no_address() {
    let (mut bench, nonce) = asking();
    let envelope = envelope(&bench, neighbors(nonce));
    let answer = bench.take(&id(9), &envelope).expect("the responder signed it");
    assert_eq!((answer.responder, answer.observed), (responder().id(), None));
    assert_eq!(answer.contacts.as_slice(), [named()]);
}

#[test]
fn an_answer_of_a_responder_without_an_edge_or_a_path_tells_of_no_address() {
    let (mut bench, nonce) = asking();
    bench.edges.remove(&responder().id());
    let answer = envelope(&bench, neighbors(nonce));
    let answer = bench.take(&responder().id(), &answer).expect("it was asked for");
    assert_eq!(answer.observed, None);
    let (mut bench, nonce) = asking();
    bench.around.paths = Default::default();
    let answer = envelope(&bench, neighbors(nonce));
    let answer = bench.take(&responder().id(), &answer).expect("it was asked for");
    assert_eq!(answer.observed, None);
}

#[test]
fn an_answer_without_a_whole_nonce_is_malformed() {
    let (mut bench, nonce) = asking();
    let envelope = envelope(&bench, Bytes::copy_from_slice(&nonce[..7]));
    assert!(bench.take(&responder().id(), &envelope).is_none());
    assert_eq!(bench.discarded(), (vec![(DropReason::MalformedMessage, 1)], 1));
}

#[test]
fn an_answer_that_ends_with_its_nonce_settles_the_question_and_is_malformed() {
    let (mut bench, nonce) = asking();
    let envelope = envelope(&bench, Bytes::copy_from_slice(&nonce));
    assert!(bench.take(&responder().id(), &envelope).is_none());
    assert_eq!(bench.discarded(), (vec![(DropReason::MalformedMessage, 1)], 0));
}

#[test]
fn an_answer_that_was_not_asked_for_is_unsolicited_whatever_its_signature() {
    let (mut bench, mut nonce) = asking();
    nonce[0] ^= 1;
    let mut envelope = envelope(&bench, neighbors(nonce));
    envelope.signature[0] ^= 1;
    assert!(bench.take(&responder().id(), &envelope).is_none());
    assert_eq!(bench.discarded(), (vec![(DropReason::Unsolicited, 1)], 1));
}

#[test]
fn an_answer_that_its_responder_did_not_sign_leaves_the_question_open() {
    let (mut bench, nonce) = asking();
    let mut envelope = envelope(&bench, neighbors(nonce));
    envelope.signature[0] ^= 1;
    assert!(bench.take(&responder().id(), &envelope).is_none());
    assert_eq!(bench.discarded(), (vec![(DropReason::BadSignature, 1)], 1));
    envelope.signature[0] ^= 1;
    assert!(bench.take(&responder().id(), &envelope).is_some(), "the true one");
}

#[test]
fn an_answer_is_taken_for_thirty_seconds() {
    let (mut bench, nonce) = asking();
    bench.around.pass(30 * SECOND);
    let envelope = envelope(&bench, neighbors(nonce));
    assert!(bench.take(&responder().id(), &envelope).is_none());
    assert_eq!(bench.discarded().0, [(DropReason::Unsolicited, 1)]);
}

/// A contact that says this of itself, or of which others do.
fn said(number: u8, capabilities: u32, addrs: &[SocketAddr]) -> wire::Contact {
    let addrs = addrs.iter().copied().map(Addr::from_socket_addr).collect();
    let capabilities = Capabilities(capabilities);
    wire::Contact { key: Some(key(number)), capabilities, addrs, ..wire::Contact::new(id(number)) }
}

#[test]
fn a_contact_without_a_key_is_rejected() {
    let mut bench = Bench::new();
    let keyless = wire::Contact { key: None, ..said(1, 1, &[addr(1)]) };
    for responder in [id(1), id(2)] {
        assert_eq!(bench.observe_contact(&answer_of(responder, None), &keyless), NOTHING_NEW);
    }
    assert_eq!(bench.drops(DropReason::ContactRejected), 2);
    assert_eq!(bench.peers.table.len(), 0);
}

#[test]
fn a_responder_signs_its_own_addresses_and_capabilities() {
    let mut bench = Bench::new();
    let answer = answer_of(id(1), None);
    assert_eq!(bench.observe_contact(&answer, &said(1, 5, &[addr(1)])), NEW);
    assert_eq!(bench.addrs(1), [(addr(1), Signed)]);
    assert_eq!((bench.contact(1).caps, bench.contact(1).caps_self_reported), (5, true));
    assert_eq!(bench.contact(1).last_seen, bench.tick(bench.around.now));
    assert_eq!(bench.observe_contact(&answer, &said(1, 0, &[addr(2)])), NOTHING_NEW);
    assert_eq!(bench.addrs(1), [(addr(2), Signed)], "its newest list");
    assert_eq!(bench.contact(1).caps, 0, "it can do nothing in particular");
}

#[test]
fn what_a_responder_says_of_others_is_gossip() {
    let mut bench = Bench::new();
    let answer = answer_of(id(2), None);
    assert_eq!(bench.observe_contact(&answer, &said(1, 5, &[addr(1)])), NEW);
    assert_eq!(bench.addrs(1), [(addr(1), Gossiped)]);
    assert_eq!((bench.contact(1).caps, bench.contact(1).caps_self_reported), (5, false));
    assert_eq!(bench.contact(1).last_seen, Tick::NEVER);
    assert_eq!(bench.observe_contact(&answer, &said(1, 0, &[])), NOTHING_NEW);
    assert_eq!(bench.contact(1).caps, 5, "gossip that says nothing is none");
}

#[test]
fn an_unspecified_address_of_the_responder_is_where_it_was_observed() {
    let mut bench = Bench::new();
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 7));
    let answer = answer_of(id(1), Some(mapped(9)));
    bench.observe_contact(&answer, &said(1, 0, &[unspecified, addr(1)]));
    let observed = SocketAddr::new(addr(9).ip(), 7);
    assert_eq!(bench.addrs(1), [(observed, Signed), (addr(1), Signed)]);
    assert_eq!(bench.drops(DropReason::ImplausibleAddress), 0);
    bench.observe_contact(&answer, &said(2, 0, &[unspecified, addr(2)]));
    assert_eq!(bench.addrs(2), [(addr(2), Gossiped)], "another contact was not observed");
    assert_eq!(bench.drops(DropReason::ImplausibleAddress), 1);
    bench.observe_contact(&answer_of(id(3), None), &said(3, 0, &[unspecified]));
    assert_eq!(bench.addrs(3), [], "the answer came over another edge");
    assert_eq!(bench.drops(DropReason::ImplausibleAddress), 2);
}

#[test]
fn implausible_addresses_are_counted_one_by_one() {
    let mut bench = Bench::new();
    let nowhere = ["127.0.0.1:1", "192.0.2.1:0", "224.0.0.1:1", "[fe80::1]:1"];
    let nowhere = nowhere.map(|text| text.parse().expect("a literal"));
    let mut contact = said(1, 0, &nowhere);
    contact.addrs.push(Addr::new(b"quic", b"example.org:4242"));
    contact.addrs.push(Addr::new(b"tcp", b"192.0.2.1:4242"));
    contact.addrs.push(Addr::from_socket_addr(addr(1)));
    assert_eq!(bench.observe_contact(&answer_of(id(1), None), &contact), NEW);
    assert_eq!(bench.addrs(1), [(addr(1), Signed)]);
    assert_eq!(bench.drops(DropReason::ImplausibleAddress), 6);
}

#[test]
fn the_first_eight_addresses_count_each_of_them_once() {
    let mut bench = Bench::new();
    let many: Vec<SocketAddr> = (1..=9).map(addr).collect();
    let repeated: Vec<SocketAddr> = [&[addr(1); 8][..], &many].concat();
    let answer = answer_of(id(1), None);
    bench.observe_contact(&answer, &said(1, 0, &repeated));
    let expected: Vec<_> = many[..8].iter().map(|addr| (*addr, Signed)).collect();
    assert_eq!(bench.addrs(1), expected);
    assert_eq!(bench.drops(DropReason::ImplausibleAddress), 0);
}

#[test]
fn an_address_in_mapped_form_is_the_ipv4_address_and_counts_once() {
    let many: Vec<SocketAddr> = (1..=8).map(addr).collect();
    let expected: Vec<_> = many.iter().map(|addr| (*addr, Signed)).collect();
    let mut bench = Bench::new();
    let mut contact = said(1, 0, &many);
    contact.addrs.insert(0, Addr::new(b"quic", b"[::ffff:192.0.2.1]:4242"));
    bench.observe_contact(&answer_of(id(1), None), &contact);
    assert_eq!(bench.addrs(1), expected);
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 4242));
    let contact = said(2, 0, &[&[unspecified], &many[..]].concat());
    bench.observe_contact(&answer_of(id(2), Some(mapped(1))), &contact);
    assert_eq!(bench.addrs(2), expected);
}
