//! Checks of the doctor: what follows from what was observed, with advice for what is wrong.
//!
//! Responsible for: one line for each thing, and one of advice if it is wrong. Never: observes.

use std::net::SocketAddr;
use std::time::Duration;

use nodenet_tokio::proto::stats::{DropReason, Stats};
use nodenet_tokio::proto::wire::nat::Mapping;
use nodenet_tokio::{ConnectError, EdgeInfo, NatReport, Reachability};

use super::probe::{Answer, Probe, Probes, QUIC_DATAGRAM_MIN, Route};
use crate::output::json::connect::{ms, parameter, texts};
use crate::visit::NotJoined;

/// Bytes of an IPv4 and a UDP header.
const IPV4_HEADERS: u32 = 28;

/// All that was observed.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) probes: Probes,
    pub(crate) routes: [(&'static str, Route); 2],
    /// Time to the first edge, or why there is none.
    pub(crate) joined: Result<Duration, NotJoined>,
    pub(crate) edges: Vec<EdgeInfo>,
    pub(crate) nat: NatReport,
    /// Addresses of this machine's interfaces.
    pub(crate) local: Vec<SocketAddr>,
    /// Addresses that any node is told.
    pub(crate) named: Vec<SocketAddr>,
    pub(crate) stats: Stats,
    /// How far the clocks of others are ahead, in seconds, if most messages were too old or new.
    pub(crate) skew_s: Option<i64>,
    /// Leading zero bits of the identifier, and those that --pow asks for.
    pub(crate) work: (u16, u16),
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    /// It works, and could be better.
    Note,
    /// It could not be found out.
    Unknown,
    Wrong,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) status: Status,
    /// What it is, for programs.
    pub(crate) code: &'static str,
    /// What was observed, for people.
    pub(crate) text: String,
    pub(crate) advice: Option<&'static str>,
}

impl Check {
    fn new(name: &'static str, status: Status, code: &'static str, text: String) -> Self {
        Self { name, status, code, text, advice: None }
    }

    fn advise(self, advice: &'static str) -> Self {
        Self { advice: Some(advice), ..self }
    }
}

/// All checks, in the order in which a person would make them.
pub(crate) fn all(observed: &Observed) -> Vec<Check> {
    let mut checks = vec![udp(observed)];
    checks.extend(observed.routes.iter().map(|(name, route)| family(observed, name, route)));
    checks.extend([
        mtu(observed),
        join(observed),
        work(observed),
        address(observed),
        nat(observed),
        reachability(observed),
        relays(observed),
        clock(observed),
        tables(observed),
        exposure(observed),
    ]);
    checks
}

fn list(addrs: impl IntoIterator<Item = SocketAddr>) -> String {
    texts(&addrs.into_iter().collect::<Vec<_>>()).join(", ")
}

/// Whether UDP leaves this network. One that answers decides; silence alone proves nothing.
fn udp(observed: &Observed) -> Check {
    use Status::{Ok, Unknown, Wrong};
    let Probes { probes, unresolved } = &observed.probes;
    let check = |status, code, text| Check::new("udp", status, code, text);
    let answered = probes.iter().find_map(|probe| match probe.answer {
        Answer::Datagram(after) => Some((probe.addr, after)),
        _ => None,
    });
    if let Some((addr, after)) = answered {
        return check(Ok, "answered", format!("{addr} answers after {:.1} ms", ms(after)));
    }
    let received = observed.stats.counters.datagrams_received;
    if received > 0 {
        return check(Ok, "answered", format!("{received} datagrams arrived"));
    }
    if probes.is_empty() && unresolved.is_empty() {
        let text = "there is no node to send to".to_owned();
        return check(Unknown, "nothing_to_ask", text).advise("give --bootstrap ID@HOST:PORT");
    }
    if probes.is_empty() {
        return check(Wrong, "unresolved", format!("no name resolves: {}", unresolved.join("; ")))
            .advise("check the name, and the name server of this machine; or write an IP address");
    }
    not_answered(probes)
}

