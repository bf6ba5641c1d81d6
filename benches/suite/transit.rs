//! Benchmark of transit: the time that a whole node in the middle spends on a frame.

use std::time::Duration;

use nodenet_benches::{Limit, Row, time_once};
use nodenet_proto::testkit::NodeHost;
use nodenet_proto::testkit::host::Meter;
use nodenet_proto::testkit::transit::{Bare, Relay, Transit, burst};
use nodenet_proto::wire::SEND_PAYLOAD_MAX;

pub(crate) fn rows() -> Vec<Row> {
    let alone = [200, 1_024, SEND_PAYLOAD_MAX].map(|len| of(len, 1, Limit::Ratio(1.3)));
    // Many messages to a datagram. Bare QUIC does almost no work for each; a node decides for each.
    let in_bursts = [200, 1_024].map(|len| of(len, burst(len), Limit::None));
    alone.into_iter().chain(in_bursts).collect()
}

/// Adds up measured durations.
#[derive(Default)]
struct Stopwatch(Duration);

impl Meter for Stopwatch {
    fn measure(&mut self, call: &mut dyn FnMut()) {
        self.0 += time_once(call);
    }
}

fn of(payload_len: usize, count: usize, limit: Limit) -> Row {
    let name = match count {
        1 => format!("transit through a node, {payload_len} B"),
        _ => format!("transit, {payload_len} B, {count} at once"),
    };
    let baseline = "relay of bare quinn-proto";
    let sides = (carrier::<NodeHost>(payload_len, count), carrier::<Bare>(payload_len, count));
    Row::stopwatch(name, baseline, limit, count as u32, sides)
}

fn carrier<R: Relay>(payload_len: usize, count: usize) -> impl FnMut() -> Duration {
    let mut transit = Transit::<R, _>::new(Stopwatch::default());
    move || {
        // Signed anew each time, because relays forward only fresh messages.
        let message = transit.message(payload_len);
        transit.relay.meter.0 = Duration::ZERO;
        transit.carry(&message, count);
        transit.relay.meter.0
    }
}
