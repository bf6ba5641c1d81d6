use std::net::{IpAddr, SocketAddr};

use super::{Scope, Subnet, canonical, is_plausible_reflexive, scope};
use crate::wire::Addr;

/// An endpoint and the subnet it is in, if it is an IP address and a port. A subnet is given as an
/// address in it.
const SUBNETS: &[(&str, Option<&str>)] = &[
    ("", None),
    (" 192.0.2.7:443", None),
    (" 203.0.113.7:443", None),
    ("0.0.0.0:0", Some("0.0.0.0")),
    ("0.0.0.0:1", Some("0.0.0.0")),
    ("0.1.2.3:9", Some("0.1.2.0")),
    ("0x7f000001:80", None),
    ("10.0.0.5:1234", Some("10.0.0.0")),
    ("100.64.0.1:1", Some("100.64.0.0")),
    ("127.0.0.1:80", Some("127.0.0.0")),
    ("127.255.255.254:80", Some("127.255.255.0")),
    ("169.254.1.1:9", Some("169.254.1.0")),
    ("172.16.0.1:1", Some("172.16.0.0")),
    ("192.0.2.07:443", None),
    ("192.0.2.250:9", Some("192.0.2.0")),
    ("192.0.2.255:9", Some("192.0.2.0")),
    ("192.0.2.7", None),
    ("192.0.2.7 :443", None),
    ("192.0.2.7:", None),
    ("192.0.2.7:+443", None),
    ("192.0.2.7:00443", Some("192.0.2.0")),
    ("192.0.2.7:443", Some("192.0.2.0")),
    ("192.0.2.7:443 ", None),
    ("192.0.2.7:4_43", None),
    ("192.0.2.7:65536", None),
    ("192.0.2:443", None),
    ("192.0.3.7:1", Some("192.0.3.0")),
    ("192.168.1.10:5000", Some("192.168.1.0")),
    ("2001:db8::1:443", None),
    ("203.0.113.007:443", None),
    ("203.0.113.255:9", Some("203.0.113.0")),
    ("203.0.113.7", None),
    ("203.0.113.7:", None),
    ("203.0.113.7:+443", None),
    ("203.0.113.7:0", Some("203.0.113.0")),
    ("203.0.113.7:00443", Some("203.0.113.0")),
    ("203.0.113.7:443", Some("203.0.113.0")),
    ("203.0.113.7:443 ", None),
    ("203.0.113.7:65535", Some("203.0.113.0")),
    ("203.0.113.7:65536", None),
    ("2130706433:80", None),
    ("224.0.0.1:9", Some("224.0.0.0")),
    ("239.255.255.250:1900", Some("239.255.255.0")),
    ("240.0.0.1:9", Some("240.0.0.0")),
    ("255.255.255.255:65535", Some("255.255.255.0")),
    ("255.255.255.255:9", Some("255.255.255.0")),
    ("999.999.999.999:0", None),
    (":443", None),
    (":::::", None),
    ("[12345::]:1", None),
    ("[192.0.2.7]:443", None),
    ("[1:2:3:4:5:6:7::8]:1", None),
    ("[1:2:3:4:5:6:7::]:1", Some("1:2:3:4::")),
    ("[1::2::3]:1", None),
    ("[2001:DB8::1]:443", Some("2001:db8::")),
    ("[2001:db8:0:1::5]:1", Some("2001:db8:0:1::")),
    ("[2001:db8:0:1:ffff::9]:2", Some("2001:db8:0:1::")),
    ("[2001:db8:0:2::5]:1", Some("2001:db8:0:2::")),
    ("[2001:db8::1", None),
    ("[2001:db8::1%eth0]:9", Some("2001:db8::")),
    ("[2001:db8::1]443", None),
    ("[2001:db8::1]:443", Some("2001:db8::")),
    ("[2002:c000:201::1]:9", Some("2002:c000:201::")),
    ("[203.0.113.7]:443", None),
    ("[64:ff9b::1.2.3.4]:9", Some("64:ff9b::")),
    ("[64:ff9b::192.0.2.7]:1", Some("64:ff9b::")),
    ("[::1]:443", Some("::")),
    ("[::1]:80", Some("::")),
    ("[::203.0.113.7]:443", Some("::")),
    ("[::]:1", Some("::")),
    ("[::ffff:127.0.0.1]:80", Some("127.0.0.0")),
    ("[::ffff:169.254.1.1]:9", Some("169.254.1.0")),
    ("[::ffff:192.0.2.7%eth0]:443", Some("192.0.2.0")),
    ("[::ffff:192.0.2.7]:443", Some("192.0.2.0")),
    ("[::ffff:192.0.2.9]:1", Some("192.0.2.0")),
    ("[::ffff:203.0.113.7]:443", Some("203.0.113.0")),
    ("[::ffff:c000:207]:1", Some("192.0.2.0")),
    ("[]:443", None),
    ("[fd00::1]:9", Some("fd00::")),
    ("[fe80::1%1]:443", Some("fe80::")),
    ("[fe80::1%]:443", None),
    ("[fe80::1%eth0]:443", Some("fe80::")),
    ("[fe80::1%eth0]:9", Some("fe80::")),
    ("[fe80::1]:9", Some("fe80::")),
    ("[fec0::1]:9", Some("fec0::")),
    ("[ff02::1]:9", Some("ff02::")),
    ("evil.example.com:443", None),
    ("example.com:443", None),
    ("localhost:443", None),
    ("node-3", None),
    ("not-an-addr", None),
];

