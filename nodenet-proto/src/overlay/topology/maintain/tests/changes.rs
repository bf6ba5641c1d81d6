use EdgeDownReason::{ClosedHere, Dead, Left};

use super::*;
use crate::api::{BootstrapPeer, ConnectError};
use crate::overlay::edges::Phase;
use crate::transport::DialError;
use crate::wire;

const BOOTSTRAP: NodeId = NodeId::from_bytes([0x99; 32]);

/// The timer of the maintenance is set to a time that is this far away.
fn set(bench: &Bench, wait: Duration) -> Did {
    Did::Set(Timer::Maintenance, bench.around.now + wait)
}

/// The timer of the maintenance is set to the next fill, which is a long time away, together with
/// the pings of then.
fn set_to_idle(bench: &Bench) -> Did {
    let due = bench.topology.schedule.fill;
    Did::Set(Timer::Maintenance, bench.rooms.edges.align(due, bench.around.now))
}

fn edge_up(bench: &mut Bench, up: &EdgeUp) -> (Option<Ask>, Vec<Did>) {
    bench.act(|topology, cx, rooms| topology.on_edge_up(cx, &rooms.edges, up))
}

/// An edge comes up. Which question to its peer follows, and what is done.
fn connect(bench: &mut Bench, peer: NodeId, is_outgoing: bool) -> (Option<Question>, Vec<Did>) {
    let up = bench.edge(peer, is_outgoing, 20);
    let (ask, actions) = edge_up(bench, &up);
    assert!(ask.is_none_or(|ask| ask.peer == peer));
    (ask.map(|ask| ask.question), actions)
}

/// An edge ends, and is reported to the topology.
fn lose(bench: &mut Bench, peer: &NodeId, reason: EdgeDownReason) -> Vec<Did> {
    let ended = bench.ended(peer, reason);
    lose_ended(bench, &ended)
}

fn lose_ended(bench: &mut Bench, ended: &EndedEdge) -> Vec<Did> {
    let lose = |topology: &mut Topology, cx: &mut Context<'_, Action>, rooms: &Rooms| {
        topology.on_edge_lost(cx, &rooms.edges, &rooms.peers, ended);
    };
    bench.act(lose).1
}

/// A bench with the sixteen nearest edges, whose buckets were all asked for not long ago.
fn quiet() -> Bench {
    let mut bench = Bench::joined(Config::default());
    update_needs(&mut bench);
    bench.topology.schedule.bucket_due(bench.around.now, 0..31);
    let schedule = &mut bench.topology.schedule;
    for bucket in 0..31 {
        let now = bench.around.now;
        (0..10).for_each(|_| schedule.on_bucket_asked(now, &mut bench.around.rng, bucket));
    }
    bench.around.pass(SECOND);
    bench
}

/// The bucket that is asked for within this time, if one is.
fn bucket_within(bench: &mut Bench, span: Duration) -> Option<u16> {
    let then = bench.around.now + span;
    bench.topology.schedule.bucket_due(then, 0..31)
}

#[test]
fn the_first_edge_makes_the_questions_due_at_once() {
    for is_outgoing in [true, false] {
        let mut bench = Bench::default();
        let (question, actions) = connect(&mut bench, near(0), is_outgoing);
        assert_eq!((question, actions), (None, vec![set(&bench, MS)]));
        let (schedule, now) = (&bench.topology.schedule, bench.around.now);
        assert_eq!((schedule.own.due, schedule.vicinity.due), (now, now));
    }
}

#[test]
fn a_nearer_edge_that_this_node_opened_is_asked_for_the_own_identifier() {
    let mut bench = Bench::default();
    bench.edges([id(20, 0, 0), id(21, 0, 0), id(22, 0, 0)], true);
    let wake = |bench: &Bench| vec![set(bench, 200 * MS)];
    let asked = connect(&mut bench, id(10, 0, 0), true);
    assert_eq!(asked, (Some(Question::Own), wake(&bench)), "the fourth nearest");
    let far = connect(&mut bench, id(9, 0, 0), true);
    assert_eq!(far, (None, vec![]), "the fifth; the timer is set already");
    bench.topology.due_at = None;
    bench.topology.schedule.fill = bench.around.now + MINUTE;
    let inbound = connect(&mut bench, id(30, 0, 0), false);
    assert_eq!(inbound, (None, wake(&bench)), "it knows of this node already");
    let light = bench.edge(id(31, 0, 0), true, 20);
    bench.rooms.edges.set_light(&light.peer.id, true);
    bench.topology.due_at = None;
    assert_eq!(edge_up(&mut bench, &light), (None, wake(&bench)));
}

