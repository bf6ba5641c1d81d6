//! Caps and time-outs of conns, handshakes and queues.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::{Dir, TransportConfig, VarInt};

use super::peer::{Pair, Peer};
use super::raw::Raw;
use crate::io::TransmitBuf;
use crate::quic::Config;
use crate::quic::edge::send::QUEUE_MAX;
use crate::stats::DropReason;
use crate::testkit::link::packet_len;
use crate::testkit::{self, Datagram, Host, Net, Outbox};
use crate::transport::{
    Class, CloseMode, Command, ConnDownReason, Conns, DialError, Event, FRAME_MAX, SendError,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_stalled_peer_is_detected_after_five_seconds() {
    let mut net = Net::new(6);
    let (mut raw, mut peer) = (Raw::new(1), Peer::new(2, &net));
    let conn = Raw::connect(&mut net, &mut raw, &mut peer);
    let (at_peer, ..) = peer.take_up();
    raw.open(conn, Dir::Bi, b"\x00");
    net.run(&mut [&mut raw, &mut peer], SECOND);

    // The raw peer's window is 1.25 MB, and it never reads.
    let frame = [7; FRAME_MAX];
    let mut taken = 0;
    while taken < 40 && peer.try_send(at_peer, Class::Own, &frame).is_ok() {
        taken += 1;
        net.run(&mut [&mut raw, &mut peer], SECOND / 10);
    }
    assert!((19..40).contains(&taken), "{taken} frames fill window and queues");
    net.run(&mut [&mut raw, &mut peer], 6 * SECOND);
    assert_eq!(peer.take_down(), Some((at_peer, ConnDownReason::Stalled)));
    net.run(&mut [&mut raw, &mut peer], SECOND);
    assert!(raw.close_code(conn).is_some());
}

/// Runs a conn for a minute with a peer that takes `window` bytes in every `pace` seconds while
/// long frames wait for it. Returns the seconds until it ended, and the reason.
fn take_slowly(window: u32, pace: u32) -> (u32, Option<ConnDownReason>) {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(window));
    let mut net = Net::new(22);
    let (mut raw, mut peer) = (Raw::with_transport(1, transport), Peer::new(2, &net));
    let conn = Raw::connect(&mut net, &mut raw, &mut peer);
    let (at_peer, ..) = peer.take_up();
    let stream = raw.open(conn, Dir::Bi, b"\x00");
    net.run(&mut [&mut raw, &mut peer], SECOND);
    for _ in 0..4 {
        peer.send(at_peer, &[7; FRAME_MAX]);
    }
    for passed in 1..=60 {
        net.run(&mut [&mut raw, &mut peer], SECOND);
        if let Some((_, reason)) = peer.take_down() {
            return (passed, Some(reason));
        }
        if passed % pace == 0 {
            let taken = raw.read(conn, stream).len();
            assert_eq!(taken, window as usize, "there is more than it takes");
        }
    }
    (60, None)
}

#[test]
fn a_conn_stalls_if_nothing_moves_or_a_frame_takes_too_long() {
    assert_eq!(take_slowly(16 * 1024, 4), (60, None), "a frame in 16 s, a byte in 4 s");
    assert_eq!(take_slowly(16 * 1024, 6), (5, Some(ConnDownReason::Stalled)), "nothing for 5 s");
    assert_eq!(take_slowly(64, 4), (30, Some(ConnDownReason::Stalled)), "no frame in 30 s");
}

#[test]
fn a_slow_peer_that_takes_frames_in_time_keeps_its_conn() {
    let mut pair = Pair::new(7);
    pair.net.link.latency = Duration::from_millis(400);
    for _ in 0..20 {
        let _ = pair.a.try_send(pair.at_a, Class::Own, &[1; FRAME_MAX]);
        pair.run_ms(1500);
    }
    pair.run_ms(10_000);
    assert_eq!(pair.a.take_down(), None);
    assert!(pair.b.take_frames().len() >= 10);
}

