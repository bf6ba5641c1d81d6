//! Self-description of a node: the addresses and capabilities that it announces.
//!
//! The engine keeps one and lends it to every machine through [`crate::context::Context`].

use std::net::SocketAddr;

use super::{Config, OWN_ADDRS_MAX, Profile};
use crate::addr::{AddrPolicy, canonical};
use crate::wire::Capabilities;

/// What a node announces of itself.
#[derive(Debug, Clone)]
pub(crate) struct SelfDescription {
    allow_local: bool,
    capabilities: Capabilities,
    /// Addresses of the main socket, as the driver reports them, best first.
    local_addrs: Vec<SocketAddr>,
    /// What is advertised, best first.
    addrs: Vec<SocketAddr>,
}

impl SelfDescription {
    /// The description of a node whose driver has not reported an address yet.
    pub(crate) fn new(config: &Config) -> Self {
        let mut capabilities = Capabilities::default();
        if config.profile == Profile::Light {
            capabilities = capabilities.with(Capabilities::LIGHT);
        }
        let mut own = Self {
            allow_local: config.allow_local_addrs,
            capabilities,
            local_addrs: Vec::new(),
            addrs: Vec::new(),
        };
        if !config.public_addrs.is_empty() {
            own.set_reachable();
        }
        own.set_local_addrs(config, &[]);
        own
    }

    /// Takes the addresses at which the main socket can be reached on this machine, best first.
    /// Configured addresses come before them, because reference nodes dial the first address only.
    pub(crate) fn set_local_addrs(&mut self, config: &Config, addrs: &[SocketAddr]) {
        self.local_addrs = addrs.to_vec();
        let mut advertised: Vec<SocketAddr> = Vec::new();
        for addr in config.public_addrs.iter().chain(addrs).map(|addr| canonical(*addr)) {
            let is_new = !advertised.contains(&addr);
            if advertised.len() < OWN_ADDRS_MAX && is_new && self.policy().may_advertise(addr) {
                advertised.push(addr);
            }
        }
        self.addrs = advertised;
    }

    /// Peers that this node had never dialed reached it, so any peer can reach it.
    pub(crate) fn set_reachable(&mut self) {
        self.capabilities = self.capabilities.with(Capabilities::PUBLIC_ANCHOR);
    }

    /// Whether peers that this node has never dialed can reach it.
    pub(crate) fn is_reachable(&self) -> bool {
        self.capabilities.has(Capabilities::PUBLIC_ANCHOR)
    }

    /// The capabilities of this node.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The announced addresses, best first; at most [`OWN_ADDRS_MAX`].
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Policy for the addresses of others that this node dials and passes on.
    pub(crate) fn policy(&self) -> AddrPolicy<'_> {
        AddrPolicy { allow_local: self.allow_local, local_addrs: &self.local_addrs }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 4242))
    }

    #[test]
    fn configured_addresses_come_first_and_four_in_all_are_announced() {
        let config = Config { public_addrs: vec![addr(1), addr(2)], ..Config::default() };
        let mut own = SelfDescription::new(&config);
        assert_eq!(own.addrs(), [addr(1), addr(2)]);
        let mapped =
            SocketAddr::from((std::net::Ipv4Addr::new(192, 0, 2, 3).to_ipv6_mapped(), 4242));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 4242));
        own.set_local_addrs(&config, &[addr(2), mapped, loopback, addr(4), addr(5)]);
        assert_eq!(own.addrs(), [addr(1), addr(2), addr(3), addr(4)]);
    }

    #[test]
    fn a_node_is_an_anchor_if_it_is_configured_so_or_was_reached() {
        let mut own = SelfDescription::new(&Config::default());
        assert!(!own.is_reachable());
        own.set_reachable();
        assert!(own.capabilities().has(Capabilities::PUBLIC_ANCHOR));
        let config = Config { public_addrs: vec![addr(1)], ..Config::default() };
        assert!(SelfDescription::new(&config).is_reachable());
        let light = Config { profile: Profile::Light, ..Config::default() };
        assert!(SelfDescription::new(&light).capabilities().has(Capabilities::LIGHT));
    }
}
