//! IPv4 behind one router: source rules, port clashes, lifetimes, filters, hairpinning.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use nodenet_proto::testkit::nat_box::{
    Behavior, BoxKind, Collision, Hairpinning, LinuxConfig, NatConfig, PortAllocation, SourceRule,
};

use crate::compare::{A1, A2, Notes, agree, early, filtering, linux};
use crate::router::Setup;
use crate::rules::Rules;

const RANGE: RangeInclusive<u16> = 40_000..=40_003;

#[test]
fn masquerade_keeps_a_port_for_all_servers() {
    agree(
        "nat44::masquerade_keeps_a_port_for_all_servers",
        &Setup::new(Rules::masquerade(), linux()),
        |notes| notes.out_to_all(A1),
        &["kept", "kept", "kept"],
    );
}

#[test]
fn masquerade_fully_random_shows_each_server_another_port() {
    agree(
        "nat44::masquerade_fully_random_shows_each_server_another_port",
        &Setup::new(
            Rules::masquerade().flags("fully-random"),
            LinuxConfig { random: true, ..linux() },
        ),
        |notes| notes.out_to_all(A1),
        &["other 1", "other 2", "other 3"],
    );
}

#[test]
fn masquerade_random_shows_each_server_another_port() {
    agree(
        "nat44::masquerade_random_shows_each_server_another_port",
        &Setup::new(Rules::masquerade().flags("random"), LinuxConfig { random: true, ..linux() }),
        |notes| notes.out_to_all(A1),
        &["other 1", "other 2", "other 3"],
    );
}

#[test]
fn a_range_shows_all_servers_one_port_and_drops_silently_when_full() {
    let script = |notes: &mut Notes<'_>| {
        notes.out_to_all((1, 40_001));
        notes.out_to_all((1, 6_000));
        for port in 6_001..6_006 {
            notes.passes_out((1, port), 0);
        }
        notes.passes_out((1, 6_005), 1);
    };
    agree(
        "nat44::a_range_shows_all_servers_one_port_and_drops_silently_when_full",
        &Setup::new(
            Rules::snat(&RANGE),
            LinuxConfig { rule: SourceRule::Snat, ports: Some(RANGE), ..linux() },
        ),
        script,
        // Of four ports two are taken at each server.
        &[
            "kept", "kept", "kept", "other 1", "other 1", "other 1", "yes", "yes", "no", "no",
            "no", "yes",
        ],
    );
}

#[test]
fn a_range_fully_random_shows_servers_different_ports() {
    let range = 40_000..=49_999;
    agree(
        "nat44::a_range_fully_random_shows_servers_different_ports",
        &Setup::new(
            Rules::snat(&range).flags("fully-random"),
            LinuxConfig { ports: Some(range), random: true, ..linux() },
        ),
        |notes| notes.out_to_all(A1),
        &["other 1", "other 2", "other 3"],
    );
}

#[test]
fn of_two_hosts_with_one_port_the_second_moves_for_all_servers() {
    agree(
        "nat44::of_two_hosts_with_one_port_the_second_moves_for_all_servers",
        &Setup::new(Rules::masquerade(), linux()),
        |notes| {
            notes.out_to_all(A1);
            notes.out_to_all(A2);
        },
        &["kept", "kept", "kept", "other 1", "other 1", "other 1"],
    );
}

#[test]
fn in_crossed_order_both_hosts_move_and_new_servers_see_the_newest_port() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.out(A2, 1);
        notes.out(A2, 0);
        notes.out(A2, 2);
        notes.out(A2, 1);
        notes.out(A1, 1);
    };
    agree(
        "nat44::in_crossed_order_both_hosts_move_and_new_servers_see_the_newest_port",
        &Setup::new(Rules::masquerade(), linux()),
        script,
        &["kept", "kept", "other 1", "other 1", "kept", "other 2"],
    );
}

#[test]
fn an_early_datagram_changes_nothing_where_input_drops() {
    agree(
        "nat44::an_early_datagram_changes_nothing_where_input_drops",
        &Setup::new(Rules::masquerade(), linux()),
        early,
        &["kept", "nothing", "kept", "1:5000", "kept", "kept"],
    );
}

