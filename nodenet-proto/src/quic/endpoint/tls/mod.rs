//! Mutual TLS 1.3 in which both ends prove a [`NodeId`] (PROTOCOL.md#certificates-and-tls).
//!
//! Responsible for: the certificate, its verification, the TLS settings, and every source of
//! randomness and time in rustls and quinn-proto. Never: chooses the expected identity, windows, or
//! timers.
//!
//! A node makes one [`Tls`] when it starts, and with it a fresh certificate key for the time of the
//! process. The keys of stateless resets and of connection IDs are the identity's. The parent
//! builds its endpoint from [`Tls::endpoint_config`], [`Tls::client_config`] and
//! [`Tls::server_config`], adds transport settings, and dials and hands in datagrams inside
//! [`with_entropy`]. When a connection is established, [`peer_identity`] returns the identity of
//! the peer.

pub mod certificate;
mod der;
mod endpoint;
mod provider;
mod signing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
mod verifier;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    Connection, ConnectionError, EndpointConfig, NoneTokenStore, TransportErrorCode,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;

pub use endpoint::TokenClock;
pub use provider::{Entropy, with_entropy};

use crate::NodeId;
use crate::env::Seed;
use crate::identity::{self, Identity};
use certificate::Certificate;
use verifier::IdentityVerifier;

/// The application protocol of overlay edges (PROTOCOL.md#alpn).
pub const ALPN_OVERLAY: &[u8] = b"nodenet/1";

/// What the listener serves, most preferred first.
const ALPN_LISTENER: [&[u8]; 1] = [ALPN_OVERLAY];
/// The TLS alert of that name (RFC 7301 §3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// QUIC version 1 (RFC 9000 §15), the only one spoken (PROTOCOL.md#quic-version).
const QUIC_VERSIONS: [u32; 1] = [1];

/// Stateless resets are not spaced. quinn-proto has one interval of 20 ms for all peers. Of fifty
/// neighbours that send in the same millisecond one gets a reset, and one at each of their
/// retransmissions, which grow rarer. 8 of 50 had theirs after 10 s of virtual time, and as many
/// with 1 ms. A reset is shorter than the packet that drew it (RFC 9000 §10.3.3), so that a flood
/// of these is not amplified. Only a peer that had a conn has a connection ID that draws one. No
/// more resets wait to be sent than answers to handshakes.
const RESET_INTERVAL: Duration = Duration::ZERO;

/// The TLS side of one node.
pub struct Tls {
    /// A child of the node's seed, from which the certificate key cannot be derived.
    seed: Seed,
    reset_key: endpoint::MacKey,
    connection_id_key: endpoint::MacKey,
    client: Arc<QuicClientConfig>,
    server: Arc<QuicServerConfig>,
    token_clock: Arc<TokenClock>,
}

impl Tls {
    /// Makes a fresh certificate key from `seed` and a certificate for it in the name of
    /// `identity`.
    pub fn new(identity: &Identity, seed: &Seed) -> Self {
        let certified_key = signing::certified_key(identity, seed);
        Self::with_certificate(certified_key, identity, seed, &[ALPN_OVERLAY], &ALPN_LISTENER)
    }

    /// The same for other application protocols.
    #[cfg(test)]
    pub(crate) fn with_protocols(
        identity: &Identity,
        seed: &Seed,
        dialed: &[&[u8]],
        served: &[&[u8]],
    ) -> Self {
        let certified_key = signing::certified_key(identity, seed);
        Self::with_certificate(certified_key, identity, seed, dialed, served)
    }

    fn with_certificate(
        certified_key: CertifiedKey,
        identity: &Identity,
        seed: &Seed,
        dialed: &[&[u8]],
        served: &[&[u8]],
    ) -> Self {
        let provider = provider::provider();
        let verifier = Arc::new(IdentityVerifier::new(provider.signature_verification_algorithms));
        let certificate = Arc::new(SingleCertAndKey::from(certified_key));
        let client = client(&provider, &verifier, &certificate, dialed);
        let server = server(&provider, &verifier, &certificate, served);
        let suite = "the provider has TLS_AES_128_GCM_SHA256";
        Self {
            seed: seed.child("quic", 0),
            reset_key: endpoint::MacKey::new(identity.reset_key()),
            connection_id_key: endpoint::MacKey::new(identity.connection_id_key()),
            client: Arc::new(client.try_into().expect(suite)),
            server: Arc::new(server.try_into().expect(suite)),
            token_clock: Arc::default(),
        }
    }

