//! Path of a dialed conn whose peer changed its address.
//!
//! QUIC lets only the end that dialed migrate (RFC 9000 §9), and quinn-proto drops what a dialer
//! receives from another address. A dialed conn therefore has one constant address for quinn-proto,
//! the one that was dialed. This module translates between it and the address that the peer really
//! has.
//!
//! An authentic packet from another address begins a *trial* of that address. Packets go there as
//! far as three times the bytes that came from there allow (RFC 9000 §8), and all others to the
//! address of before. The conn moves when the peer acknowledges a packet that went to the new
//! address alone. An attacker that only copies packets of the peer cannot bring that about, for the
//! peer never gets what is sent to the attacker's address. A trial that ends without such an
//! acknowledgement changes nothing.
//!
//! The peer itself can acknowledge what it did not get. On a host other than the one that was
//! dialed it therefore gets no more than three times the bytes that come from there, and what is
//! beyond that goes to the address that was dialed. Only a handshake with the same peer, at that
//! address, ends this (docs/decisions/0021).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use quinn_proto::{Connection, ConnectionEvent};

use super::Conn;
use super::phase::Phase;
use super::timers::ConnTimer;
use crate::quic::endpoint::{Endpoint, profile};
use crate::quic::turns::Touched;
use crate::stats::DropReason;
use crate::transport::Event;

/// Bytes that may go to an address under trial for each byte from there (RFC 9000 §8).
const AMPLIFICATION: u64 = 3;
/// Shortest trial (guess: three probe timeouts of a path of 100 ms).
const TRIAL_MIN: Duration = Duration::from_secs(1);
/// A trial lasts for this many round-trip times, if that is more (guess: three probe timeouts of a
/// steady path; RFC 9000 §8.2.4).
const TRIAL_ROUND_TRIPS: u32 = 6;
/// Packets that prove the address by their acknowledgement, at most; the latest count.
const PROBES_MAX: usize = 4;

/// Where the peer of a dialed conn really is.
#[derive(Debug)]
pub(super) struct Path {
    remote: SocketAddr,
    /// What may go there, unless a handshake proved the host.
    limit: Option<Limit>,
    trial: Option<Trial>,
}

/// Bytes from and to an address.
#[derive(Debug, Clone, Copy, Default)]
struct Limit {
    received: u64,
    sent: u64,
}

impl Limit {
    /// Whether a packet of this length may go there, which it then does.
    fn takes(&mut self, len: u64) -> bool {
        let takes = self.sent + len <= self.received.saturating_mul(AMPLIFICATION);
        self.sent += if takes { len } else { 0 };
        takes
    }
}

/// An address of the peer that is not proved.
#[derive(Debug)]
struct Trial {
    remote: SocketAddr,
    until: Instant,
    limit: Limit,
    /// When a packet left for this address and none for the other one, latest last.
    probes: heapless::Vec<Instant, PROBES_MAX>,
    /// When a packet last left for the other address.
    elsewhere: Option<Instant>,
    /// A second probe is due. A peer acknowledges the second packet at once, and a single one only
    /// after up to 25 ms (RFC 9000 §13.2.2).
    must_repeat: bool,
}

impl Trial {
    fn new(remote: SocketAddr, until: Instant) -> Self {
        let probes = heapless::Vec::new();
        let limit = Limit::default();
        Self { remote, until, limit, probes, elsewhere: None, must_repeat: false }
    }

    /// Whether a packet of this length leaves for this address.
    fn takes(&mut self, now: Instant, len: u64) -> bool {
        if !self.limit.takes(len) {
            self.elsewhere = Some(now);
            self.probes.retain(|at| *at != now);
            return false;
        }
        if self.elsewhere != Some(now) && self.probes.last() != Some(&now) {
            self.must_repeat = self.probes.is_empty();
            if self.probes.is_full() {
                self.probes.remove(0);
            }
            let pushed = self.probes.push(now);
            debug_assert!(pushed.is_ok(), "there is room for one");
        }
        true
    }
}

impl Path {
    /// The path as it was dialed.
    fn new(remote: SocketAddr) -> Self {
        Self { remote, limit: None, trial: None }
    }

