//! Pools of external addresses: how many of 32 one socket, or twenty, get.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nodenet_proto::testkit::nat_box::{
    Behavior, LinuxConfig, NatConfig, Pooling, PortAllocation, SourceRule,
};

use crate::compare::{Notes, agree, linux};
use crate::family::Socket;
use crate::router::Setup;
use crate::rules::Rules;

/// Sockets, and destinations.
const COUNT: usize = 20;
/// Twenty choices of 32 addresses are 15 different ones on average; with fewer than this they were
/// not made independently.
const SPREAD_MIN: usize = 10;

fn with(config: LinuxConfig) -> LinuxConfig {
    LinuxConfig { rule: SourceRule::Snat, ..config }
}

fn socket(number: usize) -> Socket {
    (1, 5_000 + number as u16)
}

/// The addresses that these flows have outside, each a socket and a server by number.
fn ips(notes: &mut Notes<'_>, flows: impl Iterator<Item = (usize, usize)>) -> BTreeSet<IpAddr> {
    let seen = flows.map(|(from, to)| {
        let server = notes.family.server(to);
        notes.router.send_out(socket(from), server, 64).expect("it passes").ip()
    });
    seen.collect()
}

/// How many addresses: `one`, or `many`.
fn spread(notes: &mut Notes<'_>, flows: impl Iterator<Item = (usize, usize)>) {
    let line = match ips(notes, flows).len() {
        1 => "one".to_owned(),
        SPREAD_MIN.. => "many".to_owned(),
        few => few.to_string(),
    };
    notes.lines.push(line);
}

/// One socket to twenty destinations, twenty sockets to one, twenty sockets each with a first
/// destination of its own, and whether those keep the address of that.
fn flows(notes: &mut Notes<'_>) {
    spread(notes, (0..COUNT).map(|server| (0, server)));
    spread(notes, (1..COUNT).map(|socket| (socket, 0)));
    spread(notes, (0..COUNT).map(|number| (COUNT + number, number)));
    let keeps = (0..COUNT).all(|number| {
        let other = (number + 1) % COUNT;
        ips(notes, [number, other].map(|server| (COUNT + number, server)).into_iter()).len() == 1
    });
    notes.lines.push(if keeps { "they keep it" } else { "they do not" }.to_owned());
}

#[test]
fn a_pool_is_spread_over_sockets_by_their_first_destinations() {
    agree(
        "pools::a_pool_is_spread_over_sockets_by_their_first_destinations",
        &Setup::new(Rules::pool(), with(linux())),
        flows,
        &["one", "one", "many", "they keep it"],
    );
}

#[test]
fn a_persistent_pool_gives_a_host_one_address() {
    agree(
        "pools::a_persistent_pool_gives_a_host_one_address",
        &Setup::new(
            Rules::pool().flags("persistent"),
            with(LinuxConfig { persistent: true, ..linux() }),
        ),
        flows,
        &["one", "one", "one", "they keep it"],
    );
}

#[test]
fn a_random_pool_changes_the_address_with_the_destination() {
    agree(
        "pools::a_random_pool_changes_the_address_with_the_destination",
        &Setup::new(Rules::pool().flags("random"), with(LinuxConfig { random: true, ..linux() })),
        flows,
        &["many", "one", "many", "they do not"],
    );
}

/// The term of RFC 4787 for a persistent pool: paired.
#[test]
fn a_persistent_pool_is_paired() {
    let config = NatConfig {
        filtering: Behavior::AddressAndPortDependent,
        pooling: Pooling::Paired,
        ..NatConfig::default()
    };
    agree(
        "pools::a_persistent_pool_is_paired",
        &Setup::new(Rules::pool().flags("persistent"), config),
        flows,
        &["one", "one", "one", "they keep it"],
    );
}

/// The term of RFC 4787 for a random pool of a NAT with a mapping for each destination: arbitrary.
#[test]
fn a_random_pool_is_arbitrary_to_one_socket() {
    let config = NatConfig {
        mapping: Behavior::AddressAndPortDependent,
        filtering: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Random,
        pooling: Pooling::Arbitrary,
        ..NatConfig::default()
    };
    agree(
        "pools::a_random_pool_is_arbitrary_to_one_socket",
        &Setup::new(Rules::pool().flags("fully-random"), config),
        |notes| spread(notes, (0..COUNT).map(|server| (0, server))),
        &["many"],
    );
}
