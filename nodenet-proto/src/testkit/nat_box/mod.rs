//! Network address translators and firewalls: RFC 4787 in all its terms, Linux, NAT64.
//!
//! Responsible for: which datagrams pass a box, and what source and destination they have then.
//! Never: a clock, a link or a waiting datagram.
//!
//! A [`NatBox`] is a pure state machine. It does the same for the same seed and the same calls. It
//! needs no timer: what has expired is found when it is looked at. A family in which it has no
//! external address is not translated, only filtered. Without any external address the box is a
//! stateful firewall; with IPv4 addresses alone it is the usual home router with IPv4 translation
//! and an IPv6 firewall.
//!
//! Not modelled: parity and contiguity of port pairs (RFC 4787 REQ-4), private ranges on both sides
//! (REQ-7), application level gateways (REQ-10), fragments (REQ-13, REQ-14).

mod background;
mod config;
mod conntrack;
mod nat64;
mod ports;
#[cfg(test)]
mod tests;
mod translator;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::env::Seed;
use background::Background;
use conntrack::Conntrack;
use nat64::Nat64;
use translator::Translator;

pub use config::{
    Behavior, BoxKind, Collision, Hairpinning, LinuxConfig, NatConfig, Pooling, PortAllocation,
    SourceRule,
};
pub use nat64::{nat64_address, nat64_embedded};

/// The TTL of a datagram whose sender asks for no other (Linux: `net.ipv4.ip_default_ttl`).
pub const DEFAULT_TTL: u8 = 64;

/// What of a datagram counts at a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its source.
    pub from: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// The hops that it may still make (IPv6: hop limit).
    pub ttl: u8,
}

impl Header {
    /// A header with the default TTL.
    pub fn new(from: SocketAddr, to: SocketAddr) -> Self {
        Self { from, to, ttl: DEFAULT_TTL }
    }
}

/// A side of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where its hosts are.
    Inside,
    /// Where its external addresses are.
    Outside,
}

/// Why a box drops a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatDrop {
    /// From outside, to an endpoint without a mapping.
    NoMapping,
    /// From outside, from an endpoint that the filter does not let in.
    Filtered,
    /// From outside, accepted by the box for itself, where nothing listens. The sender gets an ICMP
    /// error, which a socket that is not connected does not show.
    ToTheBox,
    /// From inside, to an external address of a box without hairpinning.
    NoHairpinning,
    /// From inside: there is no room for another mapping or permission.
    TableFull,
    /// From inside: every external port is taken.
    PortsExhausted,
    /// Source and destination are of different families.
    FamilyMismatch,
    /// From inside, through a NAT64 to an address that it does not translate.
    NotTranslatable,
    /// The TTL is used up. The ICMP error is not modelled.
    TtlExpired,
    /// The box drops all of UDP.
    NoUdp,
}

#[derive(Debug)]
enum Machine {
    Translator(Translator),
    Linux(Conntrack),
    Nat64(Box<Nat64>),
    NoUdp,
}

/// A NAT box, or a stateful firewall.
#[derive(Debug)]
pub struct NatBox {
    kind: BoxKind,
    machine: Machine,
    drops: BTreeMap<NatDrop, u64>,
    background: Option<Background>,
}

impl NatBox {
    /// A box without mappings.
    ///
    /// # Panics
    /// If the range of ports is empty.
    pub fn new(kind: impl Into<BoxKind>, external: Vec<IpAddr>, seed: &Seed) -> Self {
        let kind = kind.into();
        let machine = match kind.clone() {
            BoxKind::Translator(config) => {
                Machine::Translator(Translator::new(config, external, seed))
            }
            BoxKind::Linux(config) => Machine::Linux(Conntrack::new(config, external, seed)),
            BoxKind::Nat64(config) => Machine::Nat64(Box::new(Nat64::new(config, external, seed))),
            BoxKind::NoUdp => Machine::NoUdp,
        };
        Self { kind, machine, drops: BTreeMap::new(), background: None }
    }

    /// A stateful firewall: nothing is translated.
    pub fn firewall(filtering: Behavior, seed: &Seed) -> Self {
        Self::new(NatConfig { filtering, ..NatConfig::default() }, Vec::new(), seed)
    }

