//! Settings of links and NAT boxes by their names in scenario files.

use std::time::Duration;

use nodenet_proto::testkit::nat_box::{Behavior, Collision, PortAllocation};
use nodenet_proto::testkit::{BoxKind, LinkProfile, LinuxConfig, NatConfig};
use serde::{Deserialize, Serialize};

/// An access network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessName {
    /// Without time, loss or limit.
    Ideal,
    /// 10 ms, nothing lost.
    #[default]
    Region,
    /// Across a continent over wires.
    Wan,
    /// Gigabit Ethernet.
    Lan,
    /// A shared wireless network.
    Wifi,
    /// A telephone on the move.
    Lte,
    /// A home line.
    Dsl,
    /// Over a geostationary satellite.
    Satellite,
}

impl AccessName {
    /// Its profile.
    pub fn profile(self) -> LinkProfile {
        match self {
            Self::Ideal => LinkProfile::IDEAL,
            Self::Region => LinkProfile::REGION,
            Self::Wan => LinkProfile::WAN,
            Self::Lan => LinkProfile::LAN,
            Self::Wifi => LinkProfile::WIFI,
            Self::Lte => LinkProfile::LTE,
            Self::Dsl => LinkProfile::DSL,
            Self::Satellite => LinkProfile::SATELLITE,
        }
    }
}

/// Senders of datagrams that are under way while a box reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyName {
    /// An endpoint to which no host has sent.
    Unknown,
    /// The peers of all edges of the hosts behind the box.
    Peers,
}

/// Changes of a link. What is not named stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkChange {
    /// A profile to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessName>,
    /// Time that every datagram takes, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// Up to this much on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u64>,
    /// Share of datagrams that is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Share of datagrams that may be overtaken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reordering: Option<f64>,
    /// Share of datagrams that arrives twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplication: Option<f64>,
    /// Longest IP packet that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<usize>,
    /// What gets through, in bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_s: Option<u64>,
}

impl LinkChange {
    /// The profile of before with these changes.
    pub fn applied(&self, before: LinkProfile) -> LinkProfile {
        let base = self.access.map_or(before, AccessName::profile);
        let span = |ms: Option<u64>, base| ms.map_or(base, Duration::from_millis);
        LinkProfile {
            latency: span(self.latency_ms, base.latency),
            jitter: span(self.jitter_ms, base.jitter),
            loss: self.loss.unwrap_or(base.loss),
            reordering: self.reordering.unwrap_or(base.reordering),
            duplication: self.duplication.unwrap_or(base.duplication),
            mtu: self.mtu.unwrap_or(base.mtu),
            rate_bytes_per_s: self.rate_bytes_per_s.or(base.rate_bytes_per_s),
            ..base
        }
    }
}

/// A box between two networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatSettings {
    /// Its kind.
    pub kind: BoxName,
    /// For kinds of RFC 4787: who gets in, in place of what is usual for the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtering: Option<BehaviorName>,
    /// Seconds that a mapping lasts without refresh, in place of what is usual for the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_secs: Option<u64>,
    /// Whether a datagram that gets in refreshes its mapping, in place of what is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound_refresh: Option<bool>,
}

/// Kind of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxName {
    /// No translation. Datagrams from outside get in from endpoints that were sent to.
    Firewall,
    /// No translation, and no UDP at all.
    NoUdp,
    /// Mapping that does not depend on the destination, ports kept.
    Easy,
    /// The same with random ports.
    EasyRandom,
    /// Mapping by address and port of the destination, random ports.
    Hard,
    /// The same with sequential ports.
    HardSequential,
    /// A NAT64 for a network of IPv6 alone, with random ports.
    Nat64,
    /// A Linux router that drops what comes for itself.
    Linux,
    /// A Linux router whose input is open.
    LinuxOpen,
}

/// What of a remote endpoint counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BehaviorName {
    /// Nothing.
    EndpointIndependent,
    /// Its address.
    AddressDependent,
    /// Its address and port.
    AddressAndPortDependent,
}

impl From<BehaviorName> for Behavior {
    fn from(name: BehaviorName) -> Self {
        match name {
            BehaviorName::EndpointIndependent => Self::EndpointIndependent,
            BehaviorName::AddressDependent => Self::AddressDependent,
            BehaviorName::AddressAndPortDependent => Self::AddressAndPortDependent,
        }
    }
}

impl NatSettings {
    /// A box with what is usual for its kind.
    pub fn new(kind: BoxName) -> Self {
        Self { kind, filtering: None, lifetime_secs: None, inbound_refresh: None }
    }

    /// Whether it translates IPv4 addresses.
    pub fn translates(&self) -> bool {
        !matches!(self.kind, BoxName::Firewall | BoxName::NoUdp)
    }

    /// The box.
    pub fn kind(&self) -> BoxKind {
        let lifetime = self.lifetime_secs.map(Duration::from_secs);
        match self.kind {
            BoxName::NoUdp => BoxKind::NoUdp,
            BoxName::Nat64 => BoxKind::Nat64(self.translator(
                Behavior::EndpointIndependent,
                PortAllocation::Random,
                lifetime,
            )),
            BoxName::Linux => BoxKind::Linux(self.linux(LinuxConfig::default(), lifetime)),
            BoxName::LinuxOpen => BoxKind::Linux(self.linux(LinuxConfig::open(), lifetime)),
            BoxName::Firewall | BoxName::Easy => {
                let allocation = PortAllocation::Preserving(Collision::Random);
                self.translator(Behavior::EndpointIndependent, allocation, lifetime).into()
            }
            BoxName::EasyRandom => self
                .translator(Behavior::EndpointIndependent, PortAllocation::Random, lifetime)
                .into(),
            BoxName::Hard => self
                .translator(Behavior::AddressAndPortDependent, PortAllocation::Random, lifetime)
                .into(),
            BoxName::HardSequential => {
                let allocation = PortAllocation::Sequential { step: 1 };
                self.translator(Behavior::AddressAndPortDependent, allocation, lifetime).into()
            }
        }
    }

    fn translator(
        &self,
        mapping: Behavior,
        allocation: PortAllocation,
        lifetime: Option<Duration>,
    ) -> NatConfig {
        let usual = NatConfig::default();
        let filtering = self.filtering.map_or(Behavior::AddressAndPortDependent, Behavior::from);
        NatConfig {
            mapping,
            filtering,
            allocation,
            lifetime: lifetime.unwrap_or(usual.lifetime),
            inbound_refresh: self.inbound_refresh.unwrap_or(usual.inbound_refresh),
            ..usual
        }
    }

    fn linux(&self, usual: LinuxConfig, lifetime: Option<Duration>) -> LinuxConfig {
        LinuxConfig {
            timeout_stream: lifetime.unwrap_or(usual.timeout_stream),
            timeout: lifetime.map_or(usual.timeout, |all| all.min(usual.timeout)),
            inbound_refresh: self.inbound_refresh.unwrap_or(usual.inbound_refresh),
            ..usual
        }
    }
}
