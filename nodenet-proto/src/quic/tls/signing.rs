//! The certificate key: Ed25519, made for one process, wiped when the last user drops it (spec 40 W1).

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use rustls::sign::{CertifiedKey, Signer};
use rustls::{SignatureAlgorithm, SignatureScheme};
use zeroize::Zeroizing;

use super::certificate;
use crate::env::Seed;
use crate::identity::Identity;

/// A fresh certificate key and the certificate in which `identity` vouches for it.
pub(super) fn certified_key(identity: &Identity, seed: &Seed) -> CertifiedKey {
    let secret = Zeroizing::new(seed.bytes("tls certificate key"));
    let key = SigningKey::from_bytes(&secret);
    let public = key.verifying_key().to_bytes();
    let certificate = certificate::build(identity, &public, |body| key.sign(body).to_bytes());
    CertifiedKey::new(vec![certificate.into()], Arc::new(CertificateKey(Arc::new(key))))
}

/// The key in the form in which rustls asks for signatures. The key itself wipes on drop.
#[derive(Debug, Clone)]
struct CertificateKey(Arc<SigningKey>);

impl rustls::sign::SigningKey for CertificateKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for CertificateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
