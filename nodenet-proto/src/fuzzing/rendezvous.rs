//! One engine, its application, and neighbours that forward and forge messages of rendezvous.
//!
//! Bytes become a scenario by position, as in `node_bytes`: commands of the application, Hellos,
//! Replies and sealed messages that are altered in any place and signed, and time that passes.
//! Signatures are cheap hashes, which the fuzzer can not forge either. After every step the engine
//! checks itself. In the end every request must be settled, by exactly one event, and no message
//! may be delivered as sealed that was not sealed as it was delivered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::node::Script;
use crate::NodeId;
use crate::api::{AddressPolicy, Command, Config, Event, RequestId};
use crate::buf::Frame;
use crate::engine::{Engine, Output};
use crate::env::{Crypto, Ed25519Crypto, Random, Seed, UnixNanos};
use crate::identity::Identity;
use crate::rendezvous::ROUTE_CONTEXT;
use crate::testkit::{self, WALL};
use crate::transport::{
    Class, ConnId, Conns, Direction, Event as Report, PathInfo, Role, SendError,
};
use crate::wire::envelope::{Envelope, Signer};
use crate::wire::rendezvous::{Hello, Reply};
use crate::wire::sealed_box::{Recipient, seal_bound};
use crate::wire::{
    Addr, AddrList, Decode, Encode, FrameHeader, FrameType, Message, Ping, RoutedFrame,
};

/// Steps that are taken at most.
const STEPS_MAX: usize = 64;
/// Neighbours of the engine; they are also the nodes that it asks, with one more that is none.
const NEIGHBOURS: usize = 3;
/// Longer than any request waits.
const AFTERMATH: Duration = Duration::from_secs(301);
/// What is sealed.
const SECRET: &[u8] = b"sealed by the originator";

/// Runs the scenario that `input` spells.
pub fn rendezvous_engine(input: &[u8]) {
    let mut script = Script(input);
    let mut rig = Rig::new(script.byte());
    for _ in 0..STEPS_MAX {
        let Some(step) = script.next() else { break };
        rig.step(step, &mut script);
        rig.drain();
        rig.engine.check();
    }
    rig.pass(AFTERMATH);
    assert!(rig.unsettled.is_empty(), "unsettled: {:?}", rig.unsettled);
}

struct Rig {
    engine: Engine,
    now: Instant,
    wall: UnixNanos,
    rng: Random,
    conns: Sent,
    unsettled: BTreeSet<RequestId>,
    requests: u64,
    /// Nonces that the engine asked with, the newest last.
    nonces: Vec<[u8; 16]>,
    /// Frames that were sent to the engine, for replays.
    past: Vec<Frame>,
}

/// The frames that the engine sent.
#[derive(Default)]
struct Sent(Vec<Frame>);

impl Conns for Sent {
    fn try_send(&mut self, _: ConnId, _: Class, frame: Frame) -> Result<(), SendError> {
        self.0.push(frame);
        Ok(())
    }

    fn path(&self, conn: ConnId) -> Option<PathInfo> {
        let remote = testkit::addr(conn.0 as u8 + 1);
        Some(PathInfo { remote, rtt: Duration::from_millis(10) })
    }
}

/// Signatures of a few multiplications.
struct CheapCrypto;

impl Crypto for CheapCrypto {
    fn node_id(&self, key: &[u8; 32]) -> NodeId {
        Ed25519Crypto.node_id(key)
    }

    fn sign(&self, identity: &Identity, message: &[u8]) -> [u8; 64] {
        tag(identity.public_key(), message)
    }

    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        tag(key, message) == *signature
    }
}

fn tag(key: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let mut tag = [0; 64];
    tag[..32].copy_from_slice(&Ed25519Crypto.hash(&[key, message]));
    tag
}

/// The engine's identity, then those of the others.
fn identity(index: usize) -> &'static Identity {
    static ALL: OnceLock<Vec<Identity>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        (0..=NEIGHBOURS as u8 + 1).map(|i| Identity::from_master_seed(&[i; 32])).collect()
    });
    &all[index]
}

