//! Two routers in a row: that of a carrier, and one in each of two homes.

use std::ops::RangeInclusive;

use nodenet_proto::testkit::nat_box::{
    Behavior, BoxKind, Collision, LinuxConfig, NatConfig, PortAllocation, SourceRule,
};

use crate::compare::{A1, A2, Notes, agree, early, filtering, linux};
use crate::router::Setup;
use crate::rules::Rules;

const RANGE: RangeInclusive<u16> = 40_000..=49_999;

/// The usual home router behind the router of a carrier.
fn behind(rules: Rules, kind: impl Into<BoxKind>) -> Setup {
    Setup { inner: Some((Rules::masquerade(), linux().into())), ..Setup::new(rules, kind) }
}

#[test]
fn two_inner_routers_with_one_port_show_one_each_to_all_servers() {
    agree(
        "carrier::two_inner_routers_with_one_port_show_one_each_to_all_servers",
        &behind(Rules::masquerade(), linux()),
        |notes| {
            notes.out_to_all(A1);
            notes.out_to_all(A2);
        },
        &["kept", "kept", "kept", "other 1", "other 1", "other 1"],
    );
}

#[test]
fn a_range_of_the_carrier_shows_all_servers_one_port() {
    agree(
        "carrier::a_range_of_the_carrier_shows_all_servers_one_port",
        &behind(
            Rules::snat(&RANGE),
            LinuxConfig { rule: SourceRule::Snat, ports: Some(RANGE), ..linux() },
        ),
        |notes| {
            notes.out_to_all(A1);
            notes.out_to_all(A2);
        },
        &["other 1", "other 1", "other 1", "other 2", "other 2", "other 2"],
    );
}

#[test]
fn a_carrier_with_random_ports_shows_each_server_another_one() {
    agree(
        "carrier::a_carrier_with_random_ports_shows_each_server_another_one",
        &behind(
            Rules::snat(&RANGE).flags("fully-random"),
            LinuxConfig { ports: Some(RANGE), random: true, ..linux() },
        ),
        |notes| notes.out_to_all(A1),
        &["other 1", "other 2", "other 3"],
    );
}

#[test]
fn behind_a_full_cone_of_the_carrier_the_inner_router_filters() {
    let config = NatConfig { filtering: Behavior::EndpointIndependent, ..NatConfig::default() };
    agree(
        "carrier::behind_a_full_cone_of_the_carrier_the_inner_router_filters",
        &behind(Rules::masquerade().full_cone(), config),
        filtering,
        &["kept", "1:5000", "nothing"],
    );
}

#[test]
fn a_full_cone_behind_the_carrier_is_filtered_by_it() {
    let config = NatConfig { filtering: Behavior::EndpointIndependent, ..NatConfig::default() };
    let inner = (Rules::masquerade().full_cone(), config.into());
    agree(
        "carrier::a_full_cone_behind_the_carrier_is_filtered_by_it",
        &Setup { inner: Some(inner), ..Setup::new(Rules::masquerade(), linux()) },
        filtering,
        &["kept", "1:5000", "nothing"],
    );
}

#[test]
fn an_early_datagram_moves_the_port_of_a_carrier_whose_input_is_open() {
    agree(
        "carrier::an_early_datagram_moves_the_port_of_a_carrier_whose_input_is_open",
        &behind(Rules::masquerade().open(), LinuxConfig { input_open: true, ..linux() }),
        early,
        &["kept", "nothing", "other 1", "nothing", "other 1", "kept"],
    );
}

#[test]
fn ttl_three_leaves_both_routers_and_two_dies_in_that_of_the_carrier() {
    let script = |notes: &mut Notes<'_>| {
        notes.out_with_ttl(A1, 0, 2);
        notes.reach(0, A1.1);
        notes.out_with_ttl(A1, 0, 3);
        notes.reach(0, A1.1);
    };
    agree(
        "carrier::ttl_three_leaves_both_routers_and_two_dies_in_that_of_the_carrier",
        &behind(Rules::masquerade(), linux()),
        script,
        &["nothing", "nothing", "kept", "1:5000"],
    );
}

#[test]
fn hosts_of_one_carrier_do_not_reach_each_other_by_its_address() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.out((2, 6_000), 0);
        notes.around(A1, 6_000);
        notes.out(A1, 1);
    };
    agree(
        "carrier::hosts_of_one_carrier_do_not_reach_each_other_by_its_address",
        &behind(Rules::masquerade(), linux()),
        script,
        &["kept", "kept", "nothing", "kept"],
    );
}

#[test]
fn a_carrier_that_changes_ports_shows_one_over_a_router_that_keeps_them() {
    let inner = NatConfig {
        filtering: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Preserving(Collision::Random),
        ..NatConfig::default()
    };
    let carrier = NatConfig { allocation: PortAllocation::Random, ..inner.clone() };
    let script = |notes: &mut Notes<'_>| {
        notes.out_to_all(A1);
        let seen = notes.others[0];
        notes.reach_at(0, seen);
    };
    agree(
        "carrier::a_carrier_that_changes_ports_shows_one_over_a_router_that_keeps_them",
        &Setup {
            inner: Some((Rules::masquerade(), inner.into())),
            ..Setup::new(Rules::translated(), carrier)
        },
        script,
        &["other 1", "other 1", "other 1", "1:5000"],
    );
}
