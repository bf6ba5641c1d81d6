//! One order of events, and fates that do not depend on other events.

use std::net::SocketAddr;

use super::{SECOND, Small};
use crate::clock::Moment;
use crate::world::Host;
use crate::world::packet::{PacketStepKind, PacketWorld};

fn trace_of(seed: u64) -> (u64, u64) {
    let mut small = Small::new(seed);
    let [a, b] = ["a", "b"].map(|name| small.host(name));
    small.connect(a, b);
    assert!(small.delivers(a, b, SECOND));
    (small.world.trace().value(), small.world.trace().events())
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    assert_eq!(trace_of(1), trace_of(1));
    assert_ne!(trace_of(1), trace_of(2));
}

#[test]
fn at_one_moment_datagrams_come_in_the_order_of_sending_and_before_timers() {
    let mut small = Small::new(1);
    let host = small.host("a");
    small.world.run_for(SECOND).unwrap();
    let to = small.world.local_addrs(host)[0];
    let stranger = |last| SocketAddr::from(([198, 51, 100, last], 9));
    let at = small.world.now();
    // Three links with the same latency, and a socket that becomes writable at the same moment.
    let arrives = at + small.world.link(host, host).unwrap().latency / 2;
    small.world.block(host, arrives);
    for last in [3, 1, 2] {
        small.world.inject(stranger(last), to, b"not QUIC");
    }
    small.world.run_until(arrives).unwrap();
    let steps: Vec<_> = small.world.journal().steps().filter(|step| step.at == arrives).collect();
    let kinds: Vec<_> = steps.iter().map(|step| step.kind).collect();
    use PacketStepKind::{Datagram, Writable};
    assert_eq!(kinds, [Datagram, Datagram, Datagram, Writable]);
    let from: Vec<_> = steps.iter().filter_map(|step| Some(step.ends?.0)).collect();
    assert_eq!(from, [stranger(3), stranger(1), stranger(2)]);
}

/// Times at which messages from one host to another arrive over a lossy link with jitter.
fn arrivals(others: &[&str], before: bool) -> Vec<Option<Moment>> {
    let mut small = Small::new(5);
    let mut all: Vec<Host> = Vec::new();
    if before {
        all.extend(others.iter().map(|name| small.host(name)));
    }
    let [a, b] = ["a", "b"].map(|name| small.host(name));
    if !before {
        all.extend(others.iter().map(|name| small.host(name)));
    }
    small.world.run_until(Moment::from_secs(1)).unwrap();
    let lossy = nodenet_proto::testkit::LinkProfile::LTE;
    for (from, to) in [(a, b), (b, a)] {
        assert_eq!(small.world.set_link(from, to, lossy), 1);
    }
    small.world.connect(a, b).unwrap();
    for pair in all.windows(2) {
        small.world.connect(pair[0], pair[1]).unwrap();
    }
    small.world.run_until(Moment::from_secs(10)).unwrap();
    let first = small.world.probes().tracked().len();
    for number in 0..50 {
        small.world.send_direct(a, b).unwrap();
        for pair in all.windows(2) {
            small.world.send_direct(pair[1], pair[0]).unwrap();
        }
        small.world.run_until(Moment::from_secs(11 + number)).unwrap();
    }
    let of_pair = |world: &PacketWorld| {
        let tracked = world.probes().tracked()[first..].iter();
        tracked
            .filter(|message| message.from == a)
            .map(|message| Some(message.arrival?.at))
            .collect()
    };
    of_pair(&small.world)
}

#[test]
fn hosts_that_have_nothing_to_do_with_a_pair_change_none_of_its_fates() {
    let alone = arrivals(&[], false);
    assert_eq!(alone.iter().flatten().count(), 50);
    assert_eq!(arrivals(&["c", "d", "e"], true), alone);
    assert_eq!(arrivals(&["x", "y"], false), alone);
}
