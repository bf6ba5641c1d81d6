use std::time::Instant;

use super::*;
use crate::env::{Ed25519Crypto, Random, Seed, UnixNanos, test_base};
use crate::identity::Identity;
use crate::stats::Stats;

struct LookupNet {
    lookups: Lookups,
    rng: Random,
    stats: Stats,
    now: Instant,
    identity: Identity,
}

fn id(first: u8) -> NodeId {
    let mut bytes = [0; 32];
    bytes[0] = first;
    NodeId::from_bytes(bytes)
}

impl LookupNet {
    fn new() -> Self {
        let rng = Seed::from_u64(1).stream("test");
        let identity = Identity::from_master_seed(&[1; 32]);
        Self {
            lookups: Lookups::default(),
            rng,
            stats: Stats::default(),
            now: test_base(),
            identity,
        }
    }

    fn run<T>(&mut self, step: impl FnOnce(&mut Lookups, &mut Context<'_, ()>) -> T) -> T {
        let mut out = Vec::new();
        let mut cx = Context {
            out: &mut out,
            now: self.now,
            wall: UnixNanos(0),
            rng: &mut self.rng,
            stats: &mut self.stats,
            crypto: &Ed25519Crypto,
            identity: &self.identity,
        };
        let result = step(&mut self.lookups, &mut cx);
        self.lookups.check();
        result
    }

    fn ask(&mut self, question: Question, peer: NodeId) -> Nonce {
        self.run(|lookups, cx| lookups.ask(cx, question, peer))
    }

    fn settle(&mut self, nonce: Nonce, responder: NodeId) -> Option<Question> {
        self.run(|lookups, cx| lookups.settle(cx, &nonce, &responder))
    }

    fn unsolicited(&self) -> u64 {
        self.stats.drops(DropReason::Unsolicited)
    }
}

/// Nobody but the neighbour that was asked is believed, and it only once (THREATS.md#e30).
#[test]
fn an_answer_is_taken_once_and_from_whom_it_was_asked() {
    let mut world = LookupNet::new();
    let nonce = world.ask(Question::Own, id(5));
    assert_eq!(world.settle(nonce, id(6)), None);
    assert_eq!(world.settle(nonce, id(5)), Some(Question::Own));
    assert_eq!(world.settle(nonce, id(5)), None);
    assert_eq!(world.unsolicited(), 2);
}

#[test]
fn each_answer_settles_its_own_question() {
    let mut world = LookupNet::new();
    let vicinity = world.ask(Question::Vicinity, id(5));
    let near = Question::Near { target: id(9), lacking: true };
    let nonce = world.ask(near, id(5));
    assert_eq!(world.settle(nonce, id(5)), Some(near));
    assert_eq!(world.settle(vicinity, id(5)), Some(Question::Vicinity));
}

#[test]
fn an_answer_after_thirty_seconds_is_too_late() {
    let mut world = LookupNet::new();
    let nonce = world.ask(Question::Own, id(1));
    assert!(world.lookups.expects(&nonce, &id(1), world.now));
    assert!(!world.lookups.expects(&nonce, &id(2), world.now), "it was not asked");
    world.now += NONCE_LIFETIME;
    assert!(!world.lookups.expects(&nonce, &id(1), world.now));
    assert_eq!(world.settle(nonce, id(1)), None);
}

#[test]
fn the_oldest_question_makes_room() {
    let mut world = LookupNet::new();
    let first = world.ask(Question::Own, id(1));
    for _ in 0..OPEN_MAX {
        world.ask(Question::Own, id(2));
    }
    assert_eq!(world.settle(first, id(1)), None);
}
