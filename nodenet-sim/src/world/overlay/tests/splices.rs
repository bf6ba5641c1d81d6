//! Relayed conns of the overlay world: two hosts behind NATs that know only a volunteer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use nodenet_proto::transport::{
    Class, Command, ConnDownReason, ConnId, DialError, SpliceId, SpliceOverReason, SpliceSide,
};
use nodenet_proto::wire::nat::PUNCH_DATAGRAM;

use super::scripted::{Heard, Lab};
use crate::net::Nat;
use crate::world::overlay::WorldConfig;
use crate::world::{Host, World as _};

const SECOND: Duration = Duration::from_secs(1);

/// A volunteer with an open splice between two hosts behind NATs.
struct Relay {
    lab: Lab,
    volunteer: Host,
    ends: [Host; 2],
    locals: [SocketAddr; 2],
}

impl Relay {
    fn new() -> Self {
        Self::for_end(|_| None)
    }

    /// A splice that prefers this host on its first side.
    fn for_end(prefers: impl Fn(IpAddr) -> Option<IpAddr>) -> Self {
        let mut lab = Lab::new(WorldConfig::default());
        let volunteer = lab.host(Nat::Public);
        let ends = [lab.host(Nat::Easy), lab.host(Nat::Easy)];
        let local_ip = lab.world.addr(volunteer).ip();
        let first = prefers(lab.world.addr(ends[0]).ip());
        let sides = [first, None].map(|prefers| SpliceSide { local_ip, prefers });
        let open = Command::OpenSplice { splice: SpliceId(7), sides, group: 0 };
        lab.execute(volunteer, open);
        lab.pass(Duration::ZERO);
        let [Heard::Opened(locals)] = lab.heard(volunteer)[..] else { panic!("the splice opens") };
        assert!(locals.iter().all(|local| local.ip() == local_ip) && locals[0] != locals[1]);
        Self { lab, volunteer, ends, locals }
    }

    fn punch(&mut self, host: Host, remote: SocketAddr) {
        let bytes = Bytes::from_static(&PUNCH_DATAGRAM);
        self.lab.execute(host, Command::Punch { remote, bytes, ttl: None });
    }

    /// Dials the second end through the splice.
    fn dial(&mut self) -> u64 {
        let (expected, remote) = (self.lab.world.id(self.ends[1]), self.locals[0]);
        self.lab.dial_addr(self.ends[0], expected, remote, SECOND * 60)
    }

    /// A conn through the splice, by both names.
    fn conn(&mut self) -> [ConnId; 2] {
        self.punch(self.ends[1], self.locals[1]);
        self.lab.pass(SECOND / 2);
        self.dial();
        self.lab.pass(SECOND * 3);
        let seen_at = self.locals;
        let named = [0, 1].map(|end| {
            let [Heard::Up { conn, remote, .. }] = self.lab.heard(self.ends[end])[..] else {
                panic!("end {end} has a conn")
            };
            assert_eq!(remote, seen_at[end], "each end sees the volunteer");
            conn
        });
        for (end, conn) in named.into_iter().enumerate() {
            assert_eq!(self.lab.send(self.ends[end], conn, Class::Control, vec![1, 2, 0]), None);
        }
        self.lab.pass(SECOND);
        for (end, conn) in named.into_iter().enumerate() {
            let frame = Heard::Frame(conn, Bytes::from_static(&[1, 2, 0]));
            assert_eq!(self.lab.heard(self.ends[end]), [frame]);
        }
        named
    }
}

#[test]
fn a_conn_through_a_volunteer_takes_both_legs_and_carries_frames_both_ways() {
    let mut relay = Relay::new();
    let [conn, _] = relay.conn();
    let [one, other] = relay.ends;
    let relayed = relay.lab.path(one, conn).unwrap().rtt;
    let legs = [one, other].map(|end| {
        let (dialed, _) = relay.lab.connect(end, relay.volunteer);
        relay.lab.path(end, dialed).unwrap().rtt
    });
    assert_eq!(relayed, legs[0] + legs[1]);
}