#[test]
fn an_early_datagram_moves_the_port_where_input_is_open_and_it_sticks() {
    agree(
        "nat44::an_early_datagram_moves_the_port_where_input_is_open_and_it_sticks",
        &Setup::new(Rules::masquerade().open(), LinuxConfig { input_open: true, ..linux() }),
        early,
        &["kept", "nothing", "other 1", "nothing", "other 1", "kept"],
    );
}

#[test]
fn the_claim_of_an_early_datagram_ends_with_its_timeout() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.reach(1, A1.1);
        notes.wait(1_000);
        notes.reach(1, A1.1);
        // Three seconds after the first, two after the last one.
        notes.wait(2_000);
        notes.out(A1, 1);
        notes.out((1, 5_001), 0);
        notes.reach(2, 5_001);
        notes.wait(3_500);
        notes.out((1, 5_001), 2);
    };
    agree(
        "nat44::the_claim_of_an_early_datagram_ends_with_its_timeout",
        &Setup::new(Rules::masquerade().open(), LinuxConfig { input_open: true, ..linux() }),
        script,
        &["kept", "nothing", "nothing", "other 1", "kept", "nothing", "kept"],
    );
}

#[test]
fn ttl_two_makes_a_mapping_and_ttl_one_makes_none() {
    let script = |notes: &mut Notes<'_>| {
        notes.out_with_ttl(A1, 0, 1);
        notes.reach(0, A1.1);
        notes.out_with_ttl(A1, 0, 2);
        notes.reach(0, A1.1);
    };
    agree(
        "nat44::ttl_two_makes_a_mapping_and_ttl_one_makes_none",
        &Setup::new(Rules::masquerade(), linux()),
        script,
        &["nothing", "nothing", "kept", "1:5000"],
    );
}

#[test]
fn hairpin_is_a_dead_end_that_changes_nothing() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.out((2, 6_000), 0);
        notes.around(A1, 6_000);
        notes.out(A1, 1);
    };
    agree(
        "nat44::hairpin_is_a_dead_end_that_changes_nothing",
        &Setup::new(Rules::masquerade(), linux()),
        script,
        &["kept", "kept", "nothing", "kept"],
    );
}

#[test]
fn an_answered_flow_lives_long_only_after_two_seconds() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.reach(0, A1.1);
        notes.out((1, 5_001), 1);
        notes.reach(1, 5_001);
        notes.wait(1_000);
        // Too early for the second flow to become a stream.
        notes.reach(1, 5_001);
        notes.wait(1_300);
        notes.reach(0, A1.1);
        notes.wait(2_500);
        notes.reach(1, 5_001);
        notes.wait(2_000);
        notes.reach(0, A1.1);
    };
    agree(
        "nat44::an_answered_flow_lives_long_only_after_two_seconds",
        &Setup::new(Rules::masquerade(), linux()),
        script,
        &["kept", "1:5000", "kept", "1:5001", "1:5001", "1:5000", "nothing", "1:5000"],
    );
}

#[test]
fn inbound_alone_refreshes_a_flow() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        for _ in 0..4 {
            notes.wait(1_500);
            notes.reach(0, A1.1);
        }
    };
    agree(
        "nat44::inbound_alone_refreshes_a_flow",
        &Setup::new(Rules::masquerade(), linux()),
        script,
        &["kept", "1:5000", "1:5000", "1:5000", "1:5000"],
    );
}

#[test]
fn a_new_wan_address_ends_masqueraded_flows_and_keeps_the_port() {
    let moved = [198, 18, 1, 3];
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.renumber(moved);
        notes.reach_at(0, SocketAddr::new(notes.family.wan(), A1.1));
        let source = notes.router.send_out(A1, notes.family.server(0), 64);
        notes.lines.push(format!("{source:?}"));
    };
    agree(
        "nat44::a_new_wan_address_ends_masqueraded_flows_and_keeps_the_port",
        &Setup::new(Rules::masquerade(), linux()),
        script,
        &["kept", "nothing", "Some(198.18.1.3:5000)"],
    );
}

