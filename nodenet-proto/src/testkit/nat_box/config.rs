//! Kinds of NAT boxes and their options, in the terms of RFC 4787 where it has one.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::translator::Key;

/// What of the remote endpoint a mapping or a filter depends on (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Behavior {
    /// Nothing. Mapping: one external endpoint for an internal one. Filtering: any endpoint may
    /// send in.
    EndpointIndependent,
    /// Its address.
    AddressDependent,
    /// Its address and port.
    AddressAndPortDependent,
}

impl Behavior {
    /// All three, the most open first.
    pub const ALL: [Self; 3] =
        [Self::EndpointIndependent, Self::AddressDependent, Self::AddressAndPortDependent];

    /// The part of a remote endpoint that counts.
    pub(super) fn key(self, remote: SocketAddr) -> Key {
        match self {
            Self::EndpointIndependent => Key::Any,
            Self::AddressDependent => Key::Address(remote.ip()),
            Self::AddressAndPortDependent => Key::Endpoint(remote),
        }
    }
}

/// How a mapping gets its external port (RFC 4787 §4.2.1). No port is ever shared by two mappings
/// of one external address (REQ-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortAllocation {
    /// The internal port. If it is taken or outside of the range, the rule decides.
    Preserving(Collision),
    /// The last port plus `step`, over all mappings of the box. A taken one is skipped.
    Sequential {
        /// From one port to the next. 1 is contiguous.
        step: u16,
    },
    /// A random port of the block of this many ports that the internal host has for itself, as
    /// carriers do it (RFC 7422 §2). Without a free block, or in a full one, nothing goes out.
    Block {
        /// Ports of a block.
        size: u16,
    },
    /// A random port of the range.
    Random,
}

/// Which port a mapping gets whose internal port is not free outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collision {
    /// A random one, below 1024 as the internal one is (REQ-3a).
    Random,
    /// The next free one above it.
    Next,
    /// The same one: the older mapping is lost. REQ-3 forbids this.
    TakeOver,
    /// None: the datagram is dropped.
    Refuse,
}

/// How internal hosts share several external addresses (RFC 4787 §4.1, "IP address pooling").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// An internal address always gets the same external one (REQ-2).
    Paired,
    /// An internal endpoint always gets the same external address, its host has several.
    PairedBySocket,
    /// Each mapping gets a random one.
    Arbitrary,
}

/// What happens to a datagram from inside to an external address of the box (RFC 4787 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hairpinning {
    /// It is dropped.
    Unsupported,
    /// It is turned around and keeps its internal source, which REQ-9a forbids.
    InternalSource,
    /// It is turned around with its external source, as REQ-9a asks.
    ExternalSource,
}

/// How a translator by the terms of RFC 4787 behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatConfig {
    /// When an external endpoint is used again. Without effect where nothing is translated.
    pub mapping: Behavior,
    /// Who gets in through a mapping.
    pub filtering: Behavior,
    /// Which port a mapping gets.
    pub allocation: PortAllocation,
    /// External ports.
    pub ports: RangeInclusive<u16>,
    /// Which external address a mapping gets.
    pub pooling: Pooling,
    /// Datagrams from inside to the box itself.
    pub hairpinning: Hairpinning,
    /// How long a mapping or the permission of a remote endpoint lasts without refresh.
    pub lifetime: Duration,
    /// Whether a datagram that gets in refreshes its mapping (REQ-6a).
    pub inbound_refresh: bool,
    /// Whether a datagram that goes out refreshes its mapping, as REQ-6 asks. Without either, a
    /// mapping ends after its lifetime whatever passes.
    pub outbound_refresh: bool,
    /// Mappings at a time. A new one beyond that is refused.
    pub mappings_max: usize,
    /// Mappings of one internal address at a time.
    pub mappings_per_host_max: usize,
    /// Remote endpoints that one mapping lets in at a time.
    pub permissions_max: usize,
}

impl NatConfig {
    /// The external ports unless others are asked for: all, as Linux's masquerade has them.
    pub const PORTS: RangeInclusive<u16> = 1..=u16::MAX;
}

