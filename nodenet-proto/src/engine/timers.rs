//! Timers of the engine: one queue for all machines, and the machine that each is for.

use std::time::{Duration, Instant};

use super::Engine;
use crate::overlay;
use crate::transport::Conns;

/// Timers that fire in one call; the rest are due at once and fire in the next (a guess: enough
/// that one call is seldom too short, few enough that it is never long).
const EXPIRIES_PER_CALL: usize = 64;
/// How long [`crate::api::Command::Leave`] waits for the conns to drain, which takes them a second
/// at most (PROTOCOL.md#shutdown).
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_millis(1500);

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Timer {
    /// The overlay asked for it.
    Overlay(overlay::Timer),
    /// The next candidate of an attempt is to be dialed.
    Connect,
    /// A question is to be asked again, or its time is over.
    Rendezvous,
    /// An edge in doubt has its next step.
    Renewal,
    /// A volley or a step of the reachability test is due.
    Nat,
    /// The time of a volunteer is over, or a new month may have begun.
    Relay,
    /// Conns that have not drained by now are given up.
    Leave,
    /// An edge that had no budget for a message has some again.
    SendReady,
}

impl Timer {
    /// The name in traces.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Overlay(timer) => timer.name(),
            Self::Connect => "connect",
            Self::Rendezvous => "rendezvous",
            Self::Renewal => "renewal",
            Self::Nat => "nat",
            Self::Relay => "relay",
            Self::Leave => "leave",
            Self::SendReady => "send_ready",
        }
    }
}

impl Engine {
    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant, conns: &mut dyn Conns) {
        self.env.advance(now);
        if self.is_suspended {
            return;
        }
        for _ in 0..EXPIRIES_PER_CALL {
            let Some(timer) = self.timers.pop_due(self.env.now()) else { return };
            match timer {
                Timer::Overlay(timer) => {
                    self.run_overlay(conns, |overlay, cx, connect| {
                        overlay.handle_timer(cx, timer, connect);
                    });
                }
                Timer::Connect => self.run_connect(conns, |connect, cx| connect.handle_timer(cx)),
                Timer::Rendezvous => {
                    self.run_rendezvous(conns, |rendezvous, cx| rendezvous.handle_timer(cx));
                }
                Timer::Renewal => self.handle_renewals(conns),
                Timer::Nat => self.run_nat(conns, |nat, cx| nat.handle_timer(cx)),
                Timer::Relay => self.run_relay(conns, |relay, cx, neighbours| {
                    relay.handle_timer(cx, neighbours);
                }),
                Timer::Leave => self.settle_leave(),
                Timer::SendReady => self.report_send_ready(),
            }
        }
    }
}
