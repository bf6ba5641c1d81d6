//! One k-bucket: up to twenty contacts and up to twenty that wait for a place.
//!
//! Responsible for: order, promotion, the two bounds. Never: who is admitted.

use super::contact::{Contact, Provenance};
use crate::NodeId;

/// Contacts in a bucket, and again in its replacement cache (Kademlia's k, PROTOCOL.md#k-buckets).
pub(crate) const K: usize = 20;

/// The contacts that share one prefix length with the node itself.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Last heard first; those never heard come last.
    entries: Vec<Contact>,
    /// Last mentioned first. Only ever occupied while `entries` is full.
    replacements: Vec<Contact>,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), replacements: Vec::new() }
    }

    pub(crate) fn entries(&self) -> &[Contact] {
        &self.entries
    }

    pub(crate) fn replacements(&self) -> &[Contact] {
        &self.replacements
    }

    pub(crate) fn contacts_mut(&mut self) -> impl Iterator<Item = &mut Contact> {
        self.entries.iter_mut().chain(&mut self.replacements)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= K
    }

    pub(crate) fn entry_mut(&mut self, id: &NodeId) -> Option<&mut Contact> {
        self.entries.iter_mut().find(|contact| contact.id == *id)
    }

    pub(crate) fn replacement_mut(&mut self, id: &NodeId) -> Option<&mut Contact> {
        self.replacements.iter_mut().find(|contact| contact.id == *id)
    }

    /// The entry to doubt first: the one heard least recently.
    pub(crate) fn least_recent(&self) -> Option<NodeId> {
        self.entries.last().map(|contact| contact.id)
    }

    /// Puts a contact in its place by the time it was last heard; of equals the newest comes first.
    pub(crate) fn insert(&mut self, contact: Contact) {
        debug_assert!(!self.is_full(), "the caller made room");
        let at = self
            .entries
            .iter()
            .position(|other| other.last_seen <= contact.last_seen)
            .unwrap_or(self.entries.len());
        grow(&mut self.entries);
        self.entries.insert(at, contact);
    }

    /// Restores the order after an entry was heard.
    pub(crate) fn touch(&mut self, id: &NodeId) {
        if let Some(at) = self.entries.iter().position(|contact| contact.id == *id) {
            let contact = self.entries.remove(at);
            self.insert(contact);
        }
    }

    /// Puts a contact first into the replacement cache. The one mentioned longest ago makes room.
    pub(crate) fn stash(&mut self, contact: Contact) {
        debug_assert!(self.is_full(), "replacements wait only for a full bucket");
        self.replacements.retain(|other| other.id != contact.id);
        self.replacements.truncate(K - 1);
        grow(&mut self.replacements);
        self.replacements.insert(0, contact);
    }

    /// Takes a contact out of the entries.
    pub(crate) fn remove(&mut self, id: &NodeId) -> Option<Contact> {
        let at = self.entries.iter().position(|contact| contact.id == *id)?;
        Some(self.entries.remove(at))
    }

    /// Takes a contact out of the replacement cache.
    pub(crate) fn unstash(&mut self, id: &NodeId) -> Option<Contact> {
        let at = self.replacements.iter().position(|contact| contact.id == *id)?;
        Some(self.replacements.remove(at))
    }

    /// Takes the freshest replacement, for promotion.
    pub(crate) fn next_replacement(&mut self) -> Option<Contact> {
        (!self.replacements.is_empty()).then(|| self.replacements.remove(0))
    }

    /// The entry that makes room for a newcomer, if one is worth less. First to go is whoever can
    /// not be dialed (THREATS.md#e29); then, for a newcomer that proved itself, the oldest entry
    /// that nobody but gossip vouches for (PROTOCOL.md#full-buckets).
    pub(crate) fn outdone_by(&self, newcomer: &Contact, provenance: Provenance) -> Option<NodeId> {
        let oldest = |is_worse: fn(&Contact) -> bool| {
            let worse = self.entries.iter().filter(|contact| is_worse(contact));
            worse.min_by_key(|contact| contact.mentioned).map(|contact| contact.id)
        };
        let undialable =
            newcomer.is_dialable().then(|| oldest(|contact| !contact.is_dialable())).flatten();
        let is_proven = provenance == Provenance::Verified;
        undialable.or_else(|| is_proven.then(|| oldest(|contact| !contact.is_verified())).flatten())
    }
}

/// Grows by a few places, because doubling would leave a third of a full table's memory unused.
fn grow(contacts: &mut Vec<Contact>) {
    const STEP: usize = 4;
    if contacts.len() == contacts.capacity() {
        contacts.reserve_exact(STEP);
    }
}
