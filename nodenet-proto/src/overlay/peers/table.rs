//! Contact table: k-buckets of contacts, each with a replacement cache (PROTOCOL.md#k-buckets).
//!
//! Responsible for: admission, provenance, order, caps, the nearest contacts to a target. Never:
//! sends, dials or sets a timer; it names a contact to probe, and the parent does it.
//!
//! A contact enters because another node mentioned it ([`Provenance::Gossiped`]), because it signed
//! something ([`Provenance::Signed`]), or because it proved its identifier on a conn
//! ([`Provenance::Verified`]). Only the last two come from the peer itself: they refresh the
//! contact, set its capabilities and its own addresses. Gossip adds candidates only
//! (PROTOCOL.md#provenance). A contact is evicted when dialing it failed for long enough, and
//! gossip does not bring it back for a while.

mod closest;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

#[cfg(test)]
pub(crate) use self::vectors::OwnKey;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::contact::{ADDRS_MAX, Contact, Provenance, Tick};
use super::evicted::Evicted;
use super::k_bucket::{Bucket, K};
use crate::NodeId;
use crate::addr::{Subnet, Tier};
use crate::env::{Crypto, Random, backoff};
use crate::wire::Capabilities;

/// Longest wait between dials to one that did answer before. Shorter than the reference's, so that
/// two halves of a healed network find one another within a minute or two (a choice of this
/// project).
const BACKOFF_VERIFIED_MAX: Duration = Duration::from_secs(60);
/// Failures in a row after which a contact that never answered is evicted: the third, about three
/// seconds of waiting. The reference takes eleven. Mentions by others bring an honest contact back,
/// and dead ones must not fill answers (PROTOCOL.md#failed-dials).
const FAILURES_MAX: u8 = 3;
/// Failures in a row after which a contact that did answer before is evicted. At the ceiling of
/// [`BACKOFF_VERIFIED_MAX`] that is a little over a quarter of an hour, as the reference's 14
/// minutes.
const FAILURES_VERIFIED_MAX: u8 = 20;

/// A peer to which an edge was closed is not dialed for this long (PROTOCOL.md#hold-off).
pub(crate) const HOLD_OFF: Duration = Duration::from_secs(60);

/// For how long a peer counts as one that did answer before.
const VERIFIED_FOR: Duration = Duration::from_secs(30 * 60);

/// How many confirmed contacts may share a failure domain, by [`Tier`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubnetCaps {
    /// In the whole table. The /24 and /64 are the reference's 8 (PROTOCOL.md#subnet-shares); the
    /// wider ones a guess.
    pub(crate) table: [usize; 3],
    /// In one bucket; a guess: a fifth of it at the narrowest.
    pub(crate) bucket: [usize; 3],
}

impl Default for SubnetCaps {
    fn default() -> Self {
        Self { table: [8, 16, 32], bucket: [4, 6, 8] }
    }
}

/// A statement about a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observation<'a> {
    /// The peer.
    pub(crate) id: NodeId,
    /// Its key; must hash to `id`.
    pub(crate) key: [u8; 32],
    /// Its capability bits, if the source states them.
    pub(crate) caps: Option<u32>,
    /// Its addresses: dialable literals only, best first.
    pub(crate) addrs: &'a [SocketAddr],
    /// The source.
    pub(crate) provenance: Provenance,
}

/// The result of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was about this node itself.
    Ignored,
    /// The key does not match, the work is missing, or the subnet has its share. Or the peer was
    /// evicted a while ago, and it is only gossiped again.
    Rejected,
    /// The contact is new.
    Inserted,
    /// The contact was known.
    Refreshed,
    /// The bucket is full: the contact waits.
    NeedProbe {
        /// The entry to probe.
        incumbent: NodeId,
        /// Whether the contact waited already.
        known: bool,
    },
}

