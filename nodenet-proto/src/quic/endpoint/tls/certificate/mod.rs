//! Identity certificate (PROTOCOL.md#identity-certificate): an ephemeral TLS key, signed by the
//! node's identity key.
//!
//! Responsible for: building this node's certificate, and finding in a peer's leaf the identity key
//! that signed the certificate's key. Never: checks that the peer holds that certificate key (TLS
//! proves it), or that the identity is the expected one (the dialer compares).
//!
//! Dates, names, chain and the outer signature have no meaning here. The identity extension is the
//! only statement, and it does not expire: a thief of a certificate key is that node for ever
//! (PROTOCOL.md#certificate-key). The key therefore stays in memory, for one process.

use std::collections::BTreeSet;

use super::der::{self, Malformed, Reader};
use crate::identity::{self, Identity};

/// Bytes of the identity extension: an Ed25519 key and a signature
/// (PROTOCOL.md#identity-extension).
pub const EXTENSION_LEN: usize = 96;

/// The identity extension's object identifier, 1.3.6.1.4.1.58147.1.1, as DER
/// (PROTOCOL.md#identity-extension).
const EXTENSION_OID: [u8; 12] =
    [0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xc6, 0x23, 0x01, 0x01];
/// AlgorithmIdentifier of Ed25519, for keys and signatures alike (RFC 8410 §3).
const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// The attribute type commonName, 2.5.4.3 (RFC 5280 appendix A).
const COMMON_NAME_OID: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
/// Version 3 is written as 2 (RFC 5280 §4.1.2.1).
const VERSION_3: u8 = 2;

/// Why a peer's certificate proves no identity, in the order of the checks
/// (PROTOCOL.md#certificate-checks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not an X.509 certificate, or one that repeats an extension.
    #[error("the certificate does not parse as X.509")]
    Unparsable,
    /// No identity extension.
    #[error("the certificate has no identity extension")]
    MissingExtension,
    /// The identity extension is not exactly [`EXTENSION_LEN`] bytes.
    #[error("the certificate's identity extension is not 96 bytes")]
    MalformedExtension,
    /// The identity did not sign this certificate's key.
    #[error("the identity in the certificate did not sign the certificate's key")]
    BadSignature,
}

impl From<Malformed> for IdentityError {
    fn from(Malformed: Malformed) -> Self {
        Self::Unparsable
    }
}

/// What matters of a parsed certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate<'a> {
    public_key_der: &'a [u8],
    extension: Option<&'a [u8]>,
}

impl<'a> Certificate<'a> {
    /// Walks an X.509 certificate (RFC 5280 §4.1) of any version with any kind of key.
    ///
    /// # Errors
    /// [`IdentityError::Unparsable`] if the structure does not hold, an extension is repeated, or
    /// bytes follow.
    pub fn parse(der: &'a [u8]) -> Result<Self, IdentityError> {
        let mut certificate = Reader::of_only(der, der::SEQUENCE)?;
        let mut body = certificate.enter(der::SEQUENCE)?;
        let outer_algorithm = certificate.expect(der::SEQUENCE)?;
        bit_string(&mut certificate)?;
        certificate.finish()?;

        if let Some(version) = body.optional(der::context(0))? {
            integer(&mut Reader::new(version.content))?;
        }
        integer(&mut body)?;
        let inner_algorithm = body.expect(der::SEQUENCE)?;
        if inner_algorithm.whole != outer_algorithm.whole {
            return Err(IdentityError::Unparsable);
        }
        object_identifier(&mut Reader::new(inner_algorithm.content))?;
        name(&mut body)?;
        validity(&mut body)?;
        name(&mut body)?;
        let public_key_der = public_key(&mut body)?;
        body.optional(UNIQUE_ID_ISSUER)?;
        body.optional(UNIQUE_ID_SUBJECT)?;
        let extension = match body.optional(der::context(3))? {
            Some(extensions) => find_extension(extensions.content)?,
            None => None,
        };
        body.finish()?;
        Ok(Self { public_key_der, extension })
    }

    /// The SubjectPublicKeyInfo, byte for byte as it stands in the certificate.
    pub fn public_key_der(&self) -> &'a [u8] {
        self.public_key_der
    }

    /// The identity key that the certificate claims. Verified only by [`Self::verify`].
    ///
    /// # Errors
    /// [`IdentityError::MissingExtension`], [`IdentityError::MalformedExtension`].
    pub fn claimed_identity(&self) -> Result<[u8; 32], IdentityError> {
        self.split_extension().map(|(key, _)| *key)
    }

    /// The identity key that signed this certificate's key.
    ///
    /// # Errors
    /// Those of [`Self::claimed_identity`], and [`IdentityError::BadSignature`].
    pub fn verify(&self) -> Result<[u8; 32], IdentityError> {
        let (key, signature) = self.split_extension()?;
        if identity::verify(key, self.public_key_der, signature) {
            Ok(*key)
        } else {
            Err(IdentityError::BadSignature)
        }
    }

    fn split_extension(&self) -> Result<(&'a [u8; 32], &'a [u8; 64]), IdentityError> {
        let value = self.extension.ok_or(IdentityError::MissingExtension)?;
        parse_extension(value).ok_or(IdentityError::MalformedExtension)
    }
}