#[test]
fn an_edge_that_fills_no_slot_hastens_no_fill() {
    let mut bench = Bench::default();
    bench.edges([20, 21, 22, 23].map(|bucket| id(bucket, 0, 0)), true);
    let (question, actions) = connect(&mut bench, id(0, 0, 0), false);
    assert_eq!((question, actions), (None, vec![set_to_idle(&bench)]));
    assert_eq!(bench.until_fill(), MINUTE);
    let (_, actions) = connect(&mut bench, id(1, 0, 0), true);
    assert_eq!(actions, [set(&bench, 200 * MS)], "this node opened it");
}

#[test]
fn a_content_node_looks_at_a_new_edge_with_the_next_one_unless_there_are_too_many() {
    let config = Config { inbound_edges_max: 2, ..Config::default() };
    let mut bench = Bench::joined(config);
    bench.fill();
    let idle = bench.topology.schedule.fill;
    bench.topology.due_at = Some(idle);
    connect(&mut bench, id(40, 1, 0), true);
    assert_eq!(bench.topology.schedule.fill, idle);
    connect(&mut bench, id(0, 0, 0), false);
    assert_eq!(bench.topology.schedule.fill, idle);
    let (_, actions) = connect(&mut bench, id(1, 0, 0), false);
    assert_eq!((bench.until_fill(), actions), (200 * MS, vec![set(&bench, 200 * MS)]));
}

/// A bench with a bootstrap peer that is not dialed yet.
fn with_bootstrap(config: Config) -> Bench {
    let mut bench = Bench::new(config);
    let peers = [BootstrapPeer { id: BOOTSTRAP, addrs: vec![addr(99)] }];
    let add = |topology: &mut Topology, cx: &mut Context<'_, Action>, rooms: &Rooms| {
        topology.add_bootstrap_peers(cx, &rooms.edges, &peers);
    };
    let ((), actions) = bench.act(add);
    let [Did::Set(Timer::Bootstrap, first), Did::Set(Timer::Maintenance, at)] = actions[..] else {
        panic!("{actions:?}")
    };
    assert!(first - bench.around.now <= 500 * MS);
    assert_eq!(at, bench.rooms.edges.align(bench.topology.schedule.fill, bench.around.now));
    assert_eq!(bench.topology.bootstrap_addrs(&BOOTSTRAP), [addr(99)]);
    bench
}

fn update_needs(bench: &mut Bench) -> Vec<Did> {
    bench.act(|topology, cx, rooms| topology.update_needs(cx, rooms.table())).1
}

#[test]
fn bootstrap_peers_are_left_alone_from_nine_edges_on_or_four_of_a_light_node() {
    for (config, edges) in [(Config::default(), 9), (light(), 4)] {
        let mut bench = with_bootstrap(config);
        bench.edges((1..edges).map(|number| id(number, 0, 0)), true);
        assert_eq!(update_needs(&mut bench), [], "{edges}");
        bench.edge(id(edges, 0, 0), true, 20);
        assert_eq!(update_needs(&mut bench), [Did::Stop(Timer::Bootstrap)], "{edges}");
        bench.ended(&id(edges, 0, 0), Dead);
        let actions = update_needs(&mut bench);
        let [Did::Set(Timer::Bootstrap, at)] = actions[..] else { panic!("{actions:?}") };
        assert!(at - bench.around.now >= 4 * SECOND, "there are edges that may lead to others");
        bench.edge(BOOTSTRAP, true, 20);
        assert_eq!(update_needs(&mut bench), [Did::Stop(Timer::Bootstrap)], "{edges}");
        bench.ended(&id(1, 0, 0), Dead);
        assert_eq!(update_needs(&mut bench), [Did::Stop(Timer::Bootstrap)], "it has an edge");
    }
}

#[test]
fn an_edge_more_or_less_changes_the_need_of_bootstrap_peers() {
    let mut bench = with_bootstrap(Config::default());
    bench.edges((1..9).map(|number| id(number, 0, 0)), true);
    assert_eq!(bench.rooms.table().phase(), Phase::Urgent);
    let (_, actions) = connect(&mut bench, id(0, 0, 0), true);
    assert_eq!(actions, [Did::Stop(Timer::Bootstrap), set(&bench, 200 * MS)]);
    let ended = bench.ended(&id(0, 0, 0), Dead);
    let actions = lose_ended(&mut bench, &ended);
    let [Did::Set(Timer::Bootstrap, _)] = actions[..] else { panic!("{actions:?}") };
}