#[test]
fn urgent_frames_overtake_what_waits_and_never_a_frame_that_is_begun() {
    let mut pair = Pair::new(8);
    let refused = |sent| matches!(sent, Err(SendError::Full(_)));
    while !refused(pair.a.try_send(pair.at_a, Class::Transit, &[b't'; 30_000])) {}
    pair.a.send(pair.at_a, b"own");
    assert!(pair.a.try_send(pair.at_a, Class::Control, b"control").is_ok());
    let queued = pair.a.quic.stats().gauges.queued_bytes as usize;
    assert!(queued > QUEUE_MAX[Class::Transit as usize] - 30_000);
    pair.run_ms(5000);

    let frames: Vec<Bytes> = pair.b.take_frames().into_iter().map(|(_, frame)| frame).collect();
    let control = frames.iter().position(|frame| frame == "control").expect("arrived");
    let own = frames.iter().position(|frame| frame == "own").expect("arrived");
    assert!(control > 0 && own == control + 1 && own < frames.len() - 1);
    assert!(frames.iter().all(|frame| frame.len() == 30_000 || frame.len() < 10));
    assert_eq!(pair.a.quic.stats().counters.sends_refused, 1);
}

#[test]
fn a_drain_waits_for_the_acknowledgement_and_not_longer_than_a_second() {
    let mut pair = Pair::new(9);
    pair.net.link.latency = Duration::from_millis(100);
    for _ in 0..3 {
        pair.a.send(pair.at_a, &[5; 20_000]);
    }
    pair.a.close(&pair.net, pair.at_a, CloseMode::Drain);
    pair.run_ms(150);
    assert_eq!(pair.a.take_down(), None, "not acknowledged yet");
    pair.run_ms(700);
    assert_eq!(pair.a.take_down(), Some((pair.at_a, ConnDownReason::ClosedHere)));
    assert_eq!(pair.b.take_frames().len(), 3);
    assert_eq!(pair.b.take_down(), Some((pair.at_b, ConnDownReason::ClosedByPeer)));

    let mut pair = Pair::new(9);
    pair.net.set_loss_percent(100);
    pair.a.send(pair.at_a, b"lost");
    pair.a.close(&pair.net, pair.at_a, CloseMode::Drain);
    pair.run_ms(950);
    assert_eq!(pair.a.take_down(), None);
    pair.run_ms(100);
    assert_eq!(pair.a.take_down(), Some((pair.at_a, ConnDownReason::ClosedHere)));
    pair.run_ms(5000);
    assert_eq!(pair.a.quic.stats().gauges, Default::default(), "nothing is kept");
}

/// Three probe timeouts of this path are ten seconds.
#[test]
fn a_conn_that_is_over_gives_its_place_back_within_three_seconds() {
    let mut pair = Pair::new(12);
    pair.net.link.latency = Duration::from_millis(1_500);
    for _ in 0..20 {
        pair.b.send(pair.at_b, b"slow");
        pair.run_ms(4_000);
    }
    assert_eq!(pair.b.quic.stats().gauges.conns_accepted, 1);
    pair.b.close(&pair.net, pair.at_b, CloseMode::Abort);
    pair.run_ms(2_900);
    assert_eq!(pair.b.quic.stats().gauges.conns_accepted, 1, "its last packets may still come");
    pair.run_ms(200);
    assert_eq!(pair.b.quic.stats().gauges.conns_accepted, 0);
    pair.run_ms(20_000);
    assert_eq!(pair.a.quic.stats().gauges, Default::default());
}

#[test]
fn caps_hold_per_prefix_and_in_all_and_a_slot_comes_back() {
    let config =
        Config { accepted_conns_max: 3, accepted_conns_per_address_max: 2, ..Config::default() };
    let mut net = Net::new(10);
    let mut peer = Peer::with_config(9, &net, config);
    let dial = |net: &mut Net, peer: &mut Peer, number: u8, addr: &str| {
        let mut raw = Raw::new(number);
        raw.addr = addr.parse::<SocketAddr>().expect("a literal of this test");
        let conn = raw.dial(net.now, peer.addr);
        net.run(&mut [&mut raw, &mut *peer], SECOND);
        let refused = raw.lost(conn).is_some();
        (raw, conn, refused)
    };
    let (mut first, conn, refused) = dial(&mut net, &mut peer, 1, "[2001:db8:0:1::1]:1000");
    assert!(!refused);
    assert!(!dial(&mut net, &mut peer, 2, "[2001:db8:0:1:ffff::2]:1000").2);
    assert!(dial(&mut net, &mut peer, 3, "[2001:db8:0:1::3]:1000").2, "the /64 is full");
    assert_eq!(peer.drops(DropReason::ConnsPerAddressFull), 1);
    assert!(!dial(&mut net, &mut peer, 4, "[2001:db8:0:2::1]:1000").2, "another /64");
    assert!(dial(&mut net, &mut peer, 5, "198.51.100.1:1000").2, "all slots are taken");
    assert_eq!(peer.drops(DropReason::ConnsFull), 1);

    first.close(net.now, conn, 0);
    net.run(&mut [&mut first, &mut peer], 5 * SECOND);
    assert!(!dial(&mut net, &mut peer, 6, "[2001:db8:0:1::6]:1000").2);
}

