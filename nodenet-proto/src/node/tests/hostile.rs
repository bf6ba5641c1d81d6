//! Attacks on whole nodes by peers with valid keys and QUIC (THREATS.md).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn_proto::{Dir, StreamId, TransportConfig, VarInt};

use crate::api::{Command, EdgeDownReason, Event, RequestId, SendFailure};
use crate::node::Config;
use crate::quic::tests::raw::Raw;
use crate::stats::{DropReason, Gauges};
use crate::testkit::{self, Datagram, Host, Net, NodeHost};
use crate::transport::ConnDownReason;
use crate::wire::frame::app_frame;
use crate::wire::{self, Message};

const SECOND: Duration = Duration::from_secs(1);
/// What the send queues of one conn may hold: 128, 256 and 256 KiB, and the frame being written.
const QUEUED_MAX: u64 = (128 + 256 + 256 + 64) * 1024;

/// A frame behind its length.
fn framed(frame: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut length = frame.len();
    while length > 0x7f {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(frame);
    bytes
}

fn ping() -> Vec<u8> {
    framed(&wire::Ping.to_frame().to_bytes())
}

fn app(payload: &[u8]) -> Vec<u8> {
    let frame = app_frame(Bytes::copy_from_slice(payload)).expect("it fits");
    framed(&frame.to_bytes())
}

/// A victim and an attacker with an edge to it.
struct Attack {
    net: Net,
    raw: Raw,
    victim: NodeHost,
    conn: usize,
    stream: StreamId,
}

impl Attack {
    fn new(transport: TransportConfig) -> Self {
        let mut net = Net::new(30);
        let (mut raw, mut victim) = (Raw::with_transport(1, transport), NodeHost::new(2, &net));
        let conn = Raw::connect(&mut net, &mut raw, &mut victim);
        let stream = raw.open(conn, Dir::Bi, &ping());
        net.run(&mut [&mut raw, &mut victim], SECOND);
        assert_eq!(victim.neighbours(), [raw.id]);
        victim.events.clear();
        // The victim would dial it again.
        raw.accept_no_more();
        Self { net, raw, victim, conn, stream }
    }

    fn run(&mut self, span: Duration) {
        self.net.run(&mut [&mut self.raw, &mut self.victim], span);
    }

    fn say(&mut self, bytes: &[u8]) {
        self.raw.write(self.conn, self.stream, bytes);
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.victim.node.stats().drops(reason)
    }

    /// The attacker is gone and none of its state is left.
    fn assert_over(&mut self, reason: EdgeDownReason) {
        assert_eq!(self.victim.events, [Event::EdgeDown { peer: self.raw.id, reason }]);
        self.run(60 * SECOND);
        assert_remembers_only(&self.victim);
    }
}

/// One contact is left, with what is left of its budgets, and a timer for those. Dials go on, and
/// questions without an answer are removed with the next one.
fn assert_remembers_only(victim: &NodeHost) {
    let gauges = Gauges { dials: 0, questions: 0, ..victim.node.stats().gauges };
    let remembered = Gauges { contacts: 1, retained_budgets: 1, timers: 1, ..Gauges::default() };
    assert_eq!(gauges, remembered, "nothing is kept but the memory of it");
}

/// A spoofed source address.
fn elsewhere(number: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, (number % 250) as u8], 1000 + number))
}

// What arrives on the stream.

#[test]
fn a_frame_in_slow_pieces_proves_no_liveness_and_pins_nothing_in_the_end() {
    let mut attack = Attack::new(TransportConfig::default());
    attack.say(&app(&[7; 100])[..10]);
    for _ in 0..9 {
        attack.run(2 * SECOND);
        attack.say(b"x");
    }
    // The length is no part of the frame.
    assert_eq!(attack.victim.node.stats().gauges.buffered_bytes, 9 + 8);
    attack.run(20 * SECOND);
    attack.assert_over(EdgeDownReason::Conn(ConnDownReason::PeerMisbehaved));
}

#[test]
fn a_huge_length_is_refused_before_anything_is_allocated() {
    let mut attack = Attack::new(TransportConfig::default());
    attack.say(&[0xff, 0xff, 0xff, 0x07]);
    attack.run(SECOND);
    assert_eq!(attack.drops(DropReason::BadLengthPrefix), 1);
    attack.assert_over(EdgeDownReason::Conn(ConnDownReason::PeerMisbehaved));
}

