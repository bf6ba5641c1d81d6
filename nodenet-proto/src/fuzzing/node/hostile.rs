//! Hostile peer, which proves its identity like any other and then sends any bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{HOSTILE, Script, addr};
use crate::NodeId;
use crate::buf::Frame;
use crate::env::{Ed25519Crypto, Seed, UnixNanos};
use crate::identity::Identity;
use crate::io::TransmitBuf;
use crate::quic::{Config, Quic};
use crate::testkit::{Datagram, Host, Outbox};
use crate::transport::{Class, CloseMode, Command, ConnId, Conns, DialId, Event};
use crate::wire::frame::Message;
use crate::wire::{AvoidSet, Encode, Envelope, FrameHeader, FrameType, Ping, Signer};

/// Frames of the nodes that it keeps, to replay them.
const HEARD_MAX: usize = 4;

/// The hostile peer: a transport without an engine.
pub(super) struct Hostile {
    identity: Identity,
    quic: Quic,
    conns: Vec<ConnId>,
    heard: VecDeque<Frame>,
    dials: u64,
    buf: TransmitBuf,
}

impl Hostile {
    pub(super) fn new(identity: Identity, now: Instant) -> Self {
        let quic = Quic::new(Config::default(), &identity, &Seed::from_u64(2), now);
        Self {
            identity,
            quic,
            conns: Vec::new(),
            heard: VecDeque::new(),
            dials: 0,
            buf: TransmitBuf::new(1),
        }
    }

    /// Dials one of the nodes.
    pub(super) fn dial(&mut self, now: Instant, to: usize, ids: &[NodeId; 4]) {
        self.dials += 1;
        let dial = DialId(self.dials);
        let deadline = now + Duration::from_secs(10);
        let command = Command::Dial { dial, expected: ids[to], remote: addr(to), deadline };
        self.quic.handle_command(now, command);
    }

    /// Opens or closes a conn.
    pub(super) fn act(&mut self, now: Instant, ids: &[NodeId; 4], script: &mut Script<'_>) {
        let kind = script.byte();
        match self.conn(script) {
            Some(conn) if kind & 3 == 0 => {
                let mode = if kind & 4 == 0 { CloseMode::Abort } else { CloseMode::Drain };
                self.quic.handle_command(now, Command::Close { conn, mode });
            }
            _ => self.dial(now, usize::from(kind >> 4) % 2, ids),
        }
    }

    /// Sends a frame of any bytes, one that it received, or a well-formed one of any type.
    pub(super) fn say_any_frame(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let conn = self.conn(script);
        let frame = match kind & 3 {
            0 => Frame::from(Bytes::copy_from_slice(script.bytes())),
            1 => match self.heard.get(usize::from(kind >> 4) % HEARD_MAX) {
                Some(frame) => Frame::from(frame.to_bytes()),
                None => return,
            },
            _ => {
                let type_byte = script.byte() % 72;
                let payload = script.bytes();
                let header = FrameHeader { type_byte, payload_len: payload.len() };
                let mut frame = Frame::from(header.to_bytes());
                frame.push_back(Bytes::copy_from_slice(payload));
                frame
            }
        };
        self.say(conn, frame);
    }

    /// Says a routed message that is properly signed.
    pub(super) fn say_signed(
        &mut self,
        wall: UnixNanos,
        ids: &[NodeId; 4],
        script: &mut Script<'_>,
    ) {
        let conn = self.conn(script);
        let frame_type = FrameType::ALL[script.below(FrameType::ALL.len())];
        let (target, hop_limit) = (ids[script.below(4)], script.byte());
        let avoid: AvoidSet = (0..script.below(4)).map(|_| ids[script.below(4)]).collect();
        let sent = UnixNanos(wall.0 + i64::from(script.byte() as i8) * 500_000_000);
        let signer = Signer { identity: &self.identity, crypto: &Ed25519Crypto };
        let payload = Bytes::copy_from_slice(script.bytes());
        let envelope = Envelope::sign(signer, frame_type, target, sent, payload)
            .expect("255 bytes fit anywhere")
            .avoiding(avoid);
        self.say(conn, Envelope { hop_limit, ..envelope }.to_frame(frame_type));
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::ConnUp { conn, .. } => {
                self.conns.push(conn);
                // No conn counts as an edge before a frame arrived on it.
                self.say(Some(conn), Ping.to_frame());
            }
            Event::ConnDown { conn, .. } => self.conns.retain(|other| *other != conn),
            Event::Frame { frame, .. } => {
                if self.heard.len() == HEARD_MAX {
                    self.heard.pop_front();
                }
                self.heard.push_back(frame);
            }
            Event::DialFailed { .. }
            | Event::Writable(_)
            | Event::PathChanged { .. }
            | Event::Punched { .. }
            | Event::SpliceOpened { .. }
            | Event::SpliceOver { .. } => {}
        }
    }

    fn conn(&self, script: &mut Script<'_>) -> Option<ConnId> {
        let index = usize::from(script.byte()).checked_rem(self.conns.len())?;
        Some(self.conns[index])
    }

    fn say(&mut self, conn: Option<ConnId>, frame: Frame) {
        if let Some(conn) = conn {
            // A queue that is full loses the frame, as it may.
            let _ = self.quic.try_send(conn, Class::Own, frame);
        }
    }
}

impl Host for Hostile {
    fn addr(&self) -> SocketAddr {
        addr(HOSTILE)
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        self.quic.handle_datagram(now, datagram.from, None, None, datagram.data);
    }

    fn expire(&mut self, now: Instant) {
        self.quic.handle_timeout(now);
    }

    fn drain(&mut self, _now: Instant, out: &mut Outbox) {
        loop {
            while let Some(event) = self.quic.poll_event() {
                self.on_event(event);
            }
            if self.quic.read() {
                continue;
            }
            self.buf.bytes.clear();
            let Some(transmit) = self.quic.poll_transmit(&mut self.buf) else { break };
            out.push((&transmit).into(), &self.buf.bytes);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.quic.next_deadline()?.at)
    }
}
