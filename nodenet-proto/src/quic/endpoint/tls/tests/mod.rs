//! Handshakes between bare endpoints with these settings. Close codes are those observed on the
//! reference (PROTOCOL.md#reference-vectors), but for a chain that does not parse: it answers
//! 0x132, decode_error.

mod pair;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hex_literal::hex;
use pair::{Pair, Peer, identity};
use quinn_proto::crypto::rustls::HandshakeData;
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{NamedGroup, SignatureScheme};

use super::vectors::{Case, P256_KEY, case, cases};
use super::verifier::IdentityVerifier;
use super::{ALPN_LISTENER, ALPN_OVERLAY, Tls, provider, server_name, signing};
use crate::NodeId;
use crate::env::Seed;

/// 0x100 + alert 42, bad_certificate.
const BAD_CERTIFICATE: u64 = 0x12a;
/// 0x100 + alert 51, decrypt_error: a signature in the handshake does not verify.
const DECRYPT_ERROR: u64 = 0x133;
/// 0x100 + alert 116, certificate_required.
const CERTIFICATE_REQUIRED: u64 = 0x174;
/// 0x100 + alert 120, no_application_protocol.
const NO_APPLICATION_PROTOCOL: u64 = 0x178;

#[test]
fn both_ends_learn_the_identity_of_the_other() {
    for (dialer, acceptor) in [(1, 2), (2, 1)] {
        let pair = Pair::new(node(dialer), node(acceptor)).run();
        for (peer, other) in [(&pair.dialer, acceptor), (&pair.acceptor, dialer)] {
            let other = identity(other);
            assert!(peer.connected && peer.lost.is_none());
            assert_eq!(peer.sees(), Some((other.id(), *other.public_key())));
        }
    }
}

#[test]
fn a_retry_is_followed() {
    let mut pair = Pair::new(node(1), node(2));
    pair.retry = true;
    let pair = pair.run();
    assert!(pair.dialer.connected && pair.acceptor.connected);
}

#[test]
fn a_retry_token_expires_by_the_token_clock() {
    let mut pair = Pair::new(node(1), node(2));
    pair.retry = true;
    pair.clock_rate = 1_000; // The answer to a Retry comes after 20 ms: 20 s by this clock.
    let pair = pair.run();
    assert!(!pair.dialer.connected && !pair.acceptor.connected);
}

#[test]
fn the_listener_learns_the_protocol_and_no_name() {
    let pair = Pair::new(node(1), node(2)).run();
    let (_, connection) = pair.acceptor.connection.as_ref().unwrap();
    let seen = connection.crypto_session().handshake_data().unwrap();
    let seen = seen.downcast::<HandshakeData>().unwrap();
    assert_eq!(seen.protocol.as_deref(), Some(ALPN_OVERLAY));
    assert_eq!(seen.server_name, None);
}

#[test]
fn a_name_is_an_ip_literal_that_tls_takes() {
    for (remote, expected) in [
        ("192.0.2.7:1", "192.0.2.7"),
        ("[2001:db8::1]:1", "2001:db8::1"),
        ("[fe80::1%3]:1", "fe80::1"),
    ] {
        let name = server_name(remote.parse().unwrap());
        assert_eq!(name, expected);
        assert!(ServerName::try_from(name).is_ok());
    }
}

#[test]
fn a_listener_issues_no_ticket_even_to_a_dialer_that_would_resume() {
    let (mut config, seed) = (client_config(1), Seed::from_u64(1));
    let tickets = Arc::new(Tickets::default());
    config.resumption = Resumption::store(tickets.clone());
    let mut tls = Tls::new(&identity(1), &seed);
    tls.client = Arc::new(config.try_into().unwrap());

    let pair = Pair::new(Peer::with_tls(1, &seed, tls), node(2)).run();
    assert!(pair.dialer.connected && pair.acceptor.connected);
    assert!(tickets.asked.load(Relaxed), "the store is in use");
    assert!(!tickets.issued.load(Relaxed));
}

#[test]
fn the_same_seeds_send_the_same_bytes_and_others_do_not() {
    let trace = |dialer, acceptor, retry| {
        let mut pair = Pair::new(node(dialer), node(acceptor));
        pair.retry = retry;
        pair.run().trace()
    };
    for retry in [false, true] {
        assert_eq!(trace(1, 2, retry), trace(1, 2, retry));
        assert_ne!(trace(1, 2, retry), trace(1, 3, retry));
        assert_ne!(trace(1, 2, retry), trace(3, 2, retry));
    }
}

/// Changes with whatever changes a byte or its time, a new version of quinn-proto or rustls
/// included.
#[test]
fn the_bytes_are_the_same_in_every_process_and_on_every_machine() {
    let trace = Pair::new(node(1), node(2)).run().trace();
    assert_eq!(trace[..8], hex!("887e4b7743234505"), "{trace:02x?}");
}