#[test]
fn the_end_of_the_stream_within_a_frame_ends_the_edge() {
    let mut attack = Attack::new(TransportConfig::default());
    attack.say(&app(b"cut short")[..5]);
    let stream = attack.stream;
    attack.raw.conn(attack.conn).send_stream(stream).finish().expect("open");
    attack.run(SECOND);
    attack.assert_over(EdgeDownReason::Conn(ConnDownReason::ClosedByPeer));
}

#[test]
fn the_largest_frame_in_pieces_of_one_byte_pins_little_and_arrives() {
    let mut attack = Attack::new(TransportConfig::default());
    let payload: Vec<u8> = (0..600).map(|i| i as u8).collect();
    for byte in app(&payload) {
        attack.say(&[byte]);
        attack.net.settle(&mut [&mut attack.raw]);
        attack.run(Duration::from_millis(1));
    }
    attack.run(SECOND);
    assert_eq!(attack.victim.take_delivered(), [(attack.raw.id, Bytes::from(payload))]);
    assert!(attack.victim.node.stats().counters.frames_coalesced > 10);
    assert_eq!(attack.victim.node.stats().gauges.buffered_bytes, 0);
}

#[test]
fn junk_on_a_live_edge_is_dropped_and_counted_each_time() {
    let mut attack = Attack::new(TransportConfig::default());
    for length in 1..100_u8 {
        attack.say(&framed(&vec![0xee; length.into()]));
    }
    attack.run(SECOND);
    assert_eq!(attack.drops(DropReason::MalformedFrame), 99);
    assert_eq!(attack.victim.neighbours(), [attack.raw.id]);
}

#[test]
fn unsolicited_streams_are_refused_for_ever_and_hold_nothing() {
    let mut attack = Attack::new(TransportConfig::default());
    let mut opened = 0;
    for _ in 0..30 {
        for dir in [Dir::Uni, Dir::Bi] {
            while let Some(stream) = attack.raw.conn(attack.conn).streams().open(dir) {
                opened += 1;
                let mut stream = attack.raw.conn(attack.conn).send_stream(stream);
                let _ = stream.write(&[9; 4000]).expect("there is credit");
                stream.finish().expect("open");
            }
        }
        attack.run(SECOND / 2);
    }
    assert!(opened > 200, "{opened} streams, so their credit comes back");
    assert_eq!(attack.drops(DropReason::ExtraStream), opened);
    assert_eq!(attack.victim.neighbours(), [attack.raw.id]);
    attack.say(&app(b"still here"));
    attack.run(SECOND);
    assert_eq!(attack.victim.take_delivered().len(), 1);
    assert_eq!(attack.victim.node.stats().gauges.buffered_bytes, 0);
}

#[test]
fn a_flood_of_frames_is_dropped_and_other_peers_are_served_meanwhile() {
    let mut attack = Attack::new(TransportConfig::default());
    let mut honest = NodeHost::new(3, &attack.net);
    honest.bootstrap(&attack.net, &attack.victim);
    attack.net.run(&mut [&mut attack.raw, &mut attack.victim, &mut honest], SECOND);
    let flood: Vec<u8> = (0..8000).flat_map(|_| app(b"flood")).collect();
    attack.say(&flood);
    for number in 0..10 {
        honest.send(&attack.net, attack.victim.id, &[number]);
        attack.net.run(&mut [&mut attack.raw, &mut attack.victim, &mut honest], SECOND / 10);
        let delivered = attack.victim.take_delivered();
        let served = delivered.iter().filter(|(from, _)| *from == honest.id).count();
        assert_eq!(served, 1, "within a tenth of a second");
    }
    let dropped = attack.drops(DropReason::ForwardRateLimited);
    assert!((8000 - 1024 - 512..=8000 - 1024).contains(&dropped), "{dropped} dropped");
    assert_eq!(attack.victim.neighbours().len(), 2);
}

// What does not arrive.

#[test]
fn a_conn_without_a_frame_is_no_edge_and_gives_its_slot_back() {
    let mut net = Net::new(31);
    let (mut raw, mut victim) = (Raw::new(1), NodeHost::new(2, &net));
    Raw::connect(&mut net, &mut raw, &mut victim);
    net.run(&mut [&mut raw, &mut victim], 40 * SECOND);
    assert_eq!(victim.node.stats().drops(DropReason::FirstFrameTimeout), 1);
    assert_eq!((victim.events, victim.node.stats().gauges), (vec![], Gauges::default()));
}

