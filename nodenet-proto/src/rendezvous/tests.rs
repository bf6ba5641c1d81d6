//! What arrives at rendezvous: Hellos, Replies and sealed messages.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::sealed_box::ROUTE_CONTEXT;
use super::{Action, Nonce, Originator, Rendezvous, Settled, Ticket, Unsealed};
use crate::NodeId;
use crate::api::{AddressPolicy, Config, FoundPeer};
use crate::buf::Frame;
use crate::context::Context;
use crate::context::testing::Surroundings;
use crate::env::{Ed25519Crypto, Seed, UnixNanos};
use crate::identity::Identity;
use crate::overlay::{Hop, Message};
use crate::stats::DropReason;
use crate::wire::envelope::{Envelope, Signer};
use crate::wire::rendezvous::{Hello, Reply};
use crate::wire::sealed_box::{Recipient, SealedBox, seal_bound};
use crate::wire::{Addr, AddrList, Decode, Encode, FrameHeader, FrameType, RoutedFrame};

const MINUTE: Duration = Duration::from_secs(60);

type RendezvousContext<'a> = Context<'a, Action>;

struct Rig {
    around: Surroundings,
    rendezvous: Rendezvous,
}

fn identity(number: u8) -> Identity {
    Identity::from_master_seed(&[number; 32])
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 4242))
}

fn list(addrs: &[SocketAddr]) -> AddrList {
    AddrList::first_of(addrs.iter().map(|addr| Addr::from_socket_addr(*addr)))
}

/// A neighbour that forwards.
const FROM: NodeId = NodeId::from_bytes([0xee; 32]);

impl Rig {
    fn new() -> Self {
        Self::with(AddressPolicy::Anyone)
    }

    fn with(address_policy: AddressPolicy) -> Self {
        let mut around = Surroundings::new(Config { address_policy, ..Config::default() });
        around.own.set_local_addrs(&[addr(1)]);
        let rendezvous = Rendezvous::new(around.now);
        Self { around, rendezvous }
    }

    fn own(&self) -> &Identity {
        &self.around.identity
    }

    fn hello(&self, originator: u8, nonce: u8) -> Vec<u8> {
        let (of, to) = (identity(originator), self.own().id());
        Hello::sign(&Ed25519Crypto, &of, &to, list(&[addr(originator)]), [nonce; 16])
            .to_bytes()
            .to_vec()
    }

    /// A Hello whose envelope was verified.
    fn take_hello(&mut self, originator: u8, payload: &[u8], has_edge: bool) -> Vec<Action> {
        let of = identity(originator);
        let originator = Originator { id: of.id(), key: *of.public_key(), has_edge };
        let act = |cx: &mut RendezvousContext<'_>| {
            self.rendezvous.handle_hello(cx, FROM, originator, payload)
        };
        let actions = self.around.run(act).1;
        self.rendezvous.check();
        actions
    }

    /// Asks a node; the nonce of the question.
    fn ask(&mut self, target: u8, ticket: u64) -> Nonce {
        let id = identity(target).id();
        let act =
            |cx: &mut RendezvousContext<'_>| self.rendezvous.ask(cx, id, Ticket(ticket), MINUTE);
        match &self.around.run(act).1[..] {
            [Action::Set(_), Action::Ask { nonce, .. }] => *nonce,
            actions => panic!("{actions:?}"),
        }
    }

    fn take_reply(&mut self, frame: Frame) -> Vec<Action> {
        let (header, payload_at) = FrameHeader::of(&frame).unwrap();
        let message = RoutedFrame::parse(frame, header.frame_type().unwrap(), payload_at).unwrap();
        let actions = self.around.run(|cx| self.rendezvous.handle_reply(cx, message)).1;
        self.rendezvous.check();
        actions
    }

    /// A Reply of `responder` in an envelope of `originator`.
    fn reply(&self, responder: u8, originator: u8, nonce: Nonce) -> Frame {
        let addrs = list(&[addr(responder)]);
        let reply = Reply::sign(&Ed25519Crypto, &identity(responder), addrs, nonce);
        self.envelope(originator, FrameType::Reply, reply.to_bytes()).to_frame(FrameType::Reply)
    }

    fn envelope(&self, originator: u8, frame_type: FrameType, payload: Bytes) -> Envelope {
        let signer = Signer { identity: &identity(originator), crypto: &Ed25519Crypto };
        let target = self.own().id();
        Envelope::sign(signer, frame_type, target, self.around.wall, payload).expect("it is short")
    }

    fn unseal(&mut self, originator: u8, payload: &Bytes) -> Unsealed {
        let (id, payload) = (identity(originator).id(), payload.clone());
        let (unsealed, actions) = self.around.run(|cx| self.rendezvous.unseal(cx, &id, payload));
        assert_eq!(actions, []);
        self.rendezvous.check();
        unsealed
    }

    /// A sealed message of a node to this one, sealed this many seconds ago.
    fn sealed(&self, sender: u8, age: i64, associated: &[u8]) -> Bytes {
        let to = Recipient { id: self.own().id(), exchange_key: *self.own().exchange_key() };
        let time = UnixNanos(self.around.wall.0 - age * 1_000_000_000);
        let mut rng = Seed::from_u64(u64::from(sender)).child("age", age as u64).stream("test");
        seal_bound(&identity(sender), &to, time, b"secret", associated, &mut rng).expect("honest")
    }

    fn found(&self, number: u8) -> FoundPeer {
        let of = identity(number);
        FoundPeer {
            id: of.id(),
            key: *of.public_key(),
            exchange_key: *of.exchange_key(),
            addrs: vec![addr(number)],
        }
    }
}

