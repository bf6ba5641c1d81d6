//! Leaf tests of the packet world.

mod hosts;
mod order;

use std::time::Duration;

use nodenet_proto::node::Config;
use nodenet_proto::testkit::LinkProfile;

use super::{Gateway, HostSpec, NetworkId, NetworkSpec, PacketConfig, PacketWorld};
use crate::clock::Moment;
use crate::world::{Host, Settled};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A world of hosts on the internet, 20 ms apart, each with an edge to every other of `edges`.
struct Small {
    world: PacketWorld,
    internet: NetworkId,
}

impl Small {
    fn new(seed: u64) -> Self {
        let mut world = PacketWorld::new(PacketConfig { seed, check_every: 1 });
        let internet = world.add_network(open("internet"));
        world.keep_events();
        Self { world, internet }
    }

    /// Starts a host that dials, pings and looks up nothing on its own.
    fn host(&mut self, name: &str) -> Host {
        self.within(name, self.internet)
    }

    fn within(&mut self, name: &str, network: NetworkId) -> Host {
        self.with(HostSpec::new(name, network, quiet()))
    }

    fn with(&mut self, spec: HostSpec) -> Host {
        let host = self.world.add_host(spec);
        self.world.start(host, &[]).unwrap();
        host
    }

    fn connect(&mut self, from: Host, to: Host) {
        self.world.connect(from, to).unwrap();
        let end = self.world.now() + 20 * SECOND;
        let is_up = |world: &PacketWorld| world.has_edge(from, to) && world.has_edge(to, from);
        assert!(self.world.run_until_met(end, is_up).unwrap(), "no edge");
        // The first frames of both ends.
        self.world.run_for(SECOND).unwrap();
    }

    /// Sends over the edge, and waits for the arrival.
    fn delivers(&mut self, from: Host, to: Host, within: Duration) -> bool {
        let number = self.world.probes().tracked().len();
        self.world.send_direct(from, to).unwrap();
        let end = self.world.now() + within;
        let arrived = |world: &PacketWorld| world.probes().tracked()[number].arrival.is_some();
        self.world.run_until_met(end, arrived).unwrap()
    }

    fn settled(&self, number: usize) -> Settled {
        self.world.probes().tracked()[number].settled
    }

    fn arrival(&self, number: usize) -> Option<Moment> {
        self.world.probes().tracked()[number].arrival.map(|arrival| arrival.at)
    }
}

fn quiet() -> Config {
    let mut config = Config::default();
    config.engine.maintenance = false;
    config
}

fn open(name: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.to_owned(),
        behind: None,
        gateway: Gateway::Open,
        access: LinkProfile::REGION,
        inside: LinkProfile::LAN,
        ipv4: true,
        ipv6: false,
        clat: false,
    }
}
