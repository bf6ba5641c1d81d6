//! The kernel's NAT in network namespaces beside the NAT boxes of the test kit: one script on both
//! gives the same.
//!
//! A script notes what it sees in words that are the same for every choice of random ports: `kept`,
//! or `other 1`, `other 2` in the order of appearance. Real time passes only where an entry has to
//! expire.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "the kernel works in real time")]

mod agent;
mod lab;
mod router;
mod rules;

mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::ops::RangeInclusive;
    use std::time::Duration;

    use nodenet_proto::testkit::nat_box::{
        Behavior, BoxKind, Hairpinning, LinuxConfig, NatConfig, PortAllocation, SourceRule,
    };

    use crate::lab;
    use crate::router::{Kernel, Model, Router, SERVERS, Socket, WAN, inside};
    use crate::rules::{Rules, TIMEOUT_SECS, TIMEOUT_STREAM_SECS};

    const A1: Socket = (1, 5_000);
    const A2: Socket = (2, 5_000);
    const RANGE: RangeInclusive<u16> = 40_000..=40_003;

    /// Runs a script on the kernel's router and on a box, and returns what both noted.
    fn agree(
        test: &str,
        rules: Rules,
        kind: impl Into<BoxKind>,
        script: impl Fn(&mut Notes<'_>),
        expected: &[&str],
    ) {
        let kind = kind.into();
        lab::run(test, |lab| {
            lab.rules(&rules.text());
            lab.timeout("timeout", TIMEOUT_SECS);
            lab.timeout("timeout_stream", TIMEOUT_STREAM_SECS);
            let noted = |router: &mut dyn Router| {
                let mut notes = Notes { router, others: Vec::new(), lines: Vec::new() };
                script(&mut notes);
                notes.lines
            };
            let external = rules.external().into_iter().map(IpAddr::from).collect();
            let by_box = noted(&mut Model::new(kind.clone(), external));
            let by_kernel = noted(&mut Kernel::new(lab));
            assert_eq!(by_kernel, expected, "the kernel");
            assert_eq!(by_box, expected, "the box");
        });
    }

    /// A Linux router with the timeouts of these tests.
    fn linux() -> LinuxConfig {
        let [timeout, timeout_stream] =
            [TIMEOUT_SECS, TIMEOUT_STREAM_SECS].map(Duration::from_secs);
        LinuxConfig { timeout, timeout_stream, ..LinuxConfig::default() }
    }

    #[test]
    fn masquerade_keeps_a_port_for_all_servers() {
        agree(
            "tests::masquerade_keeps_a_port_for_all_servers",
            Rules::masquerade(),
            linux(),
            |notes| notes.out_to_all(A1),
            &["kept", "kept", "kept"],
        );
    }

    #[test]
    fn masquerade_fully_random_shows_each_server_another_port() {
        agree(
            "tests::masquerade_fully_random_shows_each_server_another_port",
            Rules::masquerade().flags("fully-random"),
            LinuxConfig { random: true, ..linux() },
            |notes| notes.out_to_all(A1),
            &["other 1", "other 2", "other 3"],
        );
    }

    #[test]
    fn masquerade_random_shows_each_server_another_port() {
        agree(
            "tests::masquerade_random_shows_each_server_another_port",
            Rules::masquerade().flags("random"),
            LinuxConfig { random: true, ..linux() },
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
            "tests::a_range_shows_all_servers_one_port_and_drops_silently_when_full",
            Rules::snat(&RANGE),
            LinuxConfig { rule: SourceRule::Snat, ports: Some(RANGE), ..linux() },
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
            "tests::a_range_fully_random_shows_servers_different_ports",
            Rules::snat(&range).flags("fully-random"),
            LinuxConfig { ports: Some(range), random: true, ..linux() },
            |notes| notes.out_to_all(A1),
            &["other 1", "other 2", "other 3"],
        );
    }

    #[test]
    fn of_two_hosts_with_one_port_the_second_moves_for_all_servers() {
        agree(
            "tests::of_two_hosts_with_one_port_the_second_moves_for_all_servers",
            Rules::masquerade(),
            linux(),
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
            "tests::in_crossed_order_both_hosts_move_and_new_servers_see_the_newest_port",
            Rules::masquerade(),
            linux(),
            script,
            &["kept", "kept", "other 1", "other 1", "kept", "other 2"],
        );
    }

    /// A script with one early datagram.
    fn early(notes: &mut Notes<'_>) {
        notes.out(A1, 0);
        notes.into(1, A1.1);
        notes.out(A1, 1);
        notes.into(1, A1.1);
        notes.out(A1, 2);
        notes.out(A1, 0);
    }

    #[test]
    fn an_early_datagram_changes_nothing_where_input_drops() {
        agree(
            "tests::an_early_datagram_changes_nothing_where_input_drops",
            Rules::masquerade(),
            linux(),
            early,
            &["kept", "nothing", "kept", "1:5000", "kept", "kept"],
        );
    }

    #[test]
    fn an_early_datagram_moves_the_port_where_input_is_open_and_it_sticks() {
        agree(
            "tests::an_early_datagram_moves_the_port_where_input_is_open_and_it_sticks",
            Rules::masquerade().open(),
            LinuxConfig { input_open: true, ..linux() },
            early,
            &["kept", "nothing", "other 1", "nothing", "other 1", "kept"],
        );
    }

    #[test]
    fn the_claim_of_an_early_datagram_ends_with_its_timeout() {
        let script = |notes: &mut Notes<'_>| {
            notes.out(A1, 0);
            notes.into(1, A1.1);
            notes.wait(1_000);
            notes.into(1, A1.1);
            // Three seconds after the first, two after the last one.
            notes.wait(2_000);
            notes.out(A1, 1);
            notes.out((1, 5_001), 0);
            notes.into(2, 5_001);
            notes.wait(3_500);
            notes.out((1, 5_001), 2);
        };
        agree(
            "tests::the_claim_of_an_early_datagram_ends_with_its_timeout",
            Rules::masquerade().open(),
            LinuxConfig { input_open: true, ..linux() },
            script,
            &["kept", "nothing", "nothing", "other 1", "kept", "nothing", "kept"],
        );
    }

    #[test]
    fn ttl_two_makes_a_mapping_and_ttl_one_makes_none() {
        let script = |notes: &mut Notes<'_>| {
            notes.out_with_ttl(A1, 0, 1);
            notes.into(0, A1.1);
            notes.out_with_ttl(A1, 0, 2);
            notes.into(0, A1.1);
        };
        agree(
            "tests::ttl_two_makes_a_mapping_and_ttl_one_makes_none",
            Rules::masquerade(),
            linux(),
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
            "tests::hairpin_is_a_dead_end_that_changes_nothing",
            Rules::masquerade(),
            linux(),
            script,
            &["kept", "kept", "nothing", "kept"],
        );
    }

    #[test]
    fn an_answered_flow_lives_long_only_after_two_seconds() {
        let script = |notes: &mut Notes<'_>| {
            notes.out(A1, 0);
            notes.into(0, A1.1);
            notes.out((1, 5_001), 1);
            notes.into(1, 5_001);
            notes.wait(1_000);
            // Too early for the second flow to become a stream.
            notes.into(1, 5_001);
            notes.wait(1_300);
            notes.into(0, A1.1);
            notes.wait(2_500);
            notes.into(1, 5_001);
            notes.wait(2_000);
            notes.into(0, A1.1);
        };
        agree(
            "tests::an_answered_flow_lives_long_only_after_two_seconds",
            Rules::masquerade(),
            linux(),
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
                notes.into(0, A1.1);
            }
        };
        agree(
            "tests::inbound_alone_refreshes_a_flow",
            Rules::masquerade(),
            linux(),
            script,
            &["kept", "1:5000", "1:5000", "1:5000", "1:5000"],
        );
    }

    #[test]
    fn a_new_wan_address_ends_masqueraded_flows_and_keeps_the_port() {
        let moved = [198, 18, 1, 3];
        let script = |notes: &mut Notes<'_>| {
            notes.out(A1, 0);
            notes.router.renumber(WAN, moved);
            notes.into(0, A1.1);
            let source = notes.router.send_out(A1, SERVERS[0], 64);
            notes.lines.push(format!("{source:?}"));
        };
        agree(
            "tests::a_new_wan_address_ends_masqueraded_flows_and_keeps_the_port",
            Rules::masquerade(),
            linux(),
            script,
            &["kept", "nothing", "Some(198.18.1.3:5000)"],
        );
    }

    #[test]
    fn a_pool_gives_a_socket_one_address() {
        let script = |notes: &mut Notes<'_>| {
            for socket in [A1, (1, 5_001), A2] {
                let seen: Vec<_> = (0..3)
                    .map(|server| notes.router.send_out(socket, SERVERS[server], 64))
                    .collect();
                let is_one = seen.iter().all(|one| one.is_some() && *one == seen[0]);
                notes.lines.push(is_one.to_string());
            }
        };
        agree(
            "tests::a_pool_gives_a_socket_one_address",
            Rules::pool(),
            LinuxConfig { rule: SourceRule::Snat, ..linux() },
            script,
            &["true", "true", "true"],
        );
    }

    /// A script that asks who gets in.
    fn filtering(notes: &mut Notes<'_>) {
        notes.out(A1, 0);
        notes.into(0, A1.1);
        notes.into(1, A1.1);
    }

    #[test]
    fn learned_translation_without_a_filter_lets_in_anyone() {
        agree(
            "tests::learned_translation_without_a_filter_lets_in_anyone",
            Rules::masquerade().full_cone(),
            NatConfig { filtering: Behavior::EndpointIndependent, ..NatConfig::default() },
            filtering,
            &["kept", "1:5000", "1:5000"],
        );
    }

    #[test]
    fn learned_translation_with_a_set_of_peers_filters_by_address() {
        agree(
            "tests::learned_translation_with_a_set_of_peers_filters_by_address",
            Rules::masquerade().address_restricted(),
            NatConfig { filtering: Behavior::AddressDependent, ..NatConfig::default() },
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
            "tests::learned_translation_that_hairpins_joins_hosts_by_external_endpoints",
            Rules::masquerade().hairpin(),
            config,
            |notes| {
                notes.out(A1, 0);
                notes.out((2, 6_000), 0);
                notes.around(A1, 6_000);
            },
            &["kept", "kept", "2:6000"],
        );
    }

    #[test]
    fn numbered_ports_follow_in_steps() {
        let script = |notes: &mut Notes<'_>| {
            let ports = [0, 1, 2].map(|server| {
                notes.router.send_out(A1, SERVERS[server], 64).expect("it passes").port()
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
            "tests::numbered_ports_follow_in_steps",
            Rules::sequence(),
            config,
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
                let got = notes.router.send_in(SERVERS[server], to);
                notes.note_socket(got);
            }
        };
        let config = NatConfig {
            filtering: Behavior::AddressAndPortDependent,
            allocation: PortAllocation::Random,
            ..NatConfig::default()
        };
        agree(
            "tests::a_changed_port_is_the_same_for_all_servers_and_filters_by_endpoint",
            Rules::translated(),
            config,
            script,
            &["other 1", "other 1", "1:5000", "nothing"],
        );
    }

    #[test]
    fn a_router_without_translation_lets_in_answers_alone() {
        let script = |notes: &mut Notes<'_>| {
            let into = |notes: &mut Notes<'_>, server: usize| {
                let got = notes.router.send_in(SERVERS[server], inside(A1));
                notes.note_socket(got);
            };
            // The socket is there, and another server is not let in.
            notes.out(A1, 2);
            into(notes, 0);
            notes.out(A1, 0);
            into(notes, 0);
            into(notes, 1);
        };
        agree(
            "tests::a_router_without_translation_lets_in_answers_alone",
            Rules::firewall(),
            linux(),
            script,
            &["kept", "nothing", "kept", "1:5000", "nothing"],
        );
    }

    #[test]
    fn a_firewall_without_udp_lets_nothing_out() {
        agree(
            "tests::a_firewall_without_udp_lets_nothing_out",
            Rules::masquerade().without_udp(),
            BoxKind::NoUdp,
            |notes| {
                notes.passes_out(A1, 0);
                notes.passes_out(A1, 1);
            },
            &["no", "no"],
        );
    }

    /// What a script saw of a router.
    struct Notes<'a> {
        router: &'a mut dyn Router,
        /// External endpoints with another port than the socket, in the order of appearance.
        others: Vec<SocketAddr>,
        lines: Vec<String>,
    }

    impl Notes<'_> {
        fn out(&mut self, from: Socket, server: usize) {
            self.out_with_ttl(from, server, 64);
        }

        fn out_to_all(&mut self, from: Socket) {
            (0..SERVERS.len()).for_each(|server| self.out(from, server));
        }

        fn out_with_ttl(&mut self, from: Socket, server: usize, ttl: u8) {
            let seen = self.router.send_out(from, SERVERS[server], ttl);
            let line = match seen {
                None => "nothing".to_owned(),
                Some(seen) if seen.port() == from.1 => "kept".to_owned(),
                Some(seen) => {
                    let known = self.others.iter().position(|other| *other == seen);
                    let number = known.unwrap_or_else(|| {
                        self.others.push(seen);
                        self.others.len() - 1
                    });
                    format!("other {}", number + 1)
                }
            };
            self.lines.push(line);
        }

        fn passes_out(&mut self, from: Socket, server: usize) {
            let passed = self.router.send_out(from, SERVERS[server], 64).is_some();
            self.lines.push(if passed { "yes" } else { "no" }.to_owned());
        }

        fn into(&mut self, server: usize, port: u16) {
            let got = self.router.send_in(SERVERS[server], SocketAddr::from((WAN, port)));
            self.note_socket(got);
        }

        fn around(&mut self, from: Socket, port: u16) {
            let got = self.router.hairpin(from, SocketAddr::from((WAN, port)));
            self.note_socket(got);
        }

        fn wait(&mut self, ms: u64) {
            self.router.wait(Duration::from_millis(ms));
        }

        fn note_socket(&mut self, got: Option<Socket>) {
            let line = got.map(|(host, port)| format!("{host}:{port}"));
            self.lines.push(line.unwrap_or_else(|| "nothing".to_owned()));
        }
    }
}
