//! Benchmark of a handshake, both ends together.

use std::time::Duration;

use bytes::Bytes;
use nodenet_benches::{Limit, Row, time_once};
use nodenet_proto::api::{Command, Event, RequestId};
use nodenet_proto::testkit::transit::{self, PING, ideal_net};
use nodenet_proto::testkit::{addr, base, identity};

/// Longer than the draining of a closed connection.
const AFTERWARDS: Duration = Duration::from_secs(3);

pub(crate) fn rows() -> Vec<Row> {
    // The baseline verifies both identities as well, so its time needs no correction.
    let (name, baseline) = ("handshake to a standing edge", "bare quinn-proto, the same TLS");
    vec![Row::stopwatch(name, baseline, Limit::Ratio(1.1), 1, (nodes(), bare()))]
}

fn nodes() -> impl FnMut() -> Duration {
    let mut net = ideal_net();
    let [mut dialer, mut acceptor] = [0, 1].map(|number| transit::node(number, base(), false));
    let target = identity(1).id();
    let mut requests = 0;
    move || {
        requests += 2;
        let (request, addrs) = (RequestId(requests), vec![addr(1)]);
        let taken = time_once(|| {
            dialer.command(&net, Command::Connect { request, target, addrs });
            net.settle(&mut [&mut dialer, &mut acceptor]);
        });
        let connected = |event: &Event| matches!(event, Event::Connected { .. });
        assert!(dialer.events.iter().any(connected), "{:?}", dialer.events);
        let request = RequestId(requests + 1);
        dialer.command(&net, Command::CloseEdge { request, peer: target });
        net.run(&mut [&mut dialer, &mut acceptor], AFTERWARDS);
        assert!(dialer.node.edges().is_empty() && acceptor.node.edges().is_empty());
        dialer.events.clear();
        acceptor.events.clear();
        taken
    }
}

fn bare() -> impl FnMut() -> Duration {
    let mut net = ideal_net();
    let [mut dialer, mut acceptor] = [0, 1].map(transit::bare);
    move || {
        let before = (acceptor.connected, acceptor.heard);
        let taken = time_once(|| {
            let conn = dialer.dial(net.now, addr(1), None);
            net.settle(&mut [&mut dialer, &mut acceptor]);
            dialer.write(conn, Bytes::from_static(&PING));
            net.settle(&mut [&mut dialer, &mut acceptor]);
        });
        assert_eq!((acceptor.connected, acceptor.heard), (before.0 + 1, before.1 + PING.len()));
        dialer.close_all(net.now);
        net.run(&mut [&mut dialer, &mut acceptor], AFTERWARDS);
        assert_eq!((dialer.open(), acceptor.open()), (0, 0));
        taken
    }
}
