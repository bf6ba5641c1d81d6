//! Addresses of volunteers that lead to other nodes: those granted to this node, and those that it
//! was asked to punch at (PROTOCOL.md#relayed-paths).
//!
//! Responsible for: which volunteer an address belongs to, and how long it is remembered. Never:
//! decides which address is used.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::NodeId;

/// Addresses that are remembered (a guess: two for each of as many edges as a node has).
pub(super) const PATHS_MAX: usize = 512;
/// An address without a conn is remembered for this long (a guess: longer than any handshake).
const UNUSED: Duration = Duration::from_secs(60);

/// The addresses, each with its volunteer and when it was named last.
#[derive(Debug, Default)]
pub(super) struct Paths(BTreeMap<SocketAddr, (NodeId, Instant)>);

impl Paths {
    /// The volunteer whose address this is.
    pub(super) fn find(&self, addr: SocketAddr) -> Option<NodeId> {
        self.0.get(&addr).map(|(volunteer, _)| *volunteer)
    }

    /// Notes an address. `used` are the addresses of live conns, which are not forgotten. Returns
    /// false if all places are taken by such.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        volunteer: NodeId,
        used: impl FnOnce() -> Vec<SocketAddr>,
    ) -> bool {
        let is_full = self.0.len() >= PATHS_MAX && !self.0.contains_key(&addr);
        if is_full || self.0.values().any(|(_, at)| *at + UNUSED <= now) {
            let used = used();
            self.0.retain(|addr, (_, at)| *at + UNUSED > now || used.contains(addr));
            if is_full && self.0.len() >= PATHS_MAX {
                let unused = self.0.iter().filter(|(addr, _)| !used.contains(addr));
                let oldest = unused.min_by_key(|(_, (_, at))| *at).map(|(addr, _)| *addr);
                let Some(oldest) = oldest else { return false };
                self.0.remove(&oldest);
            }
        }
        self.0.insert(addr, (volunteer, now));
        true
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert!(self.0.len() <= PATHS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_base;

    fn id(first: u8) -> NodeId {
        NodeId::from_bytes([first; 32])
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 1], port))
    }

    #[test]
    fn an_address_is_remembered_for_a_minute_and_while_a_conn_uses_it() {
        let (mut paths, start) = (Paths::default(), test_base());
        assert!(paths.insert(start, addr(1), id(1), Vec::new));
        assert!(paths.insert(start, addr(2), id(2), Vec::new));
        let later = start + UNUSED;
        assert!(paths.insert(later, addr(3), id(3), || vec![addr(2)]));
        assert_eq!([1, 2, 3].map(|port| paths.find(addr(port))), [None, Some(id(2)), Some(id(3))]);
    }

    #[test]
    fn the_oldest_address_without_a_conn_makes_room() {
        let (mut paths, start) = (Paths::default(), test_base());
        for port in 0..PATHS_MAX as u16 {
            let at = start + Duration::from_millis(port.into());
            assert!(paths.insert(at, addr(port), id(1), Vec::new));
        }
        let start = start + Duration::from_secs(1);
        assert!(paths.insert(start, addr(9_999), id(1), || vec![addr(0)]));
        assert_eq!((paths.find(addr(0)), paths.find(addr(1))), (Some(id(1)), None));
        let all = || (0..10_000).map(addr).collect();
        assert!(!paths.insert(start, addr(10_001), id(1), all));
        paths.check();
    }
}
