//! Relayed edges that become direct while messages are under way.

use super::*;
use crate::testkit::LinkProfile;

/// One way to the volunteer takes so much longer that many messages are under way over it.
const FAR: Duration = Duration::from_millis(80);
/// Between two messages of one end.
const INTERVAL: Duration = Duration::from_millis(20);
/// The routers of the two ends.
const ROUTERS: [[u8; 4]; 2] = [[21, 0, 0, 1], [22, 0, 0, 1]];

/// Maps every destination to one port, and lets in only what was sent for.
fn easy() -> NatConfig {
    NatConfig { filtering: Behavior::AddressAndPortDependent, ..NatConfig::default() }
}

/// The share of datagrams that is lost between the two routers.
fn set_way(net: &mut Net, loss: f64) {
    let [a, b] = ROUTERS.map(IpAddr::from);
    let profile = LinkProfile { loss, ..net.link };
    net.set_profile(a, b, profile);
    net.set_profile(b, a, profile);
}

impl Trio {
    /// Two nodes with a relayed edge, because nothing passes between their routers.
    fn apart() -> Self {
        let mut trio = Self::barred();
        trio.connect();
        trio.run(4 * SECOND);
        let volunteer = trio.id(2);
        assert_eq!(trio.relayed_by(), [Some(volunteer); 2]);
        let far = LinkProfile { latency: FAR, ..trio.net.link };
        for end in ROUTERS.map(IpAddr::from) {
            trio.net.set_profile(end, IpAddr::from(V.0), far);
            trio.net.set_profile(IpAddr::from(V.0), end, far);
        }
        trio
    }

    /// Two nodes without an edge, because nothing passes between their routers.
    fn barred() -> Self {
        let mut net = Net::new(3);
        set_way(&mut net, 1.0);
        let mut trio = Self::on(net, &easy(), 1, open());
        // Three nodes in two subnets have to agree on an address.
        for number in [4, 5, 6] {
            let at = SocketAddr::from(([198, 51, number, 1], 4242));
            let config = still(RelayPolicy::default());
            let other = NodeHost::at(at, identity(number.into()), 4, config, trio.net.now);
            let target = other.id;
            trio.others.push(other);
            for end in &mut trio.hosts[..2] {
                let request = RequestId(u64::from(number));
                end.command(&trio.net, Command::Connect { request, target, addrs: vec![at] });
            }
        }
        trio.run(20 * SECOND);
        let is_confirmed = |end: &NodeHost| !end.node.nat_report().addrs.is_empty();
        assert!(trio.hosts[..2].iter().all(is_confirmed));
        trio
    }

    /// One end has one more interface, which is news.
    fn add_interface(&mut self, number: usize) {
        let addrs = vec![self.hosts[number].addr, SocketAddr::from(([10, 9, 9, 9], 4242))];
        self.hosts[number].node.handle_input(self.net.now, Input::LocalAddrs(addrs));
    }

    /// Conns of the edge between the two, as each end sees it.
    fn conns(&self) -> [u8; 2] {
        [(0, 1), (1, 0)].map(|(from, to)| {
            let edges = self.hosts[from].node.edges();
            edges.iter().find(|edge| edge.peer == self.id(to)).map_or(0, |edge| edge.conns)
        })
    }

    /// Both ends send numbered messages for this long. Returns how many, and what each got.
    fn talk(&mut self, span: Duration) -> (u32, [Vec<u32>; 2]) {
        let (end, ids) = (self.net.now + span, [self.id(0), self.id(1)]);
        let (mut sent, mut got) = (0, [vec![], vec![]]);
        while self.net.now < end {
            for at in [0, 1] {
                self.hosts[at].send_direct(&self.net, ids[1 - at], &u32::to_be_bytes(sent));
            }
            sent += 1;
            self.run(INTERVAL);
            self.collect(&mut got);
        }
        self.run(2 * SECOND);
        self.collect(&mut got);
        (sent, got)
    }

    fn collect(&mut self, got: &mut [Vec<u32>; 2]) {
        for (host, got) in self.hosts.iter_mut().zip(got) {
            for (_, payload) in host.take_delivered() {
                got.push(u32::from_be_bytes(payload[..].try_into().expect("four bytes")));
            }
        }
    }

    fn lost_an_edge(&self) -> bool {
        let events = self.hosts.iter().flat_map(|host| &host.events);
        events.into_iter().any(|event| matches!(event, Event::EdgeDown { .. }))
    }
}

#[test]
fn a_relayed_edge_becomes_direct_on_news_of_either_end_and_every_message_arrives_once() {
    for news in [0, 1] {
        let mut trio = Trio::apart();
        // The attempts without news are over.
        trio.run(30 * SECOND);
        set_way(&mut trio.net, 0.0);
        let volunteer = trio.id(2);
        trio.run(30 * SECOND);
        assert_eq!(trio.relayed_by(), [Some(volunteer); 2], "nothing is tried without news");
        trio.add_interface(news);
        let (sent, got) = trio.talk(4 * SECOND);
        assert_eq!((trio.relayed_by(), trio.conns()), ([None; 2], [1; 2]), "news of {news}");
        for mut got in got {
            got.sort_unstable();
            assert_eq!(got, (0..sent).collect::<Vec<_>>(), "news of {news}");
        }
        assert!(!trio.lost_an_edge());
        let (a, b) = (trio.id(0), trio.id(1));
        let outcome = [(0, b), (1, a)]
            .map(|(from, to)| trio.hosts[from].node.explain(&to).and_then(|told| told.outcome));
        assert!(
            outcome.into_iter().any(|told| matches!(told, Some(ConnectOutcome::Direct { .. }))),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_direct_path_is_tried_once_more_soon_after_the_relay_was_faster() {
    let mut trio = Trio::barred();
    trio.connect();
    for _ in 0..40 {
        if trio.relayed_by()[0].is_none() {
            trio.run(SECOND / 10);
        }
    }
    assert!(trio.relayed_by()[0].is_some());
    set_way(&mut trio.net, 0.0);
    trio.run(4 * SECOND);
    assert_eq!((trio.relayed_by(), trio.conns()), ([None; 2], [1; 2]));
}

#[test]
fn an_upgrade_that_fails_leaves_the_relayed_edge_and_its_explanation() {
    let mut trio = Trio::apart();
    let explain = |trio: &Trio| trio.hosts[0].node.explain(&trio.hosts[1].id);
    let before = explain(&trio);
    trio.add_interface(0);
    let (sent, got) = trio.talk(15 * SECOND);
    let volunteer = trio.id(2);
    assert_eq!(trio.relayed_by(), [Some(volunteer); 2]);
    let all: Vec<u32> = (0..sent).collect();
    assert_eq!(got, [all.clone(), all], "in order: there is one conn");
    assert_eq!(explain(&trio), before);
}

/// The path fails right after the handshake.
#[test]
fn messages_stay_on_the_relay_until_the_peer_sent_on_the_direct_conn() {
    let mut trio = Trio::apart();
    trio.run(30 * SECOND);
    set_way(&mut trio.net, 0.0);
    trio.add_interface(0);
    for _ in 0..4_000 {
        if trio.conns()[0] < 2 {
            trio.run(Duration::from_millis(1));
        }
    }
    assert_eq!(trio.conns()[0], 2);
    set_way(&mut trio.net, 1.0);
    let (sent, [_, at_b]) = trio.talk(10 * SECOND);
    assert_eq!(at_b, (0..sent).collect::<Vec<_>>());
    assert!(trio.relayed_by()[0].is_some() && !trio.lost_an_edge());
}
