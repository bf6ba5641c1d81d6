//! Meters of hosts: bytes on the wire by kind of traffic, and wake-ups
//! (SIMULATOR.md#what-is-counted).

use std::time::Duration;

use nodenet_proto::buf::Frame;

use crate::clock::Moment;
use crate::world::Host;

/// Payload of a packet that carries frames.
const PACKET_PAYLOAD: usize = 1_200;
/// Bytes that QUIC, UDP and IPv4 add to it (measured on quinn-proto).
const PACKET_OVERHEAD: u64 = 60;
/// UDP and IPv4.
const UDP_OVERHEAD: u64 = 28;
/// A packet with only an acknowledgement (measured on quinn-proto).
const ACK_BYTES: u64 = 66;
/// A whole handshake, both directions: 3,693 B in 5 packets (measured on quinn-proto, with the
/// identity extension).
const HANDSHAKE_BYTES: u64 = 3_693 + 5 * UDP_OVERHEAD;
/// A first flight that is padded to 1,200 B (RFC 9000 §14.1).
const INITIAL_BYTES: u64 = 1_200 + UDP_OVERHEAD;
/// A successful probe of path MTU discovery and its acknowledgement. Each end probes its own path
/// (measured on quinn-proto with the settings of a node).
const MTU_PROBE_BYTES: u64 = 1_452 + UDP_OVERHEAD + 34 + UDP_OVERHEAD;
/// A packet with CONNECTION_CLOSE, or its answer (measured on quinn-proto: 37 to 41 B).
const CLOSE_BYTES: u64 = 39 + UDP_OVERHEAD;
/// A host is idle after this time without traffic and timers (guess).
const SLEEPS_AFTER: Duration = Duration::from_secs(5);

/// Kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// Setting up conns, path MTU discovery included, and closing them.
    Handshake,
    /// Keepalives.
    Ping,
    /// Their answers.
    Pong,
    /// Requests for a neighbour's contacts.
    Siblings,
    /// Routed requests for contacts.
    Lookup,
    /// Lists of contacts.
    Neighbors,
    /// Messages of applications, routed or over an edge.
    Application,
    /// Every other frame.
    Other,
    /// Packets with only an acknowledgement.
    Ack,
}

impl Traffic {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 9] = [
        Self::Handshake,
        Self::Ping,
        Self::Pong,
        Self::Siblings,
        Self::Lookup,
        Self::Neighbors,
        Self::Application,
        Self::Other,
        Self::Ack,
    ];

    /// A name for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Siblings => "siblings",
            Self::Lookup => "lookup",
            Self::Neighbors => "neighbors",
            Self::Application => "application",
            Self::Other => "other",
            Self::Ack => "ack",
        }
    }

    /// The kind of a frame, by its type byte (PROTOCOL.md#frame-types).
    pub fn of(frame: &Frame) -> Self {
        let mut head = [0; 2];
        frame.copy_to(0, &mut head);
        match head[1] {
            1 | 64 => Self::Application,
            2 => Self::Ping,
            3 => Self::Pong,
            4 => Self::Lookup,
            5 => Self::Neighbors,
            6 => Self::Siblings,
            _ => Self::Other,
        }
    }
}

/// Bytes on the wire of a frame of this length.
pub fn frame_bytes(len: usize) -> u64 {
    len as u64 + PACKET_OVERHEAD * packets(len)
}

/// Packets that a frame of this length takes.
pub(crate) fn packets(len: usize) -> u64 {
    len.div_ceil(PACKET_PAYLOAD).max(1) as u64
}

/// Costs of one host since the counters were cleared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    /// Bytes sent and received, by [`Traffic`].
    kinds: [u64; Traffic::ALL.len()],
    /// Number of wake-ups: a datagram in or out, or a timer, after 5 s of silence.
    pub wakeups: u32,
    active_until: Moment,
}

impl Meter {
    /// Bytes sent and received.
    pub fn bytes(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// Bytes sent and received, by kind.
    pub fn kinds(&self) -> impl Iterator<Item = (Traffic, u64)> + use<> {
        Traffic::ALL.into_iter().zip(self.kinds)
    }
}

/// Costs of every host of a world.
#[derive(Debug, Default)]
pub struct Meters {
    hosts: Vec<Meter>,
}

impl Meters {
    /// The meter of a host.
    pub fn host(&self, host: Host) -> &Meter {
        &self.hosts[host.index()]
    }

