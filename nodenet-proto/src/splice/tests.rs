//! Tests of splices: the exact outputs of each input.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{IDLE, Output, Payload, READY_MAX, SPLICES_MAX, Splices};
use crate::env::test_base;
use crate::io::{EcnCodepoint, SocketId, TransmitBuf};
use crate::stats::DropReason;
use crate::transport::SpliceId;

const SECOND: Duration = Duration::from_secs(1);
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// The sockets of the first splice.
const CALLER: SocketId = SocketId(1);
const CALLEE: SocketId = SocketId(2);

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
    fn open(expected: [Option<IpAddr>; 2]) -> Self {
        let mut bench = Self::new();
        bench.splices.open(bench.now, SpliceId(7), LOCAL, expected);
        bench.splices.handle_socket_opened(CALLER, addr("203.0.113.1:1001"));
        bench.splices.handle_socket_opened(CALLEE, addr("203.0.113.1:1002"));
        bench.outputs();
        bench
    }

    /// With remotes that are pinned on both sides.
    fn pinned() -> Self {
        let mut bench = Self::open([None, None]);
        bench.datagram(CALLER, "192.0.2.1:1", Payload::Punch, b"");
        bench.datagram(CALLEE, "192.0.2.2:2", Payload::Punch, b"");
        bench
    }

    fn datagram(&mut self, socket: SocketId, from: &str, payload: Payload, data: &[u8]) {
        let (ecn, data) = (Some(EcnCodepoint::Ect0), BytesMut::from(data));
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
                    let bytes = buf.bytes.escape_ascii();
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
    bench.splices.open(bench.now, SpliceId(7), LOCAL, [None, None]);
    assert_eq!(bench.outputs(), ["open 1 on 203.0.113.1", "open 2 on 203.0.113.1"]);
    bench.splices.handle_socket_opened(CALLEE, addr("203.0.113.1:1002"));
    assert_eq!(bench.outputs(), [""; 0]);
    bench.splices.handle_socket_opened(CALLER, addr("203.0.113.1:1001"));
    assert_eq!(
        bench.outputs(),
        ["SpliceOpened { splice: SpliceId(7), locals: [203.0.113.1:1001, 203.0.113.1:1002] }"]
    );
    bench.splices.open(bench.now, SpliceId(8), LOCAL, [None, None]);
    assert_eq!(bench.outputs(), ["open 3 on 203.0.113.1", "open 4 on 203.0.113.1"]);
}

#[test]
fn datagrams_pass_unchanged_between_the_first_remotes_that_send() {
    let mut bench = Bench::open([None, None]);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, b"lost");
    assert_eq!(bench.drops(DropReason::SpliceNotPinned), 1, "the other side is not pinned");
    bench.datagram(CALLEE, "192.0.2.2:2", Payload::Punch, b"\x00np\x01");
    assert_eq!(bench.drops(DropReason::Punch), 1, "a punch pins and ends here");
    assert_eq!(bench.outputs(), [""; 0]);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, b"there");
    bench.datagram(CALLEE, "192.0.2.2:2", Payload::Quic, b"back");
    assert_eq!(
        bench.outputs(),
        ["send there from 2 to 192.0.2.2:2", "send back from 1 to 192.0.2.1:1"]
    );
    let counters = bench.splices.stats().counters;
    assert_eq!((counters.datagrams_sent, counters.bytes_sent), (2, 9));
}

#[test]
fn a_pinned_remote_may_change_its_port_and_no_other_remote_gets_through() {
    let mut bench = Bench::pinned();
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Quic, b"other");
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Punch, b"other");
    assert_eq!(bench.drops(DropReason::SpliceOtherRemote), 2);
    bench.datagram(CALLER, "192.0.2.1:99", Payload::Quic, b"moved");
    bench.datagram(CALLEE, "192.0.2.2:2", Payload::Quic, b"found");
    assert_eq!(
        bench.outputs(),
        ["send moved from 2 to 192.0.2.2:2", "send found from 1 to 192.0.2.1:99"]
    );
}

