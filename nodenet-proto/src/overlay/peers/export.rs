//! Export of peers for a restart (PROTOCOL.md#export).
//!
//! Responsible for: a choice that leads back into the network even if every bootstrap contact is
//! gone. Never: stores it; the application does.

use core::cmp::Reverse;

use super::{Contact, ContactTable, Peers, Provenance};
use crate::NodeId;
use crate::addr::{Subnet, Tier};
use crate::api::KnownPeer;
use crate::overlay::edges::EdgeTable;
use crate::transport::Conns;
use crate::wire::Capabilities;

/// Contacts in one export, at most (a guess: the file is small; PROTOCOL.md#export).
const EXPORT_MAX: usize = 128;
/// Contacts of one subnet, at most.
const PER_SUBNET: usize = 2;

impl Peers {
    /// Contacts worth keeping, best first. Live edges whose address is not known from a dial or a
    /// signature come last, at the current address of their conn. A peer that opened its conn signs
    /// its addresses only when it is asked, half a minute later. A NAT between may still let this
    /// node through.
    pub(crate) fn export(&self, edges: &EdgeTable, conns: &dyn Conns) -> Vec<KnownPeer> {
        let known = |contact: &Contact| KnownPeer {
            id: contact.id,
            key: contact.key,
            addrs: contact.own_addrs().collect(),
        };
        let is_live = |peer: &NodeId| edges.get(peer).is_some();
        let mut peers: Vec<KnownPeer> =
            choose(&self.table, is_live).into_iter().map(known).collect();
        let mut subnets: Vec<Subnet> = Vec::new();
        for edge in edges.iter() {
            if peers.len() == EXPORT_MAX {
                break;
            }
            let Some(path) = conns.path(edge.send_conn().id) else { continue };
            if peers.iter().any(|peer| peer.id == edge.peer) {
                continue;
            }
            if let Some(subnet) = Subnet::counted(path.remote.ip()) {
                let crowd =
                    subnets.iter().filter(|other| Tier::Link.joins(subnet, **other)).count();
                if crowd == PER_SUBNET {
                    continue;
                }
                subnets.push(subnet);
            }
            peers.push(KnownPeer { id: edge.peer, key: edge.key, addrs: vec![path.remote] });
        }
        peers
    }
}

