//! Benchmark of many idle edges: memory, and the poll of an idle node.
//!
//! An edge is idle once its peer was verified and no frame is in flight. Its memory is the
//! difference between the node and a node without edges, divided by the number of edges. It
//! includes the state of transport, timers and overlay, with the slack of every growing table.
//! Maintenance runs as by default. The peers are contacts of the node too, which counts; but the
//! table of contacts is bounded for any number of edges. The baseline is quinn-proto's memory for a
//! connection on which both ends have sent, without the list of connections of the test's bare
//! endpoint.

use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use nodenet_benches::{Limit, Row};
use nodenet_proto::env::Seed;
use nodenet_proto::quic::tls::Tls;
use nodenet_proto::testkit::transit::{self, Bare, PING, ideal_net};
use nodenet_proto::testkit::{Host, NodeHost, addr, base, identity};

/// Edges over which memory is averaged.
const EDGES: usize = 1_000;
/// Handshakes in progress at a time.
const AT_ONCE: usize = 50;

pub(crate) fn memory() -> Vec<Row> {
    let per_edge = |held: fn(usize) -> i64| (held(EDGES) - held(0)) as f64 / EDGES as f64;
    let sides = (per_edge(held_by_node), per_edge(held_by_bare));
    let baseline = "connection of bare quinn-proto";
    vec![Row::memory("memory of an idle edge", baseline, Limit::BytesAbove(1_024.0), sides)]
}

pub(crate) fn idle() -> Vec<Row> {
    let row = |count, limit| {
        let (mut many, _clients) = with_edges(count);
        let (mut one, _client) = with_edges(1);
        let name = format!("idle poll_output at {count} edges");
        Row::time(name, "at one edge", limit, 1, (|| many.poll_idle(), || one.poll_idle()))
    };
    vec![row(100, Limit::None), row(10_000, Limit::Ratio(2.0))]
}

/// Bytes that a node with `count` edges holds.
fn held_by_node(count: usize) -> i64 {
    let (node, _clients) = with_edges(count);
    -measure(|| drop(node)).bytes_current
}

/// Bytes that quinn-proto holds for `count` connections on which both ends have sent.
fn held_by_bare(count: usize) -> i64 {
    let mut server = transit::bare(0);
    server.answers = true;
    let _clients = connect(count, &mut server);
    assert_eq!((server.open(), server.heard), (count, count * PING.len()));
    let bookkeeping = server.bookkeeping() as i64;
    -measure(|| drop(server)).bytes_current - bookkeeping
}

fn with_edges(count: usize) -> (NodeHost, Bare) {
    let mut node = transit::node(0, base(), true);
    let clients = connect(count, &mut node);
    assert_eq!(node.node.edges().len(), count);
    (node, clients)
}

/// Connects `count` peers, each with an identity of its own, that send once and fall silent.
fn connect(count: usize, server: &mut dyn Host) -> Bare {
    let mut clients = transit::bare(1);
    let mut net = ideal_net();
    for first in (1..=count).step_by(AT_ONCE) {
        let conns: Vec<usize> = (first..=count.min(first + AT_ONCE - 1))
            .map(|number| {
                let number = number as u64;
                let tls = Tls::new(&identity(number), &Seed::from_u64(number));
                clients.dial(net.now, addr(0), Some(&tls))
            })
            .collect();
        net.settle(&mut [server, &mut clients]);
        for conn in conns {
            clients.write(conn, Bytes::from_static(&PING));
        }
        net.settle(&mut [server, &mut clients]);
    }
    // No state of a handshake is kept longer than this.
    net.run(&mut [server, &mut clients], Duration::from_secs(2));
    clients
}