/// Cuts the value of an identity extension into the identity key and its signature; nothing unless
/// it is exactly [`EXTENSION_LEN`] bytes.
pub fn parse_extension(value: &[u8]) -> Option<(&[u8; 32], &[u8; 64])> {
    let (key, signature) = value.split_first_chunk::<32>()?;
    Some((key, signature.try_into().ok()?))
}

/// Builds the self-signed certificate of `identity` for the Ed25519 key `public_key`; `sign` signs
/// with that key. The bytes are determined by the two keys.
pub(super) fn build(
    identity: &Identity,
    public_key: &[u8; 32],
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Vec<u8> {
    let public_key_der = public_key_der(public_key);
    let voucher = identity.sign(&public_key_der);
    let extension = der::element(der::OCTET_STRING, &[identity.public_key(), &voucher]);
    let extension = der::element(der::SEQUENCE, &[&EXTENSION_OID, &extension]);
    let extensions = der::element(der::SEQUENCE, &[&extension]);

    let common_name = der::element(der::PRINTABLE_STRING, &[b"nodenet"]);
    let common_name = der::element(der::SEQUENCE, &[&COMMON_NAME_OID, &common_name]);
    let name = der::element(der::SEQUENCE, &[&der::element(der::SET, &[&common_name])]);
    let not_before = der::element(der::UTC_TIME, &[b"700101000000Z"]);
    let not_after = der::element(der::GENERALIZED_TIME, &[b"99991231235959Z"]);

    let body = der::element(
        der::SEQUENCE,
        &[
            &der::element(der::context(0), &[&der::element(der::INTEGER, &[&[VERSION_3]])]),
            &der::element(der::INTEGER, &[&[1]]), // serial
            &ED25519,
            &name,
            &der::element(der::SEQUENCE, &[&not_before, &not_after]),
            &name,
            &public_key_der,
            &der::element(der::context(3), &[&extensions]),
        ],
    );
    let signature = der::element(der::BIT_STRING, &[&[0], &sign(&body)]);
    der::element(der::SEQUENCE, &[&body, &ED25519, &signature])
}

/// The SubjectPublicKeyInfo of an Ed25519 key (RFC 8410 §4).
fn public_key_der(key: &[u8; 32]) -> Vec<u8> {
    der::element(der::SEQUENCE, &[&ED25519, &der::element(der::BIT_STRING, &[&[0], key])])
}

/// `[1]` and `[2]`, implicitly tagged bit strings of version 2 (RFC 5280 §4.1.2.8).
const UNIQUE_ID_ISSUER: u8 = 0x81;
const UNIQUE_ID_SUBJECT: u8 = 0x82;

fn integer(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    match reader.expect(der::INTEGER)?.content {
        [] | [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(Malformed),
        _ => Ok(()),
    }
}

fn bit_string(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    match reader.expect(der::BIT_STRING)?.content {
        [] | [8..=0xff, ..] => Err(Malformed),
        _ => Ok(()),
    }
}

fn object_identifier<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let element = reader.expect(der::OBJECT_IDENTIFIER)?;
    match element.content.last() {
        Some(0..=0x7f) => Ok(element.whole),
        _ => Err(Malformed), // Empty, or its last number has no end.
    }
}

/// RDNSequence: each a set of attributes with a type and a value of any kind.
fn name(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let mut parts = reader.enter(der::SEQUENCE)?;
    while !parts.is_empty() {
        let mut attributes = parts.enter(der::SET)?;
        while !attributes.is_empty() {
            let mut attribute = attributes.enter(der::SEQUENCE)?;
            object_identifier(&mut attribute)?;
            attribute.next()?;
            attribute.finish()?;
        }
    }
    Ok(())
}

fn validity(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let mut dates = reader.enter(der::SEQUENCE)?;
    for _ in 0..2 {
        if dates.optional(der::UTC_TIME)?.is_none() {
            dates.expect(der::GENERALIZED_TIME)?;
        }
    }
    dates.finish()
}

fn public_key<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let element = reader.expect(der::SEQUENCE)?;
    let mut fields = Reader::new(element.content);
    object_identifier(&mut fields.enter(der::SEQUENCE)?)?;
    bit_string(&mut fields)?;
    fields.finish()?;
    Ok(element.whole)
}

/// The value of the identity extension, if there is one among these.
fn find_extension(wrapped: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut extensions = Reader::of_only(wrapped, der::SEQUENCE)?;
    let mut seen = BTreeSet::new();
    let mut found = None;
    while !extensions.is_empty() {
        let mut extension = extensions.enter(der::SEQUENCE)?;
        let oid = object_identifier(&mut extension)?;
        if let Some(critical) = extension.optional(der::BOOLEAN)? {
            let ([0x00] | [0xff]) = critical.content else { return Err(Malformed) };
        }
        let value = extension.expect(der::OCTET_STRING)?.content;
        extension.finish()?;
        if !seen.insert(oid) {
            return Err(Malformed);
        }
        if oid == EXTENSION_OID {
            found = Some(value);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
