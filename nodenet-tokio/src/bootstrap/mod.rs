//! Bootstrap peers as an operator writes them: `<id>@host:port`.
//!
//! Responsible for: their text form, and resolving their host names as long as the node runs. Names
//! come from the operator only. Never: resolves an address that a peer sent.

mod resolve;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use nodenet_proto::NodeId;
use nodenet_proto::addr::scope;

pub(crate) use resolve::{literal_peers, resolve_names};

/// A peer through which a node enters the network.
///
/// The text form is `<64 hex digits>@<host>:<port>`, with an IPv6 address in brackets.
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

    /// The identifier that must answer.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Reads a comma-separated list. Blanks around an entry and empty entries are skipped.
    ///
    /// # Errors
    /// For the first entry that is malformed; the error quotes it.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ParseBootstrapError> {
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::parse).collect()
    }

    /// Whether its address is on this machine.
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
            // A host with a colon, such as an address with a zone, needs its brackets.
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
    if let Host::Ip(ip) = host
        && scope(ip).is_none()
    {
        return Err(format!(
            "{ip} can not be dialed, because it is no address of one host; take the line that the \
             peer prints when it starts, or 127.0.0.1 for a peer on this machine"
        ));
    }
    Ok(BootstrapPeer { id, host, port })
}

/// Splits `host:port`, where a host with colons is in brackets.
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
            Ok(_) => format!("\"{text}\" has no port, and IPv6 addresses need brackets"),
            Err(_) => format!("\"{host}\" has colons; IPv6 addresses need brackets"),
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

#[cfg(test)]
mod tests {
    use super::BootstrapPeer;

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
            ("ID@::1", "need brackets"),
            ("ID@2001:db8::1:x", "need brackets"),
            ("ID@[::1]", "no \"]:\""),
            ("ID@[]:5", "host is missing"),
            ("ID@0.0.0.0:5", "0.0.0.0 can not be dialed"),
            ("ID@[::]:5", "or 127.0.0.1 for a peer on this machine"),
            ("ID@[::ffff:0.0.0.0]:5", "::ffff:0.0.0.0 can not be dialed"),
            ("ID@255.255.255.255:5", "no address of one host"),
            ("ID@224.0.0.1:5", "no address of one host"),
            ("ID@[ff02::1]:5", "no address of one host"),
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
}
