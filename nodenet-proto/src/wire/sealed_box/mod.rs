//! Sealed boxes: one-way authenticated encryption to a static X25519 key (PROTOCOL.md#sealed-box).
//!
//! Responsible for: the layout, sealing, and opening in the order of checks that is the same on
//! every node. Never: remembers a box. The replay cache refuses the second copy of one. A box has
//! no frame type; applications carry it as payload.
//!
//! ```text
//!  offset      size  field
//!       0        32  ephemeral key       X25519, fresh for every box
//!      32        32  sender key          Ed25519
//!      64         8  time                i64, big-endian, Unix nanoseconds
//!      72         w  ciphertext length   uvarint
//!    72+w         n  ciphertext          ChaCha20-Poly1305, the 16-byte tag last
//!  72+w+n        64  signature           Ed25519 by the sender
//! ```
//!
//! The signature covers `nodenet/v1/sealed-box-sig`, the ephemeral key, the *recipient's* X25519
//! key, the time and the ciphertext. Neither it nor the cipher covers the sender's key. So every
//! node that sees a box of [`seal`] can sign it again as its own (THREATS.md#e36). [`seal_bound`]
//! puts both identifiers into the associated data, so that a box with another signer does not
//! decrypt. Another implementation opens it with the same associated data.

use core::time::Duration;

use bytes::{BufMut, Bytes};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::codec::{Decode, DecodeError, Encode, Reader, len_prefixed_len, put_len_prefixed};
use crate::NodeId;
use crate::env::{Random, UnixNanos};
use crate::identity::{self, Identity};

/// HKDF label of key and nonce (PROTOCOL.md#sealed-box).
const KEY_LABEL: &[u8] = b"nodenet/v1/sealed-box";
/// Domain of the signature (PROTOCOL.md#sealed-box).
const SIGNATURE_DOMAIN: &[u8] = b"nodenet/v1/sealed-box-sig";
/// Bytes of the ChaCha20-Poly1305 key (RFC 8439).
const CIPHER_KEY_LEN: usize = 32;
/// Bytes of the ChaCha20-Poly1305 nonce (RFC 8439).
const CIPHER_NONCE_LEN: usize = 12;
/// Bytes of the ChaCha20-Poly1305 tag (RFC 8439).
const TAG_LEN: usize = 16;

/// HKDF label of a [`Fingerprint`]. It never leaves the node, so it need not match the reference.
const FINGERPRINT_LABEL: &[u8] = b"nodenet/v1/sealed-box-fingerprint";
/// Bytes that a box adds to its plaintext: 152 and the length, which takes three at most
/// (PROTOCOL.md#sealed-box).
pub const OVERHEAD_MAX: usize = 32 + 32 + 8 + 3 + TAG_LEN + 64;

/// Identifies the secret that recipient and ephemeral key share. All encodings of one ephemeral key
/// have the same (PROTOCOL.md#replay-cache).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint([u8; 16]);

/// Why sealing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The recipient's key is one of the few that make every shared secret zero.
    #[error("the recipient's key is of low order, so no secret can be agreed: use another key")]
    LowOrderKey,
}

/// Why a box was not opened, in the order of the checks (PROTOCOL.md#opening-a-sealed-box).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The bytes are not a box.
    #[error("not a sealed box: {0}")]
    Malformed(#[from] DecodeError),
    /// The signature is not by the named sender, or the box is for another recipient.
    #[error("the signature does not verify, or the box is for another recipient")]
    BadSignature,
    /// Sealed longer ago, or further in the future, than the recipient accepts.
    #[error("the box is outside its freshness window")]
    Expired,
    /// The ephemeral key is one of the few that make every shared secret zero.
    #[error("the ephemeral key is of low order")]
    LowOrderKey,
    /// The ciphertext was not made with this key and this associated data.
    #[error(
        "the content does not decrypt: other associated data was sealed, or the box is damaged"
    )]
    Undecryptable,
}

/// The content of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The node that signed the box. The head of the module says what that does not prove.
    pub sender: NodeId,
    /// Time of sealing, by the signer's clock.
    pub sealed_at: UnixNanos,
    /// The content.
    pub plaintext: Vec<u8>,
}

