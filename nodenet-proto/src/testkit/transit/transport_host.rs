//! The transport of a node without its engine, as a host that speaks the frames of a test.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{SEGMENTS_MAX, transport_config};
use crate::NodeId;
use crate::buf::Frame;
use crate::env::Seed;
use crate::io::TransmitBuf;
use crate::quic::Quic;
use crate::testkit::host::{Datagram, Host, Outbox};
use crate::testkit::{addr, identity};
use crate::transport::{self, Class, ConnId, Conns, DialId};
use crate::wire::frame::Message;
use crate::wire::{FrameHeader, FrameType, Pong};

/// The transport of a node without its engine. It sends the frames that the test makes, answers
/// pings and counts what it receives.
pub struct TransportHost {
    /// Its address.
    pub addr: SocketAddr,
    /// Its identifier.
    pub id: NodeId,
    /// Its conns, in the order in which they came up.
    pub conns: Vec<ConnId>,
    /// Number of routed frames that it received, and of bytes in them.
    pub heard: (usize, usize),
    quic: Quic,
    buf: TransmitBuf,
    dials: u64,
}

impl TransportHost {
    /// A transport without conns.
    pub fn new(number: u8, now: Instant) -> Self {
        let (addr, identity) = (addr(number), identity(number.into()));
        let seed = Seed::from_u64(number.into());
        let quic = Quic::new(transport_config(), &identity, &seed, now);
        let buf = TransmitBuf { bytes: Vec::with_capacity(1 << 16), segments_max: SEGMENTS_MAX };
        Self { addr, id: identity.id(), conns: Vec::new(), heard: (0, 0), quic, buf, dials: 0 }
    }

    /// Dials.
    pub fn dial(&mut self, now: Instant, expected: NodeId, remote: SocketAddr) {
        self.dials += 1;
        let (dial, deadline) = (DialId(self.dials), now + Duration::from_secs(10));
        let command = transport::Command::Dial { dial, expected, remote, deadline };
        self.quic.handle_command(now, command);
    }

    /// Sends a frame on its first conn.
    pub fn say(&mut self, frame: Frame) {
        let sent = self.quic.try_send(self.conns[0], Class::Transit, frame);
        assert!(sent.is_ok(), "{sent:?}");
    }

    fn on_event(&mut self, event: transport::Event) {
        match event {
            transport::Event::ConnUp { conn, .. } => self.conns.push(conn),
            transport::Event::Frame { conn, frame } => match FrameHeader::of(&frame) {
                Ok((header, _)) if header.frame_type() == Some(FrameType::Ping) => {
                    let pong = Pong { observed: self.addr.into() };
                    let _ = self.quic.try_send(conn, Class::Control, pong.to_frame());
                }
                Ok((header, _)) if header.frame_type() == Some(FrameType::Route) => {
                    self.heard.0 += 1;
                    self.heard.1 += frame.len();
                }
                _ => {}
            },
            transport::Event::Writable(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

impl Host for TransportHost {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        self.quic.handle_datagram(now, datagram.from, None, None, datagram.data);
    }

    fn drain(&mut self, _: Instant, out: &mut Outbox) {
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

    fn expire(&mut self, now: Instant) {
        self.quic.handle_timeout(now);
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.quic.next_deadline()?.at)
    }
}
