//! Test of allocations in transit through a whole node. A relay of bare quinn-proto with the same
//! bytes is the bound, for their number and for their bytes, so no payload is copied either.

use allocation_counter::measure;
use nodenet_proto::testkit::NodeHost;
use nodenet_proto::testkit::host::Meter;
use nodenet_proto::testkit::transit::{Bare, Relay, Transit, burst};
use nodenet_proto::wire::SEND_PAYLOAD_MAX;

/// Small messages, in bursts, until every part of every pool was in use once.
const WARM_UP_SMALL: usize = 4_000;
/// Bursts of the measured messages until every buffer has its final size.
const WARM_UP: usize = 60;
/// Bursts that are measured: many times the number between two updates of flow control.
const MEASURED: usize = 400;
/// Bytes that a message may take above bare quinn-proto: far fewer than a copy of the smallest
/// message.
const EXCESS_MAX: f64 = 32.0;

/// Counts allocations while it is on.
#[derive(Default)]
struct Allocations {
    is_on: bool,
    count: u64,
    bytes: u64,
}

impl Meter for Allocations {
    fn measure(&mut self, call: &mut dyn FnMut()) {
        if self.is_on {
            let allocated = measure(call);
            self.count += allocated.count_total;
            self.bytes += allocated.bytes_total;
        } else {
            call();
        }
    }
}

/// Allocations of the relay `R` for each burst of messages of this size, and the bytes they take.
///
/// Two limits of flow control are raised every second large message. Whether both fit one packet
/// depends on the bytes read before. So each relay is measured with two histories, and its better
/// result counts.
fn allocations<R: Relay>(payload_len: usize, burst: usize) -> (f64, f64) {
    let with_history = |messages| {
        let mut transit = Transit::<R, _>::new(Allocations::default());
        let small = transit.message(200);
        for _ in 0..WARM_UP_SMALL / 16 {
            transit.carry(&small, 16);
        }
        let earlier = transit.message(1_024);
        transit.carry(&earlier, messages);
        let message = transit.message(payload_len);
        for _ in 0..WARM_UP {
            transit.carry(&message, burst);
        }
        transit.relay.meter.is_on = true;
        for _ in 0..MEASURED {
            transit.carry(&message, burst);
        }
        let Allocations { count, bytes, .. } = transit.relay.meter;
        (count as f64 / MEASURED as f64, bytes as f64 / MEASURED as f64)
    };
    let (one, other) = (with_history(0), with_history(1));
    if one.0 <= other.0 { one } else { other }
}

#[test]
fn a_node_allocates_no_more_than_bare_quic() {
    for payload_len in [200, 1_024, SEND_PAYLOAD_MAX] {
        let (node, node_bytes) = allocations::<NodeHost>(payload_len, 1);
        let (bare, bare_bytes) = allocations::<Bare>(payload_len, 1);
        println!("{payload_len} B: {node:.2} allocations, bare {bare:.2}");
        println!("{payload_len} B: {node_bytes:.0} bytes in them, bare {bare_bytes:.0}");
        assert!(bare > 0.0, "the counter counts");
        assert!(node <= bare, "{payload_len} B: {node:.2} allocations, bare {bare:.2}");
        let excess = node_bytes - bare_bytes;
        assert!(excess <= EXCESS_MAX, "{payload_len} B: {excess:.0} bytes more than bare");
    }
}

/// A forwarded frame has two chunks, its head and the rest; bare QUIC has one. QUIC's list of
/// unacknowledged chunks starts small after every pause. So it doubles once more for a burst.
#[test]
fn in_a_burst_the_list_of_chunks_grows_once_more() {
    for payload_len in [200, 1_024] {
        let burst = burst(payload_len);
        let (node, _) = allocations::<NodeHost>(payload_len, burst);
        let (bare, _) = allocations::<Bare>(payload_len, burst);
        println!("{payload_len} B × {burst}: {node:.2} allocations, bare {bare:.2}");
        assert!(node <= bare + 1.0, "{payload_len} B: {node:.2} allocations, bare {bare:.2}");
    }
}
