use std::time::Duration;

use bytes::Bytes;
use heapless::Vec as FixedVec;

use super::{ATTEMPTS_MAX, EXCHANGES_MAX, SEALED_BYTES_MAX, TICKETS_MAX};
use crate::NodeId;
use crate::addr::Subnet;
use crate::api::{AddressPolicy, RendezvousError, SendFailure};
use crate::context::Context;
use crate::context::testing::Surroundings;
use crate::overlay::{Hop, Message};
use crate::rendezvous::{Action, Nonce, Rendezvous, Settled, Ticket};
use crate::wire::rendezvous::Hello;
use crate::wire::{Decode, FrameType};

const TARGET: NodeId = NodeId::from_bytes([9; 32]);
const MINUTE: Duration = Duration::from_secs(60);

type RendezvousContext<'a> = Context<'a, Action>;

struct Rig {
    around: Surroundings,
    rendezvous: Rendezvous,
}

impl Rig {
    fn new() -> Self {
        let around = Surroundings::default();
        let rendezvous = Rendezvous::new(around.now);
        Self { around, rendezvous }
    }

    fn ask(&mut self, target: NodeId, ticket: u64, within: Duration) -> Vec<Action> {
        let act = |cx: &mut RendezvousContext<'_>| {
            self.rendezvous.ask(cx, target, Ticket(ticket), within)
        };
        let actions = self.around.run(act).1;
        self.rendezvous.check();
        actions
    }

    fn seal(&mut self, target: NodeId, ticket: u64, len: usize) -> Vec<Action> {
        let payload = Bytes::from(vec![7; len]);
        let act = |cx: &mut RendezvousContext<'_>| {
            self.rendezvous.send_sealed(cx, target, Ticket(ticket), MINUTE, payload);
        };
        let actions = self.around.run(act).1;
        self.rendezvous.check();
        actions
    }

    fn taken(&mut self, nonce: &Nonce, taken: Result<&[Hop], SendFailure>) -> Vec<Action> {
        let taken = taken.map(|hops| hops.iter().copied().collect::<FixedVec<_, 3>>());
        let act = |cx: &mut RendezvousContext<'_>| self.rendezvous.handle_asked(cx, nonce, taken);
        let actions = self.around.run(act).1;
        self.rendezvous.check();
        actions
    }

    fn pass(&mut self, span: Duration) -> Vec<Action> {
        self.around.pass(span);
        let actions = self.around.run(|cx| self.rendezvous.handle_timer(cx)).1;
        self.rendezvous.check();
        actions
    }

    /// Lets time pass until the timer fires.
    fn fire(&mut self, set: &Action) -> Vec<Action> {
        let Action::Set(at) = set else { panic!("no timer: {set:?}") };
        self.pass(*at - self.around.now)
    }
}

fn hop(number: u8) -> Hop {
    let subnet = Subnet::counted([192, 0, number, 1].into());
    Hop { peer: NodeId::from_bytes([number; 32]), subnet }
}

/// The question among these actions, which are a timer and a question.
fn question(actions: &[Action]) -> (Nonce, Message) {
    match actions {
        [Action::Set(_), Action::Ask { nonce, message }] => (*nonce, message.clone()),
        _ => panic!("{actions:?}"),
    }
}

#[test]
fn a_question_is_a_hello_that_the_target_verifies() {
    let mut rig = Rig::new();
    rig.around.own.set_local_addrs(&["192.0.2.7:4242".parse().unwrap()]);
    let (nonce, message) = question(&rig.ask(TARGET, 1, MINUTE));
    let Message { frame_type, target, payload, tried } = message;
    assert_eq!((frame_type, target, tried), (FrameType::Hello, TARGET, Vec::new()));
    let hello = Hello::decode_exact(&payload).expect("well formed");
    assert_eq!((hello.nonce, hello.exchange_key), (nonce, *rig.around.identity.exchange_key()));
    let addrs: Vec<_> = hello.addrs.as_slice().iter().map(|addr| addr.to_socket_addr()).collect();
    assert_eq!(addrs, ["192.0.2.7:4242".parse().ok()]);
    let key = rig.around.identity.public_key();
    assert!(hello.verify(&crate::env::Ed25519Crypto, &TARGET, key));
}