    /// The endpoint's keys, generators and version. One endpoint per [`Tls`]: a second one would
    /// repeat the connection IDs of the first.
    pub fn endpoint_config(&self) -> EndpointConfig {
        let (key, seed) = (self.connection_id_key.clone(), self.seed.clone());
        let mut config = EndpointConfig::new(Arc::new(self.reset_key.clone()));
        config
            .rng_seed(Some(self.seed.bytes("endpoint")))
            .cid_generator(move || Box::new(endpoint::ConnectionIds::new(key.clone(), &seed)))
            .supported_versions(QUIC_VERSIONS.to_vec())
            // A cleared QUIC bit marks datagrams that are not QUIC (PROTOCOL.md#quic-bit).
            .grease_quic_bit(false)
            .min_reset_interval(RESET_INTERVAL);
        config
    }

    /// For dialing overlay edges. Made once and cloned: each call starts the sequence of first
    /// connection IDs anew.
    pub fn client_config(&self) -> quinn_proto::ClientConfig {
        let mut config = quinn_proto::ClientConfig::new(self.client.clone());
        config
            .initial_dst_cid_provider(endpoint::first_cid(&self.seed))
            .token_store(Arc::new(NoneTokenStore));
        config
    }

    /// For listening.
    pub fn server_config(&self) -> quinn_proto::ServerConfig {
        let token_key = endpoint::token_key(&self.seed);
        let mut config = quinn_proto::ServerConfig::new(self.server.clone(), token_key);
        config.time_source(self.token_clock.clone());
        config.validation_token.sent(0);
        config
    }

    /// The clock by which Retry tokens expire; to be set to the time of each call into quinn-proto.
    pub fn token_clock(&self) -> &TokenClock {
        &self.token_clock
    }
}

/// The identifier and Ed25519 key of the peer. `None` until the handshake has verified the peer's
/// certificate.
pub fn peer_identity(connection: &Connection) -> Option<(NodeId, [u8; 32])> {
    let chain = connection.crypto_session().peer_identity()?;
    let chain = chain.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let key = Certificate::parse(chain.first()?).ok()?.claimed_identity().ok()?;
    Some((identity::node_id(&key), key))
}

/// Whether this node ended a handshake because it serves no application protocol that the peer
/// offered.
pub fn is_protocol_mismatch(error: &ConnectionError) -> bool {
    let mismatch = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
    matches!(error, ConnectionError::TransportError(error) if error.code == mismatch)
}

/// The name of a peer for TLS: its address as an IP literal, which is never sent
/// (PROTOCOL.md#tls-settings).
pub fn server_name(remote: SocketAddr) -> String {
    remote.ip().to_string()
}

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<IdentityVerifier>,
    certificate: &Arc<SingleCertAndKey>,
    dialed: &[&[u8]],
) -> rustls::ClientConfig {
    let mut config =
        rustls::ClientConfig::builder_with_details(provider.clone(), Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider speaks TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(certificate.clone());
    config.alpn_protocols = dialed.iter().map(|alpn| alpn.to_vec()).collect();
    config.enable_sni = false;
    // Every edge is backed by a fresh verification (PROTOCOL.md#no-resumption).
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

fn server(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<IdentityVerifier>,
    certificate: &Arc<SingleCertAndKey>,
    served: &[&[u8]],
) -> rustls::ServerConfig {
    let mut config =
        rustls::ServerConfig::builder_with_details(provider.clone(), Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider speaks TLS 1.3")
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(certificate.clone());
    config.alpn_protocols = served.iter().map(|alpn| alpn.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

/// Dates in certificates have no meaning and no session is resumed, so TLS needs no clock.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(core::time::Duration::ZERO))
    }
}
