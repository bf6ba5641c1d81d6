//! Hostile peers with valid keys: broken framing, extra streams, silence.

use std::time::Duration;

use bytes::Bytes;
use quinn_proto::{Dir, TransportConfig, VarInt};

use super::peer::Peer;
use super::raw::Raw;
use crate::quic::edge::receive::write_prefix;
use crate::stats::DropReason;
use crate::testkit::Net;
use crate::transport::{CloseMode, ConnDownReason, ConnId};

const CODE: Option<VarInt> = Some(VarInt::from_u32(0));

/// A raw dialer with a conn to a peer.
struct Attack {
    net: Net,
    raw: Raw,
    peer: Peer,
    /// The conn's number at the raw dialer.
    conn: usize,
    /// The conn's id at the peer.
    at_peer: ConnId,
}

impl Attack {
    fn new() -> Self {
        let mut net = Net::new(4);
        let (mut raw, mut peer) = (Raw::new(1), Peer::new(2, &net));
        let conn = Raw::connect(&mut net, &mut raw, &mut peer);
        let (at_peer, id, ..) = peer.take_up();
        assert_eq!(id, raw.id);
        Self { net, raw, peer, conn, at_peer }
    }

    fn run(&mut self, span: Duration) {
        self.net.run(&mut [&mut self.raw, &mut self.peer], span);
    }

    fn run_secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    fn frames(&mut self) -> Vec<Bytes> {
        self.peer.take_frames().into_iter().map(|(_, frame)| frame).collect()
    }
}