/// Contacts with a verified address, then those that only signed theirs. A node with inbound edges
/// alone, apart from its bootstrap contacts, has only the latter. Of either, live ones come first,
/// among them those that any node can dial. They are taken from every bucket in turn, so that a
/// part of them is as spread as the whole. Gossiped addresses are left out.
fn choose(peers: &ContactTable, is_live: impl Fn(&NodeId) -> bool) -> Vec<&Contact> {
    let is_anchor = |contact: &Contact| Capabilities(contact.caps).has(Capabilities::PUBLIC_ANCHOR);
    let worth =
        |contact: &Contact| (contact.provenance(), is_live(&contact.id), is_anchor(contact));
    let mut ranked = Vec::new();
    for (bucket, contacts) in peers.buckets().iter().enumerate() {
        let is_self_reported =
            |contact: &&Contact| contact.provenance() >= Some(Provenance::Signed);
        let mut contacts: Vec<&Contact> =
            contacts.entries().iter().filter(is_self_reported).collect();
        contacts.sort_by_key(|contact| (Reverse(worth(contact)), contact.rtt_ms));
        ranked.extend(contacts.into_iter().enumerate().map(|(rank, contact)| {
            let (provenance, is_live, is_anchor) = worth(contact);
            ((Reverse((provenance, is_live)), rank, !is_anchor, bucket), contact)
        }));
    }
    ranked.sort_by_key(|(order, _)| *order);
    let mut chosen: Vec<&Contact> = Vec::new();
    for (_, contact) in ranked {
        let crowd = contact.dial_subnet().map_or(0, |subnet| {
            let others = chosen.iter().filter_map(|other| other.dial_subnet());
            others.filter(|other| Tier::Link.joins(subnet, *other)).count()
        });
        if crowd < PER_SUBNET && chosen.len() < EXPORT_MAX {
            chosen.push(contact);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::env::{Crypto, Ed25519Crypto, test_base};
    use crate::overlay::peers::Observation;

    fn key(number: u16) -> [u8; 32] {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        key
    }

    fn id(number: u16) -> NodeId {
        Ed25519Crypto.node_id(&key(number))
    }

    /// A table whose own identifier shares no bit with any peer here: one bucket, in which order
    /// shows.
    fn table() -> ContactTable {
        ContactTable::new(NodeId::from_bytes([0; 32]), 0, test_base())
    }

    /// Numbers of peers in the bucket farthest from the table's owner.
    fn far() -> impl Iterator<Item = u16> {
        (0..).filter(|number| id(*number).leading_zeros() == 0)
    }

    fn add(table: &mut ContactTable, number: u16, subnet: u16, caps: u32, provenance: Provenance) {
        let [high, low] = subnet.to_be_bytes();
        let addrs: [SocketAddr; 1] = [([11, high, low, number as u8], 4242).into()];
        let (id, key, caps) = (id(number), key(number), Some(caps));
        let seen = Observation { id, key, caps, addrs: &addrs, provenance };
        table.observe(&seen, test_base(), &Ed25519Crypto);
    }

    fn export(table: &ContactTable, live: &[u16]) -> Vec<NodeId> {
        let live: Vec<NodeId> = live.iter().map(|number| id(*number)).collect();
        choose(table, |peer| live.contains(peer)).into_iter().map(|contact| contact.id).collect()
    }

    #[test]
    fn verified_peers_come_first_then_live_ones_then_anchors() {
        let mut table = table();
        let n: Vec<u16> = far().take(7).collect();
        let anchor = Capabilities::PUBLIC_ANCHOR.0;
        add(&mut table, n[0], 0, 0, Provenance::Gossiped);
        add(&mut table, n[1], 1, anchor, Provenance::Signed);
        add(&mut table, n[2], 2, 0, Provenance::Signed);
        add(&mut table, n[3], 3, 0, Provenance::Verified);
        add(&mut table, n[4], 4, anchor, Provenance::Verified);
        add(&mut table, n[5], 5, 0, Provenance::Verified);
        add(&mut table, n[6], 6, anchor, Provenance::Verified);
        let expected = [n[6], n[5], n[4], n[3], n[2], n[1]].map(id);
        assert_eq!(export(&table, &[n[2], n[5], n[6]]), expected);
    }

    #[test]
    fn every_bucket_gives_its_best_before_any_gives_its_second() {
        let mut table = table();
        for number in 0..200 {
            add(&mut table, number, number, 0, Provenance::Verified);
        }
        let buckets: Vec<u16> = export(&table, &[]).iter().map(NodeId::leading_zeros).collect();
        let count = table.buckets().iter().filter(|bucket| !bucket.entries().is_empty()).count();
        assert!(count >= 5);
        assert!(buckets[..count].is_sorted_by(|a, b| a < b), "{buckets:?}");
    }

    #[test]
    fn an_export_is_bounded_and_no_subnet_has_more_than_two_in_it() {
        let mut table = table();
        for number in 0..40 {
            add(&mut table, number, number / 4, 0, Provenance::Signed);
        }
        for number in 40..1_000 {
            add(&mut table, number, number, 0, Provenance::Verified);
        }
        let chosen = choose(&table, |_| true);
        assert!(chosen.len() <= EXPORT_MAX);
        for contact in &chosen {
            let subnet = |contact: &Contact| contact.dial_subnet().expect("it has an address");
            let joined =
                chosen.iter().filter(|c| Tier::Link.joins(subnet(c), subnet(contact))).count();
            assert!(joined <= PER_SUBNET);
        }
        let only_claims = {
            let mut table = self::table();
            far().take(12).for_each(|n| add(&mut table, n, 7, 0, Provenance::Signed));
            export(&table, &[])
        };
        assert_eq!(only_claims.len(), PER_SUBNET, "claims of one subnet are bounded as well");
    }
}
