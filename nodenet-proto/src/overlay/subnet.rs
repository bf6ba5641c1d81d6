//! Which subnet a peer counts for, in every diversity rule of the overlay (spec 20 §5, R6).
//!
//! How wide one is, [`Tier`](crate::addr::Tier) tells.

use std::net::IpAddr;

use crate::addr::Subnet;

/// The subnet that an address counts for. Loopback counts for none: it is dialed only where the
/// operator allows it, and there a whole network may share it.
pub(crate) fn counted(ip: IpAddr) -> Option<Subnet> {
    (!ip.to_canonical().is_loopback()).then(|| Subnet::of(ip))
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn loopback_counts_for_nothing() {
        for (ip, counts) in
            [("127.0.0.1", false), ("::ffff:127.0.0.1", false), ("::1", false), ("192.0.2.7", true)]
        {
            assert_eq!(counted(ip.parse().unwrap()).is_some(), counts, "{ip}");
        }
    }
}
