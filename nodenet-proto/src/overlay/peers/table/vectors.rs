//! Known answers of the reference's table, as scripts (its vectors `peers` and the peers part
//! of `edges`).
//!
//! The reference's scripts store contacts without a key. This table never does
//! (PROTOCOL.md#keyless-contacts), so they run with a hash under which every identifier is its own
//! key. The scripts about keys run with the real one. Addresses are taken as verified, because
//! others do not count here (PROTOCOL.md#subnet-shares). Host names are left out: they are never
//! stored. Where a new contact with an address has to wait, the bucket is full of contacts with
//! addresses, because others make room for it (THREATS.md#e29). `closest_120_random` is in
//! `closest`; what is dialed (`replacement_for`) and the rest of `edges` are in `topology::choose`.
//!
//! Not reproduced:
//!
//! - A contact without a key is let in, and refreshes a known one (`key_binding`, `admission_pow`;
//!   PROTOCOL.md#keyless-contacts).
//! - A mention with fewer fields erases those of a contact that waits
//!   (`restash_loses_learned_fields`, the overwriting of `replacement_cache_bound_and_overwrite`).
//!   The test here is of the remedy (PROTOCOL.md#full-buckets).
//! - A contact that is promoted comes first although it is older (`full_bucket_probe_confirm`;
//!   PROTOCOL.md#full-buckets).
//! - A zero leaves the capabilities as they are (`capabilities_replace_but_never_clear`). Here the
//!   peer's own zero clears them (see `tests`), so the script leaves it out.
//! - X25519 keys (`x_pub_only_via_bind`, `bind_on_stashed_candidate_survives_promotion`): the table
//!   keeps none, because nothing in the overlay needs one.
//! - Which bucket is refreshed (`refresh_targets`): the stalest of those that have entries, marked
//!   as done before its lookup ran (PROTOCOL.md#lookup-schedule). Every bucket up to the siblings',
//!   empty ones too, has a period of its own here (`schedule`). That the identifier asked for lies
//!   in the bucket is tested at the end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hex_literal::hex;

use super::*;
use crate::env::{Ed25519Crypto, Seed, test_base};
use crate::identity::Identity;

/// A hash under which an identifier is its own key.
pub(crate) struct OwnKey;

impl Crypto for OwnKey {
    fn hash(&self, _: &[&[u8]]) -> [u8; 32] {
        unreachable!("the table only hashes keys")
    }

    fn sign(&self, _: &Identity, _: &[u8]) -> [u8; 64] {
        unreachable!("the table signs nothing")
    }

    fn verify(&self, _: &[u8; 32], _: &[u8], _: &[u8; 64]) -> bool {
        unreachable!("the table verifies nothing")
    }

    fn node_id(&self, key: &[u8; 32]) -> NodeId {
        NodeId::from_bytes(*key)
    }
}

/// An address in a subnet of its own.
fn elsewhere(number: u16) -> Option<String> {
    Some(format!("203.0.{number}.1:1"))
}

/// One script: a table of the all-zero node and the reference's clock.
struct Script {
    table: ContactTable,
}

impl Script {
    fn new() -> Self {
        let mut table = ContactTable::new(NodeId::from_bytes([0; 32]), 0, test_base());
        // The reference has no share per bucket and only one width.
        table.caps = SubnetCaps { table: [8, usize::MAX, usize::MAX], bucket: [usize::MAX; 3] };
        Self { table }
    }

    fn at(second: u64) -> Instant {
        test_base() + Duration::from_secs(second)
    }

    fn observe_with_caps(&mut self, id: NodeId, caps: u32, addrs: &[&str], second: u64) -> Outcome {
        let addrs: Vec<SocketAddr> = addrs.iter().map(|text| text.parse().unwrap()).collect();
        let provenance = if addrs.is_empty() { Provenance::Signed } else { Provenance::Verified };
        let caps = Some(caps).filter(|caps| *caps != 0);
        let seen = Observation { id, key: *id.as_bytes(), caps, addrs: &addrs, provenance };
        let outcome = self.table.observe(&seen, Self::at(second), &OwnKey);
        self.table.check();
        outcome
    }

