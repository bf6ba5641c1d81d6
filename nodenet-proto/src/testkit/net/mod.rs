//! Datagram network in virtual time: hosts, links, NAT boxes, and one ordered queue of what is
//! under way.
//!
//! Responsible for: which way a datagram takes, when it arrives, what becomes of it on the way.
//! Never: what a host does with it.
//!
//! A test owns its hosts and lends them to the [`Net`] for every step. A program that has its own
//! clock calls [`Net::send`] and [`Net::poll_arrival`] instead.
//!
//! # Address realms
//! A [`Realm`] is a space of addresses (RFC 2663 §2.1). Every gateway with a NAT box joins the
//! realm inside to one outside. A datagram climbs from its host's realm through gateways until its
//! destination is in the realm it has come to, crosses the one link there, and descends through the
//! gateways before its destination when it arrives. Gateways take no time. A link is between two
//! addresses, as they are seen in the realm where it is crossed. Every gateway and every router of
//! the link counts the TTL down.

mod hosts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::base;
use super::host::{Arrival, Datagram, Outbox};
use super::link::{Link, LinkProfile, Loss, Passage, packet_len};
use super::nat_box::{DEFAULT_TTL, Header, NatBox, Side};
use crate::env::Seed;

/// Datagrams under way at once; the oldest are lost.
const FLIGHTS_MAX: usize = 1 << 20;

/// A space of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm(u32);

impl Realm {
    /// The internet.
    pub const PUBLIC: Self = Self(0);

    /// The gateway that leads out of this realm.
    fn gateway(self) -> Option<usize> {
        self.0.checked_sub(1).map(|number| number as usize)
    }

    fn inside(gateway: usize) -> Self {
        Self(gateway as u32 + 1)
    }
}

/// What became of datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetStats {
    /// Sent.
    pub sent: u64,
    /// Arrived where a socket can be.
    pub arrived: u64,
    /// Arrived a second time.
    pub duplicated: u64,
    /// Lost by chance, by the profile of the link.
    pub lost: u64,
    /// Lost because the link had no room for more.
    pub overflowed: u64,
    /// Lost because they were longer than the link takes.
    pub too_long: u64,
    /// Lost at a partition.
    pub cut: u64,
    /// Dropped by a NAT box or a firewall.
    pub filtered: u64,
    /// Lost on a link because the TTL was used up there.
    pub expired: u64,
}

/// A datagram or a report under way.
#[derive(Debug, Clone)]
struct Flight {
    realm: Realm,
    /// The address of the host that sent it.
    origin: IpAddr,
    /// The hops that it may still make.
    ttl: u8,
    content: Arrival,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Host,
    Gateway(usize),
}

#[derive(Debug)]
struct Gateway {
    nat: NatBox,
    outside: Realm,
}

/// Sees every datagram that is sent: when, from where, to where, what.
pub type Tap = Box<dyn FnMut(Instant, SocketAddr, SocketAddr, &[u8]) + Send>;

/// The network, and the time.
pub struct Net {
    /// Now.
    pub now: Instant,
    /// Every link that has no profile of its own.
    pub link: LinkProfile,
    /// What is sent before this arrives no earlier: a path that holds everything back and then
    /// delivers it at once.
    pub stalled_until: Option<Instant>,
    /// Called for every datagram sent.
    pub tap: Option<Tap>,
    /// Datagrams under way at once; the oldest are lost.
    pub flights_max: usize,
    stats: NetStats,
    seed: Seed,
    order: u64,
    flights: BTreeMap<(Instant, u64), Flight>,
    links: BTreeMap<(Realm, IpAddr, IpAddr), Link>,
    profiles: BTreeMap<(IpAddr, IpAddr), LinkProfile>,
    /// Accesses of addresses to the realm that they are in.
    accesses: BTreeMap<(Realm, IpAddr), LinkProfile>,
    gateways: Vec<Gateway>,
    places: BTreeMap<(Realm, IpAddr), Place>,
    /// Hosts that were split off, each with the number of its group.
    islands: BTreeMap<IpAddr, u64>,
    islands_ever: u64,
    outbox: Outbox,
    /// Storage of [`Self::step`]: what arrived at each host.
    arrived: Vec<Vec<Arrival>>,
}