    /// Other hosts inside begin this many new flows a second on average from now on, to IPv4
    /// destinations of their own. With none that ends.
    pub fn set_background(&mut self, now: Instant, flows_per_s: u32, seed: &Seed) {
        self.background = (flows_per_s > 0).then(|| Background::new(now, flows_per_s, seed));
    }

    /// A datagram arrives from one side. Returns with which header it leaves, and on which side.
    ///
    /// The TTL counts down by one. A datagram from inside to an external address of the box leaves
    /// on the inside, if at all.
    ///
    /// # Errors
    /// If the box drops it.
    pub fn forward(
        &mut self,
        now: Instant,
        side: Side,
        header: Header,
    ) -> Result<(Side, Header), NatDrop> {
        if side == Side::Inside {
            self.let_background_out(now);
        }
        let passed = match side {
            Side::Inside if self.is_for_itself(header.to.ip()) => {
                self.turn(now, header).map(|header| (Side::Inside, header))
            }
            Side::Inside => self.let_out(now, header).map(|header| (Side::Outside, header)),
            Side::Outside => self.let_in(now, header).map(|header| (Side::Inside, header)),
        };
        if let Err(reason) = &passed {
            *self.drops.entry(*reason).or_default() += 1;
        }
        passed.map(|(side, header)| (side, Header { ttl: header.ttl - 1, ..header }))
    }

