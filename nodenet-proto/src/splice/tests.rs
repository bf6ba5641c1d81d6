//! Tests of splices: the exact outputs of each input.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{IDLE, Output, Payload, READY_MAX, SPLICES_MAX, Splices, UNUSED};
use crate::env::test_base;
use crate::io::{EcnCodepoint, SocketId, TransmitBuf};
use crate::stats::DropReason;
use crate::transport::{SpliceId, SpliceSide};

const SECOND: Duration = Duration::from_secs(1);
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// The sockets of the first splice.
const CALLER: SocketId = SocketId(1);
const CALLEE: SocketId = SocketId(2);

/// A handshake packet with a byte more, whose ids nothing answers to.
fn quic(text: &str) -> Vec<u8> {
    [&[0xc0, 0, 0, 0, 1, 0, 0][..], text.as_bytes()].concat()
}

/// A handshake packet of this length.
fn long(len: usize) -> Vec<u8> {
    let mut packet = quic("");
    packet.resize(len, b'q');
    packet
}

fn sides(prefers: [Option<IpAddr>; 2]) -> [SpliceSide; 2] {
    prefers.map(|prefers| SpliceSide { local_ip: LOCAL, prefers })
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a literal of this test")
}

/// Splices and the time.
struct Bench {
    splices: Splices,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = test_base();
        Self { splices: Splices::new(now), now }
    }

    /// With one splice that is open.
    fn open(prefers: [Option<IpAddr>; 2]) -> Self {
        let mut bench = Self::new();
        bench.begin(7, prefers);
        bench.splices.handle_socket_opened(CALLER, addr("203.0.113.1:1001"));
        bench.splices.handle_socket_opened(CALLEE, addr("203.0.113.1:1002"));
        bench.outputs();
        bench
    }

    fn begin(&mut self, number: u64, prefers: [Option<IpAddr>; 2]) {
        self.splices.open(self.now, SpliceId(number), sides(prefers), 0);
    }

    /// With known hosts, pinned on both sides.
    fn pinned() -> Self {
        let known = [1, 2].map(|last| Some(IpAddr::from([192, 0, 2, last])));
        let mut bench = Self::open(known);
        bench.datagram(CALLER, "192.0.2.1:1", Payload::Punch, b"");
        bench.datagram(CALLEE, "192.0.2.2:2", Payload::Punch, b"");
        bench
    }

    fn datagram(&mut self, socket: SocketId, from: &str, payload: Payload, data: &[u8]) {
        let (ecn, data) = (Some(EcnCodepoint::Ect0), BytesMut::from(data));
        self.splices.check();
        self.splices.handle_datagram(self.now, socket, addr(from), ecn, payload, data);
    }

    /// Everything that is to be done, then every event.
    fn outputs(&mut self) -> Vec<String> {
        self.splices.check();
        let mut buf = TransmitBuf::new(1);
        let mut outputs = Vec::new();
        while let Some(output) = self.splices.poll_output(&mut buf) {
            outputs.push(match output {
                Output::OpenSocket { socket, local_ip } => {
                    format!("open {} on {local_ip}", socket.0)
                }
                Output::CloseSocket { socket } => format!("close {}", socket.0),
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.ecn, Some(EcnCodepoint::Ect0), "ECN marks pass");
                    assert_eq!((transmit.local_ip, transmit.segment_len), (None, None));
                    let text = buf.bytes.strip_prefix(&quic("")[..]).unwrap_or(&buf.bytes);
                    let bytes = text.escape_ascii();
                    format!("send {bytes} from {} to {}", transmit.socket.0, transmit.remote)
                }
            });
            buf.bytes.clear();
        }
        let events = std::iter::from_fn(|| self.splices.poll_event());
        outputs.extend(events.map(|event| format!("{event:?}")));
        outputs
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
        self.splices.handle_timeout(self.now);
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.splices.stats().drops(reason)
    }
}

#[test]
fn a_splice_opens_when_both_of_its_sockets_are_bound() {
    let mut bench = Bench::new();
    bench.begin(7, [None, None]);
    assert_eq!(bench.outputs(), ["open 1 on 203.0.113.1", "open 2 on 203.0.113.1"]);
    bench.splices.handle_socket_opened(CALLEE, addr("203.0.113.1:1002"));
    assert_eq!(bench.outputs(), [""; 0]);
    bench.splices.handle_socket_opened(CALLER, addr("203.0.113.1:1001"));
    assert_eq!(
        bench.outputs(),
        ["SpliceOpened { splice: SpliceId(7), locals: [203.0.113.1:1001, 203.0.113.1:1002] }"]
    );
    bench.begin(8, [None, None]);
    assert_eq!(bench.outputs(), ["open 3 on 203.0.113.1", "open 4 on 203.0.113.1"]);
}