#[test]
fn a_neighbour_that_stops_reading_is_dropped_after_five_seconds_and_delays_no_other() {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(16 * 1024));
    let mut attack = Attack::new(transport);
    let mut honest = NodeHost::new(3, &attack.net);
    honest.bootstrap(&attack.net, &attack.victim);
    attack.net.run(&mut [&mut attack.raw, &mut attack.victim, &mut honest], SECOND);
    attack.victim.events.clear();

    let (target, payload) = (attack.raw.id, Bytes::from(vec![7; 60_000]));
    let mut refused = 0;
    for number in 0..50 {
        let (request, payload) = (RequestId(1000 + number), payload.clone());
        attack.victim.command(&attack.net, Command::SendDirect { request, target, payload });
        // It sends pings, too.
        attack.say(&ping());
        honest.send(&attack.net, attack.victim.id, &[number as u8]);
        attack.net.run(&mut [&mut attack.raw, &mut attack.victim, &mut honest], SECOND / 20);
        assert_eq!(attack.victim.take_delivered().len(), 1, "within a twentieth of a second");
        assert!(attack.victim.node.stats().gauges.queued_bytes <= QUEUED_MAX);
        let full = |event: &Event| {
            matches!(event, Event::SendFailed { error: SendFailure::Backpressure, .. })
        };
        refused += attack.victim.events.drain(..).filter(full).count();
    }
    assert!(refused > 30, "{refused} sends met a full queue");
    attack.net.run(&mut [&mut attack.raw, &mut attack.victim, &mut honest], 4 * SECOND);
    let reason = EdgeDownReason::Conn(ConnDownReason::Stalled);
    let down = Event::EdgeDown { peer: attack.raw.id, reason };
    assert_eq!(attack.victim.events, [down, Event::SendReady]);
    assert_eq!(attack.victim.neighbours(), [honest.id]);
    assert_eq!(attack.victim.node.stats().gauges.queued_bytes, 0);
}

#[test]
fn leaving_does_not_wait_for_a_neighbour_that_stopped_reading() {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(100));
    let mut attack = Attack::new(transport);
    let (request, target) = (RequestId(1), attack.raw.id);
    let payload = Bytes::from(vec![7; 60_000]);
    attack.victim.command(&attack.net, Command::SendDirect { request, target, payload });
    attack.run(SECOND);
    let request = RequestId(2);
    attack.victim.command(&attack.net, Command::Leave { request });
    attack.run(Duration::from_millis(1100));
    assert!(attack.victim.events.contains(&Event::Left { request }));
}

// Conns and handshakes.

#[test]
fn half_open_handshakes_from_spoofed_addresses_keep_no_peer_out() {
    let mut net = Net::new(32);
    let (mut spoofer, mut victim) = (Raw::new(1), NodeHost::new(2, &net));
    for number in 0..300 {
        spoofer.addr = elsewhere(number);
        spoofer.dial(net.now, victim.addr);
        net.settle(&mut [&mut spoofer]);
    }
    net.run(&mut [&mut victim], SECOND / 10);
    let stats = victim.node.stats();
    assert_eq!((stats.gauges.handshakes, stats.counters.retries_sent), (32, 268));
    assert_eq!(stats.drops(DropReason::ReadyQueueFull), 268 - 64);
    assert!(stats.counters.bytes_sent <= 3 * stats.counters.bytes_received);

    let mut honest = NodeHost::new(3, &net);
    honest.bootstrap(&net, &victim);
    net.run(&mut [&mut honest, &mut victim], SECOND);
    assert_eq!(honest.neighbours(), [victim.id]);
    net.run(&mut [&mut honest, &mut victim], 30 * SECOND);
    let stats = victim.node.stats();
    assert_eq!((stats.gauges.handshakes, stats.gauges.conns), (0, 1));
    assert_eq!(stats.drops(DropReason::HandshakeTimeout), 32);
    assert!(stats.counters.bytes_sent <= 3 * stats.counters.bytes_received);
}