#[test]
fn handshakes_that_completed_together_do_not_pass_the_cap() {
    let config = Config { accepted_conns_max: 2, ..Config::default() };
    let mut net = Net::new(11);
    let mut peer = Peer::with_config(9, &net, config);
    let mut raws: Vec<Raw> = (1..5).map(Raw::new).collect();
    for raw in &mut raws {
        raw.dial(net.now, peer.addr);
    }
    let mut hosts: Vec<&mut dyn Host> = vec![&mut peer];
    hosts.extend(raws.iter_mut().map(|raw| raw as &mut dyn Host));
    net.run(&mut hosts, SECOND);

    assert_eq!(peer.quic.stats().gauges.conns_accepted, 2);
    assert_eq!(peer.drops(DropReason::ConnsFull), 2);
    let closed = raws.iter().filter(|raw| raw.close_code(0).is_some()).count();
    assert_eq!(closed, 2, "they saw their handshake succeed and the conn die");
}

#[test]
fn above_the_threshold_a_dialer_proves_its_address_and_is_accepted() {
    let config = Config { handshakes_unproven_max: 2, handshakes_max: 4, ..Config::default() };
    let mut net = Net::new(12);
    let mut peer = Peer::with_config(9, &net, config);
    let mut spoofers: Vec<Raw> = (1..5).map(Raw::new).collect();
    for raw in &mut spoofers {
        raw.dial(net.now, peer.addr);
        net.settle(&mut [raw]);
    }
    // Their first packets arrive; the answers go to those whose addresses they used.
    net.run(&mut [&mut peer], SECOND / 10);
    let stats = peer.quic.stats();
    assert_eq!((stats.gauges.handshakes, stats.counters.retries_sent), (2, 2));

    let mut honest = Peer::new(8, &net);
    let dial = honest.dial(&net, peer.id, peer.addr);
    net.run(&mut [&mut honest, &mut peer], SECOND);
    assert_eq!(honest.take_failed(), None, "{dial} is not refused");
    honest.take_up();
    assert_eq!(peer.quic.stats().counters.retries_sent, 3);

    net.run(&mut [&mut honest, &mut peer], 25 * SECOND);
    assert_eq!(peer.quic.stats().gauges.handshakes, 0, "the spoofed ones are given up");
    assert_eq!(peer.drops(DropReason::HandshakeTimeout), 2);
}

#[test]
fn a_dial_without_an_answer_fails_after_ten_seconds() {
    let mut net = Net::new(13);
    let mut peer = Peer::new(1, &net);
    let dial = peer.dial(&net, testkit::identity(2).id(), testkit::addr(2));
    net.run(&mut [&mut peer], Duration::from_millis(9900));
    assert_eq!(peer.take_failed(), None);
    net.run(&mut [&mut peer], Duration::from_millis(200));
    assert_eq!(peer.take_failed(), Some((dial, DialError::NoRoute)));
    net.run(&mut [&mut peer], 60 * SECOND);
    assert_eq!(peer.quic.stats().gauges, Default::default(), "nothing is kept");
}

#[test]
fn a_handshake_that_goes_on_and_on_ends_after_twenty_seconds() {
    let mut net = Net::new(14);
    let (mut raw, mut peer) = (Raw::new(1), Peer::new(2, &net));
    raw.dial(net.now, peer.addr);
    // It repeats its hello after 1, 3, 7 and 15 s, because no answer reaches it.
    for second in 0..20 {
        net.settle(&mut [&mut raw]);
        net.run(&mut [&mut peer], SECOND);
        raw.expire(net.now);
        assert_eq!(peer.drops(DropReason::HandshakeTimeout), 0, "after {second} s");
    }
    net.run(&mut [&mut peer], SECOND);
    assert_eq!(peer.drops(DropReason::HandshakeTimeout), 1);
    assert!(net.stats().sent > 8);
    net.run(&mut [&mut peer], 10 * SECOND);
    assert_eq!(peer.quic.stats().gauges, Default::default(), "nothing is kept");
}