/// The contacts of one node.
#[derive(Debug)]
pub(crate) struct ContactTable {
    own: NodeId,
    difficulty: u16,
    caps: SubnetCaps,
    epoch: Instant,
    /// By common prefix length with `own`; grows to the deepest that was ever needed.
    buckets: Vec<Bucket>,
    /// Number of entries.
    len: usize,
    evicted: Evicted,
}

impl ContactTable {
    /// An empty table of the node `own`.
    pub(crate) fn new(own: NodeId, difficulty: u16, now: Instant) -> Self {
        Self {
            own,
            difficulty,
            caps: SubnetCaps::default(),
            epoch: now,
            buckets: Vec::new(),
            len: 0,
            evicted: Evicted::default(),
        }
    }

    /// Takes an observation.
    pub(crate) fn observe(
        &mut self,
        seen: &Observation<'_>,
        now: Instant,
        crypto: &dyn Crypto,
    ) -> Outcome {
        if seen.id == self.own {
            return Outcome::Ignored;
        }
        let tick = self.tick(now);
        let index = self.index(&seen.id);
        let proven_fits = self.subnet_fits(seen, index);
        let known = self.buckets.get_mut(index).and_then(|bucket| bucket.entry_mut(&seen.id));
        if let Some(entry) = known {
            if entry.key != seen.key {
                return Outcome::Rejected;
            }
            learn(entry, seen, tick, proven_fits);
            if seen.provenance > Provenance::Gossiped {
                self.buckets[index].touch(&seen.id);
            }
            return Outcome::Refreshed;
        }
        if !self.admits(seen, tick, crypto) || !proven_fits {
            return Outcome::Rejected;
        }
        self.admit(seen, index, tick)
    }

    /// Adds a new contact that passed every check: an entry if there is room, else a replacement.
    fn admit(&mut self, seen: &Observation<'_>, index: usize, tick: Tick) -> Outcome {
        while self.buckets.len() <= index {
            self.buckets.push(Bucket::new());
        }
        let bucket = &mut self.buckets[index];
        let stashed = bucket.unstash(&seen.id);
        let known = stashed.is_some();
        let mut contact = stashed.unwrap_or_else(|| Contact::new(seen.id, seen.key));
        learn(&mut contact, seen, tick, true);
        if bucket.is_full()
            && let Some(outdone) = bucket.outdone_by(&contact, seen.provenance)
        {
            bucket.remove(&outdone);
            self.len -= 1;
        }
        if bucket.is_full() {
            bucket.stash(contact);
            let incumbent = bucket.least_recent().expect("a full bucket has entries");
            return Outcome::NeedProbe { incumbent, known };
        }
        bucket.insert(contact);
        self.len += 1;
        Outcome::Inserted
    }

    /// The contact is alive, and its failures are over.
    pub(crate) fn confirm(&mut self, id: &NodeId, now: Instant) {
        let tick = self.tick(now);
        let Some(bucket) = self.bucket_mut(id) else { return };
        if let Some(entry) = bucket.entry_mut(id) {
            entry.last_seen = entry.last_seen.max(tick);
            entry.failures = 0;
            entry.retry_at = Tick::NEVER;
            bucket.touch(id);
        }
    }

    /// Notes the round-trip time measured on a connection to the contact.
    pub(crate) fn measure_rtt(&mut self, id: &NodeId, rtt_ms: u16) {
        if let Some(contact) = self.contact_mut(id) {
            contact.rtt_ms = rtt_ms;
        }
    }

    /// The contact itself announced its capabilities, which answers pass on.
    pub(crate) fn learn_caps(&mut self, id: &NodeId, caps: u32) {
        if let Some(contact) = self.contact_mut(id) {
            (contact.caps, contact.caps_self_reported) = (caps, true);
        }
    }