#[test]
fn one_address_gets_its_share_of_conns_and_refused_ones_count_until_they_are_gone() {
    let mut net = Net::new(33);
    let mut config = Config::default();
    config.quic.accepted_conns_per_address_max = 2;
    let mut victim = NodeHost::with_config(2, &net, 2, config);
    let mut raws: Vec<Raw> = (0..12).map(|number| Raw::new(10 + number)).collect();
    for (port, raw) in (1000..).zip(&mut raws) {
        raw.addr = SocketAddr::from(([203, 0, 113, 7], port));
        raw.dial(net.now, victim.addr);
    }
    let mut hosts: Vec<&mut dyn Host> = vec![&mut victim];
    hosts.extend(raws.iter_mut().map(|raw| raw as &mut dyn Host));
    net.run(&mut hosts, SECOND / 20);
    let stats = victim.node.stats();
    assert_eq!(stats.drops(DropReason::ConnsPerAddressFull), 10);
    assert_eq!((stats.gauges.conns, stats.gauges.conns_closing), (2, 10));
    assert_eq!(stats.gauges.handshakes, 10, "what they pin is still there");
    net.run(&mut [&mut victim], 5 * SECOND);
    let gauges = victim.node.stats().gauges;
    assert_eq!((gauges.conns, gauges.conns_closing, gauges.handshakes), (2, 0, 0));
}

#[test]
fn a_peer_that_comes_and_goes_leaves_nothing_behind() {
    let mut net = Net::new(34);
    let (mut raw, mut victim) = (Raw::new(1), NodeHost::new(2, &net));
    raw.accept_no_more();
    for _ in 0..40 {
        let conn = Raw::connect(&mut net, &mut raw, &mut victim);
        raw.open(conn, Dir::Bi, &ping());
        net.run(&mut [&mut raw, &mut victim], SECOND / 10);
        raw.close(net.now, conn, 0);
        net.run(&mut [&mut raw, &mut victim], 2 * SECOND);
        raw.conns.clear();
        raw.events.clear();
    }
    assert_remembers_only(&victim);
}

#[test]
fn a_datagram_with_any_first_bytes_is_counted_once_and_makes_no_conn() {
    let mut net = Net::new(35);
    let mut victim = NodeHost::new(2, &net);
    let mut sent = 0;
    for first in 0..=255_u8 {
        for len in [1_usize, 20, 1200] {
            let data = BytesMut::from(&vec![first; len][..]);
            let (from, to) = (testkit::addr(9), victim.addr);
            victim.receive(net.now, Datagram { from, to, ecn: None, data });
            sent += 1;
        }
        net.run(&mut [&mut victim], Duration::from_millis(1));
    }
    let stats = victim.node.stats();
    assert_eq!(stats.gauges, Gauges::default());
    assert_eq!(stats.drops(DropReason::NotQuic), 64 * 3);
    let answered = stats.counters.datagrams_sent;
    assert_eq!(stats.drops(DropReason::NotQuic) + stats.drops(DropReason::Stray) + answered, sent);
    assert!(stats.counters.bytes_sent < stats.counters.bytes_received);
}

#[test]
fn an_identity_without_work_gets_no_edge_and_one_with_work_does() {
    let net = Net::new(36);
    let has_work = |number: &u8| testkit::identity(u64::from(*number)).id().leading_zeros() >= 3;
    let dear: Vec<u8> = (10..).filter(has_work).take(2).collect();
    let cheap = (10..).find(|number| !has_work(number)).expect("seven of eight");
    let mut config = Config::default();
    config.engine.difficulty = 3;
    let mut net = net;
    let mut victim = NodeHost::with_config(dear[0], &net, 1, config.clone());
    let mut raw = Raw::new(cheap);
    let conn = Raw::connect(&mut net, &mut raw, &mut victim);
    raw.open(conn, Dir::Bi, &ping());
    net.run(&mut [&mut raw, &mut victim], SECOND);
    assert!(raw.close_code(conn).is_some());
    assert_eq!(victim.node.stats().drops(DropReason::PeerWorkUnmet), 1);
    assert_eq!(victim.events, []);

    let mut honest = NodeHost::with_config(dear[1], &net, 2, config);
    honest.bootstrap(&net, &victim);
    net.run(&mut [&mut honest, &mut victim], SECOND);
    assert_eq!(victim.neighbours(), [honest.id]);
}

// Faults.

