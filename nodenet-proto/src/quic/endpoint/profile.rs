//! Settings of QUIC and time-outs of conns, each with its source.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::congestion::{CubicFactory, Hooks};
use crate::transport::IDLE_TIMEOUT;

/// Code of every close, stop and reset (PROTOCOL.md#close-codes).
pub(crate) const CODE: VarInt = VarInt::from_u32(0);

/// No packet for this long ends a handshake (PROTOCOL.md#handshake-bounds).
pub(crate) const HANDSHAKE_SILENCE: Duration = Duration::from_secs(10);
/// A handshake may take this long in all (PROTOCOL.md#handshake-bounds).
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(20);
/// From the first byte of a frame to its last, received or sent (guess: 64 KiB at 20 kbit/s takes
/// 26 s; PROTOCOL.md#frame-time).
pub(crate) const FRAME: Duration = Duration::from_secs(30);
/// QUIC that takes not one byte of what waits for this long ends the conn. The number is the
/// reference's; for a whole frame of 64 KiB it would end every conn with less than 105 kbit/s
/// (PROTOCOL.md#stall).
pub(crate) const STALL: Duration = Duration::from_secs(5);

/// One packet passes over a new path after this long. A Linux router keeps a flow for 30 s, and for
/// 120 s from the first datagram on that passes more than 2 s after the first answered one
/// (SIMULATOR.md).
pub(crate) const KEEP_ALIVE: Duration = Duration::from_millis(2_750);

/// A conn that is over is forgotten after this long, even if QUIC is not done. QUIC would keep it
/// for three probe timeouts (RFC 9000 §10.2), and a peer can stretch these to minutes by late
/// acknowledgements. The conn would hold a place that others need for that time. (Guess: three
/// probe timeouts of a path of 0.3 s.) An old packet that arrives after that draws a stateless
/// reset.
pub(crate) const FORGET: Duration = Duration::from_secs(3);

/// A timer of QUIC that stays overdue is looked at again after this long (RFC 9002 §6.1.2).
pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

/// Bytes a peer may send ahead on one stream (PROTOCOL.md#receive-windows).
const STREAM_RECEIVE_WINDOW: u32 = 512 * 1024;
/// Bytes a peer may send ahead on all streams (PROTOCOL.md#receive-windows).
const RECEIVE_WINDOW: u32 = 768 * 1024;
/// Bytes that QUIC is handed before they are acknowledged, at most: four of the largest frames. A
/// peer that stopped reading is detected only when this is full (PROTOCOL.md#send-window).
const SEND_WINDOW_MAX: u64 = 256 * 1024;
/// The same at least (guess: a few of the largest packets more than the smallest congestion
/// window).
const SEND_WINDOW_MIN: u64 = 16 * 1024;
/// What QUIC holds beyond what the path takes at a time only delays a ping that comes after it,
/// which would then look unanswered. One window on its way and one to follow, and a little more,
/// because an acknowledgement comes late.
const CONGESTION_WINDOWS: u64 = 3;
/// UDP payload to begin with, the reference's and what media needs (PROTOCOL.md#path-mtu).
const INITIAL_MTU: u16 = 1280;
/// UDP payload that is never undercut (RFC 9000 §14).
const MIN_MTU: u16 = 1200;
/// UDP payload that path MTU discovery stops at (PROTOCOL.md#path-mtu).
pub(crate) const MTU_MAX: u16 = 1452;
/// Steps of path MTU discovery are no smaller than this: one byte more than half of what there is
/// to find. Half a step is then no step. QUIC therefore probes for all of it at once, which most
/// paths carry, and for half of it if that was lost. In steps of 20 bytes, the default of QUIC,
/// each end sent four probes on every new conn, one after the other: 5.7 kB (measured).
const MTU_STEP: u16 = (MTU_MAX - INITIAL_MTU) / 2 + 1;
/// Round-trip time to assume before one is measured: the first retransmission of a dial then comes
/// after 0.3 s instead of 1 s (guess; PROTOCOL.md#initial-rtt).
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Bidirectional streams a peer may have open on an accepted conn: one carries the edge. The other
/// is there so that a peer that opens it gets a refusal instead of waiting for credit.
const ACCEPTED_BIDI_STREAMS: u32 = 2;
/// Unidirectional streams a peer may have open on an accepted conn. Limits are granted
/// before the ALPN is known (PROTOCOL.md#edge-stream); overlay conns refuse every one.
const ACCEPTED_UNI_STREAMS: u32 = 16;
/// Buffer for QUIC datagrams on accepted conns; overlay conns drain and drop them
/// (PROTOCOL.md#quic-datagrams).
const DATAGRAM_BUFFER: usize = 64 * 1024;

/// Bytes of datagrams that QUIC keeps for one handshake until it is decided about. A handshake is
/// decided about at once; the second datagram of a reference's ClientHello must fit all the same
/// (at least 4 KiB; PROTOCOL.md#undecided-handshakes).
pub(crate) const INCOMING_BUFFER: u64 = 8 * 1024;

/// Bytes that QUIC is handed before they are acknowledged, on a path that takes this many at a
/// time.
pub(crate) fn send_window(congestion_window: u64) -> u64 {
    congestion_window.saturating_mul(CONGESTION_WINDOWS).clamp(SEND_WINDOW_MIN, SEND_WINDOW_MAX)
}

/// Settings of dialed overlay conns.
pub(crate) fn dialed(mtu_discovery: bool, hooks: &Hooks) -> Arc<TransportConfig> {
    let mut transport = common(mtu_discovery, hooks);
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// Settings of accepted conns.
pub(crate) fn accepted(mtu_discovery: bool, hooks: &Hooks) -> Arc<TransportConfig> {
    let mut transport = common(mtu_discovery, hooks);
    transport.max_concurrent_bidi_streams(VarInt::from_u32(ACCEPTED_BIDI_STREAMS));
    transport.max_concurrent_uni_streams(VarInt::from_u32(ACCEPTED_UNI_STREAMS));
    transport.datagram_receive_buffer_size(Some(DATAGRAM_BUFFER));
    Arc::new(transport)
}

fn common(mtu_discovery: bool, hooks: &Hooks) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.congestion_controller_factory(Arc::new(CubicFactory::new(hooks.clone())));
    transport.max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(
        IDLE_TIMEOUT.as_millis() as u32
    ))));
    transport.keep_alive_interval(None);
    transport.stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW));
    transport.receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    transport.send_window(SEND_WINDOW_MAX);
    transport.initial_mtu(INITIAL_MTU);
    transport.min_mtu(MIN_MTU);
    transport.initial_rtt(INITIAL_RTT);
    transport.mtu_discovery_config(mtu_discovery.then(|| {
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(MTU_MAX);
        discovery.minimum_change(MTU_STEP);
        discovery
    }));
    transport
}