#[test]
fn the_first_retransmission_of_a_dial_comes_early() {
    let mut net = Net::new(15);
    let mut peer = Peer::new(1, &net);
    peer.dial(&net, testkit::identity(2).id(), testkit::addr(2));
    net.run(&mut [&mut peer], Duration::from_millis(50));
    assert_eq!(net.stats().sent, 1);
    net.run(&mut [&mut peer], Duration::from_millis(350));
    assert!(net.stats().sent >= 2, "a probe within 0.4 s");
}

#[test]
fn datagrams_of_no_conn_are_counted_and_draw_no_answer() {
    let net = Net::new(16);
    let mut peer = Peer::new(1, &net);
    for datagram in [&b""[..], &[0x00, 1, 2], &[0x3f; 100], &[0x40; 40]] {
        let from = testkit::addr(2);
        peer.quic.handle_datagram(net.now, from, None, None, BytesMut::from(datagram));
    }
    assert_eq!(peer.drops(DropReason::Stray), 4);
    let mut buf = TransmitBuf::new(1);
    assert!(peer.quic.poll_transmit(&mut buf).is_none());
}

#[test]
fn answers_to_handshakes_wait_in_a_bounded_queue() {
    let mut net = Net::new(17);
    let mut peer = Peer::new(1, &net);
    // An Initial of an unknown version, long enough for an answer.
    let mut hello = vec![0xc0, 0x1a, 0x1a, 0x1a, 0x1a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0];
    hello.resize(1200, 0);
    for number in 0..100 {
        let from = testkit::addr(number);
        peer.quic.handle_datagram(net.now, from, None, None, BytesMut::from(&hello[..]));
    }
    assert_eq!(peer.drops(DropReason::ReadyQueueFull), 36);
    net.settle(&mut [&mut peer]);
    assert_eq!(net.stats().sent, 64);
}

#[test]
fn the_current_address_of_a_peer_follows_its_migration() {
    let mut pair = Pair::new(18);
    pair.a.addr.set_port(9999);
    pair.a.send(pair.at_a, b"from elsewhere");
    pair.run_ms(1000);
    assert_eq!(pair.b.take_frames().len(), 1);
    let path = pair.b.quic.path(pair.at_b).expect("up");
    assert_eq!(path.remote, pair.a.addr);
    assert_eq!(pair.b.take_moved(), [(pair.at_b, pair.a.addr)]);
    pair.b.send(pair.at_b, b"found you");
    pair.run_ms(1000);
    assert_eq!(pair.a.take_frames().len(), 1);
}

#[test]
fn a_path_that_does_not_prove_itself_is_left_again() {
    let mut pair = Pair::new(23);
    let (home, spoofed) = (pair.a.addr, SocketAddr::from(([198, 51, 100, 7], 9999)));
    pair.a.send(pair.at_a, b"on its way");
    pair.a.addr = spoofed;
    pair.net.settle(&mut [&mut pair.a]);
    // What goes to the spoofed address reaches no one, and the peer itself is silent.
    pair.net.run(&mut [&mut pair.b], 5 * SECOND);
    assert_eq!(pair.b.take_moved(), [(pair.at_b, spoofed), (pair.at_b, home)]);
    assert_eq!(pair.b.quic.path(pair.at_b).map(|path| path.remote), Some(home));
}

#[test]
fn punches_wait_in_a_bounded_queue_and_go_to_single_hosts_only() {
    let mut net = Net::new(24);
    let mut peer = Peer::new(1, &net);
    let punch = |peer: &mut Peer, remote: SocketAddr| {
        let bytes = Bytes::from_static(b"\x00np\x01");
        peer.quic.handle_command(net.now, Command::Punch { remote, bytes, ttl: None });
    };
    for remote in ["224.0.0.1:1", "255.255.255.255:1", "0.0.0.0:1", "192.0.2.9:0", "[ff02::1]:1"] {
        punch(&mut peer, remote.parse().expect("a literal of this test"));
    }
    assert_eq!(peer.drops(DropReason::ImplausibleAddress), 5);
    for _ in 0..100 {
        punch(&mut peer, testkit::addr(9));
    }
    assert_eq!(peer.drops(DropReason::ReadyQueueFull), 36);
    net.settle(&mut [&mut peer]);
    assert_eq!(net.stats().sent, 64);
}

