//! Random histories: every invariant holds after each step, and every command is settled exactly
//! once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::kit::{EngineNet, Who};
use crate::api::{Command, Event, RequestId};
use crate::buf::Frame;
use crate::env::{Random, Seed};
use crate::transport::{self, ConnId};

const NODES: u64 = 10;
const STEPS: usize = 400;

struct History {
    world: EngineNet,
    random: Random,
    /// Commands without an outcome so far, and the participant of each.
    open: BTreeMap<RequestId, Who>,
    delivered: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        let world = EngineNet::of(NODES as usize);
        let random = Seed::from_u64(seed).stream("history");
        Self { world, random, open: BTreeMap::new(), delivered: 0 }
    }

    fn anyone(&mut self) -> Who {
        self.random.below(NODES) as Who
    }

    fn step(&mut self) {
        let (who, other) = (self.anyone(), self.anyone());
        if !self.world.is_alive(who) {
            self.world.restart(who);
        }
        let (target, addr) = (self.world.id(other), self.world.addr(other));
        let payload = Bytes::from(vec![0; self.random.below(3000) as usize]);
        let action = self.random.below(40);
        match action {
            0..12 => {
                self.give(who, |request| Command::Connect { request, target, addrs: vec![addr] })
            }
            20..35 => self.give(who, |request| Command::Send { request, target, payload }),
            35..38 => self.give(who, |request| Command::SendDirect { request, target, payload }),
            12 => self.give(who, |request| Command::CloseEdge { request, peer: target }),
            14..17 => self.world.bootstrap(who, other),
            18 => self.crash(who),
            19 => self.give(who, |request| Command::Leave { request }),
            13 | 39 => self.garbage(who),
            17 | 38 => self.clog(who, other),
            _ => {}
        }
        let span = Duration::from_millis(self.random.below(4000));
        self.world.run_for(span);
        self.settle();
    }

    fn give(&mut self, who: Who, make: impl FnOnce(RequestId) -> Command) {
        let request = self.world.command(who, make);
        self.open.insert(request, who);
    }

    fn crash(&mut self, who: Who) {
        self.world.crash(who);
        self.settle();
        self.open.retain(|_, by| *by != who);
    }

    /// Bytes that are no frame, or a damaged one, arrive on a conn of any participant.
    fn garbage(&mut self, who: Who) {
        let conn = ConnId(self.random.below(300));
        let mut bytes = vec![0; self.random.below(300) as usize];
        self.random.fill(&mut bytes);
        if let [version, kind, len, ..] = &mut bytes[..] {
            (*version, *kind, *len) = (1, *kind % 16, 0x80 | *len);
        }
        let frame = Frame::from(Bytes::from(bytes));
        self.world.give(who, transport::Event::Frame { conn, frame });
    }

    fn clog(&mut self, who: Who, other: Who) {
        let full = self.random.below(2) == 0;
        for conn in self.world.conns_between(who, other) {
            self.world.set_full(conn, full);
        }
    }

    fn settle(&mut self) {
        for who in 0..NODES as Who {
            let events = self.world.events(who);
            if events.iter().any(|event| matches!(event, Event::Left { .. })) {
                self.world.crash(who);
            }
            for event in events {
                self.delivered += usize::from(matches!(event, Event::Delivered { .. }));
                let Some(settled) = event.request() else { continue };
                assert_eq!(self.open.remove(&settled), Some(who), "{event:?} settles nothing");
            }
        }
    }
}

#[test]
fn every_command_is_settled_exactly_once_in_any_history() {
    for seed in 0..6 {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
        }
        history.world.run_for(Duration::from_secs(60));
        history.settle();
        assert_eq!(history.open, BTreeMap::new(), "seed {seed}");
        assert!(history.delivered > 20, "a history in which little happens proves little");
    }
}