#[test]
fn every_ten_minutes_a_bootstrap_peer_is_dialed_if_none_has_an_edge() {
    let well_connected = || {
        let mut bench = with_bootstrap(Config::default());
        bench.edges((1..=9).map(|number| id(number, 0, 0)), true);
        update_needs(&mut bench);
        bench
    };
    let begin = |bench: &mut Bench| {
        bench.act(|topology, cx, rooms| topology.begin_maintenance(cx, rooms.view().edges))
    };
    let mut bench = well_connected();
    bench.around.pass(10 * MINUTE - MS);
    assert_eq!(begin(&mut bench), (None, vec![]));
    bench.around.pass(MS);
    let candidates = vec![Address::given(addr(99))];
    let want = Want { peer: BOOTSTRAP, candidates, purpose: Purpose::Bootstrap };
    let actions = vec![Did::Connect(want), Did::Stop(Timer::Bootstrap)];
    assert_eq!(begin(&mut bench), (Some((BOOTSTRAP, Some(addr(99)))), actions));
    let next = bench.topology.schedule.seed_check - bench.around.now;
    assert!(9 * MINUTE <= next && next <= 11 * MINUTE);
    let mut bench = well_connected();
    bench.edge(BOOTSTRAP, true, 20);
    bench.around.pass(10 * MINUTE);
    assert_eq!(begin(&mut bench), (None, vec![]));
}

fn arm(bench: &mut Bench) -> Vec<Did> {
    bench.act(|topology, cx, rooms| topology.arm(cx, &rooms.edges)).1
}

#[test]
fn the_timer_is_set_once_to_what_is_due_first() {
    let mut bench = Bench::default();
    assert_eq!(arm(&mut bench), [set_to_idle(&bench)]);
    assert_eq!(arm(&mut bench), []);
    bench.topology.schedule.fill = bench.around.now + 3 * SECOND;
    assert_eq!(arm(&mut bench), [set(&bench, 3 * SECOND)]);
    let begun = bench.act(|topology, cx, rooms| topology.begin_maintenance(cx, rooms.view().edges));
    assert_eq!(begun, (None, vec![]));
    assert_eq!(arm(&mut bench), [set(&bench, 3 * SECOND)], "the timer fired meanwhile");
}

#[test]
fn the_timer_is_set_to_a_time_to_come() {
    let mut bench = Bench::default();
    bench.topology.schedule.fill = bench.around.now;
    bench.around.pass(SECOND);
    assert_eq!(arm(&mut bench), [set(&bench, MS)]);
}

#[test]
fn a_light_node_does_all_together_with_its_pings() {
    let mut bench = Bench::new(light());
    let due = bench.topology.schedule.fill;
    let aligned = bench.rooms.edges.align(due, bench.around.now);
    assert_ne!(aligned, due);
    assert_eq!(arm(&mut bench), [Did::Set(Timer::Maintenance, aligned)]);
}

#[test]
fn without_edges_no_question_sets_the_timer() {
    let mut bench = Bench::default();
    bench.topology.schedule.own.due = bench.around.now + SECOND;
    assert_eq!(arm(&mut bench), [set_to_idle(&bench)]);
    bench.edge(near(0), true, 20);
    assert_eq!(arm(&mut bench), [set(&bench, SECOND)]);
}

#[test]
fn buckets_between_the_difficulty_and_the_nearest_peers_set_the_timer() {
    let quiet_from = |difficulty: u16, edges: u16| {
        let mut bench = Bench::new(Config { difficulty, ..Config::default() });
        bench.edges((0..edges).map(|number| id(6 + number, 0, 0)), true);
        let now = bench.around.now;
        bench.topology.schedule.bucket_due(now, 0..20);
        for bucket in (0..20).filter(|bucket| *bucket != 3) {
            bench.topology.schedule.on_bucket_asked(now, &mut bench.around.rng, bucket);
        }
        arm(&mut bench).first().map(|did| matches!(did, Did::Set(_, at) if *at < now + 2 * SECOND))
    };
    assert_eq!(quiet_from(0, 3), Some(true), "the fourth bucket is due");
    assert_eq!(quiet_from(3, 3), Some(true));
    assert_eq!(quiet_from(4, 3), Some(false), "no identifier lies there");
    assert_eq!(quiet_from(0, 2), Some(false), "there are too few edges");
    let mut bench = Bench::new(Config { difficulty: 9, ..Config::default() });
    bench.edges((0..3).map(|number| id(6 + number, 0, 0)), true);
    assert_eq!(far_buckets(&bench.around.config, bench.rooms.table()), 9..10);
}

