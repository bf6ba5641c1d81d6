use super::*;
use crate::context::testing::Surroundings;

#[derive(Default)]
struct LookupNet {
    lookups: Lookups,
    around: Surroundings,
}

fn id(first: u8) -> NodeId {
    let mut bytes = [0; 32];
    bytes[0] = first;
    NodeId::from_bytes(bytes)
}

impl LookupNet {
    fn new() -> Self {
        Self::default()
    }

    fn run<T>(&mut self, step: impl FnOnce(&mut Lookups, &mut Context<'_, ()>) -> T) -> T {
        let (result, _) = self.around.run(|cx| step(&mut self.lookups, cx));
        self.lookups.check();
        result
    }

    fn ask(&mut self, question: Question, peer: NodeId) -> Nonce {
        self.run(|lookups, cx| {
            let ask = Ask::new(cx, question, peer);
            lookups.open_question(cx.now, ask);
            ask.nonce
        })
    }

    fn settle(&mut self, nonce: Nonce, responder: NodeId) -> Option<Question> {
        self.run(|lookups, cx| lookups.settle(cx, &nonce, &responder))
    }

    fn unsolicited(&self) -> u64 {
        self.around.stats.drops(DropReason::Unsolicited)
    }
}

/// Only the answer of the neighbour that was asked is taken, and only once (THREATS.md#e30).
#[test]
fn an_answer_is_taken_once_and_from_the_neighbour_that_was_asked() {
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
    assert!(world.lookups.expects(&nonce, &id(1), world.around.now));
    assert!(!world.lookups.expects(&nonce, &id(2), world.around.now), "it was not asked");
    world.around.now += NONCE_LIFETIME;
    assert!(!world.lookups.expects(&nonce, &id(1), world.around.now));
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