    /// [`Self::forward`] from inside with the default TTL. Returns the source outside.
    ///
    /// # Errors
    /// If the box drops it.
    pub fn outbound(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, NatDrop> {
        let (_, header) = self.forward(now, Side::Inside, Header::new(internal, remote))?;
        Ok(header.from)
    }

    /// [`Self::forward`] from outside with the default TTL. Returns the destination inside.
    ///
    /// # Errors
    /// If the box drops it.
    pub fn inbound(
        &mut self,
        now: Instant,
        external: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, NatDrop> {
        let (_, header) = self.forward(now, Side::Outside, Header::new(remote, external))?;
        Ok(header.to)
    }

    /// [`Self::forward`] from inside to an external endpoint. Returns source and destination with
    /// which the datagram goes back inside.
    ///
    /// # Errors
    /// If the box drops it.
    pub fn hairpin(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        external: SocketAddr,
    ) -> Result<(SocketAddr, SocketAddr), NatDrop> {
        let (_, header) = self.forward(now, Side::Inside, Header::new(internal, external))?;
        Ok((header.from, header.to))
    }

    /// Loses every mapping, as at a reboot, and goes on with these external addresses. Forwarded
    /// ports stay.
    pub fn restart(&mut self, external: Vec<IpAddr>) {
        match &mut self.machine {
            Machine::Translator(machine) => machine.restart(external),
            Machine::Linux(machine) => machine.restart(external),
            Machine::Nat64(machine) => {
                machine.to_v4.restart(external);
                machine.v6.restart(Vec::new());
            }
            Machine::NoUdp => {}
        }
    }

    /// Gets other external addresses without a reboot. Mappings of those that are gone are lost,
    /// but for [`SourceRule::Snat`], where nothing changes.
    pub fn renumber(&mut self, external: Vec<IpAddr>) {
        match &mut self.machine {
            Machine::Translator(machine) => machine.renumber(external),
            Machine::Linux(machine) => machine.renumber(external),
            Machine::Nat64(machine) => machine.to_v4.renumber(external),
            Machine::NoUdp => {}
        }
    }

    /// Leads an external port to an endpoint inside, from any source, as a port mapping protocol
    /// asks for it.
    pub fn forward_port(&mut self, port: u16, internal: SocketAddr) {
        match &mut self.machine {
            Machine::Translator(machine) => machine.forward_port(port, internal),
            Machine::Linux(machine) => machine.forward_port(port, internal),
            Machine::Nat64(machine) => machine.to_v4.forward_port(port, internal),
            Machine::NoUdp => {}
        }
    }

    /// Ends [`Self::forward_port`]. On Linux flows that came in already go on.
    pub fn unforward_port(&mut self, port: u16) {
        match &mut self.machine {
            Machine::Translator(machine) => machine.unforward_port(port),
            Machine::Linux(machine) => machine.unforward_port(port),
            Machine::Nat64(machine) => machine.to_v4.unforward_port(port),
            Machine::NoUdp => {}
        }
    }

    /// What kind of box it is.
    pub fn kind(&self) -> &BoxKind {
        &self.kind
    }

    /// Its external addresses.
    pub fn external(&self) -> &[IpAddr] {
        match &self.machine {
            Machine::Translator(machine) => machine.external(),
            Machine::Linux(machine) => machine.external(),
            Machine::Nat64(machine) => machine.to_v4.external(),
            Machine::NoUdp => &[],
        }
    }

    /// Whether a host with this address has another one outside.
    pub fn translates(&self, ip: IpAddr) -> bool {
        match &self.machine {
            Machine::Translator(machine) => machine.translates(ip),
            Machine::Linux(machine) => machine.translates(ip),
            // Its IPv6 address is its own outside.
            Machine::Nat64(_) | Machine::NoUdp => false,
        }
    }

    /// Mappings that have not expired; flows where a box has no others.
    pub fn mappings(&self, now: Instant) -> usize {
        match &self.machine {
            Machine::Translator(machine) => machine.mappings(now),
            Machine::Linux(machine) => machine.entries(now),
            Machine::Nat64(machine) => machine.to_v4.mappings(now) + machine.v6.mappings(now),
            Machine::NoUdp => 0,
        }
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
        match &self.machine {
            Machine::Translator(machine) => machine.check(),
            Machine::Linux(machine) => machine.check(),
            Machine::Nat64(machine) => {
                machine.to_v4.check();
                machine.v6.check();
            }
            Machine::NoUdp => {}
        }
    }

    /// What other hosts are refused counts nowhere.
    fn let_background_out(&mut self, now: Instant) {
        let next = |nat: &mut Self| nat.background.as_mut()?.next(now);
        while let Some((at, header)) = next(self) {
            let _ = self.let_out(at, header);
        }
    }

    fn is_for_itself(&self, to: IpAddr) -> bool {
        match &self.machine {
            Machine::Nat64(machine) => machine.is_own(to),
            Machine::Translator(_) | Machine::Linux(_) | Machine::NoUdp => {
                self.external().contains(&to)
            }
        }
    }

    fn let_out(&mut self, now: Instant, header: Header) -> Result<Header, NatDrop> {
        let Header { from, to, .. } = header;
        let has_hops_left = header.ttl > 1;
        if !has_hops_left && !matches!(self.machine, Machine::NoUdp) {
            // It dies before it makes a mapping.
            return Err(NatDrop::TtlExpired);
        }
        let from = match &mut self.machine {
            Machine::Translator(machine) => machine.translate(now, from, to)?,
            Machine::Linux(machine) => {
                let (from, to) = machine.outbound(now, from, to)?;
                return Ok(Header { from, to, ..header });
            }
            Machine::Nat64(machine) => return machine.outbound(now, header),
            Machine::NoUdp => return Err(NatDrop::NoUdp),
        };
        Ok(Header { from, ..header })
    }

    fn let_in(&mut self, now: Instant, header: Header) -> Result<Header, NatDrop> {
        let Header { from, to, .. } = header;
        let passed = match &mut self.machine {
            Machine::Translator(machine) => Header { to: machine.admit(now, to, from)?, ..header },
            Machine::Linux(machine) => {
                let (from, to) = machine.inbound(now, to, from)?;
                Header { from, to, ..header }
            }
            Machine::Nat64(machine) => machine.inbound(now, header)?,
            Machine::NoUdp => return Err(NatDrop::NoUdp),
        };
        // What is for the box itself needs no further hop.
        if header.ttl > 1 { Ok(passed) } else { Err(NatDrop::TtlExpired) }
    }

    fn turn(&mut self, now: Instant, header: Header) -> Result<Header, NatDrop> {
        if header.ttl <= 1 {
            return Err(NatDrop::TtlExpired);
        }
        match &mut self.machine {
            Machine::Translator(machine) => {
                let (from, to) = machine.hairpin(now, header.from, header.to)?;
                Ok(Header { from, to, ..header })
            }
            Machine::Nat64(machine) => machine.hairpin(now, header),
            // Linux: it is for the router itself, where nothing listens.
            Machine::Linux(_) => Err(NatDrop::NoHairpinning),
            Machine::NoUdp => Err(NatDrop::NoUdp),
        }
    }
}