fn learn(number: u8) -> Action {
    let of = identity(number);
    Action::Learn { id: of.id(), key: *of.public_key(), addrs: vec![addr(number)] }
}

/// The Reply of this node among the actions that a Hello leads to.
fn answer_of(actions: &[Action]) -> (Message, Reply) {
    match actions {
        [Action::Learn { .. }, Action::Answer(message)] => {
            (message.clone(), Reply::decode_exact(&message.payload).expect("well formed"))
        }
        _ => panic!("{actions:?}"),
    }
}

#[test]
fn a_hello_is_answered_with_verified_keys_and_its_originator_is_learned() {
    let mut rig = Rig::new();
    let actions = rig.take_hello(2, &rig.hello(2, 7), false);
    assert_eq!(actions[0], learn(2));
    let (message, reply) = answer_of(&actions);
    let Message { frame_type, target, tried, .. } = message;
    assert_eq!((frame_type, target, tried), (FrameType::Reply, identity(2).id(), Vec::new()));
    assert_eq!(reply.verify(&Ed25519Crypto, &rig.own().id(), &[7; 16]), Ok(()));
    assert_eq!(reply.addrs, list(&[addr(1)]));
    assert_eq!(rig.around.take_drops(), []);
}

/// THREATS.md#hellos-multiply
#[test]
fn each_nonce_of_an_originator_is_answered_once() {
    let mut rig = Rig::new();
    let hello = rig.hello(2, 7);
    answer_of(&rig.take_hello(2, &hello, false));
    assert_eq!(rig.take_hello(2, &hello, false), []);
    assert_eq!(rig.around.take_drops(), [(DropReason::HelloRepeated, 1)]);
    answer_of(&rig.take_hello(3, &rig.hello(3, 7), false));
    assert_eq!(rig.around.take_drops(), [], "the nonce of another originator is another");
}

/// The requester asks again because no answer arrived.
#[test]
fn a_further_answer_to_a_requester_leaves_over_other_first_hops() {
    let mut rig = Rig::new();
    let hop = Hop { peer: NodeId::from_bytes([5; 32]), subnet: None };
    answer_of(&rig.take_hello(2, &rig.hello(2, 1), false));
    rig.rendezvous.handle_answered(&identity(2).id(), &[hop]);
    let (message, _) = answer_of(&rig.take_hello(2, &rig.hello(2, 2), false));
    assert_eq!(message.tried, [hop]);
    rig.around.pass(2 * MINUTE);
    let (message, _) = answer_of(&rig.take_hello(2, &rig.hello(2, 3), false));
    assert_eq!(message.tried, [], "that was another exchange");
}

/// THREATS.md#b14
#[test]
fn a_hello_for_another_node_or_of_another_originator_is_refused() {
    let mut rig = Rig::new();
    let addrs = list(&[addr(2)]);
    let elsewhere =
        Hello::sign(&Ed25519Crypto, &identity(2), &identity(4).id(), addrs, [7; 16]).to_bytes();
    assert_eq!(rig.take_hello(2, &elsewhere, false), []);
    assert_eq!(rig.take_hello(3, &rig.hello(2, 7), false), []);
    let mut altered = rig.hello(2, 7);
    altered[0] ^= 1;
    assert_eq!(rig.take_hello(2, &altered, false), []);
    assert_eq!(rig.around.take_drops(), [(DropReason::HelloRefused, 3)]);
    assert_eq!(rig.take_hello(2, b"no hello", false), []);
    assert_eq!(rig.around.take_drops(), [(DropReason::MalformedMessage, 1)]);
    answer_of(&rig.take_hello(2, &rig.hello(2, 7), false));
}