/// A datagram could not go on, and the network has counted why.
struct Dropped;

impl Net {
    /// A network with 10 ms each way and no loss.
    pub fn new(seed: u64) -> Self {
        Self::with_seed(Seed::from_u64(seed))
    }

    /// The same with a seed of any kind.
    pub fn with_seed(seed: Seed) -> Self {
        Self {
            now: base(),
            link: LinkProfile::REGION,
            stalled_until: None,
            tap: None,
            flights_max: FLIGHTS_MAX,
            stats: NetStats::default(),
            seed,
            order: 0,
            flights: BTreeMap::new(),
            links: BTreeMap::new(),
            profiles: BTreeMap::new(),
            accesses: BTreeMap::new(),
            gateways: Vec::new(),
            places: BTreeMap::new(),
            islands: BTreeMap::new(),
            islands_ever: 0,
            outbox: Outbox::default(),
            arrived: Vec::new(),
        }
    }

    /// Takes storage for what a host sends at a time, so that a meter does not see it grow.
    pub fn reserve(&mut self, bytes: usize, batches: usize) {
        self.outbox = Outbox::with_capacity(bytes, batches);
    }

    /// Sets the share of datagrams that all links lose that have no profile of their own.
    pub fn set_loss_percent(&mut self, percent: u32) {
        self.link.loss = f64::from(percent) / 100.0;
    }

    /// Gives the link between two addresses a profile of its own, in one direction.
    pub fn set_profile(&mut self, from: IpAddr, to: IpAddr, profile: LinkProfile) {
        self.profiles.insert((from, to), profile);
    }

    /// Says how an address reaches the realm that it is in. A link without a profile of its own is
    /// the path through the accesses of both ends.
    pub fn set_access(&mut self, realm: Realm, ip: IpAddr, access: Option<LinkProfile>) {
        match access {
            Some(access) => self.accesses.insert((realm, ip), access),
            None => self.accesses.remove(&(realm, ip)),
        };
    }

    /// Adds a NAT box or firewall. Returns the realm inside.
    pub fn add_gateway(&mut self, outside: Realm, nat: NatBox) -> Realm {
        let number = self.gateways.len();
        for ip in nat.external() {
            self.places.insert((outside, *ip), Place::Gateway(number));
        }
        self.gateways.push(Gateway { nat, outside });
        Realm::inside(number)
    }

    /// Places a host with this address in a realm behind a gateway. Those of [`Realm::PUBLIC`] need
    /// no call.
    pub fn place(&mut self, realm: Realm, ip: IpAddr) {
        self.places.insert((realm, ip), Place::Host);
        let mut realm = realm;
        while let Some(number) = realm.gateway() {
            let Gateway { nat, outside } = &self.gateways[number];
            if nat.translates(ip) {
                break;
            }
            self.places.insert((*outside, ip), Place::Gateway(number));
            realm = *outside;
        }
    }

    /// Whether an address leads to a host or a gateway of this realm, as far as [`Self::place`] and
    /// [`Self::add_gateway`] say.
    pub fn has(&self, realm: Realm, ip: IpAddr) -> bool {
        self.places.contains_key(&(realm, ip))
    }

    /// Says that no host has this address in its realm any more.
    pub fn remove(&mut self, realm: Realm, ip: IpAddr) {
        let mut next = Some(realm);
        while let Some(realm) = next {
            if let Some(Place::Gateway(number)) = self.places.remove(&(realm, ip))
                && self.gateways[number].nat.external().contains(&ip)
            {
                self.places.insert((realm, ip), Place::Gateway(number));
                break;
            }
            next = realm.gateway().map(|number| self.gateways[number].outside);
        }
    }

    /// The box between a realm and the one outside; none for [`Realm::PUBLIC`].
    pub fn nat(&self, inside: Realm) -> Option<&NatBox> {
        Some(&self.gateways[inside.gateway()?].nat)
    }

    /// Reboots the box that leads out of a realm: its mappings are lost, and it has these external
    /// addresses from now on. Nothing happens for [`Realm::PUBLIC`].
    pub fn restart_nat(&mut self, inside: Realm, external: Vec<IpAddr>) {
        let Some(number) = inside.gateway() else { return };
        let Gateway { nat, outside } = &mut self.gateways[number];
        for ip in nat.external() {
            self.places.remove(&(*outside, *ip));
        }
        for ip in &external {
            self.places.insert((*outside, *ip), Place::Gateway(number));
        }
        nat.restart(external);
    }