#[test]
fn learned_translation_without_a_filter_lets_in_anyone() {
    agree(
        "nat44::learned_translation_without_a_filter_lets_in_anyone",
        &Setup::new(
            Rules::masquerade().full_cone(),
            NatConfig { filtering: Behavior::EndpointIndependent, ..NatConfig::default() },
        ),
        filtering,
        &["kept", "1:5000", "1:5000"],
    );
}

#[test]
fn learned_translation_with_a_set_of_peers_filters_by_address() {
    agree(
        "nat44::learned_translation_with_a_set_of_peers_filters_by_address",
        &Setup::new(
            Rules::masquerade().address_restricted(),
            NatConfig { filtering: Behavior::AddressDependent, ..NatConfig::default() },
        ),
        filtering,
        &["kept", "1:5000", "nothing"],
    );
}

#[test]
fn learned_translation_that_hairpins_joins_hosts_by_external_endpoints() {
    let config = NatConfig {
        filtering: Behavior::EndpointIndependent,
        hairpinning: Hairpinning::ExternalSource,
        ..NatConfig::default()
    };
    agree(
        "nat44::learned_translation_that_hairpins_joins_hosts_by_external_endpoints",
        &Setup::new(Rules::masquerade().hairpin(), config),
        |notes| {
            notes.out(A1, 0);
            notes.out((2, 6_000), 0);
            notes.around(A1, 6_000);
        },
        &["kept", "kept", "2:6000 from outside"],
    );
}

#[test]
fn numbered_ports_follow_in_steps() {
    let script = |notes: &mut Notes<'_>| {
        let ports = [0, 1, 2].map(|server| {
            notes.router.send_out(A1, notes.family.server(server), 64).expect("it passes").port()
        });
        let steps = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]).to_string());
        notes.lines.extend(steps);
    };
    let config = NatConfig {
        mapping: Behavior::AddressAndPortDependent,
        filtering: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Sequential { step: 256 },
        ports: 10_000..=60_000,
        ..NatConfig::default()
    };
    agree(
        "nat44::numbered_ports_follow_in_steps",
        &Setup::new(Rules::sequence(), config),
        script,
        &["256", "256"],
    );
}

#[test]
fn a_changed_port_is_the_same_for_all_servers_and_filters_by_endpoint() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.out(A1, 1);
        for server in [0, 2] {
            let to = notes.others[0];
            notes.reach_at(server, to);
        }
    };
    let config = NatConfig {
        filtering: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Random,
        ..NatConfig::default()
    };
    agree(
        "nat44::a_changed_port_is_the_same_for_all_servers_and_filters_by_endpoint",
        &Setup::new(Rules::translated(), config),
        script,
        &["other 1", "other 1", "1:5000", "nothing"],
    );
}

#[test]
fn a_router_without_translation_lets_in_answers_alone() {
    let script = |notes: &mut Notes<'_>| {
        // The socket is there, and another server is not let in.
        notes.out(A1, 2);
        notes.reach_socket(0, A1);
        notes.out(A1, 0);
        notes.reach_socket(0, A1);
        notes.reach_socket(1, A1);
    };
    agree(
        "nat44::a_router_without_translation_lets_in_answers_alone",
        &Setup::new(Rules::firewall(), linux()),
        script,
        &["kept", "nothing", "kept", "1:5000", "nothing"],
    );
}

#[test]
fn a_firewall_without_udp_lets_nothing_out() {
    agree(
        "nat44::a_firewall_without_udp_lets_nothing_out",
        &Setup::new(Rules::masquerade().without_udp(), BoxKind::NoUdp),
        |notes| {
            notes.passes_out(A1, 0);
            notes.passes_out(A1, 1);
        },
        &["no", "no"],
    );
}

/// A NAT that has a mapping for each destination address alone.
#[test]
fn a_port_by_the_address_of_the_destination_is_the_same_for_its_ports() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        let mut other_port = notes.family.server(0);
        other_port.set_port(7_001);
        notes.out_to(A1, other_port, 64);
        notes.out(A1, 1);
        notes.out(A1, 0);
    };
    let config = NatConfig {
        mapping: Behavior::AddressDependent,
        filtering: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Random,
        ..NatConfig::default()
    };
    agree(
        "nat44::a_port_by_the_address_of_the_destination_is_the_same_for_its_ports",
        &Setup::new(Rules::by_address(), config),
        script,
        &["other 1", "other 1", "other 2", "other 1"],
    );
}