/// THREATS.md#hello-flood
#[test]
fn a_flood_of_hellos_over_one_neighbour_leaves_answers_for_the_others() {
    let mut rig = Rig::new();
    let other = NodeId::from_bytes([0xdd; 32]);
    let mut answered = 0;
    for number in 0..200_u8 {
        let may = |rig: &mut Rig, from| rig.around.run(|cx| rig.rendezvous.may_answer(cx, &from)).0;
        assert!(may(&mut rig, other));
        if may(&mut rig, FROM) {
            answer_of(&rig.take_hello(2, &rig.hello(2, number), false));
            answered += 1;
        }
    }
    assert_eq!(answered, 16 + 100, "what the neighbour is sure of, and what all share");
    assert_eq!(rig.around.take_drops(), [(DropReason::HelloRateLimited, 84)]);
}

#[test]
fn the_policy_decides_which_requesters_learn_addresses() {
    let answered = |rig: &mut Rig, originator, has_edge| {
        let hello = rig.hello(originator, 1);
        answer_of(&rig.take_hello(originator, &hello, has_edge)).1.addrs.as_slice().len()
    };
    let anyone = &mut Rig::with(AddressPolicy::Anyone);
    assert_eq!(answered(anyone, 2, false), 1);

    let known = &mut Rig::with(AddressPolicy::Known);
    assert_eq!(answered(known, 2, false), 0);
    assert_eq!(answered(known, 3, true), 1, "a neighbour");
    known.ask(4, 1);
    assert_eq!(answered(known, 4, false), 1, "this node asks it as well");
    let nonce = known.ask(5, 2);
    let reply = known.reply(5, 5, nonce);
    known.take_reply(reply);
    assert_eq!(answered(known, 5, false), 1, "this node asked it");

    let none = &mut Rig::with(AddressPolicy::RelayOnly);
    assert_eq!([answered(none, 2, false), answered(none, 3, true)], [0, 0]);
}

#[test]
fn a_reply_settles_every_request_for_its_target() {
    let mut rig = Rig::new();
    let nonce = rig.ask(2, 1);
    let (target, payload) = (identity(2).id(), Bytes::from_static(b"secret"));
    let act = |cx: &mut RendezvousContext<'_>| {
        rig.rendezvous.send_sealed(cx, target, Ticket(2), MINUTE, payload)
    };
    assert_eq!(rig.around.run(act).1.len(), 1, "the timer");
    let actions = rig.take_reply(rig.reply(2, 2, nonce));
    let found = Action::Settle(Ticket(1), Settled::Found(rig.found(2)));
    assert_eq!(actions[..3], [learn(2), Action::Stop, found]);
    let [Action::Send(Ticket(2), message)] = &actions[3..] else { panic!("{actions:?}") };
    assert_eq!((message.frame_type, message.target), (FrameType::Route, target));
    let opened = SealedBox::decode_exact(&message.payload).expect("a box");
    let opened = opened.open_bound(&identity(2), ROUTE_CONTEXT, rig.around.wall, MINUTE);
    let opened = opened.expect("it is for the target").0;
    assert_eq!((opened.sender, &opened.plaintext[..]), (rig.own().id(), &b"secret"[..]));
    assert_eq!(rig.take_reply(rig.reply(2, 2, nonce)), []);
    assert_eq!(rig.around.take_drops(), [(DropReason::ReplyRepeated, 1)]);
}