    /// A dial to the contact failed. The contact waits, longer each time; one that failed too often
    /// is evicted. Returns true if it was.
    ///
    /// A node that is `isolated` evicts no contact: if none answers, the cause may be at this node.
    pub(crate) fn dial_failed(
        &mut self,
        id: &NodeId,
        now: Instant,
        isolated: bool,
        rng: &mut Random,
    ) -> bool {
        let tick = self.tick(now);
        let Some(contact) = self.contact_mut(id) else { return false };
        let (patience, ceiling) = if tick.since(contact.last_seen) <= VERIFIED_FOR {
            (FAILURES_VERIFIED_MAX, BACKOFF_VERIFIED_MAX)
        } else {
            (FAILURES_MAX, backoff::CEILING)
        };
        contact.failures = contact.failures.saturating_add(1);
        if isolated {
            contact.failures = contact.failures.min(patience - 1);
        }
        if contact.failures >= patience {
            self.purge(id, now);
            return true;
        }
        let wait = backoff::wait(u32::from(contact.failures - 1), ceiling);
        let retry_at = tick.plus(rng.jitter(wait, backoff::JITTER_PERCENT));
        contact.retry_at = retry_at;
        false
    }

    /// The contact is not to be dialed for this long.
    pub(crate) fn hold_off(&mut self, id: &NodeId, now: Instant, span: Duration) {
        let until = self.tick(now).plus(span);
        if let Some(contact) = self.contact_mut(id) {
            contact.retry_at = contact.retry_at.max(until);
        }
    }

    /// Cuts every hold-off to the usual time from now on. Contacts that failed keep their wait.
    pub(crate) fn shorten_hold_offs(&mut self, now: Instant, rng: &mut Random) {
        let until = self.tick(now).plus(rng.jitter(HOLD_OFF, 20));
        for bucket in &mut self.buckets {
            for contact in bucket.contacts_mut().filter(|contact| contact.failures == 0) {
                contact.retry_at = contact.retry_at.min(until);
            }
        }
    }

    /// Another node answered at this address.
    pub(crate) fn forget_addr(&mut self, id: &NodeId, addr: SocketAddr) {
        if let Some(contact) = self.contact_mut(id) {
            contact.remove_addr(addr);
        }
    }

    /// Evicts a contact, ignores gossip about it for a while, and promotes a replacement, whose
    /// identifier is returned.
    pub(crate) fn purge(&mut self, id: &NodeId, now: Instant) -> Option<NodeId> {
        let tick = self.tick(now);
        let bucket = self.bucket_mut(id)?;
        if bucket.remove(id).is_none() {
            if bucket.unstash(id).is_some() {
                self.evicted.insert(*id, tick);
            }
            return None;
        }
        self.len -= 1;
        self.evicted.insert(*id, tick);
        self.promote(self.index(id))
    }

    /// Fills a free place from the replacement cache. A candidate over its subnet's share is
    /// dropped.
    fn promote(&mut self, index: usize) -> Option<NodeId> {
        while let Some(contact) = self.buckets[index].next_replacement() {
            let subnet = contact.counted_subnet();
            let fits = subnet.is_none_or(|subnet| self.has_room(subnet, index, &contact.id));
            if fits {
                let id = contact.id;
                self.buckets[index].insert(contact);
                self.len += 1;
                return Some(id);
            }
        }
        None
    }

    /// The contact, if it is an entry.
    pub(crate) fn get(&self, id: &NodeId) -> Option<&Contact> {
        self.buckets.get(self.index(id))?.entries().iter().find(|contact| contact.id == *id)
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Number of contacts that wait for a place.
    pub(crate) fn replacements(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.replacements().len()).sum()
    }

    /// Number of contacts evicted recently.
    pub(crate) fn evicted(&self) -> usize {
        self.evicted.len()
    }

    /// Every bucket, from the shortest common prefix on.
    pub(crate) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The contacts of the given buckets that may be dialed now: they have an address and do not
    /// back off. Entries and replacements alike.
    pub(crate) fn candidates(
        &self,
        now: Instant,
        is_wanted: impl Fn(u16) -> bool,
    ) -> impl Iterator<Item = &Contact> {
        let tick = self.tick(now);
        let may_be_dialed =
            move |contact: &&Contact| contact.is_dialable() && contact.retry_at <= tick;
        self.contacts_in(is_wanted).filter(may_be_dialed)
    }