    /// Clears every counter. Idle hosts stay idle.
    pub fn clear(&mut self) {
        for meter in &mut self.hosts {
            (meter.kinds, meter.wakeups) = Default::default();
        }
    }

    pub(crate) fn add_host(&mut self, now: Moment) {
        self.hosts.push(Meter { active_until: now, ..Meter::default() });
    }

    /// Counts a datagram or datagrams, in or out.
    pub(crate) fn count(&mut self, host: Host, at: Moment, kind: Traffic, bytes: u64) {
        self.activity(host, at);
        self.hosts[host.index()].kinds[kind as usize] += bytes;
    }

    /// Counts a timer that fired.
    pub(crate) fn activity(&mut self, host: Host, at: Moment) {
        let meter = &mut self.hosts[host.index()];
        if at.since(meter.active_until) > SLEEPS_AFTER {
            meter.wakeups += 1;
        }
        meter.active_until = meter.active_until.max(at);
    }

    /// Notes that the host will exchange an acknowledgement by `at`. That is no wake-up, because it
    /// closely follows other traffic.
    pub(crate) fn busy_until(&mut self, host: Host, at: Moment) {
        let meter = &mut self.hosts[host.index()];
        meter.active_until = meter.active_until.max(at);
    }

    /// Counts an acknowledgement in a packet of its own from `from` to `to`.
    pub(crate) fn count_ack(&mut self, from: Host, to: Host) {
        for host in [from, to] {
            self.hosts[host.index()].kinds[Traffic::Ack as usize] += ACK_BYTES;
        }
    }

    /// Counts a first flight that a host sent, lost or not, or received.
    pub(crate) fn count_initial(&mut self, host: Host, at: Moment) {
        self.count(host, at, Traffic::Handshake, INITIAL_BYTES);
    }

    /// Counts the flights after the first one, whether the handshake succeeded or not.
    pub(crate) fn count_rest_of_handshake(&mut self, ends: [Host; 2], at: Moment) {
        for host in ends {
            self.count(host, at, Traffic::Handshake, HANDSHAKE_BYTES - INITIAL_BYTES);
        }
    }

    /// Counts the path MTU probes of both ends after the handshake.
    pub(crate) fn count_probes(&mut self, ends: [Host; 2], at: Moment) {
        for host in ends {
            self.count(host, at, Traffic::Handshake, 2 * MTU_PROBE_BYTES);
        }
    }

    /// A host sent a punch.
    pub(crate) fn count_punch(&mut self, host: Host, at: Moment, len: usize) {
        self.count(host, at, Traffic::Handshake, len as u64 + UDP_OVERHEAD);
    }

    /// A host sent a close, be it lost or not.
    pub(crate) fn count_close(&mut self, host: Host, at: Moment) {
        self.count(host, at, Traffic::Handshake, CLOSE_BYTES);
    }

    /// Counts a close that arrived, and its answer.
    pub(crate) fn count_answered_close(&mut self, closer: Host, host: Host, at: Moment) {
        self.count(closer, at, Traffic::Handshake, CLOSE_BYTES);
        self.count(host, at, Traffic::Handshake, 2 * CLOSE_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::{Meters, Traffic, frame_bytes};
    use crate::clock::Moment;
    use crate::world::Host;

    #[test]
    fn a_ping_exchange_costs_about_what_was_measured() {
        // Ping 3 B, pong with an IPv4 address about 25 B, one bare acknowledgement: 222 B measured.
        let exchange = frame_bytes(3) + frame_bytes(25) + super::ACK_BYTES;
        assert_eq!(exchange, 214);
        assert_eq!(frame_bytes(1_200), 1_260);
        assert_eq!(frame_bytes(1_201), 1_321);
    }

    #[test]
    fn only_activity_after_silence_is_a_wake_up() {
        let mut meters = Meters::default();
        meters.add_host(Moment::START);
        let host = Host(0);
        for secs in [1, 5, 10] {
            meters.count(host, Moment::from_secs(secs), Traffic::Ping, 10);
        }
        assert_eq!(meters.host(host).wakeups, 0);
        meters.activity(host, Moment::from_secs(16));
        meters.busy_until(host, Moment::from_secs(18));
        meters.activity(host, Moment::from_secs(23));
        assert_eq!(meters.host(host).wakeups, 1);
        assert_eq!(meters.host(host).bytes(), 30);
    }
}
