//! What the checks make of observations.

use std::net::SocketAddr;

use nodenet_tokio::proto::wire::nat::Allocator;

use super::*;

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 4242))
}

fn probe(last: u8, answer: Answer) -> Probe {
    Probe { addr: addr(last), answer, answers_tcp: false, path_mtu: Some(1_500) }
}

/// A machine to which nothing came back.
pub(in crate::cmd::doctor) fn nothing() -> Observed {
    let route = |name| (name, Route::None("no route".to_owned()));
    let probes = vec![probe(1, Answer::Silence), probe(2, Answer::Silence)];
    Observed {
        probes: Probes { probes, unresolved: Vec::new() },
        routes: [route("ipv4"), route("ipv6")],
        joined: Err(NotJoined::NoEdge(None)),
        edges: Vec::new(),
        nat: NatReport::default(),
        local: Vec::new(),
        named: Vec::new(),
        stats: Stats::default(),
        skew_s: None,
        work: (3, 0),
    }
}

fn find(observed: &Observed, name: &str) -> Check {
    all(observed).into_iter().find(|check| check.name == name).expect(name)
}

#[test]
fn udp_that_does_not_leave_is_told_from_nodes_that_do_not_answer() {
    let verdict = |change: fn(&mut Observed)| {
        let mut observed = nothing();
        change(&mut observed);
        let check = find(&observed, "udp");
        assert_eq!(check.advice.is_some(), check.status != Status::Ok, "{check:?}");
        (check.status, check.code)
    };
    assert_eq!(verdict(|_| ()), (Status::Wrong, "silence"));
    let blocked = verdict(|observed| observed.probes.probes[1].answers_tcp = true);
    assert_eq!(blocked, (Status::Wrong, "blocked"));
    let closed = verdict(|observed| observed.probes.probes[1].answer = Answer::PortClosed);
    assert_eq!(closed, (Status::Wrong, "no_listener"));
    let unreachable = verdict(|observed| {
        observed.probes.probes[1].answer = Answer::Unreachable("no route to host".to_owned());
    });
    assert_eq!(unreachable, (Status::Wrong, "unreachable"));
    let not_sent = verdict(|observed| {
        for probe in &mut observed.probes.probes {
            probe.answer = Answer::NotSent("operation not permitted".to_owned());
        }
    });
    assert_eq!(not_sent, (Status::Wrong, "not_sent"));
    let unresolved = verdict(|observed| {
        observed.probes = Probes { probes: Vec::new(), unresolved: vec!["a.invalid".to_owned()] };
    });
    assert_eq!(unresolved, (Status::Wrong, "unresolved"));
    let answered = verdict(|observed| {
        observed.probes.probes[0].answer = Answer::Datagram(Duration::from_millis(9));
    });
    assert_eq!(answered, (Status::Ok, "answered"));
    let received = verdict(|observed| observed.stats.counters.datagrams_received = 1);
    assert_eq!(received, (Status::Ok, "answered"));
    let unasked = verdict(|observed| observed.probes = Probes::default());
    assert_eq!(unasked, (Status::Unknown, "nothing_to_ask"));
}

#[test]
fn everything_that_is_wrong_has_an_advice() {
    let mut observed = nothing();
    observed.skew_s = Some(-40);
    observed.nat.mapping = Mapping::AddressAndPortDependent;
    observed.nat.allocator = Allocator::Sequential { step: 2 };
    observed.nat.reachability = Reachability::Unreachable;
    observed.joined = Err(NotJoined::NoEdge(Some(ConnectError::WorkUnmet)));
    observed.probes.probes[0].path_mtu = Some(1_200);
    let wrong: Vec<Check> =
        all(&observed).into_iter().filter(|check| check.status == Status::Wrong).collect();
    let names: Vec<&str> = wrong.iter().map(|check| check.name).collect();
    assert_eq!(names, ["udp", "mtu", "join", "work", "relays", "clock"]);
    assert!(wrong.iter().all(|check| check.advice.is_some()), "{wrong:#?}");
    assert!(find(&observed, "nat").text.contains("ports sequential 2"));
    assert!(find(&observed, "clock").text.contains("40 s ahead of those of others"));
}

#[test]
fn a_node_whose_own_address_others_see_has_no_nat() {
    let mut observed = nothing();
    observed.joined = Ok(Duration::from_millis(5));
    observed.nat.addrs = vec![addr(1)];
    observed.nat.mapping = Mapping::EndpointIndependent;
    assert_eq!(find(&observed, "nat").code, "endpoint_independent");
    observed.local = vec![addr(1)];
    assert_eq!(find(&observed, "nat").code, "none");
    observed.named = vec![addr(1)];
    assert!(find(&observed, "exposure").text.contains("192.0.2.1:4242"));
    assert_eq!(find(&observed, "mtu").status, Status::Ok, "a handshake needs as much");
}