    /// How long until the next contact that backs off may be dialed again, of the given contacts in
    /// the given buckets.
    pub(crate) fn next_retry(
        &self,
        now: Instant,
        is_bucket_wanted: impl Fn(u16) -> bool,
        is_wanted: impl Fn(&Contact) -> bool,
    ) -> Option<Duration> {
        let tick = self.tick(now);
        let waiting = self.contacts_in(is_bucket_wanted).filter(|contact| contact.retry_at > tick);
        let wanted = waiting.filter(|contact| is_wanted(contact));
        wanted.map(|contact| contact.retry_at).min().map(|next| next.since(tick))
    }

    /// Entries and replacements of the given buckets.
    fn contacts_in(&self, is_wanted: impl Fn(u16) -> bool) -> impl Iterator<Item = &Contact> {
        let wanted = self.buckets.iter().zip(0..).filter(move |(_, index)| is_wanted(*index));
        wanted.flat_map(|(bucket, _)| bucket.entries().iter().chain(bucket.replacements()))
    }

    /// The contact, as an entry or as a replacement.
    pub(crate) fn find(&self, id: &NodeId) -> Option<&Contact> {
        let bucket = self.buckets.get(self.index(id))?;
        bucket.entries().iter().chain(bucket.replacements()).find(|contact| contact.id == *id)
    }

    /// Whether this peer is a contact that announces that any node can dial it.
    pub(crate) fn is_anchor(&self, id: &NodeId) -> bool {
        let anchor = Capabilities::PUBLIC_ANCHOR;
        self.find(id).is_some_and(|contact| Capabilities(contact.caps).has(anchor))
    }

    /// Whether a contact in the bucket of `id` would find a place at once.
    pub(crate) fn has_place(&self, id: &NodeId) -> bool {
        self.buckets.get(self.index(id)).is_none_or(|bucket| !bucket.is_full())
    }

