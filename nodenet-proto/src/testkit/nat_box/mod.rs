//! Network address translator in the terms of RFC 4787: mapping, filtering, port allocation,
//! pooling, hairpinning, lifetimes.
//!
//! Responsible for: which external endpoint a datagram from inside gets, and which datagrams from
//! outside reach an internal endpoint. Never: a clock, a link or a waiting datagram.
//!
//! A [`NatBox`] is a pure state machine. It does the same for the same seed and the same calls. A
//! family in which it has no external address is not translated, only filtered. Without any
//! external address the box is a stateful firewall; with IPv4 addresses alone it is the usual home
//! router with IPv4 translation and an IPv6 firewall.
//!
//! Not modelled: parity and contiguity of port pairs (REQ-4), private ranges on both sides (REQ-7),
//! application level gateways (REQ-10), fragments (REQ-13, REQ-14).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::fate;
use crate::env::{Random, Seed};

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
    fn key(self, remote: SocketAddr) -> Key {
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
    /// The internal port. If it is taken or outside of the range: a random one, below 1024 as the
    /// internal one is (REQ-3a).
    Preserving,
    /// The last port plus `step`, over all mappings of the box. A taken one is skipped.
    Sequential {
        /// From one port to the next. 1 is contiguous.
        step: u16,
    },
    /// A random port of the range.
    Random,
}

/// How internal hosts share several external addresses (RFC 4787 §4.1, "IP address pooling").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// An internal address always gets the same external one (REQ-2).
    Paired,
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

/// How a [`NatBox`] behaves.
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
    /// Whether a datagram that gets in refreshes its mapping (REQ-6a). One that goes out always
    /// does (REQ-6).
    pub inbound_refresh: bool,
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
            allocation: PortAllocation::Preserving,
            ports: Self::PORTS,
            pooling: Pooling::Paired,
            hairpinning: Hairpinning::ExternalSource,
            // REQ-5c asks for five minutes or more.
            lifetime: Duration::from_secs(300),
            inbound_refresh: false,
            mappings_max: 16_384,
            mappings_per_host_max: 4_096,
            permissions_max: 1_024,
        }
    }
}

/// Why a box drops a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatDrop {
    /// From outside, to an endpoint without a mapping.
    NoMapping,
    /// From outside, from an endpoint that the filter does not let in.
    Filtered,
    /// From inside, to an external address of a box without hairpinning.
    NoHairpinning,
    /// From inside: there is no room for another mapping or permission.
    TableFull,
    /// From inside: every external port is taken.
    PortsExhausted,
    /// Source and destination are of different families.
    FamilyMismatch,
}

/// Part of a remote endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Any,
    Address(IpAddr),
    Endpoint(SocketAddr),
}

#[derive(Debug)]
struct Mapping {
    internal: SocketAddr,
    key: Key,
    refreshed: Instant,
    /// The endpoints to which the internal one sent through this mapping, and when last. Empty if
    /// any may send in. A NAT keeps one table for mapping and filtering, so a permission belongs to
    /// a mapping.
    permissions: BTreeMap<Key, Instant>,
}

/// A NAT box, or a stateful firewall.
#[derive(Debug)]
pub struct NatBox {
    config: NatConfig,
    external: Vec<IpAddr>,
    /// Salt of the choice of paired addresses.
    salt: u64,
    random: Random,
    /// The port that was allocated last.
    last_port: Option<u16>,
    /// By external endpoint.
    mappings: BTreeMap<SocketAddr, Mapping>,
    /// External endpoints by internal endpoint and the part of the remote one that counts.
    by_internal: BTreeMap<(SocketAddr, Key), SocketAddr>,
    drops: BTreeMap<NatDrop, u64>,
}