#[test]
fn a_node_without_maintenance_sets_no_timer() {
    let mut bench = Bench::new(Config { maintenance: false, ..Config::default() });
    assert_eq!(arm(&mut bench), []);
    assert_eq!(connect(&mut bench, near(0), true).1, []);
}

#[test]
fn a_topology_that_is_stopped_does_nothing_more() {
    let mut bench = with_bootstrap(Config::default());
    let ((), actions) = bench.act(|topology, cx, _| topology.stop(cx));
    assert_eq!(actions, [Did::Stop(Timer::Bootstrap), Did::Stop(Timer::Maintenance)]);
    bench.topology.schedule.fill = bench.around.now;
    assert_eq!(arm(&mut bench), []);
    assert_eq!(bench.topology.bootstrap_addrs(&BOOTSTRAP), []);
}

#[test]
fn a_lost_sibling_changes_the_vicinity_and_wakes_the_fill() {
    for reason in [Dead, Left, ClosedHere] {
        for is_outgoing in [true, false] {
            let mut bench = quiet();
            bench.edge(id(50, 0, 0), is_outgoing, 20);
            assert_eq!(lose(&mut bench, &id(50, 0, 0), reason), [set(&bench, 50 * MS)]);
            let (schedule, now) = (&bench.topology.schedule, bench.around.now);
            let due = [schedule.own.due - now, schedule.vicinity.due - now];
            assert_eq!(due, [32 * SECOND, 8 * SECOND]);
        }
    }
}

#[test]
fn a_lost_edge_beyond_the_nearest_wakes_the_fill_if_this_node_opened_it_and_did_not_close_it() {
    for (reason, is_outgoing, is_awake) in [
        (Dead, true, true),
        (Left, true, true),
        (ClosedHere, true, false),
        (Dead, false, false),
        (Left, false, false),
        (ClosedHere, false, false),
    ] {
        let mut bench = quiet();
        bench.edge(id(0, 0, 0), is_outgoing, 20);
        let due = bench.topology.schedule.fill;
        let own_due = bench.topology.schedule.own.due;
        let actions = lose(&mut bench, &id(0, 0, 0), reason);
        assert_eq!(bench.topology.schedule.fill < due, is_awake, "{reason:?} {is_outgoing}");
        let expected = if is_awake { set(&bench, 50 * MS) } else { set_to_idle(&bench) };
        assert_eq!(actions, [expected], "{reason:?} {is_outgoing}");
        assert_eq!(bench.topology.schedule.own.due, own_due, "the vicinity is what it was");
    }
}

/// Whether another contact is sought for the slot of a peer whose edge ended.
fn is_substitute_sought(
    reason: EdgeDownReason,
    is_outgoing: bool,
    prepare: impl FnOnce(&mut Bench),
) -> bool {
    let mut bench = quiet();
    bench.edge(id(0, 1, 0), is_outgoing, 20);
    bench.gossip(id(0, 1, 0), addr(1));
    bench.hold_off(&id(0, 1, 0), MINUTE);
    prepare(&mut bench);
    lose(&mut bench, &id(0, 1, 0), reason);
    assert_eq!(bucket_within(&mut bench, 20 * SECOND - MS), None);
    bucket_within(&mut bench, 20 * SECOND) == Some(0)
}

#[test]
fn a_slot_whose_peer_left_is_asked_for_if_it_has_no_other_contact() {
    assert!(is_substitute_sought(Left, true, |_| {}));
    assert!(!is_substitute_sought(Left, false, |_| {}), "it filled no slot");
    assert!(!is_substitute_sought(Dead, true, |_| {}), "it may be back");
    assert!(!is_substitute_sought(ClosedHere, true, |_| {}));
    let other = |part| move |bench: &mut Bench| bench.gossip(id(0, part, 1), addr(2));
    assert!(!is_substitute_sought(Left, true, other(1)));
    assert!(is_substitute_sought(Left, true, other(2)), "it lies in another slot");
    let connected = |bench: &mut Bench| {
        bench.gossip(id(0, 1, 1), addr(2));
        bench.edge(id(0, 1, 1), true, 20);
    };
    assert!(is_substitute_sought(Left, true, connected), "it has an edge");
    let elsewhere = |bench: &mut Bench| bench.gossip(id(1, 1, 0), addr(2));
    assert!(is_substitute_sought(Left, true, elsewhere));
}