/// What follows from probes to which no datagram came back.
fn not_answered(probes: &[Probe]) -> Check {
    let wrong = |code, text| Check::new("udp", Status::Wrong, code, text);
    let addrs = list(probes.iter().map(|probe| probe.addr));
    if let Some(probe) = probes.iter().find(|probe| probe.answer == Answer::PortClosed) {
        let text = format!("UDP leaves this network, but no process listens at {}", probe.addr);
        return wrong("no_listener", text).advise("check that the node there is up, and its port");
    }
    let unreachable = probes.iter().find_map(|probe| match &probe.answer {
        Answer::Unreachable(error) => Some((probe.addr, error)),
        _ => None,
    });
    if let Some((addr, error)) = unreachable {
        let text = format!("a host on the way reports that UDP can not reach {addr}: {error}");
        return wrong("unreachable", text)
            .advise("check the address, and the firewall and the routes of this network");
    }
    let refusal = |probe: &Probe| match &probe.answer {
        Answer::NotSent(error) => Some(error.clone()),
        _ => None,
    };
    let refusals: Vec<String> = probes.iter().filter_map(refusal).collect();
    if refusals.len() == probes.len() {
        let text = format!("UDP does not leave this machine: {}", refusals[0]);
        return wrong("not_sent", text)
            .advise("check that this machine is online, and its firewall and routes");
    }
    let alive = list(probes.iter().filter(|probe| probe.answers_tcp).map(|probe| probe.addr));
    if !alive.is_empty() {
        let text = format!(
            "UDP does not leave this network, or is dropped on the way: nothing came back over \
             UDP, although the host at {alive} answers TCP"
        );
        return wrong("blocked", text)
            .advise("let UDP out in the firewall of this network, or use another network");
    }
    let text = format!(
        "no answer: nothing came back from {addrs}, neither over UDP nor over TCP; whether \
         UDP leaves this network is not known"
    );
    wrong("silence", text)
        .advise("check that this machine is online and the nodes are up; try another --bootstrap")
}

fn family(observed: &Observed, name: &'static str, route: &Route) -> Check {
    let is_v4 = name == "ipv4";
    let of_family = |addr: &&SocketAddr| addr.ip().to_canonical().is_ipv4() == is_v4;
    let seen = list(observed.nat.addrs.iter().filter(of_family).copied());
    let edges = observed.edges.iter().filter(|edge| of_family(&&edge.remote)).count();
    match route {
        Route::From(ip) => {
            let seen = if seen.is_empty() { "not confirmed".to_owned() } else { seen };
            let text = format!("packets leave from {ip}; seen by others at: {seen}; {edges} edges");
            Check::new(name, Status::Ok, "route", text)
        }
        Route::None(error) => {
            let text = format!("no route to the internet ({error}); {edges} edges");
            Check::new(name, Status::Note, "no_route", text)
        }
    }
}

fn mtu(observed: &Observed) -> Check {
    let probes = &observed.probes.probes;
    let minimum = QUIC_DATAGRAM_MIN as u32 + IPV4_HEADERS;
    let narrow = probes.iter().find_map(|probe| {
        let mtu = probe.path_mtu.filter(|mtu| *mtu < minimum)?;
        Some((probe.addr, mtu))
    });
    if let Some((addr, mtu)) = narrow {
        let text = format!("the path to {addr} takes packets of {mtu} bytes, QUIC needs {minimum}");
        return Check::new("mtu", Status::Wrong, "too_small", text)
            .advise("raise the MTU of the tunnel or VPN on the way to 1280 bytes or more");
    }
    let answered = probes.iter().any(|probe| matches!(probe.answer, Answer::Datagram(_)));
    if answered || observed.joined.is_ok() {
        let text = format!("datagrams of {QUIC_DATAGRAM_MIN} bytes arrive, as QUIC needs");
        return Check::new("mtu", Status::Ok, "enough", text);
    }
    let text = format!("no answer shows whether datagrams of {QUIC_DATAGRAM_MIN} bytes arrive");
    Check::new("mtu", Status::Unknown, "unknown", text)
}

fn join(observed: &Observed) -> Check {
    let wrong = |code, text| Check::new("join", Status::Wrong, code, text);
    match observed.joined {
        Ok(after) => {
            let text =
                format!("{} edges, the first after {:.0} ms", observed.edges.len(), ms(after));
            Check::new("join", Status::Ok, "joined", text)
        }
        Err(NotJoined::NoPeers) => wrong("no_peers", "there is no node to join through".to_owned())
            .advise("give --bootstrap ID@HOST:PORT, or --seed with the key file of a node"),
        Err(NotJoined::NoEdge(Some(error))) => {
            wrong("no_edge", format!("no edge to a node to join through: {error}"))
                .advise("check the identifier and the address after --bootstrap")
        }
        Err(NotJoined::NoEdge(None)) => {
            wrong("no_edge", "no edge to a node to join through in time".to_owned())
                .advise("check the identifier and the address after --bootstrap")
        }
    }
}

fn work(observed: &Observed) -> Check {
    let (has, wants) = observed.work;
    let text = format!("the identifier has {has} leading zero bits, --pow asks for {wants}");
    let refused = Err(NotJoined::NoEdge(Some(ConnectError::WorkUnmet)));
    let is_closed =
        |error: NotJoined| matches!(error, NotJoined::NoEdge(Some(ConnectError::NotTaken(_))));
    let advice = "use the same --pow as the nodes of this network";
    if observed.joined == refused {
        let text = format!("{text}; the node to join through has fewer");
        return Check::new("work", Status::Wrong, "peer_lacks_work", text).advise(advice);
    }
    if observed.joined.is_err_and(is_closed) {
        let text = format!("{text}; the node to join through closed the edge, perhaps for that");
        return Check::new("work", Status::Wrong, "perhaps_too_little", text).advise(advice);
    }
    Check::new("work", Status::Ok, "enough", text)
}

