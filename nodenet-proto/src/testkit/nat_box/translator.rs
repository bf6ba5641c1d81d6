//! Translator in the terms of RFC 4787: mappings, permissions of remote endpoints, hairpinning.
//!
//! Responsible for: which external endpoint a datagram from inside gets, and which datagrams from
//! outside reach an internal endpoint. A family in which it has no external address is filtered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::NatDrop;
use super::config::{Hairpinning, NatConfig, Pooling};
use super::ports::{Allocated, Ports, Request};
use crate::env::Seed;
use crate::testkit::fate;

/// Part of a remote endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
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

#[derive(Debug)]
pub(super) struct Translator {
    config: NatConfig,
    external: Vec<IpAddr>,
    /// Whether internal and external endpoints are of different families.
    is_between_families: bool,
    /// Salt of the choice of paired addresses.
    salt: u64,
    ports: Ports,
    /// By external endpoint.
    mappings: BTreeMap<SocketAddr, Mapping>,
    /// External endpoints by internal endpoint and the part of the remote one that counts.
    by_internal: BTreeMap<(SocketAddr, Key), SocketAddr>,
    /// External ports that lead to an internal endpoint without a mapping (RFC 6887).
    forwarded: BTreeMap<u16, SocketAddr>,
}

impl Translator {
    pub(super) fn new(config: NatConfig, external: Vec<IpAddr>, seed: &Seed) -> Self {
        let mut random = seed.stream("nat box");
        let salt = random.next_u64();
        let ports = Ports::new(config.ports.clone(), config.allocation, random);
        Self {
            config,
            external,
            is_between_families: false,
            salt,
            ports,
            mappings: BTreeMap::new(),
            by_internal: BTreeMap::new(),
            forwarded: BTreeMap::new(),
        }
    }

    /// One whose internal endpoints are of the other family than its external ones.
    pub(super) fn between_families(config: NatConfig, external: Vec<IpAddr>, seed: &Seed) -> Self {
        Self { is_between_families: true, ..Self::new(config, external, seed) }
    }

    pub(super) fn external(&self) -> &[IpAddr] {
        &self.external
    }

    pub(super) fn restart(&mut self, external: Vec<IpAddr>) {
        self.external = external;
        self.ports.restart();
        self.mappings.clear();
        self.by_internal.clear();
    }

    /// Goes on with other external addresses: mappings of those that are gone are lost.
    pub(super) fn renumber(&mut self, external: Vec<IpAddr>) {
        let is_gone =
            |at: &SocketAddr| self.external.contains(&at.ip()) && !external.contains(&at.ip());
        let gone: Vec<SocketAddr> = self.mappings.keys().copied().filter(is_gone).collect();
        gone.into_iter().for_each(|at| self.remove(at));
        self.external = external;
    }

    pub(super) fn forward_port(&mut self, port: u16, internal: SocketAddr) {
        self.forwarded.insert(port, internal);
    }

    pub(super) fn unforward_port(&mut self, port: u16) {
        self.forwarded.remove(&port);
    }

    pub(super) fn translates(&self, ip: IpAddr) -> bool {
        self.external.iter().any(|external| self.is_external_of(*external, ip))
    }

    pub(super) fn mappings(&self, now: Instant) -> usize {
        self.mappings.values().filter(|mapping| self.is_live(now, mapping.refreshed)).count()
    }

    pub(super) fn check(&self) {
        assert_eq!(self.mappings.len(), self.by_internal.len(), "one entry each way");
        assert!(self.mappings.len() <= self.config.mappings_max);
        for (external, mapping) in &self.mappings {
            assert_eq!(self.by_internal.get(&(mapping.internal, mapping.key)), Some(external));
            assert!(mapping.permissions.len() <= self.config.permissions_max);
        }
    }

    /// Turns a datagram from inside around. Returns source and destination with which it goes back.
    pub(super) fn hairpin(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        external: SocketAddr,
    ) -> Result<(SocketAddr, SocketAddr), NatDrop> {
        let keeps_source = match self.config.hairpinning {
            Hairpinning::Unsupported => return Err(NatDrop::NoHairpinning),
            Hairpinning::InternalSource => true,
            Hairpinning::ExternalSource => false,
        };
        let source = self.translate(now, internal, external)?;
        let to = self.admit(now, external, source)?;
        Ok((if keeps_source { internal } else { source }, to))
    }

