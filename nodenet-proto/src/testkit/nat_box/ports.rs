//! Port allocation of a translator (RFC 4787 §4.2.1).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::config::{Collision, PortAllocation};
use crate::env::Random;

/// Where the ports of new mappings come from.
#[derive(Debug)]
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    allocation: PortAllocation,
    random: Random,
    /// The port that was allocated last.
    last: Option<u16>,
    /// The hosts that have a block, by external address and number of the block.
    blocks: BTreeMap<(IpAddr, u16), IpAddr>,
}

/// A port for a new mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allocated {
    Free(u16),
    /// Its older mapping ends.
    Taken(u16),
}

/// A new mapping: its external address, and the internal endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub external: IpAddr,
    pub host: IpAddr,
    pub port: u16,
}

impl Ports {
    pub(super) fn new(
        range: RangeInclusive<u16>,
        allocation: PortAllocation,
        random: Random,
    ) -> Self {
        assert!(!range.is_empty(), "a box without ports translates nothing");
        Self { range, allocation, random, last: None, blocks: BTreeMap::new() }
    }

    /// Forgets sequence and blocks, as at a reboot.
    pub(super) fn restart(&mut self) {
        self.last = None;
        self.blocks.clear();
    }

    /// A number below `bound`.
    pub(super) fn draw(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// The port of a new mapping, or none if all are taken. `is_free` says it of a port, `is_idle`
    /// says whether a host has no mapping, so that its block can be given to another.
    pub(super) fn allocate(
        &mut self,
        request: Request,
        is_free: &dyn Fn(u16) -> bool,
        is_idle: &dyn Fn(IpAddr) -> bool,
    ) -> Option<Allocated> {
        let range = self.range.clone();
        let free = match self.allocation {
            PortAllocation::Preserving(collision) => {
                let is_in_range = range.contains(&request.port);
                if is_in_range && is_free(request.port) {
                    Some(request.port)
                } else {
                    match collision {
                        Collision::Random => {
                            self.random_port(&port_class(request.port, &range), is_free)
                        }
                        Collision::Next if is_in_range => next_from(&range, request.port, is_free),
                        Collision::Next => self.random_port(&range, is_free),
                        Collision::TakeOver if is_in_range => {
                            return Some(Allocated::Taken(request.port));
                        }
                        Collision::TakeOver => self.random_port(&range, is_free),
                        Collision::Refuse => None,
                    }
                }
            }
            PortAllocation::Sequential { step } => self.next_port(&range, step.max(1), is_free),
            PortAllocation::Block { size } => {
                let block = self.block(request, size.max(1), is_idle)?;
                self.random_port(&block, is_free)
            }
            PortAllocation::Random => self.random_port(&range, is_free),
        };
        self.last = free.or(self.last);
        free.map(Allocated::Free)
    }

    /// The first free port from a random one on.
    fn random_port(
        &mut self,
        ports: &RangeInclusive<u16>,
        is_free: &dyn Fn(u16) -> bool,
    ) -> Option<u16> {
        let start = self.random.below(width(ports));
        (0..width(ports)).map(|steps| offset(ports, start + steps)).find(|port| is_free(*port))
    }

    /// The first free port, in steps from the last one on.
    fn next_port(
        &mut self,
        ports: &RangeInclusive<u16>,
        step: u16,
        is_free: &dyn Fn(u16) -> bool,
    ) -> Option<u16> {
        let start = match self.last {
            Some(last) => u64::from(last - ports.start()) + u64::from(step),
            None => self.random.below(width(ports)),
        };
        // Steps that share a divisor with the width do not reach every port: then the neighbours
        // are tried, too.
        let in_steps = (0..width(ports)).map(|count| start + count * u64::from(step));
        let candidates = in_steps.chain((0..width(ports)).map(|count| start + count));
        candidates.map(|at| offset(ports, at)).find(|port| is_free(*port))
    }

    /// The block of a host: the one that it has, a free one from a random one on, or that of a host
    /// without mappings.
    fn block(
        &mut self,
        request: Request,
        size: u16,
        is_idle: &dyn Fn(IpAddr) -> bool,
    ) -> Option<RangeInclusive<u16>> {
        let Request { external, host, .. } = request;
        let of_address = (external, 0)..=(external, u16::MAX);
        let own = self.blocks.range(of_address).find(|(_, owner)| **owner == host);
        let number = match own {
            Some(((_, number), _)) => *number,
            None => {
                let count = width(&self.range) / u64::from(size);
                let start = if count == 0 { return None } else { self.random.below(count) };
                let mut candidates =
                    (0..count).map(|steps| ((start + steps) % count) as u16).filter(|number| {
                        self.blocks.get(&(external, *number)).is_none_or(|owner| is_idle(*owner))
                    });
                let number = candidates.next()?;
                self.blocks.insert((external, number), host);
                number
            }
        };
        // In range: there are `width / size` blocks.
        let start = self.range.start() + number * size;
        Some(start..=start + (size - 1))
    }
}

fn next_from(ports: &RangeInclusive<u16>, port: u16, is_free: &dyn Fn(u16) -> bool) -> Option<u16> {
    let start = u64::from(port - ports.start());
    (1..width(ports)).map(|steps| offset(ports, start + steps)).find(|port| is_free(*port))
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