    /// Gives the box that leads out of a realm other external addresses without a reboot. Nothing
    /// happens for [`Realm::PUBLIC`].
    pub fn renumber_nat(&mut self, inside: Realm, external: Vec<IpAddr>) {
        let Some(number) = inside.gateway() else { return };
        let Gateway { nat, outside } = &mut self.gateways[number];
        for ip in nat.external() {
            self.places.remove(&(*outside, *ip));
        }
        nat.renumber(external);
        for ip in nat.external() {
            self.places.insert((*outside, *ip), Place::Gateway(number));
        }
    }

    /// The box that leads out of a realm, to change it.
    pub fn nat_mut(&mut self, inside: Realm) -> Option<&mut NatBox> {
        Some(&mut self.gateways[inside.gateway()?].nat)
    }

    /// Splits these hosts from all others. Another call splits off others, or moves these.
    pub fn partition(&mut self, hosts: impl IntoIterator<Item = IpAddr>) {
        self.islands_ever += 1;
        let island = self.islands_ever;
        self.islands.extend(hosts.into_iter().map(|ip| (ip, island)));
    }

    /// Ends all partitions.
    pub fn heal(&mut self) {
        self.islands.clear();
    }

    /// What became of the datagrams so far.
    pub fn stats(&self) -> NetStats {
        self.stats
    }

