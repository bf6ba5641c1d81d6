//! Tests of packet scenarios as files.

use super::{
    AccessName, BehaviorName, BoxName, EarlyName, HostEntry, LinkChange, NatSettings, NetworkEntry,
    PacketScenario, PacketStage,
};
use crate::scenario::{Scenario, ScenarioError};

fn s(text: &str) -> String {
    text.to_owned()
}

fn base() -> PacketScenario {
    PacketScenario::new("base", 7)
        .network(NetworkEntry::new("internet"))
        .network(NetworkEntry {
            behind: Some(s("internet")),
            nat: Some(NatSettings {
                filtering: Some(BehaviorName::AddressDependent),
                lifetime_secs: Some(60),
                ..NatSettings::new(BoxName::Easy)
            }),
            access: AccessName::Dsl,
            ..NetworkEntry::new("home")
        })
        .host(HostEntry { clock_offset_ms: -5, ..HostEntry::new("a", "home") })
        .host(HostEntry::new("b", "internet"))
}

fn every_step() -> Vec<PacketStage> {
    let (a, b) = (s("a"), s("b"));
    vec![
        PacketStage::Start { host: a.clone(), bootstrap: vec![b.clone()] },
        PacketStage::Start { host: b.clone(), bootstrap: vec![] },
        PacketStage::Connect { from: a.clone(), to: b.clone() },
        PacketStage::Send {
            from: a.clone(),
            to: b.clone(),
            over: vec![b.clone()],
            direct: true,
            messages: 3,
            every_ms: 5,
        },
        PacketStage::Roam { host: a.clone(), networks: vec![] },
        PacketStage::Sleep { host: a.clone(), monotonic_stands: true },
        PacketStage::Wake { host: a.clone() },
        PacketStage::Block { host: a.clone(), for_ms: 5 },
        PacketStage::SetClock { host: a.clone(), by_ms: -3 },
        PacketStage::Reboot {
            network: s("home"),
            new_address: true,
            early: Some(EarlyName::Peers),
        },
        PacketStage::SetLink {
            from: a.clone(),
            to: b.clone(),
            both_ways: false,
            link: LinkChange { loss: Some(0.5), mtu: Some(1_300), ..LinkChange::default() },
        },
        PacketStage::Partition { hosts: vec![a.clone()] },
        PacketStage::Heal,
        PacketStage::ExpectDelivered { from: Some(a.clone()), to: None, share: 0.5 },
        PacketStage::ExpectEdge { from: a.clone(), to: b.clone(), up: false },
        PacketStage::ExpectEdges { hosts: vec![], at_least: 1 },
        PacketStage::Crash { host: a },
        PacketStage::Leave { host: b },
        PacketStage::End,
    ]
}

#[test]
fn a_packet_scenario_survives_its_file() {
    let steps = (1..).zip(every_step());
    let scenario = steps.fold(base(), |scenario, (at, step)| scenario.step(at, step));
    let text = scenario.to_toml();
    assert_eq!(PacketScenario::from_toml(&text).unwrap(), scenario, "{text}");
    assert!(PacketScenario::is_meant(&text) && !PacketScenario::is_meant("name = 'x'"));
    assert_eq!(scenario.span_ms(), 19);
    // The other kind of scenario refuses it.
    assert!(Scenario::from_toml(&text).is_err());
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_place() {
    let head = "world = 'packet'\nname = 'x'\nseed = 1\n[[network]]\nname = 'n'\n\
                [[host]]\nname = 'a'\nnetworks = ['n']\n";
    let refused = |rest: &str| {
        let error = PacketScenario::from_toml(&format!("{head}{rest}")).unwrap_err();
        error.to_string()
    };
    for (rest, what) in [
        ("[[step]]\ndo = 'start'\nhost = 'a'\n", "step \"start\" has no at_ms"),
        ("[[step]]\nat_ms = -1\ndo = 'heal'\n", "at_ms of step \"heal\" is -1"),
        ("[[step]]\nat_ms = 5\ndo = 'fly'\n", "step \"fly\" at 5 ms: unknown variant `fly`"),
        (
            "[[step]]\nat_ms = 5\ndo = 'wake'\nhost = 'a'\nhow = 1\n",
            "step \"wake\" at 5 ms: unknown field `how`",
        ),
        (
            "[[step]]\nat_ms = 5\ndo = 'wake'\nhost = 'z'\n",
            "step 1 at 5 ms: no host has the name z",
        ),
        ("[[step]]\nat_ms = 5\ndo = 'crash'\nhost = 'a'\n", "step 1 at 5 ms: a is not up"),
        (
            "[[step]]\nat_ms = 5\ndo = 'connect'\nfrom = 'a'\nto = 'a'\n",
            "step 1 at 5 ms: a is not up",
        ),
        (
            "[[step]]\nat_ms = 5\ndo = 'reboot'\nnetwork = 'n'\n",
            "step 1 at 5 ms: network n has no box that could reboot",
        ),
        ("[[host]]\nname = 'a'\nnetworks = []\n", "two hosts have the name a"),
        ("[[host]]\nname = 'b'\nnetworks = ['m']\n", "host b: no network has the name m"),
        ("[[network]]\nname = 'm'\nbehind = 'o'\n", "network m: it is behind o"),
        ("[[network]]\nname = 'm'\nipv4 = false\n", "network m: it has neither ipv4 nor ipv6"),
        ("[[network]]\nname = 'm'\nnat = { kind = 'magic' }\n", "unknown variant `magic`"),
        (
            "[[network]]\nname = 'm'\nnat = { kind = 'nat64' }\n",
            "network m: a nat64 needs ipv4 = false and ipv6 = true",
        ),
    ] {
        let said = refused(rest);
        assert!(said.contains(what), "{said}, not {what}");
    }
}

#[test]
fn numbers_out_of_range_are_refused_in_rust_as_well() {
    let clock = HostEntry { clock_rate_ppm: -200_000, ..HostEntry::new("c", "internet") };
    let change = |loss| LinkChange { loss: Some(loss), ..LinkChange::default() };
    let link = |loss| PacketStage::SetLink {
        from: s("a"),
        to: s("b"),
        both_ways: true,
        link: change(loss),
    };
    for (scenario, what) in [
        (base().host(clock), "host c: clock_rate_ppm is 200000; it can be 0 to 100000"),
        (base().step(3, link(50.0)), "step 1 at 3 ms: loss is 50; it is a share"),
        (base().step(u64::MAX, PacketStage::End), "step 1 at 18446744073709551615 ms: at_ms is"),
    ] {
        match scenario.check() {
            Err(ScenarioError::Value(said)) => assert!(said.starts_with(what), "{said}"),
            other => panic!("{other:?}"),
        }
    }
}
