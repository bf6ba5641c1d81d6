//! Cost of a packet world: many whole nodes, a fixed number of edges each, steady small messages.
//!
//! Responsible for: the network and its traffic, and when a measurement begins and ends. Never:
//! reads a clock or a heap; see [`ScaleMark`].

use std::time::Duration;

use bytes::Bytes;
use nodenet_proto::node::Config;
use nodenet_proto::testkit::LinkProfile;

use crate::clock::Moment;
use crate::hash::below;
use crate::world::packet::{Gateway, HostSpec, NetworkSpec, PacketConfig, PacketWorld};
use crate::world::{Host, Violation};

/// Payload of a message (guess: a line of chat).
pub const MESSAGE_LEN: usize = 60;
/// From the start of one node to that of the next. Its dials are done by then on most links.
const START_EVERY: Duration = Duration::from_millis(50);
/// Steps from one check of a node to the next. A check goes through all conns of a node.
const CHECK_EVERY: u64 = 1 << 20;

/// Settings of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct ScaleSpec {
    /// Nodes, more than [`Self::edges`].
    pub nodes: u32,
    /// Edges of each node, an even number.
    pub edges: u32,
    /// The seed.
    pub seed: u64,
    /// Seconds of silence after the last edge came up.
    pub settle_secs: u64,
    /// Seconds of messages.
    pub secs: u64,
    /// Whether both ends of an edge send a message each second; otherwise they take turns.
    pub both_ways: bool,
}

/// A moment at which the caller may read the clock and the heap of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleMark {
    /// Every edge is up.
    Connected,
    /// The network has settled; the first message follows.
    Settled,
    /// A second of messages is over.
    Second,
    /// The last second is over.
    Done,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ScaleOutcome {
    /// Edges in all.
    pub edges: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// Datagrams sent in the seconds of messages.
    pub datagrams: u64,
    /// Events of the world in the seconds of messages.
    pub events: u64,
    /// Hash of all steps.
    pub trace_hash: u64,
}

/// Makes a network, lets it settle, and sends messages.
///
/// # Errors
/// If an invariant does not hold, or an edge does not come up.
pub fn scale(
    spec: ScaleSpec,
    mark: &mut dyn FnMut(ScaleMark, &PacketWorld),
) -> Result<ScaleOutcome, Violation> {
    let (mut world, hosts) = connected(spec)?;
    mark(ScaleMark::Connected, &world);
    world.run_for(Duration::from_secs(spec.settle_secs))?;
    mark(ScaleMark::Settled, &world);
    let (datagrams, events) = (world.net().stats().sent, world.trace().events());
    let mut sent = 0;
    for second in 0..spec.secs {
        sent += messages(&mut world, &hosts, spec, second)?;
        mark(ScaleMark::Second, &world);
    }
    let (datagrams, events) =
        (world.net().stats().sent - datagrams, world.trace().events() - events);
    mark(ScaleMark::Done, &world);
    // What is under way arrives.
    world.run_for(Duration::from_secs(2))?;
    Ok(ScaleOutcome {
        edges: hosts.iter().map(|&host| world.edges(host).len() as u64).sum::<u64>() / 2,
        sent,
        delivered: world.delivered_untracked(),
        datagrams,
        events,
        trace_hash: world.trace().value(),
    })
}

/// Each node dials the next nodes of a ring, so that it has the same number of edges in the end.
fn connected(spec: ScaleSpec) -> Result<(PacketWorld, Vec<Host>), Violation> {
    let config = PacketConfig { seed: spec.seed, check_every: CHECK_EVERY };
    let mut world = PacketWorld::new(config);
    let access = LinkProfile {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(2),
        ..LinkProfile::IDEAL
    };
    let internet = world.add_network(NetworkSpec {
        name: "internet".to_owned(),
        behind: None,
        gateway: Gateway::Open,
        access,
        inside: LinkProfile::LAN,
        ipv4: true,
        ipv6: false,
        clat: false,
    });
    let mut quiet = Config::default();
    quiet.engine.maintenance = false;
    let named = |number| HostSpec::new(&format!("n{number}"), internet, quiet.clone());
    let hosts: Vec<Host> = (0..spec.nodes).map(|number| world.add_host(named(number))).collect();
    for &host in &hosts {
        world.start(host, &[])?;
    }
    for (index, &host) in hosts.iter().enumerate() {
        for &peer in peers(&hosts, index, spec) {
            world.connect(host, peer)?;
        }
        world.run_for(START_EVERY)?;
    }
    world.run_for(Duration::from_secs(5))?;
    let lacks = |&host: &Host| world.edges(host).len() as u32 != spec.edges;
    if let Some(host) = hosts.iter().copied().find(lacks) {
        let what = format!("{} edges instead of {}", world.edges(host).len(), spec.edges);
        return Err(Violation { at: world.now(), host, what });
    }
    Ok((world, hosts))
}

/// The nodes that one dials.
fn peers(hosts: &[Host], index: usize, spec: ScaleSpec) -> impl Iterator<Item = &Host> {
    hosts.iter().cycle().skip(index + 1).take(spec.edges as usize / 2)
}

/// Sends a message on each edge, spread over a second.
fn messages(
    world: &mut PacketWorld,
    hosts: &[Host],
    spec: ScaleSpec,
    second: u64,
) -> Result<u64, Violation> {
    let mut ways: Vec<(Moment, Host, Host)> = Vec::new();
    let begin = world.now();
    let mut edge: u64 = 0;
    for (index, &host) in hosts.iter().enumerate() {
        for &peer in peers(hosts, index, spec) {
            let offset = |way: u64| crate::hash::fate(spec.seed, edge * 2 + way, second);
            let at = |way| begin + Duration::from_nanos(below(offset(way), 1_000_000_000));
            if spec.both_ways || second.is_multiple_of(2) {
                ways.push((at(0), host, peer));
            }
            if spec.both_ways || !second.is_multiple_of(2) {
                ways.push((at(1), peer, host));
            }
            edge += 1;
        }
    }
    ways.sort();
    let payload = Bytes::from_static(&[0x5a; MESSAGE_LEN]);
    for (at, from, to) in &ways {
        world.run_until(*at)?;
        let target = world.id(*to);
        world.send_bytes(*from, target, payload.clone())?;
    }
    world.run_until(begin + Duration::from_secs(1))?;
    Ok(ways.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::{ScaleMark, ScaleSpec, scale};

    #[test]
    fn every_message_of_every_edge_arrives_and_a_run_repeats() {
        let spec =
            ScaleSpec { nodes: 9, edges: 4, seed: 3, settle_secs: 1, secs: 2, both_ways: false };
        let mut marks = Vec::new();
        let outcome = scale(spec, &mut |mark, _| marks.push(mark)).unwrap();
        assert_eq!((outcome.edges, outcome.sent, outcome.delivered), (18, 36, 36));
        use ScaleMark::{Connected, Done, Second, Settled};
        assert_eq!(marks, [Connected, Settled, Second, Second, Done]);
        assert_eq!(scale(spec, &mut |_, _| {}).unwrap(), outcome);
        let both = scale(ScaleSpec { both_ways: true, ..spec }, &mut |_, _| {}).unwrap();
        assert_eq!((both.sent, both.delivered), (72, 72));
    }
}
