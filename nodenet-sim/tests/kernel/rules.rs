//! Rulesets of nftables for the routers of a lab.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use crate::family::Family;

/// Timeouts of connection tracking in these tests: 30 and 120 s would be too long to wait for.
pub(crate) const TIMEOUT_SECS: u64 = 3;
pub(crate) const TIMEOUT_STREAM_SECS: u64 = 6;
/// The external addresses of [`Rules::pool`].
const POOL: RangeInclusive<u8> = 1..=32;

/// A ruleset under construction.
#[derive(Clone)]
pub(crate) struct Rules {
    source: String,
    /// Whether datagrams for the router itself are accepted.
    is_open: bool,
    /// Rules that learn from what goes out.
    learn: &'static str,
    /// Rules that translate what comes in.
    inbound: String,
    /// A rule that drops what goes out.
    block: String,
    external: External,
}

/// The external addresses of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum External {
    None,
    Wan,
    Pool,
}

/// Where each external port leads to.
const LEARN_PORT: &str =
    "oifname wan meta l4proto udp update @cone { udp sport : ip saddr . udp sport }";

impl Rules {
    /// `masquerade`, and nothing accepted from outside.
    pub(crate) fn masquerade() -> Self {
        Self::new("oifname wan masquerade")
    }

    /// `snat` to a range of ports.
    pub(crate) fn snat(ports: &RangeInclusive<u16>) -> Self {
        let (first, last) = (ports.start(), ports.end());
        Self::new(&format!("oifname wan meta l4proto udp snat to 198.18.1.2:{first}-{last}"))
    }

    /// `snat` to a pool of addresses.
    pub(crate) fn pool() -> Self {
        let (first, last) = (POOL.start(), POOL.end());
        let rule = format!("oifname wan snat to 198.18.7.{first}-198.18.7.{last}");
        Self { external: External::Pool, ..Self::new(&rule) }
    }

    /// `snat` to ports that count up, by 256: the number is in the order of the host's bytes.
    pub(crate) fn sequence() -> Self {
        Self::port("numgen inc mod 1000 offset 40000")
    }

    /// `snat` to another port, the same for all destinations.
    pub(crate) fn translated() -> Self {
        Self::port("udp sport ^ 0x2000")
    }

    /// `snat` to the port of the socket, and to no other.
    pub(crate) fn refusing() -> Self {
        Self::port("udp sport")
    }

    /// `snat` to a port that the address of the destination chooses.
    pub(crate) fn by_address() -> Self {
        Self::port("jhash ip daddr mod 10000 seed 0x1 offset 40000")
    }

    /// `snat` to a range of ports for each host.
    pub(crate) fn blocks(blocks: &[RangeInclusive<u16>; 2]) -> Self {
        let rule = |(host, ports): (usize, &RangeInclusive<u16>)| {
            let (first, last) = (ports.start(), ports.end());
            format!(
                "oifname wan ip saddr 10.0.{}.10 meta l4proto udp \
                 snat to 198.18.1.2:{first}-{last} fully-random\n",
                host + 1
            )
        };
        Self::new(&blocks.iter().enumerate().map(rule).collect::<String>())
    }

    /// No translation: new flows from inside only.
    pub(crate) fn firewall() -> Self {
        Self { external: External::None, ..Self::new("") }
    }

    /// `snat` to the port that an expression gives.
    fn port(expression: &str) -> Self {
        Self::new(&format!("oifname wan meta l4proto udp snat to 198.18.1.2 : {expression}"))
    }

    fn new(source: &str) -> Self {
        let (source, inbound, block) = (source.to_owned(), String::new(), String::new());
        Self { source, is_open: false, learn: "", inbound, block, external: External::Wan }
    }

    /// Adds a flag to the rule for sources.
    pub(crate) fn flags(mut self, flags: &str) -> Self {
        self.source = format!("{} {flags}", self.source);
        self
    }

    /// Accepts datagrams for the router itself.
    pub(crate) fn open(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// Lets anyone in at ports that are in use.
    pub(crate) fn full_cone(self) -> Self {
        let inbound = "iifname wan dnat ip to udp dport map @cone".to_owned();
        Self { learn: LEARN_PORT, inbound, ..self }
    }

    /// Lets in addresses to which something was sent.
    pub(crate) fn address_restricted(self) -> Self {
        let learn = "oifname wan meta l4proto udp \
                     update @cone { udp sport : ip saddr . udp sport } \
                     update @peers { udp sport . ip daddr }";
        let inbound = "iifname wan udp dport . ip saddr @peers dnat ip to udp dport map @cone";
        Self { learn, inbound: inbound.to_owned(), ..self }
    }

    /// Lets anyone in, hosts behind the router as well.
    pub(crate) fn hairpin(mut self) -> Self {
        let turned = "ip saddr 10.0.0.0/8 ip daddr 10.0.0.0/8 ct status dnat snat to 198.18.1.2";
        self.source = format!("{turned}\n    {}", self.source);
        self.hairpin_from_inside()
    }

    /// The same, and the source of what is turned around stays.
    pub(crate) fn hairpin_from_inside(self) -> Self {
        let inbound = "ip daddr 198.18.1.2 dnat ip to udp dport map @cone".to_owned();
        Self { learn: LEARN_PORT, inbound, ..self }
    }

    /// Leads an external port to a socket.
    pub(crate) fn forwarding(self, port: u16, socket: SocketAddr) -> Self {
        Self { inbound: format!("iifname wan udp dport {port} dnat to {socket}"), ..self }
    }

    /// Lets each host have so many flows.
    pub(crate) fn flows_per_host(self, flows: usize) -> Self {
        let count = format!("add @flows {{ ip saddr ct count over {flows} }} drop");
        Self { block: format!("oifname wan meta l4proto udp ct state new {count}"), ..self }
    }

    /// Drops all UDP but what shows that the links are up.
    pub(crate) fn without_udp(self) -> Self {
        let block = "oifname wan meta l4proto udp ip daddr != 198.18.1.1 drop".to_owned();
        Self { block, ..self }
    }

    /// The external addresses.
    pub(crate) fn external(&self, family: Family) -> Vec<IpAddr> {
        match self.external {
            External::None => Vec::new(),
            External::Wan => vec![family.wan()],
            External::Pool => POOL.map(|last| [198, 18, 7, last].into()).collect(),
        }
    }

    /// The ruleset, as `nft` reads it.
    pub(crate) fn text(&self, family: Family) -> String {
        let Self { source, learn, inbound, block, .. } = self;
        let input = if self.is_open { "" } else { "iifname wan meta l4proto udp drop" };
        let (table, sets) = match family {
            Family::V4 => ("ip", SETS),
            Family::V6 => ("ip6", ""),
        };
        format!(
            "table {table} nat {{
{sets}
  chain learn {{ type filter hook postrouting priority mangle
    {learn}
  }}
  chain inbound {{ type nat hook prerouting priority dstnat
    {inbound}
  }}
  chain source {{ type nat hook postrouting priority srcnat
    {source}
  }}
}}
table {table} filter {{
  set flows {{ type ipv4_addr
    size 65535
    flags dynamic
  }}
  chain forward {{ type filter hook forward priority filter; policy drop
    {block}
    ct state established,related accept
    iifname != wan accept
    ct status dnat accept
  }}
  chain input {{ type filter hook input priority filter; policy accept
    {input}
  }}
}}
"
        )
    }
}

/// What routers of IPv4 learn.
const SETS: &str = "
  map cone { type inet_service : ipv4_addr . inet_service
    size 65535
    flags dynamic,timeout
    timeout 120s
  }
  set peers { type inet_service . ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 120s
  }
";
