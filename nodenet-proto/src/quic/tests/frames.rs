//! Delivery of frames: both ways, whole and in order.

use std::time::Duration;

use bytes::Bytes;

use super::peer::{Pair, Peer};
use crate::testkit::Net;
use crate::transport::{Conns, DialId, Direction, FRAME_MAX};

#[test]
fn a_dial_comes_up_at_both_ends_and_frames_go_both_ways() {
    let mut net = Net::new(1);
    let (mut a, mut b) = (Peer::new(1, &net), Peer::new(2, &net));

    let dial = a.dial(&net, b.id, b.addr);
    net.run(&mut [&mut a, &mut b], Duration::from_secs(1));

    let (at_a, peer, direction, remote) = a.take_up();
    assert_eq!((dial, peer, remote), (DialId(1), b.id, b.addr));
    assert_eq!(direction, Direction::Outgoing(dial));
    let (at_b, peer, direction, remote) = b.take_up();
    assert_eq!((peer, direction, remote), (a.id, Direction::Inbound, a.addr));

    a.send(at_a, b"there");
    net.run(&mut [&mut a, &mut b], Duration::from_secs(1));
    assert_eq!(b.take_frames(), [(at_b, Bytes::from("there"))]);
    b.send(at_b, b"and back");
    net.run(&mut [&mut a, &mut b], Duration::from_secs(1));
    assert_eq!(a.take_frames(), [(at_a, Bytes::from("and back"))]);

    let path = a.quic.path(at_a).expect("the conn is up");
    assert_eq!(path.remote, b.addr);
    assert!(path.rtt >= Duration::from_millis(20) && path.rtt < Duration::from_millis(60));
    assert!(a.events.is_empty() && b.events.is_empty());
}

#[test]
fn frames_of_every_length_arrive_in_order_despite_loss() {
    let mut net = Net::new(2);
    net.set_loss_percent(10);
    let mut pair = Pair::on(net);
    let lengths = [0, 1, 127, 128, 300, 1200, 16_383, 16_384, 65_535, FRAME_MAX];
    let frames: Vec<Vec<u8>> = lengths.iter().map(|len| vec![*len as u8; *len]).collect();

    for frame in &frames {
        pair.a.send(pair.at_a, frame);
        pair.b.send(pair.at_b, frame);
        pair.run_ms(200);
    }
    pair.run_ms(5000);

    let there: Vec<_> = pair.b.take_frames().into_iter().map(|(_, frame)| frame).collect();
    let back: Vec<_> = pair.a.take_frames().into_iter().map(|(_, frame)| frame).collect();
    assert_eq!(there, frames);
    assert_eq!(back, frames);
}
