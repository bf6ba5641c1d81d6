//! Pairs of sites: which get a direct path, which a volunteer, and the reason.

use serde_json::{Value, json};

use crate::lab::{self, Lab, Router};

/// Connects the first host of site 1 to that of site 2. Returns the answer.
fn connect(lab: &mut Lab) -> Value {
    let [mut one, two] = ["h11", "h21"].map(|host| lab.join(host));
    one.connect(&two)
}

/// Runs a pair that must get a direct edge to this endpoint of the second site.
fn direct(test: &str, sites: [Router; 2], remote: &str) {
    lab::run(test, &sites, 1, |lab| {
        let answer = connect(lab);
        assert_eq!(answer["outcome"], "direct", "{answer:#}");
        assert_eq!(answer["remote"], remote, "{answer:#}");
        assert_eq!([1, 2].map(|site| lab.early(site)), [0, 0], "none came early");
    });
}

/// Runs a pair that must be relayed, for this reason.
fn relayed(test: &str, sites: [Router; 2], obstacle: &str) {
    lab::run(test, &sites, 1, |lab| {
        let answer = connect(lab);
        assert_eq!(answer["outcome"], "relayed", "{answer:#}");
        assert_eq!(answer["volunteer"], *lab.backbone[4].id, "{answer:#}");
        assert_eq!(answer["obstacle"], obstacle, "{answer:#}");
        assert!(
            answer["advice"].as_str().is_some_and(|text| text.contains("forward")),
            "{answer:#}"
        );
    });
}

#[test]
fn two_nats_that_keep_ports_are_punched() {
    direct(
        "pairs::two_nats_that_keep_ports_are_punched",
        [Router::Easy, Router::Easy],
        "198.19.2.2:4242",
    );
}

#[test]
fn a_router_that_accepts_input_and_one_that_drops_it_are_punched() {
    direct(
        "pairs::a_router_that_accepts_input_and_one_that_drops_it_are_punched",
        [Router::Open, Router::Easy],
        "198.19.2.2:4242",
    );
}

#[test]
fn a_router_that_drops_input_and_one_that_accepts_it_are_punched() {
    direct(
        "pairs::a_router_that_drops_input_and_one_that_accepts_it_are_punched",
        [Router::Easy, Router::Open],
        "198.19.2.2:4242",
    );
}

#[test]
fn two_routers_that_accept_input_are_punched() {
    direct(
        "pairs::two_routers_that_accept_input_are_punched",
        [Router::Open, Router::Open],
        "198.19.2.2:4242",
    );
}

#[test]
fn two_ipv6_firewalls_are_punched() {
    direct(
        "pairs::two_ipv6_firewalls_are_punched",
        [Router::Firewall, Router::Firewall],
        "[2001:db8:2::10]:4242",
    );
}

#[test]
fn a_random_nat_at_the_peer_is_relayed_and_named() {
    relayed(
        "pairs::a_random_nat_at_the_peer_is_relayed_and_named",
        [Router::Easy, Router::Random],
        "peer_changing_port",
    );
}

#[test]
fn a_random_nat_of_this_node_is_relayed_and_named() {
    relayed(
        "pairs::a_random_nat_of_this_node_is_relayed_and_named",
        [Router::Random, Router::Easy],
        "own_changing_port",
    );
}

#[test]
fn a_router_that_accepts_input_and_a_random_nat_are_relayed_and_named() {
    relayed(
        "pairs::a_router_that_accepts_input_and_a_random_nat_are_relayed_and_named",
        [Router::Open, Router::Random],
        "peer_changing_port",
    );
}

#[test]
fn a_random_nat_and_a_router_that_accepts_input_are_relayed_and_named() {
    relayed(
        "pairs::a_random_nat_and_a_router_that_accepts_input_are_relayed_and_named",
        [Router::Random, Router::Open],
        "own_changing_port",
    );
}

#[test]
fn two_random_nats_are_relayed_and_named() {
    relayed(
        "pairs::two_random_nats_are_relayed_and_named",
        [Router::Random, Router::Random],
        "changing_ports",
    );
}

#[test]
fn two_random_nats_without_a_volunteer_fail_with_the_reason() {
    let test = "pairs::two_random_nats_without_a_volunteer_fail_with_the_reason";
    lab::run(test, &[Router::Random, Router::Random], 0, |lab| {
        let answer = connect(lab);
        assert_eq!(answer["obstacle"], "changing_ports", "{answer:#}");
        let text = answer["text"].as_str().unwrap_or_default();
        assert!(text.contains("--relay"), "{answer:#}");
    });
}

#[test]
fn two_hosts_of_one_network_meet_at_their_own_addresses() {
    let test = "pairs::two_hosts_of_one_network_meet_at_their_own_addresses";
    lab::run(test, &[Router::Easy], 1, |lab| {
        let [mut one, two] = ["h11", "h12"].map(|host| lab.join(host));
        let answer = one.connect(&two);
        assert_eq!(answer["outcome"], "direct", "{answer:#}");
        assert_eq!(answer["remote"], json!("10.0.1.11:4242"), "{answer:#}");
    });
}

#[test]
fn two_hosts_behind_one_random_nat_meet_at_their_own_addresses() {
    let test = "pairs::two_hosts_behind_one_random_nat_meet_at_their_own_addresses";
    lab::run(test, &[Router::Random], 1, |lab| {
        let [mut one, two] = ["h11", "h12"].map(|host| lab.join(host));
        let answer = one.connect(&two);
        assert_eq!(answer["outcome"], "direct", "{answer:#}");
        assert_eq!(answer["remote"], json!("10.0.1.11:4242"), "{answer:#}");
    });
}