    /// The address for a packet of this length to the peer that was dialed at `dialed`.
    fn route(&mut self, now: Instant, len: usize, dialed: SocketAddr) -> SocketAddr {
        if let Some(trial) = &mut self.trial
            && now < trial.until
            && trial.takes(now, len as u64)
        {
            return trial.remote;
        }
        let takes = self.limit.as_mut().is_none_or(|limit| limit.takes(len as u64));
        if takes { self.remote } else { dialed }
    }

    /// Bytes arrived from `remote`, in an authentic packet. Returns whether a trial begins.
    fn observe(&mut self, remote: SocketAddr, len: usize, now: Instant, span: Duration) -> bool {
        if remote == self.remote {
            if let Some(limit) = &mut self.limit {
                limit.received += len as u64;
            }
            return false;
        }
        // A trial of another address goes on: a peer with two addresses cannot end it again and
        // again.
        let begins = self.trial.as_ref().is_none_or(|trial| now >= trial.until);
        if begins {
            self.trial = Some(Trial::new(remote, now + span));
        }
        if let Some(trial) = &mut self.trial
            && trial.remote == remote
        {
            trial.limit.received += len as u64;
        }
        begins
    }

    /// The peer acknowledged packets sent at these times. Returns the address to which it moves.
    /// That is limited unless it is on the host that was dialed, which a handshake proved.
    fn prove(&mut self, acknowledged: &[Instant], dialed: SocketAddr) -> Option<SocketAddr> {
        let trial = self.trial.as_ref()?;
        if !trial.probes.iter().any(|at| acknowledged.contains(at)) {
            return None;
        }
        self.remote = trial.remote;
        self.limit = (trial.remote.ip() != dialed.ip()).then_some(trial.limit);
        self.trial = None;
        Some(self.remote)
    }

    /// Whether all that is sent goes to an address that was proved.
    fn is_settled(&self) -> bool {
        self.trial.is_none() && self.limit.is_none()
    }
}

impl Conn {
    /// Where the peer is.
    pub(super) fn remote(&self) -> SocketAddr {
        self.path.as_ref().map_or_else(|| self.quic.remote_address(), |path| path.remote)
    }

    /// Whether QUIC takes a datagram from there only in the name of the address that was dialed.
    #[inline]
    pub(in crate::quic) fn must_translate(&self, from: SocketAddr) -> bool {
        self.quic.side().is_client()
            && (self.phase == Phase::Up || self.path.is_some())
            && self.quic.remote_address() != from
    }

    /// QUIC has taken input and may use another path, which it does not report. It is one from
    /// which a packet came, or the one before if that was not validated (RFC 9000 §9).
    #[inline]
    pub(super) fn observe_path(
        &mut self,
        now: Instant,
        before: SocketAddr,
        endpoint: &mut Endpoint,
    ) {
        let remote = self.quic.remote_address();
        if remote != before && self.phase == Phase::Up {
            self.keep_alive(now);
            endpoint.events.push_back(Event::PathChanged { conn: self.id, remote });
        }
    }

    /// Gives QUIC a datagram of this length that came from there.
    #[inline]
    pub(in crate::quic) fn take(
        &mut self,
        now: Instant,
        from: SocketAddr,
        len: usize,
        event: ConnectionEvent,
        endpoint: &mut Endpoint,
    ) -> Touched {
        let is_settled =
            from == self.remote() && self.path.as_ref().is_none_or(|path| path.is_settled());
        if is_settled || !self.quic.side().is_client() || self.phase != Phase::Up {
            let before = self.quic.remote_address();
            self.quic.handle_event(event);
            self.observe_path(now, before, endpoint);
        } else {
            self.take_unsettled(now, from, len, event, endpoint);
        }
        self.on_datagram(now, endpoint)
    }

    /// The same while the peer may be elsewhere than before.
    fn take_unsettled(
        &mut self,
        now: Instant,
        from: SocketAddr,
        len: usize,
        event: ConnectionEvent,
        endpoint: &mut Endpoint,
    ) {
        let before = frames_received(&self.quic);
        endpoint.acknowledged.begin();
        self.quic.handle_event(event);
        let acknowledged = endpoint.acknowledged.end();
        // Neither what does not decrypt nor what arrived before has frames.
        if frames_received(&self.quic) == before {
            return endpoint.stats.count_drop(DropReason::Stray);
        }
        let known = self.quic.remote_address();
        let path = self.path.get_or_insert_with(|| Box::new(Path::new(known)));
        let span = (self.quic.rtt() * TRIAL_ROUND_TRIPS).max(TRIAL_MIN);
        if path.observe(from, len, now, span) {
            self.quic.ping();
        }
        let before = path.remote;
        if let Some(remote) = path.prove(&acknowledged, known) {
            self.move_to(now, before, remote, endpoint);
        }
    }