fn answer(bench: &mut Bench, question: Question, contacts: &[NodeId], has_news: bool) -> Vec<Did> {
    let contacts: Vec<_> = contacts.iter().map(|id| wire::Contact::new(*id)).collect();
    let answer = |topology: &mut Topology, cx: &mut Context<'_, Action>, rooms: &Rooms| {
        topology.on_answer(cx, &rooms.edges, question, &contacts, has_news);
    };
    bench.act(answer).1
}

#[test]
fn an_answer_that_fills_a_lacking_slot_is_followed_by_the_next_question() {
    let target = id(0, 1, 0);
    let near = |lacking| Question::Near { target, lacking };
    let cases = [
        (near(true), vec![id(0, 1, 7)], Some(0)),
        (near(true), vec![id(0, 2, 7), id(0, 1, 7)], Some(0)),
        (near(true), vec![id(0, 2, 7), id(1, 1, 7)], None),
        (near(true), vec![], None),
        (near(false), vec![id(0, 1, 7)], None),
        (Question::Own, vec![id(0, 1, 7)], None),
    ];
    for (question, contacts, expected) in cases {
        let mut bench = quiet();
        let actions = answer(&mut bench, question, &contacts, false);
        assert_eq!(bucket_within(&mut bench, SECOND - MS), None);
        assert_eq!(bucket_within(&mut bench, SECOND), expected, "{question:?} {contacts:?}");
        let until = if expected.is_some() { set(&bench, SECOND) } else { set_to_idle(&bench) };
        assert_eq!(actions, [until]);
    }
    let mut bench = Bench::new(light());
    bench.edges((0..8).map(super::near), true);
    bench.topology.schedule.bucket_due(bench.around.now, 0..2);
    for _ in 0..3 {
        let now = bench.around.now;
        bench.topology.schedule.on_bucket_asked(now, &mut bench.around.rng, 0);
        bench.topology.schedule.on_bucket_asked(now, &mut bench.around.rng, 1);
    }
    answer(&mut bench, near(true), &[id(0, 3, 7)], false);
    let then = bench.around.now + SECOND;
    assert_eq!(bench.topology.schedule.bucket_due(then, 0..2), Some(0), "one slot is a bucket");
}

#[test]
fn an_answer_with_news_wakes_the_fill() {
    let mut bench = quiet();
    assert_eq!(answer(&mut bench, Question::Vicinity, &[], true), [set(&bench, 50 * MS)]);
}

#[test]
fn an_import_wakes_the_fill() {
    let mut bench = quiet();
    let ((), actions) = bench.act(|topology, cx, rooms| topology.on_imported(cx, &rooms.edges));
    assert_eq!(actions, [set(&bench, 50 * MS)]);
}

#[test]
fn a_contact_that_can_not_be_reached_has_its_bucket_asked_for_and_wakes_a_fill() {
    let unreachable = |bench: &mut Bench| {
        let peer = id(3, 0, 0);
        let fail = |topology: &mut Topology, cx: &mut Context<'_, Action>, rooms: &Rooms| {
            topology.on_contact_unreachable(cx, &rooms.edges, &peer);
        };
        bench.act(fail).1
    };
    let mut bench = quiet();
    assert_eq!(unreachable(&mut bench), [set(&bench, 50 * MS)]);
    assert_eq!(bucket_within(&mut bench, 20 * SECOND - MS), None);
    assert_eq!(bucket_within(&mut bench, 20 * SECOND), Some(3));
    let mut bench = quiet();
    bench.fill();
    unreachable(&mut bench);
    assert!(bench.is_idle(), "a content node tries a faster edge with the next fill");
}