#[test]
fn mapped_addresses_are_folded() {
    let mut net = Net::new(19);
    let (mut a, mut b) = (Peer::new(1, &net), Peer::new(2, &net));
    let mapped = |addr: SocketAddr| match addr {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        v6 => v6,
    };
    a.dial(&net, b.id, mapped(b.addr));
    net.run(&mut [&mut a, &mut b], SECOND);
    assert_eq!(a.take_up().3, b.addr, "it is dialed as IPv4");
    b.take_up();
}

#[test]
fn one_batch_stays_within_a_udp_payload() {
    let mut pair = Pair::new(20);
    let mut buf = TransmitBuf::new(1000);
    pair.run_ms(5000);
    for _ in 0..4 {
        pair.a.send(pair.at_a, &[3; FRAME_MAX]);
    }
    let mut total = 0;
    let mut largest = 0;
    while let Some(transmit) = pair.a.quic.poll_transmit(&mut buf) {
        assert!(buf.bytes.len() <= 65_507);
        assert!(transmit.segment_len.is_none_or(|len| len <= 1452));
        largest = largest.max(buf.bytes.len());
        total += buf.bytes.len();
        buf.bytes.clear();
    }
    assert!(total > 10_000 && largest > 2 * 1452, "{largest} of {total} bytes in one batch");
}

/// Path MTU probes of each of two ends, in order, on a path that carries datagrams of this length.
/// They are longer than the datagrams that conns begin with.
fn probes(payload_len_max: usize) -> [Vec<usize>; 2] {
    let mut net = Net::new(7);
    net.link.mtu = packet_len(true, payload_len_max);
    let seen: Arc<Mutex<[Vec<usize>; 2]>> = Arc::default();
    let tap = Arc::clone(&seen);
    net.tap = Some(Box::new(move |_, from, _, bytes| {
        if bytes.len() > 1280 {
            let end = usize::from(from == testkit::addr(2));
            tap.lock().expect("one thread")[end].push(bytes.len());
        }
    }));
    let mut pair = Pair::on(net);
    for _ in 0..40 {
        pair.a.send(pair.at_a, b"a");
        pair.b.send(pair.at_b, b"b");
        pair.run_ms(500);
    }
    std::mem::take(&mut *seen.lock().expect("one thread"))
}

#[test]
fn path_mtu_discovery_takes_one_probe_on_the_usual_path() {
    for (mtu, sizes) in [
        (1500, vec![1452]),
        (1400, vec![1452, 1452, 1452, 1365]),
        (1300, vec![1452, 1452, 1452, 1365, 1365, 1365]),
    ] {
        assert_eq!(probes(mtu), [sizes.clone(), sizes], "a path of {mtu} bytes");
    }
}

#[test]
fn a_busy_conn_does_not_delay_others() {
    let mut net = Net::new(21);
    let (mut a, mut b, mut c) = (Peer::new(1, &net), Peer::new(2, &net), Peer::new(3, &net));
    a.dial(&net, c.id, c.addr);
    b.dial(&net, c.id, c.addr);
    net.run(&mut [&mut a, &mut b, &mut c], SECOND);
    let ((at_a, ..), (at_b, ..)) = (a.take_up(), b.take_up());
    for _ in 0..500 {
        assert!(a.try_send(at_a, Class::Control, b"x").is_ok());
    }
    b.send(at_b, b"y");
    net.settle(&mut [&mut a, &mut b]);
    // The datagrams arrive, a's first, before c is asked to read.
    net.run(&mut [&mut Silent(&mut c)], SECOND / 10);
    let mut reads = Vec::new();
    while c.quic.read() {
        let mut counts = [0, 0];
        for event in std::iter::from_fn(|| c.quic.poll_event()) {
            if let Event::Frame { frame, .. } = event {
                counts[usize::from(frame.to_bytes() == "y")] += 1;
            }
        }
        reads.push(counts);
    }
    assert_eq!(reads[0], [64, 1], "one share of the one, all of the other");
    assert_eq!(reads.iter().map(|counts| counts[0]).sum::<usize>(), 500);
    assert!(reads.iter().all(|counts| counts[0] <= 64));
}

/// A host that takes datagrams and is never polled.
struct Silent<'a>(&'a mut Peer);

impl Host for Silent<'_> {
    fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    fn receive(&mut self, now: Instant, datagram: Datagram) {
        self.0.receive(now, datagram);
    }

    fn expire(&mut self, _now: Instant) {}

    fn drain(&mut self, _now: Instant, _out: &mut Outbox) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