    fn observe(&mut self, id: NodeId, addrs: &[&str], second: u64) -> Outcome {
        self.observe_with_caps(id, 0, addrs, second)
    }

    /// The reference's bucket 10, full: twenty contacts seen a second apart.
    fn with_full_bucket(addr: impl Fn(u16) -> Option<String>) -> Self {
        let mut script = Self::new();
        for number in 0..20 {
            let addr = addr(number);
            let addrs: Vec<&str> = addr.as_deref().into_iter().collect();
            let outcome = script.observe(member(number), &addrs, u64::from(number));
            assert_eq!(outcome, Outcome::Inserted);
        }
        script
    }

    fn entries(&self) -> Vec<NodeId> {
        self.table.buckets[10].entries().iter().map(|contact| contact.id).collect()
    }

    fn replacements(&self) -> Vec<NodeId> {
        self.table.buckets[10].replacements().iter().map(|contact| contact.id).collect()
    }

    fn mark_dead(&mut self, number: u16, second: u64) -> Option<NodeId> {
        let promoted = self.table.purge(&member(number), Self::at(second));
        self.table.check();
        promoted
    }

    fn subnet_count(&self, ip: &str) -> usize {
        let wanted = Subnet::counted(ip.parse().unwrap()).unwrap();
        let entries = self.table.buckets.iter().flat_map(Bucket::entries);
        entries.filter(|contact| contact.counted_subnet() == Some(wanted)).count()
    }

    fn first_addr(&self, id: &NodeId) -> Option<String> {
        self.table.get(id)?.addrs().next().map(|addr| addr.to_string())
    }
}

fn needs_probe(outcome: Outcome, wanted: NodeId) -> bool {
    matches!(outcome, Outcome::NeedProbe { incumbent, .. } if incumbent == wanted)
}

