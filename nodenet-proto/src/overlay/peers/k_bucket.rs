//! K-bucket (Kademlia §2.2): up to twenty contacts, and a replacement cache (§4.1) of up to twenty.
//!
//! Responsible for: order, promotion, the two bounds. Never: decides which contact is admitted.

use super::contact::{Contact, Provenance};
use crate::NodeId;

/// Contacts in a bucket, and again in its replacement cache (Kademlia's k, PROTOCOL.md#k-buckets).
pub(crate) const K: usize = 20;

/// The contacts that share one prefix length with the node itself.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Most recently seen first; those never seen come last.
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

    /// The entry to probe first: the least recently seen.
    pub(crate) fn least_recent(&self) -> Option<NodeId> {
        self.entries.last().map(|contact| contact.id)
    }

    /// Inserts a contact by the time it was last seen; of equals the newest comes first.
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

    /// Restores the order after an entry was seen.
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

    /// Removes a contact from the entries.
    pub(crate) fn remove(&mut self, id: &NodeId) -> Option<Contact> {
        let at = self.entries.iter().position(|contact| contact.id == *id)?;
        Some(self.entries.remove(at))
    }

    /// Removes a contact from the replacement cache.
    pub(crate) fn unstash(&mut self, id: &NodeId) -> Option<Contact> {
        let at = self.replacements.iter().position(|contact| contact.id == *id)?;
        Some(self.replacements.remove(at))
    }

    /// Removes the replacement that was mentioned last, for promotion.
    pub(crate) fn next_replacement(&mut self) -> Option<Contact> {
        (!self.replacements.is_empty()).then(|| self.replacements.remove(0))
    }

    /// The entry that makes room for a new contact, if one is worth less. An entry without an
    /// address goes first (THREATS.md#e29). For a verified contact the oldest entry that is only
    /// gossiped goes next (PROTOCOL.md#full-buckets).
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
