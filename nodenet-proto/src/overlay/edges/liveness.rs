//! Liveness check of a conn: rare pings and a fast decision (PROTOCOL.md#answer-time).
//!
//! Responsible for: when to ping and when to give up. Never: sends or closes anything.
//!
//! Only frames that arrive prove that a peer is alive. They note the time and touch no timer,
//! except the Pong that a ping waits for. A conn has one timer, which calls [`judge`] when it fires
//! and is then set to the time at which the verdict could change. Of several conns of an edge only
//! the one that frames leave on is pinged. A surplus conn does no harm, and is judged once frames
//! leave on it.

use std::time::{Duration, Instant};

use super::Conn;
use super::keepalive::{ANSWER_WAIT, Silence};
use crate::env::{PERIOD_JITTER_PERCENT, Random};

/// A ping is due after this long even on a busy conn: its Pong has the address at which the peer
/// sees this node (PROTOCOL.md#ping-refresh).
const REFRESH: Duration = Duration::from_secs(300);
/// The same until the first Pong: an acceptor sends no ping when a conn comes up, and the pings of
/// its peer, which it answers, end every silence (a guess).
const FIRST_PING: Duration = Duration::from_secs(30);

/// A ping without an answer for this long puts its edge in doubt (a guess: two retransmissions of a
/// path of 100 ms).
const DOUBT: Duration = Duration::from_millis(500);
/// The same in round trips, where they are that long (a guess).
const DOUBT_ROUND_TRIPS: u32 = 3;
/// From one ping to the next while none is answered. A packet that is new leaves at once, and those
/// that QUIC repeats ever later: without it a ping that begins an outage of 4 s stays unanswered
/// for more than [`ANSWER_WAIT`].
const PING_AGAIN: Duration = Duration::from_secs(1);

/// How long a ping may be unanswered before its edge is in doubt, by the round-trip time in
/// milliseconds.
pub(crate) fn doubt_after(rtt_ms: u16) -> Duration {
    let round_trips = Duration::from_millis(rtt_ms.into()) * DOUBT_ROUND_TRIPS;
    round_trips.clamp(DOUBT, ANSWER_WAIT / 2)
}

/// What follows when the timer of a conn fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Judge again then.
    Wait(Instant),
    /// Send a ping now, and judge again when its answer is due.
    Ping,
    /// The peer may not answer any more. Ping once more, and judge again then.
    Doubt(Instant),
    /// The peer does not answer: close the conn.
    Dead,
}

/// The part of a conn in its edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How long it may be silent.
    pub(crate) silence: Silence,
    /// Whether frames of the edge leave on this conn.
    pub(crate) send_conn: bool,
    /// Whether the peer is a light node, which is not woken for the address at which it sees this
    /// node.
    pub(crate) light: bool,
    /// An edge is in doubt once its ping is unanswered for this long.
    pub(crate) doubt_after: Duration,
}

