//! Addresses on the command line.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// Reads an address to listen on, as Go does: no host means all interfaces, and names are resolved.
pub(crate) fn parse_listen_addr(text: &str) -> Result<SocketAddr, String> {
    let text = if text.is_empty() { ":0" } else { text };
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let (host, port) = text.rsplit_once(':').ok_or("there is no port")?;
    let port: u16 =
        port.parse().map_err(|_| format!("\"{port}\" is not a port from 0 to 65535"))?;
    if host.is_empty() {
        return Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err("IPv6 addresses need brackets".to_owned());
    }
    let mut found = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    // A name with both families: IPv4, because more peers support it.
    let first = found.next().ok_or("the name has no address")?;
    Ok(std::iter::once(first)
        .chain(found)
        .find(|addr| matches!(addr.ip(), IpAddr::V4(_)))
        .unwrap_or(first))
}

/// Reads an address that others can dial.
pub(super) fn parse_advertised(text: &str) -> Result<SocketAddr, String> {
    let advice = "write the one at which peers reach this node, for example 203.0.113.5:4242";
    let addr: SocketAddr = text
        .parse()
        .map_err(|_| format!("it is no IP address with a port, IPv6 in brackets; {advice}"))?;
    nodenet_tokio::check_advertised(addr).map_err(|problem| problem.to_string())?;
    Ok(addr)
}

#[cfg(test)]
mod tests {
    use super::parse_listen_addr;

    #[test]
    fn listen_addresses_are_read_as_go_reads_them() {
        let read = |text| parse_listen_addr(text).map(|addr| addr.to_string());
        assert_eq!(read("").unwrap(), "[::]:0");
        assert_eq!(read(":4242").unwrap(), "[::]:4242");
        assert_eq!(read("0.0.0.0:4242").unwrap(), "0.0.0.0:4242");
        assert_eq!(read("[::1]:7").unwrap(), "[::1]:7");
        assert_eq!(read("localhost:7").unwrap(), "127.0.0.1:7");
        assert!(read("4242").unwrap_err().contains("no port"));
        assert!(read("127.0.0.1:x").unwrap_err().contains("\"x\" is not a port"));
        assert!(read("127.0.0.1:70000").unwrap_err().contains("not a port"));
        assert!(read("::1:7").unwrap_err().contains("brackets"));
    }
}
