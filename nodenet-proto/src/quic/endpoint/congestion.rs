//! Congestion control: Cubic (RFC 8312) whose full window does not hold back acknowledgements
//! (PROTOCOL.md#congestion-window).
//!
//! A packet with nothing but an acknowledgement is not subject to the window (RFC 9002 §7). QUIC
//! here builds no such packet while data waits for room in the window. After an outage both ends of
//! a busy conn then wait for each other's acknowledgements, until probes get through that have
//! backed off. (Measured: 60 ms of round-trip time, 1 KiB every 50 ms in both directions, 2 s of
//! outage: messages arrive again after 3.9 s, with this allowance after 1.2 s. Of bulk in both
//! directions at 2 % loss 40 % more gets through.)

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{
    Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig,
};

/// Room for one packet beyond a full window, for the conn whose packets are built next. All conns
/// of a transport share it, because their packets are built one after another.
#[derive(Debug, Clone, Default)]
pub(crate) struct AckAllowance(Arc<AtomicBool>);

impl AckAllowance {
    /// The next packet may leave although the window is full.
    pub(crate) fn grant(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// No packet may leave while the window is full.
    pub(crate) fn revoke(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether it was granted, which it then is no more.
    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// When the packets left that the peer of one conn acknowledges, for the conn whose datagram is
/// taken next. All conns of a transport share it, because datagrams are taken one after another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged {
    is_asked: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Instant>>>,
}

impl Acknowledged {
    /// Acknowledgements count from now on.
    pub(crate) fn begin(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }

    /// They count no more. Returns when the packets left.
    pub(crate) fn end(&self) -> Vec<Instant> {
        self.is_asked.store(false, Ordering::Relaxed);
        core::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, sent: Instant) {
        if self.is_asked.load(Ordering::Relaxed) {
            self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        }
    }
}

/// What a transport and the controllers of its conns share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hooks {
    /// Room beyond a full window.
    pub(crate) allowance: AckAllowance,
    /// What is acknowledged.
    pub(crate) acknowledged: Acknowledged,
}

/// Makes the congestion controllers of one transport.
pub(crate) struct CubicFactory {
    config: Arc<CubicConfig>,
    hooks: Hooks,
}

impl CubicFactory {
    /// A factory of controllers that heed and serve `hooks`.
    pub(crate) fn new(hooks: Hooks) -> Self {
        Self { config: Arc::default(), hooks }
    }
}

impl ControllerFactory for CubicFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Cubic::new(self.config.clone(), now, current_mtu);
        Box::new(HookedCubic { cubic, hooks: self.hooks.clone() })
    }
}

/// Cubic, with an allowance beside its window and a note of what is acknowledged.
#[derive(Clone)]
struct HookedCubic {
    cubic: Cubic,
    hooks: Hooks,
}

impl Controller for HookedCubic {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.hooks.acknowledged.note(sent);
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    /// QUIC compares with the window first and then paces by it. The allowance is used up by the
    /// comparison, so that pacing stays as it is.
    fn window(&self) -> u64 {
        if self.hooks.allowance.take() { u64::MAX } else { self.cubic.window() }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