#[test]
fn known_certificates_are_judged_in_a_live_handshake_on_either_side() {
    let mut count = 0;
    let point = P256_KEY.last_chunk::<65>().unwrap();
    for case in cases().filter(|case| case.chain[0].windows(65).any(|part| part == point)) {
        let accepted = judgement(&case);
        let foreign = || foreign(&case.chain, p256_key());

        let pair = Pair::new(node(1), foreign()).run();
        assert_eq!(pair.dialer.sees().map(|(id, _)| id), accepted, "{}", case.name);
        assert_eq!(pair.dialer.connected, accepted.is_some(), "{}", case.name);
        let code = accepted.is_none().then_some(BAD_CERTIFICATE);
        assert_eq!(pair.dialer.close_code(), code, "{}", case.name);
        assert_eq!(pair.acceptor.close_code(), code, "{}", case.name);

        // A dialer is done before the acceptor has looked at its certificate.
        let pair = Pair::new(foreign(), node(1)).run();
        assert!(pair.dialer.connected);
        assert_eq!(pair.acceptor.sees().map(|(id, _)| id), accepted, "{}", case.name);
        assert_eq!(pair.acceptor.connected, accepted.is_some(), "{}", case.name);
        assert_eq!(pair.acceptor.close_code(), code, "{}", case.name);
        assert_eq!(pair.dialer.close_code(), code, "{}", case.name);
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn a_copied_certificate_without_its_key_is_refused() {
    let own_key = signing::certified_key(&identity(3), &Seed::from_u64(3)).key;
    let copied = || foreign(&case("reference-shape").chain, own_key.clone());
    let pair = Pair::new(node(1), copied()).run();
    assert!(!pair.dialer.connected);
    assert_eq!(pair.dialer.sees(), None);
    let pair = Pair::new(copied(), node(1)).run();
    assert!(!pair.acceptor.connected);
    assert_eq!(pair.acceptor.sees(), None);
    assert_eq!(pair.dialer.close_code(), Some(DECRYPT_ERROR));
}

#[test]
fn a_dialer_without_a_certificate_is_refused() {
    let (mut config, seed) = (client_config(1), Seed::from_u64(1));
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    let mut tls = Tls::new(&identity(1), &seed);
    tls.client = Arc::new(config.try_into().unwrap());

    let pair = Pair::new(Peer::with_tls(1, &seed, tls), node(2)).run();
    assert!(pair.dialer.connected && !pair.acceptor.connected);
    assert_eq!(pair.acceptor.close_code(), Some(CERTIFICATE_REQUIRED));
    assert_eq!(pair.dialer.close_code(), Some(CERTIFICATE_REQUIRED));
}

#[test]
fn only_the_overlay_protocol_is_served_and_accepted() {
    let refused: [&[&[u8]]; 4] = [&[b"h3"], &[b"nodenet/2"], &[b"nodenet-media/1"], &[]];
    for protocols in refused {
        let speaking = |dialed, served| {
            let seed = Seed::from_u64(1);
            let certified_key = signing::certified_key(&identity(1), &seed);
            let tls = Tls::with_certificate(certified_key, &identity(1), &seed, dialed, served);
            Peer::with_tls(1, &seed, tls)
        };
        for pair in [
            Pair::new(speaking(protocols, &ALPN_LISTENER), node(2)),
            Pair::new(node(2), speaking(&[ALPN_OVERLAY], protocols)),
        ] {
            let pair = pair.run();
            assert!(!pair.dialer.connected && !pair.acceptor.connected);
            assert_eq!(pair.dialer.close_code(), Some(NO_APPLICATION_PROTOCOL), "{protocols:?}");
        }
    }
}

#[test]
fn the_overlay_protocol_is_found_among_others() {
    let offered: [&[u8]; 3] = [b"nodenet-media/1", b"h3", ALPN_OVERLAY];
    let seed = Seed::from_u64(1);
    let certified_key = signing::certified_key(&identity(1), &seed);
    let tls = Tls::with_certificate(certified_key, &identity(1), &seed, &offered, &ALPN_LISTENER);
    let pair = Pair::new(Peer::with_tls(1, &seed, tls), node(2)).run();
    assert!(pair.dialer.connected && pair.acceptor.connected);
}

#[test]
fn without_entropy_the_handshake_fails_and_nothing_panics() {
    let mut pair = Pair::new(node(1), node(2));
    pair.acceptor.starved = true;
    let pair = pair.run();
    assert!(!pair.acceptor.connected && !pair.dialer.connected);
    assert!(pair.acceptor.lost.is_some() && pair.dialer.lost.is_some());
}

/// An ordinary node.
fn node(number: u8) -> Peer {
    let seed = Seed::from_u64(number.into());
    Peer::with_tls(number, &seed, Tls::new(&identity(number), &seed))
}

/// The dialing side of an ordinary node, to be changed.
fn client_config(number: u8) -> rustls::ClientConfig {
    let provider = provider::provider();
    let verifier = IdentityVerifier::new(provider.signature_verification_algorithms);
    let certified_key = signing::certified_key(&identity(number), &Seed::from_u64(number.into()));
    let certificate = SingleCertAndKey::from(certified_key);
    super::client(&provider, &Arc::new(verifier), &Arc::new(certificate), &[ALPN_OVERLAY])
}

/// A node that presents this chain and signs with this key.
fn foreign(chain: &[Vec<u8>], key: Arc<dyn SigningKey>) -> Peer {
    let seed = Seed::from_u64(9);
    let chain = chain.iter().map(|der| der.clone().into()).collect();
    let certified_key = CertifiedKey::new(chain, key);
    let tls =
        Tls::with_certificate(certified_key, &identity(9), &seed, &[ALPN_OVERLAY], &ALPN_LISTENER);
    Peer::with_tls(9, &seed, tls)
}

fn p256_key() -> Arc<dyn SigningKey> {
    any_ecdsa_type(&PrivateKeyDer::Pkcs8(P256_KEY.to_vec().into())).unwrap()
}

/// The judgement of this node on the whole chain. The known answers are about the leaf alone; here
/// each further certificate must parse, too. A small-order key proves no identity.
fn judgement(case: &Case) -> Option<NodeId> {
    match case.name {
        "second-chain-element-garbage" | "small-order-identity-key" => None,
        _ => case.expected.parse().ok(),
    }
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Notes whether a session ticket was asked for or issued.
#[derive(Debug, Default)]
struct Tickets {
    asked: AtomicBool,
    issued: AtomicBool,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.issued.store(true, Relaxed);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.asked.store(true, Relaxed);
        None
    }
}