/// Judges a conn when its timer fired. `rng` jitters the next check.
pub(crate) fn judge(now: Instant, rng: &mut Random, conn: &Conn, standing: Standing) -> Verdict {
    if conn.unanswered {
        let due = conn.pinged + ANSWER_WAIT;
        return if due <= now {
            Verdict::Dead
        } else if conn.pinged + standing.doubt_after <= now {
            Verdict::Doubt(due.min(now + PING_AGAIN))
        } else {
            Verdict::Wait(conn.pinged + standing.doubt_after)
        };
    }
    let Silence { look_after, ping_after } = standing.silence;
    let next_look = rng.jitter(look_after, PERIOD_JITTER_PERCENT);
    if !standing.send_conn {
        return Verdict::Wait(now + next_look);
    }
    let earliest = |period: Duration| period / 100 * (100 - PERIOD_JITTER_PERCENT);
    let silent = now.saturating_duration_since(conn.heard);
    let unpinged = now.saturating_duration_since(conn.pinged);
    let refresh = if conn.is_told { REFRESH } else { FIRST_PING };
    let stale = !standing.light && unpinged >= earliest(refresh);
    if silent >= earliest(ping_after) || stale {
        return Verdict::Ping;
    }
    if standing.light || conn.is_told {
        return Verdict::Wait(conn.heard + next_look);
    }
    // It is not jittered: the peer chose the time.
    Verdict::Wait((conn.heard + next_look).min(conn.pinged + FIRST_PING))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Silence, Standing, Verdict, doubt_after, judge};
    use crate::env::{Seed, test_base};
    use crate::overlay::edges::{Conn, PathKind};
    use crate::transport::ConnId;

    const SHORT: Duration = Duration::from_secs(15);
    const BUSY: Standing = Standing {
        silence: Silence::of(SHORT),
        send_conn: true,
        light: false,
        doubt_after: Duration::from_secs(1),
    };

    fn at(seconds: u64) -> Instant {
        test_base() + Duration::from_secs(seconds)
    }

    fn conn(heard: u64, pinged: u64) -> Conn {
        Conn {
            id: ConnId(1),
            outgoing: true,
            heard: at(heard),
            pinged: at(pinged),
            unanswered: false,
            pongs_due: 0,
            is_told: true,
            path: PathKind::Direct,
            retiring: None,
        }
    }

    fn verdict(now: u64, conn: &Conn, standing: Standing) -> Verdict {
        judge(at(now), &mut Seed::from_u64(7).stream("test"), conn, standing)
    }

    fn wait(verdict: Verdict) -> Duration {
        match verdict {
            Verdict::Wait(until) => until.duration_since(test_base()),
            other => panic!("expected to wait, not {other:?}"),
        }
    }

    #[test]
    fn an_edge_is_pinged_when_it_was_silent_for_as_long_as_it_may_be() {
        let finger = Standing { silence: Silence::of(Duration::from_secs(25)), ..BUSY };
        assert_eq!(verdict(15, &conn(0, 0), BUSY), Verdict::Ping);
        assert!(matches!(verdict(15, &conn(0, 0), finger), Verdict::Wait(_)));
        assert_eq!(verdict(25, &conn(0, 0), finger), Verdict::Ping);
    }

    #[test]
    fn a_frame_meanwhile_puts_the_ping_off_by_a_jittered_period() {
        let until = wait(verdict(15, &conn(10, 0), BUSY));
        assert!(Duration::from_millis(23_500) <= until && until <= Duration::from_millis(26_500));
    }

    #[test]
    fn an_unanswered_ping_ends_a_conn_after_five_seconds() {
        let pinged = Conn { unanswered: true, ..conn(0, 15) };
        assert_eq!(verdict(15, &pinged, BUSY), Verdict::Wait(at(16)));
        assert_eq!(verdict(16, &pinged, BUSY), Verdict::Doubt(at(17)), "and is repeated");
        assert_eq!(verdict(19, &pinged, BUSY), Verdict::Doubt(at(20)));
        assert_eq!(verdict(20, &pinged, BUSY), Verdict::Dead);
    }

    #[test]
    fn a_busy_conn_is_pinged_too_now_and_then() {
        assert!(matches!(verdict(260, &conn(259, 0), BUSY), Verdict::Wait(_)));
        assert_eq!(verdict(290, &conn(289, 0), BUSY), Verdict::Ping);
        let asleep = Standing { light: true, ..BUSY };
        assert!(matches!(verdict(290, &conn(289, 0), asleep), Verdict::Wait(_)));
    }

    #[test]
    fn a_conn_that_brought_no_pong_yet_is_pinged_soon_whatever_arrives() {
        let finger = Standing { silence: Silence::of(Duration::from_secs(100)), ..BUSY };
        let accepted = Conn { is_told: false, ..conn(0, 0) };
        assert_eq!(wait(verdict(0, &accepted, finger)), Duration::from_secs(30));
        let busy = Conn { heard: at(29), ..accepted };
        assert_eq!(verdict(30, &busy, finger), Verdict::Ping);
        let asleep = Standing { light: true, ..finger };
        assert!(matches!(verdict(30, &busy, asleep), Verdict::Wait(_)));
        let told = Conn { is_told: true, ..busy };
        assert!(matches!(verdict(30, &told, finger), Verdict::Wait(_)));
    }

    #[test]
    fn an_edge_is_in_doubt_after_half_a_second_or_three_round_trips() {
        let doubt = |rtt_ms| doubt_after(rtt_ms).as_millis();
        assert_eq!([0, 20, 300, 60_000].map(doubt), [500, 500, 900, 2_500]);
    }

    #[test]
    fn a_surplus_conn_is_not_pinged() {
        let surplus = Standing { send_conn: false, ..BUSY };
        assert!(wait(verdict(1000, &conn(0, 0), surplus)) > Duration::from_secs(1000));
    }
}
