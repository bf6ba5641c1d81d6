//! Settings of the QUIC transport.

/// Settings of the QUIC transport.
#[derive(Debug, Clone)]
pub struct Config {
    /// Conns that others opened, at most (spec 40 §5.1: 256).
    pub accepted_conns_max: usize,
    /// Of these from one IPv4 address or IPv6 /64, at most (spec 40 §5.1: 32).
    pub accepted_conns_per_address_max: usize,
    /// Whether the driver's socket never fragments, so that path MTU discovery may probe.
    pub mtu_discovery: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { accepted_conns_max: 256, accepted_conns_per_address_max: 32, mtu_discovery: true }
    }
}