/// Member `number` of bucket 10.
fn member(number: u16) -> NodeId {
    let mut bytes = [0; 32];
    bytes[1] = 0x20;
    bytes[30..].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// A contact alone in its bucket.
fn alone(bucket: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[bucket / 8] = 0x80 >> (bucket % 8);
    NodeId::from_bytes(bytes)
}

fn members(numbers: impl IntoIterator<Item = u16>) -> Vec<NodeId> {
    numbers.into_iter().map(member).collect()
}

#[test]
fn insert_refresh_and_order() {
    let mut script = Script::new();
    assert_eq!(script.observe(NodeId::from_bytes([0; 32]), &[], 0), Outcome::Ignored);
    assert_eq!(script.table.len(), 0);
    for number in 1..=3 {
        assert_eq!(script.observe(member(number), &[], u64::from(number) - 1), Outcome::Inserted);
    }
    assert_eq!(script.entries(), members([3, 2, 1]));
    assert_eq!(script.observe(member(1), &[], 3), Outcome::Refreshed);
    assert_eq!(script.entries(), members([1, 3, 2]));
    assert!(script.table.get(&NodeId::from_bytes([0; 32])).is_none());
    assert_eq!(script.table.len(), 3);
}

#[test]
fn key_binding() {
    let own = NodeId::from_bytes([0xff; 32]);
    let mut table = ContactTable::new(own, 0, test_base());
    let id = NodeId::from_bytes(hex!(
        "4e7774ad5e0d87f293ce33fd147608be69d66301bdc551b8a129fd55721117a8"
    ));
    let key = hex!("9d47754b12f0b21ae4b3f2dce227fd70d7a0066af4eea6d493104e994f3e5924");
    let other = hex!("8221806d56c9bab7088d5584382195ea1e8508d143577a9f289494c440b23d84");
    let mut observe = |id, key| {
        let provenance = Provenance::Signed;
        let seen = Observation { id, key, caps: None, addrs: &[], provenance };
        table.observe(&seen, test_base(), &Ed25519Crypto)
    };
    assert_eq!(observe(id, other), Outcome::Rejected);
    assert_eq!(observe(NodeId::from_bytes([1; 32]), other), Outcome::Rejected);
    assert_eq!(observe(id, key), Outcome::Inserted);
    assert_eq!(observe(id, other), Outcome::Rejected, "a wrong key never touches an entry");
    assert_eq!(table.get(&id).map(|contact| contact.key), Some(key));
    assert_eq!(table.len(), 1);
}

#[test]
fn capabilities_replace_but_never_clear() {
    let mut script = Script::new();
    let caps = |script: &Script| script.table.get(&member(1)).map(|contact| contact.caps);
    script.observe_with_caps(member(1), 1, &[], 0);
    script.observe_with_caps(member(1), 0, &[], 1);
    assert_eq!(caps(&script), Some(1));
    script.observe_with_caps(member(1), 2, &[], 2);
    assert_eq!(caps(&script), Some(2));
}

#[test]
fn admission_pow() {
    let mut table = ContactTable::new(NodeId::from_bytes([0xc0; 32]), 4, test_base());
    let enough = hex!("784771a4f37601413bffb21af80d21c9b39e3191b5bd06dbc99d3019e9c2a0ed");
    let too_little = hex!("486c36de7562ff0fb612a74e6b69dd8fd2ac45c334f1bce80a85a1257b130877");
    let mut observe = |key| {
        let (id, provenance) = (Ed25519Crypto.node_id(&key), Provenance::Signed);
        let seen = Observation { id, key, caps: None, addrs: &[], provenance };
        table.observe(&seen, test_base(), &Ed25519Crypto)
    };
    assert_eq!(observe(enough), Outcome::Inserted);
    assert_eq!(observe(enough), Outcome::Refreshed);
    assert_eq!(observe(too_little), Outcome::Rejected);
    assert_eq!(table.len(), 1);
    table.check();
}

#[test]
fn full_bucket_probe_confirm() {
    let mut script = Script::with_full_bucket(|_| None);
    assert_eq!(script.entries(), members((0..20).rev()));
    for (number, second) in [(100, 30), (101, 31), (102, 32), (100, 33)] {
        let outcome = script.observe(member(number), &[], second);
        assert!(needs_probe(outcome, member(0)));
    }
    assert_eq!(script.replacements(), members([100, 102, 101]));
    script.table.confirm(&member(0), Script::at(34));
    assert_eq!(script.entries()[0], member(0));
    assert_eq!(script.replacements().len(), 3, "they stay cached");
    // The reference puts the promoted contact first; here it takes its place by time
    // (PROTOCOL.md#full-buckets).
    assert_eq!(script.mark_dead(1, 35), Some(member(100)));
    assert_eq!(script.entries()[..2], members([0, 100]));
    assert_eq!(script.replacements(), members([102, 101]));
    assert!(script.table.get(&member(1)).is_none());
    assert_eq!(script.mark_dead(1, 36), None);
    assert_eq!(script.table.len(), 20);
    assert_eq!(script.mark_dead(101, 37), None, "only a replacement");
    assert_eq!(script.mark_dead(2, 38), Some(member(102)));
    assert_eq!(script.mark_dead(3, 39), None);
    assert_eq!(script.table.len(), 19);
}

#[test]
fn replacement_cache_bound() {
    let mut script = Script::with_full_bucket(|_| None);
    for number in 200..221 {
        let outcome = script.observe(member(number), &[], u64::from(number));
        assert!(needs_probe(outcome, member(0)));
    }
    assert_eq!(script.replacements(), members((201..221).rev()));
    assert_eq!(script.mark_dead(0, 300), Some(member(220)));
    assert_eq!(script.entries()[0], member(220));
    assert_eq!(script.replacements(), members((201..220).rev()));
}

/// The reference loses them (PROTOCOL.md#full-buckets).
#[test]
fn restash_keeps_learned_fields() {
    let mut script = Script::with_full_bucket(elsewhere);
    script.observe_with_caps(member(200), 1, &["192.0.2.1:1"], 50);
    script.observe(member(200), &[], 51);
    assert_eq!(script.mark_dead(3, 52), Some(member(200)));
    assert_eq!(script.table.get(&member(200)).map(|contact| contact.caps), Some(1));
    assert_eq!(script.first_addr(&member(200)).as_deref(), Some("192.0.2.1:1"));
}

#[test]
fn subnet_cap_table_wide() {
    let mut script = Script::new();
    for number in 0..8 {
        let addr = format!("192.0.2.{}:4242", number + 1);
        assert_eq!(script.observe(alone(number + 1), &[&addr], 0), Outcome::Inserted);
    }
    assert_eq!(script.subnet_count("192.0.2.0"), 8);
    assert_eq!(script.observe(alone(40), &["192.0.2.99:1"], 1), Outcome::Rejected);
    assert_eq!(script.observe(alone(41), &[], 1), Outcome::Inserted);
    script.observe(alone(41), &["192.0.2.77:1"], 2);
    assert_eq!(script.subnet_count("192.0.2.0"), 8, "the rest of the observation counts, this not");

    script.observe(alone(1), &["198.51.100.1:1"], 3);
    assert_eq!(script.subnet_count("192.0.2.0"), 7);
    assert_eq!(script.subnet_count("198.51.100.0"), 1);
    assert_eq!(script.observe(alone(40), &["192.0.2.99:1"], 4), Outcome::Inserted);
    assert_eq!(script.subnet_count("192.0.2.0"), 8);

    script.table.purge(&alone(1), Script::at(5));
    assert_eq!(script.subnet_count("198.51.100.0"), 0);
    script.observe(alone(42), &["[2001:db8:0:1::1]:1"], 6);
    assert_eq!(script.subnet_count("2001:db8:0:1::"), 1);
    script.observe(alone(2), &["192.0.2.200:9"], 7);
    assert_eq!(script.first_addr(&alone(2)).as_deref(), Some("192.0.2.200:9"));
    assert_eq!(script.subnet_count("192.0.2.0"), 8, "a new address in the same subnet is no more");
    script.observe(alone(2), &[], 8);
    assert_eq!(script.first_addr(&alone(2)).as_deref(), Some("192.0.2.200:9"));
}

#[test]
fn subnet_cap_checked_before_full_bucket() {
    let mut script =
        Script::with_full_bucket(|number| (number < 8).then(|| "192.0.2.1:1".to_owned()));
    assert_eq!(script.observe(member(100), &["192.0.2.9:1"], 40), Outcome::Rejected);
    assert_eq!(script.replacements(), []);
}

#[test]
fn promotion_discards_candidates_over_subnet_cap() {
    let mut script = Script::with_full_bucket(elsewhere);
    script.observe(member(100), &[], 40);
    script.observe(member(101), &["192.0.2.200:1"], 41);
    for bucket in 20..28 {
        script.observe(alone(bucket), &["192.0.2.1:1"], 42);
    }
    assert_eq!(script.mark_dead(4, 43), Some(member(100)));
    assert_eq!(script.replacements(), []);
}

#[test]
fn promotion_allows_candidates_within_the_cap() {
    let mut script = Script::with_full_bucket(elsewhere);
    script.observe(member(101), &["192.0.2.200:1"], 41);
    for bucket in 20..27 {
        script.observe(alone(bucket), &["192.0.2.1:1"], 42);
    }
    assert_eq!(script.mark_dead(4, 43), Some(member(101)));
}

#[test]
fn a_random_identifier_shares_exactly_the_prefix_of_its_bucket() {
    let mut rng = Seed::from_u64(1).stream("test");
    let own = NodeId::from_bytes(rng.array());
    let table = ContactTable::new(own, 0, test_base());
    for bucket in 0..256 {
        let id = table.random_id_in(bucket, &mut rng);
        assert_eq!(usize::from(own.common_prefix_len(&id)), bucket);
    }
}
