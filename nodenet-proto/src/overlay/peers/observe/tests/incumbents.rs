use super::*;
use crate::overlay::peers::k_bucket::K;

const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

/// Numbers of peers in the bucket of those that share no bit with this node.
fn farthest() -> Vec<u8> {
    let own = Surroundings::default().identity.id();
    (1..=u8::MAX).filter(|number| own.common_prefix_len(&id(*number)) == 0).collect()
}

/// A bench whose first bucket is full of contacts with an address, the first of them heard least
/// recently, and the numbers of peers that belong into it beyond those.
fn full(is_heard: bool) -> (Bench, Vec<u8>, Vec<u8>) {
    let mut bench = Bench::new();
    let mut numbers = farthest();
    let others = numbers.split_off(K);
    // Of contacts that were never heard the newest comes first.
    for &number in &numbers {
        bench.import(number, &[addr(number)]);
        if is_heard {
            bench.run(|peers, cx, _| peers.confirm(cx, &id(number)));
        }
    }
    (bench, numbers, others)
}

#[test]
fn an_incumbent_that_was_not_heard_for_half_an_hour_is_doubtful() {
    let (mut bench, numbers, others) = full(true);
    bench.around.pass(HALF_AN_HOUR);
    assert_eq!(bench.import(others[0], &[addr(1)]), NEW, "it waits");
    bench.around.pass(Duration::from_millis(100));
    let doubtful = Some(id(numbers[0]));
    assert_eq!(bench.import(others[1], &[addr(2)]), Observed { is_new: true, doubtful });
    assert_eq!(bench.import(others[1], &[addr(2)]), Observed { is_new: false, doubtful });
}

#[test]
fn an_incumbent_that_was_never_heard_is_not_doubtful() {
    let (mut bench, _, others) = full(false);
    bench.around.pass(2 * HALF_AN_HOUR);
    assert_eq!(bench.import(others[0], &[addr(1)]), NEW);
    assert_eq!(bench.import(others[0], &[addr(1)]), NOTHING_NEW);
}

#[test]
fn an_incumbent_with_an_edge_lives_and_the_next_one_is_asked_for() {
    let (mut bench, numbers, others) = full(true);
    bench.around.pass(2 * HALF_AN_HOUR);
    bench.attach(numbers[0], true);
    assert_eq!(bench.import(others[0], &[addr(1)]), NEW);
    assert_eq!(bench.contact(numbers[0]).last_seen, bench.tick(bench.around.now));
    let doubtful = Some(id(numbers[1]));
    assert_eq!(bench.import(others[1], &[addr(2)]), Observed { is_new: true, doubtful });
}

#[test]
fn an_edge_tells_of_a_doubtful_incumbent_as_well() {
    let (mut bench, numbers, others) = full(true);
    bench.around.pass(2 * HALF_AN_HOUR);
    let doubtful = Some(id(numbers[0]));
    let observed = Observed { is_new: true, doubtful };
    assert_eq!(bench.edge_up(others[0], addr(1), true), (observed, false));
}

#[test]
fn an_originator_is_stored_if_there_is_a_place_for_it() {
    let (mut bench, numbers, others) = full(true);
    bench.around.pass(2 * HALF_AN_HOUR);
    assert_eq!(bench.originator(others[0]), NOTHING_NEW);
    assert!(!bench.is_known(others[0]), "it has no address, so it does not even wait");
    assert_eq!(bench.originator(numbers[3]), NOTHING_NEW);
    assert_eq!(bench.contact(numbers[3]).last_seen, bench.tick(bench.around.now));
    let own = bench.around.identity.id();
    let near = (1..).find(|number| own.common_prefix_len(&id(*number)) > 0).expect("there is one");
    assert_eq!(bench.originator(near), NEW);
    assert_eq!((bench.addrs(near), bench.contact(near).caps_self_reported), (vec![], false));
    assert_eq!(bench.contact(near).last_seen, bench.tick(bench.around.now));
}

#[test]
fn an_originator_that_waits_for_a_place_is_refreshed() {
    let (mut bench, numbers, others) = full(true);
    bench.import(others[0], &[addr(1)]);
    bench.around.pass(2 * HALF_AN_HOUR);
    let doubtful = Some(id(numbers[0]));
    assert_eq!(bench.originator(others[0]), Observed { is_new: false, doubtful });
    assert_eq!(bench.contact(others[0]).last_seen, bench.tick(bench.around.now));
}

#[test]
fn an_import_takes_the_addresses_that_this_node_may_dial_as_gossip() {
    let mut bench = Bench::new();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 4242));
    assert_eq!(bench.import(1, &[nowhere, mapped(1), addr(2)]), NEW);
    assert_eq!(bench.addrs(1), [(addr(1), Gossiped), (addr(2), Gossiped)]);
    assert_eq!(bench.contact(1).last_seen, Tick::NEVER);
    assert_eq!(bench.import(1, &[addr(3)]), NOTHING_NEW);
    assert_eq!(bench.drops(DropReason::ImplausibleAddress), 0, "no peer chose it");
}

#[test]
fn a_contact_that_the_table_refuses_is_counted() {
    let mut bench = Bench::new();
    let forged = KnownPeer { id: id(1), ..known_peer(2, &[addr(1)]) };
    assert_eq!(bench.run(|peers, cx, edges| peers.import(cx, edges, &forged)), NOTHING_NEW);
    assert!(!bench.is_known(1) && !bench.is_known(2));
    assert_eq!(bench.drops(DropReason::ContactRejected), 1);
}

#[test]
fn this_node_is_no_contact_of_itself() {
    let mut bench = Bench::new();
    let identity = &bench.around.identity;
    let (id, key) = (identity.id(), *identity.public_key());
    let own = KnownPeer { id, key, addrs: vec![addr(1)] };
    assert_eq!(bench.run(|peers, cx, edges| peers.import(cx, edges, &own)), NOTHING_NEW);
    assert_eq!((bench.peers.table.len(), bench.drops(DropReason::ContactRejected)), (0, 0));
}