    /// Time since the network began, if it began at [`base`].
    pub fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(base())
    }

    /// Puts one datagram on the network. Returns when it arrives, if it does.
    pub fn send(&mut self, realm: Realm, datagram: Datagram) -> Option<Passage> {
        self.send_with_ttl(realm, datagram, DEFAULT_TTL)
    }

    /// Puts one datagram with this TTL on the network. Returns when it arrives, if it does.
    pub fn send_with_ttl(&mut self, realm: Realm, datagram: Datagram, ttl: u8) -> Option<Passage> {
        self.stats.sent += 1;
        if let Some(tap) = &mut self.tap {
            tap(self.now, datagram.from, datagram.to, &datagram.data);
        }
        self.depart(realm, datagram, ttl).ok()
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.flights.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next arrival that is due, with the realm where it arrives.
    pub fn poll_arrival(&mut self) -> Option<(Realm, Arrival)> {
        while self.next_arrival()? <= self.now {
            let (_, flight) = self.flights.pop_first()?;
            if let Some(arrived) = self.arrive(flight) {
                return Some(arrived);
            }
        }
        None
    }

    fn depart(
        &mut self,
        origin_realm: Realm,
        mut datagram: Datagram,
        ttl: u8,
    ) -> Result<Passage, Dropped> {
        let origin = datagram.from;
        let named = datagram.to;
        let (realm, header) = self.climb(origin_realm, Header { from: origin, to: named, ttl })?;
        (datagram.from, datagram.to) = (header.from, header.to);
        let ends = (header.from.ip(), header.to.ip());
        let profile = self.profile(realm, ends);
        let len = packet_len(ends.0.is_ipv4(), datagram.data.len());
        let now = self.now;
        let carried = self.link_between(realm, ends).carry(&profile, now, len);
        if !self.is_joined(origin.ip(), ends.1) {
            return self.count(|stats| &mut stats.cut);
        }
        let Some(ttl) = header.ttl.checked_sub(profile.hops).filter(|left| *left > 0) else {
            return self.count(|stats| &mut stats.expired);
        };
        match carried {
            Ok(Passage { at, again }) => {
                let flight = |content| Flight { realm, origin: origin.ip(), ttl, content };
                let again = again.map(|again| {
                    self.stats.duplicated += 1;
                    self.enqueue(again, flight(Arrival::Datagram(datagram.clone())))
                });
                Ok(Passage { at: self.enqueue(at, flight(Arrival::Datagram(datagram))), again })
            }
            Err(Loss::Chance) => self.count(|stats| &mut stats.lost),
            Err(Loss::QueueFull) => self.count(|stats| &mut stats.overflowed),
            Err(Loss::TooLong) => {
                if profile.reports_too_big {
                    // From a router somewhere on the path (a guess: in its middle), and through
                    // every NAT box (RFC 4787 REQ-12). A NAT64 adds what its IPv6 header is longer
                    // (RFC 7915 §4.2).
                    let longer = packet_len(named.is_ipv4(), 0)
                        .saturating_sub(packet_len(ends.0.is_ipv4(), 0));
                    let mtu = profile.mtu + longer;
                    let content = Arrival::TooBig { from: origin, to: named, mtu };
                    let flight = Flight { realm: origin_realm, origin: ends.1, ttl, content };
                    self.enqueue(now + profile.latency, flight);
                }
                self.count(|stats| &mut stats.too_long)
            }
        }
    }

    /// Takes a datagram through gateways until its destination is in the realm it has come to.
    fn climb(&mut self, mut realm: Realm, mut header: Header) -> Result<(Realm, Header), Dropped> {
        while let Some(number) = realm.gateway()
            && !self.places.contains_key(&(realm, header.to.ip()))
        {
            let Gateway { nat, outside } = &mut self.gateways[number];
            let outside = *outside;
            let Ok((side, passed)) = nat.forward(self.now, Side::Inside, header) else {
                return self.count(|stats| &mut stats.filtered);
            };
            header = passed;
            match side {
                Side::Inside => break,
                Side::Outside => realm = outside,
            }
        }
        Ok((realm, header))
    }

    /// Takes what arrives through gateways to its host.
    fn arrive(&mut self, flight: Flight) -> Option<(Realm, Arrival)> {
        let Flight { mut realm, origin, ttl, mut content } = flight;
        if let Arrival::Datagram(datagram) = &mut content {
            let mut header = Header { from: datagram.from, to: datagram.to, ttl };
            while let Some(Place::Gateway(number)) = self.places.get(&(realm, header.to.ip())) {
                let number = *number;
                let nat = &mut self.gateways[number].nat;
                let Ok((_, passed)) = nat.forward(self.now, Side::Outside, header) else {
                    self.stats.filtered += 1;
                    return None;
                };
                header = passed;
                realm = Realm::inside(number);
            }
            (datagram.from, datagram.to) = (header.from, header.to);
            if !self.is_joined(origin, datagram.to.ip()) {
                self.stats.cut += 1;
                return None;
            }
            self.stats.arrived += 1;
        }
        Some((realm, content))
    }

    fn enqueue(&mut self, at: Instant, flight: Flight) -> Instant {
        if self.flights.len() >= self.flights_max {
            self.flights.pop_first();
            self.stats.overflowed += 1;
        }
        self.order += 1;
        let at = self.stalled_until.map_or(at, |until| until.max(at));
        self.flights.insert((at, self.order), flight);
        at
    }

    /// The profile of the link between two addresses, as they are seen in this realm.
    pub fn profile(&self, realm: Realm, ends: (IpAddr, IpAddr)) -> LinkProfile {
        if let Some(profile) = self.profiles.get(&ends) {
            return *profile;
        }
        match [ends.0, ends.1].map(|ip| self.accesses.get(&(realm, ip))) {
            [Some(from), Some(to)] => from.join(to),
            [one, other] => *one.or(other).unwrap_or(&self.link),
        }
    }

    fn link_between(&mut self, realm: Realm, ends: (IpAddr, IpAddr)) -> &mut Link {
        let seed = &self.seed;
        self.links.entry((realm, ends.0, ends.1)).or_insert_with(|| {
            let label = format!("link {} {}", ends.0, ends.1);
            let number = seed.child(&label, realm.0.into()).stream("fates").next_u64();
            Link::new(0, number)
        })
    }

    fn is_joined(&self, a: IpAddr, b: IpAddr) -> bool {
        self.islands.is_empty() || self.islands.get(&a) == self.islands.get(&b)
    }

    fn count<T>(&mut self, counter: impl Fn(&mut NetStats) -> &mut u64) -> Result<T, Dropped> {
        *counter(&mut self.stats) += 1;
        Err(Dropped)
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Net({:?}, {} under way)", self.stats, self.flights.len())
    }
}
