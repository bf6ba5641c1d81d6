//! A router that starts anew: every entry is lost, the address stays or changes.

use std::net::SocketAddr;

use nodenet_proto::testkit::nat_box::{Behavior, LinuxConfig, NatConfig};

use crate::compare::{A1, Notes, agree, linux};
use crate::router::Setup;
use crate::rules::Rules;

const WAN: [u8; 4] = [198, 18, 1, 2];
const MOVED: [u8; 4] = [198, 18, 1, 3];

/// The peer goes on sending while the router starts, and is first after that.
fn peer_is_first(notes: &mut Notes<'_>) {
    notes.out(A1, 0);
    notes.reach(0, A1.1);
    notes.reboot(WAN);
    notes.reach(0, A1.1);
    notes.out(A1, 0);
    notes.reach(0, A1.1);
}

#[test]
fn a_closed_router_gives_the_same_port_although_the_peer_is_first() {
    agree(
        "reboot::a_closed_router_gives_the_same_port_although_the_peer_is_first",
        &Setup::new(Rules::masquerade(), linux()),
        peer_is_first,
        &["kept", "1:5000", "nothing", "kept", "1:5000"],
    );
}

#[test]
fn an_open_router_loses_the_port_to_the_stream_of_the_peer() {
    agree(
        "reboot::an_open_router_loses_the_port_to_the_stream_of_the_peer",
        &Setup::new(Rules::masquerade().open(), LinuxConfig { input_open: true, ..linux() }),
        peer_is_first,
        &["kept", "1:5000", "nothing", "other 1", "nothing"],
    );
}

#[test]
fn an_open_router_gives_the_same_port_if_the_host_is_first() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.reboot(WAN);
        notes.out(A1, 0);
        notes.reach(0, A1.1);
    };
    agree(
        "reboot::an_open_router_gives_the_same_port_if_the_host_is_first",
        &Setup::new(Rules::masquerade().open(), LinuxConfig { input_open: true, ..linux() }),
        script,
        &["kept", "kept", "1:5000"],
    );
}

#[test]
fn with_a_new_address_the_old_one_is_dead_and_the_port_is_the_same() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.reboot(MOVED);
        notes.reach_at(0, SocketAddr::from((WAN, A1.1)));
        let source = notes.router.send_out(A1, notes.family.server(0), 64);
        notes.lines.push(format!("{source:?}"));
        notes.reach(0, A1.1);
    };
    agree(
        "reboot::with_a_new_address_the_old_one_is_dead_and_the_port_is_the_same",
        &Setup::new(Rules::masquerade(), linux()),
        script,
        &["kept", "nothing", "Some(198.18.1.3:5000)", "1:5000"],
    );
}

#[test]
fn random_ports_are_others_after_a_reboot() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.out(A1, 1);
        notes.reboot(WAN);
        notes.out(A1, 0);
    };
    agree(
        "reboot::random_ports_are_others_after_a_reboot",
        &Setup::new(
            Rules::masquerade().flags("fully-random"),
            LinuxConfig { random: true, ..linux() },
        ),
        script,
        &["other 1", "other 2", "other 3"],
    );
}

#[test]
fn a_full_cone_lets_in_anyone_again_once_the_host_has_sent() {
    let script = |notes: &mut Notes<'_>| {
        notes.out(A1, 0);
        notes.reach(1, A1.1);
        notes.reboot(WAN);
        notes.reach(1, A1.1);
        notes.out(A1, 2);
        notes.reach(1, A1.1);
    };
    let config = NatConfig { filtering: Behavior::EndpointIndependent, ..NatConfig::default() };
    agree(
        "reboot::a_full_cone_lets_in_anyone_again_once_the_host_has_sent",
        &Setup::new(Rules::masquerade().full_cone(), config),
        script,
        &["kept", "1:5000", "nothing", "kept", "1:5000"],
    );
}