    /// The source that a datagram from inside has outside.
    pub(super) fn translate(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, NatDrop> {
        if (internal.is_ipv4() != remote.is_ipv4()) != self.is_between_families {
            return Err(NatDrop::FamilyMismatch);
        }
        if let Some(external) = self.forwarded_from(internal) {
            return Ok(external);
        }
        let key =
            if self.translates(internal.ip()) { self.config.mapping.key(remote) } else { Key::Any };
        let external = match self.live_mapping(now, internal, key) {
            Some(external) => external,
            None => self.create(now, internal, key)?,
        };
        let NatConfig { filtering, lifetime, permissions_max, outbound_refresh, .. } = self.config;
        let mapping = self.mappings.get_mut(&external).expect("it is live or was just made");
        let permission = filtering.key(remote);
        let is_live = |at: &Instant| now.saturating_duration_since(*at) <= lifetime;
        if permission != Key::Any {
            let is_known = mapping.permissions.get(&permission).is_some_and(is_live);
            if !is_known && mapping.permissions.len() >= permissions_max {
                mapping.permissions.retain(|_, at| is_live(at));
                if mapping.permissions.len() >= permissions_max {
                    return Err(NatDrop::TableFull);
                }
            }
            if !is_known || outbound_refresh {
                mapping.permissions.insert(permission, now);
            }
        }
        if outbound_refresh {
            mapping.refreshed = now;
        }
        Ok(external)
    }

    /// The internal endpoint that a datagram from outside reaches.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        external: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, NatDrop> {
        if let Some(internal) = self.forwarded.get(&external.port()) {
            return Ok(*internal);
        }
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

    /// The external endpoint of a forwarded port. It serves both directions (RFC 6887 §2.2).
    fn forwarded_from(&mut self, internal: SocketAddr) -> Option<SocketAddr> {
        let port = self.forwarded.iter().find(|(_, at)| **at == internal).map(|(port, _)| *port)?;
        Some(SocketAddr::new(self.external_ip(internal)?, port))
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
        let external = match self.external_ip(internal) {
            Some(ip) => SocketAddr::new(ip, self.allocate(now, ip, internal)?),
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

    fn is_external_of(&self, external: IpAddr, internal: IpAddr) -> bool {
        (external.is_ipv4() != internal.is_ipv4()) == self.is_between_families
    }

    /// The external address for a new mapping; none if the family is not translated.
    fn external_ip(&mut self, internal: SocketAddr) -> Option<IpAddr> {
        let host = internal.ip();
        let family = self.external.iter().filter(|ip| self.is_external_of(**ip, host));
        let pool: Vec<IpAddr> = family.copied().collect();
        let count = pool.len() as u64;
        let socket = match self.config.pooling {
            _ if count <= 1 => return pool.first().copied(),
            Pooling::Paired => 0,
            Pooling::PairedBySocket => 1 + u64::from(internal.port()),
            Pooling::Arbitrary => return pool.get(self.ports.draw(count) as usize).copied(),
        };
        let host = match host {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let drawn = fate::fate(self.salt ^ socket, (host >> 64) as u64, host as u64);
        pool.get(fate::below(drawn, count) as usize).copied()
    }

    fn allocate(&mut self, now: Instant, ip: IpAddr, internal: SocketAddr) -> Result<u16, NatDrop> {
        let Self { config, mappings, by_internal, ports, forwarded, .. } = self;
        let is_live =
            |mapping: &Mapping| now.saturating_duration_since(mapping.refreshed) <= config.lifetime;
        let is_free = |port| {
            mappings.get(&SocketAddr::new(ip, port)).is_none_or(|one| !is_live(one))
                && !forwarded.contains_key(&port)
        };
        let is_idle = |host| {
            let from = (SocketAddr::new(host, 0), Key::Any);
            let own = by_internal.range(from..).take_while(|((at, _), _)| at.ip() == host);
            own.map(|(_, external)| &mappings[external]).all(|mapping| !is_live(mapping))
        };
        let request = Request { external: ip, host: internal.ip(), port: internal.port() };
        let allocated = ports.allocate(request, &is_free, &is_idle);
        let (Allocated::Free(port) | Allocated::Taken(port)) =
            allocated.ok_or(NatDrop::PortsExhausted)?;
        self.remove(SocketAddr::new(ip, port));
        Ok(port)
    }

    fn is_live(&self, now: Instant, refreshed: Instant) -> bool {
        now.saturating_duration_since(refreshed) <= self.config.lifetime
    }

    fn remove(&mut self, external: SocketAddr) {
        if let Some(mapping) = self.mappings.remove(&external) {
            self.by_internal.remove(&(mapping.internal, mapping.key));
        }
    }
}