fn address(observed: &Observed) -> Check {
    let NatReport { addrs, evidence, .. } = &observed.nat;
    let evidence = format!(
        "{} neighbours in {} subnets name {} addresses",
        evidence.reports, evidence.subnets, evidence.addrs
    );
    if addrs.is_empty() {
        let text = format!("no address is confirmed: {evidence}, and three in two must agree");
        return Check::new("address", Status::Unknown, "unconfirmed", text);
    }
    let text = format!("others see this node at {}: {evidence}", list(addrs.iter().copied()));
    Check::new("address", Status::Ok, "confirmed", text)
}

fn nat(observed: &Observed) -> Check {
    let NatReport { addrs, mapping, allocator, evidence, .. } = &observed.nat;
    let is_own = |addr: &SocketAddr| observed.local.iter().any(|own| own.ip() == addr.ip());
    if addrs.first().is_some_and(is_own) {
        let text = "none: the address that others see is one of this machine".to_owned();
        return Check::new("nat", Status::Ok, "none", text);
    }
    let (subnets, reports) = (evidence.subnets, evidence.reports);
    let number = parameter(*allocator).map(|number| format!(" {number}")).unwrap_or_default();
    let text = format!(
        "mapping {}, ports {}{number}, from {reports} reports of {subnets} subnets",
        mapping.name(),
        allocator.name(),
    );
    match mapping {
        Mapping::Unknown => Check::new("nat", Status::Unknown, mapping.name(), text),
        Mapping::EndpointIndependent => Check::new("nat", Status::Ok, mapping.name(), text),
        _ => Check::new("nat", Status::Note, mapping.name(), text).advise(
            "the NAT gives every destination another port: forward a UDP port, and name it with \
             --advertise",
        ),
    }
}

fn reachability(observed: &Observed) -> Check {
    let reachability = observed.nat.reachability;
    let (status, text) = match reachability {
        Reachability::Reachable => (Status::Ok, "any node can reach this one"),
        Reachability::Unreachable => (Status::Note, "nodes that this one never sent to can not"),
        Reachability::Unknown => (Status::Unknown, "no test of it had an outcome"),
    };
    let check = Check::new("reachable", status, reachability.name(), text.to_owned());
    match reachability {
        Reachability::Unreachable => check.advise(
            "others reach this node by punching or by a relay; to be reached at once, forward a \
             UDP port and name it with --advertise",
        ),
        _ => check,
    }
}

fn relays(observed: &Observed) -> Check {
    let count = observed.edges.iter().filter(|edge| edge.relays).count();
    if count > 0 {
        let text = format!("{count} neighbours say that they relay");
        return Check::new("relays", Status::Ok, "at_hand", text);
    }
    let text = "no neighbour says that it relays".to_owned();
    let is_hard = !matches!(observed.nat.mapping, Mapping::Unknown | Mapping::EndpointIndependent);
    let advice = "let a node that any other reaches run with --relay";
    match is_hard {
        true => Check::new("relays", Status::Wrong, "none", text).advise(advice),
        false => Check::new("relays", Status::Note, "none", text),
    }
}

fn clock(observed: &Observed) -> Check {
    if let Some(ahead) = observed.skew_s {
        let side = if ahead > 0 { "behind" } else { "ahead of" };
        let text = format!("this clock is {} s {side} those of others", ahead.unsigned_abs());
        return Check::new("clock", Status::Wrong, "skewed", text)
            .advise("set the clock of this machine: messages more than 30 s off are dropped");
    }
    let stale = observed.stats.drops(DropReason::Stale);
    if observed.joined.is_err() {
        let text = "no message of another node arrived to compare with".to_owned();
        return Check::new("clock", Status::Unknown, "unknown", text);
    }
    let text = format!("no sign of a wrong clock: {stale} messages were too old or too new");
    Check::new("clock", Status::Ok, "agrees", text)
}

fn tables(observed: &Observed) -> Check {
    let gauges = &observed.stats.gauges;
    let text = format!(
        "{} edges, {} of them opened by peers; {} known peers, {} in reserve; {} dials",
        gauges.edges, gauges.edges_inbound, gauges.contacts, gauges.replacements, gauges.dials
    );
    Check::new("tables", Status::Ok, "counted", text)
}

fn exposure(observed: &Observed) -> Check {
    if observed.named.is_empty() {
        let text = "a node that asks is told no address; neighbours know that of the conn";
        return Check::new("exposure", Status::Ok, "none", text.to_owned());
    }
    let named = list(observed.named.iter().copied());
    let text = format!("any node that asks is told: {named} (address policy \"anyone\")");
    Check::new("exposure", Status::Ok, "addresses", text)
}

#[cfg(test)]
pub(super) mod tests;