/// Seals `plaintext` to the holder of the X25519 key `recipient`.
///
/// `associated` is neither sent nor signed; the recipient must give the same bytes to [`open`]. The
/// ephemeral key is drawn from `rng`, whose stream must never repeat between two boxes of one
/// sender.
///
/// # Errors
/// If the recipient's key is of low order.
///
/// # Panics
/// If `plaintext` is longer than 256 GiB, the limit of the cipher (RFC 8439 §2.8).
pub fn seal(
    sender: &Identity,
    recipient: &[u8; 32],
    now: UnixNanos,
    plaintext: &[u8],
    associated: &[u8],
    rng: &mut Random,
) -> Result<Bytes, SealError> {
    let ephemeral = StaticSecret::from(rng.array::<32>());
    seal_with(&ephemeral, sender, recipient, now, plaintext, associated)
}

/// The node that a bound box is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    /// Its identifier.
    pub id: NodeId,
    /// Its X25519 key, from a verified Hello or Reply.
    pub exchange_key: [u8; 32],
}

/// Seals `plaintext` as [`seal`] does, bound to both identifiers. The associated data is the
/// sender's identifier, the recipient's, then `associated`.
///
/// # Errors
/// If the recipient's key is of low order.
///
/// # Panics
/// As [`seal`].
pub fn seal_bound(
    sender: &Identity,
    recipient: &Recipient,
    now: UnixNanos,
    plaintext: &[u8],
    associated: &[u8],
    rng: &mut Random,
) -> Result<Bytes, SealError> {
    let associated = bound(&sender.id(), &recipient.id, associated);
    seal(sender, &recipient.exchange_key, now, plaintext, &associated, rng)
}

/// Opens a box for `recipient`. It must be at most `age_max` old or ahead, both bounds included.
///
/// # Errors
/// The first check that fails, in the order of [`OpenError`].
pub fn open(
    recipient: &Identity,
    bytes: &[u8],
    associated: &[u8],
    now: UnixNanos,
    age_max: Duration,
) -> Result<Opened, OpenError> {
    let sealed = SealedBox::decode_exact(bytes)?;
    sealed.open(recipient, associated, now, age_max).map(|(opened, _)| opened)
}

/// Opens a box of [`seal_bound`]. One that another node signed again, or that was sealed to another
/// identifier, is [`OpenError::Undecryptable`].
///
/// # Errors
/// As [`open`].
pub fn open_bound(
    recipient: &Identity,
    bytes: &[u8],
    associated: &[u8],
    now: UnixNanos,
    age_max: Duration,
) -> Result<Opened, OpenError> {
    let sealed = SealedBox::decode_exact(bytes)?;
    sealed.open_bound(recipient, associated, now, age_max).map(|(opened, _)| opened)
}

/// The associated data of a bound box (PROTOCOL.md#bound-boxes).
fn bound(sender: &NodeId, recipient: &NodeId, associated: &[u8]) -> Vec<u8> {
    [sender.as_bytes(), recipient.as_bytes(), associated].concat()
}

/// The fields of a box. Applications use [`seal`] and [`open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBox {
    /// The X25519 key that was made for this box.
    pub ephemeral_key: [u8; 32],
    /// The Ed25519 key of the signer.
    pub sender_key: [u8; 32],
    /// Time of sealing.
    pub time: UnixNanos,
    /// The encrypted content and its tag.
    pub ciphertext: Vec<u8>,
    /// The Ed25519 signature.
    pub signature: [u8; 64],
}

impl SealedBox {
    /// Signs the box as `sender`, for the holder of the X25519 key `recipient`.
    pub(crate) fn sign(&mut self, sender: &Identity, recipient: &[u8; 32]) {
        self.sender_key = *sender.public_key();
        self.signature = sender.sign(&self.signed_message(recipient));
    }

    /// Whether bytes have the layout of a box. Copies nothing.
    pub(crate) fn is_layout(bytes: &[u8]) -> bool {
        let mut reader = Reader::new(bytes);
        let ends = reader.bytes(32 + 32 + 8).and_then(|_| reader.len_prefixed()).is_ok();
        ends && reader.remaining() == 64
    }

    /// [`open`], with what a replay cache knows the box by.
    pub(crate) fn open(
        mut self,
        recipient: &Identity,
        associated: &[u8],
        now: UnixNanos,
        age_max: Duration,
    ) -> Result<(Opened, Fingerprint), OpenError> {
        let signed = self.signed_message(recipient.exchange_key());
        if !identity::verify(&self.sender_key, &signed, &self.signature) {
            return Err(OpenError::BadSignature);
        }
        if !is_within(self.time, now, age_max) {
            return Err(OpenError::Expired);
        }
        let shared = recipient.agree(&self.ephemeral_key).ok_or(OpenError::LowOrderKey)?;
        let (cipher, nonce) = cipher(&shared);
        cipher
            .decrypt_in_place(&nonce.into(), associated, &mut self.ciphertext)
            .map_err(|_| OpenError::Undecryptable)?;
        let sender = identity::node_id(&self.sender_key);
        let opened = Opened { sender, sealed_at: self.time, plaintext: self.ciphertext };
        Ok((opened, fingerprint(&shared)))
    }

