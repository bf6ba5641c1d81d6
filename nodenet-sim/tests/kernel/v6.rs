//! IPv6: firewalls, and translation of IPv6 into IPv6 (NAT66).

use nodenet_proto::testkit::nat_box::{Behavior, BoxKind, LinuxConfig, NatConfig};

use crate::compare::{A1, A2, Notes, agree, early, filtering, linux};
use crate::family::Family;
use crate::router::Setup;
use crate::rules::Rules;

fn setup(rules: Rules, kind: impl Into<BoxKind>) -> Setup {
    Setup { family: Family::V6, ..Setup::new(rules, kind) }
}

/// Another server is not let in, although the socket is there.
fn answers(notes: &mut Notes<'_>) {
    notes.out(A1, 2);
    notes.reach_socket(0, A1);
    notes.out(A1, 0);
    notes.reach_socket(0, A1);
    notes.reach_socket(1, A1);
}

const ANSWERS: [&str; 5] = ["kept", "nothing", "kept", "1:5000", "nothing"];

#[test]
fn a_firewall_lets_in_answers_alone() {
    agree(
        "v6::a_firewall_lets_in_answers_alone",
        &setup(Rules::firewall(), linux()),
        answers,
        &ANSWERS,
    );
}

#[test]
fn a_firewall_filters_by_address_and_port_in_the_terms_of_rfc_4787() {
    let config = NatConfig { filtering: Behavior::AddressAndPortDependent, ..NatConfig::default() };
    agree(
        "v6::a_firewall_filters_by_address_and_port_in_the_terms_of_rfc_4787",
        &setup(Rules::firewall(), config),
        answers,
        &ANSWERS,
    );
}

#[test]
fn what_a_firewall_lets_in_ends_with_the_flow() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.wait(2_000);
        notes.reach_socket(0, A1);
        notes.wait(3_500);
        notes.reach_socket(0, A1);
    };
    agree(
        "v6::what_a_firewall_lets_in_ends_with_the_flow",
        &setup(Rules::firewall(), linux()),
        script,
        &["kept", "1:5000", "nothing"],
    );
}

#[test]
fn masquerade_keeps_a_port_and_gives_the_second_host_another_one() {
    agree(
        "v6::masquerade_keeps_a_port_and_gives_the_second_host_another_one",
        &setup(Rules::masquerade(), linux()),
        |notes| {
            notes.out_to_all(A1);
            notes.out_to_all(A2);
        },
        &["kept", "kept", "kept", "other 1", "other 1", "other 1"],
    );
}

#[test]
fn masquerade_fully_random_shows_each_server_another_port() {
    agree(
        "v6::masquerade_fully_random_shows_each_server_another_port",
        &setup(Rules::masquerade().flags("fully-random"), LinuxConfig { random: true, ..linux() }),
        |notes| notes.out_to_all(A1),
        &["other 1", "other 2", "other 3"],
    );
}

#[test]
fn masquerade_filters_by_endpoint() {
    agree(
        "v6::masquerade_filters_by_endpoint",
        &setup(Rules::masquerade(), linux()),
        filtering,
        &["kept", "1:5000", "nothing"],
    );
}

#[test]
fn an_early_datagram_moves_the_port_where_input_is_open_and_it_sticks() {
    agree(
        "v6::an_early_datagram_moves_the_port_where_input_is_open_and_it_sticks",
        &setup(Rules::masquerade().open(), LinuxConfig { input_open: true, ..linux() }),
        early,
        &["kept", "nothing", "other 1", "nothing", "other 1", "kept"],
    );
}
