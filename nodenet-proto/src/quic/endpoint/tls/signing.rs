//! Certificate key: Ed25519, made for one process, wiped when the last user drops it
//! (PROTOCOL.md#certificate-key).

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use rustls::sign::{CertifiedKey, Signer};
use rustls::{SignatureAlgorithm, SignatureScheme};
use zeroize::Zeroizing;

use super::certificate;
use crate::env::Seed;
use crate::identity::Identity;

/// A fresh certificate key, and its certificate, which `identity` signs.
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

#[cfg(test)]
mod tests {
    use rustls::SignatureScheme::{ECDSA_NISTP256_SHA256, ED25519};

    use super::certified_key;
    use crate::env::Seed;
    use crate::identity::{self, Identity};
    use crate::quic::tls::certificate::Certificate;

    #[test]
    fn each_seed_has_a_key_of_its_own_that_the_identity_signs() {
        let identity = Identity::from_master_seed(&[1; 32]);
        let keys = [1, 2].map(|seed| {
            let certified_key = certified_key(&identity, &Seed::from_u64(seed));
            let certificate = Certificate::parse(&certified_key.cert[0]).unwrap();
            assert_eq!(certificate.verify(), Ok(*identity.public_key()));
            certificate.public_key_der().to_vec()
        });
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| !key.ends_with(identity.public_key())));
    }

    #[test]
    fn the_key_signs_with_ed25519_or_not_at_all() {
        let identity = Identity::from_master_seed(&[1; 32]);
        let certified_key = certified_key(&identity, &Seed::from_u64(1));
        let key = &certified_key.key;
        assert!(key.choose_scheme(&[ECDSA_NISTP256_SHA256]).is_none());
        let signer = key.choose_scheme(&[ECDSA_NISTP256_SHA256, ED25519]).unwrap();
        assert_eq!(signer.scheme(), ED25519);

        let certificate = Certificate::parse(&certified_key.cert[0]).unwrap();
        let public = certificate.public_key_der().last_chunk().unwrap();
        let signature = signer.sign(b"message").unwrap().try_into().unwrap();
        assert!(identity::verify(public, b"message", &signature));
    }
}
