//! Known answers of the reference for certificates (PROTOCOL.md#reference-vectors), and properties
//! of this node's.

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier};

use super::{Certificate, EXTENSION_LEN, IdentityError, build, parse_extension};
use crate::identity::{Identity, node_id};
use crate::quic::tls::der::{self, Reader, element};
use crate::quic::tls::vectors::{case, cases};

#[test]
fn every_known_certificate_is_judged_as_the_reference_judges_it() {
    let mut count = 0;
    for case in cases() {
        crate::fuzzing::keep_seed("certificate", case.name, &case.chain[0]);
        let outcome = Certificate::parse(&case.chain[0]).and_then(|leaf| leaf.verify());
        let outcome = match outcome {
            Ok(key) => node_id(&key).to_string(),
            Err(error) => name(error).to_owned(),
        };
        // The one difference: a small-order key proves no identity
        // (PROTOCOL.md#certificate-checks).
        let expected = match case.name {
            "small-order-identity-key" => name(IdentityError::BadSignature),
            _ => case.expected,
        };
        assert_eq!(outcome, expected, "{}", case.name);
        count += 1;
    }
    assert_eq!(count, 28);
}

#[test]
fn only_the_second_element_of_one_known_chain_fails_to_parse() {
    for case in cases() {
        let garbage = case.name == "second-chain-element-garbage";
        assert_eq!(case.chain.len(), if garbage { 2 } else { 1 }, "{}", case.name);
        for element in &case.chain[1..] {
            assert_eq!(Certificate::parse(element), Err(IdentityError::Unparsable));
        }
    }
}

#[test]
fn the_worked_example_comes_apart_into_its_parts() {
    let der = case("reference-shape").chain.remove(0);
    let certificate = Certificate::parse(&der).unwrap();
    let identity = Identity::from_master_seed(&[7; 32]);
    // Offsets of the reference's certificate (PROTOCOL.md#identity-certificate).
    assert_eq!(certificate.public_key_der(), &der[102..193]);
    let (key, signature) = parse_extension(&der[213..309]).unwrap();
    assert_eq!(key, identity.public_key());
    assert_eq!(*signature, identity.sign(&der[102..193]));
}

#[test]
fn a_built_certificate_equals_the_references_for_the_same_two_keys() {
    let theirs = case("ed25519-certificate-key").chain.remove(0);
    let outer_signature = theirs.last_chunk::<64>().unwrap();
    let key_der = Certificate::parse(&theirs).unwrap().public_key_der();
    let key = key_der.last_chunk().unwrap();
    let ours = build(&Identity::from_master_seed(&[7; 32]), key, |_| *outer_signature);
    assert_eq!(ours, theirs);
}