/// The first flight waits at no side: it is repeated until the other end is there.
#[test]
fn a_dial_goes_on_once_the_other_end_is_pinned() {
    let mut relay = Relay::new();
    relay.dial();
    relay.lab.pass(SECOND / 2);
    relay.punch(relay.ends[1], relay.locals[1]);
    relay.lab.pass(SECOND / 4);
    assert_eq!(relay.lab.heard(relay.ends[1]), []);
    relay.lab.pass(SECOND * 2);
    let heard = relay.lab.heard(relay.ends[1]);
    assert!(matches!(heard[..], [Heard::Up { outgoing: None, .. }]), "{heard:?}");
}

#[test]
fn a_dial_fails_without_another_end_and_to_a_splice_that_is_over() {
    let mut relay = Relay::new();
    let dial = relay.dial();
    relay.lab.pass(SECOND * 12);
    assert_eq!(relay.lab.heard(relay.ends[0]), [Heard::Failed(dial, DialError::NoRoute)]);
    let over = [Heard::Over(SpliceOverReason::Idle)];
    assert_eq!(relay.lab.heard(relay.volunteer), over, "it was never used");
    relay.punch(relay.ends[1], relay.locals[1]);
    let dial = relay.dial();
    relay.lab.pass(SECOND * 12);
    assert_eq!(relay.lab.heard(relay.ends[0]), [Heard::Failed(dial, DialError::NoRoute)]);
}

#[test]
fn an_expected_host_takes_its_side_from_another_that_was_first() {
    let mut relay = Relay::for_end(Some);
    let other = relay.lab.host(Nat::Public);
    relay.punch(other, relay.locals[0]);
    relay.lab.pass(SECOND);
    relay.conn();
}

/// A volunteer that is gone tells nothing: its conns carry nothing more, and end by their time-out.
#[test]
fn a_conn_ends_silently_with_its_volunteer() {
    for closes in [false, true] {
        let mut relay = Relay::new();
        let conns = relay.conn();
        if closes {
            relay.lab.execute(relay.volunteer, Command::CloseSplice(SpliceId(7)));
            relay.lab.pass(SECOND);
            let over = [Heard::Over(SpliceOverReason::ClosedHere)];
            assert_eq!(relay.lab.heard(relay.volunteer), over);
        } else {
            relay.lab.world.crash(relay.volunteer);
        }
        relay.lab.send(relay.ends[0], conns[0], Class::Control, vec![1, 2, 1]);
        relay.lab.pass(SECOND * 60);
        assert_eq!(relay.lab.heard(relay.ends[1]), [], "nothing gets through");
        relay.lab.pass(SECOND * 300);
        for (end, conn) in conns.into_iter().enumerate() {
            let down = [Heard::Down(conn, ConnDownReason::TimedOut)];
            assert_eq!(relay.lab.heard(relay.ends[end]), down);
        }
    }
}

#[test]
fn a_splice_that_passes_nothing_on_for_half_a_minute_is_over() {
    let mut relay = Relay::new();
    let [conn, _] = relay.conn();
    for _ in 0..3 {
        relay.lab.pass(SECOND * 25);
        relay.lab.send(relay.ends[0], conn, Class::Control, vec![1, 2, 2]);
    }
    assert_eq!(relay.lab.heard(relay.volunteer), []);
    relay.lab.pass(SECOND * 31);
    let over = [Heard::Over(SpliceOverReason::Idle)];
    assert_eq!(relay.lab.heard(relay.volunteer), over);
}

/// The conn of a volunteer opens no way past the two NATs.
#[test]
fn a_relayed_conn_lets_no_direct_dial_in() {
    let mut relay = Relay::new();
    relay.conn();
    let [one, other] = relay.ends;
    let dial = relay.lab.dial(one, other, other);
    relay.lab.pass(SECOND * 12);
    assert_eq!(relay.lab.heard(one), [Heard::Failed(dial, DialError::NoRoute)]);
}