#[test]
fn datagrams_pass_unchanged_between_the_first_remotes_that_send() {
    let mut bench = Bench::open([None, None]);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &quic("lost"));
    assert_eq!(bench.drops(DropReason::SpliceNotPinned), 1, "the other side is not pinned");
    bench.datagram(CALLEE, "192.0.2.2:2", Payload::Punch, b"\x00np\x01");
    assert_eq!(bench.drops(DropReason::Punch), 1, "a punch pins and ends here");
    assert_eq!(bench.outputs(), [""; 0]);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &quic("there"));
    bench.datagram(CALLEE, "192.0.2.2:2", Payload::Quic, &quic("back"));
    assert_eq!(
        bench.outputs(),
        ["send there from 2 to 192.0.2.2:2", "send back from 1 to 192.0.2.1:1"]
    );
    let counters = bench.splices.stats().counters;
    assert_eq!((counters.datagrams_sent, counters.bytes_sent), (2, 23));
    assert_eq!(counters.bytes_relayed, 23);
}

#[test]
fn a_pinned_remote_may_change_its_port_and_no_other_remote_gets_through() {
    let mut bench = Bench::pinned();
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Quic, &quic("other"));
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Punch, b"other");
    assert_eq!(bench.drops(DropReason::SpliceOtherRemote), 2);
    bench.datagram(CALLER, "192.0.2.1:99", Payload::Quic, &quic("moved"));
    bench.datagram(CALLEE, "192.0.2.2:2", Payload::Quic, &quic("found"));
    assert_eq!(
        bench.outputs(),
        ["send moved from 2 to 192.0.2.2:2", "send found from 1 to 192.0.2.1:99"]
    );
}

/// THREATS.md#e41
#[test]
fn a_host_that_is_expected_takes_its_side_and_no_other_gets_it_back() {
    let expected = Some(addr("192.0.2.1:0").ip());
    let mut bench = Bench::open([expected, None]);
    bench.datagram(CALLEE, "192.0.2.2:2", Payload::Punch, b"");
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Quic, &quic("first"));
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &quic("second"));
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Quic, &quic("third"));
    assert_eq!(bench.drops(DropReason::SpliceOtherRemote), 1);
    bench.datagram(CALLEE, "192.0.2.2:2", Payload::Quic, &quic("back"));
    assert_eq!(
        bench.outputs(),
        [
            "send first from 2 to 192.0.2.2:2",
            "send second from 2 to 192.0.2.2:2",
            "send back from 1 to 192.0.2.1:1",
        ]
    );
}

/// THREATS.md#e41
#[test]
fn what_is_neither_a_handshake_nor_behind_one_does_not_pass() {
    let mut bench = Bench::pinned();
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, b"\x80 any protocol of the realtime kind");
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, b"GET / HTTP/1.1");
    assert_eq!(bench.outputs(), [""; 0]);
    assert_eq!(bench.drops(DropReason::SpliceNotQuic), 2);
}

#[test]
fn a_quota_that_is_used_up_ends_every_splice_and_opens_none() {
    let mut bench = Bench::pinned();
    bench.splices.limit(bench.now, 2_000_000, Some(1_500));
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &long(1_000));
    assert_eq!(bench.outputs().len(), 1);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &long(1_000));
    let over = "SpliceOver { splice: SpliceId(7), reason: QuotaUsed }";
    assert_eq!(bench.outputs(), ["close 1", "close 2", over]);
    assert_eq!(bench.drops(DropReason::SpliceQuotaUsed), 1);
    assert_eq!(bench.splices.bytes_left(), Some(0), "the rest is too little for a datagram");
    bench.begin(8, [None, None]);
    assert_eq!(bench.outputs(), ["SpliceOver { splice: SpliceId(8), reason: QuotaUsed }"]);
    bench.splices.limit(bench.now, 2_000_000, Some(1_500));
    bench.begin(9, [None, None]);
    assert_eq!(bench.outputs(), ["open 3 on 203.0.113.1", "open 4 on 203.0.113.1"]);
}

#[test]
fn the_sides_of_a_splice_can_be_of_different_families() {
    let mut bench = Bench::new();
    let mut sides = sides([None, None]);
    sides[1].local_ip = addr("[2001:db8::1]:0").ip();
    bench.splices.open(bench.now, SpliceId(7), sides, 0);
    assert_eq!(bench.outputs(), ["open 1 on 203.0.113.1", "open 2 on 2001:db8::1"]);
}

#[test]
fn datagrams_beyond_the_rates_are_dropped() {
    let mut bench = Bench::pinned();
    let send = |bench: &mut Bench, count: usize, len: usize| {
        let mut sent = 0;
        for _ in 0..count {
            bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &long(len));
            sent += bench.outputs().len();
        }
        sent
    };
    assert_eq!(send(&mut bench, 300, 100), 256, "a burst of datagrams");
    assert_eq!(bench.drops(DropReason::SpliceRateLimited), 44);
    bench.now += SECOND;
    assert_eq!(send(&mut bench, 200, 1_000), 131, "a burst of bytes");
    bench.now += SECOND / 100;
    assert_eq!(send(&mut bench, 20, 1_000), 2, "10 ms of 250 kB/s and what was left");
}

