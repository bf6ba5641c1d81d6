mod subnets;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::env::{Ed25519Crypto, Seed, test_base};

fn key(number: u32) -> [u8; 32] {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

fn id(number: u32) -> NodeId {
    Ed25519Crypto.node_id(&key(number))
}

fn addr(host: u32) -> SocketAddr {
    let [a, b, c, d] = host.to_be_bytes();
    SocketAddr::from(([10 + a, b, c, d], 4242))
}

fn table() -> ContactTable {
    ContactTable::new(NodeId::from_bytes([0x5a; 32]), 0, test_base())
}

fn at(second: u64) -> Instant {
    test_base() + Duration::from_secs(second)
}

fn observe(
    table: &mut ContactTable,
    number: u32,
    addrs: &[SocketAddr],
    provenance: Provenance,
    second: u64,
) -> Outcome {
    let seen = Observation { id: id(number), key: key(number), caps: None, addrs, provenance };
    let outcome = table.observe(&seen, at(second), &Ed25519Crypto);
    table.check();
    outcome
}

fn addrs(table: &ContactTable, number: u32) -> Vec<SocketAddr> {
    table.get(&id(number)).map_or(Vec::new(), |contact| contact.addrs().collect())
}

/// A sibling names honest peers with their real keys and its own addresses (THREATS.md#e1).
#[test]
fn gossip_never_displaces_a_verified_address_nor_refreshes() {
    let mut table = table();
    observe(&mut table, 1, &[addr(1)], Provenance::Verified, 0);
    let heard = table.get(&id(1)).unwrap().last_seen;
    for second in 1..100 {
        observe(&mut table, 1, &[addr(666 + second)], Provenance::Gossiped, u64::from(second));
    }
    assert_eq!(addrs(&table, 1)[0], addr(1));
    assert_eq!(addrs(&table, 1).len(), ADDRS_MAX);
    assert_eq!(table.get(&id(1)).unwrap().last_seen, heard, "a mention is no sign of life");
}

/// Capability bits come from the peer itself, or from gossip while the peer has reported none
/// (THREATS.md#e2).
#[test]
fn gossip_never_changes_a_peer_s_own_capabilities() {
    let mut table = table();
    let mut say = |caps, provenance| {
        let seen = Observation { id: id(1), key: key(1), caps, addrs: &[], provenance };
        table.observe(&seen, at(0), &Ed25519Crypto);
        table.get(&id(1)).map(|contact| contact.caps)
    };
    assert_eq!(say(Some(4), Provenance::Gossiped), Some(4));
    assert_eq!(say(None, Provenance::Signed), Some(4), "it says nothing about them");
    assert_eq!(say(Some(1), Provenance::Signed), Some(1));
    assert_eq!(say(Some(3), Provenance::Gossiped), Some(1));
    assert_eq!(say(Some(0), Provenance::Signed), Some(0), "it can do nothing in particular");
    assert_eq!(say(Some(3), Provenance::Gossiped), Some(0));
}

#[test]
fn gossiped_addresses_are_dialed_in_the_order_of_the_answer() {
    let mut table = table();
    observe(&mut table, 1, &[addr(1), addr(2), addr(3)], Provenance::Gossiped, 0);
    assert_eq!(addrs(&table, 1), [addr(1), addr(2), addr(3)]);
}

/// One answer full of false addresses does not displace the addresses of other sources.
#[test]
fn one_source_does_not_displace_all_other_gossip() {
    let mut table = table();
    observe(&mut table, 1, &[addr(1), addr(2)], Provenance::Gossiped, 0);
    let lies: Vec<SocketAddr> = (100..200).map(addr).collect();
    observe(&mut table, 1, &lies, Provenance::Gossiped, 1);
    let kept = addrs(&table, 1);
    assert!(kept.contains(&addr(1)) && kept.contains(&addr(2)), "{kept:?}");
}

/// Of three hundred addresses eight are kept (THREATS.md#e4).
#[test]
fn a_contact_with_very_many_addresses_keeps_the_first_eight() {
    let mut table = table();
    let many: Vec<SocketAddr> = (0..300).map(addr).collect();
    observe(&mut table, 1, &many, Provenance::Signed, 0);
    assert_eq!(addrs(&table, 1), many[..ADDRS_MAX]);
}

#[test]
fn a_verified_contact_replaces_a_gossiped_one_in_a_full_bucket() {
    let mut table = table();
    let numbers: Vec<u32> = (0..).filter(|n| table.index(&id(*n)) == 0).take(22).collect();
    for number in &numbers[..20] {
        observe(&mut table, *number, &[addr(*number)], Provenance::Gossiped, 0);
    }
    let probe = observe(&mut table, numbers[20], &[addr(500)], Provenance::Signed, 1);
    assert!(matches!(probe, Outcome::NeedProbe { known: false, .. }));
    let proven = observe(&mut table, numbers[21], &[addr(501)], Provenance::Verified, 2);
    assert_eq!(proven, Outcome::Inserted);
    assert_eq!(table.len(), 20);
}

/// Messages of twenty originators without an address do not keep dialable contacts out
/// (THREATS.md#e29).
#[test]
fn a_contact_without_an_address_is_the_first_to_make_room() {
    let mut table = table();
    let numbers: Vec<u32> = (0..).filter(|n| table.index(&id(*n)) == 0).take(22).collect();
    observe(&mut table, numbers[0], &[addr(1)], Provenance::Gossiped, 0);
    for number in &numbers[1..20] {
        observe(&mut table, *number, &[], Provenance::Signed, 1);
    }
    let stranger = observe(&mut table, numbers[20], &[], Provenance::Signed, 2);
    assert!(matches!(stranger, Outcome::NeedProbe { known: false, .. }));
    let hearsay = observe(&mut table, numbers[21], &[addr(2)], Provenance::Gossiped, 3);
    assert_eq!(hearsay, Outcome::Inserted);
    assert!(table.get(&id(numbers[0])).is_some(), "it can be dialed");
    assert_eq!(table.len(), 20);
    table.check();
}

/// Eight identities that claim a subnet do not lock its honest peers out
/// (PROTOCOL.md#subnet-shares).
#[test]
fn unverified_addresses_do_not_use_up_a_subnet() {
    let mut table = table();
    for number in 0..40 {
        observe(&mut table, number, &[addr(number)], Provenance::Signed, 0);
    }
    assert_ne!(observe(&mut table, 99, &[addr(99)], Provenance::Verified, 1), Outcome::Rejected);
}

#[test]
fn one_bucket_takes_fewer_of_a_subnet_than_the_table() {
    let mut table = table();
    let numbers: Vec<u32> = (0..).filter(|n| table.index(&id(*n)) == 0).take(5).collect();
    let outcomes: Vec<Outcome> = numbers
        .iter()
        .map(|number| observe(&mut table, *number, &[addr(number % 200)], Provenance::Verified, 0))
        .collect();
    assert_eq!(outcomes[..4], [Outcome::Inserted; 4]);
    assert_eq!(outcomes[4], Outcome::Rejected);
}

#[test]
fn a_contact_that_never_answered_is_evicted_soon_and_stays_out_for_half_an_hour() {
    let mut table = table();
    let mut rng = Seed::from_u64(1).stream("test");
    observe(&mut table, 1, &[addr(1)], Provenance::Gossiped, 0);
    assert!(!table.dial_failed(&id(1), at(0), false, &mut rng));
    assert_eq!(table.candidates(at(0), |_| true).count(), 0, "it backs off");
    assert_eq!(table.candidates(at(2), |_| true).count(), 1);
    assert!(!table.dial_failed(&id(1), at(2), false, &mut rng));
    assert!(table.dial_failed(&id(1), at(5), false, &mut rng));
    let again = observe(&mut table, 1, &[addr(1)], Provenance::Gossiped, 6);
    assert_eq!(again, Outcome::Rejected);
    let later = observe(&mut table, 1, &[addr(1)], Provenance::Gossiped, 6 + 1800);
    assert_eq!(later, Outcome::Inserted);
}

#[test]
fn an_isolated_node_evicts_no_contact() {
    let mut table = table();
    let mut rng = Seed::from_u64(1).stream("test");
    observe(&mut table, 1, &[addr(1)], Provenance::Gossiped, 0);
    for second in 0..100 {
        assert!(!table.dial_failed(&id(1), at(second), true, &mut rng));
    }
    assert!(table.dial_failed(&id(1), at(100), false, &mut rng));
}

#[test]
fn a_signature_brings_an_evicted_contact_back_at_once() {
    let mut table = table();
    observe(&mut table, 1, &[addr(1)], Provenance::Verified, 0);
    table.purge(&id(1), at(1));
    assert_eq!(observe(&mut table, 1, &[], Provenance::Signed, 2), Outcome::Inserted);
}

#[test]
fn a_peer_that_once_answered_is_tried_every_minute_for_a_quarter_of_an_hour() {
    let mut table = table();
    let mut rng = Seed::from_u64(1).stream("test");
    observe(&mut table, 1, &[addr(1)], Provenance::Verified, 0);
    let (mut second, mut dials) = (0, 0);
    loop {
        if table.candidates(at(second), |_| true).count() == 1 {
            dials += 1;
            if table.dial_failed(&id(1), at(second), false, &mut rng) {
                break;
            }
        }
        second += 1;
    }
    assert_eq!(dials, usize::from(FAILURES_VERIFIED_MAX));
    assert!((13 * 60..18 * 60).contains(&second), "{second}");
}

#[test]
fn an_answer_resets_the_backoff() {
    let mut table = table();
    let mut rng = Seed::from_u64(1).stream("test");
    observe(&mut table, 1, &[addr(1)], Provenance::Gossiped, 0);
    table.dial_failed(&id(1), at(0), false, &mut rng);
    table.confirm(&id(1), at(0));
    assert_eq!(table.get(&id(1)).map(|contact| contact.failures), Some(0));
    assert_eq!(table.candidates(at(0), |_| true).count(), 1);
}

#[test]
fn an_address_at_which_another_node_answers_is_removed() {
    let mut table = table();
    observe(&mut table, 1, &[addr(1), addr(2)], Provenance::Signed, 0);
    table.forget_addr(&id(1), addr(1));
    assert_eq!(addrs(&table, 1), [addr(2)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The early stop never changes the answer.
    #[test]
    fn closest_is_what_a_full_scan_finds(
        count in 0_u32..400,
        target in any::<[u8; 32]>(),
        near in 0_usize..12,
        limit in 0_usize..40,
    ) {
        let mut table = table();
        for number in 0..count {
            observe(&mut table, number, &[], Provenance::Signed, u64::from(number));
        }
        let mut rng = Seed::from_u64(7).stream("test");
        for target in [NodeId::from_bytes(target), table.own, table.random_id_in(near, &mut rng)] {
            let found: Vec<NodeId> =
                table.closest(&target, limit, |_| true).iter().map(|contact| contact.id).collect();
            let mut all: Vec<NodeId> = table
                .buckets()
                .iter()
                .flat_map(|bucket| bucket.entries().iter().map(|contact| contact.id))
                .collect();
            all.sort_by(|a, b| target.compare_distance(a, b));
            all.truncate(limit);
            prop_assert_eq!(found, all);
        }
    }

    /// No sequence of observations breaks an invariant or lets a gossiped address rank first.
    #[test]
    fn no_sequence_of_observations_breaks_an_invariant(
        steps in prop::collection::vec((0_u32..60, 0_u32..40, 0_u8..3, 0_u8..8), 1..300),
    ) {
        let mut table = table();
        let mut rng = Seed::from_u64(3).stream("test");
        for (second, (number, host, provenance, kind)) in steps.into_iter().enumerate() {
            let provenances = [Provenance::Gossiped, Provenance::Signed, Provenance::Verified];
            let provenance = provenances[usize::from(provenance)];
            let now = second as u64;
            match kind {
                0 => { table.dial_failed(&id(number), at(now), false, &mut rng); }
                1 => { table.purge(&id(number), at(now)); }
                2 => table.confirm(&id(number), at(now)),
                _ => { observe(&mut table, number, &[addr(host << 6)], provenance, now); }
            }
            table.check();
        }
    }
}