#[test]
fn two_nodes_that_dial_each_other_at_once_have_one_edge_and_get_each_message_once() {
    let mut net = Net::new(37);
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    let connect =
        |target, addr| Command::Connect { request: RequestId(1), target, addrs: vec![addr] };
    a.command(&net, connect(b.id, b.addr));
    b.command(&net, connect(a.id, a.addr));
    net.run(&mut [&mut a, &mut b], SECOND);
    assert_eq!((a.neighbours(), b.neighbours()), (vec![b.id], vec![a.id]));
    assert_eq!(a.node.edges()[0].conns, 2);
    for round in 0..3 {
        a.send(&net, b.id, &[round]);
        b.send(&net, a.id, &[round]);
        net.run(&mut [&mut a, &mut b], 100 * SECOND);
        assert_eq!((a.take_delivered().len(), b.take_delivered().len()), (1, 1));
    }
    a.events.clear();
    let request = RequestId(2);
    b.command(&net, Command::Leave { request });
    net.run(&mut [&mut a, &mut b], SECOND);
    let reason = EdgeDownReason::Left;
    assert_eq!(a.events, [Event::EdgeDown { peer: b.id, reason }]);
}

#[test]
fn a_peer_that_was_started_again_is_reachable_at_once() {
    let mut net = Net::new(38);
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    b.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut b], 2 * SECOND);
    let mut again = NodeHost::seeded(2, &net, 99);
    again.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut again], 2 * SECOND);
    a.take_delivered();
    a.send(&net, b.id, b"welcome back");
    net.run(&mut [&mut a, &mut again], SECOND);
    assert_eq!(again.take_delivered().len(), 1);
    net.run(&mut [&mut a, &mut again], 400 * SECOND);
    assert_eq!(a.neighbours(), [b.id]);
    assert_eq!(a.node.stats().gauges.conns, 1, "the old conn is gone");
}

#[test]
fn a_slow_path_is_no_dead_path() {
    let mut net = Net::new(39);
    net.link.latency = Duration::from_millis(1800);
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    b.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut b], 30 * SECOND);
    assert_eq!(a.neighbours(), [b.id]);
    a.events.clear();
    net.run(&mut [&mut a, &mut b], 900 * SECOND);
    assert_eq!(a.events, []);
}

#[test]
fn a_clock_that_runs_backwards_counts_as_standing_still() {
    let mut net = Net::new(40);
    let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
    b.bootstrap(&net, &a);
    net.run(&mut [&mut a, &mut b], 2 * SECOND);
    let now = net.now;
    net.now -= SECOND;
    for number in 0..10 {
        a.send(&net, b.id, &[number]);
        b.send(&net, a.id, &[number]);
        net.settle(&mut [&mut a, &mut b]);
        a.expire(net.now);
        b.expire(net.now);
    }
    net.now = now;
    net.run(&mut [&mut a, &mut b], 2 * SECOND);
    assert_eq!((a.take_delivered().len(), b.take_delivered().len()), (10, 10));
    assert_eq!(a.neighbours(), [b.id]);
}

#[test]
fn an_edge_that_carries_all_that_a_bad_path_takes_is_no_dead_edge() {
    for (latency_ms, loss_percent) in [(150, 2), (150, 5), (100, 10)] {
        let mut net = Net::new(41);
        net.link.latency = Duration::from_millis(latency_ms);
        let (mut a, mut b) = (NodeHost::new(1, &net), NodeHost::new(2, &net));
        b.bootstrap(&net, &a);
        net.run(&mut [&mut a, &mut b], 2 * SECOND);
        a.events.clear();
        net.set_loss_percent(loss_percent);
        let mut sent = 0;
        for number in 0..1200 {
            // The other side sends no messages, so that only pings show that it is alive.
            let (request, target) = (RequestId(1000 + number), b.id);
            let payload = Bytes::from(vec![7; 30_000]);
            a.command(&net, Command::SendDirect { request, target, payload });
            net.run(&mut [&mut a, &mut b], SECOND / 10);
            sent += a.events.iter().filter(|event| matches!(event, Event::Sent { .. })).count();
            a.events.retain(|event| matches!(event, Event::EdgeDown { .. }));
        }
        assert_eq!(a.events, [], "{latency_ms} ms, {loss_percent} %");
        net.run(&mut [&mut a, &mut b], 60 * SECOND);
        assert_eq!(b.take_delivered().len(), sent, "{latency_ms} ms, {loss_percent} %");
    }
}