#[test]
fn all_splices_together_have_a_rate_of_their_own() {
    let mut bench = Bench::pinned();
    for number in 1..4 {
        bench.begin(7 + number, [None, None]);
        let sockets = [SocketId(2 * number + 1), SocketId(2 * number + 2)];
        bench.datagram(sockets[0], "192.0.2.1:1", Payload::Punch, b"");
        bench.datagram(sockets[1], "192.0.2.2:2", Payload::Punch, b"");
    }
    bench.outputs();
    let mut sent = 0;
    for number in 0..4 {
        for _ in 0..100 {
            let socket = SocketId(2 * number + 1);
            bench.datagram(socket, "192.0.2.1:1", Payload::Quic, &long(1_000));
            sent += bench.outputs().len();
        }
    }
    assert_eq!(sent, 262);
}

#[test]
fn what_waits_to_be_sent_is_bounded() {
    let mut bench = Bench::pinned();
    for _ in 0..100 {
        bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &quic("q"));
    }
    assert_eq!(bench.outputs().len(), READY_MAX);
    assert_eq!(bench.drops(DropReason::ReadyQueueFull), 100 - READY_MAX as u64);
}

#[test]
fn a_splice_that_passes_nothing_on_is_over_after_thirty_seconds() {
    let mut bench = Bench::pinned();
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &quic("q"));
    bench.pass(20 * SECOND);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &quic("q"));
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Quic, &quic("q"));
    bench.outputs();
    bench.pass(10 * SECOND);
    assert_eq!(bench.outputs(), [""; 0], "it was used ten seconds ago");
    bench.pass(19 * SECOND);
    bench.datagram(
        CALLER,
        "192.0.2.9:1",
        Payload::Quic,
        &quic("what is dropped keeps nothing alive"),
    );
    bench.pass(SECOND);
    let over = "SpliceOver { splice: SpliceId(7), reason: Idle }";
    assert_eq!(bench.outputs(), ["close 1", "close 2", over]);
    assert_eq!(bench.splices.next_deadline(), None);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &quic("late"));
    assert_eq!(bench.drops(DropReason::UnknownSocket), 1);
}

#[test]
fn a_splice_that_its_ends_never_use_is_over_after_ten_seconds() {
    let mut bench = Bench::pinned();
    let deadline = bench.splices.next_deadline().map(|deadline| deadline.at);
    assert_eq!(deadline, Some(test_base() + UNUSED));
    bench.pass(UNUSED);
    assert_eq!(bench.outputs().len(), 3);
    assert!(UNUSED < IDLE);
}

#[test]
fn a_close_sends_what_was_taken_and_ends_once() {
    let mut bench = Bench::pinned();
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &quic("last"));
    bench.splices.close(SpliceId(7));
    bench.splices.close(SpliceId(7));
    assert_eq!(
        bench.outputs(),
        [
            "send last from 2 to 192.0.2.2:2",
            "close 1",
            "close 2",
            "SpliceOver { splice: SpliceId(7), reason: ClosedHere }",
        ]
    );
    bench.splices.handle_socket_opened(CALLER, addr("203.0.113.1:1001"));
    bench.splices.handle_socket_failed(SocketId::MAIN);
    assert_eq!(bench.outputs(), [""; 0]);
    assert_eq!(bench.drops(DropReason::UnknownSocket), 2);
}

#[test]
fn a_splice_without_one_of_its_sockets_is_over() {
    let mut bench = Bench::new();
    bench.begin(7, [None, None]);
    bench.splices.handle_socket_opened(CALLER, addr("203.0.113.1:1001"));
    bench.outputs();
    bench.splices.handle_socket_failed(CALLEE);
    let over = "SpliceOver { splice: SpliceId(7), reason: SocketFailed }";
    assert_eq!(bench.outputs(), ["close 1", over]);
}

#[test]
fn splices_have_a_cap_and_one_beyond_it_opens_no_socket() {
    let mut bench = Bench::new();
    for number in 0..SPLICES_MAX as u64 {
        bench.begin(number, [None, None]);
    }
    assert_eq!(bench.outputs().len(), 2 * SPLICES_MAX);
    bench.begin(999, [None, None]);
    assert_eq!(bench.outputs(), ["SpliceOver { splice: SpliceId(999), reason: Full }"]);
    bench.splices.close(SpliceId(0));
    bench.outputs();
    bench.begin(1_000, [None, None]);
    assert_eq!(bench.outputs(), ["open 513 on 203.0.113.1", "open 514 on 203.0.113.1"]);
}

#[test]
fn a_datagram_passes_without_an_allocation() {
    let mut bench = Bench::pinned();
    let mut buf = TransmitBuf::new(1);
    let pass = |bench: &mut Bench, data: Vec<BytesMut>, buf: &mut TransmitBuf| {
        let from = addr("192.0.2.1:1");
        for data in data {
            bench.splices.handle_datagram(bench.now, CALLER, from, None, Payload::Quic, data);
            buf.bytes.clear();
            assert!(bench.splices.poll_output(buf).is_some());
        }
    };
    let datagrams = |count| (0..count).map(|_| BytesMut::from(&long(1_200)[..])).collect();
    pass(&mut bench, datagrams(4), &mut buf);
    let measured: Vec<BytesMut> = datagrams(64);
    let allocated = allocation_counter::measure(|| pass(&mut bench, measured, &mut buf));
    assert_eq!(allocated.count_total, 0);
}