#[test]
fn subnets_are_those_of_the_network() {
    for (endpoint, subnet) in SUBNETS {
        let subnet = subnet.map(|ip| ip.parse::<IpAddr>().expect("an address").to_canonical());
        let expected = subnet.map(|ip| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        });
        // The family does not matter.
        for net in ["quic", "mem", ""] {
            let addr = Addr::new(net.as_bytes(), endpoint.as_bytes());
            let subnet = addr.subnet().as_ref().map(Subnet::as_bytes).copied();
            assert_eq!(subnet, expected, "{endpoint}");
        }
    }
}

/// Addresses that may be reflexive, among those that are valid addresses.
const PLAUSIBLE: &[&str] = &[
    "0.1.2.3:9",
    "10.0.0.5:1234",
    "100.64.0.1:1",
    "172.16.0.1:1",
    "192.0.2.255:9",
    "192.168.1.10:5000",
    "203.0.113.255:9",
    "203.0.113.7:0",
    "203.0.113.7:00443",
    "203.0.113.7:443",
    "203.0.113.7:65535",
    "240.0.0.1:9",
    "[2001:db8::1%eth0]:9",
    "[2001:db8::1]:443",
    "[2002:c000:201::1]:9",
    "[64:ff9b::1.2.3.4]:9",
    "[::203.0.113.7]:443",
    "[::ffff:203.0.113.7]:443",
    "[fd00::1]:9",
    "[fec0::1]:9",
];

const IMPLAUSIBLE: &[&str] = &[
    "0.0.0.0:1",
    "127.0.0.1:80",
    "127.255.255.254:80",
    "169.254.1.1:9",
    "224.0.0.1:9",
    "239.255.255.250:1900",
    "255.255.255.255:9",
    "[::1]:80",
    "[::]:1",
    "[::ffff:127.0.0.1]:80",
    "[::ffff:169.254.1.1]:9",
    "[fe80::1%eth0]:9",
    "[fe80::1]:9",
    "[ff02::1]:9",
];

#[test]
fn only_routable_unicast_addresses_are_plausible() {
    for (endpoints, plausible) in [(PLAUSIBLE, true), (IMPLAUSIBLE, false)] {
        for endpoint in endpoints {
            let addr = Addr::new(b"quic", endpoint.as_bytes());
            let (ip, _) = addr.ip_port().expect("an address and a port");
            assert_eq!(is_plausible_reflexive(ip), plausible, "{endpoint}");
        }
    }
}

#[test]
fn text_is_canonical() {
    for (given, canonical_text) in [
        ("203.0.113.7:4242", "203.0.113.7:4242"),
        ("[::ffff:203.0.113.7]:4242", "203.0.113.7:4242"),
        ("[2001:DB8:0:0:0:0:0:1]:4242", "[2001:db8::1]:4242"),
        ("[2001:db8:0:0:1:0:0:1]:1", "[2001:db8::1:0:0:1]:1"),
        ("[1:0:3:4:5:6:7:8]:1", "[1:0:3:4:5:6:7:8]:1"),
        ("[::203.0.113.7]:1", "[::cb00:7107]:1"),
    ] {
        let socket: SocketAddr = given.parse().expect("an address and a port");
        let addr = Addr::from(socket);
        assert_eq!(addr.endpoint(), canonical_text.as_bytes());
        assert_eq!(addr.net(), b"quic");
        assert_eq!(addr.to_socket_addr(), Some(canonical(socket)));
    }
}

#[test]
fn only_literals_of_our_family_name_a_socket() {
    let socket =
        |net: &str, endpoint: &str| Addr::new(net.as_bytes(), endpoint.as_bytes()).to_socket_addr();
    assert_eq!(socket("mem", "203.0.113.7:4242"), None);
    assert_eq!(socket("quic", "localhost:4242"), None);
    assert_eq!(socket("quic", "[fe80::1%eth0]:4242"), None, "a zone of another machine");
    assert_eq!(socket("quic", "[fe80::1%2]:4242"), "[fe80::1%2]:4242".parse().ok());
    assert_eq!(socket("quic", "[::ffff:203.0.113.7]:04242"), "203.0.113.7:4242".parse().ok());
}

#[test]
fn scopes() {
    let scope = |ip: &str| scope(ip.parse().expect("an address"));
    for ip in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
        assert_eq!(scope(ip), None, "{ip}");
    }
    for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(scope(ip), Some(Scope::Loopback), "{ip}");
    }
    for ip in ["169.254.1.1", "fe80::1"] {
        assert_eq!(scope(ip), Some(Scope::LinkLocal), "{ip}");
    }
    for ip in ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "100.127.255.255", "fd00::1"]
    {
        assert_eq!(scope(ip), Some(Scope::Site), "{ip}");
    }
    for ip in ["203.0.113.7", "100.128.0.1", "172.32.0.1", "2001:db8::1", "64:ff9b::1.2.3.4"] {
        assert_eq!(scope(ip), Some(Scope::Global), "{ip}");
    }
    assert!(Scope::Loopback < Scope::Global);
}

#[test]
fn loopback_counts_for_no_subnet() {
    for (ip, counts) in
        [("127.0.0.1", false), ("::ffff:127.0.0.1", false), ("::1", false), ("192.0.2.7", true)]
    {
        assert_eq!(Subnet::counted(ip.parse().unwrap()).is_some(), counts, "{ip}");
    }
}