    /// [`open_bound`], with what a replay cache knows the box by.
    pub(crate) fn open_bound(
        self,
        recipient: &Identity,
        associated: &[u8],
        now: UnixNanos,
        age_max: Duration,
    ) -> Result<(Opened, Fingerprint), OpenError> {
        let sender = identity::node_id(&self.sender_key);
        let associated = bound(&sender, &recipient.id(), associated);
        self.open(recipient, &associated, now, age_max)
    }

    fn signed_message(&self, recipient: &[u8; 32]) -> Vec<u8> {
        [
            SIGNATURE_DOMAIN,
            &self.ephemeral_key,
            recipient,
            &self.time.0.to_be_bytes(),
            &self.ciphertext,
        ]
        .concat()
    }
}

impl Encode for SealedBox {
    fn encoded_len(&self) -> usize {
        32 + 32 + 8 + len_prefixed_len(&self.ciphertext) + 64
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.ephemeral_key);
        out.put_slice(&self.sender_key);
        out.put_i64(self.time.0);
        put_len_prefixed(out, &self.ciphertext);
        out.put_slice(&self.signature);
    }
}

/// No byte may follow a box, and every failure is [`DecodeError::ShortBuffer`].
impl Decode<'_> for SealedBox {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            ephemeral_key: reader.array()?,
            sender_key: reader.array()?,
            time: UnixNanos(reader.i64()?),
            ciphertext: reader.len_prefixed()?.to_vec(),
            signature: reader.array()?,
        })
    }
}

/// [`seal`] with a given ephemeral key. Using one twice destroys the secrecy of both boxes.
fn seal_with(
    ephemeral: &StaticSecret,
    sender: &Identity,
    recipient: &[u8; 32],
    now: UnixNanos,
    plaintext: &[u8],
    associated: &[u8],
) -> Result<Bytes, SealError> {
    let shared = ephemeral.diffie_hellman(&PublicKey::from(*recipient));
    if !shared.was_contributory() {
        return Err(SealError::LowOrderKey);
    }
    let (cipher, nonce) = cipher(shared.as_bytes());
    let mut ciphertext = Vec::with_capacity(plaintext.len() + TAG_LEN);
    ciphertext.extend_from_slice(plaintext);
    cipher
        .encrypt_in_place(&nonce.into(), associated, &mut ciphertext)
        .expect("ChaCha20-Poly1305 takes up to 256 GiB at once");
    let mut sealed = SealedBox {
        ephemeral_key: PublicKey::from(ephemeral).to_bytes(),
        sender_key: [0; 32],
        time: now,
        ciphertext,
        signature: [0; 64],
    };
    sealed.sign(sender, recipient);
    Ok(sealed.to_bytes())
}

/// Whether a box sealed at `time` is at most `age_max` old or ahead at `now`, both inclusive.
pub(crate) fn is_within(time: UnixNanos, now: UnixNanos, age_max: Duration) -> bool {
    // The time may be any 64-bit value, so the difference needs more bits than that.
    (i128::from(now.0) - i128::from(time.0)).unsigned_abs() <= age_max.as_nanos()
}

fn fingerprint(shared: &[u8; 32]) -> Fingerprint {
    let mut bytes = [0; 16];
    Hkdf::<Sha256>::new(None, shared)
        .expand(FINGERPRINT_LABEL, &mut bytes)
        .expect("16 bytes are within HKDF's limit");
    Fingerprint(bytes)
}

/// Key and nonce of one box. The nonce may be derived because the key is used once.
fn cipher(shared: &[u8; 32]) -> (ChaCha20Poly1305, [u8; CIPHER_NONCE_LEN]) {
    let mut material = Zeroizing::new([0; CIPHER_KEY_LEN + CIPHER_NONCE_LEN]);
    Hkdf::<Sha256>::new(None, shared)
        .expand(KEY_LABEL, &mut *material)
        .expect("44 bytes are within HKDF's limit");
    let (key, nonce) = material.split_at(CIPHER_KEY_LEN);
    let cipher = ChaCha20Poly1305::new_from_slice(key).expect("the key has 32 bytes");
    (cipher, nonce.try_into().expect("what follows the key is the nonce"))
}

#[cfg(test)]
mod tests;