    /// `now` in the table's own unit.
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        Tick::at(self.epoch, now)
    }

    /// A random identifier that shares exactly `index` leading bits with this node's.
    ///
    /// # Panics
    /// If `index` is 256 or more.
    pub(crate) fn random_id_in(&self, index: usize, rng: &mut Random) -> NodeId {
        let mut bytes: [u8; 32] = rng.array();
        let own = self.own.as_bytes();
        let (byte, bit) = (index / 8, index % 8);
        bytes[..byte].copy_from_slice(&own[..byte]);
        let shared = !(0xff_u8 >> bit);
        let differing = 0x80_u8 >> bit;
        bytes[byte] =
            (own[byte] & shared) | (!own[byte] & differing) | (bytes[byte] & !(shared | differing));
        NodeId::from_bytes(bytes)
    }

    /// Asserts the invariants (PROTOCOL.md#k-buckets, THREATS.md#invariants).
    ///
    /// # Panics
    /// If one does not hold, which is a bug here.
    pub(crate) fn check(&self) {
        self.evicted.check();
        assert_eq!(self.len, self.buckets.iter().map(|bucket| bucket.entries().len()).sum());
        assert!(self.buckets.len() <= 256);
        for (index, bucket) in self.buckets.iter().enumerate() {
            assert!(bucket.entries().len() <= K && bucket.replacements().len() <= K);
            assert!(bucket.replacements().is_empty() || bucket.is_full());
            for contact in bucket.entries().iter().chain(bucket.replacements()) {
                assert_eq!(
                    self.index(&contact.id),
                    index,
                    "{:?} is in a foreign bucket",
                    contact.id
                );
                assert!(contact.id.leading_zeros() >= self.difficulty);
                contact.check();
            }
            for entry in bucket.entries() {
                assert!(bucket.replacements().iter().all(|other| other.id != entry.id));
            }
        }
    }

    fn index(&self, id: &NodeId) -> usize {
        usize::from(self.own.common_prefix_len(id))
    }

    fn bucket_mut(&mut self, id: &NodeId) -> Option<&mut Bucket> {
        let index = self.index(id);
        self.buckets.get_mut(index)
    }

    /// The contact, as an entry or as a replacement.
    fn contact_mut(&mut self, id: &NodeId) -> Option<&mut Contact> {
        let bucket = self.bucket_mut(id)?;
        if bucket.entries().iter().any(|contact| contact.id == *id) {
            return bucket.entry_mut(id);
        }
        bucket.replacement_mut(id)
    }

    /// Whether a new contact's identity may be stored at all.
    fn admits(&self, seen: &Observation<'_>, tick: Tick, crypto: &dyn Crypto) -> bool {
        let hearsay = seen.provenance == Provenance::Gossiped;
        // A contact that waits for a place was checked when it came.
        if let Some(waiting) = self.find(&seen.id) {
            return waiting.key == seen.key;
        }
        seen.id.leading_zeros() >= self.difficulty
            && !(hearsay && self.evicted.contains(&seen.id, tick))
            && crypto.node_id(&seen.key) == seen.id
    }

    /// Whether the subnet of an observation's verified address has room. Unverified addresses
    /// always fit: they do not count.
    fn subnet_fits(&self, seen: &Observation<'_>, index: usize) -> bool {
        if seen.provenance != Provenance::Verified {
            return true;
        }
        let subnet = seen.addrs.first().and_then(|addr| Subnet::counted(addr.ip()));
        subnet.is_none_or(|subnet| self.has_room(subnet, index, &seen.id))
    }

    /// Whether one more confirmed contact than those other than `id` may be in `subnet`. Counted by
    /// looking: the table is small, and a new address is rare.
    fn has_room(&self, subnet: Subnet, index: usize, id: &NodeId) -> bool {
        let mut table = [0; 3];
        let mut bucket = [0; 3];
        for (at, contacts) in self.buckets.iter().enumerate() {
            for contact in contacts.entries() {
                let Some(other) = contact.counted_subnet() else { continue };
                // The tiers nest: a contact outside the widest is outside all of them.
                if !Tier::Site.joins(subnet, other) || contact.id == *id {
                    continue;
                }
                for (tier, width) in Tier::ALL.into_iter().enumerate() {
                    if width.joins(subnet, other) {
                        table[tier] += 1;
                        bucket[tier] += usize::from(at == index);
                    }
                }
            }
        }
        (0..3).all(|tier| {
            table[tier] < self.caps.table[tier] && bucket[tier] < self.caps.bucket[tier]
        })
    }
}

/// Merges an observation into the record of the same peer. What it leaves out stays.
fn learn(contact: &mut Contact, seen: &Observation<'_>, tick: Tick, proven_fits: bool) {
    contact.mentioned = contact.mentioned.max(tick);
    let is_self_reported = seen.provenance > Provenance::Gossiped;
    if is_self_reported {
        contact.last_seen = contact.last_seen.max(tick);
    }
    if let Some(caps) = seen.caps.filter(|_| is_self_reported || !contact.caps_self_reported) {
        contact.caps = caps;
        contact.caps_self_reported = is_self_reported;
    }
    match seen.provenance {
        Provenance::Gossiped => {
            // Gossiped addresses of a peer that signed its own come behind those. One source does
            // not displace the addresses of all others.
            for addr in seen.addrs.iter().take(ADDRS_MAX / 2).rev() {
                contact.add_addr(*addr, Provenance::Gossiped);
            }
        }
        Provenance::Signed => contact.set_signed_addrs(seen.addrs),
        Provenance::Verified => {
            let vouched = if proven_fits { Provenance::Verified } else { Provenance::Signed };
            for addr in seen.addrs.iter().take(1) {
                contact.add_addr(*addr, vouched);
            }
        }
    }
}
