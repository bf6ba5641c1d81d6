//! Check of the addresses that a node advertises as its own.
//!
//! Responsible for: refusing with a reason each address that the core would leave out. Never: which
//! addresses there are.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use nodenet_proto::addr::{Scope, canonical, scope};
use nodenet_proto::api::OWN_ADDRS_MAX;

use crate::error::{AdvertiseError, StartError};
use crate::platform::{Platform, Socket};

/// Checks that peers can dial `addr`, as far as that follows from the address alone. For a program
/// that checks before it starts a node with [`crate::Builder::advertise`].
///
/// # Errors
/// If no peer can.
pub fn check_advertised(addr: SocketAddr) -> Result<(), AdvertiseError> {
    if scope(addr.ip()).is_none() {
        return Err(AdvertiseError::NotOneHost(addr.ip()));
    }
    if addr.port() == 0 {
        return Err(AdvertiseError::NoPort);
    }
    Ok(())
}

/// Refuses addresses that a node at `socket` would not advertise, and more than it can.
pub(crate) fn check_all(
    addrs: &[SocketAddr],
    platform: &dyn Platform,
    socket: &dyn Socket,
    allow_local: bool,
) -> Result<(), StartError> {
    for addr in addrs {
        check_advertised(*addr)
            .and_then(|()| check_reach(addr.ip(), platform, socket, allow_local))
            .map_err(|problem| StartError::Advertise { addr: *addr, problem })?;
    }
    let distinct: BTreeSet<SocketAddr> = addrs.iter().copied().map(canonical).collect();
    match distinct.len() {
        0..=OWN_ADDRS_MAX => Ok(()),
        count => Err(StartError::TooManyAdvertised { count }),
    }
}

/// An address that means another host on each machine is advertised only in a network on one
/// machine.
fn check_reach(
    ip: IpAddr,
    platform: &dyn Platform,
    socket: &dyn Socket,
    allow_local: bool,
) -> Result<(), AdvertiseError> {
    let is_advertised = match scope(ip) {
        _ if allow_local => true,
        Some(Scope::Loopback) => is_on_loopback(platform, socket),
        Some(Scope::LinkLocal) => false,
        Some(Scope::Site | Scope::Global) | None => true,
    };
    if is_advertised { Ok(()) } else { Err(AdvertiseError::TooNear(ip)) }
}

/// Whether the socket can be reached on loopback alone.
fn is_on_loopback(platform: &dyn Platform, socket: &dyn Socket) -> bool {
    let addrs = platform.reachable_addrs(socket, false);
    !addrs.is_empty() && addrs.iter().all(|addr| addr.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{AdvertiseError, check_advertised, check_all};
    use crate::error::StartError;
    use crate::platform::Platform;
    use crate::testing::Hub;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The answer of a node on a site address to these.
    fn check(addrs: &[&str], allow_local: bool) -> Result<(), StartError> {
        let hub = Hub::new(1);
        let socket = hub.bind(hub.addr(1)).expect("the address is free");
        let addrs: Vec<SocketAddr> = addrs.iter().map(|text| addr(text)).collect();
        check_all(&addrs, &hub, &*socket, allow_local)
    }

    #[tokio::test]
    async fn an_address_that_the_core_would_leave_out_is_refused_with_a_reason() {
        for (text, problem) in [
            ("0.0.0.0:4242", "0.0.0.0 is no address of one host"),
            ("[::]:4242", ":: is no address of one host"),
            ("239.1.2.3:4242", "no address of one host"),
            ("[ff0e::1]:4242", "no address of one host"),
            ("255.255.255.255:1", "no address of one host"),
            ("192.0.2.1:0", "port 0 can not be dialed"),
            ("127.0.0.1:4242", "127.0.0.1 reaches no farther than one machine"),
            ("[::1]:4242", "bind to a loopback address"),
            ("169.254.1.1:4242", "or one link"),
            ("[fe80::1]:4242", "or one link"),
        ] {
            let error = check(&["192.0.2.1:1", text], false).unwrap_err().to_string();
            for part in [&format!("can not advertise {text}: "), problem, "for example 203.0.113.5"]
            {
                assert!(error.contains(part), "{part:?} is missing in: {error}");
            }
        }
    }

    #[tokio::test]
    async fn an_address_that_peers_can_dial_is_accepted() {
        check(&["192.0.2.1:1", "[2001:db8::1]:2", "10.0.0.1:3", "[fd00::1]:4"], false).unwrap();
        check(&["127.0.0.1:1", "[fe80::1]:2"], true).expect("these are in use on this machine");
        assert_eq!(
            check_advertised(addr("127.0.0.1:1")),
            Ok(()),
            "the address alone shows nothing wrong"
        );
        assert_eq!(check_advertised(addr("192.0.2.1:0")), Err(AdvertiseError::NoPort));
    }

    #[tokio::test]
    async fn more_than_four_are_refused_and_a_repeated_one_counts_once() {
        let four = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.1:4"];
        let again = ["192.0.2.1:1", "[::ffff:192.0.2.1]:2"];
        check(&[&four[..], &again].concat(), false).unwrap();
        let text = check(&[&four[..], &["192.0.2.1:5"]].concat(), false).unwrap_err().to_string();
        assert!(
            text.contains("5 addresses") && text.contains("at most; name the best 4"),
            "{text}"
        );
    }
}