#[test]
fn random_ports_of_a_block_stay_in_the_block_of_their_host() {
    const BLOCKS: [RangeInclusive<u16>; 2] = [40_000..=40_063, 40_064..=40_127];
    let script = |notes: &mut Notes<'_>| {
        let mut block = |socket| -> BTreeSet<u16> {
            let seen = (0..6).filter_map(|number| {
                let server = notes.family.server(number);
                notes.router.send_out(socket, server, 64)
            });
            seen.map(|seen| (seen.port() - BLOCKS[0].start()) / BLOCKS[0].len() as u16).collect()
        };
        let (first, second) = (block(A1), block(A2));
        let is_one = first.len() == 1 && second.len() == 1;
        notes.lines.push(format!("{is_one} {}", first == second));
    };
    let config = NatConfig {
        mapping: Behavior::AddressAndPortDependent,
        filtering: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Block { size: 64 },
        ports: *BLOCKS[0].start()..=*BLOCKS[1].end(),
        ..NatConfig::default()
    };
    agree(
        "nat44::random_ports_of_a_block_stay_in_the_block_of_their_host",
        &Setup::new(Rules::blocks(&BLOCKS), config),
        script,
        &["true false"],
    );
}

#[test]
fn where_a_port_is_kept_or_nothing_passes_the_second_host_gets_none() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.out(A2, 0);
        notes.out((2, 5_001), 0);
    };
    let config = NatConfig {
        filtering: Behavior::AddressAndPortDependent,
        allocation: PortAllocation::Preserving(Collision::Refuse),
        ..NatConfig::default()
    };
    agree(
        "nat44::where_a_port_is_kept_or_nothing_passes_the_second_host_gets_none",
        &Setup::new(Rules::refusing(), config),
        script,
        &["kept", "nothing", "kept"],
    );
}

#[test]
fn a_host_with_all_the_flows_that_it_may_have_gets_no_other() {
    let script = |notes: &mut Notes<'_>| {
        for server in 0..4 {
            notes.passes_out(A1, server);
        }
        // Not new, because it is answered.
        notes.reach(0, A1.1);
        notes.passes_out(A1, 0);
        notes.passes_out(A2, 3);
    };
    let config = NatConfig {
        mapping: Behavior::AddressAndPortDependent,
        filtering: Behavior::AddressAndPortDependent,
        // One of them showed that the links are up.
        mappings_per_host_max: 4,
        ..NatConfig::default()
    };
    agree(
        "nat44::a_host_with_all_the_flows_that_it_may_have_gets_no_other",
        &Setup::new(Rules::masquerade().flows_per_host(4), config),
        script,
        &["yes", "yes", "yes", "no", "1:5000", "yes", "yes"],
    );
}

#[test]
fn a_source_that_stays_is_seen_by_the_other_host() {
    let config = NatConfig {
        filtering: Behavior::EndpointIndependent,
        hairpinning: Hairpinning::InternalSource,
        ..NatConfig::default()
    };
    agree(
        "nat44::a_source_that_stays_is_seen_by_the_other_host",
        &Setup::new(Rules::masquerade().hairpin_from_inside(), config),
        |notes| {
            notes.out(A1, 0);
            notes.out((2, 6_000), 0);
            notes.around(A1, 6_000);
        },
        &["kept", "kept", "2:6000 from inside"],
    );
}

#[test]
fn a_forwarded_port_lets_in_anyone_and_is_a_source_for_answers_alone() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 2);
        notes.reach(0, 5_900);
        notes.out(A1, 0);
        notes.out(A1, 1);
        notes.reach(1, 5_900);
        notes.out(A1, 1);
    };
    let setup = Setup::new(Rules::masquerade(), linux()).forwarding(5_900, A1);
    agree(
        "nat44::a_forwarded_port_lets_in_anyone_and_is_a_source_for_answers_alone",
        &setup,
        script,
        &["kept", "1:5000", "other 1", "kept", "1:5000 from another port", "kept"],
    );
}