#[test]
fn a_probe_that_leads_to_no_edge_wakes_a_fill_and_rests_a_bootstrap_peer() {
    let probed = |bench: &mut Bench, peer: NodeId| {
        let probed = |topology: &mut Topology, cx: &mut Context<'_, Action>, rooms: &Rooms| {
            topology.on_probed(cx, &rooms.edges, &peer);
        };
        bench.act(probed).1
    };
    let mut bench = quiet();
    let actions = probed(&mut bench, near(3));
    assert_eq!(actions, [Did::Stop(Timer::Bootstrap), set(&bench, 50 * MS)]);
    bench.fill();
    bench.topology.due_at = Some(bench.topology.schedule.fill);
    probed(&mut bench, near(3));
    assert!(bench.is_idle());
    let mut bench = with_bootstrap(Config::default());
    let actions = probed(&mut bench, BOOTSTRAP);
    let [Did::Set(Timer::Bootstrap, at), Did::Set(Timer::Maintenance, _)] = actions[..] else {
        panic!("{actions:?}")
    };
    assert!(at - bench.around.now >= 4 * SECOND);
}

#[test]
fn what_happens_to_a_bootstrap_peer_reaches_the_room_of_those() {
    let mut bench = with_bootstrap(Config::default());
    bench.around.pass(SECOND);
    let ((), actions) = bench.act(|topology, cx, _| topology.on_bootstrap_timer(cx));
    let candidates = vec![Address::given(addr(99))];
    let want = Want { peer: BOOTSTRAP, candidates, purpose: Purpose::Bootstrap };
    assert_eq!(actions, [Did::Connect(want), Did::Stop(Timer::Bootstrap)]);
    let up = bench.edge(BOOTSTRAP, true, 20);
    let ((), actions) = bench.act(|topology, cx, _| topology.on_conn_up(cx, &up));
    assert_eq!(actions, [Did::Stop(Timer::Bootstrap)]);
    let ended = bench.ended(&BOOTSTRAP, Left);
    let ((), actions) = bench.act(|topology, cx, _| topology.on_edge_down(cx, &ended));
    let [Did::Set(Timer::Bootstrap, at)] = actions[..] else { panic!("{actions:?}") };
    assert!(at - bench.around.now >= 40 * SECOND, "it closed the edge");
    let ((), actions) = bench.act(|topology, cx, _| topology.on_no_outgoing(cx));
    let [Did::Set(Timer::Bootstrap, sooner)] = actions[..] else { panic!("{actions:?}") };
    assert!(sooner < at);
}

#[test]
fn the_application_hears_why_there_is_no_edge_to_a_bootstrap_peer() {
    use crate::api::Event;

    let mut bench = with_bootstrap(Config::default());
    let error = ConnectError::Dial(DialError::TimedOut);
    let Bench { topology, rooms, around, .. } = &mut bench;
    let ((), actions) = around.run(|cx| topology.on_attempt_failed(cx, BOOTSTRAP, error));
    let [Action::Event(Event::BootstrapFailed { peer, error: told }), Action::Set(..)] =
        actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!((peer, told), (BOOTSTRAP, error));
    let (edges, remote) = (&mut rooms.edges, addr(99));
    let peer = Peer { id: BOOTSTRAP, key: [0x99; 32], remote };
    around.run(|cx| drop(edges.attach(cx, ConnId(1), peer, true)));
    let (ended, _) = around.run(|cx| edges.close_edge(cx, &BOOTSTRAP));
    let ended = EndedEdge { reason: Left, ..*ended.expect("there is an edge") };
    let ((), actions) = around.run(|cx| topology.on_edge_ending(cx, &ended));
    let [Action::Event(Event::BootstrapFailed { peer, error: told })] = actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((peer, told), (BOOTSTRAP, ConnectError::NotTaken(Left)));
}

#[test]
fn the_address_at_which_a_bootstrap_peer_answered_comes_first() {
    let mut bench = Bench::default();
    let peers = [BootstrapPeer { id: BOOTSTRAP, addrs: vec![addr(1), addr(2)] }];
    bench.act(|topology, cx, rooms| topology.add_bootstrap_peers(cx, &rooms.edges, &peers));
    bench.topology.on_answered(&BOOTSTRAP, addr(2));
    assert_eq!(bench.topology.bootstrap_addrs(&BOOTSTRAP), [addr(2), addr(1)]);
}

#[test]
fn the_gauges_count_probes_and_bootstrap_peers() {
    let mut bench = with_bootstrap(Config::default());
    bench.topology.on_observed(Observed { is_new: false, doubtful: Some(near(0)) });
    let mut gauges = crate::stats::Gauges::default();
    bench.topology.fill_gauges(&mut gauges);
    assert_eq!((gauges.probes, gauges.dial_targets), (1, 1));
}