impl Rig {
    fn new(policy: u8) -> Self {
        let policies = [AddressPolicy::Anyone, AddressPolicy::Known, AddressPolicy::RelayOnly];
        let config = Config {
            maintenance: false,
            address_policy: policies[usize::from(policy) % policies.len()],
            ..Config::default()
        };
        let (seed, now) = (Seed::from_u64(1), testkit::base());
        let own = identity(0).clone();
        let engine = Engine::new(config, own, Box::new(CheapCrypto), &seed, now, WALL);
        let mut rig = Self {
            engine,
            now,
            wall: WALL,
            rng: seed.stream("fuzzing"),
            conns: Sent::default(),
            unsettled: BTreeSet::new(),
            requests: 0,
            nonces: Vec::new(),
            past: Vec::new(),
        };
        for number in 1..=NEIGHBOURS {
            let (peer, key) = (identity(number).id(), *identity(number).public_key());
            let (conn, remote) = (ConnId(number as u64), testkit::addr(number as u8 + 1));
            let (role, direction) = (Role::Edge, Direction::Inbound);
            let up = Report::ConnUp { conn, peer, key, role, direction, remote };
            rig.engine.handle_transport(now, up, &mut rig.conns);
            rig.arrive(number, Ping.to_frame());
        }
        rig.drain();
        assert_eq!(rig.engine.edges(&rig.conns).len(), NEIGHBOURS);
        rig
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let peer = 1 + script.below(NEIGHBOURS + 1);
        let via = 1 + script.below(NEIGHBOURS);
        match step % 8 {
            0 => self.command(|request| Command::Rendezvous {
                request,
                target: identity(peer).id(),
                within: Duration::from_millis(100 * u64::from(script.byte())),
            }),
            1 => self.command(|request| Command::SendSealed {
                request,
                target: identity(peer).id(),
                payload: Bytes::copy_from_slice(script.bytes()),
                within: Duration::from_secs(5),
            }),
            2 => {
                let nonce = [script.byte(); 16];
                let (own, of) = (identity(0).id(), identity(peer));
                let hello = Hello::sign(&CheapCrypto, of, &own, self.addrs(script), nonce);
                self.message(peer, via, FrameType::Hello, hello.to_bytes(), script);
            }
            3 => {
                let back = script.below(8);
                let at = self.nonces.len().saturating_sub(1 + back);
                let nonce = self.nonces.get(at).copied().unwrap_or([7; 16]);
                let reply = Reply::sign(&CheapCrypto, identity(peer), self.addrs(script), nonce);
                self.message(peer, via, FrameType::Reply, reply.to_bytes(), script);
            }
            4 => {
                let to =
                    Recipient { id: identity(0).id(), exchange_key: *identity(0).exchange_key() };
                let time = UnixNanos(self.wall.0 + i64::from(script.byte() as i8) * 1_000_000_000);
                let sealed =
                    seal_bound(identity(peer), &to, time, SECRET, ROUTE_CONTEXT, &mut self.rng)
                        .expect("an honest key");
                self.message(peer, via, FrameType::Route, sealed, script);
            }
            5 => {
                let payload = Bytes::copy_from_slice(script.bytes());
                let types = [FrameType::Hello, FrameType::Reply, FrameType::Route];
                let frame_type = types[script.below(types.len())];
                self.message(peer, via, frame_type, payload, script);
            }
            6 => {
                let at = script.below(self.past.len().max(1));
                if let Some(frame) = self.past.get(at).cloned() {
                    self.arrive(via, frame);
                }
            }
            _ => {
                let span = Duration::from_millis(50 * u64::from(script.byte()));
                // The driver may be late: a timer that is due fires after the next step.
                if peer.is_multiple_of(2) {
                    self.move_to(self.now + span);
                } else {
                    self.pass(span);
                }
            }
        }
    }

    fn command(&mut self, make: impl FnOnce(RequestId) -> Command) {
        let request = RequestId(self.requests);
        self.requests += 1;
        self.unsettled.insert(request);
        self.engine.handle_command(self.now, make(request), &mut self.conns);
    }

    fn addrs(&self, script: &mut Script<'_>) -> AddrList {
        let count = script.below(4);
        let port = script.byte();
        let addrs = (0..count as u8).map(|last| SocketAddr::from(([192, 0, 2, last], port.into())));
        AddrList::first_of(addrs.map(Addr::from_socket_addr))
    }

    /// A signed message whose payload is altered at up to three places before it is signed.
    fn message(
        &mut self,
        originator: usize,
        via: usize,
        frame_type: FrameType,
        payload: Bytes,
        script: &mut Script<'_>,
    ) {
        let mut payload = payload.to_vec();
        for _ in 0..script.below(4) {
            let (at, change) = (script.byte(), script.byte());
            let len = payload.len().max(1);
            if let Some(byte) = payload.get_mut(usize::from(at) % len) {
                *byte ^= change;
            }
        }
        let signer = Signer { identity: identity(originator), crypto: &CheapCrypto };
        let (target, payload) = (identity(0).id(), Bytes::from(payload));
        let envelope =
            Envelope::sign(signer, frame_type, target, self.wall, payload).expect("it is short");
        let frame = envelope.to_frame(frame_type);
        self.past.push(frame.clone());
        self.arrive(via, frame);
    }

    fn arrive(&mut self, via: usize, frame: Frame) {
        let report = Report::Frame { conn: ConnId(via as u64), frame };
        self.engine.handle_transport(self.now, report, &mut self.conns);
    }

    /// Lets time pass, with every timer on time.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        self.drain();
        while let Some(at) = self.drain().filter(|at| *at <= end) {
            self.move_to(at);
            self.engine.handle_timeout(self.now, &mut self.conns);
        }
        self.move_to(end);
    }

    fn move_to(&mut self, at: Instant) {
        let span = at.saturating_duration_since(self.now);
        self.now += span;
        self.wall.0 += span.as_nanos() as i64;
    }

    /// Takes all outputs. Returns the next deadline.
    fn drain(&mut self) -> Option<Instant> {
        for frame in self.conns.0.drain(..) {
            let Ok((header, at)) = FrameHeader::of(&frame) else { panic!("it is well formed") };
            if header.frame_type() != Some(FrameType::Hello) {
                continue;
            }
            let message = RoutedFrame::parse(frame, FrameType::Hello, at).expect("well formed");
            let hello = Hello::decode_exact(&message.into_payload()).expect("well formed");
            if !self.nonces.contains(&hello.nonce) {
                self.nonces.push(hello.nonce);
            }
        }
        loop {
            match self.engine.poll() {
                Output::Transport(_) => {}
                Output::Event(event) => self.event(&event),
                Output::Timeout(deadline) => return deadline.map(|deadline| deadline.at),
            }
        }
    }

    fn event(&mut self, event: &Event) {
        if let Some(request) = event.request() {
            assert!(self.unsettled.remove(&request), "{request:?} was settled before");
        }
        match event {
            Event::Delivered { payload, sealed: true, .. } => assert_eq!(payload, SECRET),
            Event::Found { peer, .. } => {
                assert_eq!(CheapCrypto.node_id(&peer.key), peer.id, "the key is the node's");
            }
            _ => {}
        }
    }
}
