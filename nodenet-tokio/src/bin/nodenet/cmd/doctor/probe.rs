//! Probes of UDP to the nodes to join through: does anything come back, and which error if not?
//!
//! Each address gets a socket of its own that is connected to it, because only such a socket
//! reports the ICMP errors that routers and hosts send. The datagram is a QUIC packet of a version
//! that no implementation has, in 1,200 bytes: a server answers it with a list of its versions
//! (RFC 9000 §6.1), whatever its identifier. No state is left behind there.
//!
//! Responsible for: what was observed. Never: what follows from it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use nodenet_tokio::{BootstrapPeer, mint};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock::now;

/// Bytes of the first packet of a QUIC connection, at least (RFC 9000 §14).
pub(crate) const QUIC_DATAGRAM_MIN: usize = 1_200;
/// Time for one probe, so that there is a verdict within five seconds.
pub(crate) const PROBE_BOUND: Duration = Duration::from_millis(3_500);
/// Time for the name server to answer for one name (guess).
const RESOLVE_BOUND: Duration = Duration::from_millis(1_200);
/// Time between two packets to one address (guess).
const REPEAT_INTERVAL: Duration = Duration::from_millis(900);
/// Addresses that are probed, at most (guess).
const TARGETS_MAX: usize = 16;

/// What came back from an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A datagram, after this long.
    Datagram(Duration),
    /// No process has that port there: an ICMP port unreachable arrived.
    PortClosed,
    /// A router or the host reports that the packet can not go there.
    Unreachable(String),
    /// This machine did not send it.
    NotSent(String),
    /// Nothing.
    Silence,
}

/// The probe of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) addr: SocketAddr,
    pub(crate) answer: Answer,
    /// Whether the host answers TCP on that port, be it with a refusal: it is up then, and packets
    /// reach it. Asked only if nothing came back over UDP.
    pub(crate) answers_tcp: bool,
    /// The path MTU as the system knows it afterwards, if it says so.
    pub(crate) path_mtu: Option<u32>,
}

/// The probes of all nodes to join through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Probes {
    pub(crate) probes: Vec<Probe>,
    /// Host names that have no address, with the error.
    pub(crate) unresolved: Vec<String>,
}

/// The route of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// There is one, and packets would leave from this address.
    From(IpAddr),
    /// There is none; the error of the system.
    None(String),
}

/// The route to the internet of each family, as the system would choose it. Sends nothing.
pub(crate) fn routes() -> [(&'static str, Route); 2] {
    // Documentation addresses (RFC 5737, RFC 3849): no host is meant.
    let v4 = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9));
    let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9));
    [("ipv4", v4), ("ipv6", v6)].map(|(name, addr)| {
        let route = connected(addr).and_then(|socket| socket.local_addr());
        (name, route.map_or_else(|error| Route::None(error.to_string()), |at| Route::From(at.ip())))
    })
}

/// Probes these peers, for at most [`PROBE_BOUND`].
pub(crate) async fn probe(peers: &[BootstrapPeer]) -> Probes {
    let mut result = Probes::default();
    let mut targets: Vec<SocketAddr> = Vec::new();
    for peer in peers {
        let text = peer.to_string();
        let endpoint = text.rsplit_once('@').map_or(text.as_str(), |(_, endpoint)| endpoint);
        match timeout(RESOLVE_BOUND, lookup_host(endpoint)).await {
            Ok(Ok(addrs)) => targets.extend(addrs),
            Ok(Err(error)) => result.unresolved.push(format!("{endpoint}: {error}")),
            Err(_) => result.unresolved.push(format!("{endpoint}: no answer in time")),
        }
    }
    targets.sort_unstable();
    targets.dedup();
    let mut probing = JoinSet::new();
    for addr in targets.into_iter().take(TARGETS_MAX) {
        probing.spawn(probe_addr(addr));
    }
    result.probes = probing.join_all().await;
    result.probes.sort_by_key(|probe| probe.addr);
    result
}

async fn probe_addr(addr: SocketAddr) -> Probe {
    let socket = match connected(addr).and_then(tokio::net::UdpSocket::from_std) {
        Ok(socket) => socket,
        Err(error) => {
            let answer = Answer::NotSent(error.to_string());
            return Probe { addr, answer, answers_tcp: false, path_mtu: None };
        }
    };
    let tcp = tokio::spawn(timeout(PROBE_BOUND, TcpStream::connect(addr)));
    let answer = timeout(PROBE_BOUND, ask(&socket)).await.unwrap_or(Answer::Silence);
    let answers_tcp = answer == Answer::Silence && is_answer(tcp.await);
    let path_mtu = path_mtu(&socket, addr);
    Probe { addr, answer, answers_tcp, path_mtu }
}

/// Whether a TCP connect shows that the host is up.
fn is_answer<E, T>(ended: Result<Result<io::Result<TcpStream>, T>, E>) -> bool {
    match ended {
        Ok(Ok(Ok(_))) => true,
        Ok(Ok(Err(error))) => error.kind() == io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

/// Sends a packet now and then until something comes back.
async fn ask(socket: &tokio::net::UdpSocket) -> Answer {
    let begun = now();
    let mut buf = [0; 2_048];
    let packet = unknown_version();
    let mut has_sent = false;
    loop {
        // An error of the packet before may be reported here.
        if let Err(error) = socket.send(&packet).await {
            return judge(&error, has_sent);
        }
        has_sent = true;
        tokio::select! {
            received = socket.recv(&mut buf) => return match received {
                Ok(_) => Answer::Datagram(now().saturating_duration_since(begun)),
                Err(error) => judge(&error, true),
            },
            () = sleep(REPEAT_INTERVAL) => {}
        }
    }
}

/// What an error of a connected socket says. Before the first packet left it is no answer.
fn judge(error: &io::Error, has_sent: bool) -> Answer {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Answer::PortClosed,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable if has_sent => {
            Answer::Unreachable(error.to_string())
        }
        _ => Answer::NotSent(error.to_string()),
    }
}

/// A QUIC packet of a version that is reserved for this purpose (RFC 9000 §15).
fn unknown_version() -> Vec<u8> {
    let random = mint::random_seed().map(|seed| *seed).unwrap_or([7; 32]);
    let mut packet = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8];
    packet.extend_from_slice(&random[..8]);
    packet.push(8);
    packet.extend_from_slice(&random[8..16]);
    packet.resize(QUIC_DATAGRAM_MIN, 0);
    packet
}

fn connected(addr: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(addr)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The path MTU that the system knows for a connected socket: that of the interface, or less if a
/// router said so. Of IPv4 alone.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn path_mtu(socket: &tokio::net::UdpSocket, addr: SocketAddr) -> Option<u32> {
    use nix::sys::socket::{getsockopt, sockopt::IpMtu};
    let mtu = addr.is_ipv4().then(|| getsockopt(socket, IpMtu).ok()).flatten()?;
    u32::try_from(mtu).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn path_mtu(_: &tokio::net::UdpSocket, _: SocketAddr) -> Option<u32> {
    None
}
