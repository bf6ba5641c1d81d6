//! Rulesets of nftables for the router of a lab.

use std::ops::RangeInclusive;

use crate::router::WAN;

/// Timeouts of connection tracking in these tests: 30 and 120 s would be too long to wait for.
pub(crate) const TIMEOUT_SECS: u64 = 3;
pub(crate) const TIMEOUT_STREAM_SECS: u64 = 6;

/// A ruleset under construction.
pub(crate) struct Rules {
    source: String,
    /// Whether datagrams for the router itself are accepted.
    is_open: bool,
    /// Rules that learn from what goes out.
    learn: &'static str,
    /// Rules that translate what comes in.
    inbound: &'static str,
    /// A rule that drops what goes out.
    block: &'static str,
    external: Vec<[u8; 4]>,
}

/// Where each external port leads to.
const LEARN_PORT: &str =
    "oifname wan meta l4proto udp update @cone { udp sport : ip saddr . udp sport }";

impl Rules {
    /// `masquerade`, and nothing accepted from outside.
    pub(crate) fn masquerade() -> Self {
        Self::new("oifname wan masquerade".to_owned(), vec![WAN])
    }

    /// `snat` to a range of ports.
    pub(crate) fn snat(ports: &RangeInclusive<u16>) -> Self {
        let (first, last) = (ports.start(), ports.end());
        let rule = format!("oifname wan meta l4proto udp snat to 198.18.1.2:{first}-{last}");
        Self::new(rule, vec![WAN])
    }

    /// `snat` to a pool of addresses.
    pub(crate) fn pool() -> Self {
        let external = (1..=32).map(|last| [198, 18, 7, last]).collect();
        Self::new("oifname wan snat to 198.18.7.1-198.18.7.32".to_owned(), external)
    }

    /// `snat` to ports that count up, by 256: the number is in the order of the host's bytes.
    pub(crate) fn sequence() -> Self {
        let port = "numgen inc mod 1000 offset 40000";
        let rule = format!("oifname wan meta l4proto udp snat to 198.18.1.2 : {port}");
        Self::new(rule, vec![WAN])
    }

    /// `snat` to another port, the same for all destinations.
    pub(crate) fn translated() -> Self {
        let rule = "oifname wan meta l4proto udp snat to 198.18.1.2 : udp sport ^ 0x2000";
        Self::new(rule.to_owned(), vec![WAN])
    }

    /// No translation: new flows from inside only.
    pub(crate) fn firewall() -> Self {
        Self::new(String::new(), Vec::new())
    }

    fn new(source: String, external: Vec<[u8; 4]>) -> Self {
        Self { source, is_open: false, learn: "", inbound: "", block: "", external }
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
        let inbound = "iifname wan dnat ip to udp dport map @cone";
        Self { learn: LEARN_PORT, inbound, ..self }
    }

    /// Lets in addresses to which something was sent.
    pub(crate) fn address_restricted(self) -> Self {
        let learn = "oifname wan meta l4proto udp \
                     update @cone { udp sport : ip saddr . udp sport } \
                     update @peers { udp sport . ip daddr }";
        let inbound = "iifname wan udp dport . ip saddr @peers dnat ip to udp dport map @cone";
        Self { learn, inbound, ..self }
    }

    /// Lets anyone in, hosts behind the router as well.
    pub(crate) fn hairpin(mut self) -> Self {
        let turned = "ip saddr 10.0.0.0/8 ip daddr 10.0.0.0/8 ct status dnat snat to 198.18.1.2";
        self.source = format!("{turned}\n    {}", self.source);
        let inbound = "ip daddr 198.18.1.2 dnat ip to udp dport map @cone";
        Self { learn: LEARN_PORT, inbound, ..self }
    }

    /// Drops all UDP but what shows that the links are up.
    pub(crate) fn without_udp(self) -> Self {
        Self { block: "oifname wan meta l4proto udp ip daddr != 198.18.1.1 drop", ..self }
    }

    /// The external addresses.
    pub(crate) fn external(&self) -> Vec<[u8; 4]> {
        self.external.clone()
    }

    /// The ruleset, as `nft` reads it.
    pub(crate) fn text(&self) -> String {
        let Self { source, learn, inbound, block, .. } = self;
        let input = if self.is_open { "" } else { "iifname wan meta l4proto udp drop" };
        format!(
            "table ip nat {{
  map cone {{ type inet_service : ipv4_addr . inet_service
    size 65535
    flags dynamic,timeout
    timeout 120s
  }}
  set peers {{ type inet_service . ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 120s
  }}
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
table ip filter {{
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