#[test]
fn frames_that_were_complete_before_a_bad_prefix_are_delivered_and_the_conn_closed() {
    let bad: [&[u8]; 5] = [
        &[0x81, 0x80, 0x04],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        &[0x80; 11],
        &[0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
    ];
    for prefix in bad {
        let mut attack = Attack::new();
        let bytes = [b"\x02ok".as_slice(), prefix].concat();
        attack.raw.open(attack.conn, Dir::Bi, &bytes);
        attack.run_secs(1);
        assert_eq!(attack.frames(), ["ok"], "{prefix:02x?}");
        let down = (attack.at_peer, ConnDownReason::PeerMisbehaved);
        assert_eq!(attack.peer.take_down(), Some(down));
        assert_eq!(attack.peer.drops(DropReason::BadLengthPrefix), 1);
        assert_eq!(attack.raw.close_code(attack.conn), CODE);
    }
}

#[test]
fn frames_that_were_complete_before_the_end_of_the_stream_are_delivered() {
    for rest in ["", "\x07pa"] {
        let mut attack = Attack::new();
        let stream = attack.raw.open(attack.conn, Dir::Bi, format!("\x02ab\x00{rest}").as_bytes());
        attack.raw.conn(attack.conn).send_stream(stream).finish().expect("open");
        attack.run_secs(1);
        assert_eq!(attack.frames(), ["ab", ""]);
        let down = (attack.at_peer, ConnDownReason::ClosedByPeer);
        assert_eq!(attack.peer.take_down(), Some(down));
        assert_eq!(attack.raw.close_code(attack.conn), CODE);
    }
}

#[test]
fn a_reset_a_stop_and_a_close_end_the_conn() {
    let ends: [fn(&mut Attack); 3] = [
        |attack| {
            let stream = attack.raw.open(attack.conn, Dir::Bi, b"\x02ab");
            attack.run_secs(1);
            attack
                .raw
                .conn(attack.conn)
                .send_stream(stream)
                .reset(VarInt::from_u32(9))
                .expect("open");
        },
        |attack| {
            let stream = attack.raw.open(attack.conn, Dir::Bi, b"\x02ab");
            attack
                .raw
                .conn(attack.conn)
                .recv_stream(stream)
                .stop(VarInt::from_u32(9))
                .expect("open");
        },
        |attack| {
            attack.raw.open(attack.conn, Dir::Bi, b"\x02ab");
            attack.run_secs(1);
            attack.raw.close(attack.net.now, attack.conn, 77);
        },
    ];
    for end in ends {
        let mut attack = Attack::new();
        end(&mut attack);
        attack.run_secs(1);
        assert_eq!(attack.frames(), ["ab"]);
        let down = (attack.at_peer, ConnDownReason::ClosedByPeer);
        assert_eq!(attack.peer.take_down(), Some(down));
        assert!(attack.peer.events.is_empty());
    }
}

#[test]
fn other_streams_are_refused_and_the_conn_stays_up() {
    let mut attack = Attack::new();
    let edge = attack.raw.open(attack.conn, Dir::Bi, b"\x01a");
    let bidi = attack.raw.open(attack.conn, Dir::Bi, b"\x01b");
    let uni = attack.raw.open(attack.conn, Dir::Uni, b"\x01c");
    attack.run_secs(1);
    assert_eq!(attack.raw.stop_code(bidi), CODE);
    assert_eq!(attack.raw.stop_code(uni), CODE);
    assert_eq!(attack.raw.stop_code(edge), None);
    assert_eq!(attack.raw.conn(attack.conn).recv_stream(bidi).received_reset(), Ok(CODE));
    assert_eq!(attack.peer.drops(DropReason::ExtraStream), 2);
    assert_eq!(attack.frames(), ["a"]);

    attack.raw.write(attack.conn, edge, b"\x01d");
    attack.peer.send(attack.at_peer, b"e");
    attack.run_secs(1);
    assert_eq!(attack.frames(), ["d"]);
    assert_eq!(attack.raw.read(attack.conn, edge), b"\x01e");
}

#[test]
fn datagrams_on_an_overlay_conn_are_drained_and_dropped() {
    let mut attack = Attack::new();
    attack.raw.open(attack.conn, Dir::Bi, b"\x01a");
    for _ in 0..3 {
        let datagram = Bytes::from_static(b"media");
        attack
            .raw
            .conn(attack.conn)
            .datagrams()
            .send(datagram, false)
            .expect("the peer takes them");
    }
    attack.run_secs(1);
    assert_eq!(attack.frames(), ["a"]);
    assert_eq!(attack.peer.drops(DropReason::UnexpectedDatagram), 3);
    assert_eq!(attack.peer.take_down(), None);
}

#[test]
fn a_conn_that_shows_no_stream_is_closed_after_thirty_seconds() {
    let mut attack = Attack::new();
    attack.run_secs(28);
    assert_eq!(attack.peer.take_down(), None);
    attack.run_secs(3);
    assert_eq!(attack.peer.take_down(), Some((attack.at_peer, ConnDownReason::Silent)));
    assert_eq!(attack.peer.drops(DropReason::FirstFrameTimeout), 1);
    assert_eq!(attack.raw.close_code(attack.conn), CODE);
    assert_eq!(attack.peer.quic.stats().gauges.conns_accepted, 0, "the slot is free again");
}

#[test]
fn a_first_frame_has_thirty_seconds_from_the_stream_on() {
    let mut attack = Attack::new();
    attack.run_secs(25);
    let stream = attack.raw.open(attack.conn, Dir::Bi, b"\x05ab");
    attack.run_secs(25);
    assert_eq!(attack.peer.take_down(), None, "counted afresh");
    attack.raw.write(attack.conn, stream, b"cd");
    attack.run_secs(6);
    assert_eq!(attack.peer.take_down(), Some((attack.at_peer, ConnDownReason::Silent)));
}

#[test]
fn an_empty_first_frame_is_enough_and_then_silence_is_allowed() {
    let mut attack = Attack::new();
    attack.raw.open(attack.conn, Dir::Bi, b"\x00");
    attack.run_secs(200);
    assert_eq!(attack.frames(), [""]);
    assert_eq!(attack.peer.take_down(), None);
}

#[test]
fn a_frame_that_is_begun_must_be_completed() {
    let mut attack = Attack::new();
    let stream = attack.raw.open(attack.conn, Dir::Bi, b"\x00\x05a");
    for byte in ["b", "c"] {
        attack.run_secs(14);
        attack.raw.write(attack.conn, stream, byte.as_bytes());
    }
    attack.run_secs(1);
    assert_eq!(attack.peer.take_down(), None);
    attack.run_secs(3);
    assert_eq!(attack.peer.take_down(), Some((attack.at_peer, ConnDownReason::PeerMisbehaved)));
    assert_eq!(attack.peer.drops(DropReason::FrameTimeout), 1);
}

#[test]
fn a_frame_in_tiny_pieces_does_not_pin_a_datagram_for_each() {
    let mut attack = Attack::new();
    let frame: Vec<u8> = (0..300).map(|i| i as u8).collect();
    let mut prefix = [0; 3];
    let prefix_len = write_prefix(frame.len(), &mut prefix);
    let stream = attack.raw.open(attack.conn, Dir::Bi, &prefix[..prefix_len]);
    for byte in &frame {
        attack.run(Duration::from_millis(50));
        attack.raw.write(attack.conn, stream, &[*byte]);
    }
    attack.run_secs(1);
    assert_eq!(attack.frames(), [frame]);
    assert!(attack.peer.quic.stats().counters.frames_coalesced > 10);
}

#[test]
fn a_dialer_of_a_peer_that_grants_no_stream_waits_for_the_handshake_bound_only() {
    let mut net = Net::new(5);
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    let (mut raw, mut peer) = (Raw::with_transport(1, transport), Peer::new(2, &net));
    let dial = peer.dial(&net, raw.id, raw.addr);
    net.run(&mut [&mut raw, &mut peer], Duration::from_secs(19));
    assert!(peer.events.is_empty());
    net.run(&mut [&mut raw, &mut peer], Duration::from_secs(2));
    let (failed, error) = peer.take_failed().expect("the dial is given up");
    assert_eq!((failed, error), (dial, crate::transport::DialError::NoRoute));
}

#[test]
fn a_dialer_gets_its_stream_as_soon_as_it_is_granted() {
    let mut net = Net::new(5);
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    let (mut raw, mut peer) = (Raw::with_transport(1, transport), Peer::new(2, &net));
    peer.dial(&net, raw.id, raw.addr);
    net.run(&mut [&mut raw, &mut peer], Duration::from_secs(5));
    let conn = *raw.conns.keys().next().expect("accepted");
    raw.conn(conn).set_max_concurrent_streams(Dir::Bi, VarInt::from_u32(1));
    net.run(&mut [&mut raw, &mut peer], Duration::from_secs(5));
    let (at_peer, ..) = peer.take_up();
    peer.close(&net, at_peer, CloseMode::Abort);
    net.run(&mut [&mut raw, &mut peer], Duration::from_secs(5));
    assert_eq!(raw.close_code(conn), CODE);
}
