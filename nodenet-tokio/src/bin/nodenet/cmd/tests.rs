//! Command lines and what they mean.

use std::time::Duration;

use clap::{CommandFactory, Parser};
use nodenet_tokio::{HardPunch, Profile};

use super::{Cli, Command, NodeArgs, normalise, read};

fn parse(line: &str) -> Result<Command, clap::Error> {
    let args = line.split(' ').map(Into::into);
    Cli::try_parse_from(normalise(args, &Cli::command())).map(|cli| cli.command)
}

fn node_args(line: &str) -> NodeArgs {
    match parse(line).unwrap() {
        Command::Run(args) => args.node,
        Command::Chat(args) => args.node,
        other => panic!("{line} is {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_flag_may_have_one_dash_and_run_is_the_default_command() {
    for line in [
        "nodenet run --addr :1 --max-inbound-per-ip=-1 --log-level debug --pow 3",
        "nodenet run -addr :1 -max-inbound-per-ip -1 -log-level=debug -pow=3",
        "nodenet -addr=:1 --max-inbound-per-ip -1 -log-level debug -pow 3",
        "nodenet chat -addr=:1 --max-inbound-per-ip=-1 -log-level debug -pow 3",
    ] {
        let args = node_args(line);
        assert_eq!((args.addr.as_str(), args.max_inbound_per_ip), (":1", -1), "{line}");
        assert_eq!(args.identity.difficulty(), 3, "{line}");
        assert_eq!(args.log_level.unwrap().name(), "debug", "{line}");
        assert_eq!(args.max_inbound, 256, "{line}");
    }
}

#[test]
fn the_key_file_has_two_flags_and_each_has_one_dash_or_two() {
    for flag in ["--seed", "-seed", "--key", "-key"] {
        let args = node_args(&format!("nodenet run -addr :1 {flag} a.seed"));
        assert_eq!(args.identity.seed.expect(flag).to_str(), Some("a.seed"), "{flag}");
    }
}

#[test]
fn a_node_relays_within_the_bounds_of_its_flags_and_never_as_a_light_node() {
    let error = |line: &str| match read(line.split(' ').map(Into::into)) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert!(error("nodenet -relay -light -addr :1").contains("a light node relays nothing"));
    assert!(error("nodenet --relay-quota 5 -addr :1").contains("give that as well"));
    assert!(error("nodenet -relay --relay-rate 0 -addr :1").contains("--relay-rate"));
    assert!(error("nodenet -relay --relay-for 12 -addr :1").contains("--relay-for"));
    let relays = |line| node_args(line).relay();
    assert!(!relays("nodenet -addr :1") && !relays("nodenet -relay=false -addr :1"));
    assert!(relays("nodenet chat -relay=true -addr :1"));
    let id = nodenet_tokio::NodeId::from_bytes([7; 32]);
    let line =
        format!("nodenet -relay --relay-rate 250 --relay-quota 5 --relay-for {id},{id} -addr :1");
    let args = node_args(&line);
    assert_eq!((args.relay(), args.relay_rate()), (true, 250_000));
    assert_eq!(args.relay_quota(), Some(5_000_000_000));
    assert_eq!(args.relay_for(), [id, id]);
}

#[test]
fn a_node_predicts_ports_unless_it_is_told_not_to() {
    let policy = |flags| node_args(&format!("nodenet -addr :1{flags}")).hard_punch();
    assert_eq!(policy(""), HardPunch::Predict);
    assert_eq!(policy(" --hard-punch off"), HardPunch::Off);
    assert_eq!(policy(" -hard-punch=predict"), HardPunch::Predict);
}

#[test]
fn a_node_is_a_router_without_the_flag_light() {
    for command in ["run", "chat"] {
        let args = |flag| node_args(&format!("nodenet {command} -addr :1{flag}"));
        assert_eq!(args("").profile(), Profile::Router);
        assert_eq!(args(" -light").profile(), Profile::Light);
    }
}

#[test]
fn the_interval_of_counters_is_a_flag() {
    let interval = |line| match parse(line).unwrap() {
        Command::Run(args) => args.stats_interval(),
        other => panic!("{line} is {other:?}"),
    };
    assert_eq!(interval("nodenet -addr :1 -json"), None);
    let asked = "nodenet -addr :1 -json -stats-interval 30";
    assert_eq!(interval(asked), Some(Duration::from_secs(30)));
}

#[test]
fn a_malformed_command_line_is_a_usage_error() {
    for line in [
        "nodenet run --unknown",
        "nodenet run -addr",
        "nodenet run --pow many",
        "nodenet run --log-level loud",
        "nodenet run --addr :1 --stats-interval 5",
        "nodenet run --addr :1 --json --stats-interval 0",
        "nodenet demo --nodes 1",
        "nodenet fly",
        "nodenet run extra",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
    assert_eq!(parse("nodenet -h").unwrap_err().exit_code(), 0);
    assert_eq!(parse("nodenet run -help").unwrap_err().exit_code(), 0);
}

#[test]
fn an_advertised_address_can_be_dialed() {
    let args = node_args("nodenet run -advertise 192.0.2.1:1 -advertise [2001:db8::1]:2");
    assert_eq!(args.advertise.len(), 2);
    for (addr, problem) in [
        ("0.0.0.0:4242", "0.0.0.0 is no address of one host"),
        ("[::]:4242", ":: is no address of one host"),
        ("[::ffff:0.0.0.0]:4242", "no address of one host"),
        ("239.1.2.3:4242", "no address of one host"),
        ("[ff0e::1]:4242", "no address of one host"),
        ("255.255.255.255:1", "no address of one host"),
        ("192.0.2.1:0", "port 0 can not be dialed"),
        ("192.0.2.1", "no IP address with a port"),
        ("example.org:4242", "no IP address with a port"),
    ] {
        let error = parse(&format!("nodenet run -advertise {addr}")).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{addr}");
        let text = error.to_string();
        for part in [problem, addr, "for example 203.0.113.5:4242"] {
            assert!(text.contains(part), "{part:?} is missing in: {text}");
        }
    }
}

#[test]
fn difficulties_are_clamped_at_the_ends() {
    assert_eq!(node_args("nodenet -addr :1 -pow -5").identity.difficulty(), 0);
    assert_eq!(node_args("nodenet -addr :1 -pow 99999999").identity.difficulty(), u16::MAX);
}
