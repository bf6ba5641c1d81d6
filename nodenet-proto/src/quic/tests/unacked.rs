//! Bound on the frames of a conn that the peer has not acknowledged.

use std::time::Duration;

use super::peer::Pair;
use crate::transport::{Class, ConnDownReason, Event, SendError};

const SECOND: Duration = Duration::from_secs(1);

/// Offers frames of `class` until one is refused. Returns how many were taken.
fn fill(pair: &mut Pair, class: Class, frame: &[u8]) -> usize {
    for taken in 0..100 {
        match pair.a.try_send(pair.at_a, class, frame) {
            Ok(()) => {}
            Err(SendError::Full(_)) => return taken,
            Err(SendError::Gone(_)) => panic!("the conn is up"),
        }
    }
    100
}

fn writables(pair: &mut Pair) -> usize {
    let before = pair.a.events.len();
    let at_a = pair.at_a;
    pair.a.events.retain(|event| !matches!(event, Event::Writable(conn) if *conn == at_a));
    before - pair.a.events.len()
}

#[test]
fn a_conn_holds_32_frames_until_the_peer_acknowledges_them() {
    for frame in [&b""[..], b"short", &[7; 65], &[7; 2_000]] {
        let mut pair = Pair::new(50);
        assert_eq!(fill(&mut pair, Class::Own, frame), 32);
        pair.run_ms(15);
        assert_eq!(fill(&mut pair, Class::Own, frame), 0, "on their way");
        assert_eq!(writables(&mut pair), 0);
        pair.run_ms(100);
        assert_eq!(pair.b.take_frames().len(), 32);
        assert_eq!(writables(&mut pair), 1, "reported once");
        assert_eq!(fill(&mut pair, Class::Own, frame), 32, "{} bytes", frame.len());
    }
}

#[test]
fn frames_that_were_lost_count_until_they_arrive() {
    let mut pair = Pair::new(51);
    pair.net.set_loss_percent(100);
    assert_eq!(fill(&mut pair, Class::Own, b"lost"), 32);
    pair.run_ms(2_000);
    assert_eq!(fill(&mut pair, Class::Own, b"more"), 0);
    pair.net.set_loss_percent(0);
    pair.run_ms(2_500);
    assert_eq!(pair.b.take_frames().len(), 32);
    assert_eq!(fill(&mut pair, Class::Own, b"more"), 32);
}

#[test]
fn what_waits_for_quic_counts_as_well() {
    let mut pair = Pair::new(52);
    pair.net.set_loss_percent(100);
    let long = [7; 20_000];
    // QUIC takes the first of them and a part; the rest waits in the conn's queue.
    assert!((2..32).contains(&fill(&mut pair, Class::Own, &long)));
    let queued = pair.a.quic.stats().gauges.queued_bytes;
    assert!(queued > 0);
    pair.a.quic.check();
}

#[test]
fn transit_leaves_a_quarter_to_own_frames_and_neither_bounds_control() {
    let mut pair = Pair::new(53);
    assert_eq!(fill(&mut pair, Class::Transit, b"transit"), 24);
    assert_eq!(fill(&mut pair, Class::Own, b"own"), 8);
    assert_eq!(fill(&mut pair, Class::Control, b"control"), 100);
    assert!(pair.a.try_send(pair.at_a, Class::Leave, b"leave").is_ok());
    pair.run_ms(100);
    assert_eq!(pair.b.take_frames().len(), 24 + 8 + 100 + 1);
}

#[test]
fn a_peer_that_acknowledges_nothing_is_detected_after_five_seconds() {
    let mut pair = Pair::new(54);
    pair.net.set_loss_percent(100);
    assert_eq!(fill(&mut pair, Class::Own, b"x"), 32);
    pair.run_ms(4_900);
    assert_eq!(pair.a.take_down(), None);
    pair.run_ms(200);
    assert_eq!(pair.a.take_down(), Some((pair.at_a, ConnDownReason::Stalled)));
}

#[test]
fn a_path_that_is_silent_for_four_seconds_costs_neither_the_conn_nor_a_frame() {
    let mut pair = Pair::new(55);
    pair.net.stalled_until = Some(pair.net.now + 4 * SECOND);
    assert_eq!(fill(&mut pair, Class::Own, b"x"), 32);
    pair.run_ms(4_100);
    assert_eq!(pair.b.take_frames().len(), 32);
    assert_eq!(fill(&mut pair, Class::Own, b"x"), 32);
    pair.run_ms(6_000);
    assert_eq!((pair.a.take_down(), pair.b.take_frames().len()), (None, 32));
}