#[test]
fn a_side_with_an_expected_host_pins_no_other() {
    let expected = Some(addr("192.0.2.1:0").ip());
    let mut bench = Bench::open([expected, None]);
    bench.datagram(CALLEE, "192.0.2.2:2", Payload::Punch, b"");
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Quic, b"first");
    assert_eq!(bench.drops(DropReason::SpliceOtherRemote), 1);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, b"second");
    assert_eq!(bench.outputs(), ["send second from 2 to 192.0.2.2:2"]);
}

#[test]
fn datagrams_beyond_the_rates_are_dropped() {
    let mut bench = Bench::pinned();
    let send = |bench: &mut Bench, count: usize, len: usize| {
        let mut sent = 0;
        for _ in 0..count {
            bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, &vec![b'q'; len]);
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
        bench.splices.open(bench.now, SpliceId(7 + number), LOCAL, [None, None]);
        let sockets = [SocketId(2 * number + 1), SocketId(2 * number + 2)];
        bench.datagram(sockets[0], "192.0.2.1:1", Payload::Punch, b"");
        bench.datagram(sockets[1], "192.0.2.2:2", Payload::Punch, b"");
    }
    bench.outputs();
    let mut sent = 0;
    for number in 0..4 {
        for _ in 0..100 {
            let socket = SocketId(2 * number + 1);
            bench.datagram(socket, "192.0.2.1:1", Payload::Quic, &[b'q'; 1_000]);
            sent += bench.outputs().len();
        }
    }
    assert_eq!(sent, 262);
}

#[test]
fn what_waits_to_be_sent_is_bounded() {
    let mut bench = Bench::pinned();
    for _ in 0..100 {
        bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, b"q");
    }
    assert_eq!(bench.outputs().len(), READY_MAX);
    assert_eq!(bench.drops(DropReason::ReadyQueueFull), 100 - READY_MAX as u64);
}

#[test]
fn a_splice_that_passes_nothing_on_is_over_after_thirty_seconds() {
    let mut bench = Bench::pinned();
    bench.pass(20 * SECOND);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, b"q");
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Quic, b"q");
    bench.outputs();
    let deadline = bench.splices.next_deadline().map(|deadline| deadline.at);
    assert_eq!(deadline, Some(test_base() + IDLE));
    bench.pass(10 * SECOND);
    assert_eq!(bench.outputs(), [""; 0], "it was used ten seconds ago");
    bench.pass(19 * SECOND);
    bench.datagram(CALLER, "192.0.2.9:1", Payload::Quic, b"what is dropped keeps nothing alive");
    bench.pass(SECOND);
    let over = "SpliceOver { splice: SpliceId(7), reason: Idle }";
    assert_eq!(bench.outputs(), ["close 1", "close 2", over]);
    assert_eq!(bench.splices.next_deadline(), None);
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, b"late");
    assert_eq!(bench.drops(DropReason::UnknownSocket), 1);
}

#[test]
fn a_close_sends_what_was_taken_and_ends_once() {
    let mut bench = Bench::pinned();
    bench.datagram(CALLER, "192.0.2.1:1", Payload::Quic, b"last");
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
    bench.splices.open(bench.now, SpliceId(7), LOCAL, [None, None]);
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
        bench.splices.open(bench.now, SpliceId(number), LOCAL, [None, None]);
    }
    assert_eq!(bench.outputs().len(), 2 * SPLICES_MAX);
    bench.splices.open(bench.now, SpliceId(999), LOCAL, [None, None]);
    assert_eq!(bench.outputs(), ["SpliceOver { splice: SpliceId(999), reason: Full }"]);
    bench.splices.close(SpliceId(0));
    bench.outputs();
    bench.splices.open(bench.now, SpliceId(1_000), LOCAL, [None, None]);
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
    let datagrams = |count| (0..count).map(|_| BytesMut::from(&[b'q'; 1_200][..])).collect();
    pass(&mut bench, datagrams(4), &mut buf);
    let measured: Vec<BytesMut> = datagrams(64);
    let allocated = allocation_counter::measure(|| pass(&mut bench, measured, &mut buf));
    assert_eq!(allocated.count_total, 0);
}
