//! Address policy: which addresses a node dials on the word of a peer, and which it tells to
//! others (THREATS.md#e10).

use std::net::SocketAddr;

use super::{Scope, scope};

/// What address policy depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddrPolicy<'a> {
    /// Whether the operator allows loopback and link-local addresses.
    pub(crate) allow_local: bool,
    /// The addresses at which the main socket can be reached on this machine.
    pub(crate) local_addrs: &'a [SocketAddr],
}

impl AddrPolicy<'_> {
    /// Whether this node dials an address that a peer named: one host's, on a network that this
    /// node is on as well.
    pub(crate) fn may_dial(self, addr: SocketAddr) -> bool {
        let is_on_site =
            |addr: &SocketAddr| matches!(scope(addr.ip()), Some(Scope::Site | Scope::Loopback));
        let dialable_here = match scope(addr.ip()) {
            Some(Scope::Site) => {
                self.allow_local
                    || self.local_addrs.is_empty()
                    || self.local_addrs.iter().any(is_on_site)
            }
            _ => true,
        };
        dialable_here && self.may_advertise(addr)
    }

    /// Whether others can make use of `addr`. What reaches no farther than this machine or link is
    /// advertised only if the operator allows it, or if loopback is all that this node has.
    pub(crate) fn may_advertise(self, addr: SocketAddr) -> bool {
        let is_loopback = |addr: &SocketAddr| scope(addr.ip()) == Some(Scope::Loopback);
        let is_loopback_only =
            !self.local_addrs.is_empty() && self.local_addrs.iter().all(is_loopback);
        match scope(addr.ip()) {
            _ if addr.port() == 0 => false,
            None => false,
            Some(Scope::Loopback) => self.allow_local || is_loopback_only,
            Some(Scope::LinkLocal) => self.allow_local,
            Some(Scope::Site | Scope::Global) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::AddrPolicy;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("a literal")
    }

    fn policy(local_addrs: &[SocketAddr]) -> AddrPolicy<'_> {
        AddrPolicy { allow_local: false, local_addrs }
    }

    #[test]
    fn loopback_is_advertised_only_by_a_node_that_has_nothing_else() {
        let (loopback, lan) = (addr("127.0.0.1:1"), addr("192.168.0.2:1"));
        assert!(policy(&[loopback]).may_advertise(loopback));
        for local in [&[][..], &[loopback, lan]] {
            assert!(!policy(local).may_advertise(loopback), "{local:?}");
            assert!(AddrPolicy { allow_local: true, ..policy(local) }.may_advertise(loopback));
        }
    }

    #[test]
    fn link_local_addresses_need_the_operators_consent() {
        let link_local = addr("[fe80::1]:1");
        assert!(!policy(&[link_local]).may_dial(link_local));
        assert!(AddrPolicy { allow_local: true, ..policy(&[]) }.may_dial(link_local));
    }

    #[test]
    fn private_addresses_are_dialed_from_a_site_and_advertised_from_anywhere() {
        let (private, global) = (addr("10.0.0.9:1"), addr("192.0.2.1:1"));
        assert!(!policy(&[global]).may_dial(private) && policy(&[global]).may_advertise(private));
        assert!(AddrPolicy { allow_local: true, ..policy(&[global]) }.may_dial(private));
        assert!(policy(&[addr("192.168.0.2:1")]).may_dial(private));
        assert!(policy(&[]).may_dial(private), "the driver has not said where the socket is");
    }

    #[test]
    fn what_no_host_answers_at_is_neither_dialed_nor_advertised() {
        let all = AddrPolicy { allow_local: true, local_addrs: &[] };
        for nowhere in ["192.0.2.1:0", "0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1"].map(addr) {
            assert!(!all.may_dial(nowhere) && !all.may_advertise(nowhere), "{nowhere}");
        }
    }
}
