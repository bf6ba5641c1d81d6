//! Settings of the QUIC transport.

/// Settings of the QUIC transport.
#[derive(Debug, Clone)]
pub struct Config {
    /// Conns that peers opened, at most (reference; PROTOCOL.md#accepted-conns). With none the
    /// node only dials.
    pub accepted_conns_max: usize,
    /// Of these from one IPv4 address or IPv6 /64, at most (reference; PROTOCOL.md#accepted-conns);
    /// from one /56 twice as many, from one /48 four times (guess: it takes two sites to fill the
    /// default cap on all).
    pub accepted_conns_per_address_max: usize,
    /// Handshakes that peers began and did not finish, at most. One costs about 26 kB and at most
    /// 20 s (guess: 128, thus 3.3 MB).
    pub handshakes_max: usize,
    /// From this many handshakes on a peer has to prove its address with Retry first (guess: 32).
    pub handshakes_unproven_max: usize,
    /// Handshakes from one proven IPv4 address or IPv6 /64, at most (guess: 16), so that one host
    /// does not fill the cap for all. From one /56 twice as many, from one /48 four times.
    pub handshakes_per_address_max: usize,
    /// Whether the driver's socket never fragments, so that path MTU discovery may probe.
    pub mtu_discovery: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            accepted_conns_max: 256,
            accepted_conns_per_address_max: 32,
            handshakes_max: 128,
            handshakes_unproven_max: 32,
            handshakes_per_address_max: 16,
            mtu_discovery: true,
        }
    }
}