impl NatBox {
    /// A box without mappings.
    ///
    /// # Panics
    /// If the range of ports is empty.
    pub fn new(config: NatConfig, external: Vec<IpAddr>, seed: &Seed) -> Self {
        assert!(!config.ports.is_empty(), "a box without ports translates nothing");
        let mut random = seed.stream("nat box");
        Self {
            config,
            external,
            salt: random.next_u64(),
            random,
            last_port: None,
            mappings: BTreeMap::new(),
            by_internal: BTreeMap::new(),
            drops: BTreeMap::new(),
        }
    }

    /// A stateful firewall: nothing is translated.
    pub fn firewall(filtering: Behavior, seed: &Seed) -> Self {
        Self::new(NatConfig { filtering, ..NatConfig::default() }, Vec::new(), seed)
    }

    /// A datagram goes out. Returns the source that it has outside.
    ///
    /// # Errors
    /// If the box drops it.
    pub fn outbound(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, NatDrop> {
        let result = self.translate(now, internal, remote);
        self.counted(result)
    }

    /// A datagram arrives from outside. Returns the destination that it has inside.
    ///
    /// # Errors
    /// If the box drops it.
    pub fn inbound(
        &mut self,
        now: Instant,
        external: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, NatDrop> {
        let result = self.admit(now, external, remote);
        self.counted(result)
    }

    /// A datagram from inside is for an external endpoint of this box. Returns the source and the
    /// destination with which it goes back inside.
    ///
    /// # Errors
    /// If the box drops it.
    pub fn hairpin(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        external: SocketAddr,
    ) -> Result<(SocketAddr, SocketAddr), NatDrop> {
        let turned = match self.config.hairpinning {
            Hairpinning::Unsupported => Err(NatDrop::NoHairpinning),
            Hairpinning::InternalSource | Hairpinning::ExternalSource => {
                self.translate(now, internal, external).and_then(|source| {
                    let to = self.admit(now, external, source)?;
                    let keeps = self.config.hairpinning == Hairpinning::InternalSource;
                    Ok((if keeps { internal } else { source }, to))
                })
            }
        };
        self.counted(turned)
    }

    /// Loses every mapping, as at a reboot, and goes on with these external addresses.
    pub fn restart(&mut self, external: Vec<IpAddr>) {
        self.external = external;
        self.last_port = None;
        self.mappings.clear();
        self.by_internal.clear();
    }

    /// How the box behaves.
    pub fn config(&self) -> &NatConfig {
        &self.config
    }

    /// Its external addresses.
    pub fn external(&self) -> &[IpAddr] {
        &self.external
    }

    /// Whether addresses of the family of `ip` are translated, not only filtered.
    pub fn translates(&self, ip: IpAddr) -> bool {
        self.external.iter().any(|external| external.is_ipv4() == ip.is_ipv4())
    }

    /// Mappings that have not expired.
    pub fn mappings(&self, now: Instant) -> usize {
        self.mappings.values().filter(|mapping| self.is_live(now, mapping.refreshed)).count()
    }

    /// Datagrams dropped for this reason.
    pub fn drops(&self, reason: NatDrop) -> u64 {
        self.drops.get(&reason).copied().unwrap_or(0)
    }

    /// Datagrams dropped.
    pub fn drops_total(&self) -> u64 {
        self.drops.values().sum()
    }

    /// Asserts every invariant.
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub fn check(&self) {
        assert_eq!(self.mappings.len(), self.by_internal.len(), "one entry each way");
        assert!(self.mappings.len() <= self.config.mappings_max);
        for (external, mapping) in &self.mappings {
            assert_eq!(self.by_internal.get(&(mapping.internal, mapping.key)), Some(external));
            assert!(mapping.permissions.len() <= self.config.permissions_max);
        }
    }

    fn translate(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, NatDrop> {
        if internal.is_ipv4() != remote.is_ipv4() {
            return Err(NatDrop::FamilyMismatch);
        }
        let key =
            if self.translates(internal.ip()) { self.config.mapping.key(remote) } else { Key::Any };
        let external = match self.live_mapping(now, internal, key) {
            Some(external) => external,
            None => self.create(now, internal, key)?,
        };
        let mapping = self.mappings.get_mut(&external).expect("it is live or was just made");
        let permission = self.config.filtering.key(remote);
        if permission != Key::Any && !mapping.permissions.contains_key(&permission) {
            if mapping.permissions.len() >= self.config.permissions_max {
                let lifetime = self.config.lifetime;
                mapping.permissions.retain(|_, at| now.saturating_duration_since(*at) <= lifetime);
            }
            if mapping.permissions.len() >= self.config.permissions_max {
                return Err(NatDrop::TableFull);
            }
        }
        if permission != Key::Any {
            mapping.permissions.insert(permission, now);
        }
        mapping.refreshed = now;
        Ok(external)
    }

    fn admit(
        &mut self,
        now: Instant,
        external: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, NatDrop> {
        let lifetime = self.config.lifetime;
        let is_live = |at: Instant| now.saturating_duration_since(at) <= lifetime;
        let mapping = self.mappings.get_mut(&external).filter(|mapping| is_live(mapping.refreshed));
        let mapping = mapping.ok_or(NatDrop::NoMapping)?;
        let permission = self.config.filtering.key(remote);
        if permission != Key::Any {
            let at = mapping.permissions.get_mut(&permission).filter(|at| is_live(**at));
            let at = at.ok_or(NatDrop::Filtered)?;
            if self.config.inbound_refresh {
                *at = now;
            }
        }
        if self.config.inbound_refresh {
            mapping.refreshed = now;
        }
        Ok(mapping.internal)
    }

    /// The external endpoint of a mapping that has not expired. An expired one is removed.
    fn live_mapping(&mut self, now: Instant, internal: SocketAddr, key: Key) -> Option<SocketAddr> {
        let external = *self.by_internal.get(&(internal, key))?;
        if self.is_live(now, self.mappings[&external].refreshed) {
            return Some(external);
        }
        self.remove(external);
        None
    }

    fn create(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        key: Key,
    ) -> Result<SocketAddr, NatDrop> {
        if !self.has_room(internal.ip()) {
            let live = |mapping: &Mapping| self.is_live(now, mapping.refreshed);
            let expired = self.mappings.iter().filter(|(_, mapping)| !live(mapping));
            let expired: Vec<SocketAddr> = expired.map(|(external, _)| *external).collect();
            expired.into_iter().for_each(|external| self.remove(external));
        }
        if !self.has_room(internal.ip()) {
            return Err(NatDrop::TableFull);
        }
        let external = match self.external_ip(internal.ip()) {
            Some(ip) => SocketAddr::new(ip, self.allocate(now, ip, internal.port())?),
            None => internal,
        };
        let mapping = Mapping { internal, key, refreshed: now, permissions: BTreeMap::new() };
        self.mappings.insert(external, mapping);
        self.by_internal.insert((internal, key), external);
        Ok(external)
    }

    fn has_room(&self, host: IpAddr) -> bool {
        let from = (SocketAddr::new(host, 0), Key::Any);
        let own =
            self.by_internal.range(from..).take_while(|((internal, _), _)| internal.ip() == host);
        self.mappings.len() < self.config.mappings_max
            && own.take(self.config.mappings_per_host_max).count()
                < self.config.mappings_per_host_max
    }

    /// The external address for a new mapping; none if the family is not translated.
    fn external_ip(&mut self, host: IpAddr) -> Option<IpAddr> {
        let family = self.external.iter().filter(|ip| ip.is_ipv4() == host.is_ipv4());
        let pool: Vec<IpAddr> = family.copied().collect();
        let count = pool.len() as u64;
        match (self.config.pooling, count) {
            (_, 0 | 1) => pool.first().copied(),
            (Pooling::Paired, _) => {
                let host = match host {
                    IpAddr::V4(ip) => u128::from(ip.to_bits()),
                    IpAddr::V6(ip) => ip.to_bits(),
                };
                let drawn = fate::fate(self.salt, (host >> 64) as u64, host as u64);
                pool.get(fate::below(drawn, count) as usize).copied()
            }
            (Pooling::Arbitrary, _) => pool.get(self.random.below(count) as usize).copied(),
        }
    }

    fn allocate(&mut self, now: Instant, ip: IpAddr, internal: u16) -> Result<u16, NatDrop> {
        let ports = self.config.ports.clone();
        let port = match self.config.allocation {
            PortAllocation::Preserving => {
                let is_kept = ports.contains(&internal) && self.is_free(now, ip, internal);
                let class = port_class(internal, &ports);
                if is_kept { Some(internal) } else { self.random_port(now, ip, &class) }
            }
            PortAllocation::Sequential { step } => self.next_port(now, ip, &ports, step.max(1)),
            PortAllocation::Random => self.random_port(now, ip, &ports),
        };
        let port = port.ok_or(NatDrop::PortsExhausted)?;
        self.remove(SocketAddr::new(ip, port));
        self.last_port = Some(port);
        Ok(port)
    }

    /// The first free port from a random one on.
    fn random_port(
        &mut self,
        now: Instant,
        ip: IpAddr,
        ports: &RangeInclusive<u16>,
    ) -> Option<u16> {
        let start = self.random.below(width(ports)) as u16;
        (0..width(ports))
            .map(|steps| offset(ports, u64::from(start) + steps))
            .find(|port| self.is_free(now, ip, *port))
    }

    /// The first free port, in steps from the last one on.
    fn next_port(
        &mut self,
        now: Instant,
        ip: IpAddr,
        ports: &RangeInclusive<u16>,
        step: u16,
    ) -> Option<u16> {
        let start = match self.last_port {
            Some(last) => u64::from(last - ports.start()) + u64::from(step),
            None => self.random.below(width(ports)),
        };
        // Steps that share a divisor with the width do not reach every port: then the neighbours
        // are tried, too.
        let in_steps = (0..width(ports)).map(|count| start + count * u64::from(step));
        let candidates = in_steps.chain((0..width(ports)).map(|count| start + count));
        candidates.map(|at| offset(ports, at)).find(|port| self.is_free(now, ip, *port))
    }

    fn is_free(&self, now: Instant, ip: IpAddr, port: u16) -> bool {
        let mapping = self.mappings.get(&SocketAddr::new(ip, port));
        mapping.is_none_or(|mapping| !self.is_live(now, mapping.refreshed))
    }

    fn is_live(&self, now: Instant, refreshed: Instant) -> bool {
        now.saturating_duration_since(refreshed) <= self.config.lifetime
    }

    fn remove(&mut self, external: SocketAddr) {
        if let Some(mapping) = self.mappings.remove(&external) {
            self.by_internal.remove(&(mapping.internal, mapping.key));
        }
    }

    fn counted<T>(&mut self, result: Result<T, NatDrop>) -> Result<T, NatDrop> {
        if let Err(reason) = &result {
            *self.drops.entry(*reason).or_default() += 1;
        }
        result
    }
}

/// The ports of `ports` that are on the same side of 1024 as `internal`; all if there are none.
fn port_class(internal: u16, ports: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    let side = if internal < 1_024 { 1..=1_023 } else { 1_024..=u16::MAX };
    let class = *side.start().max(ports.start())..=*side.end().min(ports.end());
    if class.is_empty() { ports.clone() } else { class }
}

fn width(ports: &RangeInclusive<u16>) -> u64 {
    u64::from(ports.end() - ports.start()) + 1
}

/// The port this far from the first, around the range.
fn offset(ports: &RangeInclusive<u16>, by: u64) -> u16 {
    ports.start() + (by % width(ports)) as u16
}