/// A box that keeps every requirement of RFC 4787 that is modelled here.
impl Default for NatConfig {
    fn default() -> Self {
        Self {
            mapping: Behavior::EndpointIndependent,
            filtering: Behavior::AddressDependent,
            allocation: PortAllocation::Preserving(Collision::Random),
            ports: Self::PORTS,
            pooling: Pooling::Paired,
            hairpinning: Hairpinning::ExternalSource,
            // REQ-5c asks for five minutes or more.
            lifetime: Duration::from_secs(300),
            inbound_refresh: false,
            outbound_refresh: true,
            mappings_max: 16_384,
            mappings_per_host_max: 4_096,
            permissions_max: 1_024,
        }
    }
}

/// The source rule of a Linux router: which address and port flows have outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceRule {
    /// `masquerade`: the address of the interface. When that changes, all entries vanish.
    Masquerade,
    /// `snat to` constant addresses. Entries outlive a change of the interface's address.
    Snat,
}

/// How a Linux router behaves: netfilter's connection tracking and NAT, as measured
/// (docs/SIMULATOR.md#linux-router).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxConfig {
    /// Address of the interface, or constant addresses.
    pub rule: SourceRule,
    /// The ports that the rule names, if it names a range.
    pub ports: Option<RangeInclusive<u16>>,
    /// The flag `random` or `fully-random`: address and port change with every destination.
    pub random: bool,
    /// The flag `persistent`: one address of a pool for each inside host, not for each socket.
    pub persistent: bool,
    /// Whether the router accepts datagrams for itself from outside: its input chain has no rule
    /// that drops them. Then one that comes too early claims its tuple.
    pub input_open: bool,
    /// Life of an entry that saw less than two seconds of traffic both ways
    /// (`nf_conntrack_udp_timeout`).
    pub timeout: Duration,
    /// Life of an entry that saw more (`nf_conntrack_udp_timeout_stream`).
    pub timeout_stream: Duration,
    /// How long after its end an entry is collected. It passes nothing any more, but until then a
    /// new flow of its socket still takes its source.
    pub collected_after: Duration,
    /// Whether inbound datagrams refresh an entry. Linux does that; stricter boxes are built of
    /// this option.
    pub inbound_refresh: bool,
    /// Entries at a time (`nf_conntrack_max`). A new one beyond that is refused.
    pub entries_max: usize,
}

impl LinuxConfig {
    /// A router without a rule that drops datagrams for itself.
    pub fn open() -> Self {
        Self { input_open: true, ..Self::default() }
    }
}

/// The usual home router: `masquerade`, new flows from inside only, nothing accepted for itself.
impl Default for LinuxConfig {
    fn default() -> Self {
        Self {
            rule: SourceRule::Masquerade,
            ports: None,
            random: false,
            persistent: false,
            input_open: false,
            // The kernel's defaults (Documentation/networking/nf_conntrack-sysctl.rst).
            timeout: Duration::from_secs(30),
            timeout_stream: Duration::from_secs(120),
            // Measured: 17 to 37 s with timeouts of 3 s, 15 to 32 s with timeouts of 30 s.
            collected_after: Duration::from_secs(30),
            inbound_refresh: true,
            entries_max: 65_536,
        }
    }
}

/// What kind of box it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoxKind {
    /// A translator by the terms of RFC 4787. A family in which it has no external address is
    /// filtered only.
    Translator(NatConfig),
    /// A Linux router. A family in which it has no external address is filtered only.
    Linux(LinuxConfig),
    /// A NAT64 (RFC 6146) between IPv6 hosts inside and IPv4 outside, at the prefix 64:ff9b::/96.
    /// Other IPv6 destinations are not translated, only filtered.
    Nat64(NatConfig),
    /// A firewall that drops every UDP datagram.
    NoUdp,
}

impl From<NatConfig> for BoxKind {
    fn from(config: NatConfig) -> Self {
        Self::Translator(config)
    }
}

impl From<LinuxConfig> for BoxKind {
    fn from(config: LinuxConfig) -> Self {
        Self::Linux(config)
    }
}
