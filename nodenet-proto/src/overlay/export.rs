//! Which peers are worth remembering across a restart (spec 80 §7).
//!
//! Responsible for: a choice that leads back into the network even if every bootstrap contact is gone.
//! Never: stores it; where it lies is the application's business.

use super::Overlay;
use super::knowledge::{Contact, Provenance};
use super::subnet::Tier;
use crate::engine::KnownPeer;
use crate::wire::Capabilities;

/// Peers in one export, at most (spec 80 §7 proposes 64; the file is small).
const EXPORT_MAX: usize = 128;
/// Of one subnet, at most.
const PER_SUBNET: usize = 2;

impl Overlay {
    /// Peers that proved themselves at an address: live ones first, among them those that anybody can
    /// dial, and taken from every bucket in turn, so that a part of them is as spread as the whole.
    pub(crate) fn export(&self) -> Vec<KnownPeer> {
        let mut ranked: Vec<(usize, bool, bool, u16, &Contact)> = Vec::new();
        for (bucket, contacts) in self.knowledge.buckets().iter().enumerate() {
            let mut proven: Vec<&Contact> = contacts
                .entries()
                .iter()
                .filter(|contact| contact.provenance() == Some(Provenance::Proven))
                .collect();
            let is_live = |contact: &Contact| self.edges.get(&contact.id).is_some();
            let is_anchor =
                |contact: &Contact| Capabilities(contact.caps).has(Capabilities::PUBLIC_ANCHOR);
            proven.sort_by_key(|contact| (!is_live(contact), !is_anchor(contact), contact.rtt_ms));
            ranked.extend(proven.into_iter().enumerate().map(|(rank, contact)| {
                (rank, !is_live(contact), !is_anchor(contact), bucket as u16, contact)
            }));
        }
        ranked.sort_by_key(|&(rank, dead, hidden, bucket, _)| (dead, rank, hidden, bucket));
        let mut chosen: Vec<&Contact> = Vec::new();
        for (.., contact) in ranked {
            let crowd = contact.counted_subnet().map_or(0, |subnet| {
                let others = chosen.iter().filter_map(|other| other.counted_subnet());
                others.filter(|other| Tier::Link.joins(subnet, *other)).count()
            });
            if crowd < PER_SUBNET && chosen.len() < EXPORT_MAX {
                chosen.push(contact);
            }
        }
        let known = |contact: &Contact| KnownPeer {
            id: contact.id,
            key: contact.key,
            addrs: contact.own_addrs().collect(),
        };
        chosen.into_iter().map(known).collect()
    }
}