#[test]
fn a_question_names_no_address_where_only_relays_may_know_it() {
    for (policy, count) in
        [(AddressPolicy::Anyone, 1), (AddressPolicy::Known, 1), (AddressPolicy::RelayOnly, 0)]
    {
        let mut rig = Rig::new();
        rig.around.config.address_policy = policy;
        rig.around.own.set_local_addrs(&["192.0.2.7:4242".parse().unwrap()]);
        let (_, message) = question(&rig.ask(TARGET, 1, MINUTE));
        let hello = Hello::decode_exact(&message.payload).expect("well formed");
        assert_eq!(hello.addrs.as_slice().len(), count, "{policy:?}");
    }
}

#[test]
fn a_question_is_repeated_with_another_nonce_over_other_first_hops_after_growing_waits() {
    let mut rig = Rig::new();
    let mut actions = rig.ask(TARGET, 1, 2 * MINUTE);
    let (mut tried, mut nonces, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=ATTEMPTS_MAX as u8 {
        let (nonce, message) = question(&actions);
        assert_eq!(message.tried, tried, "question {number}");
        assert!(!nonces.contains(&nonce));
        nonces.push(nonce);
        assert_eq!(rig.taken(&nonce, Ok(&[hop(number)])), []);
        tried.push(hop(number));
        let asked_at = rig.around.now;
        actions = rig.fire(&actions[0].clone());
        waits.push(rig.around.now - asked_at);
    }
    assert_eq!(actions.len(), 2, "the last of them, and the end: {actions:?}");
    let failed = Action::Settle(Ticket(1), Settled::Failed(RendezvousError::Unanswered));
    assert_eq!(actions, [failed, Action::Stop]);
    let first = Duration::from_millis(800)..=Duration::from_millis(1200);
    assert!(first.contains(&waits[0]), "{waits:?}");
    let total: Duration = waits[..ATTEMPTS_MAX - 1].iter().sum();
    let bounds = Duration::from_secs(25)..Duration::from_secs(39);
    assert!(bounds.contains(&total), "the sum of 1 s, 1.5 s and so on is 32.2 s: {waits:?}");
}

#[test]
fn each_request_fails_at_its_own_deadline_and_the_last_ends_the_exchange() {
    let mut rig = Rig::new();
    let actions = rig.ask(TARGET, 1, Duration::from_millis(300));
    let (nonce, _) = question(&actions);
    rig.taken(&nonce, Ok(&[hop(1)]));
    let joined = rig.ask(TARGET, 2, Duration::from_millis(500));
    assert_eq!(joined, [actions[0].clone()], "no second question");
    let failed =
        |ticket| Action::Settle(Ticket(ticket), Settled::Failed(RendezvousError::Unanswered));
    let later = Action::Set(rig.around.now + Duration::from_millis(500));
    assert_eq!(rig.pass(Duration::from_millis(300)), [failed(1), later]);
    assert_eq!(rig.pass(Duration::from_millis(200)), [failed(2), Action::Stop]);
    assert!(!rig.rendezvous.is_open(Ticket(2)));
}

/// A driver may be late, and give a command to the node before a timer that is due.
#[test]
fn a_timer_that_is_due_already_fires_next() {
    let mut rig = Rig::new();
    rig.ask(TARGET, 1, Duration::from_millis(300));
    rig.around.pass(Duration::from_secs(1));
    let actions = rig.ask(TARGET, 2, MINUTE);
    assert_eq!(actions, [Action::Set(rig.around.now + Duration::from_nanos(1))]);
}

#[test]
fn without_an_edge_a_request_fails_at_once() {
    let mut rig = Rig::new();
    let (nonce, _) = question(&rig.ask(TARGET, 1, MINUTE));
    let failed = Action::Settle(Ticket(1), Settled::Failed(RendezvousError::Unroutable));
    assert_eq!(rig.taken(&nonce, Err(SendFailure::Unroutable)), [failed, Action::Stop]);
}

#[test]
fn a_request_outlasts_edges_that_are_full_or_gone_for_a_while() {
    let mut rig = Rig::new();
    let actions = rig.ask(TARGET, 1, MINUTE);
    assert_eq!(rig.taken(&question(&actions).0, Err(SendFailure::Backpressure)), []);
    let actions = rig.fire(&actions[0].clone());
    assert_eq!(rig.taken(&question(&actions).0, Err(SendFailure::Unroutable)), []);
    assert!(rig.rendezvous.is_open(Ticket(1)));
}

#[test]
fn a_neighbour_is_counted_for_questions_that_it_left_unanswered() {
    let mut rig = Rig::new();
    let actions = rig.ask(TARGET, 1, Duration::from_millis(2_000));
    let (first, _) = question(&actions);
    rig.taken(&first, Ok(&[hop(1), hop(2)]));
    let actions = rig.fire(&actions[0].clone());
    let (second, _) = question(&actions);
    rig.taken(&second, Ok(&[hop(3)]));
    rig.pass(Duration::from_secs(2));
    let count = |number: u8| {
        let counts = rig.rendezvous.questions_over(&hop(number).peer);
        (counts.asked, counts.unanswered)
    };
    assert_eq!([count(1), count(2), count(3), count(4)], [(1, 1), (1, 1), (1, 1), (0, 0)]);
}

#[test]
fn exchanges_tickets_and_waiting_messages_are_bounded() {
    let target = |number: usize| {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    };
    let busy = |ticket| [Action::Settle(Ticket(ticket), Settled::Failed(RendezvousError::Busy))];
    let mut rig = Rig::new();
    for number in 0..EXCHANGES_MAX {
        rig.ask(target(number), number as u64, MINUTE);
    }
    assert_eq!(rig.ask(target(EXCHANGES_MAX), 9_999, MINUTE), busy(9_999));
    for number in EXCHANGES_MAX..TICKETS_MAX {
        assert_eq!(rig.ask(target(0), number as u64, MINUTE).len(), 1);
    }
    assert_eq!(rig.ask(target(0), 9_999, MINUTE), busy(9_999));

    let mut rig = Rig::new();
    let (len, mut ticket) = (60_000, 0);
    while (ticket as usize + 1) * len <= SEALED_BYTES_MAX {
        rig.seal(TARGET, ticket, len);
        ticket += 1;
    }
    let full = Settled::Unsent(SendFailure::Backpressure);
    assert_eq!(rig.seal(TARGET, ticket, len), [Action::Settle(Ticket(ticket), full)]);
}

#[test]
fn a_message_too_large_to_be_sealed_asks_nothing() {
    let (len, max) = (65_172, 65_171);
    let refused = Settled::Unsent(SendFailure::TooLarge { len, max });
    assert_eq!(Rig::new().seal(TARGET, 1, len), [Action::Settle(Ticket(1), refused)]);
    question(&Rig::new().seal(TARGET, 1, max));
}

#[test]
fn a_node_that_leaves_settles_every_request() {
    let mut rig = Rig::new();
    rig.ask(TARGET, 1, MINUTE);
    rig.seal(TARGET, 2, 10);
    let actions = rig.around.run(|cx| rig.rendezvous.stop(cx)).1;
    let closed = Settled::Failed(RendezvousError::Closed);
    let unsent = Settled::Unsent(SendFailure::Closed);
    let settled = [Action::Settle(Ticket(1), closed), Action::Settle(Ticket(2), unsent)];
    assert_eq!(actions[..2], settled);
    assert_eq!(actions[2..], [Action::Stop]);
}
