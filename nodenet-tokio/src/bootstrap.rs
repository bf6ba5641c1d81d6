//! Entry points into a network, as an operator writes them: `<id>@host:port`.
//!
//! Responsible for: their text form, and resolving host names for as long as the node lives. Names
//! come from the operator only; an address that a peer sent is never resolved.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use nodenet_proto::NodeId;
use nodenet_proto::engine::SeedPeer;
use tokio::sync::mpsc;

/// Time between two resolutions of a name that was found (guess: a common time to live of records).
const RESOLVE_INTERVAL: Duration = Duration::from_secs(300);
/// Time to the next attempt while some name is not found.
const RESOLVE_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// A peer through which a node enters the network.
///
/// Written `<64 hex digits>@<host>:<port>`; an IPv6 address stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapPeer {
    id: NodeId,
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl BootstrapPeer {
    /// The node with this identifier at an address.
    pub fn new(id: NodeId, addr: SocketAddr) -> Self {
        Self { id, host: Host::Ip(addr.ip()), port: addr.port() }
    }

    /// Whom to expect.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Reads a comma-separated list. Blanks around an entry and empty entries are skipped.
    ///
    /// # Errors
    /// For the first entry that can not be read, which the error names.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ParseBootstrapError> {
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::parse).collect()
    }

    /// Whether it lies on this very machine.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    fn literal_addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for BootstrapPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => write!(f, "{}@{}", self.id, SocketAddr::new(*ip, self.port)),
            // A zone or anything else with a colon needs the brackets it came in.
            Host::Name(name) if name.contains(':') => {
                write!(f, "{}@[{name}]:{}", self.id, self.port)
            }
            Host::Name(name) => write!(f, "{}@{name}:{}", self.id, self.port),
        }
    }
}

/// Why a text is not a [`BootstrapPeer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bootstrap entry \"{entry}\": {problem}; write <64 hex digits>@<host>:<port>")]
pub struct ParseBootstrapError {
    entry: String,
    problem: String,
}

impl FromStr for BootstrapPeer {
    type Err = ParseBootstrapError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_entry(text).map_err(|problem| ParseBootstrapError { entry: text.to_owned(), problem })
    }
}

fn parse_entry(text: &str) -> Result<BootstrapPeer, String> {
    let Some((id, endpoint)) = text.rsplit_once('@') else {
        return Err("there is no @ between id and address".to_owned());
    };
    if id.is_empty() {
        return Err("the id before the @ is missing".to_owned());
    }
    let id = id.parse().map_err(|error| format!("\"{id}\" is not a node id: {error}"))?;
    let (host, port) = parse_endpoint(endpoint)?;
    let host = host.parse().map_or_else(|_| Host::Name(host.to_owned()), Host::Ip);
    Ok(BootstrapPeer { id, host, port })
}

/// Splits `host:port`, where a host with colons stands in brackets.
pub(crate) fn parse_endpoint(text: &str) -> Result<(&str, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let split = rest.split_once("]:");
            split.ok_or_else(|| format!("\"{text}\" has no \"]:\" between address and port"))?
        }
        None => {
            let split = text.rsplit_once(':');
            split.ok_or_else(|| format!("\"{text}\" has no port"))?
        }
    };
    if !text.starts_with('[') && host.contains(':') {
        return Err(match text.parse::<Ipv6Addr>() {
            Ok(_) => format!("\"{text}\" has no port, and IPv6 addresses stand in brackets"),
            Err(_) => format!("\"{host}\" has colons; IPv6 addresses stand in brackets"),
        });
    }
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    let digits = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok((host, port)),
        _ => Err(format!("\"{port}\" is not a port from 1 to 65535")),
    }
}

/// What is known without asking anyone.
pub(crate) fn literal_seeds(peers: &[BootstrapPeer]) -> Vec<SeedPeer> {
    collect(peers.iter().filter_map(|peer| Some((peer.id, peer.literal_addr()?))))
}

/// Resolves the names among `peers` again and again and sends all seeds, literal ones included, when
/// the answer changed. Ends when nobody listens any more, or at once if there is no name.
pub(crate) async fn resolve_for_ever(
    peers: Vec<BootstrapPeer>,
    seeds: mpsc::Sender<Vec<SeedPeer>>,
) {
    resolve_with(lookup, peers, seeds).await;
}

async fn resolve_with<F: Future<Output = io::Result<Vec<SocketAddr>>>>(
    lookup: impl Fn(String, u16) -> F,
    peers: Vec<BootstrapPeer>,
    seeds: mpsc::Sender<Vec<SeedPeer>>,
) {
    if peers.iter().all(|peer| peer.literal_addr().is_some()) {
        return;
    }
    let mut known = literal_seeds(&peers);
    loop {
        let mut found = Vec::new();
        let mut complete = true;
        for peer in &peers {
            let addrs = match &peer.host {
                Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, peer.port)]),
                Host::Name(name) => lookup(name.clone(), peer.port).await,
            };
            match addrs {
                Ok(addrs) => found.extend(addrs.into_iter().map(|addr| (peer.id, addr))),
                Err(error) => {
                    tracing::warn!(%peer, %error, "can not resolve the bootstrap peer's name");
                    complete = false;
                }
            }
        }
        let found = collect(found.into_iter());
        // What was found once is better than nothing.
        if found != known && (complete || found.len() >= known.len()) {
            known = found;
            if seeds.send(known.clone()).await.is_err() {
                return;
            }
        }
        let pause = if complete { RESOLVE_INTERVAL } else { RESOLVE_RETRY_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = seeds.closed() => return,
        }
    }
}

