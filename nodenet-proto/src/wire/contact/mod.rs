//! Contact lists: descriptions of other nodes in an answer (PROTOCOL.md#contact-lists).
//!
//! ```text
//! list     uvarint(count) ‖ contact × count      at most 17 contacts, 256 addresses in all
//! contact  id 32 ‖ Ed25519 key 32 ‖ X25519 key 32 ‖ capabilities u32 ‖ addrs
//! ```
//!
//! Responsible for: the layout and its two caps. Never: verifies a contact.

use bytes::BufMut;

use super::addr::{ADDR_LEN_MIN, Addr, addrs_encoded_len, put_addrs};
use super::codec::{Decode, DecodeError, Encode, Reader, put_uvarint, uvarint_len};
use crate::NodeId;

#[cfg(test)]
mod tests;

/// Contacts in one list at most: sixteen siblings and the node that answers
/// (PROTOCOL.md#contact-lists).
pub const CONTACTS_MAX: usize = 17;
/// Addresses in one list at most, all contacts together (PROTOCOL.md#contact-lists).
pub const CONTACT_ADDRS_MAX: usize = 256;
/// Bytes of a contact in front of its addresses.
const FIXED_LEN: usize = 3 * 32 + 4;
/// Shortest encoding of a contact: one without addresses (PROTOCOL.md#contact-lists).
const CONTACT_LEN_MIN: usize = FIXED_LEN + 1;
/// Encoding of an unknown key.
const NO_KEY: [u8; 32] = [0; 32];

/// Capabilities that a node advertises. Bits without a name are kept as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// The node relays for others.
    pub const CAN_RELAY: Self = Self(1);
    /// Every node can dial this one without hole punching.
    pub const PUBLIC_ANCHOR: Self = Self(2);
    /// A light node, which is idle most of the time. It sends the pings on its edges, all at once
    /// and seldom, and prefers not to be an intermediate hop. The bit is an extension, far from the
    /// bits that the reference may assign next; the reference keeps unknown bits unchanged
    /// (PROTOCOL.md#capabilities).
    pub const LIGHT: Self = Self(1 << 24);

    /// Whether all of `wanted` are among these.
    pub const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// These and `more`.
    #[must_use]
    pub const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// These but `fewer`.
    #[must_use]
    pub const fn without(self, fewer: Self) -> Self {
        Self(self.0 & !fewer.0)
    }
}

/// A node as another describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its identifier.
    pub id: NodeId,
    /// Its Ed25519 key, if known. That the identifier is its hash is not checked here but where the
    /// contact is stored.
    pub key: Option<[u8; 32]>,
    /// Its X25519 key, if the describing node claims to know it. It is unverified: only a
    /// rendezvous verifies one, so receivers must ignore this one
    /// (PROTOCOL.md#exchange-keys-in-contacts).
    pub exchange_key: Option<[u8; 32]>,
    /// Its capabilities, as the describing node knows them.
    pub capabilities: Capabilities,
    /// Its possible addresses, best first.
    pub addrs: Vec<Addr>,
}

impl Contact {
    /// A contact of which only the identifier is known.
    pub const fn new(id: NodeId) -> Self {
        let capabilities = Capabilities(0);
        Self { id, key: None, exchange_key: None, capabilities, addrs: Vec::new() }
    }
}

impl Encode for Contact {
    fn encoded_len(&self) -> usize {
        FIXED_LEN + addrs_encoded_len(&self.addrs)
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(self.id.as_bytes());
        out.put_slice(&self.key.unwrap_or(NO_KEY));
        out.put_slice(&self.exchange_key.unwrap_or(NO_KEY));
        out.put_u32(self.capabilities.0);
        put_addrs(out, &self.addrs);
    }
}

/// Contacts that fit one answer: at most [`CONTACTS_MAX`], with at most [`CONTACT_ADDRS_MAX`]
/// addresses between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContactList(Vec<Contact>);

impl ContactList {
    /// No contact.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// As much of `contacts` as fits one answer of at most `len_max` encoded bytes, most important
    /// first. If there are too many addresses, a contact loses its last ones. If there is no room
    /// even for a contact without addresses, the list ends.
    pub fn first_of(contacts: impl IntoIterator<Item = Contact>, len_max: usize) -> Self {
        // The count takes one byte whatever it is: the cap is below 128.
        let mut room = len_max.saturating_sub(1);
        let mut addrs_left = CONTACT_ADDRS_MAX;
        let mut list = Vec::with_capacity(CONTACTS_MAX);
        for mut contact in contacts.into_iter().take(CONTACTS_MAX) {
            contact.addrs.truncate(addrs_left);
            while contact.encoded_len() > room && contact.addrs.pop().is_some() {}
            let Some(left) = room.checked_sub(contact.encoded_len()) else {
                break;
            };
            room = left;
            addrs_left -= contact.addrs.len();
            list.push(contact);
        }
        Self(list)
    }

    /// The contacts in order.
    pub fn as_slice(&self) -> &[Contact] {
        &self.0
    }
}

impl Encode for ContactList {
    fn encoded_len(&self) -> usize {
        uvarint_len(self.0.len() as u64) + self.0.iter().map(Encode::encoded_len).sum::<usize>()
    }

    fn encode(&self, out: &mut impl BufMut) {
        put_uvarint(out, self.0.len() as u64);
        for contact in &self.0 {
            contact.encode(out);
        }
    }
}

/// Every failure is [`DecodeError::ShortBuffer`]. The whole list is read through once before
/// anything is allocated.
impl Decode<'_> for ContactList {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut ahead = reader.clone();
        let mut addrs = 0;
        for _ in 0..contact_count(&mut ahead)? {
            ahead.bytes(FIXED_LEN as u64)?;
            for _ in 0..ahead.count(ADDR_LEN_MIN)? {
                ahead.len_prefixed()?;
                ahead.len_prefixed()?;
                addrs += 1;
                if addrs > CONTACT_ADDRS_MAX {
                    return Err(DecodeError::ShortBuffer);
                }
            }
        }

        let count = contact_count(reader)?;
        let mut contacts = Vec::with_capacity(count);
        for _ in 0..count {
            contacts.push(decode_contact(reader)?);
        }
        Ok(Self(contacts))
    }
}

fn contact_count(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let count = reader.count(CONTACT_LEN_MIN)?;
    if count > CONTACTS_MAX { Err(DecodeError::ShortBuffer) } else { Ok(count) }
}

fn decode_contact(reader: &mut Reader<'_>) -> Result<Contact, DecodeError> {
    let known = |key| (key != NO_KEY).then_some(key);
    Ok(Contact {
        id: reader.node_id()?,
        key: known(reader.array()?),
        exchange_key: known(reader.array()?),
        capabilities: Capabilities(reader.u32()?),
        addrs: (0..reader.count(ADDR_LEN_MIN)?)
            .map(|_| Addr::decode(reader))
            .collect::<Result<_, _>>()?,
    })
}