#[test]
fn a_reply_to_any_question_of_an_exchange_settles_it() {
    let mut rig = Rig::new();
    let first = rig.ask(2, 1);
    rig.around.pass(Duration::from_secs(2));
    let actions = rig.around.run(|cx| rig.rendezvous.handle_timer(cx)).1;
    let [Action::Set(_), Action::Ask { nonce: second, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_ne!(first, *second);
    assert_eq!(rig.take_reply(rig.reply(2, 2, first)).len(), 3);
    assert_eq!(rig.take_reply(rig.reply(2, 2, *second)), []);
    assert_eq!(rig.around.take_drops(), [(DropReason::ReplyRepeated, 1)]);
}

/// Later questions may still be answered, and earlier ones were not.
#[test]
fn an_answer_counts_for_the_first_hops_of_its_question() {
    let mut rig = Rig::new();
    let hop = |number: u8| Hop { peer: NodeId::from_bytes([number; 32]), subnet: None };
    let mut nonces = vec![rig.ask(2, 1)];
    for number in 1..=3 {
        let (nonce, taken) = (nonces[nonces.len() - 1], [hop(number)].into_iter().collect());
        rig.around.run(|cx| rig.rendezvous.handle_asked(cx, &nonce, Ok(taken)));
        rig.around.pass(Duration::from_secs(5));
        let actions = rig.around.run(|cx| rig.rendezvous.handle_timer(cx)).1;
        let [Action::Set(_), Action::Ask { nonce, .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        nonces.push(*nonce);
    }
    rig.take_reply(rig.reply(2, 2, nonces[1]));
    let count = |number| {
        let counts = rig.rendezvous.questions_over(&hop(number).peer);
        (counts.asked, counts.unanswered)
    };
    assert_eq!([count(1), count(2), count(3)], [(1, 1), (1, 0), (0, 0)]);
}

/// A forwarder that saw the Hello gets a genuine Reply for its nonce with a Hello of its own.
///
/// THREATS.md#redirected-replies
#[test]
fn a_reply_of_another_node_or_in_anothers_envelope_is_refused_and_the_exchange_goes_on() {
    let mut rig = Rig::new();
    let nonce = rig.ask(2, 1);
    for (responder, originator) in [(2, 3), (3, 2), (3, 3)] {
        assert_eq!(rig.take_reply(rig.reply(responder, originator, nonce)), []);
    }
    assert_eq!(rig.around.take_drops(), [(DropReason::ReplyForeign, 3)]);
    assert_eq!(rig.take_reply(rig.reply(2, 2, nonce)).len(), 3, "the genuine one");
}

/// THREATS.md#b13
#[test]
fn a_reply_that_is_forged_altered_or_not_asked_for_is_refused() {
    let mut rig = Rig::new();
    let nonce = rig.ask(2, 1);
    assert_eq!(rig.take_reply(rig.reply(2, 2, [0; 16])), []);
    assert_eq!(rig.around.take_drops(), [(DropReason::Unsolicited, 1)]);

    let genuine = rig.reply(2, 2, nonce).to_bytes();
    let mut forged = genuine.to_vec();
    *forged.last_mut().expect("not empty") ^= 1;
    assert_eq!(rig.take_reply(Frame::from(Bytes::from(forged))), []);
    assert_eq!(rig.around.take_drops(), [(DropReason::BadSignature, 1)], "its envelope");

    let mut inner = Reply::sign(&Ed25519Crypto, &identity(2), list(&[addr(2)]), nonce);
    inner.addrs = list(&[addr(3)]);
    let altered = rig.envelope(2, FrameType::Reply, inner.to_bytes());
    assert_eq!(rig.take_reply(altered.to_frame(FrameType::Reply)), []);
    assert_eq!(rig.around.take_drops(), [(DropReason::ReplyRefused, 1)], "its content");

    for len in [0, 144] {
        let cut = rig.envelope(2, FrameType::Reply, Bytes::from(vec![0; len]));
        assert_eq!(rig.take_reply(cut.to_frame(FrameType::Reply)), []);
    }
    assert_eq!(rig.around.take_drops(), [(DropReason::MalformedMessage, 2)]);
    assert_eq!(rig.take_reply(Frame::from(genuine)).len(), 3, "the genuine one");
}

/// Its addresses have no bound before they are parsed, so nonce and key come first.
///
/// THREATS.md#b13
#[test]
fn nonce_and_key_of_a_reply_are_compared_before_anything_is_decoded() {
    let mut rig = Rig::new();
    let nonce = rig.ask(2, 1);
    let junk = |key: &Identity, nonce: &Nonce| {
        Bytes::from([&key.public_key()[..], &[0xff; 100], &nonce[..], &[0; 64]].concat())
    };
    for (key, nonce, reason) in [
        (2, [0; 16], DropReason::Unsolicited),
        (3, nonce, DropReason::ReplyForeign),
        (2, nonce, DropReason::MalformedMessage),
    ] {
        let payload = junk(&identity(key), &nonce);
        let envelope = rig.envelope(2, FrameType::Reply, payload);
        assert_eq!(rig.take_reply(envelope.to_frame(FrameType::Reply)), []);
        assert_eq!(rig.around.take_drops(), [(reason, 1)]);
    }
}

#[test]
fn addresses_that_this_node_does_not_dial_are_left_out() {
    let mut rig = Rig::new();
    let nonce = rig.ask(2, 1);
    let name = Addr::new(b"quic", b"example.net:4242");
    let other = Addr::new(b"tcp", b"192.0.2.2:4242");
    let nowhere = Addr::from_socket_addr("0.0.0.0:4242".parse().expect("a literal"));
    let good = Addr::from_socket_addr(addr(2));
    let addrs = AddrList::first_of([name, other, nowhere, good.clone(), good]);
    let reply = Reply::sign(&Ed25519Crypto, &identity(2), addrs, nonce).to_bytes();
    let frame = rig.envelope(2, FrameType::Reply, reply).to_frame(FrameType::Reply);
    assert_eq!(rig.take_reply(frame)[0], learn(2));
    assert_eq!(rig.around.take_drops(), [(DropReason::ImplausibleAddress, 3)]);
}

#[test]
fn a_key_of_a_hello_seals_at_once_and_no_question_is_asked() {
    let mut rig = Rig::new();
    rig.take_hello(2, &rig.hello(2, 7), false);
    let (target, payload) = (identity(2).id(), Bytes::from_static(b"secret"));
    let act = |cx: &mut RendezvousContext<'_>| {
        rig.rendezvous.send_sealed(cx, target, Ticket(1), MINUTE, payload)
    };
    let actions = rig.around.run(act).1;
    assert!(matches!(actions[..], [Action::Send(Ticket(1), _)]), "{actions:?}");
}

/// THREATS.md#b15
#[test]
fn a_sealed_message_is_delivered_once() {
    let mut rig = Rig::new();
    let sealed = rig.sealed(2, 0, ROUTE_CONTEXT);
    assert_eq!(rig.unseal(2, &sealed), Unsealed::Sealed(Bytes::from_static(b"secret")));
    assert_eq!(rig.unseal(2, &sealed), Unsealed::Refused);
    assert_eq!(rig.around.take_drops(), [(DropReason::SealedReplayed, 1)]);
}

/// THREATS.md#b15
#[test]
fn a_sealed_message_outside_its_window_is_refused() {
    let mut rig = Rig::new();
    for age in [61, -61, 3_600] {
        assert_eq!(rig.unseal(2, &rig.sealed(2, age, ROUTE_CONTEXT)), Unsealed::Refused);
    }
    assert_eq!(rig.around.take_drops(), [(DropReason::SealedStale, 3)]);
    for age in [60, -60] {
        let unsealed = rig.unseal(2, &rig.sealed(2, age, ROUTE_CONTEXT));
        assert!(matches!(unsealed, Unsealed::Sealed(_)), "{age}");
    }
}

/// A forwarder that strips the signature of a box and signs it as its own.
///
/// THREATS.md#e36
#[test]
fn a_sealed_message_that_another_node_signs_is_not_its_own() {
    let mut rig = Rig::new();
    let genuine = rig.sealed(2, 0, ROUTE_CONTEXT);
    let mut stolen = SealedBox::decode_exact(&genuine).expect("a box");
    stolen.sign(&identity(3), rig.own().exchange_key());
    let stolen = stolen.to_bytes();
    assert_eq!(rig.unseal(3, &stolen), Unsealed::Plain(stolen), "nothing is opened");
    assert_eq!(rig.around.stats.counters.boxes_unopened, 1);
    assert_eq!(rig.unseal(3, &genuine), Unsealed::Plain(genuine.clone()), "nor in its envelope");
    assert!(matches!(rig.unseal(2, &genuine), Unsealed::Sealed(_)), "and the genuine one is");
}

#[test]
fn a_payload_that_is_no_sealed_message_is_delivered_as_it_came() {
    let mut rig = Rig::new();
    let own_context = rig.sealed(2, 0, b"of the application");
    let mut cut = rig.sealed(2, 0, ROUTE_CONTEXT).to_vec();
    cut.pop();
    let other = Recipient { id: identity(4).id(), exchange_key: *identity(4).exchange_key() };
    let mut rng = Seed::from_u64(1).stream("test");
    let for_another =
        seal_bound(&identity(2), &other, rig.around.wall, b"secret", ROUTE_CONTEXT, &mut rng)
            .expect("honest");
    let plain = [Bytes::new(), Bytes::from(vec![0; 200]), own_context, cut.into(), for_another];
    for payload in plain {
        for _ in 0..2 {
            assert_eq!(rig.unseal(2, &payload), Unsealed::Plain(payload.clone()));
        }
    }
    assert_eq!(rig.around.take_drops(), []);
}