async fn lookup(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

/// One seed for each identifier, with its addresses in the order given.
fn collect(found: impl Iterator<Item = (NodeId, SocketAddr)>) -> Vec<SeedPeer> {
    let mut seeds = BTreeMap::<NodeId, Vec<SocketAddr>>::new();
    for (id, addr) in found {
        let addrs = seeds.entry(id).or_default();
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    seeds.into_iter().map(|(id, addrs)| SeedPeer { id, addrs }).collect()
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::io;
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    use super::{BootstrapPeer, literal_seeds, resolve_for_ever, resolve_with};

    const ID: &str = "45cd1496465d1e9e045a991d920ec5054c312f077765113c936b4d5c6d1e6ad5";

    #[test]
    fn entries_survive_their_text_form() {
        for host in ["192.0.2.1:4242", "[2001:db8::1]:1", "example.org:65535", "[fe80::1%eth0]:7"] {
            let text = format!("{ID}@{host}");
            assert_eq!(text.parse::<BootstrapPeer>().unwrap().to_string(), text);
        }
        let upper = format!("{}@example.org:042", ID.to_uppercase());
        assert_eq!(
            upper.parse::<BootstrapPeer>().unwrap().to_string(),
            format!("{ID}@example.org:42")
        );
    }

    #[test]
    fn blanks_and_empty_entries_are_skipped() {
        let list = format!(" {ID}@a:1 ,, {ID}@b:2\t,");
        assert_eq!(BootstrapPeer::parse_list(&list).unwrap().len(), 2);
        assert_eq!(BootstrapPeer::parse_list(" , ").unwrap(), []);
    }

    #[test]
    fn an_error_names_the_entry_and_the_problem() {
        let cases = [
            ("nonsense", "no @"),
            ("@a:1", "id before the @ is missing"),
            ("12ab@a:1", "\"12ab\" is not a node id"),
            ("x@y@a:1", "\"x@y\" is not a node id"),
            ("ID@", "no port"),
            ("ID@host", "no port"),
            ("ID@:4242", "host is missing"),
            ("ID@host:", "\"\" is not a port"),
            ("ID@host:0", "\"0\" is not a port"),
            ("ID@host:65536", "\"65536\" is not a port"),
            ("ID@host:+1", "\"+1\" is not a port"),
            ("ID@host:http", "\"http\" is not a port"),
            ("ID@::1", "stand in brackets"),
            ("ID@2001:db8::1:x", "stand in brackets"),
            ("ID@[::1]", "no \"]:\""),
            ("ID@[]:5", "host is missing"),
        ];
        for (entry, problem) in cases {
            let entry = entry.replace("ID", ID);
            let list = format!("{ID}@fine:1,{entry}");
            let error = BootstrapPeer::parse_list(&list).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{entry}\"")), "{error}");
            assert!(error.contains(problem), "{error}");
            assert!(error.ends_with("write <64 hex digits>@<host>:<port>"), "{error}");
        }
    }

    #[test]
    fn addresses_of_one_peer_are_one_seed() {
        let list = format!("{ID}@192.0.2.1:1,{ID}@192.0.2.2:1,{ID}@192.0.2.1:1,{ID}@name:1");
        let seeds = literal_seeds(&BootstrapPeer::parse_list(&list).unwrap());
        assert_eq!(seeds.len(), 1);
        let addrs = ["192.0.2.1:1", "192.0.2.2:1"].map(|addr| addr.parse().unwrap());
        assert_eq!(seeds[0].addrs, addrs);
    }

    #[tokio::test]
    async fn names_are_resolved_and_literals_come_along() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@localhost:77,{ID}@192.0.2.1:1"));
        let (seeds, mut resolved) = mpsc::channel(1);
        let task = tokio::spawn(resolve_for_ever(peers.unwrap(), seeds));
        let seeds = timeout(Duration::from_secs(5), resolved.recv()).await.unwrap().unwrap();
        assert_eq!(seeds.len(), 1);
        assert!(seeds[0].addrs.iter().any(|addr| addr.ip().is_loopback() && addr.port() == 77));
        assert!(seeds[0].addrs.contains(&"192.0.2.1:1".parse().unwrap()));
        drop(resolved);
        timeout(Duration::from_secs(5), task).await.expect("ends with its listener").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_asked_again_and_only_changes_are_told() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@name:77")).unwrap();
        let (seeds, mut resolved) = mpsc::channel(1);
        let begin = Instant::now();
        // Not found for 25 s, then at one address for 20 minutes, then unknown again, then moved.
        let answer = move |name: String, port| {
            assert_eq!((name.as_str(), port), ("name", 77));
            let found = match begin.elapsed().as_secs() {
                25..1_200 => Ok(vec!["192.0.2.1:77".parse().unwrap()]),
                1_500.. => Ok(vec!["192.0.2.2:77".parse().unwrap()]),
                _ => Err(io::ErrorKind::NotFound.into()),
            };
            ready(found)
        };
        let task = tokio::spawn(resolve_with(answer, peers, seeds));
        let mut next = async || {
            let seeds = resolved.recv().await.expect("the task runs");
            (begin.elapsed().as_secs(), seeds[0].addrs[0].to_string())
        };
        assert_eq!(next().await, (30, "192.0.2.1:77".to_owned()));
        let (at, addr) = next().await;
        assert_eq!(addr, "192.0.2.2:77");
        assert!((1_500..1_500 + 10).contains(&at), "{at}");
        drop(resolved);
        task.await.expect("it ends with its listener");
    }

    #[tokio::test]
    async fn without_names_there_is_nothing_to_resolve() {
        let peers = BootstrapPeer::parse_list(&format!("{ID}@192.0.2.1:1")).unwrap();
        let (seeds, mut resolved) = mpsc::channel(1);
        resolve_for_ever(peers, seeds).await;
        assert_eq!(resolved.recv().await, None);
    }
}