    /// The peer is at `remote` from now on. What QUIC measured on the path of before holds for
    /// another port of the same IPv4 host alone (RFC 9000 §9.4).
    fn move_to(
        &mut self,
        now: Instant,
        before: SocketAddr,
        remote: SocketAddr,
        endpoint: &mut Endpoint,
    ) {
        if before.ip() != remote.ip() || remote.is_ipv6() {
            self.quic.path_changed(now);
        }
        // What was lost on the path of before is known to be lost with the answer.
        self.quic.ping();
        if self.phase == Phase::Up {
            self.keep_alive(now);
            endpoint.events.push_back(Event::PathChanged { conn: self.id, remote });
        }
    }

    /// Datagrams of one batch. Each has a destination of its own during a trial, and while what may
    /// go to the peer is limited.
    pub(super) fn batch(&self, now: Instant, segments: usize) -> usize {
        let is_several = |path: &Path| {
            path.limit.is_some() || path.trial.as_ref().is_some_and(|trial| now < trial.until)
        };
        if self.path.as_deref().is_some_and(is_several) { 1 } else { segments }
    }

    /// Where the peer is, if what may go there is limited.
    pub(in crate::quic) fn limited_remote(&self) -> Option<SocketAddr> {
        let path = self.path.as_ref().filter(|path| path.limit.is_some())?;
        Some(path.remote)
    }

    /// A handshake with the same peer, where it is now, proved its address.
    pub(in crate::quic) fn confirm_path(&mut self) -> Touched {
        if let Some(path) = &mut self.path {
            path.limit = None;
        }
        Touched { transmit: true, ..Touched::default() }
    }

    /// Writes where a packet really goes, and from where.
    #[inline]
    pub(super) fn address(&mut self, now: Instant, transmit: &mut quinn_proto::Transmit) {
        if let Some(path) = &mut self.path {
            transmit.destination = path.route(now, transmit.size, self.quic.remote_address());
            if let Some(trial) = &mut path.trial
                && core::mem::take(&mut trial.must_repeat)
            {
                self.quic.ping();
            }
        }
        if self.has_lost_source {
            transmit.src_ip = None;
        }
    }

    /// The path is new: NAT boxes on it keep their mappings longer once a packet passes a little
    /// later.
    pub(super) fn keep_alive(&mut self, now: Instant) {
        self.timers.set(ConnTimer::KeepAlive, now + profile::KEEP_ALIVE);
    }

    /// The network of this machine changed, and `gone` are addresses that it has no more. The peer
    /// gets a packet at once, from the address of now. After the loss of an address the first one
    /// is a probe of the path's MTU. It is long and thus allows the peer to answer in full.
    pub(in crate::quic) fn on_network_change(
        &mut self,
        now: Instant,
        gone: &[IpAddr],
        endpoint: &mut Endpoint,
    ) -> Touched {
        self.has_lost_source |= self.quic.local_ip().is_some_and(|ip| gone.contains(&ip));
        if self.phase == Phase::Up {
            if !gone.is_empty() {
                self.quic.path_changed(now);
            }
            if self.quic.side().is_client() {
                self.keep_alive(now);
                self.quic.local_address_changed();
            } else {
                self.quic.ping();
            }
        }
        self.service(now, endpoint);
        self.take_touched()
    }
}

/// Frames that arrived in authentic packets, of all kinds that a packet has at least one of.
fn frames_received(quic: &Connection) -> u64 {
    let frames = quic.stats().frame_rx;
    let control = frames.ping + frames.path_challenge + frames.path_response;
    let credit = frames.max_data + frames.max_stream_data + frames.max_streams_bidi;
    let ids = frames.new_connection_id + frames.retire_connection_id;
    let blocked = frames.data_blocked + frames.stream_data_blocked;
    let ends = frames.reset_stream + frames.stop_sending;
    frames.acks + frames.stream + control + credit + ids + blocked + ends
}