#[test]
fn a_built_certificate_is_signed_by_its_own_key_and_proves_the_identity() {
    let (identity, key) = (Identity::from_master_seed(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let der = ours();
    let certificate = Certificate::parse(&der).unwrap();
    assert_eq!(certificate.verify(), Ok(*identity.public_key()));
    assert_eq!(certificate.claimed_identity(), Ok(*identity.public_key()));
    assert_eq!(certificate.public_key_der().last_chunk(), Some(key.verifying_key().as_bytes()));

    let body = Reader::of_only(&der, der::SEQUENCE).unwrap().expect(der::SEQUENCE).unwrap();
    let signature = Signature::from_bytes(der.last_chunk().unwrap());
    assert!(key.verifying_key().verify(body.whole, &signature).is_ok());
}

#[test]
fn a_cut_certificate_does_not_parse() {
    let der = ours();
    for len in 0..der.len() {
        assert_eq!(Certificate::parse(&der[..len]), Err(IdentityError::Unparsable), "{len} bytes");
    }
}

#[test]
fn no_changed_bit_yields_another_identity() {
    let der = ours();
    let identity = Certificate::parse(&der).unwrap().verify().unwrap();
    let mut refused = 0;
    for bit in 0..der.len() * 8 {
        let mut changed = der.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        match Certificate::parse(&changed).and_then(|leaf| leaf.verify()) {
            Ok(key) => assert_eq!(key, identity, "bit {bit}"),
            Err(_) => refused += 1,
        }
    }
    // At least every bit of the signed key, and of the extension.
    assert!(refused >= (44 + EXTENSION_LEN) * 8, "{refused}");
}

#[test]
fn what_the_structure_forbids_does_not_parse() {
    let extension = element(der::SEQUENCE, &[&OTHER_OID, &element(der::OCTET_STRING, &[])]);
    let odd_flag = element(
        der::SEQUENCE,
        &[&OTHER_OID, &[der::BOOLEAN, 1, 1], &element(der::OCTET_STRING, &[])],
    );
    let unfinished_oid =
        element(der::SEQUENCE, &[&[6, 2, 0x55, 0x9d], &element(der::OCTET_STRING, &[])]);
    let outcomes = [
        (foreign(&[], &extension), Err(IdentityError::MissingExtension)),
        (foreign(&[], &[]), Err(IdentityError::MissingExtension)),
        (foreign(&[0x81, 2, 0, 0xff, 0x82, 2, 0, 0xff], &[]), Err(IdentityError::MissingExtension)),
        (foreign(&[0x82, 2, 0, 0xff, 0x81, 2, 0, 0xff], &[]), Err(IdentityError::Unparsable)),
        (foreign(&[], &[&extension[..], &extension].concat()), Err(IdentityError::Unparsable)),
        (foreign(&[], &odd_flag), Err(IdentityError::Unparsable)),
        (foreign(&[], &unfinished_oid), Err(IdentityError::Unparsable)),
        (foreign(&[], &[&extension[..], &[0]].concat()), Err(IdentityError::Unparsable)),
    ];
    for (at, (der, expected)) in outcomes.into_iter().enumerate() {
        let outcome = Certificate::parse(&der).and_then(|leaf| leaf.verify());
        assert_eq!(outcome, expected, "case {at}");
    }
}

#[test]
fn as_many_extensions_as_a_handshake_can_carry_parse() {
    // As many as fit into the 64 KiB that a TLS message may have, all different.
    let extensions: Vec<u8> = (0..5_000_u16)
        .flat_map(|i| {
            let oid = [6, 4, 0x55, 0x80 | (i >> 7) as u8, 0x80, (i & 0x7f) as u8];
            element(der::SEQUENCE, &[&oid, &element(der::OCTET_STRING, &[])])
        })
        .collect();
    let der = foreign(&[], &extensions);
    assert_eq!(
        Certificate::parse(&der).unwrap().claimed_identity(),
        Err(IdentityError::MissingExtension)
    );
}

/// subjectAltName.
const OTHER_OID: [u8; 5] = [6, 3, 0x55, 0x1d, 0x11];

/// The certificate of this node for two fixed keys.
fn ours() -> Vec<u8> {
    let key = SigningKey::from_bytes(&[2; 32]);
    let public = key.verifying_key().to_bytes();
    build(&Identity::from_master_seed(&[1; 32]), &public, |body| key.sign(body).to_bytes())
}

/// A certificate that is valid but for the given fields at its end.
fn foreign(unique_ids: &[u8], extensions: &[u8]) -> Vec<u8> {
    let der = ours();
    let mut parts = Reader::of_only(&der, der::SEQUENCE).unwrap();
    let mut body = parts.enter(der::SEQUENCE).unwrap();
    let mut fields = Vec::new();
    for _ in 0..7 {
        fields.extend_from_slice(body.next().unwrap().whole);
    }
    let extensions = element(der::SEQUENCE, &[extensions]);
    let body =
        element(der::SEQUENCE, &[&fields, unique_ids, &element(der::context(3), &[&extensions])]);
    let (algorithm, signature) = (parts.next().unwrap(), parts.next().unwrap());
    element(der::SEQUENCE, &[&body, algorithm.whole, signature.whole])
}

fn name(error: IdentityError) -> &'static str {
    match error {
        IdentityError::Unparsable => "certificate_parse",
        IdentityError::MissingExtension => "missing_identity_extension",
        IdentityError::MalformedExtension => "malformed_identity_extension",
        IdentityError::BadSignature => "bad_identity_signature",
    }
}
